"""Figures that are means over pairs: alignment, uniformity, mean cosine.

Alignment and uniformity are those of Wang & Isola (2020, arXiv 2005.10242): lower is better for
both.

Each figure also has a private form that gives, beside its value, the influence (N,) of every
sentence on it: by how much the figure would grow, to first order, if that sentence had a little
more weight. `intervals` resamples those.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from simcse_kit.errors import InputError
from simcse_kit.geometry.rows import Unmeasurable, cosine_blocks, unit_rows, whole_number

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Sampled:
    """A figure from randomly drawn pairs, and how far off the draw may have put it.

    `standard_error` is that of drawing `pairs` pairs, not of drawing the sentences.
    """

    value: float
    standard_error: float
    pairs: int


def alignment(x: Any, y: Any, alpha: float = 2.0) -> float:
    """Mean distance of the pairs (x_i, y_i) on the unit sphere, to the power `alpha`.

    E ‖f(x) − f(x⁺)‖^α (Wang & Isola, eq. 6), between 0 (every pair coincides) and 2^α. `x` and `y`
    are (N, D). Raises InputError where they differ in shape, are not finite or hold a zero row.
    """
    return float(pair_distances(x, y, alpha).mean())


def pair_distances(x: Any, y: Any, alpha: float = 2.0) -> Tensor:
    """‖x_i − y_i‖^α of the unit rows, float64 (N,)."""
    a, b = unit_rows(x, "x"), unit_rows(y, "y")
    if a.shape != b.shape:
        raise InputError(
            f"Alignment compares rows one to one, but x is {tuple(a.shape)} and y {tuple(b.shape)}:"
            " give both sides of the same pairs."
        )
    # The difference itself, not 2 − 2cos: exact to float32 for the close pairs of a good encoder.
    distances: Tensor = (a - b.to(a.device)).norm(dim=1).double().pow(alpha)
    return distances


def close_distances(
    unit: Tensor, pairs: Any, gold: Any, threshold: float | None
) -> np.ndarray | None:
    """Squared distance of the pairs alignment is over, (P,); None where there are no pairs."""
    if pairs is None:
        if gold is not None:
            raise InputError("gold holds scores of pairs, and there are no pairs: give both.")
        return None
    rows = np.asarray(pairs)
    if rows.ndim != 2 or rows.shape[1] != 2 or not np.issubdtype(rows.dtype, np.integer):
        raise InputError(
            f"pairs must hold two row numbers a pair, int (P, 2), not {rows.dtype} of shape"
            f" {rows.shape}."
        )
    outside = ((rows < 0) | (rows >= len(unit))).any(axis=1)
    if outside.any():
        pair = int(np.flatnonzero(outside)[0])
        raise InputError(
            f"Pair {pair} names the rows {rows[pair].tolist()}, and there are {len(unit)}"
            " embeddings."
        )
    if gold is not None and threshold is not None:
        rows = rows[_above(checked_scores(gold, len(rows)), threshold)]
    if not len(rows):
        raise InputError("There is no pair, so alignment is over nothing: leave pairs out.")
    return pair_distances(unit[rows[:, 0]], unit[rows[:, 1]]).cpu().numpy()


def checked_scores(gold: Any, pairs: int) -> np.ndarray:
    """One finite gold score for each of so many pairs, float64 (P,)."""
    scores = np.asarray(gold, dtype=np.float64)
    if scores.shape != (pairs,) or not np.isfinite(scores).all():
        raise InputError(
            f"gold must hold one finite score for each of the {pairs} pairs; it has the shape"
            f" {scores.shape}."
        )
    return scores


def _above(scores: np.ndarray, threshold: float) -> np.ndarray:
    if not (scores > threshold).any():
        raise Unmeasurable(
            f"No pair has a gold score above {threshold:g} (the highest is"
            f" {scores.max(initial=-math.inf):g}), so alignment is over nothing: lower the"
            " threshold."
        )
    above: np.ndarray = scores > threshold
    return above


def uniformity(x: Any, t: float = 2.0, block: int = 4096) -> float:
    """log of the mean Gaussian potential of all pairs i < j: log E exp(−t ‖f(x_i) − f(x_j)‖²).

    Wang & Isola, eq. 7. Exact: every pair once, no pair of a row with itself, in blocks of
    `block` × `block` cosines, so memory stays at O(N·D + block²): 100,000 × 384 take well under
    2 GB (`eval/speed/geometry_scale.py`). For t = 2 it runs from −4 + 8/D (uniform on the sphere)
    to 0 (collapsed). Duplicated rows count as pairs at distance 0: de-duplicate the
    sentences first. `x` is (N, D), N ≥ 2.
    """
    unit = unit_rows(x, "embeddings", at_least=2)
    return _log_mean(log_potentials(unit, t, block))


def uniformity_with_influence(unit: Tensor, t: float, block: int) -> tuple[float, np.ndarray]:
    """Uniformity of unit rows, and each row's relative share g_i/U − 1, float64 (N,).

    U is the mean potential and g_i that of the pairs with sentence i; the influence on log U is
    twice the share (Hoeffding 1948: the projection of a U-statistic of two sentences).
    """
    rows = log_potentials(unit, t, block)
    value = _log_mean(rows)
    shares: np.ndarray = (rows - math.log(len(rows) - 1) - value).exp().sub(1.0).cpu().numpy()
    return value, shares


def log_potentials(unit: Tensor, t: float, block: int) -> Tensor:
    """log Σ_{j≠i} exp(−t ‖x_i − x_j‖²) of unit rows, float64 (N,)."""
    import torch

    block = whole_number(block, "block")
    if not (t > 0 and math.isfinite(t)):
        raise InputError(f"The scale t of uniformity must be a positive number, not {t}.")
    logs = torch.full((len(unit),), -math.inf, dtype=torch.float64, device=unit.device)
    for rows, columns, cosines in cosine_blocks(unit, block):
        exponents = cosines.sub_(1.0).mul_(2.0 * t)  # ‖a − b‖² = 2 − 2cos
        if rows == columns:
            exponents.fill_diagonal_(-math.inf)
        # One shift a block, so that both sums come from one exp. Rows far below the block's
        # greatest may vanish in float32: they are as nothing beside it in the total too.
        shift = exponents.max().clamp_(min=-1e30)  # a single row with itself has no other entry
        potentials = exponents.sub_(shift).exp_()
        _add_logs(logs, rows, potentials.sum(dim=1).double().log() + shift.double())
        if rows != columns:
            _add_logs(logs, columns, potentials.sum(dim=0).double().log() + shift.double())
    return logs


def _add_logs(logs: Tensor, where: slice, more: Tensor) -> None:
    import torch

    logs[where] = torch.logaddexp(logs[where], more)


def _log_mean(row_logs: Tensor) -> float:
    """log of the mean over ordered pairs, each row's sum being given as its log."""
    import torch

    n = len(row_logs)
    return float(torch.logsumexp(row_logs, dim=0)) - math.log(n * (n - 1))


def sampled_uniformity(
    x: Any, *, pairs: int = 1_000_000, t: float = 2.0, seed: int = 0, block: int = 4096
) -> Sampled:
    """Uniformity from random pairs i ≠ j of `x` (N, D), for N too large for all pairs.

    The rows may lie in a memory map: only those drawn are read, `block` pairs at a time. The
    standard error is that of the log of a mean, sd(h) / (mean(h)·√pairs) for the potentials h:
    it tells how far the value may be from `uniformity` of the same rows.
    """
    import torch

    pairs, block = whole_number(pairs, "pairs", 2), whole_number(block, "block")
    shape = getattr(x, "shape", np.shape(x))
    if len(shape) != 2 or shape[0] < 2:
        raise InputError(
            f"Uniformity needs an array (N, D) of at least 2 rows, not of shape {tuple(shape)}."
        )
    n = shape[0]
    rows = x if hasattr(x, "shape") else np.asarray(x, dtype=np.float32)
    rng = np.random.default_rng(seed)
    potentials = np.empty(pairs)
    for start in range(0, pairs, block):
        count = min(block, pairs - start)
        first = rng.integers(n, size=count)
        second = (first + 1 + rng.integers(n - 1, size=count)) % n  # any row but the first
        a = unit_rows(rows[first], "embeddings", numbers=first)
        b = unit_rows(rows[second], "embeddings", numbers=second)
        distances = (a - b).square().sum(dim=1, dtype=torch.float64)
        potentials[start : start + count] = -t * distances.cpu().numpy()
    shift = potentials.max()
    potentials = np.exp(potentials - shift)
    mean = potentials.mean()
    error = potentials.std(ddof=1) / (mean * math.sqrt(pairs))
    return Sampled(float(np.log(mean) + shift), float(error), pairs)


def mean_cosine(x: Any) -> float:
    """Mean cosine of all pairs i < j of `x` (N, D), N ≥ 2: the anisotropy of the space.

    Exact in O(N·D): the squared length of the sum of unit rows holds every pair twice and every
    row once. 0 for an isotropic cloud, 1 for a collapsed one. After Ethayarajh (2019,
    arXiv 1909.00512, eq. for the baseline of self-similarity).
    """
    return mean_cosine_with_influence(unit_rows(x, "embeddings", at_least=2))[0]


def mean_cosine_with_influence(unit: Tensor) -> tuple[float, np.ndarray]:
    """Mean cosine of unit rows, and the influence of each, float64 (N,)."""
    import torch

    n = len(unit)
    total = unit.sum(dim=0, dtype=torch.float64)
    # Not unit.double() as a whole: that would be the largest array of all.
    with_all = torch.cat([part.double() @ total for part in unit.split(8192)])
    own = torch.cat([part.double().square().sum(dim=1) for part in unit.split(8192)])
    with_others = (with_all - own) / (n - 1)  # the mean cosine of a row with the others
    value = with_others.mean()
    influence: np.ndarray = (2 * (with_others - value)).cpu().numpy()
    return float(value), influence
