"""A BERT layer as one function, against Hugging Face's own layers and a float64 definition."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from transformers import AutoModel

from recomputing import recompute_layers
from simcse_kit.compute import attention, dropout, fast_layers, layer_training, whole_layers
from simcse_kit.compute.fast_layers import use_fast_layers
from simcse_kit.compute.kernels import build as kernels
from simcse_kit.compute.last_layer import first_token_states, use_early_end
from simcse_kit.compute.packing import PackedBatch, enable_packing
from simcse_kit.compute.states import hidden_states
from simcse_kit.compute.whole_layers import use_whole_layers

ops = kernels.kernels()
compiled = pytest.mark.skipif(ops is None, reason="no C++ compiler here: torch's operators run")

FAMILIES = ("bert", "roberta", "xlm-roberta", "electra")
BATCH = PackedBatch.from_sequences([[5, 6, 7, 8], [9, 10], [11] * 21, [7, 7], [5], [6] * 17])


def both(folder, rate=0.0):
    """A backbone as it is, padded, and a packed copy whose layers train as one function."""
    plain = AutoModel.from_pretrained(folder, attn_implementation="eager").train()
    for module in plain.modules():
        if isinstance(module, nn.Dropout):
            module.p = rate
    whole = copy.deepcopy(plain)
    enable_packing(whole)
    use_fast_layers(whole)
    use_early_end(whole)
    use_whole_layers(whole)
    return plain, whole


@pytest.fixture
def calls(monkeypatch):
    """How often a layer went the fast way."""
    made = []
    apply = layer_training.LayerTraining.apply

    def counted(*args):
        made.append(args[0].dtype)
        return apply(*args)

    monkeypatch.setattr(layer_training.LayerTraining, "apply", counted)
    return made


def outcome(backbone, first_only, bf16=False):
    """Output and gradients, flat, of a sum in which every number has a weight of its own."""
    backbone.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16):
        if first_only:
            states = first_token_states(backbone, BATCH)
        else:
            (states,) = hidden_states(backbone, BATCH)
    (states.float() * torch.linspace(-1, 1, states.numel()).view(states.shape)).sum().backward()
    grads = [
        torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten()
        for name, p in backbone.named_parameters()
        if "pooler" not in name
    ]
    return states.detach().float().flatten(), torch.cat(grads)


@compiled
@pytest.mark.parametrize("first_only", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_output_and_gradients_are_the_originals(tiny_encoder, calls, family, first_only):
    plain, whole = both(tiny_encoder(family))
    exact = outcome(plain, first_only)
    for got, expected in zip(outcome(whole, first_only), exact, strict=True):
        assert (got - expected).norm() <= 1e-5 * expected.norm()
    assert len(calls) == whole.config.num_hidden_layers
    for got, autocast, expected in zip(
        outcome(whole, first_only, bf16=True),
        outcome(plain, first_only, bf16=True),
        exact,
        strict=True,
    ):
        assert (got - expected).norm() <= 2 * (autocast - expected).norm()


def by_definition(x, weights, masks, lengths, heads, eps):
    """`LayerTraining` in float64, sequence by sequence, with the masks it drew."""
    q, k, v, out, up, down = zip(weights[:12:2], weights[1:12:2], strict=True)
    (gain1, shift1), (gain2, shift2) = weights[12:14], weights[14:]
    attended, begin = [], 0
    for length, mask in zip(lengths, masks["attention"], strict=True):
        rows = x[begin : begin + length]
        parts = [
            F.linear(rows, *each).unflatten(1, (heads, -1)).transpose(0, 1) for each in (q, k, v)
        ]
        scores = parts[0] @ parts[1].transpose(1, 2) / parts[0].shape[-1] ** 0.5
        states = (scores.softmax(-1) * mask) @ parts[2]
        attended.append(states.transpose(0, 1).flatten(1))
        begin += length
    width = x.shape[1:]
    branch = F.linear(torch.cat(attended), *out) * masks["out"]
    h = F.layer_norm(x + branch, width, gain1, shift1, eps)
    branch = F.linear(F.gelu(F.linear(h, *up)), *down) * masks["down"]
    return F.layer_norm(h + branch, width, gain2, shift2, eps)


@compiled
def test_with_dropout_it_is_its_definition_there_and_back(tiny_encoder, monkeypatch):
    rate, seeds = 0.3, {"attention": 11, "out": 12, "down": 13}
    _, whole = both(tiny_encoder("bert"), rate)
    layer = whole.encoder.layer[0]
    lengths, heads = [1, 3, 17], layer.attention.self.num_attention_heads
    tokens, width = sum(lengths), whole.config.hidden_size
    drawn = iter(seeds.values())
    monkeypatch.setattr(layer_training, "draw_seed", lambda: next(drawn))
    x = torch.randn(tokens, width, generator=torch.manual_seed(1)).requires_grad_()
    batch = PackedBatch.from_sequences([[5] * length for length in lengths])
    shape = layer._shape(batch, torch.float32)
    given = list(layer._weights())
    y = layer_training.LayerTraining.apply(x, None, shape, *given)
    grad = torch.randn(tokens, width)
    y.backward(grad)

    ones, zeros = torch.ones(tokens, width), torch.zeros(tokens, heads, width // heads)
    masks = {name: ops.dropout(ones, seeds[name], rate).double() for name in ("out", "down")}
    stored = ops.attention(*[zeros] * 3, torch.tensor(lengths), 11, rate, 1.0, tokens)[1]
    parts = stored.split([heads * n * n for n in lengths])  # a row a key, negative where dropped
    masks["attention"] = [
        (part.view(heads, n, n).transpose(1, 2) > 0).double() / (1 - rate)
        for n, part in zip(lengths, parts, strict=True)
    ]
    exact = [each.detach().double().requires_grad_() for each in (x, *given)]
    expected = by_definition(exact[0], exact[1:], masks, lengths, heads, shape.eps)
    expected.backward(grad.double())
    torch.testing.assert_close(y.double(), expected, atol=1e-5, rtol=1e-5)
    for found, wanted in zip((x, *given), exact, strict=True):
        torch.testing.assert_close(found.grad.double(), wanted.grad, atol=1e-4, rtol=1e-4)


@compiled
@pytest.mark.parametrize("bf16", [False, True])
def test_checkpointing_recomputes_with_the_same_dropout(tiny_encoder, calls, bf16):
    _, whole = both(tiny_encoder("bert"), 0.2)
    found = []
    for checkpointing in (False, True):
        if checkpointing:
            recompute_layers(whole)
        torch.manual_seed(5)
        found.append(outcome(whole, first_only=True, bf16=bf16))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, atol=0, rtol=0)
    assert len(calls) == 3 * whole.config.num_hidden_layers  # a second time in the way back


@compiled
def test_frozen_layers_pass_the_gradient_on(tiny_encoder):
    plain, whole = both(tiny_encoder("bert"))
    for backbone in (plain, whole):
        backbone.encoder.layer[1].requires_grad_(False)
    for got, expected in zip(outcome(whole, False), outcome(plain, False), strict=True):
        torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-4)
    assert all(p.grad is None for p in whole.encoder.layer[1].parameters())


class _Adapter(nn.Linear):
    """What a library for adapters puts in a linear layer's place."""


def _hook(layer):
    layer.output.dense.register_forward_hook(lambda module, args, output: output)


def _adapter(layer):
    layer.attention.self.query.__class__ = _Adapter


def _activation(layer):
    layer.intermediate.intermediate_act_fn = nn.ReLU()


def _half(layer):
    layer.output.dense.to(torch.bfloat16)


def _uneven(layer):
    layer.output.dropout.p = 0.25


@compiled
@pytest.mark.parametrize("change", [_hook, _adapter, _activation, _half, _uneven])
def test_an_unusual_layer_goes_its_original_way(tiny_encoder, calls, change):
    _, whole = both(tiny_encoder("bert"))
    change(whole.encoder.layer[0])
    outcome(whole, False, bf16=True)
    assert len(calls) == whole.config.num_hidden_layers - 1


def test_padded_batches_and_those_without_gradients_go_the_original_way(tiny_encoder, calls):
    _, whole = both(tiny_encoder("bert"))
    with torch.no_grad():
        hidden_states(whole, BATCH)
    ids, mask = BATCH.padded(0)
    whole(input_ids=ids, attention_mask=mask).last_hidden_state.sum().backward()
    assert not calls


def test_without_a_compiler_torch_takes_over(tiny_encoder, monkeypatch, calls):
    plain, whole = both(tiny_encoder("bert"))
    for module in (attention, dropout, fast_layers, layer_training, whole_layers):
        monkeypatch.setattr(module, "kernels", lambda: None)
    monkeypatch.setattr(attention, "built_kernels", lambda: None)
    for got, expected in zip(outcome(whole, True), outcome(plain, True), strict=True):
        assert (got - expected).norm() <= 1e-5 * expected.norm()
    assert not calls


def test_applied_twice_is_applied_once(tiny_encoder):
    _, whole = both(tiny_encoder("bert"))
    kinds = [type(module) for module in whole.modules()]
    use_whole_layers(whole)
    assert [type(module) for module in whole.modules()] == kinds


@compiled
@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("first_only", [False, True])
def test_long_texts_without_dropout_go_torch_s_way(tiny_encoder, monkeypatch, first_only, bf16):
    plain, whole = both(tiny_encoder("bert"))
    before = outcome(whole, first_only, bf16)
    called = []
    by_length = attention._by_length
    monkeypatch.setattr(
        attention, "_by_length", lambda *args: (called.append(1), by_length(*args))[1]
    )
    monkeypatch.setattr(attention, "_LONG", 17)
    found, expected = outcome(whole, first_only, bf16), outcome(plain, first_only)
    assert len(called) == 3
    for one, other, usual in zip(found, expected, before, strict=True):
        if bf16:
            assert (one - other).norm() <= 1.5 * (usual - other).norm()
        else:
            torch.testing.assert_close(one, other, atol=2e-4, rtol=1e-3)


@compiled
def test_long_texts_with_dropout_stay_whole(tiny_encoder, monkeypatch):
    _, whole = both(tiny_encoder("bert"), rate=0.1)
    monkeypatch.setattr(attention, "_LONG", 2)
    monkeypatch.setattr(attention, "_by_length", lambda *args: pytest.fail("torch's way"))
    outcome(whole, False)
