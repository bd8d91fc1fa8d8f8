"""A student follows a teacher: its vectors, its similarities, or its ranking of the batch.

The teacher's side is taken as it is: detach what is trained itself.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from simcse_kit.objectives.cosines import full_precision, paired_cosines


@full_precision
def vector_mse(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference of the numbers of two ``(B, D)``.

    Source: Reimers, Gurevych, Making Monolingual Sentence Embeddings Multilingual (EMNLP 2020).
    """
    return F.mse_loss(student, teacher)


@full_precision
def vector_cosine(student: Tensor, teacher: Tensor) -> Tensor:
    """``1 −`` the mean cosine of each row of ``(B, D)`` with the teacher's; lengths are free."""
    return 1 - paired_cosines(student, teacher).mean()


@full_precision
def similarity_kl(
    student: Tensor,
    teacher: Tensor,
    *,
    temperature: float = 0.05,
    teacher_temperature: float | None = None,
    leave_out: Tensor | None = None,
) -> Tensor:
    """The mean over rows of ``KL( softmax(T_i / τ_t) ‖ softmax(S_i / τ) )``, of two similarities.

    Source: Hinton, Vinyals, Dean (2015) on logits; rows of the batch's similarities as in Tejankar
    et al., ISD (ICCV 2021), eq. 1.

    Args:
        student, teacher: similarities ``(B, C)`` of the same texts; the widths of the embeddings
            behind them may differ.
        temperature: τ of the student; `teacher_temperature`: τ_t, or None for the same.
        leave_out: bool ``(B, C)``, entries that count on neither side (a text with itself).

    Returns:
        Scalar in nats, at least 0; a row of which everything is left out counts as 0.
    """
    wanted, found = _shares(student, teacher, temperature, teacher_temperature, leave_out)
    return F.kl_div(found, wanted, log_target=True, reduction="none").nan_to_num(0).sum(1).mean()


@full_precision
def list_net(
    student: Tensor,
    teacher: Tensor,
    *,
    temperature: float = 0.05,
    teacher_temperature: float = 0.025,
    leave_out: Tensor | None = None,
) -> Tensor:
    """``−Σ_j softmax(T_i / τ₃)_j log softmax(S_i / τ₂)_j``, the mean over rows (RankCSE's ListNet).

    The KL divergence of `similarity_kl` and the entropy of the teacher's row, which no gradient
    reaches.

    Source: Cao et al. (ICML 2007); Liu et al., RankCSE (ACL 2023), eq. 8.

    Args:
        student, teacher: similarities ``(B, C)``.
        temperature: τ₂; `teacher_temperature`: τ₃, half of it in the paper.
        leave_out: as in `similarity_kl`.
    """
    wanted, found = _shares(student, teacher, temperature, teacher_temperature, leave_out)
    return -(wanted.exp() * found).nan_to_num(0).sum(1).mean()


@full_precision
def list_mle(
    student: Tensor,
    teacher: Tensor,
    *,
    temperature: float = 0.05,
    leave_out: Tensor | None = None,
) -> Tensor:
    """``−log`` of the chance of the teacher's order in a draw by ``softmax(S_i / τ)``: the mean.

    Place by place, ``Σ_k logsumexp_{l ≥ k}(S_i,π(l) / τ) − S_i,π(k) / τ`` with π the teacher's
    order from the most to the least similar; ties keep the order of the columns.

    Source: Xia et al. (ICML 2008); Liu et al., RankCSE (ACL 2023), eq. 9.

    Args:
        student, teacher: similarities ``(B, C)``.
        leave_out: as in `similarity_kl`.
    """
    if leave_out is not None:
        teacher = teacher.masked_fill(leave_out, -torch.inf)
    order = teacher.argsort(dim=1, descending=True, stable=True)
    logits = (student / temperature).gather(1, order)
    counted = torch.ones_like(logits, dtype=torch.bool)
    if leave_out is not None:
        counted = ~leave_out.gather(1, order)  # what is left out stands behind all others
        logits = logits.masked_fill(~counted, _LEAST)
    behind = logits.flip(1).logcumsumexp(1).flip(1)
    return (behind - logits).masked_fill(~counted, 0).sum(1).mean()


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


#: Stands for −∞ where a difference of two of them must be no NaN.
_LEAST = -1e30


def _shares(
    student: Tensor,
    teacher: Tensor,
    temperature: float,
    teacher_temperature: float | None,
    leave_out: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Logarithms of the teacher's and the student's softmax by rows."""
    if leave_out is not None:
        student, teacher = (each.masked_fill(leave_out, _LEAST) for each in (student, teacher))
    softened = temperature if teacher_temperature is None else teacher_temperature
    return (teacher / softened).log_softmax(1), (student / temperature).log_softmax(1)
