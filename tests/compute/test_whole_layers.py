"""Inference by whole layers and embeddings, against Hugging Face's own, padded."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn
from transformers import AutoConfig, AutoModel

from simcse_kit.compute import whole_layers
from simcse_kit.compute.fast_layers import use_fast_layers
from simcse_kit.compute.held import held_weights
from simcse_kit.compute.kernels import build as kernels
from simcse_kit.compute.last_layer import first_token_states, use_early_end
from simcse_kit.compute.packing import PackedBatch, enable_packing
from simcse_kit.compute.states import hidden_states
from simcse_kit.compute.whole_layers import use_whole_layers

compiled = pytest.mark.skipif(
    kernels.kernels() is None, reason="no C++ compiler here: torch's operators run"
)

FAMILIES = ("bert", "roberta", "xlm-roberta", "electra", "electra-projected")
BATCH = PackedBatch.from_sequences([[5, 6, 7, 8], [9, 10], [11] * 21, [7, 7], [5], [6] * 17])


@pytest.fixture
def both(tiny_encoder):
    """A backbone as it is, run padded, and a packed copy that runs by whole layers."""

    def build(family="bert"):
        folder = tiny_encoder(family.removesuffix("-projected"))
        plain = AutoModel.from_pretrained(folder, attn_implementation="eager")
        if family.endswith("-projected"):
            narrow = AutoConfig.from_pretrained(folder, embedding_size=8)
            torch.manual_seed(0)
            plain = AutoModel.from_config(narrow, attn_implementation="eager")
        whole = copy.deepcopy(plain.eval())
        enable_packing(whole)
        use_fast_layers(whole)
        use_early_end(whole)
        use_whole_layers(whole)
        return plain, whole

    return build


@pytest.fixture
def calls(monkeypatch):
    """What ran whole: layers, and embeddings."""
    made = []
    ops = kernels.built_kernels()

    class Counted:
        def __getattr__(self, name):
            made.append(name)
            return getattr(ops, name)

    monkeypatch.setattr(whole_layers, "built_kernels", lambda: Counted() if ops else None)
    return made


def states_of(backbone, first_only=False, bf16=False):
    with (
        torch.inference_mode(),
        torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16),
        held_weights(),
    ):
        if first_only:
            return first_token_states(backbone, BATCH).float()
        (states,) = hidden_states(backbone, BATCH)
        return states.float()


@compiled
@pytest.mark.parametrize("first_only", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_states_are_the_originals(both, calls, family, first_only):
    plain, whole = both(family)
    exact = states_of(plain, first_only)
    torch.testing.assert_close(states_of(whole, first_only), exact, atol=1e-5, rtol=1e-5)
    layers = whole.config.num_hidden_layers
    assert calls == ["embed_norm"] + ["add_norm"] * 2 * layers
    found, autocast = (states_of(each, first_only, bf16=True) for each in (whole, plain))
    assert 0 < (found - exact).norm() <= 1.5 * (autocast - exact).norm()
    assert len(calls) == 2 * (1 + 2 * layers)


def _shift_output(module, args, output):
    output[..., 0].add_(3.0)


def _shift_input(module, args):
    args[0][..., 0].add_(3.0)


@compiled
@pytest.mark.parametrize("where", ["embeddings", "encoder.layer.0"])
def test_a_hook_may_change_states_in_place(both, where):
    """Steering a model so must not be overlooked: the copy in bf16 would be of what was."""
    models = both()
    before = states_of(models[1], bf16=True)
    for model in models:
        model.get_submodule(where).register_forward_hook(_shift_output)
    exact, found = states_of(models[0]), states_of(models[1], bf16=True)
    assert (found - exact).norm() < 0.1 * (before - exact).norm()


@compiled
def test_a_hook_may_change_what_a_layer_is_given(both):
    models = both()
    before = states_of(models[1], bf16=True)
    for model in models:
        model.encoder.layer[1].register_forward_pre_hook(_shift_input)
    exact, found = states_of(models[0]), states_of(models[1], bf16=True)
    assert (found - exact).norm() < 0.1 * (before - exact).norm()


def _hook(model):
    model.encoder.layer[0].output.dense.register_forward_hook(lambda *_: None)
    model.embeddings.LayerNorm.register_forward_hook(lambda *_: None)


def _parts_of_other_kinds(model):
    class Other(nn.Linear):
        pass

    class Table(nn.Embedding):
        pass

    model.encoder.layer[0].attention.self.query.__class__ = Other
    model.embeddings.word_embeddings.__class__ = Table


@compiled
@pytest.mark.parametrize("change", [_hook, _parts_of_other_kinds])
def test_what_is_unusual_goes_its_original_way(both, calls, change):
    plain, whole = both()
    change(whole)
    torch.testing.assert_close(states_of(whole), states_of(plain), atol=1e-5, rtol=1e-5)
    assert calls == ["add_norm"] * 2 * (whole.config.num_hidden_layers - 1)


@compiled
def test_all_layers_states_may_have_been_asked_for(both, calls):
    """transformers records them by hooks, which stay."""
    plain, whole = both()
    before = states_of(whole, bf16=True)
    made = list(calls)
    with torch.inference_mode():
        for found, expected in zip(
            *(hidden_states(each, BATCH, all_layers=True) for each in (whole, plain)), strict=True
        ):
            torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert (
        whole.encoder.layer[0]._forward_hooks
        and whole.encoder.layer[0].attention.self._forward_hooks
    )
    calls.clear()
    assert torch.equal(states_of(whole, bf16=True), before)
    assert calls == made


def test_calls_without_a_packed_batch_go_the_original_way(both, calls):
    plain, whole = both()
    ids, mask = BATCH.padded(0)
    given = {"input_ids": ids, "attention_mask": mask}
    with torch.inference_mode():
        found, expected = (each(**given).last_hidden_state for each in (whole, plain))
    inside = mask.bool()
    torch.testing.assert_close(found[inside], expected[inside], atol=1e-5, rtol=1e-5)
    assert not calls


@compiled
def test_other_token_types_are_looked_up(both, calls):
    plain, whole = both()
    ids = torch.tensor([[5, 6, 7]])
    given = {"input_ids": ids, "position_ids": torch.arange(3)[None]}
    given["token_type_ids"] = torch.ones_like(ids)
    with torch.inference_mode():
        found, expected = (each(**given).last_hidden_state for each in (whole, plain))
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert not calls


def test_without_compiled_kernels_torch_takes_over(both, monkeypatch):
    plain, whole = both()
    monkeypatch.setattr(whole_layers, "built_kernels", lambda: None)
    torch.testing.assert_close(states_of(whole), states_of(plain), atol=1e-5, rtol=1e-5)


def test_an_id_beyond_the_vocabulary_is_an_index_error(both):
    _, whole = both()
    batch = PackedBatch.from_sequences([[5, 10**6]])
    with pytest.raises(IndexError), torch.inference_mode():
        hidden_states(whole, batch)


# -- embeddings and layers alone, without the backbone's forward


@pytest.fixture
def straight(both, monkeypatch):
    """As `both`, without a pooler, and how often transformers' own forward of a backbone ran."""

    def build(family="bert"):
        plain, whole = both(family)
        whole.pooler, ran, forward = None, [], type(whole).forward

        def told(self, *args, **kwargs):
            if self is whole:
                ran.append(self)
            return forward(self, *args, **kwargs)

        monkeypatch.setattr(type(whole), "forward", told)
        return plain, whole, ran

    return build


@compiled
@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("first_only", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_what_has_layers_alone_runs_as_these_to_the_bit(straight, family, first_only, bf16):
    plain, whole, ran = straight(family)
    found = states_of(whole, first_only, bf16)
    assert not ran
    whole.register_forward_hook(lambda *_: None)
    assert torch.equal(states_of(whole, first_only, bf16), found)
    assert ran
    if not bf16:
        torch.testing.assert_close(found, states_of(plain, first_only), atol=1e-5, rtol=1e-5)


def _forward_of_its_own(model):
    encoder, forward = model.encoder, model.encoder.forward

    def shifted(*args, **kwargs):
        output = forward(*args, **kwargs)
        output.last_hidden_state = output.last_hidden_state + 3
        return output

    encoder.forward = shifted


@compiled
@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize(
    "change",
    [
        lambda model: model.embeddings.register_forward_hook(_shift_output),
        lambda model: model.encoder.register_forward_pre_hook(_shift_input),
        lambda model: model.encoder.layer[1].register_forward_pre_hook(_shift_input),
        lambda model: model.encoder.layer[0].attention.register_forward_pre_hook(_shift_input),
        _forward_of_its_own,
        _hook,
    ],
)
def test_whatever_hangs_on_the_way_is_not_passed_over(straight, change, bf16):
    """Added after a call too: what that call kept is not taken for what there is now."""
    plain, whole, ran = straight()
    with held_weights(whole):
        states_of(whole, bf16=bf16)
    assert not ran
    for model in (plain, whole):
        change(model)
    exact, found = states_of(plain, bf16=bf16), states_of(whole, bf16=bf16)
    assert ran
    torch.testing.assert_close(found, exact, atol=0.1 if bf16 else 1e-5, rtol=1e-5)


@compiled
def test_another_setting_of_a_layer_is_seen(straight):
    """Though what an earlier call kept of its weights stands."""
    plain, whole, ran = straight()
    with torch.inference_mode(), held_weights(whole):
        before = hidden_states(whole, BATCH)[0]
    for model in (plain, whole):
        for layer in model.encoder.layer:
            layer.attention.self.scaling = 0.9
            layer.attention.output.LayerNorm.eps = layer.output.LayerNorm.eps = 0.5
    with torch.inference_mode(), held_weights(whole):
        found = hidden_states(whole, BATCH)[0]
    assert not ran and not torch.allclose(found, before, atol=1e-3)
    torch.testing.assert_close(found, states_of(plain), atol=1e-5, rtol=1e-5)


@compiled
def test_a_layer_that_is_in_training_drops_out(straight):
    _, whole, ran = straight()
    whole.encoder.layer[1].train()
    assert not torch.equal(states_of(whole), states_of(whole)) and ran


@compiled
@pytest.mark.parametrize("family", ["bert", "electra-projected"])
def test_all_layers_states_are_the_originals(straight, family):
    plain, whole, ran = straight(family)
    with torch.inference_mode():
        for found, expected in zip(
            *(hidden_states(each, BATCH, all_layers=True) for each in (whole, plain)), strict=True
        ):
            torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert not ran


@compiled
def test_another_number_of_layers_is_seen(straight):
    """What an earlier call kept, with the backbone as it was, does not stand."""
    plain, whole, ran = straight()

    def held(model):
        with torch.inference_mode(), held_weights(model):
            return hidden_states(model, BATCH)[0]

    held(whole)
    held(whole)
    for model in (plain, whole):
        model.encoder.layer = model.encoder.layer[:-1]
    torch.testing.assert_close(held(whole), states_of(plain), atol=1e-5, rtol=1e-5)
    whole.encoder.layer[0].output.dense.weight.data.mul_(2)
    plain.encoder.layer[0].output.dense.weight.data.mul_(2)
    torch.testing.assert_close(held(whole), states_of(plain), atol=1e-5, rtol=1e-5)
    assert not ran


def test_a_row_is_filled_up_little():
    """One kernel is compiled for every size of a matrix; a short text takes what it has rows."""
    from simcse_kit.compute.states import fill_of

    assert [tokens + fill_of(tokens) for tokens in (1, 4, 8, 9, 31, 125)] == [4, 4, 8, 12, 32, 128]
    assert [tokens + fill_of(tokens) for tokens in (129, 500, 513, 8191)] == [144, 512, 576, 8192]
