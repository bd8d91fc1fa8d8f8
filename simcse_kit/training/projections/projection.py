"""What a projection head is."""

from __future__ import annotations

from abc import abstractmethod

from torch import nn

from simcse_kit.encoder import Chain, Head
from simcse_kit.parts import Part


class Projection(Part):
    """Builds a head for pooled vectors of `context.width` numbers."""

    @abstractmethod
    def trained(self) -> nn.Module:
        """The layers, ``(B, width)`` to ``(B, D)``, for training alone."""

    @abstractmethod
    def kept(self) -> Head | Chain:
        """The same as the saved encoder keeps them.

        Raises InputError where a folder of sentence-transformers cannot hold them.
        """
