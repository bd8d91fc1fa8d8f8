"""The graph against `encode`, in torch, where it costs nothing: poolings, heads, families."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sentence_transformers.base.modules import Dense
from sentence_transformers.sentence_transformer.modules import LayerNorm

from families import FAMILIES, build
from simcse_kit.compute import PackedBatch
from simcse_kit.encoder import SentenceEncoder
from simcse_kit.encoder.modules import Chain, Head
from simcse_kit.encoder.persistence import read_parts
from simcse_kit.encoder.pooling import POOLINGS
from simcse_kit.encoder.runtimes.graph import Graph

from .conftest import TEXTS, headed


def vectors(encoder: SentenceEncoder, tmp_path, texts, skip=None) -> np.ndarray:
    """What the graph of the saved encoder gives for one padded batch."""
    encoder.save_pretrained(tmp_path / "saved")
    parts = read_parts(str(tmp_path / "saved"), own_code=False)
    ids = [encoder.tokenizer(text, truncation=True, max_length=64)["input_ids"] for text in texts]
    batch = PackedBatch.from_sequences(ids)
    rows, mask = batch.padded(encoder.pad_id)
    with torch.inference_mode():
        given = () if skip is None else (torch.tensor([skip]),)
        states, raw, final = Graph(parts).eval()(rows, mask.long(), *given)
    assert states.shape[:2] == rows.shape and raw.shape[0] == len(texts)
    return final[batch.order].numpy()


@pytest.mark.parametrize("pooling", [p for p in POOLINGS if p != "mask"])
def test_pools_as_encode_does(pooling, tiny_encoder, tmp_path):
    encoder = SentenceEncoder.from_pretrained(
        tiny_encoder("bert"), pooling=pooling, precision="fp32", device="cpu"
    )
    found = vectors(encoder, tmp_path, TEXTS)
    np.testing.assert_allclose(found, encoder.encode(TEXTS), atol=1e-5)


def test_pools_at_the_mask_of_a_template(tiny_encoder, tmp_path):
    encoder = headed(tiny_encoder("bert"), "mask")
    encoder.use_template('the story of "{}" is [MASK].')
    found = vectors(encoder, tmp_path, TEXTS)
    np.testing.assert_allclose(found, encoder.encode(TEXTS), atol=1e-5)


@pytest.mark.parametrize("cut", [None, 7])
@pytest.mark.parametrize("normalize", [True, False])
def test_normalises_and_cuts_as_the_folder_says(normalize, cut, tiny_encoder, tmp_path):
    encoder = headed(tiny_encoder("bert"), "cls")
    encoder.normalize, encoder.truncate_dim = normalize, cut
    found = vectors(encoder, tmp_path, TEXTS)
    assert found.shape == (len(TEXTS), cut or 24)
    np.testing.assert_allclose(found, encoder.encode(TEXTS), atol=1e-5)


def test_runs_a_folders_modules(tiny_encoder, tmp_path):
    encoder = headed(tiny_encoder("bert"))
    parts = encoder.parts()
    steps = [Dense(32, 16, bias=False), LayerNorm(16), Head(16, 8).as_module()]
    parts.head = Chain(steps, 32)
    chained = SentenceEncoder(parts, name="chained", precision="fp32").eval()
    found = vectors(chained, tmp_path, TEXTS)
    np.testing.assert_allclose(found, chained.encode(TEXTS), atol=1e-5)


@pytest.mark.parametrize("pooling", ["mean", "cls", "last_token", "max"])
def test_leaves_a_prompt_out_of_pooling(pooling, tiny_encoder, tmp_path):
    encoder = headed(tiny_encoder("bert"), pooling)
    encoder.include_prompt = False
    skip = encoder._tokens_of("find the ")
    found = vectors(encoder, tmp_path, [f"find the {text}" for text in TEXTS], skip)
    np.testing.assert_allclose(found, encoder.encode(TEXTS, prompt_name="query"), atol=1e-5)


@pytest.mark.parametrize("family", sorted(set(FAMILIES) - {"GPT-2", "LLaMA", "Qwen3", "mT5"}))
def test_computes_what_every_family_computes(family, tmp_path):
    texts = [text for text in TEXTS if text]
    plain = build(family, tmp_path / "plain")
    encoder = SentenceEncoder.from_pretrained(plain, pooling="mean", precision="fp32", device="cpu")
    if getattr(encoder.backbone, "sees_padding", False):
        texts = texts[:1] * 2  # of one length, as a runtime gets them
    expected = encoder.encode(texts)
    found = vectors(encoder, tmp_path, texts)
    np.testing.assert_allclose(found, expected, atol=1e-5 * max(1, np.abs(expected).max()))
