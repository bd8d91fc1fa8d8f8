"""What gives further negatives."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from simcse_kit.objectives.objective import Embedded
from simcse_kit.parts import Part


class Negatives(Part, nn.Module):
    """Gives vectors that are negatives of every row, beside the texts of the batch.

    Parameters and buffers are in checkpoints. The batch is the joined one where ranks gather, and
    ranks must agree on what is given: chance is drawn as in `simcse_kit.objectives.draws`.
    """

    def begin_step(self, step: int, steps: int) -> None:
        """Called before optimizer step `step` (from 0) of `steps`."""

    @abstractmethod
    def forward(self, batch: Embedded) -> Tensor:
        """Negatives ``(N, D)`` of all rows, any scale, N from 0; with a gradient or without."""

    def added_to(self, batch: Embedded) -> Embedded:
        """The batch with these behind the keys of its queue, masked for no row."""
        given = self(batch).to(batch.anchors.dtype)
        if not len(given):
            return batch
        queue = given if batch.queue is None else torch.cat([batch.queue.to(given.dtype), given])
        mask = batch.queue_false_negatives
        mask = None if mask is None else F.pad(mask, (0, len(given)))
        return replace(batch, queue=queue, queue_false_negatives=mask)
