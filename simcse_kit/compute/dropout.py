"""Dropout masks of the usual distribution from a faster generator.

torch draws CPU dropout masks from a Mersenne Twister, one Bernoulli variable at a time, which
takes a sixth of a training step. The compiled kernels hash every element's place instead. Without
them sixteen random bits decide an element: it is dropped when they fall under
``round(rate · 2^16)``, and kept elements are scaled by the keep probability so realised, so
expectations are exact and the rate is within 2^-17 of the one asked for; the bits come from SFC64.
Either is seeded anew for every mask from torch's own generator: seeding, resuming and replaying
torch's state therefore fix these masks too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from simcse_kit.compute.kernels import COMPILED_TYPES, kernels

if TYPE_CHECKING:
    from transformers import PreTrainedModel

_STEPS = 1 << 16


def draw_seed() -> int:
    """The seed of one mask, 62 bits from torch's CPU generator."""
    return int(torch.randint(1 << 62, ()))


def keep_mask(like: Tensor, rate: float) -> Tensor:
    """Mask of the shape and type of `like`, on a CPU: 0 where dropped, 1/(1 − rate) where kept."""
    dropped = round(rate * _STEPS)
    words = np.random.SFC64(draw_seed()).random_raw(-(-like.numel() // 4))
    bits = torch.from_numpy(words.view(np.int16)[: like.numel()]).view(like.shape)
    kept = (bits >= dropped - _STEPS // 2).to(like.dtype)
    return kept.mul_(_STEPS / (_STEPS - dropped))


class FastDropout(nn.Dropout):
    """`nn.Dropout`, on a CPU with the compiled kernels' masks or `keep_mask`'s."""

    def forward(self, input: Tensor) -> Tensor:
        """``input`` in evaluation or at rate 0; masked and scaled in training."""
        if not self.training or self.p == 0 or input.device.type != "cpu":
            return super().forward(input)
        if input.dtype in COMPILED_TYPES and kernels() is not None:
            return cast(Tensor, _CompiledDropout.apply(input, self.p))
        return input * keep_mask(input, self.p)


class _CompiledDropout(torch.autograd.Function):
    """Drawn from one seed, there and back, so that no mask is kept."""

    @staticmethod
    def forward(ctx: Any, input: Tensor, rate: float) -> Tensor:
        ctx.seed, ctx.rate = draw_seed(), rate
        dropped: Tensor = kernels().dropout(input.contiguous(), ctx.seed, rate)
        return dropped

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:
        return kernels().dropout(grad.contiguous(), ctx.seed, ctx.rate), None


def use_fast_dropout(model: nn.Module) -> None:
    """Replace every plain `nn.Dropout` of a model in place."""
    for module in model.modules():
        for name, child in module.named_children():
            if type(child) is nn.Dropout:
                setattr(module, name, FastDropout(child.p))


def dropout_rates(model: nn.Module) -> set[float]:
    """Every dropout rate in a model."""
    rates = {float(m.p) for m in model.modules() if isinstance(m, nn.Dropout)}
    for module in model.modules():
        rates |= {float(vars(module)[key]) for key in _rates(vars(module))}
    return rates


def set_dropout(model: PreTrainedModel, rate: float) -> None:
    """Give every dropout in a model and its config, attention's included, the same rate."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if type(child) is nn.Identity and "drop" in name:  # made so at rate 0 (ModernBERT)
                setattr(module, name, nn.Dropout(rate))
        if isinstance(module, nn.Dropout):
            module.p = rate
        for key in _rates(vars(module)):
            setattr(module, key, rate)
    for key in _rates(vars(model.config)):
        if "classifier" not in key:
            setattr(model.config, key, rate)


def _rates(attributes: Mapping[str, Any]) -> list[str]:
    """Names of the rates that are kept as plain numbers (ModernBERT, BART)."""
    return [
        key
        for key, value in attributes.items()
        if "dropout" in key and type(value) in (int, float) and 0 <= value < 1
    ]
