"""An export run by ONNX Runtime behind the same `encode`, against torch."""

from __future__ import annotations

import copy
import json
import pickle
import threading

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from families import FAMILIES, build
from simcse_kit.encoder import SentenceEncoder, embeddings_of, export
from simcse_kit.errors import InputError

from .conftest import TEXTS, headed

ort = pytest.importorskip("onnxruntime")


@pytest.fixture(scope="module")
def loaded(made) -> SentenceEncoder:
    return SentenceEncoder.from_pretrained(made.folder, backend="onnx")


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"batch_tokens": 8},
        {"normalize": False},
        {"prompt_name": "query"},
        {"prompt": "the one "},
        {"precision": "fp32"},
    ],
)
def test_gives_the_same_rows(settings, loaded, made):
    expected = made.encoder.encode(TEXTS, **settings)
    np.testing.assert_allclose(loaded.encode(TEXTS, **settings), expected, atol=1e-5)


@pytest.mark.parametrize("texts", [["dog"], [""], ["dog"] * 3, TEXTS[3:4], TEXTS * 9])
def test_takes_any_number_of_texts_and_tokens(texts, loaded, made):
    np.testing.assert_allclose(loaded.encode(texts), made.encoder.encode(texts), atol=1e-5)


def test_keeps_the_rest_of_encode(loaded, made):
    np.testing.assert_array_equal(loaded.encode(TEXTS, precision="auto"), loaded.encode(TEXTS))
    assert loaded.precision == "fp32" and loaded.device.type == "cpu" and not loaded.packed
    assert loaded.dimension == 24 and loaded.max_length == made.encoder.max_length
    assert loaded.encode("dog").shape == (24,) and loaded.encode([]).shape == (0, 24)
    out = np.empty((2, 24), np.float32)
    assert loaded.encode(iter(TEXTS[:2]), out=out) is out
    np.testing.assert_allclose(out, made.encoder.encode(TEXTS[:2]), atol=1e-5)
    np.testing.assert_allclose(
        loaded.encode_query(TEXTS), made.encoder.encode_query(TEXTS), atol=1e-5
    )
    np.testing.assert_allclose(loaded.similarity(TEXTS), made.encoder.similarity(TEXTS), atol=1e-5)


def test_cuts_where_it_is_told_to_later(made):
    loaded = SentenceEncoder.from_pretrained(made.folder, backend="onnx")
    ours = copy.copy(made.encoder)
    for encoder in (loaded, ours):
        encoder.truncate_dim = 5
    np.testing.assert_allclose(loaded.encode(TEXTS), ours.encode(TEXTS), atol=1e-5)


def test_is_copied_and_works_from_several_threads(loaded, made):
    expected = made.encoder.encode(TEXTS)
    for other in (pickle.loads(pickle.dumps(loaded)), copy.deepcopy(loaded)):
        np.testing.assert_allclose(other.encode(TEXTS), expected, atol=1e-5)
    found: dict[int, np.ndarray] = {}
    threads = [
        threading.Thread(target=lambda i=i: found.update({i: loaded.encode(TEXTS)}))
        for i in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for rows in found.values():
        np.testing.assert_allclose(rows, expected, atol=1e-5)
    assert len(found) == 4


def test_graph_alone_gives_states_and_final_vectors(made):
    session = ort.InferenceSession(str(made.folder / "onnx/model.onnx"))
    assert [each.name for each in session.get_inputs()] == ["input_ids", "attention_mask"]
    tokens = AutoTokenizer.from_pretrained(made.folder)(TEXTS, padding=True, return_tensors="pt")
    tokens = {name: tokens[name] for name in ("input_ids", "attention_mask")}
    given = {name: each.numpy() for name, each in tokens.items()}
    states, final = session.run(["last_hidden_state", "sentence_embedding"], given)
    np.testing.assert_allclose(final, made.encoder.encode(TEXTS), atol=1e-5)
    with torch.inference_mode():
        expected = AutoModel.from_pretrained(made.folder)(**tokens).last_hidden_state.numpy()
    inside = given["attention_mask"].astype(bool)
    np.testing.assert_allclose(states[inside], expected[inside], atol=1e-5)


def test_folder_says_what_was_lost(made):
    note = json.loads((made.folder / "onnx/export.json").read_text())
    measured = note["measured"]
    assert measured["texts"] > 40 and measured["min_cosine"] > 1 - 1e-6
    assert 0 < measured["largest_difference"] < 1e-5
    card = (made.folder / "README.md").read_text()
    assert "## Export for ONNX Runtime" in card and "in fp32: cosine to fp32 1.000000" in card


def test_folder_still_loads_in_torch(made):
    again = SentenceEncoder.from_pretrained(made.folder, device="cpu", precision="fp32")
    np.testing.assert_allclose(again.encode(TEXTS), made.encoder.encode(TEXTS), atol=1e-6)
    loaded = SentenceEncoder.from_pretrained(made.folder, backend="onnx")
    assert embeddings_of(again, "", True) != embeddings_of(loaded, "", True)


def test_weights_are_let_go_and_missed_in_a_sentence(loaded, tmp_path):
    assert all(each.is_meta for each in loaded.parameters())
    for forbidden in (
        loaded.train,
        loaded.parts,
        loaded.half,
        lambda: loaded.to("cpu"),
        lambda: loaded.save_pretrained(tmp_path / "saved"),
        lambda: export(loaded, tmp_path / "again"),
    ):
        with pytest.raises(InputError, match="load it with backend='torch'"):
            forbidden()
    assert not list(tmp_path.iterdir())
    loaded.eval()


def test_graph_keeps_its_pooling_and_head(made):
    for name, value in (("pooling", "cls"), ("head", None)):
        loaded = SentenceEncoder.from_pretrained(made.folder, backend="onnx")
        setattr(loaded, name, value)
        with pytest.raises(InputError, match="which the graph keeps"):
            loaded.encode(TEXTS)


@pytest.mark.slow
def test_prompts_that_are_not_pooled_are_an_input(tiny_encoder, tmp_path):
    encoder = headed(tiny_encoder("bert"))
    encoder.include_prompt = False
    export(encoder, tmp_path / "made")
    loaded = SentenceEncoder.from_pretrained(tmp_path / "made", backend="onnx")
    for given in ({}, {"prompt_name": "query"}, {"prompt": "one two three "}):
        expected = encoder.encode(TEXTS, **given)
        np.testing.assert_allclose(loaded.encode(TEXTS, **given), expected, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("family", sorted(set(FAMILIES) - {"Longformer"}))
def test_every_family_alike(family, tmp_path):
    texts = [text for text in TEXTS if text]
    plain = build(family, tmp_path / "plain")
    encoder = SentenceEncoder.from_pretrained(plain, pooling="mean", precision="fp32", device="cpu")
    export(encoder, tmp_path / "made")
    loaded = SentenceEncoder.from_pretrained(tmp_path / "made", backend="onnx")
    for some in (texts, texts[1:2], texts[2:3]):
        expected = encoder.encode(some)
        atol = 1e-5 * max(1, np.abs(expected).max())
        np.testing.assert_allclose(loaded.encode(some), expected, atol=atol)


@pytest.mark.slow
def test_family_that_torch_cannot_export_is_named(tmp_path):
    plain = build("Longformer", tmp_path / "plain")
    encoder = SentenceEncoder.from_pretrained(plain, pooling="mean", precision="fp32", device="cpu")
    with pytest.raises(InputError, match="torch cannot export a longformer encoder"):
        export(encoder, tmp_path / "made")
    assert not (tmp_path / "made").exists()
