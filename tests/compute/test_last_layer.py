"""A last layer that goes on with the first tokens alone, against one that computes them all."""

from __future__ import annotations

import copy

import pytest
import torch
from transformers import AutoModel

from recomputing import recompute_layers
from simcse_kit.compute.fast_layers import use_fast_layers
from simcse_kit.compute.last_layer import ends_early, first_token_states, use_early_end
from simcse_kit.compute.packing import PackedBatch, enable_packing
from simcse_kit.compute.states import hidden_states
from simcse_kit.encoder.sentence_encoder import SentenceEncoder

TEXTS = [[5, 6, 7, 8], [9, 10], [11, 12, 13, 14, 15, 16], [7, 7], [5]]
ENDS_EARLY = ("bert", "roberta", "xlm-roberta", "electra")


def both(folder):
    """The same backbone twice: every token to the end, and the first ones alone."""
    whole = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    early = copy.deepcopy(whole)
    for backbone in (whole, early):
        enable_packing(backbone)
        use_fast_layers(backbone)
    use_early_end(early)
    return whole, early


@pytest.mark.parametrize("family", ENDS_EARLY)
@pytest.mark.parametrize("checkpointing", [False, True])
def test_states_and_gradients_are_those_of_all_tokens(tiny_encoder, family, checkpointing):
    whole, early = both(tiny_encoder(family))
    batch = PackedBatch.from_sequences(TEXTS)
    if checkpointing:  # recomputes layers in the backward pass
        recompute_layers(early)
        early.train().apply(lambda m: setattr(m, "p", 0.0) if hasattr(m, "p") else None)
    weights = torch.randn(len(batch), whole.config.hidden_size, generator=torch.manual_seed(0))

    (states,) = hidden_states(whole, batch)
    expected = torch.cat([group[:, 0] for group in batch.by_length(states)])
    (expected * weights).sum().backward()
    assert ends_early(early)
    got = first_token_states(early, batch)
    (got * weights).sum().backward()

    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)
    for (name, one), (_, other) in zip(
        whole.named_parameters(), early.named_parameters(), strict=True
    ):
        if one.grad is None:  # a pooler
            assert other.grad is None or not other.grad.any(), name
        else:
            torch.testing.assert_close(other.grad, one.grad, atol=1e-5, rtol=1e-4, msg=name)


def test_the_feed_forward_sees_the_first_tokens_only(tiny_encoder, monkeypatch):
    _, early = both(tiny_encoder("bert"))
    seen = []
    last = early.encoder.layer[-1].intermediate
    forward = type(last).forward

    def told(module, states):
        if module is last:
            seen.append(states.shape[1])
        return forward(module, states)

    monkeypatch.setattr(type(last), "forward", told)
    first_token_states(early, PackedBatch.from_sequences([[5] * 9] * 22))
    assert seen == [24]  # sequences, filled up; not the 208 tokens of the row


def test_a_hook_in_the_last_layer_sees_every_token(tiny_encoder):
    whole, early = both(tiny_encoder("bert"))
    seen = []
    early.encoder.layer[-1].output.register_forward_hook(
        lambda module, args, output: seen.append(args[0].shape[1])
    )
    batch = PackedBatch.from_sequences(TEXTS)
    torch.testing.assert_close(first_token_states(early, batch), first_token_states(whole, batch))
    assert seen[0] >= sum(map(len, TEXTS))


@pytest.mark.parametrize("family", ["distilbert", "mpnet"])
def test_other_backbones_compute_all_tokens(tiny_encoder, family):
    whole, early = both(tiny_encoder(family))
    assert not ends_early(early)
    batch = PackedBatch.from_sequences(TEXTS)
    (states,) = hidden_states(whole, batch)
    expected = torch.cat([group[:, 0] for group in batch.by_length(states)])
    torch.testing.assert_close(first_token_states(early, batch), expected)


def test_a_plain_call_of_the_backbone_gives_every_token(tiny_encoder):
    encoder = SentenceEncoder.from_pretrained(tiny_encoder("bert"), pooling="cls")
    plain = AutoModel.from_pretrained(tiny_encoder("bert"), dtype=torch.float32).eval()
    ids = torch.tensor([TEXTS[0]])
    with torch.no_grad():
        got = encoder.backbone(ids).last_hidden_state
        torch.testing.assert_close(got, plain(ids).last_hidden_state, atol=1e-5, rtol=1e-5)
