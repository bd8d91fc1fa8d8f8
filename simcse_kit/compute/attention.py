"""Attention inside each sequence of a packed row.

Sequences lie shortest first, so equally long ones are neighbours, and every run of equal lengths
can be one unmasked call of torch's fused kernel. On a CPU that kernel knows no dropout, and a batch
has many lengths with few sequences each; there the project's own compiled kernel takes every short
sequence by itself. For training without a compiler, neighbours are padded to a common width, inside
the attention alone, with forward and backward written out, which saves the copies and the fp32
detour of the composed one.

Batches that were laid out (`compute.layout`: for a GPU, for torch.compile) take one call for the
whole row instead, whose shapes do not depend on the lengths in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from inspect import signature
from itertools import groupby
from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from simcse_kit.compute.dropout import draw_seed, keep_mask
from simcse_kit.compute.kernels import COMPILED_TYPES, built_kernels, kernels
from simcse_kit.compute.layout import RowLayout

Groups = Sequence[tuple[int, int]]  # (count, length), ascending lengths

_HALF = (torch.bfloat16, torch.float16)

#: Widths that neighbours are padded to are multiples of this.
_WIDTH = 8

#: Inference takes the compiled kernel up to this length (measured on a CPU with tiles for bf16);
#: torch's has the better products beyond.
_SHORT = {torch.float32: 96, torch.bfloat16: 256}

#: Training without dropout takes torch's kernel from this length on: the compiled one keeps the
#: weights for the way back, length² a head, which torch's computes anew (`eval/speed/long_texts`).
_LONG = 768


def grouped_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    groups: Groups,
    *,
    dropout: float,
    scaling: float | None,
    window: int | None,
) -> Tensor:
    """Softmax attention of each sequence on itself (Vaswani et al. 2017, eq. 1).

    Args:
        query, key, value: ``(tokens, heads, head_dim)``; tokens beyond the sequences fill the
            row up, attend to nothing and get zeros.
        groups: ``(count, length)`` of the runs of equally long sequences.
        dropout: rate on the attention weights, 0 outside training.
        scaling: of the scores; default ``head_dim ** -0.5``.
        window: keys this far away and farther are not seen (ModernBERT's local attention).

    Returns:
        ``(tokens, heads, head_dim)``.
    """
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    attended: Tensor
    if query.device.type == "cpu" and query.dtype in COMPILED_TYPES:
        if query.requires_grad and kernels() is not None:
            if is_long(groups, dropout, window):
                return _short_and_long(query, key, value, groups, scale, window)
            attended = _KernelAttention.apply(
                query, key, value, sequence_lengths(tuple(groups)), dropout, scale, window
            )
            return attended
        short = groups[-1][1] <= _SHORT[query.dtype]
        if dropout == 0 and short and (ops := built_kernels()) is not None:
            lengths, reach = sequence_lengths(tuple(groups)), window or groups[-1][1]
            attended, _ = ops.attention(
                query, key, value, lengths, None, 0.0, scale, reach, keep_weights=False
            )
            return attended
    tokens = sum(count * length for count, length in groups)
    fill = len(query) - tokens
    query, key, value = (states[:tokens] for states in (query, key, value))
    if dropout > 0 and query.device.type == "cpu":
        attended = _DropoutAttention.apply(
            query, key, value, _layouts(tuple(groups), window), dropout, scale
        )
    else:
        attended = _by_length(query, key, value, groups, dropout, scale, window)
    return F.pad(attended, (0, 0, 0, 0, 0, fill)) if fill else attended


def is_long(groups: Groups, dropout: float, window: int | None = None) -> bool:
    """Whether training has a sequence for which torch's kernel is the better one."""
    longest = groups[-1][1]
    return dropout == 0 and min(longest, window or longest) >= _LONG


def _short_and_long(
    query: Tensor, key: Tensor, value: Tensor, groups: Groups, scale: float, window: int | None
) -> Tensor:
    """The short sequences by the compiled kernel, the long ones by torch's; no dropout."""
    short = [(count, length) for count, length in groups if length < _LONG]
    tokens = sum(count * length for count, length in short)
    whole = sum(count * length for count, length in groups)
    parts = []
    if short:
        q, k, v = (states[:tokens] for states in (query, key, value))
        rates: dict[str, Any] = {"dropout": 0.0, "scaling": scale, "window": window}
        parts.append(grouped_attention(q, k, v, short, **rates))
    q, k, v = (states[tokens:whole] for states in (query, key, value))
    parts.append(_by_length(q, k, v, groups[len(short) :], 0.0, scale, window))
    return F.pad(torch.cat(parts), (0, 0, 0, 0, 0, len(query) - whole))


def _by_length(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    groups: Groups,
    dropout: float,
    scale: float,
    window: int | None,
) -> Tensor:
    """One call of torch's fused kernel for every run of equal lengths."""
    sizes = [count * length for count, length in groups]
    outputs = []
    for (count, length), *parts in zip(
        groups, *(x.split(sizes) for x in (query, key, value)), strict=True
    ):
        q, k, v = (part.unflatten(0, (count, length)).transpose(1, 2) for part in parts)
        band = window_mask(length, window, query.device)
        states = F.scaled_dot_product_attention(
            q, k, v, attn_mask=band, dropout_p=dropout, scale=scale
        )
        outputs.append(states.transpose(1, 2).flatten(0, 1))
    return torch.cat(outputs)


def block_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    layout: RowLayout,
    *,
    dropout: float,
    scaling: float | None,
    window: int | None,
) -> Tensor:
    """As `grouped_attention`, in one call for the whole row, whatever lengths it holds.

    Without gradients, in half precision on CUDA, torch's variable-length kernel, which knows no
    dropout; else torch's fused attention on the sequences padded to a block, for it alone.

    Args:
        query, key, value: ``(row, heads, head_dim)``.
        layout: where the sequences lie in the row.

    Returns:
        ``(row, heads, head_dim)``; in the fill stands anything.
    """
    inference = dropout == 0 and not torch.is_grad_enabled()
    if inference and query.is_cuda and query.dtype in _HALF and _knows_lengths():
        from torch.nn.attention.varlen import varlen_attn

        reach = (-1, -1) if window is None else (window - 1, window - 1)
        width, bounds = layout.places.shape[1], layout.bounds
        return cast(
            Tensor,
            varlen_attn(
                query, key, value, bounds, bounds, width, width, scale=scaling, window_size=reach
            ),
        )
    q, k, v = (layout.block(states).transpose(1, 2) for states in (query, key, value))
    seen = layout.inside[:, None, None, :]
    band = window_mask(seen.shape[-1], window, query.device)
    if band is not None:
        # a padded query beyond every key in its window would see nothing: it sees itself
        own = torch.eye(len(band), dtype=torch.bool, device=band.device)
        seen = (seen & band) | own
    attended = F.scaled_dot_product_attention(
        q, k, v, attn_mask=seen, dropout_p=dropout, scale=scaling
    )
    return layout.unblock(attended.transpose(1, 2))


@lru_cache(maxsize=1)
def _knows_lengths() -> bool:
    """Whether this torch has attention over sequences of any lengths, scaled and windowed."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return False
    return {"scale", "window_size"} <= signature(varlen_attn).parameters.keys()


def window_mask(length: int, window: int | None, device: torch.device) -> Tensor | None:
    """bool ``(length, length)``: keys nearer than `window`; None where that is all keys."""
    if window is None or length <= window:
        return None
    places = torch.arange(length, device=device)
    return (places[:, None] - places[None, :]).abs() < window


@lru_cache(maxsize=4)
@torch.inference_mode(False)  # what is kept may serve a training step next
def _layouts(groups: tuple[tuple[int, int], ...], window: int | None) -> tuple[_Layout, ...]:
    """The padded blocks of a batch: neighbours whose next multiple of `_WIDTH` is the same.

    Every layer of a backbone asks for the same ones, so the last few are kept.
    """
    buckets = (list(run) for _, run in groupby(groups, lambda group: -(-group[1] // _WIDTH)))
    return tuple(_Layout(bucket, window) for bucket in buckets)


class _Layout:
    """How the tokens of a bucket lie in its padded ``(count, width)`` block."""

    def __init__(self, bucket: list[tuple[int, int]], window: int | None) -> None:
        self.width = bucket[-1][1]
        self.count = sum(count for count, _ in bucket)
        lengths = torch.tensor([length for count, length in bucket for _ in range(count)])
        inside = torch.arange(self.width) < lengths[:, None]
        self.tokens = int(lengths.sum())
        full = len(bucket) == 1
        self.rows = None if full else inside.flatten().nonzero().squeeze(1)
        self.bias: Tensor | None = None
        if not full:
            self.bias = torch.zeros(self.count, 1, 1, self.width).masked_fill_(
                ~inside[:, None, None, :], -torch.inf
            )
        band = window_mask(self.width, window, lengths.device)
        if band is not None:
            # a padded row beyond every key in its window would be all -inf: it sees itself
            own = torch.eye(self.width, dtype=torch.bool)
            seen = (inside[:, None, None, :] & band) | own
            self.bias = torch.zeros(seen.shape).masked_fill_(~seen, -torch.inf)

    def pad(self, states: Tensor) -> Tensor:
        """``(tokens, heads, dim)`` to contiguous ``(count · heads, width, dim)``."""
        heads, dim = states.shape[1:]
        if self.rows is not None:
            block = states.new_zeros(self.count * self.width, heads, dim)
            states = block.index_copy_(0, self.rows, states)
        states = states.reshape(self.count, self.width, heads, dim).transpose(1, 2)
        return states.reshape(self.count * heads, self.width, dim)

    def unpad(self, block: Tensor, heads: int) -> Tensor:
        """The inverse of `pad`."""
        states = block.unflatten(0, (self.count, heads)).transpose(1, 2).flatten(0, 1)
        return states if self.rows is None else states.index_select(0, self.rows)


@lru_cache(maxsize=4)
@torch.inference_mode(False)
def sequence_lengths(groups: tuple[tuple[int, int], ...]) -> Tensor:
    """The lengths of the sequences of a packed batch, ascending, int64 ``(sequences,)``."""
    return torch.tensor([length for count, length in groups for _ in range(count)])


class _KernelAttention(torch.autograd.Function):
    """Attention with dropout and its gradients by the compiled kernel (see `kernels`)."""

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        lengths: Tensor,
        rate: float,
        scale: float,
        window: int | None,
    ) -> Tensor:
        seed = draw_seed() if rate > 0 else None
        reach = int(lengths[-1]) if window is None else window
        attended, weights = kernels().attention(
            query, key, value, lengths, seed, rate, scale, reach
        )
        ctx.save_for_backward(query, key, value, weights, lengths)
        ctx.rate, ctx.scale = rate, scale
        states: Tensor = attended
        return states

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> Any:
        query, key, value, weights, lengths = ctx.saved_tensors
        joint, _ = kernels().attention_backward(
            gradient.contiguous(), query, key, value, weights, lengths, ctx.rate, ctx.scale
        )
        return (*joint.unbind(1), None, None, None, None)


class _DropoutAttention(torch.autograd.Function):
    """``O = (M ∘ softmax(s·QKᵀ)) V`` with a dropout mask M, bucket by bucket.

    Backward, for a gradient dO: ``dV = (M∘P)ᵀ dO``, ``dP = M ∘ (dO Vᵀ)``,
    ``dS = P ∘ (dP − rowsum(P ∘ dP))``, ``dQ = s·dS K``, ``dK = s·dSᵀ Q``.
    """

    @staticmethod
    def forward(
        ctx: Any,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        layouts: tuple[_Layout, ...],
        rate: float,
        scale: float,
    ) -> Tensor:
        heads = query.shape[1]
        sizes = [layout.tokens for layout in layouts]
        saved, outputs = [], []
        for layout, q, k, v in zip(
            layouts, query.split(sizes), key.split(sizes), value.split(sizes), strict=True
        ):
            q, k, v = layout.pad(q), layout.pad(k), layout.pad(v)
            scores = torch.bmm(q, k.transpose(1, 2)).mul_(scale)
            if layout.bias is not None:
                scores.unflatten(0, (layout.count, heads)).add_(layout.bias)
            weights = torch.softmax(scores, dim=-1)
            mask = keep_mask(weights, rate)
            outputs.append(layout.unpad(torch.bmm(weights * mask, v), heads))
            saved += [q, k, v, weights, mask]
        ctx.save_for_backward(*saved)
        ctx.layouts, ctx.scale = layouts, scale
        return torch.cat(outputs)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (gradient,) = gradients
        heads = gradient.shape[1]
        saved = ctx.saved_tensors  # once: checkpointing recomputes them when they are asked for
        found: list[list[Tensor]] = [[], [], []]
        parts = gradient.split([layout.tokens for layout in ctx.layouts])
        for number, (layout, part) in enumerate(zip(ctx.layouts, parts, strict=True)):
            q, k, v, weights, mask = saved[5 * number : 5 * number + 5]
            grad = layout.pad(part)
            d_value = torch.bmm((weights * mask).transpose(1, 2), grad)
            d_weights = torch.bmm(grad, v.transpose(1, 2)).mul_(mask)
            d_scores = torch._softmax_backward_data(d_weights, weights, -1, weights.dtype)
            d_scores.mul_(ctx.scale)
            d_query = torch.bmm(d_scores, k)
            d_key = torch.bmm(d_scores.transpose(1, 2), q)
            for into, block in zip(found, (d_query, d_key, d_value), strict=True):
                into.append(layout.unpad(block, heads))
        return (*(torch.cat(blocks) for blocks in found), None, None, None)
