"""A BERT layer as one function on a CPU, and the embeddings before the first as another.

A layer is a dozen of small modules, and between its matrix products stands what costs as much as
they do. In training it becomes one node of the graph (`layer_training`). In inference
the residual stream stays in fp32, as autocast has it, and what reads it for a product in bf16 finds
it in bf16 already: the norm wrote both. A backbone of nothing else runs as these one after another.

Every module keeps its name and type; a layer with anything unusual in it (an adapter, a hook,
another activation, a padded batch) goes its original way, and so does a backbone with such a one.
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
from simcse_kit.compute.unaltered import are_unaltered, inside, is_of


def use_whole_layers(backbone: nn.Module) -> None:
    """Teach a backbone's layers and embeddings of a known kind to run as one function each."""
    for module in backbone.modules():
        for part, way in (("Layer", _WholeLayer), ("Embeddings", _WholeEmbeddings)):
            if is_of(module, [family + part for family in FAMILIES]):
                teach(module, way)


class _Operands(NamedTuple):
    """Of a layer's products, in their order, and of its two norms (weight and bias).

    Its modules too: how they are set is read at every call, for a setting is no weight, whose
    change is seen.
    """

    dtype: torch.dtype  # computed in
    weights: list[Tensor]
    biases: list[Tensor]
    norm1: list[Tensor]
    norm2: list[Tensor]
    attention: Any
    norm: Any  # both have its eps


#: States ``(tokens, hidden)`` in fp32, and the same in bf16 where a product is to read them so.
_Twins = tuple[Tensor, Tensor | None]


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
            dtype = torch.bfloat16 if in_bf16(hidden_states) else torch.float32
            if not torch.is_grad_enabled():
                operands = kept_of(self, dtype, partial(self.operands, dtype))
                if operands is not None:
                    given = hidden_states.squeeze(0).float().contiguous(), None
                    return _inferred(ops, given, batch, operands, kept)[0].unsqueeze(0)
            elif self._is_usual():
                states, weights = hidden_states.squeeze(0), self._weights()
                shape = self._shape(batch, dtype)
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

    def operands(self, dtype: torch.dtype) -> _Operands | None:
        """What inference multiplies with, if this layer is as usual."""
        if not self._is_usual():
            return None
        parameters = list(self._weights())
        weights = product_parameters(parameters[:12:2], dtype, packed=True)
        biases = product_parameters(parameters[1:12:2], dtype)
        norms = parameters[12:14], parameters[14:]
        return _Operands(dtype, weights, biases, *norms, self.attention.self, self.output.LayerNorm)

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

    def _shape(self, batch: PackedBatch, dtype: torch.dtype) -> LayerShape:
        own, norm = self.attention.self, self.output.LayerNorm
        return LayerShape(
            dtype,
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
        return self.looked_up(ids, positions)[0].view(*ids.shape, -1)

    def looked_up(self, ids: Tensor, positions: Tensor) -> _Twins:
        """The states of so many tokens, by the compiled kernel."""
        words, norm = self.word_embeddings.weight, self.LayerNorm
        twins: _Twins = built_kernels().embed_norm(
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
        return twins

    def _reads(self, ids: Tensor, positions: Tensor) -> bool:
        """Whether it runs at once now, for these."""
        return (
            not (torch.is_grad_enabled() or self.training)
            and ids.shape == positions.shape
            and ids.dtype == positions.dtype == torch.int64
            and built_kernels() is not None
            and kept_of(self, "usual", self.is_usual) is not None
        )

    def is_usual(self) -> bool | None:
        """True, or None where something in it is not as BERT has it."""
        tables = self.word_embeddings, self.token_type_embeddings, self.position_embeddings
        parts = (*tables, self.LayerNorm)
        return (
            all(type(each) is nn.Embedding and each.max_norm is None for each in tables)
            and type(self.LayerNorm) is nn.LayerNorm
            and all(each.weight.device.type == "cpu" for each in parts)
            and all(each.weight.dtype == torch.float32 for each in parts)
            and are_unaltered(inside(self))
        ) or None


def _inferred(
    ops: Any, given: _Twins, batch: PackedBatch, operands: _Operands, kept: Tensor | None
) -> _Twins:
    """A layer's states, of those it is given; of the kept tokens alone."""
    (stream, x), bf16 = given, operands.dtype == torch.bfloat16
    w_qkv, w_out, w_up, w_down = operands.weights
    b_qkv, b_out, b_up, b_down = operands.biases
    qkv = linear(x if bf16 and x is not None else stream.to(operands.dtype), w_qkv, b_qkv)
    own, eps = operands.attention, operands.norm.eps
    query, key, value = by_head(qkv, own.num_attention_heads)
    attended = grouped_attention(
        query, key, value, batch.groups, dropout=0.0, scaling=own.scaling, window=None
    ).flatten(1)
    if kept is not None:
        attended, stream = attended.index_select(0, kept), stream.index_select(0, kept)
    branch = linear(attended, w_out, b_out)
    h, narrow = ops.add_norm(branch, stream, *operands.norm1, eps, twin=bf16)
    up = linear(narrow if bf16 else h, w_up, b_up, "gelu")
    branch = linear(up, w_down, b_down)
    twins: _Twins = ops.add_norm(branch, h, *operands.norm2, eps, twin=bf16)
    return twins


def straight_states(
    backbone: nn.Module,
    ids: Tensor,
    positions: Tensor,
    batch: PackedBatch,
    *,
    all_layers: bool,
    kept: Tensor | None,
) -> tuple[Tensor, ...] | None:
    """States, in inference, of a backbone that is embeddings and layers alone.

    Of one short text the way through transformers' `forward` takes a tenth of the time. None where
    that way must be taken: something hangs on it (a hook), or a part is of another kind.

    Args:
        ids, positions: int64 ``(row,)``.
        all_layers: give the embeddings' states and every layer's, not the last one's alone.
        kept: places in the row that the last layer goes on with.
    """
    ops = None if torch.is_grad_enabled() or backbone.training else built_kernels()
    if ops is None or batch.layout is not None or ids.device.type != "cpu":
        return None
    dtype = torch.bfloat16 if in_bf16(ids) else torch.float32
    layers = kept_of(backbone, dtype, partial(_only_layers, backbone, dtype))
    if layers is None or any(each.training for each in cast(Any, backbone).encoder.layer):
        return None
    twins: _Twins = cast(_WholeEmbeddings, backbone.embeddings).looked_up(ids, positions)
    if (projection := backbone._modules.get("embeddings_project")) is not None:  # ELECTRA's
        projected = projection(twins[0])
        twins = projected.float(), projected if projected.dtype == dtype else None
    found = [twins[0]]
    for operands in layers:
        twins = _inferred(ops, twins, batch, operands, kept if operands is layers[-1] else None)
        found = [*found, twins[0]] if all_layers else [twins[0]]
    return tuple(found)


def _only_layers(backbone: nn.Module, dtype: torch.dtype) -> list[_Operands] | None:
    """What a backbone's layers multiply with, if it is known, and as it was made."""
    if not is_of(backbone, [f"{family}Model" for family in FAMILIES]):
        return None
    parts: dict[str, Any] = {
        name: part for name, part in backbone._modules.items() if part is not None
    }
    names = "embeddings", "encoder", "embeddings_project"
    embeddings, encoder, projection = (parts.pop(name, None) for name in names)
    if parts or not is_of(encoder, [f"{family}Encoder" for family in FAMILIES]):
        return None
    layers = encoder._modules["layer"]
    known = isinstance(embeddings, _WholeEmbeddings) and embeddings.is_usual()
    known = known and all(isinstance(each, _WholeLayer) for each in layers)
    between = [] if projection is None else [projection]
    known = known and all(type(each) is FastLinear for each in between)
    if not (known and are_unaltered((backbone, embeddings, *between, encoder, layers, *layers))):
        return None
    found: list[_Operands] = []
    for each in layers:
        operands = each.operands(dtype)
        if operands is None:
            return None
        found.append(operands)
    return found or None
