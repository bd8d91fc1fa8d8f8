"""Balanced codes: each view predicts which learnt prototypes the other is given (SwAV)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from simcse_kit.objectives.clusters import (
    even_share,
    has_collapsed,
    nearest_prototype,
    tell_collapsed,
)
from simcse_kit.objectives.cosines import cosines, full_precision
from simcse_kit.objectives.objective import Embedded, Objective
from simcse_kit.parts import Context, Float, Int, PartSettings


def sinkhorn(scores: Tensor, *, epsilon: float = 0.05, iterations: int = 3) -> Tensor:
    """Soft codes of a batch that use every prototype equally: ``exp(s / ε)``, scaled.

    Columns are scaled to the sum ``B / K`` and rows to 1, in turn; the codes that SwAV predicts.

    Source: Cuturi (NeurIPS 2013); Caron et al., SwAV (NeurIPS 2020), eq. 3 to 5 and algorithm 1.

    Args:
        scores: ``(B, K)`` cosines to the prototypes.
        epsilon: ε > 0; larger ones make all codes alike.

    Returns:
        ``(B, K)``, rows that sum to 1, without gradient.
    """
    with torch.no_grad():
        log_codes = scores.detach().to(torch.promote_types(scores.dtype, torch.float32)) / epsilon
        for _ in range(iterations):
            log_codes = log_codes - log_codes.logsumexp(0)
            log_codes = log_codes - log_codes.logsumexp(1, keepdim=True)
        return log_codes.exp()


@full_precision
def swapped_prediction(
    anchors: Tensor,
    positives: Tensor,
    prototypes: Tensor,
    *,
    temperature: float = 0.1,
    epsilon: float = 0.05,
    iterations: int = 3,
    queue: Tensor | None = None,
) -> Tensor:
    """Each view predicts the other's Sinkhorn codes: the mean cross-entropy of both ways.

    Source: Caron et al., SwAV (NeurIPS 2020), eq. 1 and 2.

    Args:
        anchors, positives: ``(B, D)``, any scale.
        prototypes: ``(K, D)``, learnt, any scale.
        temperature: τ; `epsilon`, `iterations`: of `sinkhorn`.
        queue: earlier embeddings ``(Q, D)``, which the codes are balanced over too, or None.

    Returns:
        Scalar in nats.
    """
    scores = [cosines(side, prototypes) for side in (anchors, positives)]
    earlier = [] if queue is None else [cosines(queue, prototypes)]
    codes = [
        sinkhorn(torch.cat([each, *earlier]), epsilon=epsilon, iterations=iterations)[: len(each)]
        for each in scores
    ]
    found = [(each / temperature).log_softmax(1) for each in scores]
    ways = [-(codes[1 - side] * found[side]).sum(1).mean() for side in (0, 1)]
    return (ways[0] + ways[1]) / 2


#: Share of the earlier use of prototypes that stays from step to step, and how often it is judged.
_MEMORY = 0.99
_JUDGED_EVERY = 100


class Swapped(Objective):
    """`swapped_prediction` with prototypes of its own, learnt with the encoder.

    Prototypes are kept of unit length, as in the authors' code, and do not move in the first steps.
    Keys of a queue, where there is one, take part in the balance of the codes.
    """

    USES = frozenset({"queue"})

    class Settings(PartSettings):
        prototypes: Int = Field(
            100, ge=2, description="K; about as many as texts in a batch, or a queue beside it."
        )
        temperature: Float = Field(0.1, gt=0, description="τ, of the prediction.")
        epsilon: Float = Field(0.05, gt=0, description="ε: a larger one makes codes more alike.")
        iterations: Int = Field(3, ge=1, description="Rounds of Sinkhorn-Knopp.")
        frozen_steps: Int = Field(
            100, ge=0, description="Optimizer steps in which the prototypes do not move."
        )

    use: Tensor  # how often each prototype was the nearest of late, (K,)

    def __init__(self, context: Context | None = None, /, **settings: Any) -> None:
        super().__init__(context, **settings)
        count = self.settings.prototypes
        generator = torch.Generator().manual_seed(self.context.seed)
        drawn = torch.randn(count, self.context.width, generator=generator)
        self.prototypes = nn.Parameter(F.normalize(drawn, dim=-1))
        self.register_buffer("use", torch.zeros(count))
        self._is_frozen = self.settings.frozen_steps > 0
        self._has_warned = False

    def begin_step(self, step: int, steps: int) -> None:
        """Bring the prototypes to unit length; warn (once) where one has taken most texts."""
        self._is_frozen = step < self.settings.frozen_steps
        with torch.no_grad():
            self.prototypes.copy_(F.normalize(self.prototypes, dim=-1))
        if step and step % _JUDGED_EVERY == 0 and not self._has_warned:
            shares = self._shares()
            if has_collapsed(shares):
                self._has_warned = True
                tell_collapsed("swapped", "the last batches' texts", shares)

    def forward(self, batch: Embedded) -> Tensor:
        prototypes = self.prototypes[:, : batch.anchors.shape[-1]]  # fewer under Matryoshka
        if self._is_frozen:
            # with a gradient of 0, for ranks wait for one of every parameter
            prototypes = prototypes.detach() + 0 * prototypes
        self._count(batch.anchors, prototypes)
        own = self.settings
        return swapped_prediction(
            batch.anchors,
            batch.positives,
            prototypes,
            temperature=own.temperature,
            epsilon=own.epsilon,
            iterations=own.iterations,
            queue=batch.queue,
        )

    @torch.no_grad()
    def _count(self, anchors: Tensor, prototypes: Tensor) -> None:
        nearest = nearest_prototype(anchors[None], prototypes)
        each = torch.full_like(nearest, (1 - _MEMORY) / len(anchors), dtype=self.use.dtype)
        self.use.mul_(_MEMORY).index_add_(0, nearest, each)

    def _shares(self) -> np.ndarray:
        """Of the prototypes in the last batches' texts, float ``(K,)``; even before the first."""
        use = self.use.cpu().numpy()
        return np.asarray(use / use.sum() if use.sum() else use + 1 / len(use))

    def told(self) -> dict[str, float]:
        """Of about the last 100 batches: the most used prototype's share, and how evenly."""
        shares = self._shares()
        return {
            "largest_prototype": float(shares.max()),
            "prototype_evenness": even_share(shares),
        }
