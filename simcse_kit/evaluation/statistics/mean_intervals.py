"""How sure a mean over queries is, by the bootstrap. Arrays only."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from simcse_kit.evaluation.statistics.bounded import bounded_mean, near_a_bound
from simcse_kit.evaluation.statistics.intervals import Estimate, percentile_interval

# Elements in a block of resamples.
_BLOCK = 1 << 20


def mean_estimates(
    values: Mapping[str, np.ndarray],
    *,
    draws: int = 10_000,
    seed: int = 0,
    level: float = 0.95,
    bounded: bool = False,
) -> dict[str, Estimate]:
    """The mean of each figure's values (N,), with its percentile interval over other queries.

    Of values `bounded` by 0 and 100, no differences, whose sum is less than ten whole ones from a
    bound, as where all queries are answered, it is Wilson's (`bounded_mean`).

    All figures are of the same N queries and see the same resamples of them. The same seed gives
    the same bits. Raises InputError for too few draws for the level, and no level.
    """
    table = np.stack(list(values.values()))
    n = table.shape[1]
    rng = np.random.default_rng(seed)
    means = np.empty((draws, len(table)))
    rows = max(1, _BLOCK // n)
    for start in range(0, draws, rows):
        size = min(rows, draws - start)
        drawn = rng.integers(0, n, size=(size, n)) + n * np.arange(size)[:, None]
        counts = np.bincount(drawn.reshape(-1), minlength=size * n).reshape(size, n)
        means[start : start + size] = counts @ table.T / n
    return {
        name: Estimate(
            float(row.mean()),
            bounded_mean(row, level=level)
            if bounded and near_a_bound(row)
            else percentile_interval(means[:, column], level),
        )
        for column, (name, row) in enumerate(zip(values, table, strict=True))
    }
