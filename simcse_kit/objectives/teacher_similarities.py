"""The base of the objectives by which a student follows its teachers' similarities of a batch."""

from __future__ import annotations

from abc import abstractmethod
from functools import reduce
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from simcse_kit.objectives.cosines import cosines, full_precision
from simcse_kit.objectives.objective import Embedded, Objective
from simcse_kit.objectives.teacher_settings import (
    TeacherSettings,
    all_views,
    are_there,
    teacher_shares,
)
from simcse_kit.parts import Context, Float

Compared = Literal["anchors", "pairs", "all"]

#: Stands for −∞ where a difference of two of them must be no NaN.
LEAST = -1e30


class SimilaritySettings(TeacherSettings):
    """Settings of every objective that follows teachers' similarities."""

    temperature: Float = Field(0.05, gt=0, description="The student's cosines are divided by it.")
    compared: Compared = Field(
        "anchors",
        description="Which texts' similarities: anchors (among each other), pairs (each anchor "
        "with all positives and hard negatives, its own included) or all (texts of the batch, "
        "among each other). A text with itself is left out.",
    )


class FollowsSimilarities(Objective):
    """`compare` of the student's cosines and the teachers' mean cosines.

    The mean of several teachers' cosines is the cosine of their unit vectors end to end; widths
    need not agree, with the student's or with each other.
    """

    NEEDS = frozenset({"teachers"})
    USES = frozenset({"negatives"})
    Settings = SimilaritySettings

    def __init__(self, context: Context | None = None, /, **settings: Any) -> None:
        super().__init__(context, **settings)
        self.shares = teacher_shares(self.settings, self.context)

    @abstractmethod
    def compare(self, student: Tensor, teacher: Tensor, leave_out: Tensor) -> Tensor:
        """A scalar for similarities ``(R, C)``; bool ``(R, C)``: what counts on neither side."""

    def forward(self, batch: Embedded) -> Tensor:
        compared: Compared = self.settings.compared
        wanted = [
            share * similarities(each, compared)
            for share, each in zip(self.shares, batch.teachers, strict=True)
        ]
        there = reduce(torch.logical_or, map(are_there, batch.teachers))  # (B, V)
        return self.compare(
            similarities(all_views(batch), compared),
            sum(wanted[1:], wanted[0]),
            left_out(there, compared),
        )


@full_precision
def similarities(views: Tensor, compared: Compared) -> Tensor:
    """Cosines ``(R, C)`` of the texts of ``(B, V, D)`` that are to be compared."""
    return cosines(*_sides(views, compared))


def left_out(there: Tensor, compared: Compared) -> Tensor:
    """Which of these cosines say nothing, bool ``(R, C)``, of bool ``(B, V)``: texts there are."""
    rows, columns = _sides(there, compared)
    out = ~(rows[:, None] & columns)
    return out if compared == "pairs" else out.fill_diagonal_(True)


def _sides(views: Tensor, compared: Compared) -> tuple[Tensor, Tensor]:
    """What stands in the rows and in the columns, of ``(B, V, …)``."""
    if compared == "all":
        return views.flatten(0, 1), views.flatten(0, 1)
    anchors = views[:, 0]
    if compared == "anchors":
        return anchors, anchors
    return anchors, torch.cat([views[:, 1], views[:, 2:].flatten(0, 1)])
