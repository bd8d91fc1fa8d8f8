"""One product of a linear layer, whether or not the processor has bf16 products."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from simcse_kit.compute import fast_layers, held
from simcse_kit.compute.fast_layers import linear

NATIVE = held.products_in_bf16()
CASES = list(itertools.product((torch.float32, torch.bfloat16), (True, False), ("none", "gelu")))


def operands(dtype: torch.dtype, with_bias: bool) -> tuple[Tensor, Tensor, Tensor | None]:
    drawn = torch.Generator().manual_seed(3)
    states, weight = (torch.randn(rows, 32, generator=drawn) for rows in (7, 24))
    bias = torch.randn(24, generator=drawn).to(dtype) if with_bias else None
    return states.to(dtype), weight.to(dtype) / 6, bias


def expected(states: Tensor, weight: Tensor, bias: Tensor | None, activation: str) -> Tensor:
    """The same product in float64."""
    wide = None if bias is None else bias.double()
    product = states.double() @ weight.double().t() + (0 if wide is None else wide)
    return F.gelu(product) if activation == "gelu" else product


@pytest.mark.parametrize("native", sorted({False, NATIVE}))
@pytest.mark.parametrize(("dtype", "with_bias", "activation"), CASES)
def test_a_product_is_that_of_its_operands(
    monkeypatch: pytest.MonkeyPatch,
    native: bool,
    dtype: torch.dtype,
    with_bias: bool,
    activation: str,
) -> None:
    monkeypatch.setattr(fast_layers, "products_in_bf16", lambda: native)
    given = operands(dtype, with_bias)
    product = linear(*given, activation)
    assert product.dtype == dtype
    close = 1e-5 if dtype == torch.float32 else 2e-2  # bf16 holds 8 bits
    torch.testing.assert_close(
        product.double(), expected(*given, activation), atol=close, rtol=close
    )
    if not native and activation == "none":
        assert torch.equal(product, F.linear(*given))


def test_without_bf16_products_onednn_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(*_: Any) -> Tensor:
        raise RuntimeError("mkldnn_bf16_gemm needs the cpu support avx512")

    monkeypatch.setattr(torch.ops.mkldnn, "_linear_pointwise", refuses, raising=False)
    monkeypatch.setattr(fast_layers, "products_in_bf16", lambda: False)
    states, weight, bias = operands(torch.bfloat16, True)
    assert torch.equal(linear(states, weight, bias), F.linear(states, weight, bias))


@pytest.mark.parametrize(("dtype", "with_bias", "activation"), CASES)
def test_with_them_it_does_bias_and_gelu_too(
    monkeypatch: pytest.MonkeyPatch, dtype: torch.dtype, with_bias: bool, activation: str
) -> None:
    """Only where all three are bf16 and there is a bias; a stand-in for what this CPU may lack."""
    asked: list[str] = []

    def pointwise(
        states: Tensor, weight: Tensor, bias: Tensor, how: str, scalars: list[Any], kind: str
    ) -> Tensor:
        asked.append(how)
        assert (scalars, kind) == ([], "none")
        return expected(states, weight, bias, how).to(states.dtype)

    monkeypatch.setattr(torch.ops.mkldnn, "_linear_pointwise", pointwise, raising=False)
    monkeypatch.setattr(fast_layers, "products_in_bf16", lambda: True)
    given = operands(dtype, with_bias)
    product = linear(*given, activation)
    assert asked == ([activation] if with_bias and dtype == torch.bfloat16 else [])
    close = 1e-5 if dtype == torch.float32 else 2e-2
    torch.testing.assert_close(
        product.double(), expected(*given, activation), atol=close, rtol=close
    )


def test_it_is_torch_that_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    ask = held.products_in_bf16.__wrapped__
    for supported in (True, False):
        monkeypatch.setattr(
            torch.ops.mkldnn, "_is_mkldnn_bf16_supported", lambda yes=supported: yes, raising=False
        )
        assert ask() is (supported and torch.backends.mkldnn.is_available())
    monkeypatch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
    assert ask() is False  # a torch that was built without it
