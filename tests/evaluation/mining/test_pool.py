"""Which texts are candidates of which anchors, against sets of texts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from simcse_kit.data import Rows, read_rows
from simcse_kit.errors import InputError
from simcse_kit.evaluation.mining.pool import pool_of


def rows(*pairs: tuple[str, str]) -> Rows:
    return read_rows([{"anchor": a, "positive": p} for a, p in pairs])


def naive(pairs: list[tuple[str, str]], anchor: str, candidates: list[str]) -> set[str]:
    linked = {p for a, p in pairs if a == anchor} | {a for a, p in pairs if p == anchor}
    return {text for text in candidates if text == anchor or text in linked}


def test_own_and_linked_texts_are_barred_both_ways_and_once() -> None:
    draw = np.random.default_rng(0)
    for _ in range(20):
        texts = [f"t{number}" for number in draw.integers(0, 9, 24)]
        pairs = list(zip(texts[:12], texts[12:], strict=True))
        pool = pool_of(rows(*pairs), corpus=["t1", "t8", "extra", "extra"])
        assert pool.anchors == list(dict.fromkeys(texts[:12]))
        assert pool.candidates == list(dict.fromkeys([*texts[12:], "t1", "t8", "extra"]))
        written = zip(pool.anchor.tolist(), pool.positive.tolist(), strict=True)
        found = [(pool.anchors[a], pool.candidates[p]) for a, p in written]
        assert sorted(found) == sorted(set(pairs)) and (np.diff(pool.anchor) >= 0).all()
        assert pool.repeated == 12 - len(set(pairs))
        expected = [
            (a, c)
            for a, anchor in enumerate(pool.anchors)
            for c, text in enumerate(pool.candidates)
            if text in naive(pairs, anchor, pool.candidates)
        ]
        barred = list(zip(pool.barred.query.tolist(), pool.barred.candidate.tolist(), strict=True))
        assert barred == expected
        assert pool.own == sum(anchor in pool.candidates for anchor in pool.anchors)
        assert pool.linked == len(expected) - pool.own


def test_some_of_the_barred_are_numbered_from_their_first_query() -> None:
    pool = pool_of(rows(("a", "b"), ("c", "d"), ("e", "f")))
    some = pool.barred.between(1, 3)
    assert some.query.tolist() == [0, 1] and some.candidate.tolist() == [1, 2]


def test_rows_without_a_negative_are_refused() -> None:
    with pytest.raises(InputError, match=r"every text is a positive of every anchor, .*--corpus"):
        pool_of(rows(("a", "b"), ("b", "a"), ("a", "b")))
    assert len(pool_of(rows(("a", "b")), corpus=["c"]).candidates) == 2


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ([{"text": "a"}, {"text": "b"}], r"text rows have no positives .*two columns"),
        ([{"text": "a", "label": "x"}], r"labelled rows have no positives"),
        (
            [{"sentence1": "a", "sentence2": "b", "score": 3.0}],
            r"scored rows have no positives .*take every pair for a positive one",
        ),
    ],
)
def test_rows_of_another_kind_are_refused(given: list[dict[str, object]], says: str) -> None:
    with pytest.raises(InputError, match=says):
        pool_of(read_rows(given))


def test_texts_of_a_corpus_lose_white_space_as_cells_do_and_blank_ones_are_none() -> None:
    pool = pool_of(rows(("a", "b"), ("c", "d")), corpus=["", " \t", " b ", "e\n"])
    assert pool.candidates == ["b", "d", "e"]


def test_texts_of_one_document_are_no_candidates_of_each_other() -> None:
    given = rows(("a", "b"), ("c", "d"), ("e", "f"), ("a", "g"))
    pool = pool_of(replace(given, documents=np.array([0, 0, 1, 2])))
    barred = {
        (pool.anchors[q], pool.candidates[c])
        for q, c in zip(pool.barred.query, pool.barred.candidate, strict=True)
    }
    linked = {("a", "b"), ("a", "d"), ("a", "g"), ("c", "b"), ("c", "d"), ("e", "f")}
    assert barred == linked
    assert pool.documents is not None
    told = zip(pool.anchor, pool.positive, pool.documents, strict=True)
    found = {(pool.anchors[a], pool.candidates[p]): n for a, p, n in told}
    assert found == {("a", "b"): 0, ("a", "g"): 2, ("c", "d"): 0, ("e", "f"): 1}
