"""SimCLR's projection head: linear layers with ReLU between them."""

from __future__ import annotations

from itertools import pairwise
from typing import Literal

from pydantic import Field
from torch import nn

from simcse_kit.encoder import Chain
from simcse_kit.errors import InputError
from simcse_kit.parts import Int, PartSettings
from simcse_kit.training.projections.projection import Projection

_NORMS: dict[str, type[nn.Module]] = {"batch": nn.BatchNorm1d, "layer": nn.LayerNorm}


class Mlp(Projection):
    """``W₂ relu(W₁ h)``: Chen et al., SimCLR (ICML 2020), section 2.1; deeper and normed in its
    second version (arXiv:2006.10029) and in MoCo v3.

    A norm stands after every linear layer; batch norm's figures are of the joined batch.
    """

    class Settings(PartSettings):
        layers: Int = Field(2, ge=1, description="Linear layers.")
        hidden_width: Int | None = Field(
            None, ge=1, description="Numbers between the layers. None: as many as go in."
        )
        width: Int | None = Field(
            None, ge=1, description="Numbers that come out. None: as many as go in."
        )
        norm: Literal["none", "batch", "layer"] = Field(
            "none", description="After every linear layer: batch norm, layer norm or none."
        )

    def _widths(self) -> list[int]:
        own, given = self.settings, self.context.width
        between = [own.hidden_width or given] * (own.layers - 1)
        return [given, *between, own.width or given]

    def trained(self) -> nn.Module:
        """``(B, D_in)`` to ``(B, width)``."""
        widths, norm = self._widths(), _NORMS.get(self.settings.norm)
        layers: list[nn.Module] = []
        for number, (into, out) in enumerate(pairwise(widths)):
            layers += [nn.ReLU()] if number else []
            layers += [nn.Linear(into, out, bias=norm is None)]
            layers += [norm(out)] if norm is not None else []
        return nn.Sequential(*layers)

    def kept(self) -> Chain:
        """The same layers as Dense modules of sentence-transformers."""
        if self.settings.norm != "none":
            raise InputError(
                f"projection mlp with norm '{self.settings.norm}' cannot be kept: a folder of "
                "sentence-transformers has no such layer after a Dense; set head to 'train_only', "
                "or projection.norm to 'none'"
            )
        from sentence_transformers.base.modules import Dense

        widths = self._widths()
        steps = [
            Dense(
                into,
                out,
                activation_function=nn.ReLU() if number + 2 < len(widths) else nn.Identity(),
            )
            for number, (into, out) in enumerate(pairwise(widths))
        ]
        return Chain(steps, widths[0])
