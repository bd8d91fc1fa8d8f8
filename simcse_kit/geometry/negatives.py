"""Effective negatives: how many of a batch's negatives the InfoNCE gradient really pulls on."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from simcse_kit.errors import InputError
from simcse_kit.geometry.rows import unit_rows, whole_number

if TYPE_CHECKING:
    from torch import Tensor

_AT_A_TIME = 1 << 22  # cosines


def effective_negatives(
    x: Any, *, temperature: float = 0.05, batch: int = 64, seed: int = 0
) -> float:
    """Mean perplexity of the softmax over the negatives of an anchor, from 1 to `batch` − 1.

    The gradient of InfoNCE on the cosine of anchor i with negative j is, as a share of that on
    all its negatives, r_ij = exp(s_ij/τ) / Σ_{k≠i} exp(s_ik/τ), whatever the positive is: the
    relative penalty of Wang & Liu (CVPR 2021, arXiv 2012.09740, eq. 6), whose entropy grows
    with τ. exp H(r_i) is the number of equally weighted negatives of the same entropy (Hill
    1973, order 1): `batch` − 1 where all weigh alike, near 1 where one does all the work.

    The rows of `x` (N, D) are shuffled by `seed` and cut into disjoint batches; what is left
    over is left out. Raises InputError for fewer rows than one batch or a temperature ≤ 0.
    """
    unit = unit_rows(x, "embeddings", at_least=2)
    return float(batch_perplexities(unit, temperature, batch, seed).mean())


def batch_perplexities(unit: Tensor, temperature: float, batch: int, seed: int) -> np.ndarray:
    """The mean over the anchors of each disjoint batch of unit rows, float64 (N // batch,)."""
    import torch

    batch = whole_number(batch, "batch", 2)
    temperature = check_temperature(temperature)
    if len(unit) < batch:
        raise InputError(
            f"{len(unit)} sentences make no batch of {batch}: give more, or a smaller batch."
        )
    shuffled = np.random.default_rng(seed).permutation(len(unit))
    places = torch.from_numpy(shuffled[: len(unit) // batch * batch].reshape(-1, batch))
    itself = torch.eye(batch, dtype=torch.bool, device=unit.device)
    means = []
    for some in places.to(unit.device).split(max(1, _AT_A_TIME // batch**2)):
        rows = unit[some]  # (batches, batch, D)
        with torch.autocast(unit.device.type, enabled=False):
            cosines = (rows @ rows.transpose(1, 2)).double()
        logs = (cosines / temperature).masked_fill_(itself, -math.inf).log_softmax(dim=2)
        means.append(perplexities(logs, itself).mean(dim=1))
    found: np.ndarray = torch.cat(means).cpu().numpy()
    return found


def perplexities(log_shares: Tensor, none: Tensor) -> Tensor:
    """exp H of shares (…, N), given as their logarithms: (…,).

    Args:
        none: bool, as `log_shares`; True has share 0, and 0 · log 0 is 0.
    """
    return (-(log_shares.exp() * log_shares.masked_fill(none, 0.0)).sum(dim=-1)).exp()


#: Cosines over less than this are no finite numbers.
_LEAST = 1e-300


def check_temperature(temperature: float) -> float:
    """The temperature, or InputError unless it is a positive number by which 2 can be divided."""
    if not (temperature > _LEAST and math.isfinite(temperature)):
        raise InputError(f"The temperature must be a positive number, not {temperature}.")
    return float(temperature)
