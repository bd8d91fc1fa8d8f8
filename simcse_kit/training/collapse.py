"""What a training batch tells of the space, and the alarm when the space collapses.

A collapsed space maps every text to one point or one line. The sign used here is the
participation ratio of the batch's embeddings, ``(Σλ)² / Σλ²`` over the eigenvalues λ of their
uncentred Gram matrix: the number of directions they spread over, 1 for a point or a line.
Raw masked-LM encoders start near 1 too and leave within some tens of steps; so the alarm waits
longer for a space that was never healthy than for one that was.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

logger = logging.getLogger(__name__)

#: What `batch_geometry` gives, in order.
BATCH_FIGURES = (
    "positive_cosine",
    "negative_cosine",
    "alignment",
    "uniformity",
    "participation_ratio",
)


#: Cosines computed at a time, so that a batch of thousands needs no room for all its pairs.
_AT_A_TIME = 1 << 20


@torch.no_grad()
def batch_geometry(anchors: Tensor, positives: Tensor) -> Tensor:
    """`BATCH_FIGURES` of a training batch, float32 ``(5,)`` on its device (no sync).

    Args:
        anchors: ``(B, D)`` embeddings as the objective sees them, dropout on.
        positives: ``(B, D)``.

    Alignment and uniformity as in Wang & Isola (ICML 2020) on unit vectors: the mean squared
    distance of the pairs, and ``log mean exp(-2 d²)`` over anchors ``i < j``.
    """
    with torch.autocast(anchors.device.type, enabled=False):
        left = F.normalize(anchors.float(), dim=-1)
        right = F.normalize(positives.float(), dim=-1)
        rows = len(left)
        pairs = rows * (rows - 1)
        own = (left * right).sum(-1)
        crosses, squares, potentials = left.new_zeros(3)
        for block in left.split(max(1, _AT_A_TIME // rows)):
            crosses += (block @ right.T).sum()
            gram = (block @ left.T).clamp_(max=1.0)
            squares += gram.square().sum()
            potentials += gram.sub_(1).mul_(4).exp_().sum()
        positive = own.mean()
        negative = (crosses - own.sum()) / pairs
        potential = (potentials - rows) / pairs
        ratio = rows**2 / squares
        return torch.stack([positive, negative, 2 - 2 * positive, potential.log(), ratio])


@dataclass
class CollapseAlarm:
    """Tells from the batches' figures that the space has collapsed.

    Attributes:
        threshold: participation ratio under which a batch counts as collapsed.
        healthy: ratio from which the space counts as having been healthy.
        patience: batches in a row under the threshold after a healthy one.
        patience_at_start: the same for a space that has not been healthy yet.
    """

    threshold: float = 1.5
    healthy: float = 3.0
    patience: int = 20
    patience_at_start: int = 150
    was_healthy: bool = False
    in_a_row: int = 0

    def check(self, loss: float, figures: dict[str, float]) -> str | None:
        """The reason for an alarm after one more batch, or None."""
        if loss != loss or abs(loss) == float("inf"):
            return f"the loss is {loss}: lower learning_rate, or train with bf16=false"
        ratio = figures["participation_ratio"]
        self.was_healthy |= ratio >= self.healthy
        self.in_a_row = self.in_a_row + 1 if ratio < self.threshold else 0
        if self.in_a_row < (self.patience if self.was_healthy else self.patience_at_start):
            return None
        return (
            f"the space has collapsed: for {self.in_a_row} batches the embeddings spread over "
            f"{ratio:.2f} directions (mean cosine of unrelated texts "
            f"{figures['negative_cosine']:.3f}, uniformity {figures['uniformity']:.3f}); lower "
            "learning_rate, check that the texts differ, or raise temperature"
        )
