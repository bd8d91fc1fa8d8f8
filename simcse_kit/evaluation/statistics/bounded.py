"""Intervals of figures that cannot pass 0 and 100: shares, F1, average precision. Arrays only.

Wilson's (1927) is that of a share p of n independent items: all p' that a z-test does not reject,
hence between 0 and 1 and of some width where all items are right. Other figures are as uncertain
as a share of so many items as has their variance, n = p (1 − p) / variance, the effective sample
size of Korn & Graubard (1998, Survey Methodology 24:193–201); at the bounds, where no variance is
seen, and near them, where it is seen too small, of as many as they are over.
`eval/quality/interval_coverage.py` simulates how often they hold the truth.
"""

from __future__ import annotations

import numpy as np

from simcse_kit.errors import InputError
from simcse_kit.evaluation.statistics.intervals import Interval

# Values between the bounds that tell as much of the spread of a mean as that of a share is known.
_TELLING = 5


def bounded_interval(
    value: float,
    variance: float,
    items: float,
    *,
    level: float = 0.95,
    freedom: float = np.inf,
) -> Interval:
    """Wilson's interval of a figure ×100 with this variance, as of at most `items` items.

    Args:
        value: from 0 to 100. variance: of it, in points squared.
        items: how many independent items it is over.
        freedom: of the variance; Student's quantile is then taken.
    """
    from scipy.stats import t

    if not 0 < level < 1:
        raise InputError(f"A confidence level lies between 0 and 1, as 0.95 does; not {level:g}.")
    p = min(max(value / 100, 0.0), 1.0)
    n = items
    if variance > 0 and 0 < p < 1:
        n = min(items, p * (1 - p) / (variance / 1e4))
    z2 = float(t.ppf((1 + level) / 2, freedom)) ** 2 / n
    middle = (p + z2 / 2) / (1 + z2)
    half = (z2 * (p * (1 - p) + z2 / 4)) ** 0.5 / (1 + z2)
    low, high = max(0.0, middle - half), min(1.0, middle + half)
    # At the bounds the ends are exact but for rounding.
    return Interval(100 * low if p > 0 else 0.0, 100 * high if p < 1 else 100.0, level)


def bounded_mean(values: np.ndarray, *, items_each: float = 1.0, level: float = 0.95) -> Interval:
    """The interval of the mean of independent values from 0 to 100 (N,), each of `items_each`.

    Values between the bounds tell that the mean varies less than a share of N: the more of them,
    the more their variance is believed.
    """
    n = len(values)
    variance = float(values.var(ddof=1)) / n if n > 1 else 0.0
    between = int(((values > 0) & (values < 100)).sum())
    only_bounds = not between and items_each == 1
    return bounded_interval(
        float(values.mean()),
        0.0 if only_bounds else variance,
        n * items_each * (1 + between / _TELLING),
        level=level,
        freedom=np.inf if only_bounds else max(1, n - 1),
    )


def near_a_bound(values: np.ndarray, fewest: int = 10) -> bool:
    """Whether values from 0 to 100 (N,) add up to fewer than so many whole ones from a bound."""
    total = float(values.sum()) / 100
    return min(total, len(values) - total) < fewest
