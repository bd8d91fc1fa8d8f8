"""ListNet: the student gives the teachers' ranking of a batch the chances that they give it."""

from __future__ import annotations

from pydantic import Field
from torch import Tensor

from simcse_kit.objectives.cosines import full_precision
from simcse_kit.objectives.similarity_kl import log_shares
from simcse_kit.objectives.teacher_similarities import FollowsSimilarities, SimilaritySettings
from simcse_kit.parts import Float


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
    wanted = log_shares(teacher, teacher_temperature, leave_out)
    terms = -wanted.exp() * log_shares(student, temperature, leave_out)
    return (terms if leave_out is None else terms.masked_fill(leave_out, 0)).sum(1).mean()


class ListNet(FollowsSimilarities):
    """`list_net` of student and teachers."""

    class Settings(SimilaritySettings):
        teacher_temperature: Float = Field(
            0.025, gt=0, description="The teachers' cosines are divided by it."
        )

    def compare(self, student: Tensor, teacher: Tensor, leave_out: Tensor) -> Tensor:
        return list_net(
            student,
            teacher,
            temperature=self.settings.temperature,
            teacher_temperature=self.settings.teacher_temperature,
            leave_out=leave_out,
        )
