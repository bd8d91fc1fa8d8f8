"""Pooling against Hugging Face states pooled by hand, one sentence at a time."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModel

from simcse_kit.compute.packing import PackedBatch, enable_packing
from simcse_kit.encoder.pooling import POOLINGS, check_pooling, pool
from simcse_kit.errors import InputError

BY_HAND = {
    "cls": lambda h: h[-1][0],
    "cls_before_pooler": lambda h: h[-1][0],
    "mean": lambda h: h[-1].mean(0),
    # "first" is the first transformer layer: hidden_states[0] is the embedding layer
    "first_last_mean": lambda h: ((h[1] + h[-1]) / 2).mean(0),
    "top2_mean": lambda h: ((h[-2] + h[-1]) / 2).mean(0),
    "max": lambda h: h[-1].max(0).values,
    "last_token": lambda h: h[-1][-1],
    "mask": lambda h: h[-1][1],  # where the tests put it
}


@pytest.mark.parametrize("family", ["bert", "mpnet"])
@pytest.mark.parametrize("pooling", POOLINGS)
def test_equals_pooling_by_hand(tiny_encoder, family, pooling):
    model = AutoModel.from_pretrained(tiny_encoder(family), dtype=torch.float32).eval()
    mask = 4
    texts = [[5, mask, 7, 8], [9, mask], [11, mask, 13, 14, 15, 16], [7, mask]]
    expected = []
    with torch.no_grad():
        for text in texts:
            ids = torch.tensor([text])
            output = model(ids, attention_mask=torch.ones_like(ids), output_hidden_states=True)
            expected.append(BY_HAND[pooling]([layer[0] for layer in output.hidden_states]))
        enable_packing(model)
        got = pool(model, PackedBatch.from_sequences(texts), pooling, mask_id=mask)
    torch.testing.assert_close(got, torch.stack(expected), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("laid_out", [False, True])
@pytest.mark.parametrize("skip", [0, 2])
@pytest.mark.parametrize(
    "modes",
    [
        ["mean_sqrt_len_tokens"],
        ["weightedmean"],
        ["cls", "mean", "max"],
        ["lasttoken", "weightedmean", "cls"],
    ],
)
def test_equals_sentence_transformers_with_a_prompt_left_out(tiny_encoder, modes, skip, laid_out):
    from sentence_transformers.sentence_transformer.modules import Pooling

    model = AutoModel.from_pretrained(tiny_encoder("bert"), dtype=torch.float32).eval()
    texts = [[5, 6, 7, 8], [9, 10, 11], [11, 12, 13, 14, 15, 16], [7, 7, 8]]
    ids = torch.nn.utils.rnn.pad_sequence([torch.tensor(text) for text in texts], batch_first=True)
    mask = (ids > 0).long()
    with torch.no_grad():
        states = model(ids, attention_mask=mask).last_hidden_state
        features = {"token_embeddings": states, "attention_mask": mask, "prompt_length": skip}
        theirs = Pooling(32, modes, include_prompt=False)(features)["sentence_embedding"]
        enable_packing(model)
        batch = PackedBatch.from_sequences(texts)
        batch = batch.laid_out(0) if laid_out else batch
        names = "+".join("last_token" if mode == "lasttoken" else mode for mode in modes)
        ours = pool(model, batch, check_pooling(names), skip)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-5)


def test_every_pooling_has_an_oracle():
    assert set(BY_HAND) == set(POOLINGS)


def test_an_unknown_pooling_names_the_known_ones():
    with pytest.raises(InputError, match=r"unknown pooling 'avg'.*mean"):
        check_pooling("avg")
    with pytest.raises(InputError, match=r"unknown pooling 'mean\+top2_mean'"):
        check_pooling("mean+top2_mean")
    with pytest.raises(InputError, match=r"unknown pooling 'mask\+mean'"):
        check_pooling("mask+mean")
