"""Columns of texts written into a file batch by batch, in the formats that the readers take."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from simcse_kit.data.atomic import check_can_write, replacing
from simcse_kit.errors import InputError

Columns = list[list[Any]]
Write = Callable[[Columns], None]

_HALF = re.compile("[\ud800-\udfff]")
#: What no cell of a format can hold.
_NO_CELL = {".tsv": "\t\n\r", ".csv": "\r"}


def check_table_name(path: Path) -> None:
    """Raise InputError unless a table can be written there, in the format that its name says."""
    if path.suffix not in _WRITERS:
        *most, last = _WRITERS
        raise InputError(f"cannot write {path}: the name must end in {', '.join(most)} or {last}")
    check_can_write(path)


def check_cells(path: Path, texts: Iterable[str]) -> None:
    """Raise InputError for a text that a cell of the file could not hold."""
    bad = _NO_CELL.get(path.suffix, "")
    for text in texts:
        if any(character in text for character in bad):
            raise InputError(
                f"cannot write {path}: a cell of a {path.suffix} cannot hold {text!r:.60}; give a"
                " .parquet or .jsonl"
            )
        if not text.isascii() and _HALF.search(text):
            raise InputError(
                f"cannot write {path}: {text!r:.60} holds half of a character (a lone surrogate),"
                " which no file can; take it out"
            )


@contextmanager
def writing_table(path: Path, names: list[str], *, lists: bool = False) -> Iterator[Write]:
    """What writes batches of columns; the file appears under its name when all is written.

    Args:
        lists: the last column holds lists of texts.
    """
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
