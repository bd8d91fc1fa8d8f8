"""Several models on one task: their figures side by side, and which differences are real."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass
from itertools import combinations
from typing import Any

from simcse_kit.errors import InputError
from simcse_kit.evaluation.statistics import Comparison, compare_many, enough_draws
from simcse_kit.evaluation.sts import by_chance, difference_cell, in_words
from simcse_kit.evaluation.tables import Cell, Cells
from simcse_kit.evaluation.task_result import Figure, TaskResult, shown

_NONE = Cell("–")
_AVERAGE = "average"


@dataclass(frozen=True)
class Difference:
    """By how much `model` is better than `baseline`: points of each figure ×100."""

    model: str
    baseline: str
    figures: dict[str, Comparison]


@dataclass(frozen=True)
class TaskComparison:
    """Models compared on the same test items, by the paired bootstrap over them.

    Attributes:
        differences: of each pair that was compared. Holm's correction is over the pairs, for each
            figure by itself.
        draws, seed, level: of the resamples and the intervals.
        clustered: whether pairs that share a sentence were taken together.
        untested: why some of the figures are not compared, if so.
    """

    differences: tuple[Difference, ...]
    draws: int
    seed: int
    level: float
    clustered: bool = False
    untested: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain values, ready for `json.dumps`."""
        return asdict(self) | {"test": _TEST}

    def sentences(self) -> list[str]:
        """For each pair in plain words, on the average or else the first figure."""
        said = []
        for one in self.differences:
            figure = _AVERAGE if _AVERAGE in one.figures else next(iter(one.figures))
            words = in_words(
                one.figures[figure], one.baseline, f"in {figure}", len(self.differences)
            )
            said.append(f"{one.model} is {words}")
        return said


_TOGETHER = ", those that share a sentence taken together"
_TEST = "paired bootstrap over the test items, both models on the same resamples"


def compare_tasks(
    results: Mapping[str, TaskResult],
    *,
    pairwise: bool = False,
    draws: int = 10_000,
    seed: int = 0,
    level: float = 0.95,
) -> TaskComparison | None:
    """Compare models by what each made of the same test items; None where items are not resampled.

    Args:
        results: by the models' names, of one task.
        pairwise: each model with each before it; by default each with the first.
        draws, seed, level: of the bootstrap and the intervals.

    Raises:
        InputError: fewer than two results, results of different tasks, and as the resamples do.
    """
    if len(results) < 2 or len({result.task for result in results.values()}) > 1:
        tasks = ", ".join(sorted({result.task for result in results.values()})) or "no task"
        raise InputError(f"{len(results)} results of {tasks}: give two or more, of one task.")
    tested = [result.tested for result in results.values()]
    first = tested[0]
    if first is None:
        return None
    pairs = compared(len(tested), pairwise=pairwise)
    draws = enough_draws(draws, len(pairs), level)
    names = list(results)
    found: list[dict[str, Comparison]] = [{} for _ in pairs]
    figures = first.together(tested, draws=draws, seed=seed)
    for name, figure in figures.items():
        for place, one in enumerate(compare_many(figure, pairs, level=level)):
            found[place][name] = one
    differences = [
        Difference(names[model], names[baseline], figures)
        for (model, baseline), figures in zip(pairs, found, strict=True)
    ]
    clustered = any(figure.clustered for figure in figures.values())
    return TaskComparison(tuple(differences), draws, seed, level, clustered, first.untested)


def compared(models: int, *, pairwise: bool = False) -> list[tuple[int, int]]:
    """Which models are compared with which, by number: each with the first, or all pairs."""
    every = [(later, earlier) for earlier, later in combinations(range(models), 2)]
    return every if pairwise else every[: models - 1]


# ---- cells ---------------------------------------------------------------------------------------


def side_by_side(results: Mapping[str, TaskResult]) -> Cells:
    """A row a model, a column a figure, the best of each marked."""
    header = list(dict.fromkeys(name for each in results.values() for name in each.figures))
    best = {name: _best(name, results.values()) for name in header}
    rows = [
        (model, [_cell(name, result.figures.get(name), best[name]) for name in header])
        for model, result in results.items()
    ]
    said = {result.summary for result in results.values()}
    notes = [f"{model}: {result.summary}" for model, result in results.items()]
    level = {f.interval.level for r in results.values() for f in r.figures.values() if f.interval}
    below = [f"Below each figure its {100 * max(level):g} % interval."] if level else []
    bold = (
        ["In bold the highest of each figure, told from the others or not."]
        if any(best.values())
        else []
    )
    return Cells(header, rows, [], [*bold, *(sorted(said) if len(said) == 1 else notes), *below])


def difference_cells(comparison: TaskComparison) -> Cells:
    """A row a pair of models, a column a figure: difference, its interval and p-value."""
    header = list(comparison.differences[0].figures)
    rows = [
        (f"{one.model} − {one.baseline}", [difference_cell(one.figures[name]) for name in header])
        for one in comparison.differences
    ]
    corrected = ", corrected by Holm over the pairs" if len(rows) > 1 else ""
    notes = [
        f"Points ×100; below them the {100 * comparison.level:g} % interval of the difference, and"
        f" its two-sided p-value{corrected} (each figure by itself).",
        f"By {_TEST}, {comparison.draws:,} draws"
        f"{_TOGETHER if comparison.clustered else ''}. It allows for other test items, not for"
        " other training seeds of these models.",
    ]
    notes += filter(None, [comparison.untested, by_chance(len(header), comparison.level)])
    return Cells(header, rows, [], notes, corner="Difference")


def _best(name: str, results: Collection[TaskResult]) -> str | None:
    """The highest figure as printed, where there is a lower one; thresholds are no merit."""
    values = [result.figures[name].value for result in results if name in result.figures]
    if "threshold" in name or len({shown(name, value) for value in values}) < 2:
        return None
    return shown(name, max(values))


def _cell(name: str, figure: Figure | None, best: str | None) -> Cell:
    if figure is None:
        return _NONE
    value = shown(name, figure.value)
    ends = figure.interval
    below = f"{ends.low:.2f} to {ends.high:.2f}" if ends else ""
    spread = "" if figure.sd is None else f" ± {figure.sd:.2f}"
    return Cell(value + spread, below, value == best)
