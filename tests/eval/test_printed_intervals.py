"""Intervals of every kind hold the truth, in brief; `printed_intervals` itself takes minutes."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import average_precision_score

from eval.quality import printed_intervals
from eval.quality.printed_intervals import cases, held

# Of 150 test sets a rate of 95 % has a standard error of 1.8 points; these are seeded.
_SIMULATIONS, _DRAWS = 150, 99
_QUICK = [
    "accuracy 0.99, 20 examples",
    "recall 0.99, 20 queries",
    "MRR, 0.9 first, 20 queries",
    "macro-F1 0.95 of 2 classes, 100 examples",
    "F1 0.95, 20 examples",
    "ap of 100 pairs, 0.4 duplicates, 3.0 sd apart",
    "f1 of 100 pairs, 0.4 duplicates, 1.0 sd apart",
    "accuracy of 100 pairs, 0.4 duplicates, 1.0 sd apart",
    "few-shot 0.97, 3 episodes",
    "few-shot 0.6, 20 episodes",
]


@pytest.mark.parametrize("name", _QUICK)
def test_intervals_hold_the_truth(name: str) -> None:
    rates = cases(_SIMULATIONS, _DRAWS)[name]()
    assert rates["covered"] >= 90.0
    assert rates["mean width"] < 60


def test_the_simulations_truths_are_those_of_large_samples() -> None:
    rng = np.random.default_rng(0)
    labels = (rng.random(200_000) < 0.3).astype(float)
    cosines = rng.normal(1.5 * labels)
    expected = 100 * average_precision_score(labels, cosines)
    assert 100 * printed_intervals._true_ap(1.5, 0.3) == pytest.approx(expected, abs=0.3)
    thresholds = np.array([[0.5, 0.9], [1.0, 1.0]])
    truth = printed_intervals._called(thresholds, 1.5, 0.3)
    called = cosines >= np.tile(thresholds[0], 100_000)
    assert truth["precision"] == pytest.approx(100 * labels[called].mean(), abs=0.5)
    assert truth["recall"] == pytest.approx(100 * called[labels == 1].mean(), abs=0.5)
    right = ((cosines >= 1.0) == (labels == 1)).mean()
    assert truth["accuracy"] == pytest.approx(100 * right, abs=0.5)


def test_every_size_and_the_claim_are_there() -> None:
    names = cases(2, 99)
    assert all(any(f" {n} " in name for name in names) for n in printed_intervals.SIZES)
    rates = {"accuracy 0.5, 20 examples": held(iter(printed_intervals.shares(0.5, 20, 50)))}
    rates |= {f"x, {n} y": {"covered": 95.0} for n in (100, 1000)}
    rates |= {"two": {"significant": 4.0}}
    said = printed_intervals.claim({"simulations": 50, "rates": rates})
    assert "at 20 items; 95.0 % (95.0 to 95.0) at 100 items" in said and "4.0 % at most" in said
