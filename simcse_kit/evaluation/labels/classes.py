"""Labels become numbers of classes, and predicted classes become accuracy and F1 with intervals.

Arrays only. The interval of an accuracy is Wilson's (1927), that of an F1 the same with the F1's
linearised variance (`statistics.bounded`). Both speak of other test examples for the same
classifier, not of other training examples.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from simcse_kit.errors import InputError
from simcse_kit.evaluation.statistics import bounded_interval
from simcse_kit.evaluation.task_result import Figure


def class_numbers(
    labels: Sequence[Any] | np.ndarray, rows: int, name: str = "labels"
) -> tuple[np.ndarray, list[Any]]:
    """The class of each of N labels, int64 (N,) from 0, and the K labels they stand for, sorted.

    Raises InputError where there are not `rows` labels, one is missing (None or NaN), or all are
    the same.
    """
    if np.ndim(labels) != 1 or len(labels) != rows:
        raise InputError(
            f"{name}: there are {rows} embeddings and labels of shape {np.shape(labels)}; every"
            " row needs one label."
        )
    for row, label in enumerate(labels):
        if label is None or label != label:  # NaN is not itself
            raise InputError(f"{name}: the label of row {row} is {label}; every row needs one.")
    classes, numbers = np.unique(np.asarray(labels), return_inverse=True)
    if len(classes) < 2:
        found = f"every label is {classes[0]}" if rows else "there are none"
        raise InputError(f"{name}: {found}; a classifier needs at least two classes.")
    return numbers.astype(np.int64), classes.tolist()


def accuracy(
    labels: np.ndarray,
    predicted: np.ndarray,
    *,
    groups: np.ndarray | None = None,
    level: float = 0.95,
) -> Figure:
    """The share ×100 of classes (N,) that are predicted right, with Wilson's interval.

    Examples of one of the `groups` (N,) are one example for it, told several times; by default
    each is its own.
    """
    right = 100 * float((labels == predicted).mean())
    return Figure(right, bounded_interval(right, 0.0, apart(labels, groups), level=level))


def apart(labels: np.ndarray, groups: np.ndarray | None = None) -> float:
    """How many independent examples the labels (N,) are as good as, `groups` as for `accuracy`.

    N over the mean size of an example's group.
    """
    if groups is None:
        return float(len(labels))
    return float(len(labels) ** 2 / (np.bincount(groups).astype(float) ** 2).sum())


def macro_apart(labels: np.ndarray, groups: np.ndarray | None = None) -> float:
    """The same for a mean over the classes of `labels`, each of its own examples: fewer if uneven.

    As a mean of K shares of n_k examples each varies at most: K² / Σ 1 / n_k, N of even classes.
    """
    sizes = np.unique(labels, return_counts=True)[1]
    return float(len(sizes) ** 2 / (1 / sizes).sum() * apart(labels, groups) / len(labels))


def f1(
    labels: np.ndarray,
    predicted: np.ndarray,
    *,
    of_class: int | None = None,
    groups: np.ndarray | None = None,
    level: float = 0.95,
) -> Figure:
    """F1 ×100 of one class, or the plain mean over classes (macro), with its interval.

    A class that is neither in the labels nor predicted counts for nothing; `groups` are as for
    `accuracy`. The interval is
    `bounded_interval`: the variance of the sum of what each example moves the figure by, which for
    the F1 of a class, 2 TP / (labelled + predicted), is (2 TP_i − F1 · (labelled_i + predicted_i))
    over that denominator.
    """
    classes, both = np.unique(np.stack([labels, predicted]), return_inverse=True)
    one, other = both.reshape(2, -1)
    right = np.bincount(one[one == other], minlength=len(classes))
    among = np.bincount(one, minlength=len(classes)) + np.bincount(other, minlength=len(classes))
    each = 2 * right / among
    weight = np.full(len(classes), 1 / len(classes)) if of_class is None else classes == of_class
    value = 100 * float(weight @ each)
    slope = weight / among
    moved = 2 * slope[one] * (one == other) - (slope * each)[one] - (slope * each)[other]
    if groups is not None:
        moved = np.bincount(groups, moved)
    # Where all is right: as uncertain as a share of so many. An error is two classes' at once.
    errors = 2 if of_class is None else 1
    items = float(1 / (weight**2 @ (errors / among))) if weight.any() else 1.0
    items *= apart(labels, groups) / len(labels)
    # A ratio of counts is too low, to second order by F1 (1 − F1) / (labelled + predicted): little,
    # but where there are many classes of few examples. The interval makes up for it.
    low_by = 100 * float(weight @ (each * (1 - each) / among))
    around = bounded_interval(value + low_by, 1e4 * float(moved @ moved), items, level=level)
    interval = replace(around, low=min(around.low, value), high=max(around.high, value))
    return Figure(value, interval)


#: Accuracy and macro-F1 ×100, (B,) each, where group g of examples occurs ``counts[b, g]`` times.
Resampled = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]


def resampled(labels: np.ndarray, predicted: np.ndarray, groups: np.ndarray) -> Resampled:
    """What becomes of `accuracy` and of macro-`f1` where `groups` (N,) of examples are resampled.

    Sparse, for a thousand classes: of a class count the examples that are its own and found, and
    those of which it is the label or the prediction, not both.
    """
    from scipy.sparse import csr_array

    classes, both = np.unique(np.stack([labels, predicted]), return_inverse=True)
    one, other = both.reshape(2, -1)
    k, hit = len(classes), one == other
    rows = np.concatenate([one[hit], k + one[~hit], k + other[~hit]])
    columns = np.concatenate([groups[hit], groups[~hit], groups[~hit]])
    sizes = np.bincount(groups).astype(float)
    counted = csr_array((np.ones(len(rows)), (rows, columns)), (2 * k, len(sizes)))

    def figures(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        found = counted @ np.ascontiguousarray(counts.T, dtype=float)  # (2K, B)
        right, among = found[:k], 2 * found[:k] + found[k:]
        each = np.divide(2 * right, among, out=np.zeros(right.shape), where=among > 0)
        macro = each.sum(axis=0) / np.maximum(1, (among > 0).sum(axis=0))
        return 100 * right.sum(axis=0) / (counts @ sizes), 100 * macro

    return figures
