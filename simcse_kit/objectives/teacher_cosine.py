"""The student's vectors are to point where the teachers' do."""

from __future__ import annotations

from torch import Tensor

from simcse_kit.objectives.cosines import full_precision, paired_cosines
from simcse_kit.objectives.teacher_settings import mean_where
from simcse_kit.objectives.teacher_vectors import FollowsVectors


@full_precision
def teacher_cosine(student: Tensor, teacher: Tensor, *, there: Tensor | None = None) -> Tensor:
    """``1 −`` the mean cosine of each row of ``(N, T)`` with the teacher's; lengths are free.

    Args:
        there: bool ``(N,)``, the rows that count; None: all.
    """
    return mean_where(1 - paired_cosines(student, teacher), there)


class TeacherCosine(FollowsVectors):
    """`teacher_cosine`: directions, whatever the vectors' length."""

    def compare(self, student: Tensor, teacher: Tensor, there: Tensor) -> Tensor:
        return teacher_cosine(student, teacher, there=there)
