"""Decorrelation: each dimension varies with its like in the other view, and with no other."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from simcse_kit.objectives.cosines import full_precision
from simcse_kit.objectives.dimensions import correlations
from simcse_kit.objectives.objective import Embedded, Objective
from simcse_kit.parts import Float, PartSettings


@full_precision
def decorrelation(
    anchors: Tensor, positives: Tensor, *, off_diagonal_weight: float = 0.005
) -> Tensor:
    """``( Σ_k (1 − C_kk)² + λ Σ_{k ≠ l} C_kl² ) / D``, with C the correlation of the two sides.

    ``C_kl`` is the batch's correlation of dimension ``k`` of the anchors and ``l`` of the
    positives. An auxiliary: it works on the columns of the batch as InfoNCE does on its rows. A
    dimension that is constant over the batch has the correlation 0.

    Source: Zbontar et al., Barlow Twins (ICML 2021), eq. 1 and 2, divided by D, which keeps the
    weight's meaning at any width.

    Args:
        anchors, positives: ``(B, D)``, B ≥ 2.
        off_diagonal_weight: λ.

    Returns:
        Scalar, at least 0; constant embeddings give 1.
    """
    correlation = correlations(anchors, positives)
    own = torch.diagonal(correlation)
    others = correlation.pow(2).sum() - own.pow(2).sum()
    return ((1 - own).pow(2).sum() + off_diagonal_weight * others) / len(own)


class Decorrelation(Objective):
    """`decorrelation` of anchors and positives."""

    LEAST_ROWS = 3  # two rows correlate with 1 or -1

    class Settings(PartSettings):
        off_diagonal_weight: Float = Field(
            0.005, ge=0, description="λ, of the correlations between different dimensions."
        )

    def forward(self, batch: Embedded) -> Tensor:
        weight = self.settings.off_diagonal_weight
        return decorrelation(batch.anchors, batch.positives, off_diagonal_weight=weight)
