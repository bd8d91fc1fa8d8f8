"""Several arrays of rows as one: those of a corpus, and those that were added later."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from simcse_kit.corpus.exact import Rows


class Joined:
    """Rows (M, D) of several parts, one behind the other, read from the parts as they are asked."""

    def __init__(self, parts: Sequence[Rows]) -> None:
        self.parts = parts
        self.starts = np.cumsum([0, *map(len, parts)])

    @property
    def shape(self) -> tuple[int, ...]:
        """Rows and dimensions."""
        return len(self), int(self.parts[0].shape[1])

    def __len__(self) -> int:
        return int(self.starts[-1])

    def __getitem__(self, rows: Any, /) -> np.ndarray:
        """Rows of a slice or of some numbers, float32 (n, D)."""
        if isinstance(rows, slice):
            start, stop, step = rows.indices(len(self))
            if step == 1:
                return self._piece(start, stop)
            rows = np.arange(start, stop, step)
        rows = np.asarray(rows)
        out = np.empty((len(rows), self.shape[1]), np.float32)
        whose = np.searchsorted(self.starts, rows, side="right") - 1
        for number in np.unique(whose).tolist():
            here = whose == number
            out[here] = self.parts[number][rows[here] - self.starts[number]]
        return out

    def _piece(self, start: int, stop: int) -> np.ndarray:
        """Rows that follow each other; those of one part are not copied."""
        pieces = [
            part[max(0, start - first) : stop - first]
            for part, first in zip(self.parts, self.starts.tolist(), strict=False)
            if first < stop and start < first + len(part)
        ]
        if len(pieces) == 1:
            return pieces[0]
        return np.concatenate(pieces) if pieces else np.empty((0, self.shape[1]), np.float32)
