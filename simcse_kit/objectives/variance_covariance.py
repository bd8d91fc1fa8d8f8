"""Variance, invariance, covariance: views agree, dimensions spread and do not follow each other."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from simcse_kit.objectives.cosines import full_precision
from simcse_kit.objectives.objective import Embedded, Objective
from simcse_kit.parts import Float, PartSettings


@full_precision
def variance_covariance(
    anchors: Tensor,
    positives: Tensor,
    *,
    invariance_weight: float = 25.0,
    variance_weight: float = 25.0,
    covariance_weight: float = 1.0,
    spread: float = 1.0,
) -> Tensor:
    """``λ s + μ (v(anchors) + v(positives)) / 2 + ν (c(anchors) + c(positives))``, with

        s  =  the mean over rows and dimensions of (x − x⁺)²
        v  =  the mean over dimensions of max(0, γ − √(var + 10⁻⁴))
        c  =  1/D Σ_{k ≠ l} cov_kl²

    of the embeddings as they are: lengths count, and variances are of ``B − 1``.

    Source: Bardes, Ponce, LeCun, VICReg (ICLR 2022), eq. 1 to 6, with the mean of the two ``v`` and
    the mean over D in ``s`` as in their code.

    Args:
        anchors, positives: ``(B, D)``, B ≥ 2.
        invariance_weight, variance_weight, covariance_weight: λ, μ, ν.
        spread: γ, the standard deviation that a dimension is to have.

    Returns:
        Scalar, at least 0; constant embeddings give ``μ (γ − 0.01)``.
    """
    sides = (anchors, positives)
    apart = F.mse_loss(anchors, positives)
    narrow = sum((F.relu(spread - (x.var(0) + _ROUND).sqrt()).mean() for x in sides), start=0.0)
    related = sum((_covariance(x) for x in sides), start=0.0)
    return invariance_weight * apart + variance_weight * narrow / 2 + covariance_weight * related


#: The root of 0 has no slope.
_ROUND = 1e-4


def _covariance(side: Tensor) -> Tensor:
    """Squared covariances of different dimensions of ``(B, D)``, their sum over D."""
    centred = side - side.mean(0)
    covariance = centred.T @ centred / (len(side) - 1)
    own = covariance.diagonal()
    return (covariance.pow(2).sum() - own.pow(2).sum()) / len(own)


class VarianceCovariance(Objective):
    """`variance_covariance` of anchors and positives."""

    class Settings(PartSettings):
        invariance_weight: Float = Field(
            25.0, ge=0, description="λ, of the squared difference of the two views."
        )
        variance_weight: Float = Field(
            25.0, ge=0, description="μ, of what dimensions fall short of the spread."
        )
        covariance_weight: Float = Field(
            1.0, ge=0, description="ν, of the covariances between dimensions."
        )
        spread: Float = Field(
            1.0, gt=0, description="γ, the standard deviation that a dimension is to have."
        )

    def forward(self, batch: Embedded) -> Tensor:
        return variance_covariance(batch.anchors, batch.positives, **self.settings.model_dump())
