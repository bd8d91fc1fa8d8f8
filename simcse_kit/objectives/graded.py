"""Losses for pairs with a grade: the cosines follow the scores."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from simcse_kit.objectives.cosines import full_precision, paired_cosines


@full_precision
def cosent(left: Tensor, right: Tensor, scores: Tensor, *, scale: float = 20.0) -> Tensor:
    """``log( 1 + Σ_{y_i > y_j} exp(λ (c_j − c_i)) )``: of two pairs the higher graded is nearer.

    Depends on the order of the scores alone, as Spearman's correlation does, so any scale will do.

    Source: Su, CoSENT (2022), https://kexue.fm/archives/8847.

    Args:
        left, right: ``(B, D)``, any scale; the pairs' two sides.
        scores: ``(B,)``.
        scale: λ, the reciprocal of a temperature.

    Returns:
        Scalar, at least 0; 0 where all scores are equal.
    """
    return _ranked(paired_cosines(left, right), scores, scale)


@full_precision
def angle(left: Tensor, right: Tensor, scores: Tensor, *, scale: float = 20.0) -> Tensor:
    """CoSENT on AnglE's similarity, which does not flatten out near 1 and −1 as the cosine does.

    The halves of an embedding are the real and imaginary parts of complex numbers ``z`` (left) and
    ``w`` (right); the similarity is ``| Σ_k Re(z_k / w_k) + Im(z_k / w_k) |`` over the lengths'
    ratio, with the division as one of the whole vectors: ``z w* / ‖w‖²``.

    Source: Li, Li, AnglE-optimized Text Embeddings (ACL 2024), eq. 4 to 6, in the form of
    sentence-transformers' ``AnglELoss``.

    Args:
        left, right: ``(B, D)``; an odd D is filled up with a 0.
        scores: ``(B,)``.
        scale: λ.
    """
    even = (F.pad(side, (0, side.shape[-1] % 2)) for side in (left, right))
    (a, b), (c, d) = (F.normalize(side, dim=-1).chunk(2, dim=-1) for side in even)
    real, imaginary = a * c + b * d, b * c - a * d  # of unit vectors: no lengths to divide by
    return _ranked((real.sum(-1) + imaginary.sum(-1)).abs(), scores, scale)


@full_precision
def pearson(left: Tensor, right: Tensor, scores: Tensor) -> Tensor:
    """``1 − r`` of the pairs' cosines and scores, r being Pearson's correlation over the batch.

    Args:
        left, right: ``(B, D)``, B ≥ 2, any scale.
        scores: ``(B,)``; where all are equal, or all cosines, r is 0.

    Returns:
        Scalar in [0, 2].
    """
    found, wanted = (each - each.mean() for each in (paired_cosines(left, right), scores))
    return 1 - F.cosine_similarity(found, wanted, dim=0, eps=1e-12)


@full_precision
def cosine_mse(left: Tensor, right: Tensor, scores: Tensor) -> Tensor:
    """``E (c − y)²``: the cosine is to be the score.

    Source: Reimers, Gurevych, Sentence-BERT (EMNLP 2019), section 3, regression objective.

    Args:
        left, right: ``(B, D)``, any scale.
        scores: ``(B,)`` in [−1, 1]; others ask for cosines that there are not.
    """
    return F.mse_loss(paired_cosines(left, right), scores)


def _ranked(similarities: Tensor, scores: Tensor, scale: float) -> Tensor:
    """CoSENT of similarities ``(B,)``."""
    differences = scale * (similarities - similarities[:, None])  # (i, j): s_j − s_i
    above = scores[:, None] > scores
    wanted = differences.masked_fill(~above, -torch.inf).reshape(-1)
    return torch.cat([wanted.new_zeros(1), wanted]).logsumexp(0)
