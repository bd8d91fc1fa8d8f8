"""A batch is to be ranked alike from either view."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from simcse_kit.objectives.cosines import cosines, full_precision
from simcse_kit.objectives.objective import Embedded, Objective
from simcse_kit.parts import Float, PartSettings


@full_precision
def ranking_consistency(
    similarities: Tensor, mirrored: Tensor, *, temperature: float = 0.05
) -> Tensor:
    """Jensen–Shannon divergence of two views' softmax over the batch, the mean over rows.

    RankCSE: the batch is ranked alike from either dropout twin; ``similarities`` of views 1 to
    views 2, ``mirrored`` of views 2 to views 1.

    Source: Liu et al., RankCSE (ACL 2023), eq. 5. Logarithms of the mixture are exact, where a
    1e-7 added to it would bound the divergence.

    Args:
        similarities, mirrored: ``(B, B)``.

    Returns:
        Scalar in nats, from 0 to ln 2.
    """
    one, other = ((each / temperature).log_softmax(1) for each in (similarities, mirrored))
    middle = torch.stack([one, other]).logsumexp(0) - torch.log(one.new_tensor(2.0))
    # "batchmean" sums a row and takes the mean over rows
    halves = [
        F.kl_div(middle, each, log_target=True, reduction="batchmean") for each in (one, other)
    ]
    return torch.stack(halves).mean()


class RankingConsistency(Objective):
    """`ranking_consistency` of anchors to positives and back; needs no teacher."""

    class Settings(PartSettings):
        temperature: Float = Field(0.05, gt=0, description="Cosines are divided by it.")

    def forward(self, batch: Embedded) -> Tensor:
        found = _crosswise(batch.anchors, batch.positives)
        return ranking_consistency(found, found.T, temperature=self.settings.temperature)


@full_precision
def _crosswise(anchors: Tensor, positives: Tensor) -> Tensor:
    return cosines(anchors, positives)
