"""Supervised contrastive loss: every text of an anchor's class is its positive."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from simcse_kit.objectives.cosines import cosines, full_precision

Form = Literal["out", "in"]


@full_precision
def supervised_contrastive(
    embeddings: Tensor, labels: Tensor, *, temperature: float = 0.05, form: Form = "out"
) -> Tensor:
    """The mean, over the anchors ``i`` that have a positive, of

        out:  −1/|P_i| Σ_{p ∈ P_i} log( exp(s_ip / τ) / Σ_{a ≠ i} exp(s_ia / τ) )
        in:   −log( 1/|P_i| Σ_{p ∈ P_i} exp(s_ip / τ) / Σ_{a ≠ i} exp(s_ia / τ) )

    with ``s`` the cosine and ``P_i`` the others of ``i``'s class. The first, in which every
    positive counts alike, is the better one of the paper; the second is never above it.

    Source: Khosla et al., Supervised Contrastive Learning (NeurIPS 2020), eq. 2 and 3; without the
    factor τ/τ_base of their code.

    Args:
        embeddings: ``(N, D)``, any scale: all views of all rows, one below the other.
        labels: int ``(N,)``.
        temperature: τ > 0.

    Returns:
        Scalar in nats; 0 where no class has two texts. Constant embeddings give ``ln(N − 1)``.
    """
    logits = cosines(embeddings, embeddings) / temperature
    own = torch.eye(len(labels), dtype=torch.bool, device=logits.device)
    positive = (labels[:, None] == labels) & ~own
    logits = logits.masked_fill(own, -torch.inf)
    log_share = logits - logits.logsumexp(1, keepdim=True)
    count = positive.sum(1)
    if form == "out":
        terms = log_share.masked_fill(~positive, 0).sum(1) / count.clamp(min=1)
    else:
        inside = log_share.masked_fill(~positive, _LEAST).logsumexp(1)
        terms = inside - count.clamp(min=1).to(inside.dtype).log()
    has_positive = count > 0
    return -(terms * has_positive).sum() / has_positive.sum().clamp(min=1)


#: A logarithm of nothing: so far below all others that it adds 0, with a gradient that is 0 too.
_LEAST = -1e30


def without_positive(labels: Tensor) -> Tensor:
    """Which rows of ``(N,)`` labels are the only one of their class, and so no anchors: bool."""
    return (labels[:, None] == labels).sum(1) == 1
