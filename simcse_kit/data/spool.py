"""Rows as they are read, written to files column by column, whatever their number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import IO

import numpy as np

from simcse_kit.data.equal_texts import EMPTY, WIDTH, hash_of, number_equal
from simcse_kit.data.kept_texts import ENCODING, ERRORS

_BLOCK = 8192  # rows at a time


class Spool:
    """Columns of texts and of numbers in a folder, to which rows are added.

    A column of texts is ``NAME.texts`` and ``NAME.offsets``, as `KeptTexts` reads it; one of
    numbers is ``NAME.numbers``. Hashes of what may be equal stand beside them until `end`.

    Attributes:
        rows: how many were added.
        columns: those of texts, in the order they came in.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows = 0
        self.columns: list[str] = []
        self._files: dict[str, IO[bytes]] = {}
        self._ends: dict[str, int] = {}
        self._open = ExitStack()

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def add(
        self,
        texts: Mapping[str, Sequence[str]],
        numbers: Mapping[str, np.ndarray],
        documents: Sequence[str] | None = None,
    ) -> None:
        """Add n rows.

        Args:
            texts: by column, labels too. A column that is new, or missing, has empty texts where it
                is not.
            numbers: ``(n,)``, by name.
            documents: the id of each row's document, "" for none.
        """
        count = len(next(iter(texts.values())))
        for name in texts:
            if name not in self.columns:
                self._begin(name)
        hashes = [self._texts(name, texts.get(name) or [""] * count) for name in self.columns]
        if "scores" in numbers:
            scores = numbers["scores"] + 0.0  # -0 is 0
            hashes.append([hash_of(each.tobytes()) for each in scores])
        if len(hashes) > 1:  # else a row is its text
            self._file("rows.hashes").write(b"".join(map(_row, zip(*hashes, strict=True))))
        for name, values in numbers.items():
            self._file(f"{name}.numbers").write(np.ascontiguousarray(values).data)
        if documents is not None:
            ids = (
                f"{one}\n" if one else str(self.rows + place) for place, one in enumerate(documents)
            )
            hashed = (hash_of(each.encode(ENCODING, ERRORS)) for each in ids)
            self._file("documents.hashes").write(b"".join(hashed))
        self.rows += count

    def number_texts(self, columns: Sequence[str]) -> int:
        """Write ``text_numbers.numbers``: `text_numbers` of these columns end to end.

        Returns:
            How many texts differ, without the empty one.
        """
        self._flush()
        return number_equal(
            [self.folder / f"{name}.hashes" for name in columns],
            self.folder / "text_numbers.numbers",
            empty=-1,
        )

    def different(self) -> int:
        """How many of the rows differ, by texts, labels and scores."""
        self._flush()
        aside = self.folder / "rows.hashed"
        found = number_equal([self.folder / "rows.hashes"], aside)
        aside.unlink()
        return found

    def number_documents(self) -> None:
        """Write ``documents.numbers``, the number of each row's document, by first appearance."""
        self._flush()
        number_equal([self.folder / "documents.hashes"], self.folder / "documents.numbers")

    def number_documents_by_lines(self, lines: np.ndarray) -> None:
        """The same by the blank lines between rows; no file where there are none.

        Args:
            lines: of each row, from 0.
        """
        document, before = 0, lines[:1]
        for start in range(0, len(lines), _BLOCK):
            block = lines[start : start + _BLOCK]
            steps = np.diff(block, prepend=before) > 1
            self._file("documents.numbers").write((document + np.cumsum(steps)).data)
            document, before = document + int(steps.sum()), block[-1:]
        self._flush()
        if not document:
            (self.folder / "documents.numbers").unlink()

    def end(self) -> None:
        """Close the files, and remove those that have served."""
        self._open.close()
        for path in self.folder.glob("*.hashes"):
            path.unlink()

    def _begin(self, name: str) -> None:
        """A column of which the rows above have none."""
        self.columns.append(name)
        self._ends[name] = 0
        self._file(f"{name}.offsets").write(bytes(8))
        for start in range(0, self.rows, _BLOCK):
            self._texts(name, [""] * min(_BLOCK, self.rows - start))

    def _texts(self, name: str, texts: Sequence[str]) -> list[bytes]:
        """Write texts of a column; their hashes."""
        found = [text.encode(ENCODING, ERRORS) for text in texts]
        ends = self._ends[name] + np.cumsum([len(each) for each in found], dtype=np.int64)
        self._file(f"{name}.texts").write(b"".join(found))
        self._file(f"{name}.offsets").write(ends.data)
        self._ends[name] = int(ends[-1]) if len(ends) else self._ends[name]
        hashes = list(map(hash_of, found))
        self._file(f"{name}.hashes").write(b"".join(hashes))
        return hashes

    def _file(self, name: str) -> IO[bytes]:
        if name not in self._files:
            self._files[name] = self._open.enter_context((self.folder / name).open("wb"))
        return self._files[name]

    def _flush(self) -> None:
        for file in self._files.values():
            file.flush()


def _row(hashes: tuple[bytes, ...]) -> bytes:
    """The hash of a row; one without its last negatives equals one that lacks their columns."""
    row = b"".join(hashes)
    while row.endswith(EMPTY):
        row = row[:-WIDTH]
    return hash_of(row)
