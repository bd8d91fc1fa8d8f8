"""Whitening: the linear map after which embeddings are centred and vary alike in all directions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from simcse_kit.errors import InputError
from simcse_kit.geometry.rows import finite_rows, whole_number

_BLOCK = 8192  # rows in float64 at a time


@dataclass(frozen=True, eq=False)
class Whitening:
    """x becomes (x − mean) @ weight.

    Attributes:
        mean: μ, float64 (D,).
        weight: U Λ^(−1/2), float64 (D, k); columns by falling variance.
        variances: Λ of the columns, float64 (k,), with N − 1 in the denominator.
        rank: directions with variance; k is no more.
        kept: share of the total variance that is in the k directions.
        rows: N.
    """

    mean: np.ndarray
    weight: np.ndarray
    variances: np.ndarray
    rank: int
    kept: float
    rows: int

    def __call__(self, x: np.ndarray) -> np.ndarray:
        """Rows (M, D) whitened, float64 (M, k)."""
        whitened: np.ndarray = (np.asarray(x, dtype=np.float64) - self.mean) @ self.weight
        return whitened


def whitening(x: Any, dimensions: int | None = None) -> Whitening:
    """The whitening of rows (N, D): covariance U Λ Uᵀ, of which the k largest directions stay.

    A direction counts as one with variance where its standard deviation is above D · 1.2e-7 of the
    rows' size, which is about what float32 rounds: a layer norm before the pooling makes one
    direction in D that has none. Signs are fixed: the largest number of each column is positive.

    Source: Su et al., Whitening Sentence Representations for Better Semantics and Faster Retrieval
    (2021, arXiv:2103.15316), algorithm 1. PCA(whiten=True) of scikit-learn gives the same.

    Args:
        x: (N, D), of any length.
        dimensions: k; None: all directions with variance.

    Raises:
        InputError: fewer than two rows, rows that are not finite, no variance at all, or fewer
            directions with variance than k.
    """
    rows = finite_rows(x, "embeddings", at_least=2).cpu().numpy()
    count, width = rows.shape
    mean = rows.mean(axis=0, dtype=np.float64)
    covariance = np.zeros((width, width))
    for start in range(0, count, _BLOCK):
        centred = rows[start : start + _BLOCK].astype(np.float64) - mean
        covariance += centred.T @ centred
    covariance /= count - 1
    variances, directions = np.linalg.eigh(covariance)
    variances, directions = variances[::-1], directions[:, ::-1]
    size = np.sqrt(max(0.0, variances[0]) + mean @ mean)
    least = width * np.finfo(np.float32).eps * size
    rank = int(np.count_nonzero(variances > least**2))
    chosen = _check_rank(rank, count, width, dimensions)
    directions = directions[:, :chosen]
    largest = directions[np.abs(directions).argmax(axis=0), np.arange(chosen)]
    weight = directions * np.sign(largest) / np.sqrt(variances[:chosen])
    kept = float(variances[:chosen].sum() / variances[:rank].sum())
    return Whitening(mean, weight, variances[:chosen].copy(), rank, kept, count)


def _check_rank(rank: int, count: int, width: int, dimensions: int | None) -> int:
    """How many directions to keep; InputError where there are not so many."""
    if rank == 0:
        raise InputError(f"{count} embeddings are all equal, so there is no variance to whiten.")
    if dimensions is None:
        return rank
    chosen = whole_number(dimensions, "dimensions")
    if chosen > width:
        raise InputError(f"{width} dimensions cannot be whitened to {chosen}; ask for fewer.")
    if chosen > rank:
        raise InputError(
            f"{count} embeddings of {width} dimensions vary in {rank} directions, fewer than the "
            f"{chosen} that are asked for; ask for {rank} at most, or give more texts."
        )
    return chosen
