"""Runs on documents, and with parts of the embeddings cut off: they go on as they began."""

from __future__ import annotations

import numpy as np
import pytest

from simcse_kit.data import read_rows
from simcse_kit.encoder.sentence_encoder import SentenceEncoder
from simcse_kit.errors import InputError
from simcse_kit.training.run import train
from simcse_kit.training.runs.keeper import Keeper
from training_rows import assert_same, config, sentences, text_rows, weights

CUT = {"anchor_view": "token_cutoff", "positive_view": {"name": "feature_cutoff", "rate": 0.3}}
NEAR = {"pairing": {"name": "neighbour", "window": 2, "mask_document": True}}


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch):
    """They take seconds a run and are tested elsewhere."""
    monkeypatch.setattr(Keeper, "draw", lambda *_: None)


@pytest.fixture
def book(tmp_path):
    """Documents of 1 to 6 sentences, a blank line between them."""
    lines, sizes = sentences(40), np.random.default_rng(0).integers(1, 7, 40)
    starts = set(np.cumsum(sizes).tolist())
    path = tmp_path / "book.txt"
    path.write_text("".join(("\n" if n in starts else "") + f"{t}\n" for n, t in enumerate(lines)))
    return read_rows(path)


@pytest.mark.parametrize(
    "settings",
    [{**CUT, "mini_batch_size": 3, "bf16": True}, {**CUT, **NEAR, "keys": "momentum"}],
    ids=["in chunks of bf16", "neighbours, with a queue"],
)
def test_a_resumed_run_is_the_whole_run(tiny_encoder, tmp_path, book, settings):
    bert = tiny_encoder("bert")
    length = {"max_steps": 6, "lr_scheduler_type": "constant", "head": "none"}
    whole = train(bert, book, config(tmp_path, **length, **settings), tmp_path / "whole")
    half = config(tmp_path, **(length | {"max_steps": 3}), **settings)
    train(bert, book, half, tmp_path / "parts")
    last = config(tmp_path, **length, **settings)
    resumed = train(bert, book, last, tmp_path / "parts", resume=True)
    assert_same(weights(resumed.encoder), weights(whole.encoder))


def test_views_that_are_cut_differ_without_dropout_and_in_chunks_too(tiny_encoder, tmp_path, book):
    still = {"max_steps": 2, "dropout": 0.0, "head": "none"}
    with pytest.raises(InputError, match="dropout"):  # a text would be its own copy
        train(tiny_encoder("bert"), book, config(tmp_path, **still), tmp_path / "plain")
    losses = []
    for chunks in ({}, {"mini_batch_size": 3}):
        settings = config(tmp_path, **still, **CUT, **chunks)
        result = train(tiny_encoder("bert"), book, settings, tmp_path / f"run{len(losses)}")
        losses.append([entry["loss"] for entry in result.history if "loss" in entry])
    assert losses[0] == pytest.approx(losses[1], rel=1e-3) and min(losses[0]) > 1e-3


def test_an_encoder_that_was_trained_so_embeds_as_its_folder_does(tiny_encoder, tmp_path, book):
    given = SentenceEncoder.from_pretrained(
        tiny_encoder("bert"), pooling="mean", device="cpu", precision="fp32"
    )
    result = train(given, book, config(tmp_path, max_steps=2, **CUT), tmp_path / "run")
    loaded = SentenceEncoder.from_pretrained(tmp_path / "run", device="cpu", precision="fp32")
    texts = sentences(5)
    np.testing.assert_allclose(
        result.encoder.encode(texts), loaded.encode(texts), atol=1e-5, rtol=1e-5
    )


def test_rows_without_documents_are_refused_before_training(tiny_encoder, tmp_path):
    with pytest.raises(InputError, match="nothing tells which document"):
        train(tiny_encoder("bert"), text_rows(), config(tmp_path, **NEAR), tmp_path / "run")
    assert not (tmp_path / "run" / "model.safetensors").exists()
