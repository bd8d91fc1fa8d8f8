"""Vectors and ids that a program holds: arrays, tensors of any device, lists of either."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from simcse_kit.errors import InputError


def as_array(vectors: Any, *, what: str = "the vectors are") -> np.ndarray:
    """Arrays, torch tensors of any kind and device, and lists of either, as float32.

    Args:
        what: begins the sentence, where they are none.

    Raises:
        InputError: no numbers, or rows of different lengths.
    """
    if hasattr(vectors, "detach"):
        return np.asarray(vectors.detach().float().cpu().numpy())
    if isinstance(vectors, list | tuple) and vectors and hasattr(vectors[0], "detach"):
        return np.stack([as_array(each, what=what) for each in vectors])
    try:
        with np.errstate(over="ignore"):  # who wants finite numbers looks for them
            return np.asarray(vectors, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise InputError(f"{what} no array of numbers: {error}.") from error


def are_vectors(given: Any) -> bool:
    """Whether something is numbers, and not texts: an array, a tensor, or a list of these."""
    if isinstance(given, np.ndarray):
        return given.dtype.kind in "fiub"
    if isinstance(given, list | tuple):
        return bool(given) and not isinstance(given[0], str) and _holds_numbers(given[0])
    return hasattr(given, "detach")


def _holds_numbers(first: Any) -> bool:
    """Whether the first of a list is a vector, or a number of one."""
    if isinstance(first, list | tuple):
        return bool(first) and isinstance(first[0], int | float | np.number)
    return are_vectors(first) or isinstance(first, float | np.number)


def query_rows(queries: Any, dimension: int, of: str) -> np.ndarray:
    """Queries as float32 ``(N, dimension)``; a single vector is one row.

    Args:
        of: what is searched, for the sentence.

    Raises:
        InputError: other dimensions, or a number that is not finite.
    """
    rows = as_array(queries, what="the queries are")
    rows = rows[None] if rows.ndim == 1 and len(rows) == dimension else rows
    if rows.ndim != 2 or rows.shape[1] != dimension:
        raise InputError(
            f"the queries are an array {rows.shape}, and {of} has {dimension} dimensions; embed"
            " them with its model"
        )
    if not np.isfinite(rows).all():
        raise InputError("a query is not finite; embed it again")
    return rows


def id_texts(ids: str | Iterable[Any]) -> list[str]:
    """Ids as texts; a single one is a list of one, and not one id a character."""
    return [ids] if isinstance(ids, str) else [*map(str, ids)]


def check_asked(top_k: int, threshold: float | None) -> None:
    """Raise InputError for a number of hits, or a threshold, that is none."""
    if not isinstance(top_k, int | np.integer) or top_k < 1:
        raise InputError(f"top_k is {top_k!r}; ask for 1 or more")
    number = threshold is None or isinstance(threshold, float | int | np.number)
    if not number or (threshold is not None and np.isnan(threshold)):
        raise InputError(f"the threshold is {threshold!r}, which is no number; give a cosine")


def row_numbers(rows: Any, count: int, of: str) -> np.ndarray:
    """Rows of `count` as their numbers, int64, ascending, each once; a mask of all is told apart.

    Args:
        of: what they are rows of, for the sentence.

    Raises:
        InputError: neither, or a row that is none.
    """
    given = np.asarray(rows)
    if given.dtype == bool and given.shape == (count,):
        return np.flatnonzero(given)
    if not given.size:
        return np.empty(0, np.int64)
    if given.dtype.kind not in "iu" or given.ndim > 1:
        raise InputError(
            f"the rows are {given.dtype} of shape {given.shape}; give their numbers, or a mask of"
            f" the {count:,} rows of {of}"
        )
    numbers = given.reshape(-1).astype(np.int64)
    if (numbers[1:] <= numbers[:-1]).any():
        numbers = np.unique(numbers)
    if numbers[0] < 0 or numbers[-1] >= count:
        wrong = numbers[0] if numbers[0] < 0 else numbers[-1]
        raise InputError(f"row {wrong} is not in {of}, which has {count:,}")
    return numbers


def as_rows(vectors: Any) -> Any:
    """Tensors of any device as float32 arrays; anything else as it is, read as it is asked for."""
    return as_array(vectors) if hasattr(vectors, "detach") else vectors


def check_rows(vectors: Any, what: str = "vectors") -> None:
    """Raise InputError for what is no array of rows (N, D)."""
    shape: Sequence[int] | None = getattr(vectors, "shape", None)
    if shape is None or len(shape) != 2:
        given = f"a {type(vectors).__name__}" if shape is None else f"of shape {tuple(shape)}"
        raise InputError(f"the {what} are {given}; give an array (N, D)")


def check_unit(rows: np.ndarray, what: str = "vectors") -> None:
    """Raise InputError for rows (n, D) whose products are no cosines.

    They have to be of length 1 but for what their numbers round; one without a direction is zero.
    """
    lengths = np.sqrt(np.einsum("nd,nd->n", rows, rows, dtype=np.float64))
    bad = ~((np.abs(lengths - 1) <= _OFF) | (lengths == 0))
    if bad.any():
        length = lengths[int(np.argmax(bad))]
        if not np.isfinite(length):
            raise InputError(f"one of the {what} is not finite; embed it again")
        raise InputError(
            f"one of the {what} has length {length:.4g}; give unit vectors, for instance"
            " simcse_kit.corpus.unit(vectors)"
        )


_OFF = 1e-2  # fp16, and int8 with its scale, are nearer to 1 than that
