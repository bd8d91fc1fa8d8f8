"""On which scale gold scores are, and which pairs of it are close."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest

from simcse_kit.geometry import band_edges, close_above, close_pairs, measure_space, scale_of


def scores(low: float, high: float, n: int = 500) -> np.ndarray:
    return np.concatenate([[low, high], np.random.default_rng(0).uniform(low, high, n)])


@pytest.mark.parametrize(
    ("low", "high", "scale", "above"),
    [
        (0, 5, (0, 5), 4.0),
        (1, 5, (0, 5), 4.0),  # SICK
        (0, 4.8, (0, 5), 4.0),  # some years of STS
        (0, 1, (0, 1), 0.8),
        (-1, 1, (-1, 1), 0.6),
        (0, 2, (0, 2), 1.6),
        (0, 3, (0, 3), 2.4),
        (1, 7, (0, 7), 5.6),
        (0, 10, (0, 10), 8.0),
        (0, 100, (0, 100), 80.0),
        (0, 88, (0, 100), 80.0),
        (0, 16, (0, 16), 12.8),
        (0, 1000, (0, 1000), 800.0),
    ],
)
def test_close_pairs_are_the_top_fifth_of_the_scale(
    low: float, high: float, scale: tuple[float, float], above: float
) -> None:
    gold = scores(low, high)
    assert scale_of(gold) == scale
    assert close_above(gold) == above
    assert 0 < (gold > above).mean() < 0.3


def test_nearly_all_pairs_are_never_close_but_on_the_scale_of_sts() -> None:
    assert close_above(scores(90, 100)) == 98.0
    assert close_above(scores(0.85, 1.0)) == pytest.approx(0.97)
    assert close_above(scores(4.5, 5.0)) == 4.0  # as ever


def test_the_scale_is_said_where_it_is_not_that_of_sts() -> None:
    assert close_pairs(4.0, (0.0, 5.0)) == "gold > 4"
    assert close_pairs(80.0, (0.0, 100.0)) == "gold > 80, on a scale from 0 to 100"


def test_alignment_is_over_the_close_pairs_of_any_scale() -> None:
    rng = np.random.default_rng(1)
    x = rng.normal(size=(80, 8))
    pairs, gold = rng.permutation(80).reshape(40, 2), rng.uniform(0, 5, 40)
    gold[:2] = 0, 5
    expected = measure_space(x, pairs=pairs, gold=gold, batch=16).figures["alignment"]
    assert expected.n == (gold > 4).sum()
    for stretched in (gold / 5, 20 * gold, 2 * gold / 5 - 1, 0.4 * gold, 0.6 * gold):
        found = measure_space(x, pairs=pairs, gold=stretched, batch=16)
        assert found.figures["alignment"] == expected
        assert found.settings["threshold"] == close_above(stretched)


@pytest.mark.parametrize(
    ("gold", "edges"),
    [
        (scores(0, 5), [0, 1, 2, 3, 4, 5]),
        (scores(1, 5), [1, 2, 3, 4, 5]),
        (scores(0, 4.4), [0, 1, 2, 3, 4, 5]),
        (scores(0, 3), [0, 1, 2, 3]),
        (np.array([0.0, 1, 2, 3]), [0, 1, 2, 3]),
        (np.array([0.0, 1, 2]), [0, 0.5, 1, 1.5, 2]),
        (scores(0, 2), [0, 0.5, 1, 1.5, 2]),
        (np.array([0.0, 1.0]), [0, 0.2, 0.4, 0.6, 0.8, 1]),
        (scores(-1, 1), [-1, -0.6, -0.2, 0.2, 0.6, 1]),
        (scores(4.2, 5), [4.2, 4.36, 4.52, 4.68, 4.84, 5]),  # not one band, compared with itself
        (np.array([0.1111, 0.1112]), [0.1111, 0.11112, 0.11114, 0.11116, 0.11118, 0.1112]),
    ],
)
def test_bands_begin_and_end_with_pairs(gold: np.ndarray, edges: list[float]) -> None:
    found = band_edges(gold)
    np.testing.assert_allclose(found, edges, atol=1e-9)
    inside = [((gold >= a) & (gold < b)).sum() for a, b in pairwise(found)]
    inside[-1] += (gold == found[-1]).sum()
    assert inside[0] and inside[-1] and sum(inside) == len(gold)
