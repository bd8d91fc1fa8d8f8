"""Vectors and ids as programs hold them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from simcse_kit.corpus import given, near_duplicates, nearest, unit
from simcse_kit.errors import InputError

ROWS = np.array([[0.5, -0.25, 2.0], [1.0, 0.0, -0.5]], np.float32)
HELD = {
    "array": ROWS,
    "float64": ROWS.astype(float),
    "float16": ROWS.astype(np.float16),
    "columns first": np.asfortranarray(ROWS),
    "tensor": torch.from_numpy(ROWS),
    "bf16": torch.from_numpy(ROWS).bfloat16(),
    "with a gradient": torch.from_numpy(ROWS.copy()).requires_grad_(),
    "list of arrays": [*ROWS],
    "list of tensors": [*torch.from_numpy(ROWS)],
    "lists": ROWS.tolist(),
    "tuples": tuple(map(tuple, ROWS.tolist())),
}


@pytest.mark.parametrize("kind", HELD)
def test_vectors_are_told_from_texts(kind: str) -> None:
    assert given.are_vectors(HELD[kind])
    found = given.query_rows(HELD[kind], 3, "it")
    assert found.dtype == np.float32 and found.tolist() == ROWS.tolist()


@pytest.mark.parametrize("one", [ROWS[1], ROWS[1].tolist(), torch.from_numpy(ROWS[1])])
def test_a_single_vector_is_one_row(one: Any) -> None:
    assert given.are_vectors(one)
    assert given.query_rows(one, 3, "it").tolist() == ROWS[1:].tolist()


@pytest.mark.parametrize(
    "texts", ["a", ["a", "b"], ("a",), np.array(["a", "b"]), np.array(["a"], object), [], {"a"}]
)
def test_texts_are_no_vectors(texts: Any) -> None:
    assert not given.are_vectors(texts)


def test_what_is_no_row_of_vectors_is_said() -> None:
    for wrong, said in (
        (ROWS[:, :2], r"\(2, 2\), and it has 3 dimensions"),
        (ROWS[0, :2], r"\(2,\), and it has 3 dimensions"),
        (ROWS[None], r"\(1, 2, 3\)"),
        (np.full((1, 3), np.nan), "a query is not finite"),
        (np.full((1, 3), 1e300), "a query is not finite"),
        ([[1.0, 2.0, 3.0], [1.0]], "the queries are no array of numbers"),
    ):
        with pytest.raises(InputError, match=said):
            given.query_rows(wrong, 3, "it")


def test_rows_are_numbers_in_any_order_or_a_mask() -> None:
    for rows in ([4, 0, 4, 2], np.array([0, 2, 4], np.uint8), np.array([1, 0, 1, 0, 1], bool)):
        found = given.row_numbers(rows, 5, "it")
        assert found.tolist() == [0, 2, 4] and found.dtype == np.int64
    assert given.row_numbers(3, 5, "it").tolist() == [3]
    assert given.row_numbers([], 5, "it").tolist() == []
    for wrong, said in (
        ([0, 5], "row 5 is not in it, which has 5"),
        ([2, -1], "row -1 is not in it"),
        ([0.5], "give their numbers, or a mask of the 5 rows of it"),
        (np.ones(4, bool), "mask of the 5 rows"),
        ([[1, 2]], "mask of the 5 rows"),
        (["1"], "mask of the 5 rows"),
    ):
        with pytest.raises(InputError, match=said):
            given.row_numbers(wrong, 5, "it")


def test_searches_take_tensors_and_rows_in_any_order() -> None:
    rng = np.random.default_rng(1)
    queries, rows = unit(rng.normal(size=(3, 8))), unit(rng.normal(size=(40, 8)))
    some = np.array([31, 2, 17, 2, 5, 38])
    mask = np.isin(np.arange(40), some)
    exact = np.where(mask, queries.astype(float) @ rows.astype(float).T, -np.inf)
    expected = np.argsort(-exact, axis=1)[:, :4].tolist()
    for among in (some, some.tolist(), mask):
        assert nearest(queries, rows, 4, among=among)[0].tolist() == expected  # type: ignore[arg-type]
    tensors = (torch.from_numpy(each) for each in (queries, rows))
    found, _ = nearest(*tensors, 4, among=mask)  # type: ignore[arg-type]
    assert found.tolist() == expected
    assert unit(torch.from_numpy(ROWS).bfloat16()).tolist() == unit(ROWS).tolist()  # type: ignore[arg-type]
    twice = torch.from_numpy(np.concatenate([rows, rows[:4]]))
    assert near_duplicates(twice, 0.99).goes.tolist() == [40, 41, 42, 43]  # type: ignore[arg-type]
    for top_k, threshold, said in (
        (2.5, None, "top_k is 2.5"),
        ("3", None, "top_k is '3'"),
        (3, "0.5", "the threshold is '0.5', which is no number"),
    ):
        with pytest.raises(InputError, match=said):
            given.check_asked(top_k, threshold)  # type: ignore[arg-type]


def test_a_single_id_is_one_id() -> None:
    assert given.id_texts("n12") == ["n12"]
    assert given.id_texts(np.array([3, 10])) == ["3", "10"]
    assert given.id_texts(text for text in ("ä", "b")) == ["ä", "b"]


def test_vectors_that_are_no_unit_vectors_are_refused() -> None:
    ones = unit(np.random.default_rng(0).normal(size=(50, 384)))
    given.check_unit(ones)
    given.check_unit(ones.astype(np.float16))
    given.check_unit(np.zeros((2, 4), np.float32))  # without a direction
    for wrong, said in (
        (ROWS, "length 2.077; give unit vectors"),
        (np.full((1, 3), np.inf), "not finite"),
        (np.full((1, 3), np.nan), "not finite"),
    ):
        with pytest.raises(InputError, match=said):
            given.check_unit(np.asarray(wrong))
    for shape, said in ((ROWS[0], r"of shape \(3,\)"), (ROWS.tolist(), "a list")):
        with pytest.raises(InputError, match=f"the vectors are {said}; give an array"):
            given.check_rows(shape)
