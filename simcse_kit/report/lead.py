"""The first lines of a report, for who has to decide: which to use, how sure, what for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from simcse_kit.evaluation.leakage import headline
from simcse_kit.evaluation.sts import AVERAGE, SUITE
from simcse_kit.report.verdict import over, verdict

if TYPE_CHECKING:
    from simcse_kit.report.data import ModelReport, Report


@dataclass(frozen=True)
class Lead:
    """A choice in one or two sentences, and the questions that it raises with their answers."""

    choice: str
    answers: tuple[tuple[str, str], ...]

    def text(self) -> str:
        """All of it as paragraphs of plain text."""
        return "\n\n".join([self.choice, *(f"{asked}: {said}" for asked, said in self.answers)])


def lead(report: Report) -> Lead:
    """Which model to use by these figures, how sure that is, what they mean and are good for."""
    found = verdict(report)
    sure = " ".join([_certainty(report), *found.headlines, *found.caveats, *_seen(report)])
    return Lead(
        _choice(report),
        (
            ("How sure", sure.strip()),
            ("What the score means", " ".join(filter(None, (_meaning(report), _beside(report))))),
            ("What for", _purpose(report)),
        ),
    )


def _choice(report: Report) -> str:
    first, *others = report.models
    if report.comparison is None:
        return (
            f"{first.name} scores {_score(first)} of 100. Alone it gives no choice: report on a"
            " second model beside it for one."
        )
    differences = report.comparison.differences
    if not all(AVERAGE in found for found in differences.values()):
        return "These figures give no choice: there is no comparison of all models."
    best = max(report.models, key=lambda model: model.result.average)
    better = [model for model in others if differences[model.name][AVERAGE].told > 0]
    if best in better:
        rest = [model for model in others if model is not best]
        return f"{_use(best.name, first)}: {_scores(best, first)}.{_untested(rest)}"
    if len(others) == 1:
        other = others[0]
        if differences[other.name][AVERAGE].told < 0:
            return f"{_use(first.name, other)}: {_scores(first, other)}."
        return (
            f"These figures do not choose between {other.name} and {first.name}:"
            f" {_scores(other, first)}, which may be chance. Choose by speed, size or licence, or"
            " measure on texts of your own."
        )
    if better:  # the best average of all is not told from the first, a smaller one is
        names = " or ".join(model.name for model in better)
        return f"{_use(names, first)}; the others are not told to score higher."
    return f"Nothing here speaks against {first.name}: no other model is told to score higher."


def _use(names: str, other: ModelReport) -> str:
    return f"For pairs like these, use {names} rather than {other.name}"


def _scores(winner: ModelReport, loser: ModelReport) -> str:
    return f"it scores {_score(winner)} of 100, {loser.name} {_score(loser)}"


def _score(model: ModelReport) -> str:
    return f"{model.result.average:.1f}"


def _untested(rest: list[ModelReport]) -> str:
    if not rest:
        return ""
    names = " and ".join(f"{model.name} ({_score(model)})" for model in rest)
    return f" How it stands against {names} is not tested here: name it first for that."


def _certainty(report: Report) -> str:
    """One plain sentence before the figures."""
    if report.comparison is None:
        return ""
    found = [of[AVERAGE].told for of in report.comparison.differences.values() if AVERAGE in of]
    level = f"{100 * report.comparison.level:g} %"
    if found and all(found):
        return f"Told from chance at the {level} level, for pairs like these."
    if any(found):
        return f"Some differences are told from chance at the {level} level, some are not."
    return "It may be chance." if found else ""


def _seen(report: Report) -> list[str]:
    """Whether the test may have been seen in training, where that was looked for."""
    said = headline(report.leakage)
    return [said] if said else []


def _meaning(report: Report) -> str:
    tasks = over(report.models[0].result.average_over)
    return (
        f"People rated how alike in meaning the two sentences of each of {report.pairs:,} pairs"
        " are (semantic textual similarity, STS). The score says how well a model's similarities"
        f" put the pairs into the people's order, {tasks}: 100 is the same order, 0 none"
        " (Spearman's rank correlation ×100)."
    )


def _beside(report: Report) -> str:
    if report.models[0].result.average_over != SUITE or not report.published:
        return ""
    rows = "; ".join(f"{row.model}: {row.average:.2f}" for row in report.published)
    return f"Published by the same protocol: {rows}."


def _purpose(report: Report) -> str:
    english = all(task in SUITE for task in report.models[0].result.tasks)
    texts = "short English texts" if english else "texts like those of these tasks"
    return (
        f"Judging how alike two {texts} are in meaning. For search, grouping or classification,"
        " in another language or a field of your own, models may rank otherwise: measure that"
        " with simcse-kit task and transfer."
    )


def won(report: Report) -> Mapping[str, tuple[int, int, int]]:
    """For each model but the first: on how many tasks it is told better, told worse, of all."""
    if report.comparison is None:
        return {}
    counts = {}
    for name, found in report.comparison.differences.items():
        signs = [one.told for task, one in found.items() if task != AVERAGE]
        counts[name] = (signs.count(1), signs.count(-1), len(signs))
    return counts
