"""The geometry of an embedding space: how close the pairs are, how evenly the rest is spread.

Every function takes numpy or torch arrays (N, D), puts the rows on the unit sphere itself and
returns a float. Alignment and uniformity are those of Wang & Isola (2020, arXiv 2005.10242):
lower is better for both, and neither means much alone, since a collapsed space has alignment 0.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from simcse_kit.errors import InputError

if TYPE_CHECKING:
    from torch import Tensor


@overload
def normalize(x: np.ndarray) -> np.ndarray: ...
@overload
def normalize(x: Tensor) -> Tensor: ...
def normalize(x: np.ndarray | Tensor) -> np.ndarray | Tensor:
    """Rows of `x` (N, D) on the unit sphere, float32, as the kind of array that came in.

    Raises InputError for what is not two-dimensional, not finite, or has a row of zeros.
    """
    unit = _unit_rows(x, "embeddings")
    if isinstance(x, np.ndarray):
        as_numpy: np.ndarray = unit.numpy()
        return as_numpy
    return unit


def alignment(x: Any, y: Any, alpha: float = 2.0) -> float:
    """Mean distance of the pairs (x_i, y_i) on the unit sphere, to the power `alpha`.

    E ‖f(x) − f(x⁺)‖^α (Wang & Isola, eq. 6), between 0 (every pair coincides) and 2^α. `x` and `y`
    are (N, D). Raises InputError where they differ in shape, are not finite or hold a zero row.
    """
    a, b = _unit_rows(x, "x"), _unit_rows(y, "y")
    if a.shape != b.shape:
        raise InputError(
            f"Alignment compares rows one to one, but x is {tuple(a.shape)} and y {tuple(b.shape)}:"
            " give both sides of the same pairs."
        )
    # The difference itself, not 2 − 2cos: exact to float32 for the close pairs of a good encoder.
    return float((a - b.to(a.device)).norm(dim=1).double().pow(alpha).mean())


def uniformity(x: Any, t: float = 2.0, block: int = 4096) -> float:
    """log of the mean Gaussian potential of all pairs i < j: log E exp(−t ‖f(x_i) − f(x_j)‖²).

    Wang & Isola, eq. 7. Exact: every pair once, no pair of a row with itself, in blocks of
    `block` × `block` cosines with a streaming log-sum-exp, so memory stays at O(block²) whatever
    N is. For t = 2 it runs from −4 + 8/D (uniform on the sphere) to 0 (collapsed). Duplicated
    rows count as pairs at distance 0: de-duplicate the sentences first. `x` is (N, D), N ≥ 2.
    """
    import torch

    unit = _unit_rows(x, "embeddings", at_least=2)
    n = len(unit)
    total = torch.tensor(-math.inf, dtype=torch.float64, device=unit.device)
    for i in range(0, n, block):
        rows = unit[i : i + block]
        for j in range(i, n, block):
            # A training step may call this under autocast, which would make the product bf16.
            with torch.autocast(unit.device.type, enabled=False):
                cosines = rows @ unit[j : j + block].T
            # ‖a − b‖² = 2 − 2cos, and float32 cosines may exceed 1 by a rounding error.
            exponents = cosines.clamp_(max=1.0).sub_(1.0).mul_(2.0 * t)
            if i == j:
                itself_or_seen = torch.ones_like(exponents, dtype=torch.bool).tril_()
                exponents.masked_fill_(itself_or_seen, -math.inf)
            per_row = torch.logsumexp(exponents, dim=1).double()
            total = torch.logaddexp(total, torch.logsumexp(per_row, dim=0))
    return float(total) - math.log(n * (n - 1) / 2)


def mean_cosine(x: Any) -> float:
    """Mean cosine of all pairs i < j of `x` (N, D), N ≥ 2: the anisotropy of the space.

    Exact in O(N·D): the squared length of the sum of unit rows holds every pair twice and every
    row once. 0 for an isotropic cloud, 1 for a collapsed one.
    """
    unit = _unit_rows(x, "embeddings", at_least=2).double()
    n = len(unit)
    return float((unit.sum(dim=0).square().sum() - unit.square().sum()) / (n * (n - 1)))


def participation_ratio(x: Any) -> float:
    """How many directions the cloud really uses: (tr C)² / tr C², from 1 to min(D, N − 1).

    C is the covariance of the unit rows of `x` (N, D), N ≥ 2. It sees dimensional collapse, to
    which uniformity is nearly blind. Raises InputError where all rows point the same way, since
    such a cloud has no spread to share out.
    """
    unit = _unit_rows(x, "embeddings", at_least=2).double()
    centred = unit - unit.mean(dim=0)
    # tr(XᵀX)² is the same for the Gram matrix of the other side: take the smaller of the two.
    gram = centred @ centred.T if len(centred) < centred.shape[1] else centred.T @ centred
    trace = float(gram.diagonal().sum())
    if trace <= 1e-10 * len(unit):
        raise InputError(
            "All embeddings point the same way, so they have no participation ratio:"
            " the space has collapsed."
        )
    return trace**2 / float(gram.square().sum())


def _unit_rows(x: Any, name: str, at_least: int = 1) -> Tensor:
    """`x` as a float32 torch tensor of unit rows, on its own device, checked."""
    import torch

    if isinstance(x, torch.Tensor):
        rows = x.detach().float()
    else:
        try:
            rows = torch.from_numpy(np.ascontiguousarray(x, dtype=np.float32))
        except (TypeError, ValueError) as error:
            raise InputError(f"{name} must be an array of numbers (N, D): {error}.") from error
    if rows.ndim != 2:
        raise InputError(f"{name} must be an array (N, D), not of shape {tuple(rows.shape)}.")
    if len(rows) < at_least:
        raise InputError(f"{name} holds {len(rows)} row(s), at least {at_least} are needed.")
    lengths = rows.norm(dim=1, keepdim=True)
    if not bool(torch.isfinite(lengths).all()):
        row = int((~torch.isfinite(lengths[:, 0])).nonzero()[0])
        raise InputError(f"{name} is not finite: row {row} holds NaN, infinity or huge values.")
    if not bool((lengths > 0).all()):
        row = int((lengths[:, 0] == 0).nonzero()[0])
        raise InputError(f"{name} has no direction in row {row}: all its values are zero.")
    return rows / lengths
