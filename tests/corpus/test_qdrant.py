"""A corpus in Qdrant's local mode, against exact search."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simcse_kit.corpus import CorpusSearch, EmbeddedCorpus, QdrantIndex, qdrant
from simcse_kit.errors import InputError

pytest.importorskip("qdrant_client")

VECTORS = np.random.default_rng(1).normal(size=(90, 12)).astype(np.float32)
QUERIES = np.random.default_rng(2).normal(size=(7, 12)).astype(np.float32)


@pytest.fixture
def corpus(tmp_path: Path) -> EmbeddedCorpus:
    np.save(tmp_path / "vectors.npy", VECTORS)
    return EmbeddedCorpus(tmp_path / "vectors.npy")


@pytest.fixture
def client() -> Iterator[Any]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # local mode says that it has no payload indexes
        yield qdrant.connect(":memory:")


def rows(found: list[list[Any]]) -> list[list[int]]:
    return [[hit.row for hit in hits] for hits in found]


def test_it_finds_what_exact_search_finds(
    corpus: EmbeddedCorpus, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qdrant, "_AT_A_TIME", 40)
    monkeypatch.setattr(qdrant, "_QUERIES", 3)
    index = QdrantIndex.build(corpus, client, "mine")
    exact = CorpusSearch(corpus)
    found = QdrantIndex(client, "mine", corpus=corpus).search(QUERIES, 6)
    expected = exact.search(QUERIES, 6)
    assert len(index) == 90 and rows(found) == rows(expected)
    for ours, theirs in zip(found, expected, strict=True):
        assert [hit.score for hit in ours] == pytest.approx([hit.score for hit in theirs], abs=1e-6)
        assert [hit.id for hit in ours] == [str(hit.row) for hit in theirs]
    some = ["3", "7", "80"]
    assert rows(index.search(QUERIES, 6, ids=some)) == rows(exact.search(QUERIES, 6, ids=some))
    near = index.search(QUERIES, 90, threshold=0.3)
    assert rows(near) == rows(exact.search(QUERIES, 90, threshold=0.3))
    assert index.search(QUERIES[:0], 3) == []


def test_rows_are_added_and_taken_out(corpus: EmbeddedCorpus, client: Any) -> None:
    index = QdrantIndex.build(corpus, client, "mine")
    assert index.add(QUERIES[:2], ["one", "two"], ["first", "second"]) == range(90, 92)
    assert index.add(QUERIES[2:3], ["three"]) == range(92, 93)
    hits = [each[0] for each in index.search(QUERIES[:3], 1)]
    assert [(hit.row, hit.id, hit.text) for hit in hits] == [
        (90, "one", "first"),
        (91, "two", "second"),
        (92, "three", None),
    ]
    assert index.remove(["two", "0", "nothing"]) == 2 and len(index) == 91
    assert {91, 0} & {row for found in rows(index.search(QUERIES, 91)) for row in found} == set()


def test_a_single_id_is_one_and_a_single_vector_too(corpus: EmbeddedCorpus, client: Any) -> None:
    index = QdrantIndex.build(corpus, client, "mine")
    assert rows(index.search(QUERIES[0], 3, ids="12")) == [[12]]
    assert index.remove("12") == 1 and len(index) == 89  # and neither 1 nor 2
    assert index.add(QUERIES[0], "new", "a text") == range(90, 91)
    assert index.search(QUERIES[:1], 1)[0][0].text == "a text"
    found = index.search(VECTORS[13:15], 1, threshold=1.0)
    assert rows(found) == [[13], [14]]


def test_no_request_is_larger_than_a_server_takes(
    corpus: EmbeddedCorpus, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: list[int] = []
    plain = client.upsert

    def upsert(collection: str, points: Any, **how: Any) -> Any:
        sent.append(len(points.model_dump_json()))
        return plain(collection, points=points, **how)

    monkeypatch.setattr(client, "upsert", upsert)
    monkeypatch.setattr(qdrant, "_REQUEST", 4000)
    index = QdrantIndex.build(corpus, client, "mine")
    index.add(VECTORS[:3], ["a", "b", "c"], ["short", "ü" * 1500, "word " * 5000])  # one is alone
    assert len(index) == 93 and len(sent) > 90 * 12 * 20 / 4000
    assert sorted(sent)[-2] < 2 * 4000
    assert {hit.id for hit in index.search(VECTORS[1:2], 2)[0]} == {"1", "b"}


def test_an_interrupted_build_goes_on(
    corpus: EmbeddedCorpus, client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qdrant, "_AT_A_TIME", 20)
    put, starts = qdrant._put, []

    def some(*given: Any) -> None:
        starts.append(int(given[2][0]))
        if starts == [0, 20, 40]:
            raise KeyboardInterrupt
        put(*given)

    monkeypatch.setattr(qdrant, "_put", some)
    with pytest.raises(KeyboardInterrupt):
        QdrantIndex.build(corpus, client, "mine")
    with pytest.raises(InputError, match="is not whole"):
        QdrantIndex(client, "mine")
    assert len(QdrantIndex.build(corpus, client, "mine")) == 90
    assert starts == [0, 20, 40, 40, 60, 80]


def test_what_cannot_be(corpus: EmbeddedCorpus, client: Any, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not there"):
        QdrantIndex(client, "mine")
    index = QdrantIndex.build(corpus, client, "mine")
    with pytest.raises(InputError, match="there is a collection 'mine'"):
        QdrantIndex.build(corpus, client, "mine")
    assert len(QdrantIndex.build(corpus, client, "mine", overwrite=True)) == 90
    np.save(tmp_path / "other.npy", VECTORS[::-1])
    with pytest.raises(InputError, match="other vectors"):
        QdrantIndex(client, "mine", corpus=EmbeddedCorpus(tmp_path / "other.npy"))
    with pytest.raises(InputError, match="12 dimensions"):
        index.search(QUERIES[:, :4])
    with pytest.raises(InputError, match="1 or more"):
        index.search(QUERIES, 0)
    with pytest.raises(InputError, match="one an id"):
        index.add(QUERIES, ["a"])
    with pytest.raises(InputError, match="1 texts for 2 vectors"):
        index.add(QUERIES[:2], ["a", "b"], ["one"])
    with pytest.raises(InputError, match="no number"):
        index.search(QUERIES, 3, threshold=float("nan"))
    np.save(tmp_path / "none.npy", VECTORS[:0])
    with pytest.raises(InputError, match="no vectors"):
        QdrantIndex.build(EmbeddedCorpus(tmp_path / "none.npy"), client, "none")
    with pytest.raises(InputError, match="see that the server runs"):
        QdrantIndex("http://127.0.0.1:9", "mine")


def test_without_its_client_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qdrant.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'simcse-kit\[qdrant\]'"):
        QdrantIndex("http://127.0.0.1:9", "mine")
