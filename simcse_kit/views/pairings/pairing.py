"""What a pairing is: from rows of single texts to the texts that stand side by side."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np

from simcse_kit.parts import Part
from simcse_kit.views.view import Draws


class Pairing(Part):
    """Row numbers become text numbers: `context.documents` tells which rows belong together."""

    def rows(self) -> np.ndarray:
        """int64, increasing: rows that have a positive, the only ones that are trained on."""
        return np.arange(self.context.rows)

    @abstractmethod
    def __call__(self, rows: np.ndarray, draws: Draws) -> np.ndarray:
        """Row numbers ``(B,)`` to text numbers ``(B, 2)``: anchor, positive."""

    def groups(self) -> np.ndarray | None:
        """int64 ``(rows,)``: texts of one group are no negatives of each other; None: all are."""
        return None

    def told(self) -> str | None:
        """What becomes of the rows, in a sentence for the log."""
        return None
