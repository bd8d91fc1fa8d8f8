"""What was found, in a sentence that can stand alone, and what it does not say."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from simcse_kit.evaluation.sts import AVERAGE, SUITE, departures, shown_p
from simcse_kit.report.words import signed

if TYPE_CHECKING:
    from simcse_kit.evaluation.statistics import Comparison
    from simcse_kit.report.data import ModelReport, Report


@dataclass(frozen=True)
class Verdict:
    """A headline for each model that is judged, and sentences on how far to trust it."""

    headlines: tuple[str, ...]
    caveats: tuple[str, ...]

    def text(self) -> str:
        """All of it as one paragraph."""
        return " ".join([*self.headlines, *self.caveats])


def verdict(report: Report) -> Verdict:
    """Which model is better, by how much, over how many pairs; or that it cannot be told.

    Of one model alone: its average with its interval, beside the nearest published row.
    """
    if report.comparison is None:
        return _alone(report)
    headlines = []
    for name, found in report.comparison.differences.items():
        if AVERAGE in found:
            headlines.append(_better(name, report, found[AVERAGE]))
        else:
            why = report.comparison.missing.get(AVERAGE, "there is no comparison.")
            headlines.append(
                f"{name} cannot be compared with {report.comparison.baseline}: {_lower(why)}"
            )
    caveats = ["The interval is over other test pairs of the same kind, not over other trainings:"]
    caveats[0] += " another seed may score otherwise."
    if len(report.comparison.differences) > 1:
        caveats.append("p-values are corrected for the number of comparisons (Holm).")
    return Verdict(tuple(headlines), (*caveats, *departures(report.models[0].result.protocol)))


def _better(name: str, report: Report, found: Comparison) -> str:
    assert report.comparison is not None
    where = f"{over(report.comparison.average_over)} ({report.pairs:,} pairs)"
    points = f"points of Spearman ×100 {where}"
    return against(name, report.comparison.baseline, found, points, seen="these pairs")


def against(name: str, baseline: str, found: Comparison, points: str, *, seen: str) -> str:
    """Whether the one scores higher or lower than the other, or that it cannot be told.

    Args:
        points: what the difference is counted in, and over what.
        seen: what it was to be told from.
    """
    interval = (
        f"{100 * found.interval.level:g} % interval {signed(found.interval.low)} to"
        f" {signed(found.interval.high)}"
    )
    p = shown_p(found.p_adjusted)
    if not found.told:
        return (
            f"Whether {name} scores higher than {baseline} cannot be told from {seen}: the"
            f" difference of {signed(found.difference, 2)} {points} may be chance"
            f" ({interval}, {p})."
        )
    word = "higher" if found.difference > 0 else "lower"
    return (
        f"{name} scores {word} than {baseline}: by {abs(found.difference):.2f} {points},"
        f" {interval}, {p}."
    )


def _alone(report: Report) -> Verdict:
    model = report.models[0]
    sure = model.intervals.average
    shown = "no interval can be given"
    if sure is not None:
        shown = f"{100 * sure.level:g} % interval {sure.low:.1f} to {sure.high:.1f}"
    headline = (
        f"{model.name} scores {model.result.average:.2f} (Spearman ×100, {shown})"
        f" {over(model.result.average_over)}, {report.pairs:,} pairs."
    )
    nearest = _nearest(report, model) if model.result.average_over == SUITE else ""
    caveats = departures(model.result.protocol)
    if nearest:
        caveats.append("Published figures came without intervals, of other encoders and corpora.")
    caveats.append("The interval is over other test pairs of the same kind, not other trainings.")
    return Verdict(tuple(filter(None, (headline, nearest))), tuple(caveats))


def _nearest(report: Report, model: ModelReport) -> str:
    """The published row of this protocol that is nearest, and which side of it the model is."""
    average, sure = model.result.average, model.intervals.average
    rows = sorted(report.published, key=lambda row: abs(row.average - average))
    if not rows:
        return ""
    row = rows[0]
    difference = average - row.average
    side = f"{abs(difference):.2f} points {'above' if difference > 0 else 'below'} it"
    if sure is not None and sure.low <= row.average <= sure.high:
        side += ", and its interval includes that"
    return (
        f"The nearest published row of this protocol ({report.protocol.name}) is {row.model},"
        f" {row.average:.2f}; {model.name} is {side}."
    )


def over(tasks: Sequence[str]) -> str:
    """What an average is over, in words."""
    if tuple(tasks) == SUITE:
        return "on average over the seven STS tasks"
    return f"on {tasks[0]}" if len(tasks) == 1 else f"on average over {', '.join(tasks)}"


def _lower(sentence: str) -> str:
    return sentence[:1].lower() + sentence[1:]
