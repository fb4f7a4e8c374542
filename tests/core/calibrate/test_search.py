"""What `luvc calibrate` tries, what it gives up, and what it chooses: without any model."""

import random
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path

import pytest

from luvc_core.calibrate import plot, report
from luvc_core.calibrate.candidates import AXES, LEVELS, Shape, ramp_at
from luvc_core.calibrate.search import Search
from luvc_core.calibrate.trial import Outcome, Trial, label
from luvc_core.compression.algorithms.schedules import ramp_shares
from luvc_core.compression.profiles import PROFILES
from luvc_core.compression.settings import Compression, Ramp

LAYERS = 24
Bears = Callable[[Compression], float]


def nominal(compression: Compression) -> float:
    """Share of the visual tokens that the average layer should hold."""
    assert compression.spu is not None
    counts = compression.spu.layer_counts(LAYERS, 10_000)
    oim = compression.oim
    return sum(counts) / LAYERS / 10_000 * oim.keep_rows * oim.keep_columns


class Evaluation:
    """Questions of which each needs some strength: it gets the uncompressed answer from there on.

    strength: of a compression, in [0, 1].
    """

    def __init__(self, count: int, strength: Bears) -> None:
        self._needs = random.Random(1).sample([i / count for i in range(count)], count)
        self._strength = strength
        self.answers = 0

    def ask(self, trials: Sequence[Trial], name: str) -> None:
        for trial in trials:
            strength = self._strength(trial.compression)
            while not trial.ended:
                same = strength >= self._needs[trial.asked]
                oim = trial.compression.oim
                sent = oim.keep_rows * oim.keep_columns
                trial.add(Outcome(same, same, nominal(trial.compression), sent))
                self.answers += 1


def found(
    strength: Bears, count: int = 200, target: float = 0.95
) -> tuple[Search, Trial, Evaluation]:
    evaluation = Evaluation(count, strength)
    search = Search(evaluation.ask, LAYERS, count, target)
    return search, search.run(), evaluation


@pytest.mark.parametrize("layers", [5, 12, 24, 28, 32, 80])
@pytest.mark.parametrize("average", LEVELS)
def test_ramps_hold_what_they_should(layers: int, average: float) -> None:
    for slope in AXES["slopes"](Shape()):
        ramp = ramp_at(layers, average, slope.start, slope.end)
        assert ramp is not None
        shares = ramp_shares(layers, **asdict(ramp))
        assert sum(shares) / layers == pytest.approx(average, abs=1e-4)
        # Layers that hold all tokens leave something to those after them.
        assert average > 0.7 or shares.count(1.0) <= 2 / 3 * average * layers + 1


def test_what_no_ramp_holds_is_none() -> None:
    assert ramp_at(5, 0.9, 0.1, 0.6) is None
    assert Shape(keep_sides=0.5).at(24, 0.3) is None


def test_merging_leaves_the_ramp_more() -> None:
    merged = Shape(keep_sides=0.75).at(LAYERS, 0.25)
    assert merged is not None
    assert (merged.oim.keep_rows, merged.oim.llm_position) == (0.75, "source")
    assert nominal(merged) == pytest.approx(0.25, abs=1e-3)


def test_a_trial_ends_where_it_cannot_pass() -> None:
    trial = Trial(PROFILES["max"], questions=100, target=0.98)
    for same in (True, False, False, True):
        trial.add(Outcome(same, None, 0.1, 0.5))
        assert not trial.ended
    trial.add(Outcome(False, None, 0.1, 0.5))
    assert (trial.hopeless, trial.ended, trial.passed) == (True, True, False)
    assert (trial.asked, trial.lasted, trial.same, trial.accuracy) == (5, 4, 2, None)
    patient = Trial(PROFILES["max"], questions=8, target=1.0, min_questions=8)
    for i in range(8):
        assert not patient.ended
        patient.add(Outcome(i > 0, i > 3, 0.1, 0.5))
    assert (patient.lasted, patient.loyalty, patient.accuracy) == (0, 7 / 8, 0.5)


@pytest.mark.parametrize("target", [0.9, 0.95, 0.99, 1.0])
def test_room_for_misses_is_what_the_target_leaves(target: float) -> None:
    for misses in range(30):
        trial = Trial(PROFILES["max"], questions=200, target=target, min_questions=200)
        for i in range(200):
            trial.add(Outcome(i >= misses, None, 0.1, 1.0))
        assert trial.passed == ((200 - misses) / 200 >= target)


def test_the_fewest_tokens_that_pass_are_found() -> None:
    """Strength falls with the tokens alone, and the target needs 30 % of them."""
    search, best, _ = found(lambda c: min(1.0, nominal(c) / 0.3 * 0.95))
    assert best.passed
    assert nominal(best.compression) == pytest.approx(0.3, abs=0.02)
    again, same, _ = found(lambda c: min(1.0, nominal(c) / 0.3 * 0.95))
    assert same.compression == best.compression
    assert [label(t.compression) for t in again.trials] == [
        label(t.compression) for t in search.trials
    ]


def test_a_better_score_and_slope_are_found_together() -> None:
    def strength(c: Compression) -> float:
        assert c.spu is not None
        assert isinstance(c.spu.schedule, Ramp)
        needed = 0.5 - 0.15 * (c.spu.score == "low_pass") - 0.2 * (c.spu.schedule.end == 1.0)
        return min(1.0, nominal(c) / needed)

    _, best, _ = found(strength)
    assert best.compression.spu is not None
    assert best.compression.spu.score == "low_pass"
    assert nominal(best.compression) < 0.2


def test_merging_is_used_where_it_costs_nothing() -> None:
    def strength(c: Compression) -> float:
        return 1.0 if c.oim.keep_rows == 0.5 else min(1.0, nominal(c) / 0.5)

    _, best, _ = found(strength)
    assert best.compression.oim.keep_rows == 0.5


def test_what_cannot_pass_costs_little() -> None:
    search, _, evaluation = found(lambda c: min(1.0, nominal(c) / 0.5), count=500, target=0.99)
    assert evaluation.answers < 0.4 * 500 * len(search.trials)
    assert len(search.trials) < 40


def test_a_target_out_of_reach_is_said_so() -> None:
    search, best, _ = found(lambda c: 0.9 * min(1.0, nominal(c) / 0.49))
    assert not best.passed
    assert best.asked == best.questions
    assert not any(trial.passed for trial in search.trials)
    said = report.verdict(best, 0.95, len(search.trials))
    assert "95 % was not reached by any" in said
    assert "90" in said


def test_where_all_passes_the_last_level_is_chosen() -> None:
    _, best, _ = found(lambda c: 1.0)
    assert nominal(best.compression) == pytest.approx(LEVELS[-1], abs=1e-3)
    assert report.verdict(best, 0.95, 9).endswith("so expect a little less of others.")
    assert "Even without a miss, 200 questions show no more than 98.1 %" in report.verdict(
        best, 0.99, 9
    )


def test_table_and_image(tmp_path: Path) -> None:
    search, best, _ = found(lambda c: min(1.0, nominal(c) / 0.3))
    text = report.table(search.trials, best)
    (marked,) = (line for line in text.splitlines() if line.startswith("* "))
    assert label(best.compression) in marked
    assert "lossless" in text
    assert "given up early" in text
    path = tmp_path / "curve.picture"
    plot.draw(search.trials, best, 0.95, "a title", path)
    assert path.read_bytes().startswith(b"\x89PNG")
    edge = plot.frontier([t for t in search.trials if t.asked == t.questions])
    assert best in edge
    assert [t.loyalty for t in edge] == sorted(t.loyalty for t in edge)
