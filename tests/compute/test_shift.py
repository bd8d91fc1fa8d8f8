"""Sequences with a gap in their positions, packed and padded, against Hugging Face forwards."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from transformers import AutoModel

from simcse_kit.compute.packing import PackedBatch, enable_packing
from simcse_kit.compute.states import hidden_states

TEXTS = [[5, 6, 7, 8, 9], [10, 11, 12], [6, 5, 8, 7, 9], [13]]
GAPS = [(2, 3), (1, 0), (4, 2), (0, 2)]  # before which token, how many are left out


def load(folder) -> torch.nn.Module:
    return AutoModel.from_pretrained(folder, dtype=torch.float32).eval()


def shifted() -> PackedBatch:
    lengths = np.array([len(text) for text in TEXTS])
    shift = [
        [gap if place >= at else 0 for place in range(len(text))]
        for text, (at, gap) in zip(TEXTS, GAPS, strict=True)
    ]
    return PackedBatch.from_flat(np.concatenate(TEXTS), lengths, shift=np.concatenate(shift))


def firsts_and_lasts(model: torch.nn.Module, batch: PackedBatch) -> torch.Tensor:
    """The states of each text's first and last token, in the caller's order."""
    (states,) = hidden_states(model, batch)
    ends = batch.starts + torch.tensor(sorted(map(len, TEXTS))) - 1
    return torch.stack([states[batch.starts], states[ends]], dim=1)[batch.order]


def by_positions(model: torch.nn.Module, first: int) -> torch.Tensor:
    """One text at a time, with the positions given; `first` is that of a first token."""
    states = []
    for text, (at, gap) in zip(TEXTS, GAPS, strict=True):
        places = [first + place + (gap if place >= at else 0) for place in range(len(text))]
        output = model(input_ids=torch.tensor([text]), position_ids=torch.tensor([places]))
        states.append(output.last_hidden_state[0][[0, -1]])
    return torch.stack(states)


@pytest.mark.parametrize("way", ["packed", "laid out", "padded"])
@pytest.mark.parametrize(("family", "first"), [("bert", 0), ("roberta", 2), ("modernbert", 0)])
def test_states_stand_at_the_positions_behind_the_gap(tiny_encoder, family, first, way):
    plain, ours = load(tiny_encoder(family)), load(tiny_encoder(family))
    batch = shifted()
    if way != "padded":
        assert enable_packing(ours)
    if way == "laid out":
        batch = batch.laid_out(plain.config.pad_token_id)
    got, expected = firsts_and_lasts(ours, batch), by_positions(plain, first)
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-5)
    unshifted = PackedBatch.from_sequences(TEXTS)
    assert not torch.allclose(firsts_and_lasts(ours, unshifted), expected, atol=1e-3)


def test_relative_positions_see_the_gap_too(tiny_encoder):
    """MPNet's attention counts distances: a gap is tokens that none attends to."""
    model = load(tiny_encoder("mpnet"))
    expected = []
    for text, (at, gap) in zip(TEXTS, GAPS, strict=True):
        whole = torch.tensor([[*text[:at], *[20] * gap, *text[at:]]])
        mask = torch.tensor([[*[1] * at, *[0] * gap, *[1] * (len(text) - at)]])
        states = model(input_ids=whole, attention_mask=mask).last_hidden_state[0]
        expected.append(states[mask[0].bool()][[0, -1]])
    got = firsts_and_lasts(model, shifted())
    torch.testing.assert_close(got, torch.stack(expected), atol=1e-5, rtol=1e-5)


def test_a_part_keeps_its_gaps(tiny_encoder):
    model = load(tiny_encoder("bert"))
    enable_packing(model)
    batch = shifted()
    (whole,) = hidden_states(model, batch)
    parts = [hidden_states(model, part)[0] for part in batch.split([1, 3])]
    torch.testing.assert_close(torch.cat(parts), whole, atol=1e-6, rtol=1e-5)
    assert torch.equal(batch.to("cpu").position_ids, batch.position_ids)
