"""The search for the best compression: coarse to fine, one setting after the other.

1. Try the default shape at every level of tokens, and the built-in profiles.
2. From the first level where the default shape fails, try other scores, then other slopes, then
   merging, each time with the best settings so far. A shape that passes a level goes on to the next
   one. Of shapes that reach the same level, the best is the one that failed later at the next one.
3. Halve the distance between the last level that passed and the first that failed, three times.

The search assumes that fewer tokens never give better answers. A compression is given up as soon as
it has missed more questions than the target allows, so a bad one costs only a few questions.
"""

from collections.abc import Callable, Iterable, Sequence

from luvc_core.calibrate.candidates import AXES, LEVELS, Shape
from luvc_core.calibrate.trial import MIN_QUESTIONS, Trial
from luvc_core.compression.profiles import PROFILES
from luvc_core.compression.settings import Compression

# Asks questions until every trial has ended. The text labels the round for people.
Round = Callable[[Sequence[Trial], str], None]

_HALVINGS = 3
_PROFILES = ("lossless", "balanced", "max")


class Search:
    """Finds the compression with the fewest visual tokens in the average layer that passes."""

    def __init__(self, ask: Round, layer_count: int, questions: int, target: float) -> None:
        """Prepare a search.

        Args:
            ask: asks trials their questions.
            layer_count: layers of the language model.
            questions: number of questions.
            target: loyalty that a trial needs to pass.
        """
        self._ask = ask
        self._layer_count = layer_count
        self._questions = questions
        self._target = target
        self._by_settings: dict[tuple[object, ...], Trial] = {}

    @property
    def trials(self) -> list[Trial]:
        """All trials so far, in order."""
        return list(self._by_settings.values())

    @property
    def best(self) -> Trial:
        """The trial with the fewest tokens that passed, else the one that failed last."""
        passed = [trial for trial in self.trials if trial.passed]
        if passed:
            return min(passed, key=lambda t: (t.averaged, -t.loyalty, t.sent))
        return max(self.trials, key=lambda t: (t.lasted, t.loyalty, -t.averaged))

    def run(self) -> Trial:
        """Search, and return the best trial, asked all questions whether it passed or not."""
        shape = Shape()
        level = self._coarse(shape)
        for name, variants in AXES.items():
            shape, level = self._vary(shape, level, name, variants(shape))
        self._refine(shape, level)
        best = self.best
        best.min_questions = self._questions
        if not best.ended:
            self._ask([best], "the best, to the end")
        return best

    def _coarse(self, shape: Shape) -> int:
        """Return the last level that the shape passes, -1 for none."""
        min_questions = min(MIN_QUESTIONS, self._questions)
        profiles = [PROFILES[name] for name in _PROFILES]
        of_shape = [shape.at(self._layer_count, level) for level in LEVELS]
        self._try([*of_shape, *profiles], "levels", min_questions)
        passed = [
            i
            for i, compression in enumerate(of_shape)
            if compression and self._of(compression).passed
        ]
        return max(passed, default=-1)

    def _vary(
        self, shape: Shape, level: int, name: str, variants: Iterable[Shape]
    ) -> tuple[Shape, int]:
        """Return the variant that gets furthest from a level, and the last level that it passed."""
        reached = dict.fromkeys(variants, level)
        lasted = dict.fromkeys(reached, 0)
        going = list(reached)
        while tried := {s: below for s in going if (below := self._below(s, reached[s]))}:
            self._try([compression for _, compression in tried.values()], name)
            going = []
            for variant, (index, compression) in tried.items():
                trial = self._of(compression)
                lasted[variant] = trial.lasted
                if trial.passed:
                    reached[variant] = index
                    going.append(variant)
        # Where variants are equal, the present shape stays.
        best = max(reached, key=lambda s: (reached[s], lasted[s], s == shape))
        return best, reached[best]

    def _below(self, shape: Shape, level: int) -> tuple[int, Compression] | None:
        """Find the next level that the shape can have: one that merges much holds few tokens."""
        for index in range(level + 1, len(LEVELS)):
            if compression := shape.at(self._layer_count, LEVELS[index]):
                return index, compression
        return None

    def _refine(self, shape: Shape, level: int) -> None:
        if level + 1 == len(LEVELS):
            return
        more, fewer = LEVELS[level] if level >= 0 else 1.0, LEVELS[level + 1]
        for _ in range(_HALVINGS):
            middle = (more + fewer) / 2
            compression = shape.at(self._layer_count, middle)
            if compression is None:
                # No ramp holds that many tokens.
                more = middle
                continue
            self._try([compression], f"between, at {middle:.1%}")
            if self._of(compression).passed:
                more = middle
            else:
                fewer = middle

    def _try(
        self, compressions: Iterable[Compression | None], name: str, min_questions: int = 0
    ) -> None:
        """Ask for the compressions that were not tried before."""
        new = []
        for compression in compressions:
            if compression and (key := _key(compression)) not in self._by_settings:
                trial = Trial(compression, self._questions, self._target, min_questions)
                self._by_settings[key] = trial
                new.append(trial)
        if new:
            self._ask(new, name)

    def _of(self, compression: Compression) -> Trial:
        return self._by_settings[_key(compression)]


def _key(compression: Compression) -> tuple[object, ...]:
    """Identify a compression by its settings, whatever its name."""
    return compression.oim, compression.spu, compression.detailed
