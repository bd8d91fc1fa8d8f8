"""Spearman's correlation on thousands of resamples of the same pairs, exactly and at once.

A bootstrap resample of N pairs is a vector of counts: how often each pair was drawn. Its ranks
need no sorting. In ascending order of the values, which is the same in every resample, the ranks
are the cumulative counts: t copies of a value that end at C have twice the mid-rank 2C − t + 1.
So a block of resamples costs one cumulative sum and two products a model. All sums are of
integers, hence exact: the result is that of `scipy.stats.spearmanr` on the resampled pairs.
"""

from __future__ import annotations

import numpy as np

# Elements in a block of resamples: a handful of such arrays stay in a processor's own cache.
_BLOCK = 1 << 16


def spearman(scores: np.ndarray, gold: np.ndarray) -> np.ndarray:
    """Spearman ×100 of each model's `scores` (M, N) with `gold` (N,), ties by mean rank: (M,).

    NaN where the scores or the gold are constant.
    """
    return counted_spearman(np.ones((1, len(gold)), dtype=np.int64), scores, gold)[0]


def counted_spearman(counts: np.ndarray, scores: np.ndarray, gold: np.ndarray) -> np.ndarray:
    """Spearman ×100 of M models where pair i occurs `counts[b, i]` times: (B, M).

    `counts` is (B, N), int64, ≥ 0; `scores` (M, N); `gold` (N,). NaN where all that occur have
    one score or one gold.
    """
    by_gold = np.argsort(gold, kind="stable")
    return _Kernel(scores[:, by_gold], gold[by_gold], len(counts))(counts[:, by_gold])


def resampled_spearman(
    scores: np.ndarray, gold: np.ndarray, draws: int, rng: np.random.Generator
) -> np.ndarray:
    """Spearman ×100 of M models on `draws` resamples of the N pairs with replacement: (draws, M).

    `scores` is (M, N) and `gold` (N,). All models see the same resamples. NaN marks a resample
    in which the scores or the gold are constant.
    """
    n = len(gold)
    rows = max(1, _BLOCK // n)
    # Which pairs are drawn does not depend on their order, so they are drawn in the order of gold.
    by_gold = np.argsort(gold, kind="stable")
    kernel = _Kernel(scores[:, by_gold], gold[by_gold], rows)
    offsets = n * np.arange(rows)[:, None]
    results = np.empty((draws, len(scores)))
    for start in range(0, draws, rows):
        size = min(rows, draws - start)
        drawn = rng.integers(0, n, size=(size, n))
        drawn += offsets[:size]
        counts = np.bincount(drawn.reshape(-1), minlength=size * n).reshape(size, n)
        results[start : start + size] = kernel(counts)
    return results


class _Kernel:
    """Gold in ascending order (N,) and scores (M, N), to be met by blocks of counts (B ≤ rows, N).

    Works in buffers of its own: memory fresh from the system would cost a third of the time.
    """

    def __init__(self, scores: np.ndarray, gold: np.ndarray, rows: int) -> None:
        self.gold_runs, self.gold_sizes = _runs(gold)
        self.orders = [np.argsort(row, kind="stable") for row in scores]
        self.ties = [_Ties(row[order]) for row, order in zip(scores, self.orders, strict=True)]
        self.buffers = np.empty((4, rows, len(gold)), dtype=np.int64)

    def __call__(self, counts: np.ndarray) -> np.ndarray:
        weights, sorted_counts, sorted_weights, ranks = self.buffers[:, : len(counts)]
        drawn = np.add.reduceat(counts, self.gold_runs, axis=1)
        ends = np.cumsum(drawn, axis=1)
        n = ends[:, -1]
        # Twice the mid-rank less its mean: with one side centred, the other's mean drops out.
        gold_ranks = 2 * ends - drawn - n[:, None]
        gold_spread = np.einsum("bu,bu->b", drawn, gold_ranks**2)
        np.multiply(counts, np.repeat(gold_ranks, self.gold_sizes, axis=1), out=weights)
        results = np.empty((len(counts), len(self.orders)))
        for column, (order, ties) in enumerate(zip(self.orders, self.ties, strict=True)):
            # mode="clip" because with "raise" numpy copies `out`; the order is always within.
            np.take(counts, order, axis=1, out=sorted_counts, mode="clip")
            np.take(weights, order, axis=1, out=sorted_weights, mode="clip")
            ties.ranks(sorted_counts, out=ranks)
            products = np.einsum("bn,bn->b", sorted_weights, ranks)
            sorted_counts *= ranks
            spread = np.einsum("bn,bn->b", sorted_counts, ranks) - n**3
            with np.errstate(invalid="ignore"):  # 0 / 0 where a resample is constant
                results[:, column] = products / (np.sqrt(gold_spread) * np.sqrt(spread))
        return 100 * results


class _Ties:
    """Where N ascending values are equal, seldom as a model's scores are, and their ranks."""

    def __init__(self, values: np.ndarray) -> None:
        first, sizes = _runs(values)
        self.first, self.sizes = first[sizes > 1], sizes[sizes > 1]
        self.places = np.flatnonzero(np.repeat(sizes > 1, sizes))

    def ranks(self, counts: np.ndarray, out: np.ndarray) -> None:
        """Twice the mid-rank less one of each value, for `counts` (B, N), into `out` (B, N).

        Their mean over the n drawn is n.
        """
        np.cumsum(counts, axis=1, out=out)
        if len(self.places):
            # A whole run has the rank of its middle: half of what ends before it and at its end.
            shared = out[:, self.first + self.sizes - 1] + out[:, self.first]
            shared -= counts[:, self.first]
        out *= 2
        out -= counts
        if len(self.places):
            out[:, self.places] = np.repeat(shared, self.sizes, axis=1)


def _runs(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where each run of equal values starts and how long it is: (U,) each."""
    first = np.flatnonzero(np.append(True, np.diff(values) != 0))
    return first, np.diff(first, append=len(values))
