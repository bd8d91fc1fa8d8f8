"""Model against model, or recipe against recipe, on the same STS pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from simcse_kit.errors import InputError
from simcse_kit.evaluation.statistics import Bootstrap, Comparison, compare, compare_recipes, holm
from simcse_kit.evaluation.sts.intervals import STSIntervals, read_intervals, resample
from simcse_kit.evaluation.sts.suite import PairTask, STSResult
from simcse_kit.evaluation.sts.tasks import SUITE

AVERAGE = "average"


@dataclass(frozen=True)
class STSComparison:
    """What each contender is worth, and by how much it differs from the baseline.

    Attributes:
        baseline: the name of the contender that the others are compared with.
        intervals: of each contender, the baseline too.
        differences: of each other contender, by task, and "average" over `average_over`: points
            of Spearman ×100 above the baseline. Holm's correction is over the contenders, for
            each figure by itself.
        missing: why a figure has no comparison, by task or "average".
        seeds: of each contender; with more than one, the other trainings are allowed for.
        draws, clustered, level: how it was made (see `intervals`).
    """

    baseline: str
    intervals: dict[str, STSIntervals]
    differences: dict[str, dict[str, Comparison]]
    missing: dict[str, str]
    average_over: tuple[str, ...]
    seeds: dict[str, int]
    draws: int
    clustered: bool
    level: float

    @property
    def of_recipes(self) -> bool:
        """Whether the contenders are recipes of several seeds."""
        return min(self.seeds.values()) > 1

    def to_json(self) -> dict[str, Any]:
        """Plain values, ready for `json.dumps`."""
        return asdict(self) | {"test": TESTS[self.of_recipes]}

    def sentences(self) -> list[str]:
        """For each contender in plain words: better or worse than the baseline, or not to tell."""
        count = len(self.differences)
        over = _over(self.average_over)
        return [
            f"{name} is {in_words(found[AVERAGE], self.baseline, over, count)}"
            for name, found in self.differences.items()
            if AVERAGE in found
        ]


#: How two contenders are compared, by whether they are recipes of several seeds.
TESTS = {
    False: "paired bootstrap over the pairs, both models on the same resamples, task by task",
    True: "Welch's t over the seeds, with the covariance of the test pairs that seeds share",
}


def compare_results(
    contenders: Mapping[str, Sequence[STSResult]],
    tasks: Sequence[PairTask],
    *,
    baseline: str | None = None,
    draws: int = 10_000,
    seed: int = 0,
    clustered: bool = False,
    level: float = 0.95,
) -> STSComparison:
    """Compare models, or recipes of several seeds, with one of them.

    Args:
        contenders: by name, the result of a model, or the results of a recipe's seeds; all of
            the same tasks and aggregation.
        tasks: those the results are of.
        baseline: name of the one the others are compared with; the first by default.
        draws, seed, clustered, level: as for `intervals`; all models see the same resamples.

    Raises:
        InputError: fewer than two contenders, no such baseline, models beside recipes, and as
            `resample` does.
    """
    seeds = {name: len(results) for name, results in contenders.items()}
    base = check_contenders(seeds, baseline)
    every = [result for results in contenders.values() for result in results]
    over = every[0].average_over
    resampled = resample(every, tasks, draws=draws, seed=seed)
    rows = _rows(seeds)
    options: dict[str, Any] = {"clustered": clustered, "level": level}
    differences, missing = _differences(resampled, rows, base, over, **options)
    return STSComparison(
        base,
        {one: read_intervals(resampled, rows[one], over, **options) for one in rows},
        differences,
        missing,
        over,
        seeds,
        draws,
        clustered,
        level,
    )


def check_contenders(seeds: Mapping[str, int], baseline: str | None = None) -> str:
    """The baseline's name; InputError where these, by name their number of seeds, are no match.

    To be asked before anything is embedded; `compare_results` asks too.
    """
    names = list(seeds)
    if len(names) < 2 or (baseline is not None and baseline not in names):
        raise InputError(
            f"{' and '.join(names) or 'Nothing'} cannot be compared with {baseline or 'nothing'}:"
            " give two models or more, the baseline among them."
        )
    alone = [name for name in names if seeds[name] == 1]
    if alone and len(alone) < len(names):
        several = next(name for name in names if seeds[name] > 1)
        raise InputError(
            f"{alone[0]} is one model and {several} is {seeds[several]} seeds of a recipe: one"
            " training does not tell how its recipe varies; compare models with models (a seed's"
            " own folder) and recipes with recipes."
        )
    return names[0] if baseline is None else baseline


def _rows(seeds: Mapping[str, int]) -> dict[str, range]:
    rows, first = {}, 0
    for name, count in seeds.items():
        rows[name] = range(first, first + count)
        first += count
    return rows


def _differences(
    resampled: Bootstrap,
    rows: Mapping[str, range],
    baseline: str,
    average_over: Sequence[str],
    *,
    clustered: bool,
    level: float,
) -> tuple[dict[str, dict[str, Comparison]], dict[str, str]]:
    """By contender and figure; and why figures are missing."""
    others = [name for name in rows if name != baseline]
    found: dict[str, dict[str, Comparison]] = {name: {} for name in others}
    missing: dict[str, str] = {}
    figures = [(AVERAGE, list(average_over)), *((task, [task]) for task in resampled.tasks)]
    for label, members in figures:
        try:
            figure = resampled.figure(members, clustered=clustered)
            if len(rows[baseline]) == 1:
                base = rows[baseline][0]
                alone = [compare(figure, rows[one][0], base, level=level) for one in others]
            else:
                base_rows = rows[baseline]
                alone = [compare_recipes(figure, rows[o], base_rows, level=level) for o in others]
        except InputError as error:
            missing[label] = str(error)
            continue
        adjusted = holm([one.p_value for one in alone])
        for name, one, p_value in zip(others, alone, adjusted, strict=True):
            found[name][label] = replace(one, p_adjusted=p_value)
    return found, missing


def _over(tasks: Sequence[str]) -> str:
    if tuple(tasks) == SUITE:
        return "on average over the seven tasks"
    return f"on {tasks[0]}" if len(tasks) == 1 else f"on average over {', '.join(tasks)}"


def in_words(one: Comparison, baseline: str, over: str, comparisons: int) -> str:
    """The difference as a sentence goes on after the model's name, with what can be told of it."""
    more = "above" if one.difference > 0 else "below"
    low, high = one.interval.low, one.interval.high
    p = shown_p(one.p_value)
    if comparisons > 1:
        p += f", {shown_p(one.p_adjusted)} corrected for {comparisons} comparisons (Holm)"
    told = "can be told" if one.p_adjusted <= round(1 - one.interval.level, 9) else "cannot be told"
    return (
        f"{abs(one.difference):.2f} points {more} {baseline} {over}"
        f" ({100 * one.interval.level:g} % interval {low:+.2f} to {high:+.2f}, {p}): the"
        f" difference {told} from zero."
    )


def shown_p(p_value: float) -> str:
    """A p-value as a reader wants it."""
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.3f}"
