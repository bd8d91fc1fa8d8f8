"""Labels become numbers of classes, and predicted classes become accuracy and F1 with intervals.

Arrays only. The interval of an accuracy is Wilson's (1927), that of an F1 the percentile bootstrap
over test examples. Both speak of other test examples for the same classifier, not of other
training examples.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from simcse_kit.errors import InputError
from simcse_kit.evaluation.statistics import Interval, percentile_interval
from simcse_kit.evaluation.task_result import Figure

DRAWS = 10_000
_BLOCK = 1 << 22  # elements in a block of resamples


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


def accuracy(labels: np.ndarray, predicted: np.ndarray, *, level: float = 0.95) -> Figure:
    """The share ×100 of classes (N,) that are predicted right, with Wilson's interval."""
    from scipy.stats import binomtest

    right = int((labels == predicted).sum())
    ends = binomtest(right, len(labels)).proportion_ci(level, method="wilson")
    share = 100 * right / len(labels)
    return Figure(share, Interval(100 * float(ends.low), 100 * float(ends.high), level))


def f1(
    labels: np.ndarray,
    predicted: np.ndarray,
    *,
    of_class: int | None = None,
    draws: int = DRAWS,
    seed: int = 0,
    level: float = 0.95,
) -> Figure:
    """F1 ×100 of one class, or the plain mean over classes (macro), with its bootstrap interval.

    A class that is neither in the labels nor predicted counts for nothing, in a resample as in
    the whole.
    """
    # Resampling examples is drawing how often each pair (label, predicted) occurs.
    cells, counts = np.unique(np.stack([labels, predicted]), axis=1, return_counts=True)
    observed = _f1(cells, counts[None], of_class)
    rng = np.random.default_rng(seed)
    size = max(1, _BLOCK // len(counts))
    sizes = [min(size, draws - start) for start in range(0, draws, size)]
    shares = counts / len(labels)
    drawn = [_f1(cells, rng.multinomial(len(labels), shares, n), of_class) for n in sizes]
    return Figure(float(observed[0]), percentile_interval(np.concatenate(drawn), level))


def macro_f1(labels: np.ndarray, predicted: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Macro-F1 ×100 (B,) where example i of N occurs `counts[b, i]` times; see `f1`."""
    cells, cell = np.unique(np.stack([labels, predicted]), axis=1, return_inverse=True)
    order = np.argsort(cell.reshape(-1), kind="stable")
    starts = np.searchsorted(cell.reshape(-1)[order], np.arange(cells.shape[1]))
    return _f1(cells, np.add.reduceat(counts[:, order], starts, axis=1), None)


def _f1(cells: np.ndarray, counts: np.ndarray, of_class: int | None) -> np.ndarray:
    """F1 ×100 (B,) where the pair `cells[:, c]` of label and predicted occurs `counts[b, c]` times.

    The F1 of a class is 2 TP / (2 TP + FP + FN).
    """
    classes = np.unique(cells) if of_class is None else np.array([of_class])
    labelled, predicted = (cells[side][:, None] == classes for side in (0, 1))
    right = 2 * (counts @ (labelled & predicted))
    among = counts @ labelled + counts @ predicted
    each = np.divide(right, among, out=np.zeros(right.shape), where=among > 0)
    return 100 * each.sum(axis=1) / np.maximum(1, (among > 0).sum(axis=1))
