"""A text's vector is to be nearer its teacher's than the teacher's of any other text."""

from __future__ import annotations

import torch
from pydantic import Field
from torch import Tensor

from simcse_kit.objectives.cosines import cosines, full_precision
from simcse_kit.objectives.teacher_settings import TeacherSettings, mean_where
from simcse_kit.objectives.teacher_vectors import FollowsVectors
from simcse_kit.parts import Float

#: Teacher's vectors with a cosine above it are of one text.
_SAME = 1 - 1e-5


@full_precision
def teacher_contrast(
    student: Tensor, teacher: Tensor, *, temperature: float = 0.05, there: Tensor | None = None
) -> Tensor:
    """The mean of ``−log( exp(s(x_i, t_i) / τ) / Σ_j exp(s(x_i, t_j) / τ) )``.

    Texts of which the teacher says the same (equal ones, a dropout twin) are no negatives.

    Source: Gao et al., DistilCSE: Effective Knowledge Distillation for Contrastive Sentence
    Embeddings (2022), contrastive knowledge distillation, without its queue of earlier vectors.

    Args:
        student, teacher: ``(N, T)``, any scale.
        temperature: τ > 0.
        there: bool ``(N,)``, the rows that count on either side; None: all.

    Returns:
        Scalar in nats, at least 0; 0 where no two rows differ.
    """
    logits = cosines(student, teacher) / temperature
    leave_out = cosines(teacher, teacher) > _SAME
    if there is not None:
        leave_out = leave_out | ~there
    leave_out = leave_out.fill_diagonal_(False)
    others = logits.masked_fill(leave_out, -torch.inf)
    return mean_where(others.logsumexp(1) - logits.diagonal(), there)


class TeacherContrast(FollowsVectors):
    """`teacher_contrast`, over all texts of the batch."""

    class Settings(TeacherSettings):
        temperature: Float = Field(
            0.05,
            gt=0,
            description="Cosines of student and teacher are divided by it.",
        )

    def compare(self, student: Tensor, teacher: Tensor, there: Tensor) -> Tensor:
        return teacher_contrast(
            student, teacher, temperature=self.settings.temperature, there=there
        )
