"""Figures of the spectrum: how many directions the cloud fills, and how evenly.

With λ_k the eigenvalues of the covariance of the unit rows (`centred`) or of their second moment
(not centred), and σ_k = √λ_k the singular values of the rows divided by √N:

- participation ratio (Σλ)² / Σλ², and IsoScore, which is that ratio on a scale from 0 to 1;
- effective rank exp H(p) with p = σ / Σσ (Roy & Vetterli, EUSIPCO 2007), of the centred rows;
- RankMe (Garrido et al. 2023, arXiv 2210.02885, eq. 1–2), the same of the rows as they are.

All are sums over the spectrum, so the influence (N,) of a sentence on each is a quadratic form of
its row: the derivative of Σ f(λ_k) is U diag(f′(λ_k)) Uᵀ.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from simcse_kit.errors import InputError
from simcse_kit.geometry.rows import finite_rows, unit_rows

if TYPE_CHECKING:
    from torch import Tensor

_CHUNK = 8192  # rows that are float64 at a time
_COLLAPSED = 1e-10  # total variance of unit rows below which they point one way
_NO_DIRECTION = 1e-12  # of the largest eigenvalue: below, a direction is rounding error


def singular_spectrum(x: Any, *, centred: bool = True, unit: bool = True) -> np.ndarray:
    """Singular values of the rows of `x` (N, D) divided by √N, float64 (min(N, D),), descending.

    Their squares are the variances along the principal directions (`centred`) or the second
    moments, which for unit rows add up to 1. `unit` False takes the rows at their own lengths.
    """
    rows = unit_rows(x, "embeddings") if unit else finite_rows(x, "embeddings")
    return _spectrum(rows, centred)


def participation_ratio(x: Any) -> float:
    """How many directions the cloud really uses: (tr C)² / tr C², from 1 to min(D, N − 1).

    C is the covariance of the unit rows of `x` (N, D), N ≥ 2. It sees dimensional collapse, to
    which uniformity is nearly blind. Raises InputError where all rows point the same way, since
    such a cloud has no spread to share out.
    """
    variances, _ = _variances(x, "participation ratio")
    return float(variances.sum() ** 2 / np.square(variances).sum())


def isoscore(x: Any) -> float:
    """IsoScore of the unit rows of `x` (N, D): 0 for one direction only, 1 for all D alike.

    Rudman et al. (Findings of ACL 2022, arXiv 2108.07344), Algorithm 1. Its steps (variances v
    along the principal directions, scaled to length √D; their distance from (1, …, 1) as a share
    δ of the greatest possible; φ = (D − δ²(D − √D))² / D²; (D·φ − 1) / (D − 1)) come down to
    (PR − 1) / (D − 1) with PR the participation ratio, because D − δ²(D − √D) = √D·Σv/‖v‖.
    Raises InputError for D = 1 and for a collapsed cloud.
    """
    variances, dimension = _variances(x, "IsoScore")
    if dimension < 2:
        raise InputError("IsoScore compares directions, and embeddings of one number have one.")
    ratio = variances.sum() ** 2 / np.square(variances).sum()
    return float((ratio - 1) / (dimension - 1))


def effective_rank(x: Any) -> float:
    """exp of the entropy of the normalised singular values of the centred unit rows of `x`.

    Roy & Vetterli (2007), eq. 1–4: from 1 to min(D, N − 1). Raises InputError for a collapsed
    cloud.
    """
    return _exp_entropy(np.sqrt(_variances(x, "effective rank")[0]))


def rankme(x: Any, *, unit: bool = True) -> float:
    """RankMe of `x` (N, D): the effective rank of the rows without centring, from 1 to min(N, D).

    Garrido et al. (2023), eq. 1–2, without their ε = 1e-7, which only guards log 0. They take the
    embeddings at their own lengths (`unit=False`); here cosines are what is compared.
    """
    return _exp_entropy(singular_spectrum(x, centred=False, unit=unit))


def feature_spread(x: Any) -> np.ndarray:
    """Standard deviation of each feature over the unit rows of `x` (N, D), float64 (D,).

    1/√D throughout for a cloud that is even on the sphere, 0 for a collapsed one (Chen & He 2021,
    arXiv 2011.10566, section 4.1).
    """
    rows = unit_rows(x, "embeddings", at_least=2)
    spread: np.ndarray = _feature_variances(rows, _mean(rows)).sqrt().cpu().numpy()
    return spread


# ---- values with the influence of every sentence -------------------------------------------------


def spectral_figures(unit: Tensor) -> tuple[dict[str, float], dict[str, np.ndarray], np.ndarray]:
    """The figures of unit rows (N, D), each with its influence (N,), and the centred spectrum.

    One eigendecomposition of (D, D) for the centred figures and one for RankMe.
    """
    import torch

    n, d = unit.shape
    mean = _mean(unit)
    values: dict[str, float] = {}
    influences: dict[str, np.ndarray] = {}

    covariance = _second_moment(unit, mean)
    eigenvalues, vectors = torch.linalg.eigh(covariance)
    eigenvalues = eigenvalues.clamp_(min=0.0)
    trace, square = float(eigenvalues.sum()), float(eigenvalues.square().sum())
    if trace <= _COLLAPSED:
        raise _collapsed("spectrum")
    ratio = trace**2 / square
    slope = 2 * trace / square * torch.eye(d, dtype=torch.float64, device=unit.device)
    slope -= 2 * trace**2 / square**2 * covariance
    values["participation_ratio"] = ratio
    influences["participation_ratio"] = _quadratic(unit, mean, slope, covariance)
    if d > 1:
        values["isoscore"] = (ratio - 1) / (d - 1)
        influences["isoscore"] = influences["participation_ratio"] / (d - 1)
    values["effective_rank"], slope = _rank_and_slope(eigenvalues, vectors)
    influences["effective_rank"] = _quadratic(unit, mean, slope, covariance)
    values["feature_spread"], influences["feature_spread"] = _spread(unit, mean)

    zero = torch.zeros_like(mean)
    moment = _second_moment(unit, zero)
    values["rankme"], slope = _rank_and_slope(*torch.linalg.eigh(moment))
    influences["rankme"] = _quadratic(unit, zero, slope, moment)
    spectrum: np.ndarray = eigenvalues.flip(0)[: min(n, d)].sqrt().cpu().numpy()
    return values, influences, spectrum


def _rank_and_slope(eigenvalues: Tensor, vectors: Tensor) -> tuple[float, Tensor]:
    """exp H of the normalised roots of the eigenvalues, and its derivative as a (D, D) matrix."""
    kept = eigenvalues > _NO_DIRECTION * eigenvalues[-1]
    roots, basis = eigenvalues[kept].sqrt(), vectors[:, kept]
    shares = roots / roots.sum()
    entropy = -(shares * shares.log()).sum()
    rank = entropy.exp()
    by_root = -(shares.log() + entropy) / roots.sum()  # dH / dσ
    slope = basis @ (rank * by_root / (2 * roots))[:, None].mul(basis.T)  # dσ / dλ = 1 / 2σ
    return float(rank), slope


def _quadratic(rows: Tensor, mean: Tensor, slope: Tensor, moment: Tensor) -> np.ndarray:
    """zᵀ M z − tr(M·C) of each row z = x − mean, float64 (N,)."""
    import torch

    parts = []
    for part in rows.split(_CHUNK):
        centred = part.double() - mean
        parts.append((centred @ slope).mul_(centred).sum(dim=1))
    influence: np.ndarray = (torch.cat(parts) - (slope * moment).sum()).cpu().numpy()
    return influence


def _spread(unit: Tensor, mean: Tensor) -> tuple[float, np.ndarray]:
    """√D times the mean standard deviation of the features: 1 on an even sphere."""
    import torch

    variances = _feature_variances(unit, mean)
    deviations = variances.sqrt()
    # A feature that never changes has no slope; to first order it stays as it is.
    slope = torch.where(deviations > 1e-12, 0.5 / deviations.clamp(min=1e-12), 0.0)
    scale = len(mean) ** -0.5
    parts = [((part.double() - mean).square() - variances) @ slope for part in unit.split(_CHUNK)]
    influence: np.ndarray = (torch.cat(parts) * scale).cpu().numpy()
    return float(deviations.sum()) * scale, influence


def _variances(x: Any, what: str) -> tuple[np.ndarray, int]:
    """Variances along the principal directions of the unit rows (min(N, D),), and D."""
    rows = unit_rows(x, "embeddings", at_least=2)
    variances = np.square(_spectrum(rows, centred=True))
    if variances.sum() <= _COLLAPSED:
        raise _collapsed(what)
    return variances, rows.shape[1]


def _spectrum(rows: Tensor, centred: bool) -> np.ndarray:
    import torch

    n, d = rows.shape
    mean = _mean(rows) if centred else torch.zeros(d, dtype=torch.float64, device=rows.device)
    if n < d:  # XXᵀ has the eigenvalues of XᵀX, and is the smaller of the two
        moved = rows.double() - mean
        moment = moved @ moved.T / n
    else:
        moment = _second_moment(rows, mean)
    eigenvalues = torch.linalg.eigvalsh(moment).clamp_(min=0.0).flip(0)
    spectrum: np.ndarray = eigenvalues.sqrt().cpu().numpy()
    return spectrum


def _collapsed(what: str) -> InputError:
    return InputError(
        f"All embeddings point the same way, so they have no {what}: the space has collapsed."
    )


def _exp_entropy(weights: np.ndarray) -> float:
    """exp of the Shannon entropy of weights (K,) ≥ 0, taken as shares of their sum."""
    shares = weights[weights > 0] / weights.sum()
    return float(np.exp(-(shares * np.log(shares)).sum()))


def _mean(rows: Tensor) -> Tensor:
    import torch

    return rows.sum(dim=0, dtype=torch.float64) / len(rows)


def _feature_variances(rows: Tensor, mean: Tensor) -> Tensor:
    """Variance of each feature, float64 (D,), some rows at a time."""
    import torch

    squares = torch.zeros_like(mean)
    for part in rows.split(_CHUNK):
        squares += (part.double() - mean).square().sum(dim=0)
    return squares / len(rows)


def _second_moment(rows: Tensor, mean: Tensor) -> Tensor:
    """Σ (x − mean)(x − mean)ᵀ / N in float64 (D, D), some rows at a time."""
    import torch

    moment = torch.zeros((rows.shape[1],) * 2, dtype=torch.float64, device=rows.device)
    for part in rows.split(_CHUNK):
        centred = part.double() - mean
        moment.addmm_(centred.T, centred)
    return moment / len(rows)
