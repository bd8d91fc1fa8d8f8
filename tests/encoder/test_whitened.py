"""Whitened encoders: as sentence-transformers loads their folder, behind heads of any kind."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.base.modules import Dense, Normalize

from conftest import WORDS
from simcse_kit.encoder import Chain, Head, SentenceEncoder, whitened
from simcse_kit.errors import InputError


def texts(count: int = 80) -> list[str]:
    rng = np.random.default_rng(0)
    return [" ".join(rng.choice(WORDS, size=rng.integers(2, 9))) for _ in range(count)]


@pytest.fixture
def encoder(tiny_encoder) -> SentenceEncoder:
    return SentenceEncoder.from_pretrained(tiny_encoder("bert"), pooling="mean", precision="fp32")


def with_head(kind: str) -> torch.nn.Module | None:
    torch.manual_seed(1)
    dense = Dense(32, 20, activation_function=torch.nn.Tanh())
    return {
        "none": None,
        "head": Head(32, 20),
        "chain": Chain([dense, Dense(20, 16)], 32),
        "normalised inside": Chain([Normalize(), Dense(32, 12)], 32),
    }[kind]


@pytest.mark.parametrize("kind", ["none", "head", "chain", "normalised inside"])
def test_the_folder_gives_whitened_vectors_in_sentence_transformers(encoder, tmp_path, kind):
    encoder.head = with_head(kind)
    encoder.prompts, encoder.default_prompt = {"query": "the "}, "query"
    encoder.max_length = 20
    before = encoder.encode(texts())
    made, found = whitened(encoder, texts() + texts(9), 7)
    np.testing.assert_array_equal(encoder.encode(texts()), before)  # left as it was
    np.testing.assert_allclose(made.encode(texts()), found(before), atol=1e-4)
    np.testing.assert_allclose(np.cov(made.encode(texts()).T), np.eye(7), atol=1e-3)
    made.save_pretrained(tmp_path)
    theirs = SentenceTransformer(str(tmp_path), device="cpu")
    np.testing.assert_allclose(theirs.encode(texts()), made.encode(texts()), atol=1e-5)
    assert theirs.prompts["query"] == "the " and theirs.max_seq_length == 20
    assert type(theirs[-1]).__name__ == "Dense" and theirs[-1].out_features == 7
    again = SentenceEncoder.from_pretrained(tmp_path, precision="fp32")
    np.testing.assert_allclose(again.encode(texts()), made.encode(texts()), atol=1e-6)
    assert again.dimension == 7 and again.default_prompt == "query"


def test_all_dimensions_with_variance_are_kept_unless_told_otherwise(encoder):
    made, found = whitened(encoder, texts())
    assert found.rank == 31  # the layer norm behind each token's state takes one
    np.testing.assert_allclose(np.cov(made.encode(texts()).T), np.eye(31), atol=5e-3)


def test_a_model_that_normalises_is_whitened_before_that_as_told(encoder, tmp_path):
    encoder.normalize = True
    with pytest.raises(InputError, match=r"normalises its vectors at the end.*normalize='drop'"):
        whitened(encoder, texts(), 4)
    plain, found = whitened(encoder, texts(), 4, normalize="drop")
    kept, _ = whitened(encoder, texts(), 4, normalize="keep")
    assert encoder.normalize and not plain.normalize and kept.normalize
    vectors = plain.encode(texts())
    raw = encoder.encode(texts(), normalize=False)
    np.testing.assert_allclose(vectors, found(raw), atol=1e-4)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    kept.save_pretrained(tmp_path)
    theirs = SentenceTransformer(str(tmp_path), device="cpu")
    np.testing.assert_allclose(theirs.encode(texts()), unit, atol=1e-5)
    assert [type(each).__name__ for each in theirs][-2:] == ["Dense", "Normalize"]


def test_what_a_model_cuts_off_plays_no_part(encoder, tmp_path):
    encoder.truncate_dim = 10
    made, found = whitened(encoder, texts(), 6)
    assert found.weight.shape == (10, 6) and made.truncate_dim is None and made.dimension == 6
    np.testing.assert_allclose(made.encode(texts()), found(encoder.encode(texts())), atol=1e-4)
    made.save_pretrained(tmp_path)
    theirs = SentenceTransformer(str(tmp_path), device="cpu")
    np.testing.assert_allclose(theirs.encode(texts()), made.encode(texts()), atol=1e-5)


@pytest.mark.parametrize(
    ("given", "how", "said"),
    [
        (["a man"] * 9, {}, "1 different texts do not fill the 32 dimensions"),
        (["a man"] * 9, {"dimensions": 1}, "no variance; give at least two"),
        (texts(32), {}, "32 different texts do not fill"),
        (texts(5), {"dimensions": 5}, "vary in 4 directions, fewer than the 5"),
        (texts(), {"dimensions": 33}, "cannot be whitened to 33"),
        (texts(), {"normalize": "keep"}, "has no Normalize to keep"),
    ],
)
def test_what_cannot_be_whitened_is_said(encoder, given, how, said):
    with pytest.raises(InputError, match=said):
        whitened(encoder, given, **how)
