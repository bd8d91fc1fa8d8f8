"""The base of the objectives by which a student follows its teachers' vectors, text by text."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from simcse_kit.errors import InputError
from simcse_kit.objectives.cosines import full_precision
from simcse_kit.objectives.objective import Embedded, Objective
from simcse_kit.objectives.teacher_settings import (
    TeacherSettings,
    all_views,
    are_there,
    teacher_shares,
)
from simcse_kit.parts import Context


class FollowsVectors(Objective):
    """The weighted mean over teachers of `compare`, on all views of all rows.

    A teacher of another width than the student's is met through a learnt linear layer, student to
    teacher, which is of the training only.
    """

    NEEDS = frozenset({"teachers"})
    USES = frozenset({"negatives"})
    WHOLE = True
    Settings = TeacherSettings

    def __init__(self, context: Context | None = None, /, **settings: Any) -> None:
        super().__init__(context, **settings)
        self.shares = teacher_shares(self.settings, self.context)
        width = self.context.width
        self.projections = nn.ModuleList(
            nn.Identity() if width == each else nn.Linear(width, each)
            for each in self.context.teacher_widths
        )

    @abstractmethod
    def compare(self, student: Tensor, teacher: Tensor, there: Tensor) -> Tensor:
        """A scalar for ``(N, T)`` of both sides; bool ``(N,)``: the texts that there are."""

    def forward(self, batch: Embedded) -> Tensor:
        student = all_views(batch).flatten(0, 1)
        if student.shape[-1] != self.context.width:
            raise InputError(
                f"the teachers' vectors are compared with whole embeddings of {self.context.width} "
                f"numbers, not with their first {student.shape[-1]}; follow the teachers' "
                "similarities there (objective=similarity_kl), which any width has"
            )
        values = [
            share * self.compare(_through(project, student), flat, are_there(flat))
            for share, project, flat in zip(
                self.shares,
                self.projections,
                (each.flatten(0, 1) for each in batch.teachers),
                strict=True,
            )
        ]
        return sum(values[1:], values[0])


@full_precision
def _projected(student: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return F.linear(student, weight, bias)


def _through(project: nn.Module, student: Tensor) -> Tensor:
    if isinstance(project, nn.Linear):
        return _projected(student, project.weight, project.bias)
    return student
