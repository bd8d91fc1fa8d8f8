"""Packed forwards equal Hugging Face's own, one sequence at a time, gradients included."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import AutoModel

from simcse_kit.compute.packing import (
    PackedBatch,
    enable_packing,
    runs_packed,
    token_batches,
)
from simcse_kit.compute.states import hidden_states

FAMILIES = ["bert", "roberta", "distilbert", "mpnet", "electra", "xlm-roberta", "modernbert"]
PADDED = {"mpnet"}


def sequences(vocabulary: int, lengths: list[int]) -> list[list[int]]:
    generator = np.random.default_rng(0)
    return [generator.integers(5, vocabulary, length).tolist() for length in lengths]


def load(folder) -> torch.nn.Module:
    model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
    return model


@pytest.mark.parametrize("family", FAMILIES)
def test_states_and_gradients_equal_single_forwards(tiny_encoder, family):
    plain, packed = load(tiny_encoder(family)), load(tiny_encoder(family))
    assert enable_packing(packed) == (family not in PADDED)
    texts = sequences(plain.config.vocab_size, [7, 3, 7, 20, 5, 1, 3])
    batch = PackedBatch.from_sequences(texts)

    layers = hidden_states(packed, batch, all_layers=True)
    weights = torch.linspace(-1, 1, plain.config.hidden_size)
    torch.stack([(layer * weights).sum() for layer in layers]).sum().backward()

    # the packed row holds the sequences in ascending length, equal ones in their order
    for place in torch.argsort(batch.order).tolist():
        ids = torch.tensor([texts[place]])
        expected = plain(ids, attention_mask=torch.ones_like(ids), output_hidden_states=True)
        torch.stack([(h * weights).sum() for h in expected.hidden_states]).sum().backward()
        start = sum(
            len(texts[i])
            for i in torch.argsort(batch.order).tolist()
            if batch.order[i] < batch.order[place]
        )
        for layer, reference in zip(layers, expected.hidden_states, strict=True):
            got = layer[start : start + len(texts[place])]
            torch.testing.assert_close(got, reference[0], atol=1e-5, rtol=1e-5)
    theirs = dict(plain.named_parameters())
    for name, parameter in packed.named_parameters():
        if parameter.grad is not None:
            torch.testing.assert_close(parameter.grad, theirs[name].grad, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("laid_out", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_a_pad_token_in_a_text(tiny_encoder, family, laid_out):
    """Whoever writes of tokenizers writes it: RoBERTa's positions do not count it."""
    plain, packed = load(tiny_encoder(family)), load(tiny_encoder(family))
    enable_packing(packed)
    pad = plain.config.pad_token_id
    texts = sequences(plain.config.vocab_size, [7, 3, 9, 9, 2, 7])
    for text, places in zip(texts, ([2, 3], [], [0, 8], [4], [1], []), strict=True):
        for place in places:
            text[place] = pad
    batch = PackedBatch.from_sequences(texts)
    batch = batch.laid_out(pad) if laid_out else batch
    (states,) = hidden_states(packed, batch)
    found = dict(zip(np.argsort(batch.order.numpy()).tolist(), split(states, batch), strict=True))
    for number, text in enumerate(texts):
        ids = torch.tensor([text])
        expected = plain(ids, attention_mask=torch.ones_like(ids)).last_hidden_state[0]
        torch.testing.assert_close(found[number], expected, atol=1e-5, rtol=1e-5)


def split(states: torch.Tensor, batch: PackedBatch) -> list[torch.Tensor]:
    """The states of each sequence, in the row's order."""
    lengths = [length for count, length in batch.groups for _ in range(count)]
    return list(states[: sum(lengths)].split(lengths))


def test_local_attention_of_long_sequences(tiny_encoder):
    """ModernBERT's window cuts: sequences longer than it must still agree."""
    plain, packed = load(tiny_encoder("modernbert")), load(tiny_encoder("modernbert"))
    enable_packing(packed)
    window = plain.config.local_attention
    longest = min(2 * window, plain.config.max_position_embeddings)
    assert longest > window // 2 + 1, "the fixture's window never cuts"
    texts = sequences(plain.config.vocab_size, [longest, 4])
    (states,) = hidden_states(packed, PackedBatch.from_sequences(texts))
    ids = torch.tensor([texts[0]])
    expected = plain(ids, attention_mask=torch.ones_like(ids)).last_hidden_state[0]
    torch.testing.assert_close(states[4:], expected, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_padded_calls_still_work_after_enabling(tiny_encoder, family):
    plain, packed = load(tiny_encoder(family)), load(tiny_encoder(family))
    enable_packing(packed)
    ids, mask = PackedBatch.from_sequences(sequences(plain.config.vocab_size, [4, 9])).padded(
        plain.config.pad_token_id
    )
    expected = plain(ids, attention_mask=mask).last_hidden_state[mask]
    got = packed(ids, attention_mask=mask).last_hidden_state[mask]
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)


def test_order_and_groups_of_a_batch():
    texts = [[1, 2, 3], [4], [5, 6, 7], [8, 9]]
    batch = PackedBatch.from_sequences(texts)
    assert batch.groups == ((1, 1), (1, 2), (2, 3))
    assert batch.input_ids.tolist() == [4, 8, 9, 1, 2, 3, 5, 6, 7]
    assert batch.position_ids.tolist() == [0, 0, 1, 0, 1, 2, 0, 1, 2]
    rows = [row.tolist() for part in batch.by_length(batch.input_ids) for row in part]
    assert [rows[place] for place in batch.order.tolist()] == texts
    ids, mask = batch.padded(0)
    assert ids[mask].tolist() == batch.input_ids.tolist()
    assert len(batch) == 4


def test_a_backbone_without_the_interface_says_that_it_is_padded(tiny_encoder):
    model = load(tiny_encoder("mpnet"))
    assert not enable_packing(model) and not runs_packed(model)


def test_batches_by_tokens_hold_every_row_once_and_pad_no_more_than_asked():
    lengths = np.array([60, 50, 3, 3, 3, 3, 3, 3, 3, 3, 2, 2, 2, 2, 2, 2])
    assert [len(each) for each in token_batches(lengths, 100, False)] == [1, 15]
    batches = token_batches(lengths, 100, True)
    assert [len(each) for each in batches] == [1, 2, 13]
    (alone,) = token_batches(np.array([60]), 10, True)  # one sequence cannot be cut
    assert alone.tolist() == [0]
    assert token_batches(np.array([], dtype=np.int64), 10, True) == []


@pytest.mark.parametrize("padded", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_no_batch_computes_more_than_double_its_tokens(seed, padded):
    pick = np.random.default_rng(seed)
    lengths = np.concatenate([pick.integers(1, 12, 400), pick.integers(1, 512, 6)])
    batches = token_batches(lengths, 600, padded)
    assert sorted(np.concatenate(batches)) == list(range(406))
    for batch in batches:
        assert lengths[batch].sum() <= 600 or len(batch) == 1
        assert not padded or len(batch) * lengths[batch].max() <= 2 * lengths[batch].sum()
    assert len(batches) < 25  # not one a row
