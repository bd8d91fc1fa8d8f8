"""A slow copy of what is trained: the average of its weights over the last steps."""

from __future__ import annotations

import copy
from collections.abc import Iterable

import torch
from torch import Tensor, nn


class MovingAverage(nn.Module):
    """``θ' ← m θ' + (1 − m) θ`` after every step, beginning as an exact copy.

    The momentum encoder of He et al., MoCo (CVPR 2020), eq. 2; with `warm`, the average of weights
    that is kept as the model (Polyak, Juditsky, 1992), where m begins lower,
    ``min(m, (1 + t) / (10 + t))`` after step t, so that the first weights are soon forgotten.
    The copy is taken when this is made: after the weights are loaded.

    Args:
        source: what is trained; not held.
        decay: m.
    """

    def __init__(self, source: nn.Module, decay: float, *, warm: bool = False) -> None:
        super().__init__()
        self.copy = copy.deepcopy(source)
        self._trained = [each for each in self.copy.parameters() if each.requires_grad]
        self.copy.requires_grad_(False)
        self.decay = decay
        self.warm = warm

    def release(self) -> None:
        """Let the copy be trained, where the source is."""
        for each in self._trained:
            each.requires_grad_(True)

    @torch.no_grad()
    def follow(self, source: nn.Module, step: int) -> None:
        """Go towards the weights after `step` (from 1); buffers are taken over as they are."""
        decay = min(self.decay, (1 + step) / (10 + step)) if self.warm else self.decay
        own, theirs = _alike(self.copy.named_parameters(), source.named_parameters())
        torch._foreach_lerp_(own, theirs, 1 - decay)
        for mine, other in zip(
            *_alike(self.copy.named_buffers(), source.named_buffers()), strict=True
        ):
            mine.copy_(other)


def _alike(
    own: Iterable[tuple[str, Tensor]], theirs: Iterable[tuple[str, Tensor]]
) -> tuple[list[Tensor], list[Tensor]]:
    """Tensors of equal names, side by side."""
    mine, others = dict(own), dict(theirs)
    return [*mine.values()], [others[name].detach() for name in mine]
