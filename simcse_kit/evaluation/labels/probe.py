"""What a space says about labels: a linear probe and nearest neighbours. Arrays only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from simcse_kit.errors import InputError
from simcse_kit.evaluation.labels.logistic import (
    Chosen,
    as_features,
    choose_by_folds,
    predict,
    stratified_folds,
)
from simcse_kit.evaluation.labels.repeats import first_rows, rows_of
from simcse_kit.geometry import normalize, whole_number

# Unit vectors of few examples need strong fits, long vectors of many weak ones.
STRENGTHS = tuple(10.0**power for power in range(-2, 4))


@dataclass(frozen=True, eq=False)
class Probe:
    """Predicted classes (M,), and the strength that was chosen on the training examples."""

    predicted: np.ndarray
    chosen: Chosen


def linear_probe(
    features: np.ndarray,
    labels: np.ndarray,
    test: np.ndarray,
    *,
    folds: int = 5,
    strengths: Sequence[float] = STRENGTHS,
    seed: int = 0,
    groups: np.ndarray | None = None,
) -> Probe:
    """Logistic regression on (N, D), its strength chosen by folds of them, predicts `test` (M, D).

    The features are taken as they are, so their length counts. The same seed gives the same bits.

    Args:
        labels: classes (N,), whole numbers from 0 (`classes.class_numbers`).
        strengths: scikit-learn's C, ascending.
        groups: (N,), rows of one of which no fold parts (`repeats`); by default each is its own.

    Raises:
        InputError: features that are not finite, or a class with fewer examples than folds.
    """
    train = as_features(features, "training embeddings")
    unseen = as_features(test, "test embeddings")
    drawn = stratified_folds(labels, folds, seed, groups)
    chosen = choose_by_folds(train, labels, drawn, strengths)
    return Probe(predict(train, labels, chosen.strength, unseen), chosen)


def nearest_neighbours(
    features: np.ndarray, labels: np.ndarray, test: np.ndarray, *, k: int = 10
) -> np.ndarray:
    """The commonest class (M,) among the k nearest of (N, D) by cosine, for each of `test` (M, D).

    Classes that are equally common: the first. Raises InputError for k above N and for rows that
    are zero or not finite.
    """
    from sklearn.neighbors import KNeighborsClassifier

    k = whole_number(k, "k", 1)
    if k > len(features):
        raise InputError(f"There are {len(features)} training examples for k = {k}: lower k.")
    # On unit vectors the order of Euclidean distances is that of cosines, and quicker to find.
    nearest = KNeighborsClassifier(k, algorithm="brute").fit(normalize(features), labels)
    return np.asarray(nearest.predict(normalize(test)))


def split(
    labels: np.ndarray, test_share: float, seed: int, groups: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Rows to train on and rows to test on, drawn so that each class keeps its share.

    Rows of one of the `groups` (N,) stay on one side; by default each row is its own.

    Raises InputError for a share that is not between 0 and 1, and where either side would have
    fewer examples than classes.
    """
    from sklearn.model_selection import train_test_split

    if not 0 < test_share < 1:
        raise InputError(f"The share to test on lies between 0 and 1, not at {test_share:g}.")
    groups = np.arange(len(labels)) if groups is None else groups
    rows = first_rows(groups)
    if np.bincount(labels[rows], minlength=labels.max() + 1).min() < 2:
        raise InputError("A class has one example only, which cannot be split: leave it out.")
    try:
        train, test = train_test_split(
            rows, test_size=test_share, random_state=seed, stratify=labels[rows]
        )
    except ValueError as error:
        raise InputError(
            f"{len(labels)} examples cannot be split with {test_share:g} of them to test on and"
            " every class on both sides: take another share, or give more examples."
        ) from error
    return rows_of(train, groups), rows_of(test, groups)
