"""Pairs with their negatives in a file that ``train`` reads, written batch by batch."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np

from simcse_kit.data import check_can_write, negative, replacing
from simcse_kit.errors import InputError

#: A row a pair with all its negatives, in columns; a row a negative; a row a pair, with a list.
OutputFormat = Literal["n-tuple", "triplet", "list"]

Columns = list[list[Any]]
Write = Callable[[Columns], None]

#: What no cell of a format can hold.
_NO_CELL = {".tsv": "\t\n\r", ".csv": "\r"}


def check_written(path: Path, output_format: OutputFormat) -> None:
    """Raise InputError unless the format is known, fits, and the file can be written."""
    if path.suffix not in _WRITERS:
        *most, last = _WRITERS
        raise InputError(f"cannot write {path}: the name must end in {', '.join(most)} or {last}")
    if output_format == "list" and path.suffix in _NO_CELL:
        raise InputError(
            f"cannot write {path}: a {path.suffix} holds no lists; give a .parquet or .jsonl, or"
            " another output format",
            command_line=f"cannot write {path}: a {path.suffix} holds no lists; give a .parquet or"
            " .jsonl, or another --output-format",
        )
    check_can_write(path)


def check_apart(path: Path, *given: str) -> None:
    """Raise InputError where the output is a file that was given: it would be replaced."""
    for name in given:
        if path.exists() and os.path.exists(name) and path.samefile(name):
            raise InputError(
                f"cannot write {path}: it holds the texts that are mined, and would lose those "
                "without a negative; give another name"
            )


def check_texts(path: Path, texts: Iterable[str]) -> None:
    """Raise InputError for a text that a cell of the file could not hold."""
    bad = _NO_CELL.get(path.suffix, "")
    for text in texts if bad else ():
        if any(character in text for character in bad):
            raise InputError(
                f"cannot write {path}: a cell of a {path.suffix} cannot hold {text!r:.60}; give a"
                " .parquet or .jsonl"
            )


def names_of(output_format: OutputFormat, negatives: int) -> list[str]:
    """The columns' names."""
    several = negatives if output_format == "n-tuple" else 1
    return ["anchor", "positive", *map(negative, range(1, several + 1))]


def laid_out(
    pairs: tuple[np.ndarray, np.ndarray],
    negatives: np.ndarray,
    texts: tuple[Sequence[str], Sequence[str]],
    output_format: OutputFormat,
) -> Columns:
    """The columns of a batch of pairs.

    Args:
        pairs: int64 (P,) each: the number of a pair's anchor and of its positive.
        negatives: int64 (P, n): the candidates taken for each, −1 behind the last.
        texts: the anchors, and the candidates.

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
    if output_format == "list":
        each = negatives[rows].tolist()
        return [*columns, [[candidates[i] for i in row if i >= 0] for row in each]]
    return columns + [[candidates[i] for i in column.tolist()] for column in taken]


@contextmanager
def writing(path: Path, names: list[str], *, lists: bool) -> Iterator[Write]:
    """What writes batches of columns; the file appears under its name when all is written."""
    with replacing(path) as aside, _WRITERS[path.suffix](aside, names, lists) as write:
        yield write


@contextmanager
def _parquet(path: Path, names: list[str], lists: bool) -> Iterator[Write]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    last = pa.list_(pa.string()) if lists else pa.string()
    kinds = [*[pa.string()] * (len(names) - 1), last]
    schema = pa.schema(list(zip(names, kinds, strict=True)))
    with pq.ParquetWriter(path, schema) as writer:

        def write(columns: Columns) -> None:
            arrays = [pa.array(each, kind) for each, kind in zip(columns, kinds, strict=True)]
            writer.write_batch(pa.record_batch(arrays, schema=schema))

        yield write


@contextmanager
def _jsonl(path: Path, names: list[str], lists: bool) -> Iterator[Write]:
    with path.open("w", encoding="utf-8", newline="\n") as file:

        def write(columns: Columns) -> None:
            for row in zip(*columns, strict=True):
                record = dict(zip(names, row, strict=True))
                file.write(json.dumps(record, ensure_ascii=False) + "\n")

        yield write


@contextmanager
def _csv(path: Path, names: list[str], lists: bool) -> Iterator[Write]:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(names)
        yield lambda columns: writer.writerows(zip(*columns, strict=True))


@contextmanager
def _tsv(path: Path, names: list[str], lists: bool) -> Iterator[Write]:
    """Without quotes, as the reader takes a .tsv."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write("\t".join(names) + "\n")
        yield lambda columns: file.writelines(
            "\t".join(row) + "\n" for row in zip(*columns, strict=True)
        )


_WRITERS = {".parquet": _parquet, ".jsonl": _jsonl, ".csv": _csv, ".tsv": _tsv}
