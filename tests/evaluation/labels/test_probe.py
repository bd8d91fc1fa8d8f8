"""Linear probe and nearest neighbours on arrays, against scikit-learn used by hand."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.metrics.pairwise import cosine_similarity
from sklearn.model_selection import StratifiedKFold

from simcse_kit.errors import InputError
from simcse_kit.evaluation.labels.logistic import as_features
from simcse_kit.evaluation.labels.probe import STRENGTHS, linear_probe, nearest_neighbours, split


def cloud(n: int, classes: int = 3, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    centres = rng.normal(size=(classes, 8))
    return (centres[labels] + rng.normal(size=(n, 8))).astype(np.float32), labels


def test_the_probe_is_logistic_regression_with_c_chosen_in_folds() -> None:
    x, y = cloud(300)
    train, test = x[:200], x[200:]
    probe = linear_probe(train, y[:200], test, folds=4, seed=7)
    folds = list(StratifiedKFold(4, shuffle=True, random_state=7).split(train, y[:200]))
    scores = []
    for c in STRENGTHS:
        right = []
        for a, b in folds:
            fit = LogisticRegression(C=c, max_iter=2000, tol=1e-7).fit(train[a], y[:200][a])
            right.append(fit.score(train[b], y[:200][b]))
        scores.append(round(100 * float(np.mean(right)), 2))
    best = STRENGTHS[int(np.argmax(scores))]
    assert (probe.chosen.strength, probe.chosen.accuracy) == (best, pytest.approx(max(scores)))
    by_hand = LogisticRegression(C=best, max_iter=2000, tol=1e-7).fit(train, y[:200])
    assert (probe.predicted == by_hand.predict(test)).mean() > 0.98
    again = linear_probe(train, y[:200], test, folds=4, seed=7)
    assert np.array_equal(again.predicted, probe.predicted)


def test_neighbours_vote_by_cosine() -> None:
    x, y = cloud(250, seed=1)
    x = x * np.random.default_rng(0).uniform(0.1, 10, (250, 1)).astype(np.float32)  # lengths
    cosines = cosine_similarity(x[180:], x[:180])
    for k in (1, 7):
        nearest = np.argsort(-cosines, axis=1)[:, :k]
        votes = [np.bincount(y[:180][rows], minlength=3).argmax() for rows in nearest]
        assert nearest_neighbours(x[:180], y[:180], x[180:], k=k).tolist() == votes


def test_a_split_keeps_the_shares_of_the_classes_and_is_seeded() -> None:
    labels = np.repeat([0, 1, 2], [100, 60, 40])
    train, test = split(labels, 0.25, seed=3)
    assert sorted([*train, *test]) == list(range(200))
    assert np.bincount(labels[test]).tolist() == [25, 15, 10]
    again, other = split(labels, 0.25, seed=3)[1], split(labels, 0.25, seed=4)[1]
    assert np.array_equal(test, again) and not np.array_equal(test, other)


def test_what_cannot_be_split_or_probed_is_named() -> None:
    x, y = cloud(30)
    with pytest.raises(InputError, match=r"lies between 0 and 1, not at 1$|not at 1\."):
        split(y, 1.0, 0)
    with pytest.raises(InputError, match="one example only"):
        split(np.array([0, 0, 0, 1]), 0.5, 0)
    with pytest.raises(InputError, match="every class on both sides"):
        split(np.repeat(np.arange(10), 2), 0.1, 0)
    with pytest.raises(InputError, match=r"smallest class has 2 example\(s\).*the 5 folds"):
        linear_probe(x, np.array([0] * 28 + [1] * 2), x)
    with pytest.raises(InputError, match="at least 2 folds"):
        linear_probe(x, y, x, folds=1)
    with pytest.raises(InputError, match="30 training examples for k = 31"):
        nearest_neighbours(x, y, x, k=31)
    broken = x.copy()
    broken[4] = np.nan
    with pytest.raises(InputError, match="test embeddings is not finite: row 4"):
        linear_probe(x, y, broken)
    with pytest.raises(InputError, match="no direction in row 4"):
        nearest_neighbours(np.where(np.arange(30)[:, None] == 4, 0, x), y, x)


def test_numbers_below_every_rounding_error_are_zero() -> None:
    rows = np.array([[1.0, 1e-32], [-2.0, 3e-5]], dtype=np.float32)
    assert as_features(rows, "rows").tolist() == [[1.0, 0.0], [-2.0, np.float32(3e-5)]]
    assert as_features(np.zeros((2, 2)), "rows").tolist() == [[0, 0], [0, 0]]
