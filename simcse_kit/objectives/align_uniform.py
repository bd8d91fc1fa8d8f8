"""Alignment and uniformity themselves as the loss."""

from __future__ import annotations

import math

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from simcse_kit.objectives.cosines import full_precision
from simcse_kit.objectives.objective import Embedded, Objective
from simcse_kit.parts import Float, PartSettings


@full_precision
def align_uniform(
    anchors: Tensor,
    positives: Tensor,
    *,
    uniformity_weight: float = 1.0,
    alpha: float = 2.0,
    t: float = 2.0,
) -> Tensor:
    """``E ‖x − x⁺‖^α + λ · ½ (U(anchors) + U(positives))``, with ``U = log E exp(−t‖x − y‖²)``.

    On unit vectors; the second expectation is over the pairs ``i < j`` of a side. What InfoNCE
    tends to with many negatives. Lower on both terms need not be better at STS: the loss can be
    driven far below where scores are best.

    Source: Wang, Isola, Understanding Contrastive Representation Learning through Alignment and
    Uniformity on the Hypersphere (ICML 2020), eq. 2, 4 and figure 5.

    Args:
        anchors, positives: ``(B, D)``, B ≥ 2, any scale.
        uniformity_weight: λ ≥ 0.

    Returns:
        Scalar. Constant embeddings give 0.
    """
    anchors, positives = (F.normalize(side, dim=-1) for side in (anchors, positives))
    squared = (2 - 2 * (anchors * positives).sum(-1)).clamp(min=0)
    apart = squared if alpha == 2 else (squared + _ROUND).pow(alpha / 2)
    uniformity = (_uniformity(anchors, t) + _uniformity(positives, t)) / 2
    return apart.mean() + uniformity_weight * uniformity


#: The root of 0 has no gradient.
_ROUND = 1e-12


def _uniformity(unit: Tensor, t: float) -> Tensor:
    first, second = torch.triu_indices(len(unit), len(unit), 1, device=unit.device)
    potentials = t * (2 * (unit @ unit.T)[first, second] - 2)
    return potentials.logsumexp(0) - math.log(len(first))


class AlignUniform(Objective):
    """`align_uniform` of anchors and positives."""

    class Settings(PartSettings):
        alpha: Float = Field(2.0, gt=0, description="α, the power of a positive's distance.")
        t: Float = Field(2.0, gt=0, description="t, by which squared distances repel each other.")
        uniformity_weight: Float = Field(1.0, ge=0, description="λ, of uniformity in the sum.")

    def forward(self, batch: Embedded) -> Tensor:
        return align_uniform(batch.anchors, batch.positives, **self.settings.model_dump())
