"""Hubness: whether a few sentences are among the nearest neighbours of very many others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from simcse_kit.errors import InputError
from simcse_kit.geometry.rows import unit_rows, whole_number

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Hubness:
    """The spread of the k-occurrences of N sentences; their mean is k by construction.

    Attributes:
        skewness: third standardised moment; 0 where all occur alike, high where there are hubs.
        anti_hubs: share of the sentences, 0 to 1, that are nobody's neighbour.
        largest: k-occurrences of the greatest hub.
        k, sentences: what it was measured with; for others it is another figure.
    """

    skewness: float
    anti_hubs: float
    largest: int
    k: int
    sentences: int


def k_occurrences(x: Any, k: int = 10, block: int = 1024) -> np.ndarray:
    """How often each row of `x` (N, D) is among the k nearest of the others, int64 (N,).

    N_k of Radovanović et al. (JMLR 11, 2010, section 2), by cosine, a row being no neighbour of
    its own. `block` rows are compared with all at a time: memory is O(block · N). Among equal
    cosines the choice is arbitrary, so de-duplicate the sentences first. Needs N > k.
    """
    unit = unit_rows(x, "embeddings", at_least=2)
    return occurrences_of(unit, whole_number(k, "k"), whole_number(block, "block"))


def occurrences_of(unit: Tensor, k: int, block: int = 1024) -> np.ndarray:
    """`k_occurrences` of unit rows."""
    import torch

    n = len(unit)
    if n <= k:
        raise InputError(f"{n} sentences have no {k} neighbours each: give more, or a smaller k.")
    counts = torch.zeros(n, dtype=torch.int64, device=unit.device)
    for start in range(0, n, block):
        with torch.autocast(unit.device.type, enabled=False):
            cosines = unit[start : start + block] @ unit.T
        cosines.diagonal(offset=start).fill_(-torch.inf)
        nearest = cosines.topk(k, dim=1, sorted=False).indices
        counts += torch.bincount(nearest.flatten(), minlength=n)
    as_numpy: np.ndarray = counts.cpu().numpy()
    return as_numpy


def hubness(x: Any, k: int = 10, block: int = 1024) -> Hubness:
    """Skewness of the k-occurrences of `x` (N, D) and the share of anti-hubs.

    Radovanović et al. (2010): S = E(N_k − μ)³ / σ³ (section 2.1), 0 where every row occurs
    equally often; anti-hubs are the rows with N_k = 0.
    """
    counts = k_occurrences(x, k, block)
    skewness, anti_hubs = skewness_and_anti_hubs(occurrence_moments(counts).mean(axis=0))
    return Hubness(float(skewness), float(anti_hubs), int(counts.max()), int(k), len(counts))


def occurrence_moments(counts: np.ndarray) -> np.ndarray:
    """What the two figures are functions of the means of: (N, 4) for k-occurrences (N,)."""
    occurrences = counts.astype(np.float64)
    return np.stack([occurrences, occurrences**2, occurrences**3, occurrences == 0], axis=1)


def skewness_and_anti_hubs(means: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both figures (…) from the means (…, 4) of `occurrence_moments`."""
    first, second, third, none = np.moveaxis(means, -1, 0)
    variance = second - first**2
    flat = variance <= 1e-9 * second  # all occur equally often
    central = third - 3 * first * second + 2 * first**3
    skewness = np.where(flat, 0.0, central / np.where(flat, 1.0, variance) ** 1.5)
    return skewness, none
