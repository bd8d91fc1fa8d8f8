"""How sure a Spearman is, and whether one model is really better than another. Arrays only.

Figures and their draws come from `bootstrap`. Intervals are percentile intervals and p-values
their inversion, so that p ≤ 0.05 exactly where the 95 % interval of the difference leaves out zero
(Efron & Tibshirani 1993, ch. 13; Davison & Hinkley 1997, § 5.2). They speak of other test pairs
for the same models; what other training seeds would do is in `seeds`.

Plain percentiles, because they suffice: `eval/quality/interval_coverage.py` simulates how often
they hold the truth and how often the test errs. BCa, Fisher's z and the centred bootstrap were
tried beside them from 50 pairs to 1,500 and ρ = 0.3 to 0.9; the intervals were no better, the test
of centred draws more conservative in small sets.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from simcse_kit.errors import InputError
from simcse_kit.evaluation.statistics.bootstrap import Figure

logger = logging.getLogger(__name__)

# Points of a figure ×100 that are rounding.
_SAME = 1e-9


@dataclass(frozen=True)
class Interval:
    """From `low` to `high`, in the unit of what it is about, at the confidence `level`."""

    low: float
    high: float
    level: float


@dataclass(frozen=True)
class Estimate:
    """A Spearman ×100 and its interval."""

    value: float
    interval: Interval


@dataclass(frozen=True)
class Comparison:
    """By how much the first is better, in points of Spearman ×100.

    `p_value` is two-sided, of the hypothesis that they are equal; `p_adjusted` is Holm's, the same
    where nothing else was compared.
    """

    difference: float
    interval: Interval
    p_value: float
    p_adjusted: float

    @property
    def told(self) -> int:
        """1 where the first is told to be better at the interval's level, −1 worse, 0 neither."""
        if self.p_adjusted > round(1 - self.interval.level, 9):  # 1 − 0.9 is below 0.1
            return 0
        return 1 if self.difference > 0 else -1


def estimate(figure: Figure, model: int = 0, *, level: float = 0.95) -> Estimate:
    """The figure of one model (its row), with its percentile interval."""
    observed, draws = figure.combine(figure.row(model))
    return Estimate(observed, percentile_interval(draws, level))


def compare(figure: Figure, model: int, baseline: int, *, level: float = 0.95) -> Comparison:
    """Is `model` better than `baseline` (their rows)? By the paired bootstrap.

    The difference is taken resample by resample. The two-sided p-value inverts its percentile
    interval: 2 (1 + min(#{d ≤ 0}, #{d ≥ 0})) / (B + 1), at most 1, hence never below 2 / (B + 1).
    Where no resample differs from another, as where both models are right everywhere, the interval
    of a figure over `items` is `no_other_interval`.
    """
    observed, differences = figure.combine(figure.row(model) - figure.row(baseline))
    fewest = min((differences <= 0).sum(), (differences >= 0).sum())
    p_value = min(1.0, 2 * (1 + int(fewest)) / (1 + len(differences)))
    interval = percentile_interval(differences, level)
    if figure.items is not None and np.ptp(differences) < _SAME:
        interval = no_other_interval(observed, figure.items / figure.alike, level)
    return Comparison(observed, interval, p_value, p_value)


def compare_many(
    figure: Figure, pairs: Sequence[tuple[int, int]], *, level: float = 0.95
) -> list[Comparison]:
    """`compare` for each (model, baseline), the p-values corrected together by `holm`.

    The intervals are each model's own, not corrected.
    """
    alone = [compare(figure, model, baseline, level=level) for model, baseline in pairs]
    adjusted = holm([comparison.p_value for comparison in alone])
    return [
        Comparison(one.difference, one.interval, one.p_value, p)
        for one, p in zip(alone, adjusted, strict=True)
    ]


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values of a family of tests that keep its error rate (Holm 1979), in the given order.

    The k-th smallest of m is multiplied by m − k + 1, made monotone, and cut at 1.
    """
    p = np.asarray(p_values, dtype=np.float64)
    if not ((p >= 0) & (p <= 1)).all():  # NaN is neither
        raise InputError("A p-value is a number from 0 to 1.")
    order = np.argsort(p, kind="stable")
    stepped = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)).clip(max=1.0)
    adjusted = np.empty_like(p)
    adjusted[order] = stepped
    return [float(value) for value in adjusted]


def enough_draws(draws: int, comparisons: int, level: float = 0.95) -> int:
    """`draws`, or as many as it takes for a test among so many to reach the level, and said.

    No p-value is below 2 / (draws + 1), which Holm's correction multiplies by the number of
    comparisons: with fewer draws, all would be chance, however far an interval is from zero. A
    tenth more, for resamples that are left out.
    """
    if not 0 < level < 1:
        raise InputError(f"A confidence level lies between 0 and 1, as 0.95 does; not {level:g}.")
    least = math.ceil(1.1 * 2 * comparisons / (1 - level))
    if draws < least:
        logger.warning(
            "%d draws are too few for Holm's correction over %d comparisons; there are %d",
            *(draws, comparisons, least),
        )
    return max(draws, least)


def no_other_interval(difference: float, items: float, level: float = 0.95) -> Interval:
    """Of a difference of shares ×100 that is the same at each of `items`: both right, say.

    None of them is another; of items like these a share of up to z² / (n + z²) may be, Wilson's
    bound, and each of those would take the difference to −100 or 100 at most. For models that are
    alike everywhere, and for one that is right where the other is wrong, this is the score interval
    of Tango (1998, Statistics in Medicine 17:891–908).
    """
    from scipy.stats import norm

    square = float(norm.ppf((1 + level) / 2)) ** 2
    other = square / (items + square)
    return Interval(
        difference - other * (100 + difference), difference + other * (100 - difference), level
    )


def percentile_interval(draws: np.ndarray, level: float = 0.95) -> Interval:
    """Between the k-th smallest and the k-th largest of B draws (B,), k = ⌊(B + 1)(1 − level)/2⌋.

    Order statistics and not interpolated quantiles, for they agree with the p-value of `compare`.
    """
    if not 0 < level < 1:
        raise InputError(f"A confidence level lies between 0 and 1, as 0.95 does; not {level:g}.")
    # The rounding keeps (B + 1) × 0.025 from falling just below a whole number.
    k = int(round((len(draws) + 1) * (1 - level) / 2, 9))
    if k < 1:
        raise InputError(
            f"An interval at {level:g} needs more than {len(draws)} draws: take 10,000."
        )
    ordered = np.sort(draws)
    return Interval(float(ordered[k - 1]), float(ordered[-k]), level)
