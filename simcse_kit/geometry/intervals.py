"""Intervals by resampling sentences, without ever comparing a sentence with its own copy.

A plain bootstrap draws N sentences with replacement and measures again. For figures over pairs
that is biased: a sentence that is drawn twice makes a pair at distance 0, which raises uniformity
by about its own standard error (its 95 % intervals covered 84 % in simulation), feigns hubs and
lowers every rank. Leaving those pairs out repairs the pair figures but costs O(N²) a draw.

Here the resampled thing is each sentence's influence on the figure, that is its first-order
effect: a figure over a resample is its value plus the mean influence of the sentences drawn
(Jaeckel 1972, the infinitesimal jackknife; Davison & Hinkley 1997, section 2.7). That costs
O(N) a draw, compares no copies, and for means over pairs has the spread of the bootstrap that
leaves the copies' pairs out. `tests/test_geometry_intervals.py` checks this, and by simulation
the coverage of every figure: 93 to 97 % for stated 95 %, 90 % for hubness, whose skewness hangs
on single hubs.
"""

from __future__ import annotations

import math

import numpy as np

from simcse_kit.errors import InputError
from simcse_kit.geometry.rows import whole_number

_AT_A_TIME = 1 << 22  # sentences drawn


def resampled_means(values: np.ndarray, draws: int, seed: int) -> np.ndarray:
    """Means of the columns of `values` (N, F) over `draws` resamples of its rows, (draws, F).

    The same N, draws and seed give the same resamples.
    """
    rng = np.random.default_rng(seed)
    n = len(values)
    some = max(1, _AT_A_TIME // n)
    parts = []
    for start in range(0, draws, some):
        count = min(some, draws - start)
        picks = rng.integers(n, size=(count, n)) + n * np.arange(count)[:, None]
        weights = np.bincount(picks.ravel(), minlength=count * n).reshape(count, n)
        parts.append(weights @ values / n)
    return np.concatenate(parts)


def percentiles(samples: np.ndarray, level: float) -> tuple[float, float]:
    """The central `level` of the samples (draws,), as (low, high)."""
    tail = (1 - level) / 2
    low, high = np.quantile(samples, [tail, 1 - tail])
    return float(low), float(high)


def student_interval(values: np.ndarray, level: float) -> tuple[float, float]:
    """Student's interval of the mean of a few independent values (n ≥ 2,), as (low, high)."""
    from scipy.stats import t

    n = len(values)
    reach = t.ppf((1 + level) / 2, n - 1) * values.std(ddof=1) / math.sqrt(n)
    return float(values.mean() - reach), float(values.mean() + reach)


def check_draws(draws: int, level: float) -> int:
    """`draws` as an int; InputError for too few, or for a level that is no probability."""
    if not (0 < level < 1 and math.isfinite(level)):
        raise InputError(f"The level of an interval lies between 0 and 1, not at {level}.")
    # Fewer leave nothing in the tails.
    return whole_number(draws, "draws", at_least=math.ceil(2 / (1 - level)))
