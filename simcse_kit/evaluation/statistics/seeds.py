"""Several training seeds of one recipe: their mean and spread, and recipe against recipe.

A seed's score varies with its training and with the test pairs, and part of the second is common
to all seeds of a recipe. The spread between seeds on one test set, s², holds the training and
whatever the pairs do to each seed alone; what it cannot see is what the pairs do to all seeds
alike, and that is the covariance of different seeds over the resamples of `bootstrap`:

    Var(mean of K) = s² / K + Cov(seed, other seed)

Degrees of freedom are Welch's and Satterthwaite's (Welch 1947), with K − 1 for s² and no limit for
the covariance, which thousands of pairs determine. Resampling the seeds as well, the hierarchical
bootstrap, is no way for 3 or 5 of them: it finds only (K − 1)/K of s² and knows no t.
`eval/quality/interval_coverage.py` simulates both functions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from simcse_kit.errors import InputError
from simcse_kit.evaluation.statistics.bootstrap import Figure
from simcse_kit.evaluation.statistics.intervals import Comparison, Interval


@dataclass(frozen=True)
class SeedSummary:
    """Mean and standard deviation (n − 1) of a figure over `seeds` trainings, Spearman ×100.

    The interval is that of the recipe's expected figure, over other seeds and other test pairs.
    """

    mean: float
    sd: float
    seeds: int
    interval: Interval


def summarise_seeds(
    figure: Figure, seeds: Sequence[int] | None = None, *, level: float = 0.95
) -> SeedSummary:
    """Mean ± sd of the rows `seeds` of the figure (all by default), with an interval.

    A figure with no draws, (0, M), gives Student's interval over the training seeds alone.
    Raises InputError for fewer than two seeds, which have no spread.
    """
    rows = list(range(len(figure.observed))) if seeds is None else list(seeds)
    scores = _scores(figure, rows)
    shared = _shared(figure.covariance(), rows, rows)
    mean, sd = float(scores.mean()), float(scores.std(ddof=1))
    half, _ = _student(0.0, [scores], shared, level)
    return SeedSummary(mean, sd, len(rows), _within(100.0, mean, half, level))


def compare_recipes(
    figure: Figure, recipe: Sequence[int], baseline: Sequence[int], *, level: float = 0.95
) -> Comparison:
    """Is `recipe` better than `baseline`, as recipes? Each is the rows of its seeds.

    Welch's t over the seeds, plus the variance of what the pairs do to all seeds of one recipe and
    not of the other: Cov within the one + Cov within the other − 2 Cov across, at least 0. A
    figure with no draws gives Welch's test over the training seeds alone. Raises InputError for
    fewer than two seeds of either.
    """
    first, second = _scores(figure, recipe), _scores(figure, baseline)
    covariance = figure.covariance()
    shared = (
        _shared(covariance, recipe, recipe)
        + _shared(covariance, baseline, baseline)
        - 2 * _shared(covariance, recipe, baseline)
    )
    difference = float(first.mean() - second.mean())
    half, p_value = _student(difference, [first, second], shared, level)
    interval = _within(200.0, difference, half, level)
    return Comparison(difference, interval, p_value, p_value)


def _within(most: float, middle: float, half: float, level: float) -> Interval:
    """Middle ± half, no further than `most`: no Spearman ×100 or difference of two lies beyond."""
    return Interval(max(-most, middle - half), min(most, middle + half), level)


def _scores(figure: Figure, rows: Sequence[int]) -> np.ndarray:
    if len(set(rows)) < 2 or len(set(rows)) < len(rows):
        raise InputError(
            f"The seeds {list(rows)} are too few or repeated: the spread over training seeds needs"
            " two different ones at least."
        )
    return np.array([figure.observed @ figure.row(row) for row in rows])


def _shared(covariance: np.ndarray, rows: Sequence[int], others: Sequence[int]) -> float:
    """Mean covariance of a seed of `rows` with a different one of `others`."""
    different = np.not_equal.outer(list(rows), list(others))
    return float(covariance[np.ix_(list(rows), list(others))][different].mean())


def _student(
    difference: float, recipes: Sequence[np.ndarray], shared: float, level: float
) -> tuple[float, float]:
    """Half the width of the interval, and the two-sided p-value of the difference."""
    from scipy.stats import t

    if not 0 < level < 1:
        raise InputError(f"A confidence level lies between 0 and 1, as 0.95 does; not {level:g}.")
    parts = [(scores.var(ddof=1) / len(scores), len(scores) - 1) for scores in recipes]
    training = sum(part for part, _ in parts)
    variance = float(training + max(0.0, shared))
    if variance == 0:  # seeds that agree to the last bit: nothing varies
        return 0.0, float(difference == 0)
    limits = sum(part**2 / freedom for part, freedom in parts)
    freedom = variance**2 / limits if limits else np.inf
    error = variance**0.5
    return (
        float(t.ppf(0.5 + level / 2, freedom)) * error,
        float(2 * t.sf(abs(difference) / error, freedom)),
    )
