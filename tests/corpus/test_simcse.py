"""The class of the ``simcse`` package: its shapes, its defaults, and cosines by numpy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from simcse_kit import SimCSE
from simcse_kit.corpus import approximate
from simcse_kit.errors import InputError

SENTENCES = [
    "a man plays the guitar",
    "a woman plays the piano",
    "the dog runs on the beach",
    "a cat sleeps in the kitchen",
    "two people walk in the city",
    "a man plays a guitar",
]


@pytest.fixture(scope="module")
def model(tiny_encoder: Callable[[str], Path]) -> SimCSE:
    return SimCSE(tiny_encoder("bert"), pooler="cls_before_pooler", num_cells=2)


def cosines(model: SimCSE, queries: list[str], keys: list[str]) -> np.ndarray:
    left, right = (model.encoder.encode(texts).astype(np.float64) for texts in (queries, keys))
    left /= np.linalg.norm(left, axis=1, keepdims=True)
    right /= np.linalg.norm(right, axis=1, keepdims=True)
    found: np.ndarray = left @ right.T
    return found


def test_encode_has_their_shapes(model: SimCSE) -> None:
    one = model.encode(SENTENCES[0])
    assert isinstance(one, torch.Tensor) and one.shape == (32,)
    assert float(one.norm()) == pytest.approx(1, abs=1e-6)
    assert model.encode(SENTENCES[0], keepdim=True).shape == (1, 32)
    several = model.encode(SENTENCES, return_numpy=True, batch_size=2)
    assert isinstance(several, np.ndarray) and several.shape == (6, 32)
    raw = model.encode(SENTENCES, return_numpy=True, normalize_to_unit=False)
    assert raw == pytest.approx(model.encoder.encode(SENTENCES), abs=1e-6)
    assert model.encode([], return_numpy=True).shape == (0, 32)  # theirs crashes
    cut = model.encode(SENTENCES[0], max_length=4, return_numpy=True)
    assert cut == pytest.approx(model.encode("a man", return_numpy=True), abs=1e-6)
    assert model.encoder.max_length == 64


def test_similarity_has_their_shapes(model: SimCSE) -> None:
    two, rest = SENTENCES[:2], SENTENCES[2:]
    expected = cosines(model, two, rest)
    assert model.similarity(two, rest) == pytest.approx(expected, abs=1e-5)
    assert model.similarity(two[0], rest) == pytest.approx(expected[0], abs=1e-5)
    one = model.similarity(two[0], rest[0])
    assert isinstance(one, float) and one == pytest.approx(expected[0, 0], abs=1e-5)
    assert np.shape(model.similarity(two, rest[0])) == (2, 1)
    scaled = 3 * model.encoder.encode(rest)
    assert model.similarity(two, scaled) == pytest.approx(expected, abs=1e-5)
    with pytest.raises(InputError, match="5 dimensions"):
        model.similarity(two, np.ones((3, 5)))


@pytest.mark.parametrize("use_faiss", [False, True, None])
def test_search_gives_sentences_and_cosines(model: SimCSE, use_faiss: bool | None) -> None:
    if use_faiss:
        pytest.importorskip("faiss")
    model.build_index(SENTENCES[:4], use_faiss=use_faiss)
    given = SENTENCES[4:]
    model.add_to_index(given)
    assert given == SENTENCES[4:]  # theirs changes the caller's list
    expected = cosines(model, SENTENCES[:2], SENTENCES)
    found = model.search(SENTENCES[:2], threshold=-1, top_k=3)
    for row, hits in zip(expected, found, strict=True):
        best = np.argsort(-row)[:3]
        assert [text for text, _ in hits] == [SENTENCES[at] for at in best]
        assert [score for _, score in hits] == pytest.approx(row[best], abs=1e-5)
    single = model.search(SENTENCES[0], threshold=-1, top_k=3)
    assert single == found[0] and single[0] == (SENTENCES[0], pytest.approx(1))
    least = found[0][1][1] - 1e-6
    assert [text for text, _ in model.search(SENTENCES[0], threshold=least)] == [
        text for text, score in model.search(SENTENCES[0], threshold=-1, top_k=9) if score >= least
    ]
    assert model.search("a man", threshold=1.01) == [] and model.search([], top_k=2) == []
    assert len(model.search("a man", threshold=-1, top_k=50)) == 6


def test_cells_and_a_file(model: SimCSE, tmp_path: Path) -> None:
    pytest.importorskip("faiss")
    (tmp_path / "sentences.txt").write_text("\n".join(SENTENCES) + "\n")
    model.build_index(str(tmp_path / "sentences.txt"), use_faiss=True, faiss_fast=True)
    found = model.search(SENTENCES, threshold=0.999, top_k=1)
    assert [hits[0][0] for hits in found] == SENTENCES


def test_what_cannot_be(
    tiny_encoder: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="pooler='cls' for a supervised"):
        SimCSE(tiny_encoder("bert"))
    with pytest.raises(InputError) as lost:  # whatever its name is
        SimCSE(tmp_path / "choose a pooling")
    assert "does not say its pooling" not in str(lost.value)
    with pytest.raises(
        InputError, match=r"device 'gpu' is not to be had .*; leave it out, or take"
    ):
        SimCSE(tiny_encoder("bert"), device="gpu", pooler="mean")
    for name in ("num_cells", "num_cells_in_search"):
        with pytest.raises(InputError, match=f"{name} is 0; it must be 1 or more"):
            SimCSE(tiny_encoder("bert"), pooler="mean", **{name: 0})
    model = SimCSE(tiny_encoder("bert"), pooler="mean")
    for device in ("gpu", "cuda:77", "", 1.5):
        with pytest.raises(InputError, match=f"device '{device}' is not to be had"):
            model.encode("a man", device=device)
    assert model.encode("a man", device="cpu").shape == (32,)
    with pytest.raises(InputError, match="call build_index first"):
        model.search("a man")
    with pytest.raises(InputError, match="no sentences"):
        model.build_index([])
    with pytest.raises(InputError, match=r"nowhere\.txt"):
        model.build_index(str(tmp_path / "nowhere.txt"))
    monkeypatch.setattr(approximate.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="use_faiss=False"):
        model.build_index(SENTENCES, use_faiss=True)
    model.build_index(SENTENCES)
    assert model.search(SENTENCES[0], top_k=1)[0][0] == SENTENCES[0]
    for top_k in (0, -1):
        with pytest.raises(InputError, match=f"top_k is {top_k}; ask for 1 or more"):
            model.search("a man", top_k=top_k)


def test_the_trained_layer_of_a_supervised_checkpoint_is_kept(
    tiny_encoder: Callable[[str], Path],
) -> None:
    kept = SimCSE(tiny_encoder("bert"), pooler="cls")
    plain = SimCSE(tiny_encoder("bert"), pooler="cls_before_pooler")
    raw = plain.encoder.encode(SENTENCES, normalize=False)
    from transformers import AutoModel

    pooler = AutoModel.from_pretrained(tiny_encoder("bert")).pooler
    with torch.no_grad():
        expected = pooler.activation(pooler.dense(torch.from_numpy(raw))).numpy()
    found = kept.encode(SENTENCES, return_numpy=True, normalize_to_unit=False)
    assert found == pytest.approx(expected, abs=2e-2)  # bf16 where the hardware has it
