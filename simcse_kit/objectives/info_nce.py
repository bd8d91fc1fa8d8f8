"""InfoNCE over in-batch negatives, with weighted hard negatives (SimCSE, eq. 1 and 5)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def info_nce(
    anchors: Tensor,
    positives: Tensor,
    negatives: Tensor | None = None,
    *,
    temperature: float = 0.05,
    hard_negative_weight: float = 1.0,
    false_negatives: Tensor | None = None,
) -> Tensor:
    """Mean over anchors ``i`` of

    .. math:: -\\log \\frac{e^{s_{ii}/\\tau}}
        {\\sum_j e^{s_{ij}/\\tau} + \\sum_j \\sum_k \\alpha^{[j=i]} e^{s^-_{ijk}/\\tau}}

    with ``s`` the cosine of anchor ``i`` and positive ``j``, ``s⁻`` that of anchor ``i`` and the
    ``k``-th hard negative of row ``j``: every row's hard negatives are negatives of every anchor,
    and the weight α counts the anchor's own (``ln α`` added to its logit).

    Source: Gao, Yao, Chen: SimCSE (EMNLP 2021), eq. 1 (in-batch negatives, τ), eq. 5 (hard
    negatives) and the appendix on their weight α.

    Args:
        anchors: ``(B, D)``, any scale; cosines and loss are computed in fp32 (float64 stays).
        positives: ``(B, D)``; row ``i`` belongs to anchor ``i``.
        negatives: ``(B, K, D)`` or ``(B, D)`` hard negatives.
        temperature: τ > 0.
        hard_negative_weight: α > 0.
        false_negatives: bool ``(B, B)`` or ``(B, B + B·K)``, columns as
            ``[positives, negatives of row 0, negatives of row 1, …]``; True takes a candidate out
            of an anchor's sum. The own positive always stays.

    Returns:
        Scalar loss in nats; constant embeddings give ``ln`` of the number of candidates.
    """
    dtype = torch.promote_types(anchors.dtype, torch.float32)
    rows = len(anchors)
    candidates = positives
    if negatives is not None:
        candidates = torch.cat([positives, negatives.reshape(-1, positives.shape[-1])])
    with torch.autocast(anchors.device.type, enabled=False):
        anchors, candidates = (
            F.normalize(embeddings.to(dtype), dim=-1) for embeddings in (anchors, candidates)
        )
        logits = anchors @ candidates.T / temperature
    if negatives is not None and hard_negative_weight != 1.0:
        per_row = (len(candidates) - rows) // rows
        own = torch.eye(rows, device=logits.device, dtype=dtype).repeat_interleave(per_row, dim=1)
        logits = logits + math.log(hard_negative_weight) * F.pad(own, (rows, 0))
    if false_negatives is not None:
        mask = F.pad(false_negatives, (0, len(candidates) - false_negatives.shape[1]))
        own_positive = F.pad(
            torch.eye(rows, dtype=torch.bool, device=logits.device), (0, len(candidates) - rows)
        )
        logits = logits.masked_fill(mask & ~own_positive, -torch.inf)
    return F.cross_entropy(logits, torch.arange(rows, device=logits.device))


def equal_text_mask(text_ids: Tensor) -> Tensor:
    """Which in-batch candidates are false negatives because their text equals a row's own.

    Args:
        text_ids: int ``(B, 2 + K)``: equal numbers for equal texts of anchor, positive and hard
            negatives. Texts, not embeddings: dropout makes equal texts' embeddings differ.

    Returns:
        bool ``(B, B·(1 + K))`` in the column order of `info_nce`: candidate ``c`` is masked for
        anchor ``i`` where it reads as anchor ``i`` or as positive ``i`` does.
    """
    candidates = torch.cat([text_ids[:, 1], text_ids[:, 2:].reshape(-1)])
    return (text_ids[:, 0, None] == candidates) | (text_ids[:, 1, None] == candidates)


class InfoNCE(nn.Module):
    """`info_nce` with its temperature τ and hard-negative weight α bound."""

    def __init__(self, temperature: float = 0.05, hard_negative_weight: float = 1.0) -> None:
        super().__init__()
        self.temperature = temperature
        self.hard_negative_weight = hard_negative_weight

    def forward(
        self,
        anchors: Tensor,
        positives: Tensor,
        negatives: Tensor | None = None,
        false_negatives: Tensor | None = None,
    ) -> Tensor:
        return info_nce(
            anchors,
            positives,
            negatives,
            temperature=self.temperature,
            hard_negative_weight=self.hard_negative_weight,
            false_negatives=false_negatives,
        )
