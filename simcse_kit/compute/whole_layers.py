"""A BERT layer as one function on a CPU, and the embeddings before the first as another.

A layer is a dozen of small modules, and between its matrix products stands what costs as much as
they do. In training it becomes one node of the graph (`layer_training`). In inference
the residual stream stays in fp32, as autocast has it, and what reads it for a product in bf16 finds
it in bf16 already: the norm wrote both.

Every module keeps its name and type; a layer with anything unusual in it (an adapter, a hook,
another activation, a padded batch) goes its original way.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from transformers.activations import GELUActivation

from simcse_kit.compute.attention import grouped_attention, is_long, sequence_lengths
from simcse_kit.compute.fast_layers import FAMILIES, FastLinear, in_bf16, linear
from simcse_kit.compute.held import kept_of
from simcse_kit.compute.kernels import built_kernels, kernels
from simcse_kit.compute.layer_training import LayerShape, LayerTraining, by_head, product_parameters
from simcse_kit.compute.packing import PackedBatch
from simcse_kit.compute.taught import Taught, teach
from simcse_kit.compute.unaltered import are_unaltered, has_hooks, inside, is_of


def use_whole_layers(backbone: nn.Module) -> None:
    """Teach a backbone's layers and embeddings of a known kind to run as one function each."""
    for module in backbone.modules():
        for part, way in (("Layer", _WholeLayer), ("Embeddings", _WholeEmbeddings)):
            if is_of(module, [family + part for family in FAMILIES]):
                teach(module, way)


class _Operands(NamedTuple):
    """Of a layer's products, in their order, and of its two norms (weight and bias)."""

    weights: list[Tensor]
    biases: list[Tensor]
    norm1: list[Tensor]
    norm2: list[Tensor]


class _WholeLayer(Taught):
    """Mixed in before BERT's ``Layer`` (and its copies)."""

    attention: Any
    intermediate: Any
    output: Any

    def forward(self, hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """As its original, ``(1, tokens, hidden)`` to the same (or to the kept tokens' alone)."""
        batch: PackedBatch | None = kwargs.get("packed_batch")
        ops = self._kernels(hidden_states, batch)
        if ops is not None and batch is not None:
            kept = kwargs.get("kept_tokens") if hasattr(self.attention, "keeps_some") else None
            shape = self._shape(batch, in_bf16(hidden_states))
            if not torch.is_grad_enabled():
                operands = kept_of(self, shape.dtype, partial(self._operands, shape.dtype))
                if operands is not None:
                    return self._infer(ops, hidden_states, kept, shape, batch, operands)
            elif self._is_usual():
                states, weights = hidden_states.squeeze(0), self._weights()
                trained = LayerTraining.apply(states, kept, shape, *weights)
                return cast(Tensor, trained).unsqueeze(0)
        unchanged: Tensor = super().forward(hidden_states, *args, **kwargs)
        return unchanged

    def _kernels(self, states: Tensor, batch: PackedBatch | None) -> Any:
        """The compiled kernels, if such a layer runs as one function now."""
        if batch is None or batch.layout is not None or states.device.type != "cpu":
            return None
        if torch.is_grad_enabled():
            rate = self.attention.self.dropout.p if self.training else 0.0
            return None if is_long(batch.groups, rate) else kernels()
        return None if self.training else built_kernels()

    def _operands(self, dtype: torch.dtype) -> _Operands | None:
        """What inference multiplies with, if this layer is as usual."""
        if not self._is_usual():
            return None
        parameters = list(self._weights())
        weights = product_parameters(parameters[:12:2], dtype, packed=True)
        biases = product_parameters(parameters[1:12:2], dtype)
        return _Operands(weights, biases, parameters[12:14], parameters[14:])

    def _infer(
        self,
        ops: Any,
        input: Tensor,
        kept: Tensor | None,
        shape: LayerShape,
        batch: PackedBatch,
        operands: _Operands,
    ) -> Tensor:
        bf16 = shape.dtype == torch.bfloat16
        w_qkv, w_out, w_up, w_down = operands.weights
        b_qkv, b_out, b_up, b_down = operands.biases
        norm1, norm2 = operands.norm1, operands.norm2
        stream = input.squeeze(0).float().contiguous()
        x = _twin_of(input, self) if bf16 else None
        qkv = linear(stream.to(shape.dtype) if x is None else x, w_qkv, b_qkv)
        query, key, value = by_head(qkv, shape)
        attended = grouped_attention(
            query, key, value, batch.groups, dropout=0.0, scaling=shape.scale, window=None
        ).flatten(1)
        if kept is not None:
            attended, stream = attended.index_select(0, kept), stream.index_select(0, kept)
        branch = linear(attended, w_out, b_out)
        h, narrow = ops.add_norm(branch, stream, *norm1, shape.eps, twin=bf16)
        up = linear(narrow if bf16 else h, w_up, b_up, "gelu")
        y, narrow = ops.add_norm(linear(up, w_down, b_down), h, *norm2, shape.eps, twin=bf16)
        return _with_twin(y.unsqueeze(0), narrow, self)

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
            and are_unaltered(inside(self))
        )

    def _weights(self) -> Iterator[Tensor]:
        for each in (part for parts in self._parts() for part in parts):
            yield each.weight
            yield each.bias

    def _shape(self, batch: PackedBatch, bf16: bool) -> LayerShape:
        own, norm = self.attention.self, self.output.LayerNorm
        return LayerShape(
            torch.bfloat16 if bf16 else torch.float32,
            sequence_lengths(batch.groups),
            own.num_attention_heads,
            own.scaling,
            own.dropout.p if self.training else 0.0,
            self.output.dropout.p if self.training else 0.0,
            norm.eps,
        )


class _WholeEmbeddings(Taught):
    """Mixed in before BERT's ``Embeddings`` (and its copies): lookups, sums and norm at once."""

    word_embeddings: nn.Embedding
    token_type_embeddings: nn.Embedding
    position_embeddings: nn.Embedding
    LayerNorm: nn.LayerNorm

    def forward(self, *args: Any, **kwargs: Any) -> Tensor:
        """As its original; at once where ids and positions are all that is given."""
        ids, positions = kwargs.get("input_ids"), kwargs.get("position_ids")
        others = (kwargs.get(name) for name in ("token_type_ids", "inputs_embeds"))
        given = not args and all(each is None for each in others)
        if not given or ids is None or positions is None or not self._reads(ids, positions):
            unchanged: Tensor = super().forward(*args, **kwargs)
            return unchanged
        words, norm = self.word_embeddings.weight, self.LayerNorm
        states, narrow = built_kernels().embed_norm(
            ids.contiguous(),
            positions.contiguous(),
            words,
            self.token_type_embeddings.weight[0],
            self.position_embeddings.weight,
            norm.weight,
            norm.bias,
            norm.eps,
            twin=in_bf16(words),
        )
        return _with_twin(states.view(*ids.shape, -1), narrow, self)

    def _reads(self, ids: Tensor, positions: Tensor) -> bool:
        """Whether it runs at once now, for these."""
        return (
            not (torch.is_grad_enabled() or self.training)
            and ids.shape == positions.shape
            and ids.dtype == positions.dtype == torch.int64
            and built_kernels() is not None
            and kept_of(self, "usual", self._is_usual) is not None
        )

    def _is_usual(self) -> bool | None:
        tables = self.word_embeddings, self.token_type_embeddings, self.position_embeddings
        parts = (*tables, self.LayerNorm)
        return (
            all(type(each) is nn.Embedding and each.max_norm is None for each in tables)
            and type(self.LayerNorm) is nn.LayerNorm
            and all(each.weight.device.type == "cpu" for each in parts)
            and all(each.weight.dtype == torch.float32 for each in parts)
            and are_unaltered(inside(self))
        ) or None


def _with_twin(states: Tensor, narrow: Tensor | None, maker: nn.Module) -> Tensor:
    """States with their copy in bf16 for the next layer; without, where a hook may change them."""
    if narrow is not None and not has_hooks(maker, "_forward_hooks"):
        states.bf16_twin = narrow  # type: ignore[attr-defined]
    return states


def _twin_of(states: Tensor, reader: nn.Module) -> Tensor | None:
    hooked = has_hooks(reader, "_forward_pre_hooks")
    return None if hooked else getattr(states, "bf16_twin", None)
