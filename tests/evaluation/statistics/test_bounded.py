"""Intervals between 0 and 100: Wilson's of a share, and of figures as uncertain as one."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import binomtest, norm, t

from simcse_kit.errors import InputError
from simcse_kit.evaluation.search.duplicates import figures_of_pairs, pair_items
from simcse_kit.evaluation.statistics import (
    Figure,
    Interval,
    alike,
    bounded_interval,
    bounded_mean,
    compare,
    design_effect,
    mean_estimates,
    near_a_bound,
    percentile_interval,
)
from simcse_kit.evaluation.task_result import means


@pytest.mark.parametrize(("right", "n"), [(0, 20), (1, 20), (15, 20), (20, 20), (999, 1000)])
@pytest.mark.parametrize("level", [0.9, 0.95])
def test_of_a_share_it_is_wilsons(right: int, n: int, level: float) -> None:
    expected = binomtest(right, n).proportion_ci(level, method="wilson")
    values = 100.0 * (np.arange(n) < right)
    p = right / n
    for found in (
        bounded_mean(values, level=level),
        bounded_interval(100 * p, 1e4 * p * (1 - p) / n, n, level=level),
        bounded_interval(100 * p, 0.0, n, level=level),
    ):
        assert (found.low, found.high) == pytest.approx((100 * expected.low, 100 * expected.high))
        assert found.level == level


def test_of_many_values_it_is_students_and_never_past_a_bound() -> None:
    rng = np.random.default_rng(0)
    values = rng.uniform(20, 90, 4000)
    found = bounded_mean(values, items_each=10)
    expected = t.interval(0.95, 3999, values.mean(), values.std(ddof=1) / 4000**0.5)
    assert (found.low, found.high) == pytest.approx(expected, abs=0.01)
    few = bounded_mean(np.array([100.0, 93.0, 99.0]))
    assert 0 < few.low < few.high < 100


def test_means_near_a_bound_have_it_and_others_the_bootstraps() -> None:
    recall, ndcg = np.full(30, 100.0), np.random.default_rng(0).uniform(30, 70, 30)
    found = mean_estimates({"recall": recall, "ndcg": ndcg}, draws=500, bounded=True)
    plain = mean_estimates({"recall": recall, "ndcg": ndcg}, draws=500)
    assert near_a_bound(recall) and not near_a_bound(ndcg)
    assert found["recall"].interval == bounded_mean(recall)
    assert found["recall"].interval.low < 90 and plain["recall"].interval.low == 100
    assert found["ndcg"] == plain["ndcg"]


def test_no_level_is_refused() -> None:
    with pytest.raises(InputError, match="between 0 and 1"):
        bounded_interval(50, 1, 10, level=95)


def test_models_that_no_item_tells_apart_have_tangos_interval() -> None:
    """Both right everywhere: [0, 0] said that no other item could tell them apart."""
    right = 100.0 * np.ones(80)
    items = means({"recall": right})
    figure = items.together([items, items], draws=200, seed=0)["recall"]
    found = compare(figure, 0, 1)
    assert (found.difference, found.p_value) == (0, 1)
    half = 100 * tango(0, 0, 80)[1]
    assert (found.interval.low, found.interval.high) == pytest.approx((-half, half))
    # One right where the other is wrong, everywhere, and one that differs somewhere.
    wrong = means({"recall": 0 * right})
    found = compare(items.together([items, wrong], draws=200, seed=0)["recall"], 0, 1)
    assert (found.interval.low, found.interval.high) == pytest.approx(
        (100 * tango(80, 0, 80)[0], 100)
    )
    some = means({"recall": right * (np.arange(80) < 60)})
    figure = items.together([items, some], draws=200, seed=0)["recall"]
    assert compare(figure, 0, 1).interval == percentile_interval(
        figure.combine(np.array([1, -1]))[1]
    )
    # A Spearman is no share: nothing is known of what another pair may do to it.
    same = Figure(np.array([70.0, 70.0]), np.full((99, 2), 70.0))
    assert compare(same, 0, 1).interval == Interval(0, 0, 0.95)


def tango(first: int, second: int, n: int) -> tuple[float, float]:
    """Tango's score interval of (b − c) / n, from its definition: where the statistic is ± z."""

    def statistic(delta: float) -> float:
        a, b = 2 * n, -first - second + (2 * n - first + second) * delta
        q = (max(0.0, b * b + 4 * a * second * delta * (1 - delta)) ** 0.5 - b) / (2 * a)
        variance = n * (2 * q + delta * (1 - delta))
        return float((first - second - n * delta) / max(variance, 1e-12) ** 0.5)

    z, middle = norm.ppf(0.975), (first - second) / n
    low = brentq(lambda d: statistic(d) - z, -1 + 1e-9, middle - 1e-9)
    high = 1.0 if middle == 1 else brentq(lambda d: statistic(d) + z, middle + 1e-9, 1 - 1e-9)
    return low, high


def test_pairs_that_share_count_together_where_no_error_tells_how_alike_they_are() -> None:
    """A figure of 100 over pairs of one query had the interval of as many queries."""
    sentences = np.stack([np.repeat(np.arange(30), 10), np.arange(30, 330)], axis=1)
    assert alike(sentences) == 10
    labels = np.tile([1.0, 0.0], 150)
    found = figures_of_pairs(labels, labels, sentences)["accuracy"]
    assert found.value == 100
    expected = bounded_interval(100, 0, 30)
    assert found.interval is not None and found.interval.low == pytest.approx(expected.low)
    # One error in 300 pairs is hardly more; many tell by themselves.
    assert design_effect(1.0, 1.0, 300, 10) == pytest.approx((1 + 10 / 9) / (1 + 1 / 9))
    assert design_effect(50.0, 75.0, 300, 10) == pytest.approx(1.5, abs=0.03)
    assert design_effect(0.0, 0.0) == 1 and design_effect(4.0, 2.0) == 1
    # Two models that are right everywhere differ by as little as so many queries tell.
    items = pair_items(labels, labels, sentences, also=("accuracy",))
    figure = items.together([items, items], draws=100, seed=0)["accuracy"]
    assert compare(figure, 0, 1).interval.high == pytest.approx(100 * tango(0, 0, 30)[1])
    # Wherever a sum is spread, it stays within 100 points.
    far = Figure(
        np.array([99.0, 1.0]), np.array([[99, 1], [80, 20.0]] * 60), np.eye(2), 40 * np.eye(2), 20
    )
    assert np.abs(far.combine(np.array([1.0, -1.0]))[1]).max() <= 100
