"""Several data sets in one run: every batch is of one of them, at random by size or in turn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count, islice
from typing import Any

import numpy as np

from simcse_kit.training.rows.collator import ViewCollator
from simcse_kit.training.rows.sampling import ByEpoch


def batches_an_epoch(rows: Sequence[int], shares: Sequence[float], batch_size: int) -> list[int]:
    """Batches of each data set in an epoch by proportion: `shares` of the full ones it has.

    Args:
        rows: of each, at least one batch of them.
        batch_size: rows a batch, of all ranks together.
    """
    return [
        max(1, int(share * (each // batch_size) + 1e-9))  # 0.29 · 100 lies a hair below 29
        for each, share in zip(rows, shares, strict=True)
    ]


class BatchesOfOne(ByEpoch):
    """Rows of several data sets, numbered end to end, in batches of rows of one alone.

    Which data set comes next is drawn by how many batches each still has; or they take turns until
    the smallest has no full batch left (sentence-transformers' proportional and round-robin batch
    samplers). Rows that fill no batch are left out of an epoch.

    Args:
        orders: of the rows of each data set, from 0.
        batches: of each in an epoch; more than it has: it is gone through again, in another order.
        batch_size: rows a batch, of all ranks together.
        seed: of all epochs.
        in_turn: take turns. Then all have equally many batches.
    """

    def __init__(
        self,
        orders: Sequence[ByEpoch],
        batches: Sequence[int],
        batch_size: int,
        seed: int,
        *,
        in_turn: bool = False,
    ) -> None:
        super().__init__(seed)
        self.orders = orders
        self.batches = batches
        self.batch_size = batch_size
        self.in_turn = in_turn
        self.starts = starts_of([len(order) for order in orders])

    def __len__(self) -> int:
        return sum(self.batches) * self.batch_size

    def __iter__(self) -> Iterator[int]:
        sources = [self._batches(number) for number in range(len(self.orders))]
        for number in self._turns():
            yield from next(sources[number])

    def _turns(self) -> list[int]:
        """Which data set each batch is of."""
        numbers = range(len(self.orders))
        if self.in_turn:
            return [*numbers] * min(self.batches)
        drawn: list[int] = self.draw().permutation(np.repeat(numbers, self.batches)).tolist()
        return drawn

    def _batches(self, number: int) -> Iterator[list[int]]:
        """Batches of one data set without end."""
        order, start = self.orders[number], int(self.starts[number])
        full = len(order) // self.batch_size
        passes = -(-self.batches[number] // full)
        epoch = self.epoch
        for again in count():
            order.set_epoch(epoch * passes + again)
            coming = iter(order)
            for _ in range(full):
                yield [start + row for row in islice(coming, self.batch_size)]


class SeveralCollators:
    """The batches of several data sets, each made by its own collator.

    Args:
        collators: of each data set.
        rows: how many rows each has, of those numbered end to end.
    """

    def __init__(self, collators: Sequence[ViewCollator], rows: Sequence[int]) -> None:
        self.collators = collators
        self.starts = starts_of(rows)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose views come next."""
        for each in self.collators:
            each.set_epoch(epoch)

    def __call__(self, rows: list[int]) -> dict[str, Any]:
        """The batch of some rows, all of one data set, and which that is."""
        dataset = int(np.searchsorted(self.starts, rows[0], side="right")) - 1
        start = int(self.starts[dataset])
        return self.collators[dataset]([row - start for row in rows]) | {"dataset": dataset}


def starts_of(rows: Sequence[int]) -> np.ndarray:
    """The number of each data set's first row where rows are numbered end to end, int64."""
    return np.cumsum([0, *rows[:-1]])
