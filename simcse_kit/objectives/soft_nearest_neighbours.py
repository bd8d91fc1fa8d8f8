"""Soft nearest neighbours: how surely a random neighbour is of one's own class."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from simcse_kit.objectives.cosines import full_precision


@full_precision
def soft_nearest_neighbours(
    embeddings: Tensor, labels: Tensor, *, temperature: float = 0.1
) -> Tensor:
    """The mean, over the ``i`` that share their class with another, of

        −log( Σ_{j ≠ i, y_j = y_i} exp(−‖x_i − x_j‖² / T) / Σ_{k ≠ i} exp(−‖x_i − x_k‖² / T) )

    of unit vectors. One near neighbour of the class will do, where supervised contrast wants all:
    classes may have several clusters. With T = 2τ it is that loss's inside form less ``ln |P_i|``.

    Source: Frosst, Papernot, Hinton, Analyzing and Improving Representations with the Soft Nearest
    Neighbor Loss (ICML 2019), eq. 1.

    Args:
        embeddings: ``(N, D)``, any scale.
        labels: int ``(N,)``.
        temperature: T > 0, in squared distance.

    Returns:
        Scalar in nats, at least 0; 0 too where no class has two texts.
    """
    unit = F.normalize(embeddings, dim=-1)
    logits = (2 * unit @ unit.T - 2) / temperature
    own = torch.eye(len(labels), dtype=torch.bool, device=logits.device)
    same = (labels[:, None] == labels) & ~own
    logits = logits.masked_fill(own, -torch.inf)
    has_other = same.any(1)
    # a row without one would be −∞, whose gradient is no number
    chosen = logits.masked_fill(~same, -torch.inf)[has_other]
    terms = logits[has_other].logsumexp(1) - chosen.logsumexp(1)
    return terms.sum() / has_other.sum().clamp(min=1)
