"""What each pair does to a Spearman, to first order.

The influence of a pair is the derivative of the correlation with respect to the pair's weight
(Hampel 1974; the infinitesimal jackknife). To first order the error of a Spearman is the sum of
its pairs' shares, influence / N; `sharing` makes a variance of them.
"""

from __future__ import annotations

import numpy as np


def influence(scores: np.ndarray, gold: np.ndarray) -> np.ndarray:
    """Influence of each pair on the Spearman ×100 of M models: (M, N), each row with mean 0.

    `scores` is (M, N), `gold` (N,), neither constant. Of ρ = C / √(V W), where u and v are the
    mid-ranks (r − ½)/N of scores and gold, C = mean(u v) − ¼, V = mean(u²) − ¼, W = mean(v²) − ¼.
    """
    v = _mid_ranks(gold)
    w, w_influence = _variance(gold, v)
    rows = []
    for row in scores:
        u = _mid_ranks(row)
        # A pair counts in the product of its own ranks, and raises the ranks of all above it.
        products = float(np.mean(u * v))
        covariance = products - 0.25
        c_influence = u * v + _above(row, v) + _above(gold, u) - 3 * products
        variance, v_influence = _variance(row, u)
        rho = covariance / (variance * w) ** 0.5
        relative = v_influence / variance + w_influence / w
        rows.append(c_influence / (variance * w) ** 0.5 - rho / 2 * relative)
    return 100 * np.stack(rows)


def _mid_ranks(values: np.ndarray) -> np.ndarray:
    """Share of the values below each, equal ones by half: from 0 to 1, mean ½."""
    ordered = np.sort(values)
    below, up_to = (np.searchsorted(ordered, values, side) for side in ("left", "right"))
    ranks: np.ndarray = (below + up_to) / (2 * len(values))
    return ranks


def _above(values: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Mean over all pairs of the weights of those above each, equal ones by half: (N,)."""
    order = np.argsort(values, kind="stable")
    tail = np.append(np.cumsum(weights[order][::-1])[::-1], 0.0)
    ordered = values[order]
    from_run, past_run = (tail[np.searchsorted(ordered, values, s)] for s in ("left", "right"))
    return (from_run + past_run) / (2 * len(values))


def _variance(values: np.ndarray, ranks: np.ndarray) -> tuple[float, np.ndarray]:
    """Variance of the mid-ranks, and each pair's influence on it (N,)."""
    square = float(np.mean(ranks**2))
    return square - 0.25, ranks**2 + 2 * _above(values, ranks) - 3 * square
