"""A BERT layer in training on a CPU as one node of the graph, forward and backward written out.

A layer is a dozen of small modules, and between its matrix products stands what costs as much as
they do: activations cast, copied, added and read again. Here one function has all of a layer before
it: residuals' gradients are added where the next pass reads them, a bias's gradient is summed where
its activations' is made, and what is done with is overwritten.

Computed is what the modules compute, with their weights, in fp32 or, under autocast, in bf16. Every
module keeps its name and type; a layer with anything unusual in it (an adapter, a hook, another
activation, a padded batch) goes its original way.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from transformers.activations import GELUActivation

from simcse_kit.attention import sequence_lengths
from simcse_kit.dropout import draw_seed
from simcse_kit.fast_layers import (
    FAMILIES,
    FastLinear,
    in_bf16,
    linear,
    narrowed,
    weight_gradient,
)
from simcse_kit.kernels import kernels

_LAYERS = tuple(f"{family}Layer" for family in FAMILIES)


def use_layer_training(backbone: nn.Module) -> None:
    """Teach a backbone's layers of a known kind to train as one function each."""
    for module in backbone.modules():
        kind = type(module)
        if kind.__name__ in _LAYERS and not isinstance(module, _TrainsWhole):
            module.__class__ = type(kind.__name__, (_TrainsWhole, kind), {"__module__": __name__})


class _TrainsWhole(nn.Module):
    """Mixed in before BERT's ``Layer`` (and its copies)."""

    attention: Any
    intermediate: Any
    output: Any

    def forward(self, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """As its original, ``(1, tokens, hidden)`` to the same (or to the kept tokens' alone)."""
        batch = kwargs.get("packed_batch")
        trains = torch.is_grad_enabled() and hidden_states.device.type == "cpu"
        if (
            batch is None
            or batch.layout is not None
            or not trains
            or kernels() is None
            or not self._is_usual()
        ):
            unchanged: Tensor = super().forward(hidden_states, *args, **kwargs)
            return unchanged
        kept = kwargs.get("kept_tokens") if hasattr(self.attention, "keeps_some") else None
        states = hidden_states.squeeze(0)
        shape = self._shape(sequence_lengths(batch.groups), in_bf16(states))
        return cast(Tensor, _Layer.apply(states, kept, shape, *self._weights())).unsqueeze(0)

    def _parts(self) -> tuple[list[Any], list[Any]]:
        """Linear layers and norms, in the order that data meets them."""
        own, after, back = self.attention.self, self.attention.output, self.output
        linears = [own.query, own.key, own.value, after.dense, self.intermediate.dense, back.dense]
        return linears, [after.LayerNorm, back.LayerNorm]

    def _is_usual(self) -> bool:
        linears, norms = self._parts()
        if getattr(self, "is_decoder", False) or not isinstance(
            self.intermediate.intermediate_act_fn, GELUActivation
        ):
            return False
        branches = self.attention.output, self.output
        alike = {(each.dropout.p, each.LayerNorm.eps) for each in branches}
        return (
            len(alike) == 1
            and all(type(each) is FastLinear and each.bias is not None for each in linears)
            and all(type(each) is nn.LayerNorm for each in norms)
            and all(each.weight.dtype == torch.float32 for each in (*linears, *norms))
            and not any(_is_watched(each) for each in self.modules() if each is not self)
        )

    def _weights(self) -> Iterator[Tensor]:
        for each in (part for parts in self._parts() for part in parts):
            yield each.weight
            yield each.bias

    def _shape(self, lengths: Tensor, bf16: bool) -> _Shape:
        own, norm = self.attention.self, self.output.LayerNorm
        return _Shape(
            torch.bfloat16 if bf16 else torch.float32,
            lengths,
            own.num_attention_heads,
            own.scaling,
            own.dropout.p if self.training else 0.0,
            self.output.dropout.p if self.training else 0.0,
            norm.eps,
        )


def _is_watched(module: nn.Module) -> bool:
    hooks = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
    return any(getattr(module, name) for name in hooks)


class _Shape(NamedTuple):
    """What of a layer is no weight."""

    dtype: torch.dtype  # computed in
    lengths: Tensor  # of the sequences, int64 (sequences,), ascending
    heads: int
    scale: float  # of attention scores
    attention_rate: float  # dropout
    hidden_rate: float
    eps: float


class _Layer(torch.autograd.Function):
    """``y = norm(h + drop(W₂ gelu(W₁ h)))`` with ``h = norm(x + drop(W attention(x)))``.

    Vaswani et al. 2017, section 3, as BERT has it: post-norm, biases everywhere, dropout on the
    attention weights and on either branch. States are ``(tokens, hidden)``.
    """

    @staticmethod
    def forward(
        ctx: Any, input: Tensor, kept: Tensor | None, shape: _Shape, *parameters: Tensor
    ) -> Tensor:
        ops, (weights, biases) = kernels(), (parameters[:12:2], parameters[1:12:2])
        (gain1, shift1), (gain2, shift2) = parameters[12:14], parameters[14:]
        w_qkv, w_out, w_up, w_down = _four(weights, shape.dtype)
        b_qkv, b_out, b_up, b_down = _four(biases, shape.dtype)
        x = input.to(shape.dtype).contiguous()
        seeds = [
            draw_seed() if rate > 0 else None
            for rate in (shape.attention_rate, shape.hidden_rate, shape.hidden_rate)
        ]

        qkv = linear(x, w_qkv, b_qkv)  # (tokens, 3 · hidden)
        attended, dropped = ops.attention(
            *_heads(qkv, shape),
            shape.lengths,
            seeds[0],
            shape.attention_rate,
            shape.scale,
            int(shape.lengths[-1]),
        )
        attended, residual = attended.flatten(1), x
        if kept is not None:
            attended, residual = attended.index_select(0, kept), x.index_select(0, kept)
        sum1 = linear(attended, w_out, b_out)  # becomes the sum that is normalised
        h, stats1 = ops.dropout_add_norm_(
            sum1, residual, seeds[1], shape.hidden_rate, gain1, shift1, shape.eps
        )
        up = linear(h, w_up, b_up)
        sum2 = linear(ops.gelu(up), w_down, b_down)
        y, stats2 = ops.dropout_add_norm_(
            sum2, h, seeds[2], shape.hidden_rate, gain2, shift2, shape.eps
        )

        products = (w_qkv, w_out, w_up, w_down)
        states = (x, qkv, dropped, attended, sum1, stats1, h, up, sum2, stats2)
        ctx.save_for_backward(kept, *products, gain1, gain2, *states)
        ctx.shape, ctx.seeds, ctx.input_type = shape, seeds, input.dtype
        output: Tensor = y
        return output

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:
        kept, *saved = ctx.saved_tensors  # once, as checkpointing wants
        w_qkv, w_out, w_up, w_down, gain1, gain2, *states = saved
        x, qkv, dropped, attended, sum1, stats1, h, up, sum2, stats2 = states
        ops, shape, seeds = kernels(), ctx.shape, ctx.seeds
        learns = any(ctx.needs_input_grad[3:])

        def of_weight(back: Tensor, states: Tensor) -> Tensor | None:
            return weight_gradient(back, states) if learns else None

        d_y = grad.to(shape.dtype).contiguous()
        d_down, d_h, *of_norm2, of_down = ops.dropout_add_norm_backward(
            d_y, None, sum2, stats2, seeds[2], shape.hidden_rate, gain2
        )
        d_up = d_down @ w_down
        active, of_up = ops.gelu_backward_(d_up, up)  # from here on d_up is before GELU
        found_down = of_weight(d_down, active), of_down
        found_up = of_weight(d_up, h), of_up
        d_out, d_x, *of_norm1, of_out = ops.dropout_add_norm_backward(
            d_up @ w_up, d_h, sum1, stats1, seeds[1], shape.hidden_rate, gain1
        )
        found_out = of_weight(d_out, attended), of_out
        d_attended = d_out @ w_out
        if kept is not None:
            d_attended, d_x = (_spread(part, kept, len(x)) for part in (d_attended, d_x))
        d_qkv, of_qkv = ops.attention_backward(
            d_attended.unflatten(1, (shape.heads, -1)),
            *_heads(qkv, shape),
            dropped,
            shape.lengths,
            shape.attention_rate,
            shape.scale,
        )
        d_qkv = d_qkv.flatten(1)
        d_input = None
        if ctx.needs_input_grad[0]:
            d_input = (d_qkv @ w_qkv).add_(d_x).to(ctx.input_type)
        if not learns:
            return d_input, None, None, *[None] * 16
        found_qkv = zip(weight_gradient(d_qkv, x).chunk(3), of_qkv.flatten(1), strict=True)
        of_linears = (*(each for pair in found_qkv for each in pair), *found_out, *found_up)
        return d_input, None, None, *of_linears, *found_down, *of_norm1, *of_norm2


def _four(parameters: tuple[Tensor, ...], dtype: torch.dtype) -> list[Tensor]:
    """Weights or biases by product: query, key and value as one."""
    groups = parameters[:3], parameters[3:4], parameters[4:5], parameters[5:]
    if dtype == torch.bfloat16:
        return [narrowed(group) for group in groups]
    return [torch.cat(group) if len(group) > 1 else group[0] for group in groups]


def _heads(qkv: Tensor, shape: _Shape) -> tuple[Tensor, ...]:
    """Query, key and value, ``(tokens, heads, dim)`` each."""
    return qkv.unflatten(1, (3, shape.heads, -1)).unbind(1)


def _spread(states: Tensor, kept: Tensor, tokens: int) -> Tensor:
    """The gradient of ``index_select(0, kept)``."""
    return states.new_zeros(tokens, states.shape[1]).index_add_(0, kept, states)
