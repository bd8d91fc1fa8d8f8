"""SimCSE's head: a linear layer and tanh."""

from __future__ import annotations

from pydantic import Field
from torch import nn

from simcse_kit.encoder import Head
from simcse_kit.parts import Int, PartSettings
from simcse_kit.training.projections.projection import Projection


class Tanh(Projection):
    """``tanh(W h + b)`` (Gao, Yao, Chen, SimCSE, EMNLP 2021, section 6: BERT's pooler anew)."""

    class Settings(PartSettings):
        width: Int | None = Field(
            None, ge=1, description="Numbers that come out. None: as many as go in."
        )

    def trained(self) -> nn.Module:
        """``(B, D_in)`` to ``(B, width)``."""
        return self.kept()

    def kept(self) -> Head:
        """The same layers; a folder holds them as a Dense."""
        return Head(self.context.width, self.settings.width or self.context.width)
