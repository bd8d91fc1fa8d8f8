"""Model against model, or recipe against recipe, on the same STS pairs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from simcse_kit.errors import InputError
from simcse_kit.evaluation.statistics import (
    Bootstrap,
    Comparison,
    compare,
    compare_recipes,
    enough_draws,
    holm,
)
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
            of Spearman ×100 above the baseline. Holm's correction is over `family` comparisons
            (these, or all pairs), for each figure by itself.
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
    family: int

    @property
    def of_recipes(self) -> bool:
        """Whether the contenders are recipes of several seeds."""
        return min(self.seeds.values()) > 1

    def to_json(self) -> dict[str, Any]:
        """Plain values, ready for `json.dumps`."""
        return asdict(self) | {"test": TESTS[self.of_recipes]}

    def sentences(self) -> list[str]:
        """For each contender in plain words: better or worse than the baseline, or not to tell."""
        over = _over(self.average_over)
        return [
            f"{name} is {in_words(found[AVERAGE], self.baseline, over, self.family)}"
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
    clustered: bool | None = None,
    level: float = 0.95,
) -> STSComparison:
    """Compare models, or recipes of several seeds, with one of them.

    Args:
        contenders: by name, the result of a model, or the results of a recipe's seeds; all of
            the same tasks and aggregation.
        tasks: those the results are of.
        baseline: name of the one the others are compared with; the first by default.
        draws, seed, clustered, level: as for `intervals`; all models see the same resamples, as
            many as Holm's correction takes at least (`enough_draws`).

    Raises:
        InputError: fewer than two contenders, no such baseline, models beside recipes, and as
            `resample` does.
    """
    seeds = {name: len(results) for name, results in contenders.items()}
    base = check_contenders(seeds, baseline)
    others = [name for name in seeds if name != base]
    how: dict[str, Any] = {"draws": draws, "seed": seed, "clustered": clustered, "level": level}
    return _compare(contenders, tasks, [(base, others)], **how)[0]


def compare_pairwise(
    contenders: Mapping[str, Sequence[STSResult]],
    tasks: Sequence[PairTask],
    *,
    draws: int = 10_000,
    seed: int = 0,
    clustered: bool | None = None,
    level: float = 0.95,
) -> list[STSComparison]:
    """Compare each with each: every contender but the last is the baseline of those after it.

    Holm's correction is over all the pairs. For the rest see `compare_results`.
    """
    names = list(contenders)
    check_contenders({name: len(results) for name, results in contenders.items()})
    families = [(base, names[place:]) for place, base in enumerate(names[:-1], start=1)]
    how: dict[str, Any] = {"draws": draws, "seed": seed, "clustered": clustered, "level": level}
    return _compare(contenders, tasks, families, **how)


def _compare(
    contenders: Mapping[str, Sequence[STSResult]],
    tasks: Sequence[PairTask],
    families: Sequence[tuple[str, Sequence[str]]],
    *,
    draws: int,
    seed: int,
    clustered: bool | None,
    level: float,
) -> list[STSComparison]:
    """A comparison for each baseline with the others of it, all of one resampling."""
    every = [result for results in contenders.values() for result in results]
    over = every[0].average_over
    draws = enough_draws(draws, sum(len(others) for _, others in families), level)
    resampled = resample(every, tasks, draws=draws, seed=seed)
    seeds = {name: len(results) for name, results in contenders.items()}
    rows = _rows(seeds)
    options: dict[str, Any] = {"clustered": clustered, "level": level}
    sure = {one: read_intervals(resampled, rows[one], over, **options) for one in rows}
    alone = [_differences(resampled, rows, base, o, over, **options) for base, o in families]
    together = any(one.clustered for one in sure.values())
    adjusted = _corrected([found for found, _ in alone])
    family = sum(map(len, adjusted))
    return [
        STSComparison(base, sure, found, missing, over, seeds, draws, together, level, family)
        for (base, _), found, (_, missing) in zip(families, adjusted, alone, strict=True)
    ]


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
    others: Sequence[str],
    average_over: Sequence[str],
    *,
    clustered: bool | None,
    level: float,
) -> tuple[dict[str, dict[str, Comparison]], dict[str, str]]:
    """By contender and figure, each p-value by itself; and why figures are missing."""
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
        for name, one in zip(others, alone, strict=True):
            found[name][label] = one
    return found, missing


def _corrected(
    families: Sequence[dict[str, dict[str, Comparison]]],
) -> list[dict[str, dict[str, Comparison]]]:
    """The same with p-values corrected by Holm over all that is compared, figure by figure."""
    every = [found for family in families for found in family.values()]
    corrected: list[dict[str, Comparison]] = [{} for _ in every]
    for label in dict.fromkeys(label for found in every for label in found):
        have = [place for place, found in enumerate(every) if label in found]
        adjusted = holm([every[place][label].p_value for place in have])
        for place, p_value in zip(have, adjusted, strict=True):
            corrected[place][label] = replace(every[place][label], p_adjusted=p_value)
    rest = iter(corrected)
    return [{name: next(rest) for name in family} for family in families]


def _over(tasks: Sequence[str]) -> str:
    if tuple(tasks) == SUITE:
        return "on average over the seven tasks"
    return f"on {tasks[0]}" if len(tasks) == 1 else f"on average over {', '.join(tasks)}"


def in_words(one: Comparison, baseline: str, over: str, comparisons: int) -> str:
    """The difference as a sentence goes on after the model's name, with what can be told of it."""
    side = f"{abs(one.difference):.2f} points {'above' if one.difference > 0 else 'below'}"
    if abs(one.difference) < 1e-9:  # a difference that rounds to 0.00 may still be told
        side = "level with"
    low, high = one.interval.low, one.interval.high
    p = shown_p(one.p_value)
    if comparisons > 1:
        p += f", {shown_p(one.p_adjusted)} corrected for {comparisons} comparisons (Holm)"
    told = "can be told" if one.told else "cannot be told"
    return (
        f"{side} {baseline} {over}"
        f" ({100 * one.interval.level:g} % interval {low:+.2f} to {high:+.2f}, {p}): the"
        f" difference {told} from zero."
    )


def by_chance(columns: int, level: float) -> str:
    """How many of several columns, each tested by itself, would show a difference by chance."""
    if columns < 2:
        return ""
    return (
        f"Each of the {columns} columns is tested by itself: where no model differed in any, about"
        f" {columns * (1 - level):.2g} of them would be told from zero all the same, by chance."
    )


def shown_p(p_value: float) -> str:
    """A p-value as a reader wants it."""
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.3f}"
