"""Contrast of dimensions: InfoNCE over the columns of a batch in place of its rows."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from simcse_kit.objectives.cosines import full_precision
from simcse_kit.objectives.dimensions import correlations
from simcse_kit.objectives.objective import Embedded, Objective
from simcse_kit.parts import Float, PartSettings


@full_precision
def dimension_contrast(anchors: Tensor, positives: Tensor, *, temperature: float = 5.0) -> Tensor:
    """``−1/D Σ_k log( exp(C_kk / τ) / Σ_l exp(C_kl / τ) )``, with C the correlation of the sides.

    ``C_kl`` is the batch's correlation of dimension ``k`` of the anchors and ``l`` of the
    positives: columns of batch-normalised embeddings against each other. An auxiliary against
    dimensions that say the same. Correlations of a batch stray by ``1/√B`` from 0 by chance, which
    a τ far above InfoNCE's keeps from mattering.

    Source: Xu et al., SimCSE++ (EMNLP 2023), dimension-wise contrastive learning; weighted 0.1
    beside InfoNCE and with τ of 5 to 10 in the authors' scripts.

    Args:
        anchors, positives: ``(B, D)``, B ≥ 2, any scale.
        temperature: τ > 0.

    Returns:
        Scalar in nats; constant embeddings give ``ln D``.
    """
    correlation = correlations(anchors, positives)
    own = F.log_softmax(correlation / temperature, dim=1).diagonal()
    return -own.mean()


class DimensionContrast(Objective):
    """`dimension_contrast` of anchors and positives."""

    LEAST_ROWS = 3  # two rows correlate with 1 or -1

    class Settings(PartSettings):
        temperature: Float = Field(
            5.0, gt=0, description="τ, by which correlations of dimensions are divided."
        )

    def forward(self, batch: Embedded) -> Tensor:
        temperature = self.settings.temperature
        return dimension_contrast(batch.anchors, batch.positives, temperature=temperature)
