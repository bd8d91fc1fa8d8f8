"""How sure STS results are: from what `evaluate` measured to the arrays that are resampled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import numpy as np

from simcse_kit.errors import InputError
from simcse_kit.evaluation.statistics import (
    Bootstrap,
    Interval,
    PairScores,
    bootstrap,
    estimate,
    summarise_seeds,
)
from simcse_kit.evaluation.sts.suite import Geometry, PairTask, STSResult, TaskScore


@dataclass(frozen=True)
class STSIntervals:
    """The interval of each task's Spearman ×100, and of the average over `average_over`.

    Attributes:
        tasks, average: of the tasks that have an interval; `missing` says why others have none.
        sd: standard deviations over `seeds` trainings by task, and "average"; {} for one model,
            whose intervals are over other test pairs alone and not over other trainings.
        draws, clustered, level: how they were made (see `intervals`); clustered, whether pairs
            that share a sentence were taken together in any of them.
    """

    tasks: dict[str, Interval]
    average: Interval | None
    average_over: tuple[str, ...]
    draws: int
    clustered: bool
    level: float
    missing: dict[str, str] = field(default_factory=dict)
    seeds: int = 1
    sd: dict[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain values, ready for `json.dumps`."""
        return asdict(self)


def intervals(
    result: STSResult,
    tasks: Sequence[PairTask],
    *,
    draws: int = 10_000,
    seed: int = 0,
    clustered: bool | None = None,
    level: float = 0.95,
) -> STSIntervals:
    """Intervals of a result over other pairs of the same kind, by bootstrap over its pairs.

    A task that is too small for one, or has too few sentences for a clustered one, is named with
    the reason in `missing`.

    Args:
        tasks: those the result is of.
        draws, seed: of the resamples; see `bootstrap`.
        clustered: do not take pairs that share a sentence for independent (`sharing`), by default
            where there are such pairs; False takes all for independent.
        level: of confidence.
    """
    resampled = resample([result], tasks, draws=draws, seed=seed)
    over = result.average_over
    return read_intervals(resampled, [0], over, clustered=clustered, level=level)


def summarise_runs(
    results: Sequence[STSResult],
    tasks: Sequence[PairTask],
    *,
    draws: int = 10_000,
    seed: int = 0,
    clustered: bool | None = None,
    level: float = 0.95,
) -> tuple[STSResult, STSIntervals]:
    """Several seeds of one recipe: the mean of their results, with its intervals and their sd.

    The intervals are over other trainings and other test pairs (`seeds.summarise_seeds`). Raises
    InputError for fewer than two results, and as `resample` does.
    """
    resampled = resample(results, tasks, draws=draws, seed=seed)
    rows, over = range(len(results)), results[0].average_over
    found = read_intervals(resampled, rows, over, clustered=clustered, level=level)
    return mean_result(results), found


def read_intervals(
    resampled: Bootstrap,
    rows: Sequence[int],
    average_over: Sequence[str],
    *,
    clustered: bool | None = None,
    level: float = 0.95,
) -> STSIntervals:
    """The intervals of a model (its row in `resampled`) or of a recipe (the rows of its seeds)."""
    found: dict[str, Interval] = {}
    sd: dict[str, float] = {}
    missing: dict[str, str] = {}
    together = False
    for name, members in [*((task, [task]) for task in resampled.tasks), ("average", average_over)]:
        try:
            figure = resampled.figure(members, clustered=clustered)
            together |= figure.clustered
            if len(rows) == 1:
                found[name] = estimate(figure, rows[0], level=level).interval
            else:
                summary = summarise_seeds(figure, rows, level=level)
                found[name], sd[name] = summary.interval, summary.sd
        except InputError as error:
            missing[name] = str(error)
    draws = len(next(iter(resampled.draws.values())))
    average = found.pop("average", None)
    return STSIntervals(
        found, average, tuple(average_over), draws, together, level, missing, len(rows), sd
    )


def resample(
    results: Sequence[STSResult],
    tasks: Sequence[PairTask],
    *,
    draws: int = 10_000,
    seed: int = 0,
) -> Bootstrap:
    """Results of several models, resampled together: a row a result in every figure.

    Each task's figure is the one the results hold, a mean over subsets where they are aggregated
    so. Raises InputError where a result is not of these tasks, or the aggregations differ.
    """
    how = {result.protocol["aggregation"] for result in results}
    if len(how) != 1:
        raise InputError(
            f"{len(results)} results with the aggregations {sorted(how)}: give at least one, and"
            " all of one aggregation."
        )
    numbers: dict[str, int] = {}
    samples = {}
    for task in tasks:
        for result in results:
            found = result.cosines.get(task.name)
            if found is None or len(found) != len(task):
                raise InputError(
                    f"The result of {result.model} has {0 if found is None else len(found):,}"
                    f" cosines for the {len(task):,} pairs of {task.name}: give the tasks that"
                    " were evaluated."
                )
        sentences = numbered_sentences(task, numbers)
        cosines = np.stack([result.cosines[task.name] for result in results])
        samples[task.name] = PairScores(
            task.gold, cosines, sentences, _parts(task, next(iter(how)))
        )
    return bootstrap(samples, draws=draws, seed=seed)


def numbered_sentences(task: PairTask, numbers: dict[str, int] | None = None) -> np.ndarray:
    """The two sentences of each pair as numbers (N, 2), equal but for case the same.

    `numbers` are those given so far, and grow: the same over several tasks.
    """
    numbers = {} if numbers is None else numbers
    both = zip(task.sentence1, task.sentence2, strict=True)
    found = [[numbers.setdefault(text.casefold(), len(numbers)) for text in pair] for pair in both]
    return np.array(found)


def mean_result(results: Sequence[STSResult]) -> STSResult:
    """The mean of results of several models on the same tasks, figure by figure; no cosines."""
    first = results[0]

    def score(task: str) -> TaskScore:
        each = [result.tasks[task] for result in results]
        spearman, pearson = (
            float(np.mean([getattr(one, name) for one in each])) for name in ("spearman", "pearson")
        )
        return TaskScore(spearman, pearson, each[0].n, {})

    return replace(
        first,
        tasks={task: score(task) for task in first.tasks},
        average=float(np.mean([result.average for result in results])),
        geometry=_mean_geometry([result.geometry for result in results]),
        cosines={},
    )


def _mean_geometry(found: Sequence[Geometry | None]) -> Geometry | None:
    known = [geometry for geometry in found if geometry is not None]
    if len(known) < len(found):
        return None
    return replace(
        known[0],
        alignment=float(np.mean([geometry.alignment for geometry in known])),
        uniformity=float(np.mean([geometry.uniformity for geometry in known])),
    )


def _parts(task: PairTask, aggregation: str) -> tuple[tuple[slice, float], ...]:
    if aggregation == "all" or not task.subsets:
        return ((slice(None), 1.0),)
    parts = task.subsets.values()
    return tuple((p, float(p.stop - p.start) if aggregation == "wmean" else 1.0) for p in parts)
