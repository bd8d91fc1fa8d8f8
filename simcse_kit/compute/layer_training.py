"""A BERT layer in training on a CPU as one node of the graph, forward and backward written out.

A layer is a dozen of small modules, and between its matrix products stands what costs as much as
they do: activations cast, copied, added and read again. Here one function has all of a layer before
it: residuals' gradients are added where the next pass reads them, a bias's gradient is summed where
its activations' is made, and what is done with is overwritten.

Computed is what the modules compute, with their weights, in fp32 or, under autocast, in bf16. Which
layers go this way, `simcse_kit.compute.whole_layers` says.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from simcse_kit.compute.dropout import draw_seed
from simcse_kit.compute.fast_layers import linear, weight_gradient
from simcse_kit.compute.held import operand
from simcse_kit.compute.kernels import kernels


class LayerShape(NamedTuple):
    """What of a layer is no weight."""

    dtype: torch.dtype  # computed in
    lengths: Tensor  # of the sequences, int64 (sequences,), ascending
    heads: int
    scale: float  # of attention scores
    attention_rate: float  # dropout
    hidden_rate: float
    eps: float


class LayerTraining(torch.autograd.Function):
    """``y = norm(h + drop(W₂ gelu(W₁ h)))`` with ``h = norm(x + drop(W attention(x)))``.

    Vaswani et al. 2017, section 3, as BERT has it: post-norm, biases everywhere, dropout on the
    attention weights and on either branch. States are ``(tokens, hidden)``.
    """

    @staticmethod
    def forward(
        ctx: Any, input: Tensor, kept: Tensor | None, shape: LayerShape, *parameters: Tensor
    ) -> Tensor:
        ops, (weights, biases) = kernels(), (parameters[:12:2], parameters[1:12:2])
        (gain1, shift1), (gain2, shift2) = parameters[12:14], parameters[14:]
        w_qkv, w_out, w_up, w_down = product_parameters(weights, shape.dtype)
        b_qkv, b_out, b_up, b_down = product_parameters(biases, shape.dtype)
        x = input.to(shape.dtype).contiguous()
        seeds = [
            draw_seed() if rate > 0 else None
            for rate in (shape.attention_rate, shape.hidden_rate, shape.hidden_rate)
        ]

        qkv = linear(x, w_qkv, b_qkv)  # (tokens, 3 · hidden)
        attended, dropped = ops.attention(
            *by_head(qkv, shape.heads),
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
            *by_head(qkv, shape.heads),
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


def product_parameters(
    parameters: Sequence[Tensor], dtype: torch.dtype, *, packed: bool = False
) -> list[Tensor]:
    """Weights or biases by product: query, key and value as one. `packed` as in `operand`."""
    groups = parameters[:3], parameters[3:4], parameters[4:5], parameters[5:]
    return [operand(group, dtype, packed=packed) for group in groups]


def by_head(qkv: Tensor, heads: int) -> tuple[Tensor, ...]:
    """Query, key and value, ``(tokens, heads, dim)`` each."""
    return qkv.unflatten(1, (3, heads, -1)).unbind(1)


def _spread(states: Tensor, kept: Tensor, tokens: int) -> Tensor:
    """The gradient of ``index_select(0, kept)``."""
    return states.new_zeros(tokens, states.shape[1]).index_add_(0, kept, states)
