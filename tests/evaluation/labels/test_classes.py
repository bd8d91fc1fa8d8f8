"""Accuracy and F1 with their intervals, against formulas, scikit-learn and plain resampling."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import f1_score

from simcse_kit.errors import InputError
from simcse_kit.evaluation.labels.classes import accuracy, class_numbers, f1, resampled


def answers(seed: int, n: int = 200, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    return labels, np.where(rng.random(n) < 0.7, labels, rng.integers(0, classes, n))


def test_accuracy_has_wilsons_interval() -> None:
    labels = np.array([0] * 60 + [1] * 40)
    predicted = np.array([0] * 85 + [1] * 15)  # 75 right of 100
    figure = accuracy(labels, predicted)
    z, p, n = 1.959964, 0.75, 100
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z * np.sqrt(p * (1 - p) / n + z * z / (4 * n * n)) / (1 + z * z / n)
    assert figure.value == 75
    assert figure.interval is not None
    ends = (figure.interval.low, figure.interval.high)
    assert ends == pytest.approx((100 * (centre - half), 100 * (centre + half)), abs=1e-4)
    all_right = accuracy(labels, labels).interval
    assert all_right is not None and all_right.low > 96 and all_right.high == 100


def test_f1_is_scikit_learns() -> None:
    labels, predicted = answers(0)
    macro = 100 * f1_score(labels, predicted, average="macro")
    assert f1(labels, predicted).value == pytest.approx(macro)
    two, called = answers(1, classes=2)
    assert f1(two, called, of_class=1).value == pytest.approx(100 * f1_score(two, called))
    # A class that nobody predicts has an F1 of 0; one that does not occur has none.
    some = np.array([0, 0, 1, 4])
    none = np.array([0, 0, 0, 0])
    assert f1(some, none).value == pytest.approx(
        100 * f1_score(some, none, average="macro", zero_division=0)
    )


@pytest.mark.parametrize("of_class", [None, 1])
def test_its_interval_is_about_that_of_resampled_examples(of_class: int | None) -> None:
    labels, predicted = answers(2, n=150, classes=3)
    figure = f1(labels, predicted, of_class=of_class)
    rng = np.random.default_rng(0)
    drawn = []
    average: dict[str, Any] = {"average": "macro"}
    if of_class is not None:
        average = {"labels": [of_class], "average": "macro"}
    for _ in range(300):
        rows = rng.integers(0, 150, 150)
        drawn.append(100 * f1_score(labels[rows], predicted[rows], **average))
    assert figure.interval is not None
    ends = (figure.interval.low, figure.interval.high)
    assert ends == pytest.approx(tuple(np.percentile(drawn, [2.5, 97.5])), abs=2)


def test_f1_of_all_right_is_not_certain() -> None:
    labels = np.repeat([0, 1, 2, 3], 25)
    macro, one = f1(labels, labels), f1(labels, labels, of_class=2)
    assert macro.value == one.value == 100
    assert macro.interval is not None and one.interval is not None
    # as an accuracy of 100 of 100; one class's is lowered by 1 / 50 by an error of either kind
    assert (macro.interval.low, macro.interval.high) == pytest.approx((96.30, 100), abs=0.01)
    assert (one.interval.low, one.interval.high) == pytest.approx((92.87, 100), abs=0.01)


def test_copies_of_examples_make_no_interval_shorter() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 60)
    predicted = np.where(rng.random(60) < 0.7, labels, rng.integers(0, 4, 60))
    of_three, groups = (np.repeat(labels, 3), np.repeat(predicted, 3)), np.repeat(np.arange(60), 3)
    for figure in (accuracy, f1):
        alone, with_copies = figure(labels, predicted), figure(*of_three, groups=groups)
        assert alone.interval is not None and with_copies.interval is not None
        assert with_copies.value == pytest.approx(alone.value)
        assert with_copies.interval.low == pytest.approx(alone.interval.low, abs=0.5)
        assert with_copies.interval.high == pytest.approx(alone.interval.high, abs=0.5)


def test_macro_f1_of_many_classes_of_few_examples_holds_the_truth() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(200):  # each F1 is 70, and of 8 examples by 3 or so too low
        labels = rng.integers(0, 50, 200)
        wrong = (labels + rng.integers(1, 50, 200)) % 50
        found = f1(labels, np.where(rng.random(200) < 0.7, labels, wrong)).interval
        assert found is not None
        covered += found.low <= 70 <= found.high
    assert covered >= 180  # 165 where the middle of the interval is the figure itself


def test_a_thousand_classes_take_no_time() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 1000, 5000)
    predicted = np.where(rng.random(5000) < 0.6, labels, rng.integers(0, 1000, 5000))
    counts = rng.multinomial(5000, np.full(5000, 1 / 5000), size=200)
    start = time.perf_counter()
    found = resampled(labels, predicted, np.arange(5000))(counts)[1]
    single = f1(labels, predicted)
    assert time.perf_counter() - start < 1  # of 10,000 resamples 400 s, once
    rows = np.repeat(np.arange(5000), counts[7])
    expected = 100 * f1_score(labels[rows], predicted[rows], average="macro")
    assert found[7] == pytest.approx(expected)
    assert single.value == pytest.approx(100 * f1_score(labels, predicted, average="macro"))


def test_labels_become_numbers_of_classes() -> None:
    numbers, classes = class_numbers(["b", "a", "b", "c"], 4)
    assert (numbers.tolist(), classes) == ([1, 0, 1, 2], ["a", "b", "c"])
    numbers, classes = class_numbers(np.array([7, 3, 7]), 3)
    assert (numbers.tolist(), classes) == ([1, 0, 1], [3, 7])


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["a", "a", "a"], "every label is a; a classifier needs at least two"),
        ([1.0, float("nan"), 2.0], "the label of row 1 is nan; every row needs one"),
        (["a", "b", None], "the label of row 2 is None"),
        (["a", "b"], r"there are 3 embeddings and labels of shape \(2,\)"),
        (np.ones((3, 2)), r"of shape \(3, 2\); every row needs one label"),
    ],
)
def test_unusable_labels_are_named(labels: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        class_numbers(labels, 3)
