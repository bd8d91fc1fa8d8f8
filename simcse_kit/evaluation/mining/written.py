"""Pairs with their negatives in a file that ``train`` reads, written batch by batch."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from simcse_kit.data import check_table_name, negative
from simcse_kit.errors import InputError

#: A row a pair with all its negatives, in columns; a row a negative; a row a pair, with a list.
OutputFormat = Literal["n-tuple", "triplet", "list"]

Columns = list[list[Any]]


def check_written(path: Path, output_format: OutputFormat) -> None:
    """Raise InputError unless the format is known, fits, and the file can be written."""
    if output_format == "list" and path.suffix in (".csv", ".tsv"):
        raise InputError(
            f"cannot write {path}: a {path.suffix} holds no lists; give a .parquet or .jsonl, or"
            " another output format",
            command_line=f"cannot write {path}: a {path.suffix} holds no lists; give a .parquet or"
            " .jsonl, or another --output-format",
        )
    check_table_name(path)


def check_apart(path: Path, *given: str) -> None:
    """Raise InputError where the output is a file that was given: it would be replaced."""
    for name in given:
        if path.exists() and os.path.exists(name) and path.samefile(name):
            raise InputError(
                f"cannot write {path}: it holds the texts that are mined, and would lose those "
                "without a negative; give another name"
            )


def names_of(output_format: OutputFormat, negatives: int, *, documents: bool = False) -> list[str]:
    """The columns' names; `documents`: whether the data tell which document a pair is of."""
    several = negatives if output_format == "n-tuple" else 1
    beside = ["document"] if documents else []
    return ["anchor", "positive", *beside, *map(negative, range(1, several + 1))]


def laid_out(
    pairs: tuple[np.ndarray, np.ndarray],
    negatives: np.ndarray,
    texts: tuple[Sequence[str], Sequence[str]],
    output_format: OutputFormat,
    documents: np.ndarray | None = None,
) -> Columns:
    """The columns of a batch of pairs.

    Args:
        pairs: int64 (P,) each: the number of a pair's anchor and of its positive.
        negatives: int64 (P, n): the candidates taken for each, −1 behind the last.
        texts: the anchors, and the candidates.
        documents: int64 (P,), which document each pair is of.

    Returns:
        Texts, a list a column. Pairs without a negative are left out, and of n-tuples those with
        fewer than n.
    """
    anchors, candidates = texts
    there = negatives >= 0
    if output_format == "triplet":
        rows, where = np.nonzero(there)
        taken = [negatives[rows, where]]
    else:
        enough = there.all(axis=1) if output_format == "n-tuple" else there.any(axis=1)
        rows = np.flatnonzero(enough)
        taken = list(negatives[rows].T)
    columns: Columns = [[anchors[i] for i in pairs[0][rows].tolist()]]
    columns.append([candidates[i] for i in pairs[1][rows].tolist()])
    if documents is not None:
        columns.append([str(number) for number in documents[rows].tolist()])
    if output_format == "list":
        each = negatives[rows].tolist()
        return [*columns, [[candidates[i] for i in row if i >= 0] for row in each]]
    return columns + [[candidates[i] for i in column.tolist()] for column in taken]
