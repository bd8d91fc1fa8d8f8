"""Embeddings cut off: states and gradients as of Hugging Face's model with masked embeddings."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch._dynamo.testing import CompileCounter
from transformers import (
    AutoModel,
    LongformerConfig,
    LongformerModel,
    T5Config,
    T5EncoderModel,
    XLNetConfig,
    XLNetModel,
)

from simcse_kit.compute import fast_layers, layer_training
from simcse_kit.compute.cutoff import use_cutoff
from simcse_kit.compute.fast_layers import use_fast_layers
from simcse_kit.compute.kernels import kernels
from simcse_kit.compute.last_layer import first_token_states, use_early_end
from simcse_kit.compute.packing import PackedBatch, enable_packing
from simcse_kit.compute.states import hidden_states
from simcse_kit.compute.whole_layers import use_whole_layers
from simcse_kit.encoder.sentence_encoder import SentenceEncoder
from simcse_kit.errors import InputError
from simcse_kit.training.model.grad_cache import encode_in_chunks

pytestmark = pytest.mark.usefixtures("fresh_compiler")

FAMILIES = ["bert", "roberta", "distilbert", "mpnet", "electra", "xlm-roberta", "modernbert"]
LENGTHS = np.array([7, 3, 7, 20, 5, 1, 3])


class Masked(nn.Module):
    """Embeddings times what is kept of them."""

    def __init__(self, embeddings: nn.Module) -> None:
        super().__init__()
        self.embeddings = embeddings
        self.kept = torch.ones(1)

    def forward(self, *args, **kwargs):
        return self.embeddings(*args, **kwargs) * self.kept


def given(width: int, tokens: bool = True, features: bool = True):
    """Ids of some texts, and what is kept of each text's embeddings, ``(length, width)``."""
    random = np.random.default_rng(0)
    ids = random.integers(5, 90, LENGTHS.sum())
    kept_tokens = random.random(len(ids)) > 0.3 if tokens else None
    kept_features = random.random((len(LENGTHS), width)) > 0.2 if features else None
    whole = np.ones((len(ids), width), dtype=bool)
    if kept_tokens is not None:
        whole &= kept_tokens[:, None]
    if kept_features is not None:
        whole &= np.repeat(kept_features, LENGTHS, axis=0)
    batch = PackedBatch.from_flat(
        ids, LENGTHS, kept_tokens=kept_tokens, kept_features=kept_features
    )
    ends = np.cumsum(LENGTHS)[:-1]
    return batch, np.split(ids, ends), np.split(whole, ends)


def fast(model: nn.Module) -> nn.Module:
    """A copy with every fast way that the kit has."""
    model = copy.deepcopy(model)
    enable_packing(model)
    use_fast_layers(model)
    use_early_end(model)
    use_whole_layers(model)
    return model


def load(folder) -> nn.Module:
    rates = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    rates |= {"dropout": 0.0, "attention_dropout": 0.0, "embedding_dropout": 0.0}
    known = AutoModel.from_pretrained(folder).config.to_dict()
    return AutoModel.from_pretrained(
        folder, attn_implementation="eager", **{k: v for k, v in rates.items() if k in known}
    ).train()


def originals(plain: nn.Module, ids, whole) -> torch.Tensor:
    """Last states of a model with masked embeddings, one text at a time."""
    plain.embeddings = masked = Masked(plain.embeddings)
    states = []
    for text, kept in zip(ids, whole, strict=True):
        masked.kept = torch.from_numpy(kept)
        rows = torch.from_numpy(text)[None]
        states.append(plain(rows, attention_mask=torch.ones_like(rows)).last_hidden_state[0])
    plain.embeddings = masked.embeddings
    return torch.cat(states)


def in_order(states: torch.Tensor, batch: PackedBatch) -> torch.Tensor:
    """Of a packed row, the texts in the caller's order."""
    parts = [each for group in batch.by_length(states) for each in group]
    return torch.cat([parts[place] for place in batch.order.tolist()])


def learnt(model: nn.Module, states: torch.Tensor) -> dict[str, torch.Tensor]:
    model.zero_grad()
    (states * torch.linspace(-1, 1, states.numel()).view_as(states)).sum().backward()
    return {n: p.grad.clone() for n, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize(
    ("family", "laid_out", "kinds"),
    [(family, laid_out, (True, True)) for family in FAMILIES for laid_out in (False, True)]
    + [("bert", laid_out, (laid_out, not laid_out)) for laid_out in (False, True)],
)
def test_states_and_gradients_are_the_originals(tiny_encoder, family, laid_out, kinds):
    plain = load(tiny_encoder(family))
    batch, ids, whole = given(use_cutoff(plain), *kinds)
    exact = originals(plain, ids, whole)
    theirs = learnt(plain, exact)

    model = fast(plain)
    if laid_out:
        batch = batch.laid_out(plain.config.pad_token_id)
    states = in_order(hidden_states(model, batch)[0], batch)
    torch.testing.assert_close(states, exact, atol=1e-5, rtol=1e-5)
    ours = learnt(model, states)
    assert ours.keys() == theirs.keys()
    for name, gradient in ours.items():
        torch.testing.assert_close(gradient, theirs[name], atol=1e-4, rtol=1e-4)
    assert model.cutoff.kept is None


def test_a_copy_made_before_it_was_readied_cuts_by_itself(tiny_encoder):
    """A momentum encoder, say; and a copy made after has a state of its own."""
    plain = load(tiny_encoder("bert"))
    before = fast(plain)
    batch, ids, whole = given(use_cutoff(plain))
    after = fast(plain)
    exact = originals(plain, ids, whole)
    for model in (before, after, before):
        states = in_order(hidden_states(model, batch)[0], batch)
        torch.testing.assert_close(states, exact, atol=1e-5, rtol=1e-5)
        assert len(model.embeddings._forward_hooks) == 1
    assert len({id(model.cutoff) for model in (plain, before, after)}) == 3


def test_without_padding_by_length_too(tiny_encoder):
    plain = load(tiny_encoder("mpnet"))
    batch, ids, whole = given(use_cutoff(plain))
    plain.sees_padding = True
    (states,) = hidden_states(plain, batch)
    exact = originals(plain, ids, whole)
    torch.testing.assert_close(in_order(states, batch), exact, atol=1e-5, rtol=1e-5)


@pytest.mark.skipif(kernels() is None, reason="no C++ compiler here: torch's operators run")
def test_whole_layers_are_taken_in_fp32_and_bf16(tiny_encoder, monkeypatch):
    plain = load(tiny_encoder("bert"))
    batch, ids, whole = given(use_cutoff(plain))
    exact = originals(plain, ids, whole)
    taken, apply = [], layer_training.LayerTraining.apply
    monkeypatch.setattr(
        layer_training.LayerTraining, "apply", lambda *args: taken.append(1) or apply(*args)
    )
    model = fast(plain)
    first = first_token_states(model, batch)[batch.order]
    starts = np.cumsum(LENGTHS) - LENGTHS
    torch.testing.assert_close(first, exact[starts], atol=1e-5, rtol=1e-5)
    assert len(taken) == model.config.num_hidden_layers
    with torch.autocast("cpu", dtype=torch.bfloat16):
        states = in_order(hidden_states(model, batch)[0], batch).float()
        narrow = originals(plain, ids, whole).float()
    assert len(taken) == 2 * model.config.num_hidden_layers
    assert 0 < (states - exact).norm() <= 1.5 * (narrow - exact).norm()


def test_the_next_batch_is_whole_again(tiny_encoder):
    """In inference too, where the embeddings have a fast way; and after a pass that failed."""
    plain = load(tiny_encoder("bert")).eval()
    batch, ids, whole = given(use_cutoff(plain))
    assert use_cutoff(plain) == 32 and len(plain.embeddings._forward_hooks) == 1
    model = fast(plain)
    uncut = PackedBatch.from_flat(np.concatenate(ids), LENGTHS)
    with torch.inference_mode():
        exact = originals(plain, ids, whole)
        everything = originals(plain, ids, [np.ones_like(each) for each in whole])
        for given_, expected in ((batch, exact), (uncut, everything)):
            states = in_order(hidden_states(model, given_)[0], given_)
            torch.testing.assert_close(states, expected, atol=1e-5, rtol=1e-5)
        with pytest.raises(IndexError):
            hidden_states(model, replace(batch, input_ids=batch.input_ids + 1000))
        states = in_order(hidden_states(model, uncut)[0], uncut)
        torch.testing.assert_close(states, everything, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", ["bert", "mpnet"])
@pytest.mark.parametrize("laid_out", [False, True])
def test_chunks_keep_what_the_batch_keeps(tiny_encoder, family, laid_out):
    encoder = SentenceEncoder.from_pretrained(
        tiny_encoder(family), pooling="mean", device="cpu", precision="fp32", dropout=0.0
    ).train()
    batch, _, _ = given(use_cutoff(encoder.backbone))
    if laid_out:
        batch = batch.laid_out(encoder.pad_id)
    whole = encoder(batch)
    gradients = learnt(encoder, whole)
    chunked = encode_in_chunks(encoder, batch, 3, padded=not encoder.packed)
    torch.testing.assert_close(chunked, whole, atol=1e-6, rtol=1e-5)
    for name, gradient in learnt(encoder, chunked).items():
        torch.testing.assert_close(gradient, gradients[name], atol=1e-5, rtol=1e-4)


def test_a_batch_taken_elsewhere_takes_it_along():
    batch, _, _ = given(8)
    moved = batch.laid_out(0).to("meta")
    assert moved.kept.tokens.device.type == moved.kept.features.device.type == "meta"
    assert len(moved.kept.tokens) == moved.layout.row
    plain = PackedBatch.from_flat(np.arange(5), np.array([2, 3]))
    assert plain.kept is None and plain.kept_of_tokens() is None and plain.to("cpu").kept is None


def test_compiled_it_is_one_graph(tiny_encoder, monkeypatch):
    monkeypatch.setattr(fast_layers, "kernels", lambda: None)  # a CPU's, which no GPU has
    model = load(tiny_encoder("bert"))
    del model.encoder.layer[1:]
    model = fast(model)
    width, counter = use_cutoff(model), CompileCounter()
    compiled = torch.compile(lambda batch: hidden_states(model, batch)[0], backend=counter)
    whole, _, _ = given(width)
    for seed in (0, 1):
        kept = whole.kept.each(partial(torch.roll, shifts=seed, dims=0))
        batch = replace(whole, kept=kept).laid_out(0)
        torch.testing.assert_close(compiled(batch), hidden_states(model, batch)[0])
    assert counter.frame_count == 1


def test_what_a_backbone_fills_its_batches_with_stays():
    shape = {"vocab_size": 90, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    torch.manual_seed(0)
    config = LongformerConfig(**shape, intermediate_size=16, attention_window=8, pad_token_id=1)
    model = LongformerModel(config).eval()
    batch, ids, whole = given(use_cutoff(model))
    (states,) = hidden_states(model, batch)
    filled = [np.pad(kept, ((0, -len(kept) % 8), (0, 0))) for kept in whole]
    exact = originals(model, ids, filled)
    torch.testing.assert_close(in_order(states, batch), exact, atol=1e-5, rtol=1e-5)


def test_families_that_add_positions_elsewhere_lose_the_tokens_own_part():
    small = {"vocab_size": 90, "d_model": 16, "d_kv": 4, "d_ff": 32, "num_layers": 2}
    torch.manual_seed(0)
    model = T5EncoderModel(T5Config(**small, num_heads=2, dropout_rate=0.0)).eval()
    assert use_cutoff(model) == 16
    batch, ids, whole = given(16)
    (states,) = hidden_states(model, batch)
    expected = []
    for text, kept in zip(ids, whole, strict=True):
        embedded = model.get_input_embeddings()(torch.from_numpy(text)) * torch.from_numpy(kept)
        expected.append(model(inputs_embeds=embedded[None]).last_hidden_state[0])
    torch.testing.assert_close(in_order(states, batch), torch.cat(expected), atol=1e-5, rtol=1e-5)


def test_an_encoder_without_an_embedding_layer_of_its_own_is_refused():
    model = XLNetModel(XLNetConfig(vocab_size=90, d_model=16, n_layer=1, n_head=2, d_inner=16))
    with pytest.raises(InputError, match=r"'mine': a xlnet model has no embedding layer"):
        use_cutoff(model, "mine")
    assert not hasattr(model, "cutoff")
