"""How many of the nearest an index finds: asked by rows that are not in it yet."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np

from simcse_kit.corpus import approximate
from simcse_kit.corpus.exact import Barred, Rows, cosines_at, nearest

logger = logging.getLogger(__name__)

_SAMPLE = 256  # rows that are asked for their neighbours, to tell how many the index finds
_AT = 10  # the first so many of these


@dataclass(frozen=True, eq=False)
class Order:
    """In which order the index has its rows: those that were asked stand behind the others.

    A query that is itself a node of a graph finds its neighbours by its own links, far more often
    than a stranger does. So the rows that tell how many the index finds come into it afterwards.

    Attributes:
        count: rows that the index was built of; added ones follow in their order.
        asked: int64 (S,), ascending.
    """

    count: int
    asked: np.ndarray

    @classmethod
    def of(cls, count: int) -> Order:
        """That of an index built of so many rows: 256 of them are asked, a quarter at most."""
        size = min(_SAMPLE, count // 4)
        return cls(count, np.unique(np.linspace(0, count - 1, size).round().astype(np.int64)))

    def rows(self, found: np.ndarray) -> np.ndarray:
        """The rows under numbers of the index; −1 stays."""
        others = self.count - len(self.asked)
        if not len(self.asked):
            return found
        skipped = np.searchsorted(self.asked - np.arange(len(self.asked)), found, side="right")
        late = self.asked[np.clip(found - others, 0, len(self.asked) - 1)]
        rows = np.where(found < others, found + skipped, np.where(found < self.count, late, found))
        return np.where(found < 0, -1, rows)

    def numbers(self, allowed: np.ndarray) -> np.ndarray:
        """What is said of each row, bool (M,), in the order of the index."""
        first, added = allowed[: self.count], allowed[self.count :]
        return np.concatenate([np.delete(first, self.asked), first[self.asked], added])


def measured(
    index: Any, vectors: Rows, order: Order, factory: str, fetched: int, wanted: float
) -> tuple[int | None, float | None, int]:
    """The least effort that reaches the recall, the recall, and how many rows were asked."""
    asked = order.asked
    at = min(_AT, len(vectors) - len(asked))
    if not len(asked):
        return None, None, 0
    queries = np.array(vectors[asked], np.float32)
    # those that were asked are not in the index yet
    everyone = np.arange(len(asked)).repeat(len(asked))
    _, exact = nearest(queries, vectors, at, Barred(everyone, np.tile(asked, len(asked))))
    share, effort = 0.0, None
    choices = approximate.EFFORTS if approximate.has_effort(index) else (None,)
    for effort in choices:
        found = order.rows(
            approximate.search(index, queries, at * fetched, effort=effort, factory=factory)
        )
        cosines = -np.sort(-cosines_at(queries, vectors, found), axis=1)[:, :at]
        share = float((cosines >= exact[:, -1:]).sum() / exact.size)
        if share >= wanted or (effort or 0) >= approximate.most_effort(index):
            break
    if share < wanted:
        logger.warning(
            "the index finds %.1f %% of the %d nearest, and %.1f %% were wanted; another factory"
            " string may find more",
            *(100 * share, at, 100 * wanted),
        )
    return effort, share, len(asked)
