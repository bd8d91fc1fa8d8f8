"""Intervals between 0 and 100: Wilson's of a share, and of figures as uncertain as one."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest, t

from simcse_kit.errors import InputError
from simcse_kit.evaluation.statistics import (
    bounded_interval,
    bounded_mean,
    mean_estimates,
    near_a_bound,
)


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
