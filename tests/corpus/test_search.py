"""Search in an embedded corpus against numpy and sentence-transformers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from simcse_kit.corpus import (
    CorpusSearch,
    EmbeddedCorpus,
    build_index,
    dedupe_corpus,
    embed_corpus,
    near_duplicates,
    unit,
)
from simcse_kit.encoder import SentenceEncoder
from simcse_kit.errors import InputError

VECTORS = np.random.default_rng(1).normal(size=(300, 12)).astype(np.float32)
QUERIES = np.random.default_rng(2).normal(size=(7, 12)).astype(np.float32)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A bare ``.npy`` of vectors of any length."""
    np.save(tmp_path / "vectors.npy", VECTORS)
    return tmp_path / "vectors.npy"


def test_it_is_the_semantic_search_of_sentence_transformers(file: Path) -> None:
    from sentence_transformers.util import semantic_search

    theirs = semantic_search(torch.from_numpy(QUERIES), torch.from_numpy(VECTORS), top_k=9)
    found = CorpusSearch(file).search(QUERIES, 9)
    for hits, expected in zip(found, theirs, strict=True):
        assert [hit.row for hit in hits] == [each["corpus_id"] for each in expected]
        assert [hit.score for hit in hits] == pytest.approx(
            [each["score"] for each in expected], abs=1e-6
        )
        assert {(hit.id == str(hit.row), hit.text) for hit in hits} == {(True, None)}


def test_an_added_row_without_an_id_is_found_by_its_number(file: Path) -> None:
    pytest.importorskip("faiss")
    build_index(EmbeddedCorpus(file), factory="Flat").add(unit(QUERIES[:2]), ids=["", "b"])
    search = CorpusSearch(file)
    assert search.search(QUERIES[:1], 1)[0][0].id == "300"
    assert search.rows_of(["300", "b"]).tolist() == [300, 301]


@pytest.mark.parametrize("kind", ["<f2", "<f4", ">f4", "<f8", ">f2"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_a_bare_file_may_hold_any_floats(
    kind: str, order: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    np.save(tmp_path / "v.npy", np.asarray(VECTORS, np.dtype(kind), order=order))
    corpus = EmbeddedCorpus(tmp_path / "v.npy")
    expected = np.load(tmp_path / "v.npy").astype(np.float32)
    asked: list[Any] = []
    if not isinstance(corpus.vectors, np.ndarray):  # it is read as it is asked, never as a whole
        assert isinstance(corpus.vectors._numbers, np.memmap)
        monkeypatch.setattr(
            *(type(corpus.vectors), "__getitem__"),
            lambda self, rows: asked.append(rows) or self._numbers[rows].astype(np.float32),
        )
    assert len(corpus) == 300 and corpus.dimension == 12 and corpus.vectors.dtype == np.float32
    exact = unit(QUERIES).astype(float) @ unit(expected).astype(float).T
    for row, hits in zip(exact, CorpusSearch(corpus).search(QUERIES, 20), strict=True):
        assert [hit.row for hit in hits] == np.argsort(-row, kind="stable")[:20].tolist()
    found = dedupe_corpus(corpus, 0.8).found
    assert found.kept.tolist() == near_duplicates(unit(expected), 0.8).kept.tolist()
    np.testing.assert_array_equal(np.concatenate([rows for _, rows in corpus.blocks(7)]), expected)
    assert not any(isinstance(rows, slice) and rows == slice(None) for rows in asked)


def test_a_file_of_halves_has_an_index(tmp_path: Path) -> None:
    pytest.importorskip("faiss")
    np.save(tmp_path / "v.npy", VECTORS.astype(np.float16))
    expected = CorpusSearch(tmp_path / "v.npy").search(QUERIES, 5)
    build_index(EmbeddedCorpus(tmp_path / "v.npy"), factory="Flat")
    search = CorpusSearch(tmp_path / "v.npy")
    assert not search.exact and search.search(QUERIES, 5) == expected


@pytest.mark.parametrize(
    "held",
    [
        np.ones((3, 4), np.int8),
        np.ones((3, 4), complex),
        np.ones(3),
        np.ones((3, 0)),
        np.float32(1),
    ],
)
def test_a_bare_file_of_anything_else_is_refused(held: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "v.npy", held)
    with pytest.raises(InputError, match="embeddings are float16, float32 or float64"):
        EmbeddedCorpus(tmp_path / "v.npy")
    np.savez(tmp_path / "v.npz", held)
    with pytest.raises(InputError, match=r"is no \.npy file that can be read; give a folder"):
        EmbeddedCorpus((tmp_path / "v.npz").rename(tmp_path / "v.npy"))


def test_queries_are_vectors_however_a_program_holds_them(file: Path) -> None:
    search = CorpusSearch(file)
    expected = search.search(QUERIES, 4)
    for queries in (torch.from_numpy(QUERIES), QUERIES.tolist(), [*torch.from_numpy(QUERIES)]):
        assert search.search(queries, 4) == expected
    for one in (QUERIES[0], torch.from_numpy(QUERIES[0])):
        assert search.search(one, 4) == expected[:1]


def test_queries_in_any_number_need_no_more_memory(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import simcse_kit.corpus.search as module

    expected, asked = CorpusSearch(file).search(QUERIES, 100), []
    plain = module.nearest

    def watched(queries: np.ndarray, *args: Any, **how: Any) -> Any:
        asked.append(len(queries))
        return plain(queries, *args, **how)

    monkeypatch.setattr(module, "_FOUND", 200)
    monkeypatch.setattr(module, "nearest", watched)
    assert CorpusSearch(file).search(QUERIES, 100) == expected
    assert asked == [2, 2, 2, 1]


def test_a_threshold_of_one_finds_equal_vectors_and_no_score_is_above_it(file: Path) -> None:
    found = CorpusSearch(file).search(VECTORS, 1, threshold=1.0)
    assert [[hit.row for hit in hits] for hits in found] == [[row] for row in range(300)]
    exact = np.einsum("nd,nd->n", *[unit(VECTORS).astype(float)] * 2)
    assert exact.max() > 1 > exact.min()  # as float32 rounds
    assert max(hit.score for hits in found for hit in hits) == 1
    assert CorpusSearch(file).search(QUERIES, 1, threshold=1.0) == [[]] * 7


def test_no_query_needs_no_model(file: Path) -> None:
    for nothing in ([], (), QUERIES[:0]):
        assert CorpusSearch(file).search(nothing, 3) == []


def test_a_single_id_is_one(file: Path) -> None:
    search = CorpusSearch(file)
    assert [hit.row for hit in search.search(QUERIES[0], 3, ids="12")[0]] == [12]
    assert search.rows_of("120").tolist() == [120]


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_rows_that_are_not_finite_hide_no_others(tmp_path: Path, wrong: float) -> None:
    vectors = VECTORS.copy()
    vectors[5:40, 3] = wrong
    np.save(tmp_path / "vectors.npy", vectors)
    with pytest.raises(InputError, match=r"vectors\.npy: a vector is not finite; embed it again"):
        CorpusSearch(tmp_path / "vectors.npy").search(QUERIES, 9)


def test_threshold_and_ids_leave_out_rows(file: Path) -> None:
    search = CorpusSearch(file)
    exact = unit(QUERIES).astype(np.float64) @ unit(VECTORS).astype(np.float64).T
    for row, hits in zip(exact, search.search(QUERIES, 300, threshold=0.4), strict=True):
        order = np.argsort(-row, kind="stable")
        assert [hit.row for hit in hits] == order[row[order] >= 0.4].tolist()
    some = [299, 4, 17, 18, 100]
    for row, hits in zip(exact, search.search(QUERIES, 4, ids=map(str, some)), strict=True):
        assert [hit.row for hit in hits] == sorted(some, key=lambda at: -row[at])[:4]
    assert search.search(QUERIES, 4, ids=[]) == [[]] * 7


@pytest.mark.parametrize("how", ["exact", "index"])
def test_what_was_added_and_removed_counts_for_both(file: Path, how: str) -> None:
    pytest.importorskip("faiss")
    index = build_index(EmbeddedCorpus(file), factory="HNSW16_SQ8", recall=1.0)
    index.add(unit(QUERIES[:2]), ids=["one", "two"], texts=["first", "second"])
    best = int(np.argmax(unit(VECTORS) @ unit(QUERIES)[2]))
    index.remove(np.array([best]))
    search = CorpusSearch(file, how=how)  # type: ignore[arg-type]
    assert len(search) == 301 and search.exact == (how == "exact")
    found = search.search(QUERIES, 3)
    assert [(h[0].id, h[0].text, h[0].row) for h in found[:2]] == [
        ("one", "first", 300),
        ("two", "second", 301),
    ]
    assert found[0][0].score == pytest.approx(1)
    assert best not in [hit.row for hit in found[2]]
    (only,) = search.search(QUERIES[:1], 3, ids=["two", "5", str(best)])
    assert {hit.id for hit in only} == {"two", "5"}


def test_the_index_of_another_corpus_is_refused(file: Path) -> None:
    pytest.importorskip("faiss")
    with pytest.raises(InputError, match="has no index"):
        CorpusSearch(file, how="index")
    build_index(EmbeddedCorpus(file))
    assert not CorpusSearch(file).exact
    np.save(file, VECTORS[::-1])
    with pytest.raises(InputError, match="other vectors"):
        CorpusSearch(file)
    assert CorpusSearch(file, how="exact").index is None  # nothing hangs on it


def test_texts_are_embedded_by_the_encoder_given(
    tiny_encoder: Callable[[str], Path], tmp_path: Path
) -> None:
    encoder = SentenceEncoder.from_pretrained(tiny_encoder("bert"), pooling="mean")
    encoder.prompts["query"] = "find: "
    texts = ["a man", "the dog runs", "a red house", "new books"]
    np.save(tmp_path / "texts.npy", encoder.encode(texts))
    search = CorpusSearch(tmp_path / "texts.npy", encoder=encoder)
    (hits,) = search.search("a man", 4)
    vectors = unit(encoder.encode(texts)).astype(np.float64)
    exact = vectors @ unit(encoder.encode("a man", prompt="find: ")).astype(np.float64)
    assert [hit.row for hit in hits] == np.argsort(-exact).tolist()
    assert hits[0].score == pytest.approx(exact.max(), abs=1e-6)
    for both in (["a man", "new"], np.array(["a man", "new"]), iter(["a man", "new"])):
        assert search.search(both, 1)[0] == hits[:1]  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["fp32", "fp16", "int8", "binary"])
@pytest.mark.parametrize("store", ["parquet", "npy"])
def test_vectors_are_searched_as_they_are_kept(
    kind: str, store: str, tiny_encoder: Callable[[str], Path], tmp_path: Path
) -> None:
    encoder = SentenceEncoder.from_pretrained(tiny_encoder("bert"), pooling="mean")
    texts = [f"{who} {does} the {what}" for who in "abc" for does in "de" for what in "fghi"]
    (tmp_path / "texts.txt").write_text("\n".join(texts))
    how: dict[str, Any] = {"type": kind, "store": store, "texts": True, "shard_rows": 7}
    embed_corpus(encoder, tmp_path / "texts.txt", tmp_path / "kept", dimension=16, **how)
    search = CorpusSearch(tmp_path / "kept", encoder=encoder)
    kept = np.asarray(search.corpus.vectors[:])
    asked = unit(encoder.encode("a d the i", normalize=True)[:16])
    exact = unit(kept).astype(np.float64) @ asked.astype(np.float64)
    (hits,) = search.search("a d the i", 24)
    assert [hit.row for hit in hits] == np.argsort(-exact, kind="stable").tolist()
    assert [hit.score for hit in hits] == pytest.approx(np.sort(exact)[::-1], abs=1e-6)
    assert [hit.text for hit in hits] == [texts[hit.row] for hit in hits]


def test_the_corpus_names_its_encoder(tiny_encoder: Callable[[str], Path], tmp_path: Path) -> None:
    import shutil

    SentenceEncoder.from_pretrained(tiny_encoder("bert"), pooling="mean").save_pretrained(
        tmp_path / "model"
    )
    encoder = SentenceEncoder.from_pretrained(tmp_path / "model")
    (tmp_path / "texts.txt").write_text("a man\na dog\n")
    embed_corpus(encoder, tmp_path / "texts.txt", tmp_path / "kept")
    (hits,) = CorpusSearch(tmp_path / "kept").search("a dog", 1)
    assert hits[0].row == 1 and hits[0].score == pytest.approx(1, abs=1e-5)
    shutil.rmtree(tmp_path / "model")
    with pytest.raises(InputError, match="the queries want the model"):
        CorpusSearch(tmp_path / "kept").search("a dog", 1)


def test_what_cannot_be(file: Path, tiny_encoder: Callable[[str], Path], tmp_path: Path) -> None:
    search = CorpusSearch(file)
    for queries, k, how, said in [
        (QUERIES[:, :5], 3, {}, "the corpus has 12 dimensions"),
        (np.full((1, 12), np.inf), 3, {}, "not finite"),
        (QUERIES, 0, {}, "ask for 1 or more"),
        (QUERIES, 3, {"threshold": float("nan")}, "the threshold is nan, which is no number"),
        (np.array([["a"]]), 3, {}, "does not say which model"),
        (QUERIES, 3, {"ids": ["4", "300", "x"]}, "2 of 3 ids are not in .*: '300', 'x'"),
        ("a man", 3, {}, "does not say which model"),
    ]:
        with pytest.raises(InputError, match=said):
            search.search(queries, k, **how)  # type: ignore[arg-type]
    encoder = SentenceEncoder.from_pretrained(tiny_encoder("bert"), pooling="mean")
    with pytest.raises(InputError, match="makes 32"):
        CorpusSearch(file, encoder=encoder)
    with pytest.raises(InputError, match="how"):
        CorpusSearch(file, how="fast")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="method"):
        dedupe_corpus(EmbeddedCorpus(file), method="fast")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="nowhere"):
        CorpusSearch(tmp_path / "nowhere")
    np.save(tmp_path / "none.npy", VECTORS[:0])
    assert CorpusSearch(tmp_path / "none.npy").search(QUERIES, 3) == [[]] * 7
    with pytest.raises(InputError, match="no vectors"):
        build_index(EmbeddedCorpus(tmp_path / "none.npy"))
