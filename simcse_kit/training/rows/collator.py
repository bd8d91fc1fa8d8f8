"""From numbers of rows to the batch that is trained on."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch

from simcse_kit.compute import PackedBatch
from simcse_kit.data import TokenStore
from simcse_kit.encoder import TeacherVectors
from simcse_kit.training.model.contrastive import Sides
from simcse_kit.training.rows.templated import Templates
from simcse_kit.views import Draws, Pairing, Side, View, cut_off

#: Draws of a row that belong to no column.
_PAIRING = 1 << 16
_AT_ONCE = 1 << 16  # rows whose lengths are looked up


@dataclass
class ViewCollator:
    """Row numbers to the packed views of those rows, and what the data tell of them.

    Attributes:
        store: every text's tokens.
        views: row numbers ``(B,)`` to text numbers ``(B, V)`` (see `simcse_kit.views.given`).
        text_ids: int64 ``(texts,)``, equal for equal texts; None where all differ.
        pad_id: lay the batches out (`compute.layout`), filled up with this token; None: not.
        narrow: leave out hard negatives that no row of the batch has. Ranks that join their rows
            would have to agree on the width.
        sides: which columns are packed together.
        pairing: chooses positives anew in every epoch, in place of `views`; or None.
        rows: int64, which rows of the data are trained on, where not all are.
        edits: what changes the tokens of a column's texts, by column.
        templates: what is then put around them.
        seed: of pairing and edits.
        columns: of the rows, by the names of `simcse_kit.objectives.Embedded`'s fields.
        teachers, guide: vectors of the texts, or None.
        epoch: whose draws are drawn; told by `TellEpoch`.
    """

    store: TokenStore
    views: Callable[[np.ndarray], np.ndarray]
    text_ids: np.ndarray | None
    pad_id: int | None = None
    narrow: bool = False
    sides: Sides = field(default_factory=Sides)
    pairing: Pairing | None = None
    rows: np.ndarray | None = None
    edits: Mapping[int, View] = field(default_factory=dict)
    templates: Templates = field(default_factory=Templates)
    seed: int = 0
    columns: Mapping[str, np.ndarray] = field(default_factory=dict)
    teachers: TeacherVectors | None = None
    guide: TeacherVectors | None = None
    epoch: int = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose views come next."""
        self.epoch = epoch

    def lengths(self, rows: int) -> np.ndarray:
        """Tokens of all views of each row before they are changed, int64 ``(rows,)``."""
        offsets, found = self.store.offsets, np.empty(rows, dtype=np.int64)
        for start in range(0, rows, _AT_ONCE):
            block = np.arange(start, min(start + _AT_ONCE, rows))
            texts = self.views(block if self.rows is None else self.rows[block])
            found[block] = (offsets[texts + 1] - offsets[texts]).sum(axis=1)
        return found

    def __call__(self, rows: list[int]) -> dict[str, Any]:
        numbers = np.asarray(rows, dtype=np.int64)
        numbers = numbers if self.rows is None else self.rows[numbers]
        texts = self._texts(numbers)
        made: dict[str, Any] = self._batches(numbers, texts)
        if self.text_ids is not None:
            made["text_ids"] = torch.from_numpy(self.text_ids[texts])
        for name, values in self.columns.items():
            made[name] = torch.from_numpy(values[numbers])
        if self.teachers is not None:
            vectors = self.teachers.gather(self.teachers.numbers[texts])
            made["teachers"] = [torch.from_numpy(each) for each in vectors]
        if self.guide is not None:
            (vector,) = self.guide.gather(self.guide.numbers[texts])
            made["guide"] = torch.from_numpy(vector)
        return made

    def _texts(self, rows: np.ndarray) -> np.ndarray:
        """Numbers of the texts ``(B, V)`` that stand side by side."""
        if self.pairing is not None:
            return self.pairing(rows, Draws(self.seed, self.epoch, rows, _PAIRING))
        texts = self.views(rows)
        if self.narrow and self.text_ids is not None:
            there = (self.text_ids[texts] >= 0).any(axis=0)
            there[:2] = True
            texts = texts[:, there]
        return texts

    def _batches(self, rows: np.ndarray, texts: np.ndarray) -> dict[str, Any]:
        """The texts packed as the model wants them."""
        passes, emptied = [], []
        for begin in range(len(self.sides.passes)):
            chosen = [*self.sides.passes[begin]]
            if begin + 1 == len(self.sides.passes):  # all that are left
                left = range(chosen[-1] + 1, texts.shape[1])
                chosen += [each for each in left if each != 1 or not self.sides.keys_give_positives]
            packed = self._packed(rows, texts, chosen)
            passes.append(self._laid_out(packed))
            if self.templates.debias:
                batch, numbers = self.templates.emptied(packed, chosen)
                emptied.append((self._laid_out(batch), numbers))
        made: dict[str, Any] = {"batch": passes[0] if len(passes) == 1 else passes}
        if self.sides.keys:
            made["key_batch"] = self._laid_out(self._packed(rows, texts, [1]))
        if emptied:
            made["emptied"] = emptied
        return made

    def _packed(self, rows: np.ndarray, texts: np.ndarray, columns: list[int]) -> PackedBatch:
        """The views in some columns of the rows, side by side."""
        if not self.edits and not self.templates:
            return PackedBatch.from_flat(*self.store.gather(texts[:, columns].reshape(-1)))
        sides = [self._side(rows, texts[:, column], column) for column in columns]
        ids = np.concatenate([side.ids for side in sides])
        lengths = np.concatenate([side.lengths for side in sides])
        packed = PackedBatch.from_flat(ids, lengths, **cut_off(sides))  # column after column
        beside = packed.order.view(len(columns), -1).T.reshape(-1)
        return replace(packed, order=beside)

    def _laid_out(self, packed: PackedBatch) -> PackedBatch:
        return packed if self.pad_id is None else packed.laid_out(self.pad_id)

    def _side(self, rows: np.ndarray, texts: np.ndarray, column: int) -> Side:
        """One column's tokens, as its view makes them, in their template."""
        draws = Draws(self.seed, self.epoch, rows, column)
        side = Side.viewed(self.edits.get(column), *self.store.gather(texts), draws)
        return self.templates.around(column, side)
