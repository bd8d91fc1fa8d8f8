"""What each option makes of a row's logits: small formulas on rows, no batch, no settings.

``u`` is a row's positive logit and ``l_j`` that of its j-th negative, both over τ; ``N`` counts its
negatives. What is no negative has the logit `LEAST`.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

#: A logarithm of nothing: so far below all others that it adds 0, with a gradient that is 0 too.
LEAST = -1e30


def with_margin(cosines: Tensor, degrees: float) -> Tensor:
    """Additive angular margin: ``cos(θ + m)`` of a positive's cosine ``cos θ``.

    Where θ + m passes 180° the cosine would rise again; from there on it is ``cos θ − 1 + cos m``,
    which joins it without a step.

    Source: Zhang et al., ArcCSE (ACL 2022), their ArcCon loss.

    Args:
        cosines: any shape.
        degrees: m, from 0 to 90.
    """
    m = math.radians(degrees)
    eps = torch.finfo(cosines.dtype).eps  # equal vectors: the root has no slope at 0
    sines = ((1 - cosines) * (1 + cosines)).clamp(min=eps).sqrt()
    turned = cosines * math.cos(m) - sines * math.sin(m)
    return torch.where(cosines > -math.cos(m), turned, cosines - 1 + math.cos(m))


def self_paced(positives: Tensor, negatives: Tensor, offset: float) -> tuple[Tensor, Tensor]:
    """Cosines that weigh themselves: ``s⁺ · s⁺`` and ``s⁻ · (s⁻ + m)``.

    Source: Hou, Li: Focal-InfoNCE (Findings of EMNLP 2023), and their code.
    """
    return positives.square(), negatives * (negatives + offset)


def focal(loss: Tensor, gamma: float) -> Tensor:
    """``(1 − p)^γ · −ln p`` of ``loss = −ln p``: rows that are learnt weigh little.

    Source: Lin et al., Focal Loss (ICCV 2017), eq. 4.
    """
    eps = torch.finfo(loss.dtype).tiny  # a power below 1 has no slope at 0
    return (-torch.expm1(-loss)).clamp(min=eps) ** gamma * loss


def hard_sum(negatives: Tensor, count: Tensor, beta: float) -> Tensor:
    """``ln Σ_j w_j exp(l_j)`` with weights of mean 1 that favour the hard ones:

        w_j = exp(β l_j) / ( 1/N Σ_k exp(β l_k) )

    Source: Robinson et al., Contrastive Learning with Hard Negative Samples (ICLR 2021); as
    in their code the gradient passes through the weights.

    Args:
        negatives: ``(B, C)`` logits; `count`: N ``(B,)``.
        beta: β of at least 0; 0 is the plain sum.

    Returns:
        ``(B,)``; about `LEAST` where N = 0.
    """
    if not beta:
        return negatives.logsumexp(1)
    weights = (beta * negatives).logsumexp(1) - _log(count, negatives.dtype)
    return ((1 + beta) * negatives).logsumexp(1) - weights


def debiased(
    log_sum: Tensor, positive: Tensor, count: Tensor, prior: float, temperature: Tensor | float
) -> Tensor:
    """The logarithm of the negatives' sum S, less the positives hidden among them:

        N_g = max( (S − N t⁺ exp(u)) / (1 − t⁺),  N exp(−1/τ) )

    the second of which is the least that N cosines can give. Where it holds, no gradient passes to
    the negatives: with a small τ and a close positive that is everywhere, whatever t⁺.

    Source: Chuang et al., Debiased Contrastive Learning (NeurIPS 2020), with one positive (M = 1).

    Args:
        log_sum: ``ln S``, `positive` u, `count` N, all ``(B,)``.
        prior: t⁺ in [0, 1), how likely a draw of the data is another positive.
        temperature: τ, or ``(B,)``.
    """
    log_count = _log(count, log_sum.dtype)
    least = torch.where(count > 0, log_count - 1 / temperature, LEAST)
    hidden = log_count + math.log(prior) + positive - log_sum  # ln of the positives' share of S
    some_left = (hidden < 0) & (count > 0)
    left = torch.expm1(torch.where(some_left, hidden, -1.0)).neg().log()
    corrected = log_sum + left - math.log1p(-prior)
    return torch.where(some_left, torch.maximum(corrected, least), least)


def contrast(log_sum: Tensor, positive: Tensor, *, decoupled: bool) -> Tensor:
    """A row's loss of the logarithm of its negatives' sum S and its positive logit u:

        −ln( exp(u) / (exp(u) + S) )        at least 0
        −ln( exp(u) / S )                   decoupled; may be below 0, and needs a negative

    Source of the second: Yeh et al., Decoupled Contrastive Learning (ECCV 2022), unweighted.
    """
    return (log_sum if decoupled else torch.logaddexp(log_sum, positive)) - positive


def _log(count: Tensor, dtype: torch.dtype) -> Tensor:
    """Of a count; of none, 0."""
    return count.clamp(min=1).to(dtype).log()
