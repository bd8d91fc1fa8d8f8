"""The order of training rows: batches of like length, out of a shuffled window."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any, Protocol

import numpy as np
from torch.utils.data import Sampler
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments


class ByEpoch(Sampler[int], ABC):
    """An order of rows that depends on a seed and the epoch alone.

    So a resumed run goes on where it stopped, given that it is told the epoch (`TellEpoch`).
    """

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.epoch = 0

    @abstractmethod
    def __len__(self) -> int:
        """Rows of an epoch."""

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order comes next."""
        self.epoch = epoch

    def draw(self) -> np.random.Generator:
        """The epoch's random numbers, from the first on."""
        return np.random.default_rng((self.seed, self.epoch))


class Shuffled(ByEpoch):
    """Rows in random order.

    Args:
        rows: how many.
        seed: of all epochs.
    """

    def __init__(self, rows: int, seed: int) -> None:
        super().__init__(seed)
        self.rows = rows

    def __len__(self) -> int:
        return self.rows

    def __iter__(self) -> Iterator[int]:
        yield from self.draw().permutation(self.rows).tolist()


class ToldEpoch(Protocol):
    """A sampler, or what makes the batches."""

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that comes next."""


class TellEpoch(TrainerCallback):
    """Tells a sampler, or a collator, each epoch as it begins.

    The Trainer and accelerate do so through what they wrap a sampler in, and do not reach through
    all of it: on several ranks a run resumed within an epoch would have the first epoch's rows.
    """

    def __init__(self, *told: ToldEpoch) -> None:
        self.told = [*told]

    def on_epoch_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        for each in self.told:
            each.set_epoch(int(state.epoch or 0))


class WindowedByLength(ByEpoch):
    """Rows in random order, grouped by length inside windows of several batches.

    Every epoch shuffles all rows and cuts them into windows of ``window`` batches. Inside a window
    rows are sorted by length, so that its batches hold sequences of like length, and these come in
    random order. The larger the window, the less padding a backbone that needs it computes, and
    the less random a batch: its negatives are then of the anchor's length.

    Args:
        lengths: tokens of each row, ``(rows,)``.
        batch_size: rows a batch.
        window: batches a window, at least 2.
        seed: of all epochs.
    """

    def __init__(self, lengths: np.ndarray, batch_size: int, window: int, seed: int) -> None:
        super().__init__(seed)
        self.lengths = lengths
        self.batch_size = batch_size
        self.window = window

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        generator = self.draw()
        order = generator.permutation(len(self.lengths))
        full = len(order) // self.batch_size * self.batch_size
        for start in range(0, full, self.window * self.batch_size):
            rows = order[start : min(full, start + self.window * self.batch_size)]
            rows = rows[np.argsort(self.lengths[rows], kind="stable")]
            batches = rows.reshape(-1, self.batch_size)
            yield from generator.permutation(batches).ravel().tolist()
        yield from order[full:].tolist()  # the incomplete batch, of random rows
