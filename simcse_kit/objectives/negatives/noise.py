"""Noise that is moved to where the batch is dense."""

from __future__ import annotations

from typing import Any

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from simcse_kit.objectives.cosines import full_precision
from simcse_kit.objectives.draws import BatchDraws
from simcse_kit.objectives.negatives.further import Negatives
from simcse_kit.objectives.objective import Embedded
from simcse_kit.parts import Context, Float, Int, PartSettings


@full_precision
def moved_noise(
    noise: Tensor, anchors: Tensor, *, moves: int, step_size: float, temperature: float
) -> Tensor:
    """Directions ``x`` after some steps ``x ← normalize(x + β g / ‖g‖)``, uphill in

        log Σ_i exp(cos(h_i, x) / τ)

    by the part of its gradient ``g`` along the sphere: towards the anchors ``h``, the near ones
    first. Where there is no way uphill a direction stays.

    Source: after Zhou et al., DCLR (ACL 2022), noise-based negatives that follow a gradient to
    where the space is not uniform; on the sphere here, for lengths say nothing to a cosine.

    Args:
        noise: ``(N, D)``, any scale but 0.
        anchors: ``(B, D)``, any scale.
        moves: steps; 0: none.
        step_size: β. temperature: τ.

    Returns:
        Unit vectors ``(N, D)``, without gradient.
    """
    x, h = F.normalize(noise, dim=-1), F.normalize(anchors, dim=-1)
    for _ in range(moves):
        uphill = (x @ h.T / temperature).softmax(dim=1) @ h
        along = uphill - (uphill * x).sum(-1, keepdim=True) * x
        x = F.normalize(x + step_size * F.normalize(along, dim=-1), dim=-1)
    return x


class Noise(Negatives):
    """`moved_noise` of normal directions, drawn anew for each batch."""

    class Settings(PartSettings):
        count: Int = Field(64, ge=1, description="How many; as many as rows of a batch in DCLR.")
        moves: Int = Field(
            4, ge=0, description="Steps by which they go to where the batch is dense. 0: stay."
        )
        step_size: Float = Field(0.1, gt=0, description="β: how far a step goes.")
        temperature: Float = Field(
            0.05, gt=0, description="τ: a lower one moves each to its nearest anchors."
        )

    def __init__(self, context: Context | None = None, /, **settings: Any) -> None:
        super().__init__(context, **settings)
        self._draws = BatchDraws(self.context.seed)

    def begin_step(self, step: int, steps: int) -> None:
        self._draws.begin(step)

    @torch.no_grad()
    def forward(self, batch: Embedded) -> Tensor:
        own, anchors = self.settings, batch.anchors
        noise = torch.randn(own.count, anchors.shape[1], generator=self._draws.next())
        return moved_noise(
            noise.to(anchors.device),
            anchors,
            moves=own.moves,
            step_size=own.step_size,
            temperature=own.temperature,
        )
