"""InfoNCE over in-batch negatives, with weighted hard negatives (SimCSE, eq. 1 and 5)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

#: Logits held at a time. A larger matrix is taken by rows, each block's logits made again in the
#: backward pass: the loss is a sum over anchors, and a batch of 4096 would hold several of 67 MB.
_AT_A_TIME = 1 << 20


def info_nce(
    anchors: Tensor,
    positives: Tensor,
    negatives: Tensor | None = None,
    *,
    temperature: float = 0.05,
    hard_negative_weight: float = 1.0,
    false_negatives: Tensor | None = None,
) -> Tensor:
    """The InfoNCE loss of a batch: the mean over anchors ``i`` of

        −log( exp(s_ii / τ) / ( Σ_j exp(s_ij / τ) + Σ_j Σ_k α^[j=i] exp(s⁻_ijk / τ) ) )

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
        anchors = anchors / temperature
        weight = 0.0 if negatives is None else math.log(hard_negative_weight)
        at_once = max(1, _AT_A_TIME // len(candidates))
        if rows <= at_once:
            return _summed(anchors, candidates, weight, false_negatives, 0, rows) / rows
        total = anchors.new_zeros(())
        for first in range(0, rows, at_once):
            block = anchors[first : first + at_once]
            mask = None if false_negatives is None else false_negatives[first : first + at_once]
            total = total + checkpoint(
                _summed, block, candidates, weight, mask, first, rows, use_reentrant=False
            )
        return total / rows


def _summed(
    anchors: Tensor,
    candidates: Tensor,
    log_weight: float,
    false_negatives: Tensor | None,
    first: int,
    rows: int,
) -> Tensor:
    """The terms of `info_nce` summed over a block of anchors.

    Args:
        anchors: ``(b, D)`` unit vectors over τ, the rows from `first` on of a batch of `rows`.
        candidates: ``(rows·(1 + K), D)`` unit vectors, in `info_nce`'s order.
        log_weight: ``ln α``.
        false_negatives: bool ``(b, rows)`` or ``(b, rows·(1 + K))``.
    """
    logits = anchors @ candidates.T  # (b, rows·(1 + K)), changed in place from here on
    block = torch.arange(len(anchors), device=logits.device)
    own = block + first
    if log_weight:
        negatives = logits[:, rows:].unflatten(1, (rows, -1))
        negatives.index_put_((block, own), logits.new_tensor(log_weight), accumulate=True)
    if false_negatives is not None:
        mask = false_negatives.index_put((block, own), false_negatives.new_tensor(False))
        logits[:, : mask.shape[1]].masked_fill_(mask, -torch.inf)
    return F.cross_entropy(logits, own, reduction="sum")


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
