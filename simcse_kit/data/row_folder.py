"""A folder that holds rows: written part by part, and opened without reading the texts."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from simcse_kit.data.digests import crc32_of
from simcse_kit.data.kept_texts import KeptColumns, KeptTexts
from simcse_kit.data.row_parts import Part
from simcse_kit.data.rows import Rows
from simcse_kit.data.spool import Spool

_META = "rows.json"
_DTYPES: dict[str, type[np.number[Any]]] = {"scores": np.float64}
_BLOCK = 8192  # rows at a time
_LABELS = "label"


class WrittenRows:
    """Rows on their way into an empty folder.

    Attributes:
        blank: rows, and lines, that hold nothing and were left out.
    """

    def __init__(self, folder: Path) -> None:
        self._spool = Spool(folder)
        self._names: dict[str, str] = {}
        self._kind, self._documents, self._numbered = "text", "", False
        self.blank = 0

    def __enter__(self) -> WrittenRows:
        self._spool.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._spool.__exit__(*error)

    def __len__(self) -> int:
        return self._spool.rows

    def add(self, part: Part) -> None:
        """Add the rows of a part of a file."""
        self._kind, self._names = part.kind, self._names | part.names
        self._documents = "ids" if part.documents is not None else "lines" * part.is_plain
        self._numbered |= part.some
        self.blank += part.blank
        if not len(part):
            return
        numbers = {"numbers": part.numbers, "lines": part.lines, "scores": part.scores}
        there = {name: each for name, each in numbers.items() if each is not None}
        self._spool.add(part.texts, there, part.documents)

    def add_all(self, rows: Rows) -> None:
        """Add rows that were read whole, the only ones."""
        self._kind, self._names, self.blank = rows.kind, dict(rows.names), rows.blank
        self._numbered = rows.numbers is not None
        beside = {"numbers": rows.numbers, "lines": rows.lines}
        beside |= {"scores": rows.scores, "documents": rows.documents}
        for start in range(0, len(rows), _BLOCK):
            block = slice(start, start + _BLOCK)
            texts = {name: column[block] for name, column in rows.columns.items()}
            texts |= {} if rows.labels is None else {_LABELS: rows.labels[block]}
            there = {name: each[block] for name, each in beside.items() if each is not None}
            self._spool.add(texts, there)

    def finish(self, said: Sequence[str]) -> Rows:
        """The rows, once all are added and the folder tells what it holds.

        Args:
            said: what was warned of while they were read.
        """
        spool, folder = self._spool, self._spool.folder
        columns = [name for name in spool.columns if name != _LABELS]
        different = spool.number_texts(columns)
        if self._kind != "text":
            different = spool.different()
        if self._documents == "ids":
            spool.number_documents()
        elif self._documents == "lines" and self._numbered:
            spool.number_documents_by_lines(_mapped(folder, "numbers", len(self)))
        spool.end()
        if not self._numbered:
            (folder / "numbers.numbers").unlink(missing_ok=True)
        told: dict[str, Any] = {
            "kind": self._kind,
            "rows": len(self),
            "columns": columns,
            "labels": _LABELS in spool.columns,
            "names": self._names,
            "duplicates": len(self) - different,
            "blank": self.blank,
            "said": [*said],
            "content": "",
            "sizes": {path.name: path.stat().st_size for path in sorted(folder.iterdir())},
            "crc32": {path.name: crc32_of(path) for path in sorted(folder.glob("*.numbers"))},
        }
        rows = _rows_in(folder, told)
        told["content"] = rows.content()
        for path in folder.iterdir():  # what follows tells that they are whole
            with path.open("rb") as file:
                os.fsync(file.fileno())
        (folder / _META).write_text(json.dumps(told), encoding="utf-8")
        return rows


def open_rows(folder: Path) -> tuple[Rows, list[str]]:
    """The rows of a folder, and what was warned of while they were read.

    Raises:
        FileNotFoundError: there is no such folder, or it lacks a file.
        OSError, ValueError, KeyError, TypeError: it does not hold what was written.
    """
    told = json.loads((folder / _META).read_text(encoding="utf-8"))
    return _rows_in(folder, told), [str(line) for line in told["said"]]


def _rows_in(folder: Path, told: dict[str, Any]) -> Rows:
    for name, size in told["sizes"].items():
        if (folder / name).stat().st_size != size:
            raise ValueError(f"{name} is of another size")
    for name, crc in told["crc32"].items():
        if crc32_of(folder / name) != crc:
            raise ValueError(f"{name} does not read back as it was written")
    count = told["rows"]
    texts = {name: KeptTexts(folder, name, count) for name in told["columns"]}

    def beside(name: str) -> np.ndarray | None:
        there = f"{name}.numbers" in told["sizes"]
        return _mapped(folder, name, count) if there else None

    labels = KeptTexts(folder, _LABELS, count) if told["labels"] else None
    scores, documents = beside("scores"), beside("documents")
    numbers = _mapped(folder, "text_numbers", count * len(texts))
    known = KeptColumns(texts, numbers, told["content"], (labels, scores, documents))
    return Rows(
        told["kind"],
        known,
        labels,
        scores,
        source=str(folder),
        duplicates=told["duplicates"],
        blank=told["blank"],
        names=told["names"],
        numbers=beside("numbers"),
        lines=beside("lines"),
        documents=documents,
    )


def _mapped(folder: Path, name: str, count: int) -> np.ndarray:
    """A plain read-only array over a file of numbers."""
    dtype = _DTYPES.get(name, np.int64)
    return np.asarray(np.memmap(folder / f"{name}.numbers", dtype, "r", shape=(count,)))
