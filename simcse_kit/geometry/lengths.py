"""Length bias: do sentences look alike because they are equally long?"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from simcse_kit.errors import InputError
from simcse_kit.geometry.pairs import mean_cosine_with_influence
from simcse_kit.geometry.rows import Unmeasurable, cosine_blocks, unit_rows, whole_number

if TYPE_CHECKING:
    from torch import Tensor

_CONSTANT = 1e-10  # variance of the cosines below which they differ by rounding errors


def length_bias(x: Any, lengths: Any, block: int = 4096) -> float:
    """Pearson correlation, over all pairs i < j, of cosine with |log(length_i / length_j)|.

    Negative where sentences of like length are embedded alike, which ESimCSE (Wu et al. 2022,
    arXiv 2109.04380, section 1) blames on positives that are exactly as long as their anchors.
    The ratio and not the difference of the lengths: words, tokens or characters then say nearly
    the same, and a few very long sentences do not decide it. (The norm of an embedding is not
    looked at, since cosines do not see it.) The pairs should be unrelated sentences, as those
    of a corpus nearly all are.

    Args:
        x: embeddings (N, D), N ≥ 3.
        lengths: (N,) positive numbers in any one unit.
        block: rows compared with as many at a time; memory is O(N·D + block²).

    Raises:
        InputError: lengths that are not N positive numbers, or are all the same; a collapsed
            space, whose cosines are all one.
    """
    unit = unit_rows(x, "embeddings", at_least=3)
    return length_bias_with_influence(unit, lengths, block)[0]


def length_bias_with_influence(unit: Tensor, lengths: Any, block: int) -> tuple[float, np.ndarray]:
    """`length_bias` of unit rows, and the influence of each, float64 (N,)."""
    import torch

    block = whole_number(block, "block")
    logs = torch.from_numpy(np.log(checked_lengths(lengths, len(unit)))).to(unit.device)
    # Both variables are centred before they are squared, so that float32 blocks are enough.
    mean_cosine, _ = mean_cosine_with_influence(unit)
    mean_gap = _mean_gap(logs)
    logs = logs.float()
    sums = torch.zeros((3, len(unit)), dtype=torch.float64, device=unit.device)
    for rows, columns, cosines in cosine_blocks(unit, block):
        cosines.sub_(mean_cosine)
        gaps = (logs[rows, None] - logs[columns]).abs_().sub_(mean_gap)
        if rows == columns:
            cosines.fill_diagonal_(0.0)
            gaps.fill_diagonal_(0.0)
        for total, product in zip(
            sums, (cosines * gaps, cosines.square_(), gaps.square_()), strict=True
        ):
            total[rows] += product.sum(dim=1).double()
            if rows != columns:
                total[columns] += product.sum(dim=0).double()
    both, of_cosine, of_gap = (sums / (len(unit) - 1)).cpu().numpy()
    if of_cosine.mean() < _CONSTANT:
        raise Unmeasurable(
            "All pairs have the same cosine, which has no correlation with their lengths:"
            " the space has collapsed, or has too few sentences."
        )
    if of_gap.mean() <= 0:
        raise Unmeasurable(
            "All pairs differ in length alike, so length bias cannot be measured:"
            " give sentences of different lengths."
        )
    scale = math.sqrt(of_cosine.mean() * of_gap.mean())
    value = both.mean() / scale
    # A pair moves r by ab / (s_a s_b) − r/2 · (a²/s_a² + b²/s_b²), and each sentence is in two
    # of every N/2 pairs: twice the mean over the pairs it is in.
    half = of_cosine / of_cosine.mean() + of_gap / of_gap.mean()
    influence: np.ndarray = 2 * (both / scale - value / 2 * half)
    return float(value), influence


def positive_lengths(lengths: Any, n: int) -> np.ndarray:
    """Lengths of `n` sentences, float64 (n,)."""
    try:
        numbers = np.asarray(lengths, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"lengths must be {n} numbers: {error}.") from error
    if numbers.shape != (n,):
        raise InputError(
            f"lengths must hold one number for each of the {n} embeddings, not an array of shape"
            f" {numbers.shape}."
        )
    bad = ~(np.isfinite(numbers) & (numbers > 0))
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        raise InputError(f"The length of sentence {row} is {numbers[row]}: give positive numbers.")
    return numbers


def checked_lengths(lengths: Any, n: int) -> np.ndarray:
    """The same, not all equal."""
    numbers = positive_lengths(lengths, n)
    if np.ptp(numbers) == 0:
        raise Unmeasurable(
            f"Every length is {numbers[0]:g}, so length bias cannot be measured: give sentences"
            " of different lengths."
        )
    return numbers


def _mean_gap(logs: Tensor) -> float:
    """Mean |a_i − a_j| over i < j, from the sorted values: each gap spans k·(N − k) pairs."""
    n = len(logs)
    ordered = logs.sort().values.cpu().numpy()
    below = np.arange(1, n)
    return float((np.diff(ordered) * below * (n - below)).sum() / (n * (n - 1) / 2))
