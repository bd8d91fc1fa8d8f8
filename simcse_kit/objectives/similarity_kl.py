"""Rows of the batch's similarities as chances: the student's are to be the teachers'."""

from __future__ import annotations

import math
from typing import Any

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from simcse_kit.objectives.cosines import full_precision
from simcse_kit.objectives.draws import BatchDraws
from simcse_kit.objectives.teacher_similarities import (
    LEAST,
    FollowsSimilarities,
    SimilaritySettings,
)
from simcse_kit.parts import Context, Float


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
    softened = temperature if teacher_temperature is None else teacher_temperature
    wanted, found = (
        log_shares(teacher, softened, leave_out),
        log_shares(student, temperature, leave_out),
    )
    terms = F.kl_div(found, wanted, log_target=True, reduction="none")
    return (terms if leave_out is None else terms.masked_fill(leave_out, 0)).sum(1).mean()


def log_shares(similarities: Tensor, temperature: float, leave_out: Tensor | None) -> Tensor:
    """Logarithms of the softmax of each row; far below all others where left out."""
    logits = similarities / temperature
    return (logits if leave_out is None else logits.masked_fill(leave_out, LEAST)).log_softmax(1)


def shuffled_groups(
    teacher: Tensor,
    share: float,
    *,
    generator: torch.Generator,
    temperature: float = 1.0,
    leave_out: Tensor | None = None,
) -> tuple[Tensor, Tensor]:
    """Columns of each row in the teacher's order, and the same shuffled inside groups.

    A row is sorted by ``q = softmax(T_i / t)``, from the most similar on, and cut wherever the sum
    of ``q`` so far reaches another multiple of `share`; inside a group the order is drawn.

    Source: Xu et al., DistillCSE (EMNLP 2023 findings), Group-P shuffling, as their code cuts.

    Args:
        teacher: similarities ``(B, C)``.
        share: P, in (0, 1]; 1 shuffles whole rows.
        generator: on the CPU.
        temperature: t; 1 in their code, which makes the groups nearly as large as each other.
        leave_out: bool ``(B, C)``; these stand behind all others, and are not among them.

    Returns:
        int64 ``(B, C)`` twice.
    """
    q = log_shares(teacher, temperature, leave_out).exp()
    ranked = teacher if leave_out is None else teacher.masked_fill(leave_out, -torch.inf)
    order = ranked.argsort(dim=1, descending=True, stable=True)
    last = math.ceil(1 / share) - 1
    group = (q.gather(1, order).cumsum(1) / share).floor().clamp(max=last)
    if leave_out is not None:
        group = group.masked_fill(leave_out.gather(1, order), last + 1)
    drawn = torch.rand(teacher.shape, generator=generator).argsort(dim=1).to(teacher.device)
    # groups in order, each as it was drawn
    back = group.gather(1, drawn).argsort(dim=1, stable=True)
    return order, order.gather(1, drawn.gather(1, back))


class SimilarityKL(FollowsSimilarities):
    """`similarity_kl` of student and teachers, with the fine order of the teachers shuffled."""

    class Settings(SimilaritySettings):
        teacher_temperature: Float | None = Field(
            None,
            gt=0,
            description="The teachers' cosines are divided by it; half of temperature in "
            "DistillCSE. None: temperature.",
        )
        shuffle: Float = Field(
            0.0,
            ge=0,
            le=1,
            description="Share of the teachers' belief in a row that makes a group, inside which "
            "their order is shuffled at every step (DistillCSE: 0.1 to 0.15); takes their noise "
            "out. 0: not at all.",
        )
        shuffle_temperature: Float = Field(
            1.0,
            gt=0,
            description="Of the belief by which groups are cut. 1, as in DistillCSE's code: groups "
            "of nearly equal size; lower: the nearest stand alone.",
        )

    def __init__(self, context: Context | None = None, /, **settings: Any) -> None:
        super().__init__(context, **settings)
        self._draws = BatchDraws(self.context.seed)

    def begin_step(self, step: int, steps: int) -> None:
        self._draws.begin(step)

    def compare(self, student: Tensor, teacher: Tensor, leave_out: Tensor) -> Tensor:
        given = self.settings
        if given.shuffle > 0:
            order, shuffled = shuffled_groups(
                teacher,
                given.shuffle,
                generator=self._draws.next(),
                temperature=given.shuffle_temperature,
                leave_out=leave_out,
            )
            student, teacher = student.gather(1, shuffled), teacher.gather(1, order)
            leave_out = leave_out.gather(1, order)
        return similarity_kl(
            student,
            teacher,
            temperature=given.temperature,
            teacher_temperature=given.teacher_temperature,
            leave_out=leave_out,
        )
