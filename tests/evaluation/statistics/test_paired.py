"""Models on the same resamples: against resampling one item at a time, and against scipy."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from scipy.stats import bootstrap as scipy_bootstrap

from simcse_kit.errors import InputError
from simcse_kit.evaluation.statistics.intervals import compare_many
from simcse_kit.evaluation.statistics.paired import Resampled, resample_together


def mean_of(values: np.ndarray) -> Resampled:
    return lambda counts: {"mean": counts @ values / counts.sum(axis=1)}


def test_draws_are_those_of_whole_resamples() -> None:
    """The counts stand for resampled items: the same generator, item by item, gives the figure."""
    rng = np.random.default_rng(1)
    values = rng.normal(size=(2, 7))
    found = resample_together([mean_of(each) for each in values], 7, draws=50, seed=3)["mean"]
    np.testing.assert_allclose(found.observed, values.mean(axis=1))
    again = np.random.default_rng(3).integers(0, 7, size=(50, 7))
    expected = np.stack([values[:, drawn].mean(axis=1) for drawn in again])
    np.testing.assert_allclose(found.draws, expected)


def test_the_interval_of_a_paired_difference_agrees_with_scipy() -> None:
    rng = np.random.default_rng(0)
    first = rng.normal(size=200)
    second = first + rng.normal(0.1, 0.5, size=200)
    figure = resample_together([mean_of(first), mean_of(second)], 200, draws=9_999)["mean"]
    (one,) = compare_many(figure, [(1, 0)])
    result = scipy_bootstrap(
        (second - first,), np.mean, n_resamples=9_999, method="percentile", random_state=5
    )
    low, high = result.confidence_interval
    assert one.difference == pytest.approx((second - first).mean())
    width = high - low
    assert one.interval.low == pytest.approx(low, abs=0.05 * width)
    assert one.interval.high == pytest.approx(high, abs=0.05 * width)


def test_blocks_do_not_change_the_draws(monkeypatch: pytest.MonkeyPatch) -> None:
    models = [mean_of(np.arange(5.0)), mean_of(np.arange(5.0) ** 2)]
    whole = resample_together(models, 5, draws=40)["mean"].draws
    monkeypatch.setattr("simcse_kit.evaluation.statistics.paired._BLOCK", 15)
    np.testing.assert_array_equal(resample_together(models, 5, draws=40)["mean"].draws, whole)


def test_resamples_without_a_figure_are_left_out_for_all_models() -> None:
    def first_drawn(counts: np.ndarray) -> Mapping[str, np.ndarray]:
        return {"f": np.where(counts[:, 0] > 0, 1.0, np.nan)}

    def always(counts: np.ndarray) -> Mapping[str, np.ndarray]:
        return {"f": counts[:, 0].astype(float), "more": np.zeros(len(counts))}

    found = resample_together([first_drawn, always], 4, draws=1_000)
    assert list(found) == ["f"]
    draws = found["f"].draws
    # an item is drawn at least once with probability 1 − (3/4)⁴
    assert len(draws) == pytest.approx(1_000 * (1 - 0.75**4), abs=60)
    assert (draws[:, 1] >= 1).all()


def test_a_figure_that_hardly_ever_exists_is_named() -> None:
    def never(counts: np.ndarray) -> Mapping[str, np.ndarray]:
        return {"f": np.full(len(counts), np.nan)}

    with pytest.raises(InputError, match="f does not exist in most resamples"):
        resample_together([never], 4, draws=10)
