"""What `encode` keeps of weights between calls is never of other weights than the encoder has."""

from __future__ import annotations

import copy
import gc

import numpy as np
import pytest
import torch
from torch import nn

from simcse_kit import SentenceEncoder
from simcse_kit.compute import held

TEXTS = ["A man plays.", "Two women walk in the park.", "rain"]


@pytest.fixture(scope="module")
def folder(tiny_encoder):
    return tiny_encoder("bert")


@pytest.fixture
def encoder(folder):
    return SentenceEncoder.from_pretrained(folder, pooling="mean", precision="bf16")


def query_of(encoder):
    return encoder.backbone.encoder.layer[0].attention.self.query


def by_optimizer(encoder):
    encoder.train()
    optimizer = torch.optim.SGD(encoder.parameters(), lr=0.1)
    for parameter in encoder.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    encoder.eval()


def in_place(encoder):
    with torch.no_grad():
        query_of(encoder).weight.mul_(1.5)


def in_inference_mode(encoder):
    with torch.inference_mode():
        query_of(encoder).weight.mul_(1.5)


def through_data(encoder):
    query_of(encoder).weight.data.mul_(1.5)


def other_data(encoder):
    query_of(encoder).weight.data = query_of(encoder).weight.data * 1.5


def other_data_often(encoder):
    """The memory of one that was given up may be that of the next."""
    for _ in range(4):
        query_of(encoder).weight.data = query_of(encoder).weight.data * 1.2


def through_numpy(encoder):
    query_of(encoder).weight.detach().numpy()[:] *= 1.5


def other_parameter(encoder):
    query_of(encoder).weight = nn.Parameter(query_of(encoder).weight.detach() * 1.5)


def other_layer(encoder):
    layer = copy.deepcopy(query_of(encoder))
    with torch.no_grad():
        layer.bias.add_(1.0)
    encoder.backbone.encoder.layer[0].attention.self.query = layer


def by_state(encoder):
    state = {name: value * 1.5 for name, value in encoder.backbone.state_dict().items()}
    encoder.backbone.load_state_dict(state)


def a_hook(encoder):
    query_of(encoder).register_forward_hook(lambda _, __, states: states * 1.5)


def a_hook_everywhere(encoder):
    def change(module, _, states):
        return states * 1.5 if module is query_of(encoder) else None

    encoder.everywhere = nn.modules.module.register_module_forward_hook(change)


def other_forward(encoder):
    layer = query_of(encoder)
    layer.forward = lambda states: nn.functional.linear(states, layer.weight * 1.5, layer.bias)


def other_class(encoder):
    class Half(type(query_of(encoder))):
        def forward(self, input):
            return super().forward(input) / 2

    query_of(encoder).__class__ = Half


def in_embeddings(encoder):
    encoder.backbone.embeddings.LayerNorm.register_forward_hook(lambda _, __, x: x * 1.5)


CHANGES = [
    *(by_optimizer, in_place, in_inference_mode, through_data, other_data, other_data_often),
    *(through_numpy, other_parameter, other_layer, by_state),
    *(a_hook, other_forward, other_class, in_embeddings),
]


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("change", CHANGES)
def test_a_changed_weight_is_seen(encoder, change, precision):
    before = encoder.encode(TEXTS, precision=precision)
    change(encoder)
    after = encoder.encode(TEXTS, precision=precision)
    held._kept.clear()
    fresh = encoder.encode(TEXTS, precision=precision)
    assert np.array_equal(after, fresh)
    assert not np.array_equal(after, before)


def test_a_hook_on_every_module_is_seen(encoder):
    before = encoder.encode(TEXTS)
    a_hook_everywhere(encoder)
    try:
        after = encoder.encode(TEXTS)
    finally:
        encoder.everywhere.remove()
    assert not np.array_equal(after, before)
    assert np.array_equal(encoder.encode(TEXTS), before)


def test_what_is_made_of_weights_serves_the_next_call(encoder):
    encoder.encode(TEXTS)
    made = dict(held._kept[encoder].made)
    assert made
    found = dict(held._kept[encoder].found)
    assert [module for module, _ in found] == [encoder.backbone]  # for all of its layers
    encoder.encode(TEXTS[:1])
    assert held._kept[encoder].found == found
    assert held._kept[encoder].made == made  # of tensors: the very same
    encoder.encode(TEXTS, precision="fp32")  # stands beside it
    assert held._kept[encoder].made.items() >= made.items()


def test_nothing_is_kept_while_it_trains(encoder):
    encoder.encode(TEXTS)
    assert encoder in held._kept
    encoder.train()
    assert encoder not in held._kept
    encoder.encode(TEXTS)
    assert encoder.training
    assert encoder not in held._kept


def test_nothing_is_kept_of_weights_that_cannot_be_watched(encoder):
    """Those in half precision, and those made in inference mode: torch counts no changes there."""
    encoder.backbone.bfloat16()
    encoder.encode(TEXTS)
    assert encoder not in held._kept


def test_nothing_is_kept_without_its_encoder(folder):
    encoder = SentenceEncoder.from_pretrained(folder, pooling="mean", precision="bf16")
    encoder.encode(TEXTS)
    before = len(held._kept)
    del encoder
    gc.collect()
    assert len(held._kept) == before - 1


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_layout_of_onednn_multiplies_as_the_matrix_does(dtype):
    from simcse_kit.compute.fast_layers import linear

    drawn = torch.Generator().manual_seed(1)
    layers = [nn.Linear(40, width) for width in (24, 56)]
    weights, biases = [each.weight for each in layers], [each.bias for each in layers]
    for rows in (1, 7, 300):
        states = torch.randn(rows, 40, generator=drawn).to(dtype)
        with torch.inference_mode(), held.held_weights():
            weight = held.operand(weights, dtype, packed=True)
            assert weight.is_mkldnn == held._has_layout(dtype)
            found = linear(states, weight, held.operand(biases, dtype)).double()
        exact = states.double() @ torch.cat(weights).double().t() + torch.cat(biases).double()
        close = 1e-5 if dtype == torch.float32 else 2e-2
        torch.testing.assert_close(found, exact, atol=close, rtol=close)
