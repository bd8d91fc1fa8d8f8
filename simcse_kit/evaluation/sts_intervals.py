"""How sure STS results are: from what `evaluate` measured to the arrays that are resampled."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from simcse_kit.errors import InputError
from simcse_kit.evaluation.bootstrap import Bootstrap, PairScores, bootstrap
from simcse_kit.evaluation.statistics import Interval, estimate
from simcse_kit.evaluation.sts import PairTask, STSResult


@dataclass(frozen=True)
class STSIntervals:
    """The interval of each task's Spearman ×100, and of the average over `average_over`."""

    tasks: dict[str, Interval]
    average: Interval
    average_over: tuple[str, ...]


def intervals(
    result: STSResult,
    tasks: Sequence[PairTask],
    *,
    draws: int = 10_000,
    seed: int = 0,
    clustered: bool = False,
    level: float = 0.95,
) -> STSIntervals:
    """Intervals of a result over other pairs of the same kind, by bootstrap over its pairs.

    Args:
        tasks: those the result is of.
        draws, seed: of the resamples; see `bootstrap`.
        clustered: do not take pairs that share a sentence for independent (`influence`).
        level: of confidence.
    """
    resampled = resample([result], tasks, draws=draws, seed=seed)

    def interval(names: Sequence[str]) -> Interval:
        figure = resampled.figure(names, clustered=clustered)
        return estimate(figure, level=level).interval

    each = {name: interval([name]) for name in resampled.tasks}
    return STSIntervals(each, interval(result.average_over), result.average_over)


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
        both = zip(task.sentence1, task.sentence2, strict=True)
        sentences = [[numbers.setdefault(text, len(numbers)) for text in pair] for pair in both]
        cosines = np.stack([result.cosines[task.name] for result in results])
        samples[task.name] = PairScores(
            task.gold, cosines, np.array(sentences), _parts(task, next(iter(how)))
        )
    return bootstrap(samples, draws=draws, seed=seed)


def _parts(task: PairTask, aggregation: str) -> tuple[tuple[slice, float], ...]:
    if aggregation == "all" or not task.subsets:
        return ((slice(None), 1.0),)
    parts = task.subsets.values()
    return tuple((p, float(p.stop - p.start) if aggregation == "wmean" else 1.0) for p in parts)
