"""Every assumption of the fast ways, broken one by one: the result stays Hugging Face's."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, parametrize, prune
from transformers import AutoModel
from transformers.models.bert import modeling_bert

from families import build
from simcse_kit.compute.fast_layers import use_fast_layers
from simcse_kit.compute.held import held_weights, narrowed
from simcse_kit.compute.last_layer import first_token_states, use_early_end
from simcse_kit.compute.packing import PackedBatch, enable_packing
from simcse_kit.compute.unaltered import are_unaltered
from simcse_kit.compute.whole_layers import use_whole_layers

BATCH = PackedBatch.from_sequences([[5, 6, 7, 8], [9, 10], [11] * 21, [7, 7], [5], [6] * 17])
LAYER = "encoder.layer.1"


class Halved(nn.Module):
    def forward(self, weight):
        return weight / 2


class BertLayer(modeling_bert.BertLayer):
    """A class of the known name that computes something else."""

    def forward(self, hidden_states, *args, **kwargs):
        return super().forward(hidden_states, *args, **kwargs) * 0.5


class DoubledLinear(nn.Linear):
    def forward(self, input):
        return super().forward(input) * 2


class Shifted(nn.GELU):
    def forward(self, input):
        return super().forward(input) + 0.1


def doubled(place):
    """An instance's own `forward`, as accelerate's and peft's wrappers set it."""

    def change(model):
        module = model.get_submodule(place)
        forward = module.forward

        def twice(*args, **kwargs):
            output = forward(*args, **kwargs)
            return (output[0] * 2, *output[1:]) if isinstance(output, tuple) else output * 2

        module.forward = twice

    return change


def hooked(place, kind="forward_hook"):
    def change(model):
        def double(module, args, output=None):
            if output is None:
                return (args[0] * 2, *args[1:])
            return (output[0] * 2, *output[1:]) if isinstance(output, tuple) else output * 2

        getattr(model.get_submodule(place), f"register_{kind}")(double)

    return change


def pruned(place):
    return lambda model: prune.l1_unstructured(model.get_submodule(place), "weight", amount=0.6)


def weight_normed(place):
    def change(model):
        parametrizations.weight_norm(model.get_submodule(place))
        with torch.no_grad():
            model.get_submodule(place).parametrizations.weight.original0.mul_(1.5)

    return change


def parametrised(place):
    def change(model):
        parametrize.register_parametrization(model.get_submodule(place), "weight", Halved())

    return change


def normed_as_before(place):
    """weight_norm as it was: a hook that writes a temporary into `weight`."""

    def change(model):
        module = torch.nn.utils.weight_norm(model.get_submodule(place))
        with torch.no_grad():
            module.weight_g.mul_(1.5)

    return change


def of_own_linear(place):
    return lambda model: setattr(model.get_submodule(place), "__class__", DoubledLinear)


def of_class(place, kind):
    def change(model):
        model.get_submodule(place).__class__ = kind

    return change


def other_activation(model):
    model.get_submodule(f"{LAYER}.intermediate").intermediate_act_fn = Shifted()


CHANGES = {
    f"{name} {place}": kind(f"{LAYER}.{place}")
    for name, kind in {
        "pruned": pruned,
        "weight norm": weight_normed,
        "parametrised": parametrised,
        "weight norm as before": normed_as_before,
        "a linear layer of one's own": of_own_linear,
    }.items()
    for place in ("attention.self.query", "attention.self.value", "intermediate.dense")
}
CHANGES |= {
    f"own forward {place}": doubled(f"{LAYER}.{place}")
    for place in (
        *("attention", "attention.self", "attention.self.key", "attention.output"),
        *("attention.output.LayerNorm", "intermediate", "output", "output.dense"),
        *("output.dropout", "intermediate.intermediate_act_fn"),
    )
}
CHANGES |= {
    "own forward of the layer": doubled(LAYER),
    "own forward of the word embeddings": doubled("embeddings.word_embeddings"),
    "own forward of the embeddings": doubled("embeddings"),
    "hook on a dropout": hooked(f"{LAYER}.output.dropout"),
    "hook on the embeddings' dropout": hooked("embeddings.dropout"),
    "hook before value": hooked(f"{LAYER}.attention.self.value", "forward_pre_hook"),
    "hook on the last output": hooked(f"{LAYER}.output"),
    "class of the same name": of_class(LAYER, BertLayer),
    "other activation": other_activation,
    "pruned word embeddings": pruned("embeddings.word_embeddings"),
}


def whole(model):
    enable_packing(model)
    use_fast_layers(model)
    use_early_end(model)
    use_whole_layers(model)
    return model


def states_of(backbone, bf16=False):
    with (
        torch.inference_mode(),
        torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16),
        held_weights(),
    ):
        return first_token_states(backbone, BATCH).float()


@pytest.mark.parametrize(
    ("change", "when"),
    [
        (change, when)
        for change in CHANGES
        for when in ("before", "after")
        if (change, when) != ("class of the same name", "after")  # a fast layer's class is its own
    ],
)
def test_a_changed_model_is_run_as_it_is(tiny_encoder, change, when):
    plain = AutoModel.from_pretrained(tiny_encoder("bert"), attn_implementation="eager").eval()
    unchanged = states_of(plain)
    fast = copy.deepcopy(plain)
    if when == "before":
        CHANGES[change](fast)
        whole(fast)
    else:
        whole(fast)
        CHANGES[change](fast)
    CHANGES[change](plain)
    exact = states_of(plain)
    assert (exact - unchanged).norm() > 0.02 * exact.norm(), "the change changes nothing"
    torch.testing.assert_close(states_of(fast), exact, atol=2e-5, rtol=1e-4)
    found, autocast = states_of(fast, bf16=True), states_of(plain, bf16=True)
    assert (found - exact).norm() <= 1.5 * (autocast - exact).norm()


class OwnAttention(modeling_bert.BertSelfAttention):
    """Knows nothing of packed rows, as a model's own code may."""

    def forward(self, hidden_states, attention_mask=None, *args, **kwargs):
        shape = (*hidden_states.shape[:-1], -1, self.attention_head_size)
        parts = (self.query, self.key, self.value)
        q, k, v = (part(hidden_states).view(shape).transpose(1, 2) for part in parts)
        attended = nn.functional.scaled_dot_product_attention(q, k, v, attention_mask) * 0.7
        return attended.transpose(1, 2).flatten(2), None


class OwnBert(modeling_bert.BertModel):
    """Of the type "bert", by its configuration."""


@pytest.mark.parametrize("own", ["attention", "model"])
def test_a_model_with_code_of_its_own_is_not_packed(tiny_encoder, own):
    model = AutoModel.from_pretrained(tiny_encoder("bert"), attn_implementation="eager").eval()
    usual = states_of(copy.deepcopy(model))
    if own == "model":
        model.__class__ = OwnBert
    else:
        for layer in model.encoder.layer:
            layer.attention.self.__class__ = OwnAttention
    exact = []
    for ids in ([5], [9, 10], [7, 7], [5, 6, 7, 8], [6] * 17, [11] * 21):
        with torch.no_grad():
            exact.append(model(input_ids=torch.tensor([ids])).last_hidden_state[0, 0])
    assert not enable_packing(model)
    found = states_of(whole(model))
    torch.testing.assert_close(found, torch.stack(exact), atol=1e-5, rtol=1e-4)
    assert torch.allclose(found, usual, atol=1e-5) == (own == "model")


FAMILIES = {
    "ModernBERT": "layers.1.attn.Wqkv",
    "DistilBERT": "transformer.layer.1.attention.q_lin",
    "MPNet": "encoder.layer.1.attention.attn.k",
    "ALBERT": "encoder.albert_layer_groups.0.albert_layers.0.ffn",
    "MobileBERT": "encoder.layer.1.attention.self.value",
    "LLaMA": "layers.1.mlp.up_proj",
}


@pytest.mark.parametrize("change", [pruned, weight_normed, parametrised, normed_as_before, doubled])
@pytest.mark.parametrize("family", FAMILIES)
def test_so_is_one_of_another_family(tmp_path_factory, family, change):
    folder = build(family, tmp_path_factory.mktemp("changed"))
    plain = AutoModel.from_pretrained(folder, attn_implementation="eager").eval()
    fast = whole(copy.deepcopy(plain))
    before = states_of(plain)
    for model in (plain, fast):
        change(FAMILIES[family])(model)
    exact = states_of(plain)
    assert (exact - before).norm() > 0.01 * exact.norm(), "the change changes nothing"
    torch.testing.assert_close(states_of(fast), exact, atol=1e-4, rtol=1e-3)
    found, autocast = states_of(fast, bf16=True), states_of(plain, bf16=True)
    assert (found - exact).norm() <= 2 * (autocast - exact).norm()


@pytest.mark.parametrize("change", ["parametrised attention.self.query", "hook before value"])
def test_training_follows_the_change(tiny_encoder, change):
    plain = AutoModel.from_pretrained(tiny_encoder("bert"), attn_implementation="eager").eval()
    fast = whole(copy.deepcopy(plain))
    for model in (plain, fast):
        CHANGES[change](model)
        first_token_states(model, BATCH).square().sum().backward()
    for (name, one), (_, other) in zip(
        plain.named_parameters(), fast.named_parameters(), strict=True
    ):
        if one.grad is not None and one.grad.any():
            torch.testing.assert_close(other.grad, one.grad, atol=1e-4, rtol=1e-3, msg=name)


def test_temporaries_are_not_held():
    """A held copy is found by its parameters' ids; a temporary's id is soon another's."""
    weight = nn.Parameter(torch.randn(4, 4))
    with held_weights():
        assert narrowed([weight]) is narrowed([weight])
        for scale in (1.0, 2.0, 3.0):
            torch.testing.assert_close(narrowed([weight * scale]), (weight * scale).bfloat16())


def test_hooks_on_every_module_are_seen():
    modules = [nn.Linear(2, 2)]
    assert are_unaltered(modules)
    hook = nn.modules.module.register_module_forward_hook(lambda *_: None)
    try:
        assert not are_unaltered(modules)
    finally:
        hook.remove()
    assert are_unaltered(modules)
