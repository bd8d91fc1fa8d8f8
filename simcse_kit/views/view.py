"""What a view is: token ids of texts become other token ids; and where its chance comes from.

A view sees the texts of one side (anchors, or positives) of a batch end to end, special tokens
included, and gives texts end to end, as many and in the same order. All of it is numpy.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar

import numpy as np

from simcse_kit.parts import Part
from simcse_kit.views.vocabulary import Vocabulary

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def mixed(numbers: np.ndarray) -> np.ndarray:
    """SplitMix64's finaliser (Steele, Lea, Flood, OOPSLA 2014): uint64 to well-mixed uint64."""
    with np.errstate(over="ignore"):
        numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return numbers ^ (numbers >> np.uint64(31))


def _keys(seed: int, numbers: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore"):
        return mixed((numbers.astype(np.uint64) + np.uint64(1)) * _GOLDEN + np.uint64(seed))


class Draws:
    """Random numbers of a row: they depend on the seed, the epoch, the row and the side alone.

    So a row has the same view whatever batch, worker or rank it is in, and after a resume; and
    another one in every epoch.

    Attributes:
        side: 0 for anchors, 1 for positives, 2… for hard negatives; -1 for what sides share.
        shared: the same draws for all sides of a row, for views that go together.
    """

    def __init__(self, seed: int, epoch: int, rows: np.ndarray, side: int) -> None:
        own = np.random.SeedSequence([seed, epoch]).generate_state(1, np.uint64)[0]
        common = _keys(int(own), np.asarray(rows))
        self._set(side, _keys(side, common), common)

    def _set(self, side: int, keys: np.ndarray, common: np.ndarray | None) -> Draws:
        self.side, self._keys = side, keys
        self.shared = self if common is None else _blank()._set(-1, common, None)
        return self

    def nth(self, number: int) -> Draws:
        """Draws of the same rows and side for the `number`-th of several views in turn."""
        apart = number + (1 << 32)  # no side's number
        common = None if self.shared is self else _keys(apart, self.shared._keys)
        return _blank()._set(self.side, _keys(apart, self._keys), common)

    def __len__(self) -> int:
        return len(self._keys)

    def per_row(self, stream: int = 0) -> np.ndarray:
        """Uniform in [0, 1), float64 ``(B,)``; another `stream`, other numbers."""
        return self.per_token(np.ones(len(self), dtype=np.int64), stream)

    def per_token(self, counts: np.ndarray, stream: int = 0) -> np.ndarray:
        """Uniform in [0, 1), float64 ``(sum(counts),)``: `counts` ``(B,)`` of each row's."""
        counts = np.asarray(counts, dtype=np.int64)
        inside = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        places = (inside + (stream << 40)).astype(np.uint64)
        with np.errstate(over="ignore"):
            numbers = mixed(np.repeat(self._keys, counts) + (places + np.uint64(1)) * _GOLDEN)
        return (numbers >> np.uint64(11)) * 2.0**-53


def _blank() -> Draws:
    return Draws.__new__(Draws)


class View(Part):
    """Token ids of a side's texts become others: `context.vocabulary` tells of the tokens."""

    #: Whether it makes something of a text only where both sides have it, with the same settings.
    BOTH_SIDES: ClassVar[bool] = False

    #: Whether it puts mask tokens into texts, where pooling may be at a template's mask.
    MASKS = False

    @property
    def vocabulary(self) -> Vocabulary:
        known: Vocabulary = self.context.vocabulary
        return known

    @abstractmethod
    def __call__(
        self, ids: np.ndarray, lengths: np.ndarray, draws: Draws
    ) -> tuple[np.ndarray, np.ndarray]:
        """Other texts in place of these.

        Args:
            ids: int ``(sum(lengths),)``, end to end, special tokens included.
            lengths: int64 ``(B,)``, all at least 1.
            draws: the only source of chance.

        Returns:
            ids and lengths of as many texts in the same order; none is empty, and special tokens
            stay where they stand, first and last.
        """

    @property
    def cuts(self) -> bool:
        """Whether it says what is kept of the embeddings (see `simcse_kit.views.cutoff`)."""
        return False

    def kept_tokens(self, ids: np.ndarray, lengths: np.ndarray, draws: Draws) -> np.ndarray | None:
        """Bool ``(sum(lengths),)``: tokens of the new texts whose embedding is kept; None: all."""
        return None

    def kept_features(self, draws: Draws) -> np.ndarray | None:
        """Bool ``(B, E)``: dimensions that are kept in all of a text's tokens; None: all."""
        return None
