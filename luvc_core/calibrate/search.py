"""The search: coarse to fine, one choice after the other, giving up early what cannot pass.

1. The default shape at every level of tokens, and the built-in profiles: the curve.
2. From the first level where that fails on: other scores, then other slopes, then merging, each
   with the best of the choices before. What passes goes on to the next level; of what gets equally
   far, what lasted for more questions is the best.
3. Halving, three times, between the last level that passed and the first that failed.

Fewer tokens never being better is taken for granted. A compression is given up as soon as it has
missed more questions than the target leaves room for, so bad ones cost a few questions.
"""

from collections.abc import Callable, Iterable, Sequence

from luvc_core.calibrate.candidates import AXES, LEVELS, Shape
from luvc_core.calibrate.trial import MIN_QUESTIONS, Trial
from luvc_core.compression.profiles import PROFILES
from luvc_core.compression.settings import Compression

# Asks questions until every trial has ended. The text says what round it is.
Round = Callable[[Sequence[Trial], str], None]

_HALVINGS = 3
_PROFILES = ("lossless", "balanced", "max")


class Search:
    """Finds the compression of fewest visual tokens in the average layer that meets a target.

    questions: how many there are. trials: all that were tried, in order.
    """

    def __init__(self, ask: Round, layer_count: int, questions: int, target: float) -> None:
        self._ask = ask
        self._layer_count = layer_count
        self._questions = questions
        self._target = target
        self._by_settings: dict[tuple[object, ...], Trial] = {}

    @property
    def trials(self) -> list[Trial]:
        return list(self._by_settings.values())

    @property
    def best(self) -> Trial:
        """Of those that passed, the one with the fewest tokens; if none did, the one that lasted
        longest."""
        passed = [trial for trial in self.trials if trial.passed]
        if passed:
            return min(passed, key=lambda t: (t.averaged, -t.loyalty, t.sent))
        return max(self.trials, key=lambda t: (t.lasted, t.loyalty, -t.averaged))

    def run(self) -> Trial:
        """The best there is, asked all questions, whether it passed or not."""
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
        """The last level that the shape passes, -1 for none."""
        min_questions = min(MIN_QUESTIONS, self._questions)
        profiles = [PROFILES[name] for name in _PROFILES]
        own = [shape.at(self._layer_count, level) for level in LEVELS]
        self._try([*own, *profiles], "levels", min_questions)
        passed = [
            i for i, compression in enumerate(own) if compression and self._of(compression).passed
        ]
        return max(passed, default=-1)

    def _vary(
        self, shape: Shape, level: int, name: str, variants: Iterable[Shape]
    ) -> tuple[Shape, int]:
        """The variant that gets furthest from a level, and the last level that it passed."""
        reached = dict.fromkeys(variants, level)
        lasted = dict.fromkeys(reached, 0)
        going = list(reached)
        while tried := {own: found for own in going if (found := self._below(own, reached[own]))}:
            self._try([compression for _, compression in tried.values()], name)
            going = []
            for own, (index, compression) in tried.items():
                trial = self._of(compression)
                lasted[own] = trial.lasted
                if trial.passed:
                    reached[own] = index
                    going.append(own)
        # Of equals the present one stays.
        best = max(reached, key=lambda own: (reached[own], lasted[own], own == shape))
        return best, reached[best]

    def _below(self, shape: Shape, level: int) -> tuple[int, Compression] | None:
        """The next level at which the shape can be: one that merges much holds few tokens."""
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
                # More than any ramp holds.
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
        """Ask what was not asked before."""
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
    """Its settings, whatever its name."""
    return compression.oim, compression.spu, compression.detailed
