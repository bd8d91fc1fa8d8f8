"""An encoder's own layers, computed faster on a CPU: same names, same weights.

`use_fast_layers` changes the class of modules in place. What they compute stays what it was;
checkpoints, names and types (`isinstance`) are untouched, and elsewhere than on a CPU every one
of them does what its original does.

- Linear layers in bf16: the bias inside the product, one product for query, key and value, and
  weight gradients from an explicitly transposed operand, which halves the time of the products the
  CPU is slowest at. `held_weights` keeps the bf16 weights between batches and calls of inference.
- In bf16 inference BERT's ``gelu(dense(x))`` in one pass. Where the kernels are compiled, its
  layers run as wholes instead (`simcse_kit.compute.whole_layers`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from transformers.activations import GELUActivation

from simcse_kit.compute.held import narrowed, operand, products_in_bf16
from simcse_kit.compute.kernels import kernels
from simcse_kit.compute.taught import Taught, teach
from simcse_kit.compute.unaltered import are_unaltered, is_of

#: Backbones built as BERT is: the same parts by the same names.
FAMILIES = ("Bert", "Roberta", "XLMRoberta", "Electra")
#: Modules with ``dense`` and ``intermediate_act_fn``, one after the other.
_INTERMEDIATES = tuple(f"{family}Intermediate" for family in FAMILIES)

#: Names of the linear layers of an attention module that read the same input.
_PROJECTIONS = (("query", "key", "value"), ("q_lin", "k_lin", "v_lin"))


def use_fast_layers(backbone: nn.Module) -> None:
    """Replace a backbone's linear and intermediate layers in place."""
    for module in backbone.modules():
        kind = type(module)
        if kind is nn.Linear:
            module.__class__ = FastLinear
        elif is_of(module, _INTERMEDIATES):
            teach(module, _Intermediate)
    for module in backbone.modules():
        for names in _PROJECTIONS:
            layers = [getattr(module, name, None) for name in names]
            inputs = {getattr(layer, "in_features", None) for layer in layers}
            # MobileBERT's value reads another input, as wide as it likes
            if len(inputs) == 1 and all(type(layer) is FastLinear for layer in layers):
                together = _Siblings(cast(list[FastLinear], layers))
                for layer in together.layers:
                    layer.siblings = together


def in_bf16(states: Tensor) -> bool:
    """Whether a layer on a CPU is to compute in bf16 now."""
    return (
        states.device.type == "cpu"
        and torch.is_autocast_enabled("cpu")
        and torch.get_autocast_dtype("cpu") == torch.bfloat16
    )


class FastLinear(nn.Linear):
    """`nn.Linear`; in bf16 training on a CPU through `_Bf16Linears`."""

    siblings: _Siblings | None = None

    def forward(self, input: Tensor) -> Tensor:
        """``(…, in_features)`` to ``(…, out_features)``, bf16 under CPU autocast."""
        if not in_bf16(input):
            return super().forward(input)
        if self.siblings is not None and self.siblings.are_plain():
            return self.siblings.product(self, input)
        return _products(input, [self])[0]


def _products(input: Tensor, layers: Sequence[nn.Linear]) -> tuple[Tensor, ...]:
    """What these layers make of the same input, by one product in bf16."""
    weights, biases = [layer.weight for layer in layers], [layer.bias for layer in layers]
    if torch.is_grad_enabled():
        return cast(tuple[Tensor, ...], _Bf16Linears.apply(input, len(layers), *weights, *biases))
    states = input.to(torch.bfloat16).reshape(-1, input.shape[-1])
    bias = None if biases[0] is None else narrowed(biases)
    product = linear(states, operand(weights, torch.bfloat16, packed=True), bias).view(
        *input.shape[:-1], -1
    )
    return product.split([layer.out_features for layer in layers], dim=-1)


class _Siblings:
    """Linear layers that read the same input (query, key, value): one product serves them all.

    The first that is asked computes for all; the others find theirs waiting, if they are asked
    with that very tensor. Input and products are one attribute, so that threads that share a
    model cannot take each other's.
    """

    def __init__(self, layers: Sequence[FastLinear]) -> None:
        self.layers = tuple(layers)
        self.waiting: tuple[Tensor | None, dict[FastLinear, Tensor]] = (None, {})

    def are_plain(self) -> bool:
        """Whether one product may stand for all: a layer with a hook must be asked itself."""
        return are_unaltered(self.layers) and all(
            type(each) is FastLinear and isinstance(each.weight, nn.Parameter)
            for each in self.layers
        )

    def product(self, layer: FastLinear, input: Tensor) -> Tensor:
        of, waiting = self.waiting
        if of is not input or layer not in waiting:
            products = _products(input, self.layers)
            waiting = dict(zip(self.layers, products, strict=True))
            self.waiting = input, waiting
        product = waiting.pop(layer)
        if not waiting:
            self.waiting = None, {}
        return product


class _Bf16Linears(torch.autograd.Function):
    """``Y = X Wᵀ + b`` for one or several ``W, b`` stacked; gives the parts of ``Y``.

    Backward: ``dX = dY W``, ``dW = dYᵀ X``, ``db = Σ dY``, the latter two in fp32.
    """

    @staticmethod
    def forward(ctx: Any, input: Tensor, count: int, *parameters: Tensor | None) -> Any:
        weights = cast(tuple[Tensor, ...], parameters[:count])
        biases = [bias for bias in parameters[count:] if bias is not None]
        states = input.to(torch.bfloat16).reshape(-1, input.shape[-1])
        weight, bias = narrowed(weights), narrowed(biases) if biases else None
        ctx.save_for_backward(states, weight)
        ctx.input_type, ctx.count, ctx.has_bias = input.dtype, count, bool(biases)
        ctx.sizes = [len(each) for each in weights]
        product = linear(states, weight, bias).view(*input.shape[:-1], -1)
        return product.split(ctx.sizes, dim=-1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Any:
        states, weight = ctx.saved_tensors  # once, as checkpointing wants
        back = _side_by_side([grad.reshape(-1, grad.shape[-1]) for grad in grads])
        d_input = None
        if ctx.needs_input_grad[0]:
            d_input = (back @ weight).to(ctx.input_type).view(*grads[0].shape[:-1], -1)
        d_weights: Sequence[Tensor | None] = [None] * ctx.count
        d_biases = d_weights
        if any(ctx.needs_input_grad[2:]):
            d_weights = weight_gradient(back, states).split(ctx.sizes)
            if ctx.has_bias:
                ops = kernels()
                sums = ops.column_sums(back) if ops else back.sum(0, dtype=torch.float32)
                d_biases = sums.split(ctx.sizes)
        return d_input, None, *d_weights, *d_biases


def _side_by_side(parts: Sequence[Tensor]) -> Tensor:
    """Matrices ``(tokens, width)`` beside each other, contiguous; no copy where they lie so."""
    first, width = parts[0], sum(part.shape[1] for part in parts)
    place = first.storage_offset()
    for part in parts:
        if (
            part.stride() != (width, 1)
            or part.storage_offset() != place
            or part.untyped_storage().data_ptr() != first.untyped_storage().data_ptr()
        ):
            return torch.cat(list(parts), dim=1)
        place += part.shape[1]
    return first.as_strided((len(first), width), (width, 1), first.storage_offset())


def linear(states: Tensor, weight: Tensor, bias: Tensor | None, activation: str = "none") -> Tensor:
    """``F.linear`` (and GELU); in bf16 oneDNN does inside the product what torch does after it.

    Args:
        weight: ``(out, in)``, plain or in oneDNN's layout (`held.operand`).
    """
    narrow = states.dtype == torch.bfloat16 and products_in_bf16()
    if weight.is_mkldnn or (narrow and bias is not None):
        fused: Tensor = torch.ops.mkldnn._linear_pointwise(
            states, weight, bias, activation, [], "none"
        )
        return fused
    product = F.linear(states, weight, bias)
    return F.gelu(product) if activation == "gelu" else product


def weight_gradient(back: Tensor, states: Tensor) -> Tensor:
    """``dYᵀ X`` in fp32 ``(out, in)``, of ``dY`` ``(tokens, out)`` and ``X`` ``(tokens, in)``.

    A bf16 product whose left operand lies transposed in memory runs at half speed here, so the
    narrower operand is transposed first.
    """
    ops = kernels() if back.dtype == torch.bfloat16 else None
    if ops is None:
        return (back.t() @ states).float()
    if back.shape[1] <= states.shape[1]:
        return (ops.transposed(back, False) @ states).float()
    turned: Tensor = ops.transposed(ops.transposed(states, False) @ back, True)
    return turned


class _Intermediate(Taught):
    """Mixed in before BERT's ``Intermediate`` (and its copies)."""

    dense: nn.Linear
    intermediate_act_fn: nn.Module

    def forward(self, hidden_states: Tensor) -> Tensor:
        """``act(dense(hidden_states))``."""
        exact = type(self.intermediate_act_fn) is GELUActivation and are_unaltered(self.children())
        fast = exact and self.dense.bias is not None and in_bf16(hidden_states)
        if torch.is_grad_enabled() or not fast:
            unchanged: Tensor = super().forward(hidden_states)
            return unchanged
        states = hidden_states.to(torch.bfloat16).reshape(-1, hidden_states.shape[-1])
        weight = operand([self.dense.weight], torch.bfloat16, packed=True)
        narrow = weight, narrowed([self.dense.bias])
        return linear(states, *narrow, "gelu").view(*hidden_states.shape[:-1], -1)
