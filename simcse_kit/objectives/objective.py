"""What an objective is, and the batch that it sees."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
from torch import Tensor, nn

from simcse_kit.errors import InputError
from simcse_kit.parts import Part


@dataclass(frozen=True)
class Embedded:
    """A batch as objectives see it: arrays, of the joined batch where ranks gather.

    Attributes:
        anchors, positives: ``(B, D)``, any scale.
        negatives: given hard negatives ``(B, K, D)``, or None.
        false_negatives: bool ``(B, B·(1 + K))`` in the column order of `info_nce`; True is no
            negative. None: all are.
        between_anchors: bool ``(B, B)``; True where another row's anchor is no negative of a row's
            (equal or linked texts). None: all are, but a row's own.
        queue: earlier keys ``(Q, D)`` without gradient, and negatives that no text of the batch
            is (`simcse_kit.objectives.Negatives`) behind them; or None.
        queue_false_negatives: bool ``(B, Q)``, or None.
        labels: int64 ``(B,)`` of labelled rows, or None.
        scores: float ``(B,)`` of scored pairs, or None.
        teachers: vectors of each teacher for the views, ``(B, V, T)`` each; empty without.
        guide: of the guide model, ``(B, V, T)``, or None.
    """

    anchors: Tensor
    positives: Tensor
    negatives: Tensor | None = None
    false_negatives: Tensor | None = None
    between_anchors: Tensor | None = None
    queue: Tensor | None = None
    queue_false_negatives: Tensor | None = None
    labels: Tensor | None = None
    scores: Tensor | None = None
    teachers: tuple[Tensor, ...] = ()
    guide: Tensor | None = None

    def map_embeddings(self, change: Callable[[Tensor], Tensor]) -> Embedded:
        """The same batch, every embedding of the encoder's (queue included) changed alike."""
        given: dict[str, Any] = {
            name: change(value)
            for name in ("anchors", "positives", "negatives", "queue")
            if (value := getattr(self, name)) is not None
        }
        return replace(self, **given)

    def needed(self, name: str) -> Tensor:
        """What an objective cannot do without, by its name here; InputError where there is none."""
        value: Tensor | None = getattr(self, name)
        if value is None:
            raise InputError(f"the objective needs {name}, and the rows have none; choose another")
        return value


#: What a batch can be relied on to have, given the rows or the settings for it.
PROMISED = frozenset({"labels", "scores", "teachers", "guide", "negatives", "queue"})


class Objective(Part, nn.Module):
    """Embeddings become a scalar. Subclasses compute in `forward`; parameters and buffers are kept
    in checkpoints, and `begin_step` is called before every optimizer step.

    Attributes:
        NEEDS: names of `Embedded`'s fields without which it cannot be computed, of `PROMISED`;
            checked before training.
        USES: of those that a batch may have or not, ``negatives`` and ``queue``, which it looks at.
            What no objective looks at is refused.
        LEAST_ROWS: of a batch, for it to teach something.
        WHOLE: whether it is of whole embeddings alone, not of their first numbers.
        REFRESHES: whether it looks at the data from time to time. Then `refresh` is called before
            `begin_step` of optimizer step `first_refresh`, and of every `refresh_every`-th after.
        refresh_every: optimizer steps from one `refresh` to the next.
        first_refresh: the optimizer step (from 0) of the first one.
        sample: rows that `refresh` is shown at most; fewer where the data have fewer.
    """

    USES: ClassVar[frozenset[str]] = frozenset()
    LEAST_ROWS: ClassVar[int] = 2
    WHOLE: ClassVar[bool] = False
    REFRESHES: ClassVar[bool] = False
    refresh_every: int = 0
    first_refresh: int = 0
    sample: int = 0

    @classmethod
    def check_data(cls, settings: Any, known: Mapping[str, np.ndarray]) -> None:
        """Raise InputError for rows that these settings cannot learn from.

        Args:
            known: ``(rows,)`` of ``labels`` or ``scores``, where the data have them.
        """

    def begin_step(self, step: int, steps: int) -> None:
        """Called before optimizer step `step` (from 0) of `steps`: schedules live here."""

    def refresh(self, embeddings: np.ndarray, row_numbers: np.ndarray) -> None:
        """Look at the data; what is to be known of them afterwards is kept in buffers.

        Args:
            embeddings: float32 ``(rows, D)``, of the rows' first texts, without dropout, behind the
                projection as the objective sees them; the same on every rank.
            row_numbers: int64 ``(rows,)``, which rows of the data these are.
        """

    @property
    def is_one_graph(self) -> bool:
        """Whether `forward` is tensor operations alone, the same at every step: what it computes
        depends on nothing but the batch, parameters and buffers, and it changes none of them.
        torch.compile takes such an objective into its graph, and leaves others out."""
        return False

    @property
    def wants_between_anchors(self) -> bool:
        """Whether `Embedded.between_anchors` is looked at: a mask of ``(B, B)`` more."""
        return False

    def told(self) -> dict[str, float]:
        """Figures of its own for the log, by name; read when the log is written."""
        return {}

    @abstractmethod
    def forward(self, batch: Embedded) -> Tensor:
        """The loss, a scalar; GradCache, ranks and accumulation are the trainer's."""
