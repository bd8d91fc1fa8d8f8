"""What a source of keys is."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from torch import Tensor, nn

from simcse_kit.compute import PackedBatch
from simcse_kit.encoder import SentenceEncoder
from simcse_kit.parts import Part


class Keys(Part, nn.Module):
    """Gives keys for the positives' texts, and the keys of earlier batches.

    Parameters and buffers are in checkpoints. Whatever it gives has no gradient, but what
    `query` adds on the anchors' side.
    """

    @classmethod
    def replaces_positives(cls, settings: Any) -> bool:
        """Whether a row's positive is its key; else the trained encoder's own embedding is."""
        return False

    @property
    def gives_positives(self) -> bool:
        """`replaces_positives` under its own settings."""
        return self.replaces_positives(self.settings)

    @abstractmethod
    def start(self, encoder: SentenceEncoder, projection: nn.Module | None) -> None:
        """Take over what it needs of the model, whose weights are loaded."""

    def query(self, anchors: Tensor) -> Tensor:
        """The anchors ``(B, D)`` as they are compared with keys."""
        return anchors

    @abstractmethod
    def encode(self, batch: PackedBatch) -> Tensor:
        """Keys of texts, as they go into `head`."""

    @property
    def head(self) -> nn.Module | None:
        """What makes ``(B, D)`` of them, by the joined batch where it norms; None: they are."""
        return None

    @abstractmethod
    def earlier(self) -> tuple[Tensor, Tensor] | None:
        """Keys of earlier batches ``(Q, D)`` and the numbers of their texts ``(Q,)``, or None."""

    @abstractmethod
    def remember(self, keys: Tensor, texts: Tensor) -> None:
        """Take in a batch's keys ``(B, D)``, of all ranks, with the numbers of their texts."""

    @abstractmethod
    def after_step(self, encoder: SentenceEncoder, projection: nn.Module | None, step: int) -> None:
        """Follow the weights after optimizer step `step` (from 1)."""
