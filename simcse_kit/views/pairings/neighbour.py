"""Neighbours: a sentence's positive is one that stands near it in the same document."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
from pydantic import Field

from simcse_kit.errors import InputError
from simcse_kit.parts import Context, Int, PartSettings
from simcse_kit.views.pairings.pairing import Pairing
from simcse_kit.views.view import Draws


class Neighbour(Pairing):
    """The positive of a document's p-th sentence is its ``(p + k)``-th, k drawn in every epoch.

    k is uniform among ``1 … window`` (and ``−1 … −window`` for both directions), as far as the
    document goes. With the window at 1 this is the next sentence as positive: QuickThoughts
    (Logeswaran and Lee, ICLR 2018, section 3, whose context is both directions), and what CPC (van
    den Oord et al. 2018, arXiv:1807.03748, eq. 4) asks of an encoder that has no context network.
    Sentences of a document need not stand together in the data: their order counts.

    QuickThoughts keeps a document's other sentences as negatives, near in topic and so the hard
    ones; `mask_document` takes them out, for embeddings that are to tell topics apart.

    Raises:
        InputError: nothing tells which document the rows are of, none has two sentences, or there
            is one alone and its sentences are to be no negatives.
    """

    NEEDS = frozenset({"documents"})

    class Settings(PartSettings):
        window: Int = Field(1, ge=1, description="How many sentences away a positive may be.")
        direction: Literal["next", "both"] = Field(
            "next", description="Whether it comes after, or before as well."
        )
        mask_document: bool = Field(
            False, description="Sentences of one document are no negatives of each other."
        )

    def __init__(self, context: Context | None = None, /, **settings: Any) -> None:
        super().__init__(context, **settings)
        self._documents = self._checked()
        sizes = np.bincount(self._documents)
        # rows by document, each document's in their order; where each row stands among them
        self._order = np.argsort(self._documents, kind="stable")
        self._place = np.empty_like(self._order)
        self._place[self._order] = np.arange(len(self._order))
        inside = self._place - (np.cumsum(sizes) - sizes)[self._documents]
        window, both = self.settings.window, self.settings.direction == "both"
        self._before = np.minimum(window, inside) if both else np.zeros_like(inside)
        self._after = np.minimum(window, sizes[self._documents] - 1 - inside)

    def _checked(self) -> np.ndarray:
        """Numbers of the rows' documents from 0, int64 ``(rows,)``."""
        if self.context.documents is None:
            problem = "pairing neighbour: nothing tells which document a row of text is of;"
            blank = "or put a blank line between the documents of a .txt file"
            raise InputError(
                f"{problem} give columns={{'document': NAME}}, {blank}",
                command_line=f"{problem} give --column document=NAME, {blank}",
            )
        _, documents = np.unique(self.context.documents, return_inverse=True)
        sizes = np.bincount(documents)
        if sizes.max() < 2:
            raise InputError(
                f"pairing neighbour: each of the {len(sizes):,} documents holds one sentence, so "
                "none has a neighbour; give a sentence a row, and those of a document the same id"
            )
        if self.settings.mask_document and len(sizes) < 2:
            raise InputError(
                "pairing neighbour: all rows are of one document, and mask_document leaves no "
                "negatives; give several documents, or set mask_document to false"
            )
        return documents.astype(np.int64)

    def rows(self) -> np.ndarray:
        """int64, increasing: rows that have a neighbour where one is looked for."""
        return np.flatnonzero(self._before + self._after)

    def told(self) -> str:
        """What becomes of the rows, for the log."""
        sizes = np.bincount(self._documents)
        alone = int((sizes == 1).sum())
        said = (
            f"{len(sizes):,} documents of {sizes.mean():.3g} sentences on average; "
            f"{len(self.rows()):,} of {len(self._documents):,} sentences have a neighbour to be "
            "paired with, the others are no anchors"
        )
        return (
            f"{said}; documents of one sentence, which are left out: {alone:,}" if alone else said
        )

    def groups(self) -> np.ndarray | None:
        """int64 ``(rows,)``: documents, with `mask_document`."""
        return self._documents if self.settings.mask_document else None

    def __call__(self, rows: np.ndarray, draws: Draws) -> np.ndarray:
        """Row numbers ``(B,)``, of `rows`, to text numbers ``(B, 2)``: a sentence, a neighbour."""
        before, ways = self._before[rows], (self._before + self._after)[rows]
        drawn = np.minimum((draws.per_row() * ways).astype(np.int64), ways - 1)
        away = drawn - before + (drawn >= before)  # never itself
        return np.stack([rows, self._order[self._place[rows] + away]], axis=1)
