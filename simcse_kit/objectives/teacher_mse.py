"""The student's vectors are to be the teachers'."""

from __future__ import annotations

from torch import Tensor

from simcse_kit.objectives.cosines import full_precision
from simcse_kit.objectives.teacher_settings import mean_where
from simcse_kit.objectives.teacher_vectors import FollowsVectors


@full_precision
def teacher_mse(student: Tensor, teacher: Tensor, *, there: Tensor | None = None) -> Tensor:
    """Mean squared difference of the numbers of two ``(N, T)``.

    Source: Reimers, Gurevych, Making Monolingual Sentence Embeddings Multilingual (EMNLP 2020).

    Args:
        there: bool ``(N,)``, the rows that count; None: all.
    """
    return mean_where((student - teacher).pow(2).mean(-1), there)


class TeacherMSE(FollowsVectors):
    """`teacher_mse`: vectors, their length included."""

    def compare(self, student: Tensor, teacher: Tensor, there: Tensor) -> Tensor:
        return teacher_mse(student, teacher, there=there)
