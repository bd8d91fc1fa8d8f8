"""An encoder's own layers, computed faster while training on a CPU: same names, same weights.

`use_fast_layers` changes the class of modules in place. What they compute stays what it was;
checkpoints, names and types (`isinstance`) are untouched, and outside CPU training every one of
them does what its original does.

- Linear layers in bf16: the bias inside the product, and weight gradients from an explicitly
  transposed operand, which halves the time of the products the CPU is slowest at.
- BERT's ``norm(dropout(dense(x)) + residual)`` in one pass, and in bf16 from there on: under
  autocast torch would carry this stream in fp32 and cast it at every linear layer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F

from simcse_kit.dropout import draw_seed, use_fast_dropout
from simcse_kit.kernels import COMPILED_TYPES, kernels

#: Modules with ``dense``, ``dropout`` and ``LayerNorm`` whose forward is
#: ``LayerNorm(dropout(dense(hidden_states)) + input_tensor)``.
_RESIDUAL_NORMS = tuple(
    family + part
    for family in ("Bert", "Roberta", "XLMRoberta", "Electra")
    for part in ("SelfOutput", "Output")
)

#: Names of the linear layers of an attention module that read the same input.
_PROJECTIONS = (("query", "key", "value"), ("q_lin", "k_lin", "v_lin"))


def use_fast_layers(backbone: nn.Module) -> None:
    """Replace a backbone's dropout, linear and residual-norm layers in place, for training."""
    use_fast_dropout(backbone)
    for module in backbone.modules():
        if type(module) is nn.Linear:
            module.__class__ = FastLinear
        elif type(module).__name__ in _RESIDUAL_NORMS:
            module.__class__ = type(
                type(module).__name__, (_ResidualNorm, type(module)), {"__module__": __name__}
            )
    for module in backbone.modules():
        for names in _PROJECTIONS:
            layers = [getattr(module, name, None) for name in names]
            if all(type(layer) is FastLinear for layer in layers):
                together = _Siblings(cast(list[FastLinear], layers))
                for layer in together.layers:
                    layer.siblings = together


def _trains_on_cpu(states: Tensor) -> bool:
    return states.device.type == "cpu" and torch.is_grad_enabled()


class FastLinear(nn.Linear):
    """`nn.Linear`; in bf16 training on a CPU through `_Bf16Linears`."""

    siblings: _Siblings | None = None

    def forward(self, input: Tensor) -> Tensor:
        """``(…, in_features)`` to ``(…, out_features)``, bf16 under CPU autocast."""
        if (
            _trains_on_cpu(input)
            and torch.is_autocast_enabled("cpu")
            and torch.get_autocast_dtype("cpu") == torch.bfloat16
        ):
            if self.siblings is not None:
                return self.siblings.product(self, input)
            (product,) = _Bf16Linears.apply(input, 1, self.weight, self.bias)
            return cast(Tensor, product)
        return super().forward(input)


class _Siblings:
    """Linear layers that read the same input (query, key, value): one product serves them all.

    The first that is asked computes for all; the others find theirs waiting, if they are asked
    with that very tensor.
    """

    def __init__(self, layers: Sequence[FastLinear]) -> None:
        self.layers = tuple(layers)
        self.input: Tensor | None = None
        self.waiting: dict[FastLinear, Tensor] = {}

    def product(self, layer: FastLinear, input: Tensor) -> Tensor:
        if input is not self.input or layer not in self.waiting:
            parameters = [
                *(layer.weight for layer in self.layers),
                *(layer.bias for layer in self.layers),
            ]
            products = _Bf16Linears.apply(input, len(self.layers), *parameters)
            self.input = input
            self.waiting = dict(zip(self.layers, products, strict=True))
        product = self.waiting.pop(layer)
        if not self.waiting:
            self.input = None
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
        weight = torch.cat([each.to(torch.bfloat16) for each in weights])
        bias = torch.cat(biases).to(torch.bfloat16) if biases else None
        ctx.save_for_backward(states, weight)
        ctx.input_type, ctx.count, ctx.has_bias = input.dtype, count, bool(biases)
        ctx.sizes = [len(each) for each in weights]
        product = _product(states, weight, bias).view(*input.shape[:-1], -1)
        return product.split(ctx.sizes, dim=-1)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: Tensor) -> Any:
        states, weight = ctx.saved_tensors
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


def _product(states: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """``F.linear``, with oneDNN adding the bias where torch's own call adds it in a second pass."""
    if bias is not None and torch.backends.mkldnn.is_available():
        fused: Tensor = torch.ops.mkldnn._linear_pointwise(states, weight, bias, "none", [], "")
        return fused
    return F.linear(states, weight, bias)


def weight_gradient(back: Tensor, states: Tensor) -> Tensor:
    """``dYᵀ X`` in fp32 ``(out, in)``, of bf16 ``dY`` ``(tokens, out)`` and ``X`` ``(tokens, in)``.

    A product whose left operand lies transposed in memory runs at half speed here, so the
    narrower operand is transposed first.
    """
    ops = kernels()
    if ops is None:
        return (back.t() @ states).float()
    if back.shape[1] <= states.shape[1]:
        return (ops.transposed(back, False) @ states).float()
    turned: Tensor = ops.transposed(ops.transposed(states, False) @ back, True)
    return turned


class _ResidualNorm(nn.Module):
    """Mixed in before BERT's ``SelfOutput`` and ``Output`` (and their copies)."""

    dense: nn.Linear
    dropout: nn.Dropout
    LayerNorm: nn.LayerNorm

    def forward(self, hidden_states: Tensor, input_tensor: Tensor) -> Tensor:
        """``LayerNorm(dropout(dense(hidden_states)) + input_tensor)``."""
        fast = _trains_on_cpu(hidden_states) and hidden_states.dtype in COMPILED_TYPES
        if not fast or kernels() is None or self.LayerNorm.weight.dtype != torch.float32:
            unchanged: Tensor = super().forward(hidden_states, input_tensor)
            return unchanged
        states = self.dense(hidden_states)
        rate = self.dropout.p if self.training else 0.0
        normed: Tensor = _DropoutAddNorm.apply(
            states,
            input_tensor.to(states.dtype),
            self.LayerNorm.weight,
            self.LayerNorm.bias,
            rate,
            self.LayerNorm.eps,
        )
        return normed


class _DropoutAddNorm(torch.autograd.Function):
    """``norm(dropout(x) + residual)`` and its gradients by the compiled kernel."""

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, residual: Tensor, weight: Tensor, bias: Tensor, rate: float, eps: float
    ) -> Tensor:
        flat = x.reshape(-1, x.shape[-1]).contiguous()
        skip = residual.reshape(flat.shape).contiguous()
        ctx.rate, ctx.seed = rate, draw_seed() if rate > 0 else None
        out, total, stats = kernels().dropout_add_norm(
            flat, skip, ctx.seed, rate, weight, bias, eps
        )
        ctx.save_for_backward(total, stats, weight)
        normed: Tensor = out.view(x.shape)
        return normed

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Any:
        total, stats, weight = ctx.saved_tensors
        found = kernels().dropout_add_norm_backward(
            grad.reshape(total.shape).contiguous(), total, stats, ctx.seed, ctx.rate, weight
        )
        d_x, d_residual, d_weight, d_bias = found
        return d_x.view(grad.shape), d_residual.view(grad.shape), d_weight, d_bias, None, None
