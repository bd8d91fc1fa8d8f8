"""The blocked search against a plain loop in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from simcse_kit.corpus import Barred, UnitRows, cosines_at, exact, nearest


def unit(n: int, seed: int, d: int = 6) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(n, d))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def barred(*pairs: tuple[int, int]) -> Barred:
    rows = np.array(sorted(pairs), dtype=np.int64).reshape(-1, 2)
    return Barred(rows[:, 0], rows[:, 1])


def naive(
    queries: np.ndarray, corpus: np.ndarray, depth: int, out: Barred
) -> list[list[tuple[int, float]]]:
    gone = set(zip(out.query.tolist(), out.candidate.tolist(), strict=True))
    found = []
    for i, query in enumerate(queries.astype(np.float64)):
        scored = [
            (-sum(a * b for a, b in zip(query, row, strict=True)), j)
            for j, row in enumerate(corpus.astype(np.float64))
            if (i, j) not in gone
        ]
        found.append([(j, -score) for score, j in sorted(scored)[:depth]])
    return found


@pytest.mark.parametrize("block", [1, 7, 1000])
@pytest.mark.parametrize("depth", [1, 5, 90])
def test_it_is_the_naive_loop_whatever_the_block(block: int, depth: int) -> None:
    queries, corpus = unit(9, 1), unit(60, 2)
    out = barred(*((i, int(j)) for i in range(9) for j in (corpus @ queries[i]).argsort()[-i:]))
    places, cosines = nearest(queries, corpus, depth, out, block=block)
    assert places.shape == cosines.shape == (9, min(depth, 60))
    for row, expected in enumerate(naive(queries, corpus, depth, out)):
        found = [place for place in places[row].tolist() if place >= 0]
        assert found == [place for place, _ in expected]
        assert cosines[row, : len(found)] == pytest.approx([score for _, score in expected])
        assert np.isneginf(cosines[row, len(found) :]).all()


@pytest.mark.parametrize("block", [1, 3, 100])
def test_equal_vectors_stand_in_the_order_of_the_corpus(block: int) -> None:
    corpus = np.tile(unit(2, 3), (15, 1))
    places, _ = nearest(corpus[:2], corpus, 6, barred((0, 2), (1, 1)), block=block)
    assert places.tolist() == [[0, 4, 6, 8, 10, 12], [3, 5, 7, 9, 11, 13]]


@pytest.mark.parametrize("block", [1, 4, 500])
def test_what_comes_last_in_the_corpus_and_is_hardly_nearer_is_found(block: int) -> None:
    angles = np.linspace(1.2, 0.8, 300)
    corpus = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    places, _ = nearest(np.eye(1, 2, dtype=np.float32), corpus, 5, barred((0, 298)), block=block)
    assert places.tolist() == [[299, 297, 296, 295, 294]]


def test_cosines_that_float32_does_not_tell_apart_are_ordered_by_float64() -> None:
    queries = unit(40, 10, d=64)
    corpus = unit(1, 11, d=64) + np.random.default_rng(12).normal(0, 3e-8, (8, 64))
    corpus = corpus.astype(np.float32)
    places, _ = nearest(queries, corpus, 1, barred())
    expected = naive(queries, corpus, 1, barred())
    assert places[:, 0].tolist() == [row[0][0] for row in expected]


def test_candidates_without_direction_and_a_query_without_candidates() -> None:
    corpus = np.zeros((3, 4), dtype=np.float32)
    places, cosines = nearest(corpus[:2], corpus, 2, barred((1, 0), (1, 1), (1, 2)))
    assert places.tolist() == [[0, 1], [-1, -1]]
    assert cosines[0].tolist() == [0, 0] and np.isneginf(cosines[1]).all()


class Watched(np.ndarray):
    """A corpus that remembers how many rows were asked for at a time."""

    most = 0

    def __getitem__(self, key: Any) -> Any:
        got = super().__getitem__(key)
        if isinstance(key, slice):
            Watched.most = max(Watched.most, len(got))
        return got


def test_no_more_than_a_block_is_read_at_a_time() -> None:
    corpus = unit(50, 4).view(Watched)
    nearest(unit(3, 5), corpus, 4, barred(), block=8)
    assert Watched.most == 8


def test_cosines_of_no_place_are_none() -> None:
    queries, corpus = unit(2, 6), unit(4, 7)
    found = cosines_at(queries, corpus, np.array([[3, -1], [0, 2]]))
    assert found[0, 0] == pytest.approx(float(queries[0].astype(float) @ corpus[3]))
    assert np.isneginf(found[0, 1]) and np.isfinite(found[1]).all()


@pytest.mark.parametrize("block", [1, 4, 1000])
def test_only_some_rows_are_searched(block: int) -> None:
    queries, corpus = unit(9, 1), unit(60, 2)
    for some in (np.arange(20, 50), np.array([0, 3, 4, 31, 59]), np.array([7])):
        out = barred(*((i, int(some[i % len(some)])) for i in range(9)), (0, 1))
        rest = [(i, j) for i in range(9) for j in range(60) if j not in some]
        both = barred(*{*rest, *zip(out.query.tolist(), out.candidate.tolist(), strict=True)})
        places, _ = nearest(queries, corpus, 5, out, among=some, block=block)
        for row, expected in zip(places.tolist(), naive(queries, corpus, 5, both), strict=True):
            assert [place for place in row if place >= 0] == [place for place, _ in expected]
    places, cosines = nearest(queries, corpus, 5, among=np.empty(0, np.int64))
    assert (places == -1).all() and np.isneginf(cosines).all() and places.shape == (9, 5)


@pytest.mark.parametrize("block", [1, 7, 1000])
def test_what_a_device_does_is_the_same(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exact, "_ON_DEVICE", 1)
    queries, corpus = unit(9, 1), unit(60, 2)
    out = barred(*((i, int(j)) for i in range(9) for j in (corpus @ queries[i]).argsort()[-i:]))
    for among in (None, np.arange(0, 60, 2)):
        found = exact._found_on("cpu", queries, corpus, 13, out, among, block)
        expected = exact._found(queries, corpus, 13, out, among, block)
        assert found.tolist() == expected.tolist()


def test_half_floats_and_rows_of_any_length_are_searched() -> None:
    queries, corpus = unit(5, 1), (3 * unit(40, 2)).astype(np.float16)
    places, cosines = nearest(queries, UnitRows(corpus), 40)
    wanted = UnitRows(corpus)[:].astype(np.float64) @ queries.T.astype(np.float64)
    assert places.tolist() == np.argsort(-wanted.T, axis=1, kind="stable").tolist()
    assert cosines == pytest.approx(-np.sort(-wanted.T, axis=1))
