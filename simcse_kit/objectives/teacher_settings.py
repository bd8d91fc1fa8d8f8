"""What all objectives share that follow teachers: whose word counts how much, and which texts."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from simcse_kit.errors import InputError
from simcse_kit.objectives.objective import Embedded
from simcse_kit.parts import Context, Float, PartSettings


class TeacherSettings(PartSettings):
    """Settings of every objective that follows teachers."""

    teacher_weights: list[Annotated[Float, Field(gt=0)]] | None = Field(
        None, description="How much each teacher's word counts, in their order. None: all alike."
    )


def teacher_shares(settings: TeacherSettings, context: Context) -> tuple[float, ...]:
    """The weight of each teacher, with the sum 1.

    Raises:
        InputError: another number of weights than teachers.
    """
    teachers = len(context.teacher_widths)
    weights = settings.teacher_weights or [1.0] * teachers
    if len(weights) != teachers:
        raise InputError(
            f"teacher_weights names {len(weights)} weights for {teachers} "
            f"teacher{'' if teachers == 1 else 's'}; give one each"
        )
    return tuple(weight / sum(weights) for weight in weights)


def all_views(batch: Embedded) -> Tensor:
    """Anchors, positives and hard negatives of every row side by side, ``(B, V, D)``."""
    views = torch.stack([batch.anchors, batch.positives], 1)
    return views if batch.negatives is None else torch.cat([views, batch.negatives], 1)


def are_there(teacher: Tensor) -> Tensor:
    """Which of ``(…, T)`` a teacher speaks of, bool ``(…,)``: of a text that is none, zeros."""
    return (teacher != 0).any(-1)


def mean_where(values: Tensor, counted: Tensor | None) -> Tensor:
    """The mean of ``(N,)`` over those that count; 0 of none."""
    if counted is None:
        return values.mean()
    total = values.where(counted, values.new_zeros(())).sum()
    return total / counted.sum().clamp(min=1)
