"""ListMLE: the student makes the teachers' order of a batch the likely one."""

from __future__ import annotations

import torch
from torch import Tensor

from simcse_kit.objectives.cosines import full_precision
from simcse_kit.objectives.teacher_similarities import LEAST, FollowsSimilarities


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
        logits = logits.masked_fill(~counted, LEAST)
    behind = logits.flip(1).logcumsumexp(1).flip(1)
    return (behind - logits).masked_fill(~counted, 0).sum(1).mean()


class ListMLE(FollowsSimilarities):
    """`list_mle` of student and teachers."""

    def compare(self, student: Tensor, teacher: Tensor, leave_out: Tensor) -> Tensor:
        return list_mle(
            student, teacher, temperature=self.settings.temperature, leave_out=leave_out
        )
