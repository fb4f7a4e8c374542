"""The report of the search for people: a table and a few sentences."""

from collections.abc import Sequence

from luvc_core.calibrate.confidence_intervals import wilson
from luvc_core.calibrate.trial import Trial, label

_HEADER = ("settings", "tokens %", "sent %", "loyalty %", "95 % interval", "accuracy %", "asked")


def table(trials: Sequence[Trial], best: Trial) -> str:
    """Format trials that were asked all questions, most tokens first; `*` marks the best."""
    complete = [trial for trial in trials if trial.asked == trial.questions]
    order = sorted(complete, key=lambda trial: -trial.averaged)
    rows = [_HEADER, *(_row(trial, trial is best) for trial in order)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows
    ]
    if given_up := len(trials) - len(complete):
        lines.append(f"and {given_up} given up early, as they could not reach the target any more")
    return "\n".join(lines)


def _row(trial: Trial, is_best: bool) -> tuple[str, ...]:
    accuracy = trial.accuracy
    return (
        ("* " if is_best else "  ") + label(trial.compression),
        f"{100 * trial.averaged:.1f}",
        f"{100 * trial.sent:.1f}",
        f"{100 * trial.loyalty:.1f}",
        interval(trial),
        "-" if accuracy is None else f"{100 * accuracy:.1f}",
        str(trial.asked),
    )


def interval(trial: Trial) -> str:
    """Format the interval of a trial's loyalty, in percent."""
    low, high = trial.loyalty_interval
    return f"{100 * low:.1f}-{100 * high:.1f}"


def verdict(best: Trial, target: float, tried: int) -> str:
    """Say whether the target was reached, by which compression, and how sure that is.

    Args:
        best: the trial to report on.
        target: loyalty to reach.
        tried: number of compressions that were tried.
    """
    figures = (
        f"{100 * best.loyalty:.1f} % of {best.questions} answers as without compression "
        f"(95 %: {interval(best)}), {100 * best.averaged:.1f} % of the visual tokens in the "
        f"average layer, {100 * best.sent:.1f} % sent"
    )
    if not best.passed:
        return (
            f"The target of {100 * target:g} % was not reached by any of {tried} compressions. "
            f"The best, {label(best.compression)}, has {figures}."
        )
    text = (
        f"Chosen of {tried}: {label(best.compression)}, with {figures}. It was chosen by these "
        "very questions, so expect a little less of others."
    )
    flawless, _ = wilson(best.questions, best.questions)
    if flawless < target:
        text += (
            f" Even without a miss, {best.questions} questions show no more than "
            f"{100 * flawless:.1f} %: ask more to be sure of {100 * target:g} %."
        )
    return text
