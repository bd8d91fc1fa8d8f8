"""Few-shot episodes, against a plain loop and what is known of easy and of hopeless spaces."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import t
from sklearn.neighbors import KNeighborsClassifier

from simcse_kit.errors import InputError
from simcse_kit.evaluation.labels.few_shot import few_shot, mean_accuracy
from simcse_kit.geometry import normalize


def cloud(noise: float, classes: int = 8, each: int = 25) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(classes), each)
    centres = rng.normal(size=(classes, 16))
    return centres[labels] + noise * rng.normal(size=(len(labels), 16)), labels


def test_far_classes_are_told_apart_and_noise_is_chance() -> None:
    x, y = cloud(0.05)
    for classifier in ("centroid", "logistic"):
        easy = few_shot(x, y, episodes=20, classifier=classifier)
        assert easy.shape == (20,) and easy.mean() > 99
    hopeless = few_shot(np.random.default_rng(1).normal(size=x.shape), y, episodes=200)
    assert mean_accuracy(hopeless).value == pytest.approx(20, abs=1.5)  # 5 ways


def test_episodes_are_those_of_a_plain_loop() -> None:
    x, y = cloud(1.5)
    found = few_shot(x, y, ways=3, shots=2, queries=4, episodes=10, seed=5)
    unit = normalize(x)
    for number, child in enumerate(np.random.SeedSequence(5).spawn(10)):
        rng = np.random.default_rng(child)
        known, asked = [], []
        for one in rng.choice(8, 3, replace=False):
            rows = rng.choice(np.flatnonzero(y == one), 6, replace=False)
            known.append(unit[rows[:2]])
            asked.append(unit[rows[2:]])
        means = [rows.mean(axis=0) / np.linalg.norm(rows.mean(axis=0)) for rows in known]
        right = [
            int(np.argmax([query @ mean for mean in means]) == way)
            for way, queries in enumerate(asked)
            for query in queries
        ]
        assert found[number] == pytest.approx(100 * np.mean(right))


def test_one_shot_is_the_nearest_example() -> None:
    x, y = cloud(1.0)
    one = few_shot(x, y, shots=1, episodes=30, seed=2)
    unit = normalize(x)
    rng = np.random.default_rng(np.random.SeedSequence(2).spawn(1)[0])
    drawn = [rng.choice(np.flatnonzero(y == c), 16, False) for c in rng.choice(8, 5, False)]
    nearest = KNeighborsClassifier(1).fit(unit[[rows[0] for rows in drawn]], range(5))
    asked = np.concatenate([unit[rows[1:]] for rows in drawn])
    assert one[0] == pytest.approx(100 * nearest.score(asked, np.repeat(range(5), 15)))


def test_the_same_seed_gives_the_same_bits_and_more_episodes_the_same_first_ones() -> None:
    x, y = cloud(1.0)
    ten, again, other = (few_shot(x, y, episodes=10, seed=seed) for seed in (0, 0, 1))
    assert np.array_equal(ten, again) and not np.array_equal(ten, other)
    assert np.array_equal(few_shot(x, y, episodes=25)[:10], ten)


def test_the_interval_of_many_episodes_is_students_and_of_few_within_bounds() -> None:
    accuracies = np.clip(np.random.default_rng(0).normal(65, 8, 600), 0, 100)
    figure = mean_accuracy(accuracies, queries=75)
    low, high = t.interval(0.95, 599, accuracies.mean(), np.std(accuracies, ddof=1) / 600**0.5)
    assert figure.interval is not None
    assert (figure.interval.low, figure.interval.high) == pytest.approx((low, high), abs=0.01)
    few = mean_accuracy(np.array([93.3, 100.0]), queries=15)  # Student's: 54 to 139
    assert few.interval is not None
    assert 10 < few.interval.low < 96.65 < few.interval.high < 100
    right = mean_accuracy(np.full(3, 100.0), queries=15).interval
    assert right is not None and 50 < right.low < right.high == 100


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"ways": 9}, r"8 class\(es\) of 8 have the 5 \+ 15 examples.*fewer than the 9 ways"),
        ({"shots": 11}, r"0 class\(es\) of 8 have the 11 \+ 15 examples"),
        ({"ways": 1}, "number of ways must be a whole number of at least 2"),
        ({"shots": 0}, "number of shots must be"),
        ({"episodes": 1}, "number of episodes must be"),
        ({"classifier": "svm"}, "centroid or logistic, not 'svm'"),
    ],
)
def test_impossible_episodes_are_named(settings: dict[str, Any], message: str) -> None:
    x, y = cloud(1.0)
    with pytest.raises(InputError, match=message):
        few_shot(x, y, **settings)


def test_embeddings_that_are_not_finite_are_named() -> None:
    x, y = cloud(1.0)
    x[2, 1] = np.inf
    with pytest.raises(InputError, match="not finite: row 2"):
        few_shot(x, y)
