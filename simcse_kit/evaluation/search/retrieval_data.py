"""Retrieval tasks as data: queries, documents, and which of them belong together.

A folder in BEIR's layout (`corpus.jsonl`, `queries.jsonl`, `qrels/test.tsv`), or any three files
with named columns: .csv .tsv .jsonl .parquet, each also .gz. A document is its title and its text
with a blank between them, as BEIR and MTEB embed it. Every complaint names file and line.
"""

from __future__ import annotations

import difflib
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from simcse_kit.data import MISSING, Table, read_table
from simcse_kit.errors import InputError
from simcse_kit.evaluation.search.retrieval import Relevance

#: Our columns of the three files, and what they are called unless a mapping says otherwise.
COLUMNS: Mapping[str, Sequence[str]] = {
    "query.id": ("_id", "id"),
    "query.text": ("text",),
    "corpus.id": ("_id", "id"),
    "corpus.title": ("title",),
    "corpus.text": ("text",),
    "relevance.query": ("query-id",),
    "relevance.corpus": ("corpus-id",),
    "relevance.grade": ("score",),
}
_OPTIONAL = ("corpus.title", "relevance.grade")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class RetrievalTask:
    """N queries, M documents, and the judgements by their rows; every query has a relevant one."""

    name: str
    queries: list[str]
    corpus: list[str]
    relevance: Relevance
    source: str


def load_beir(
    folder: Path | str, *, split: str = "test", columns: Mapping[str, str] | None = None
) -> RetrievalTask:
    """The task in a folder of BEIR's layout: one split of its judgements.

    Raises InputError where one of the three files is missing, and as `load_retrieval`.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder: give one in BEIR's layout, or the three files.")
    wanted = "queries.jsonl", "corpus.jsonl", f"qrels/{split}.tsv"
    queries, corpus, relevance = (_inside(folder, name) for name in wanted)
    name = folder.resolve().name
    return load_retrieval(queries, corpus, relevance, columns=columns, name=name)


def load_retrieval(
    queries: Path | str,
    corpus: Path | str,
    relevance: Path | str,
    *,
    columns: Mapping[str, str] | None = None,
    name: str | None = None,
) -> RetrievalTask:
    """A task from three files; queries that nobody judged are left out, with a log line.

    Args:
        columns: our names (`COLUMNS`) to the files', `{"query.text": "question"}`. By default they
            are BEIR's: _id (or id), title, text; query-id, corpus-id, score. Title and score may
            be absent: no title, and every judgement a relevance of 1.
        name: of the task; the stem of the queries' file by default.

    Raises:
        InputError: a file that cannot be read, a missing column or cell, an id twice in one file,
            a pair judged twice, judgements of unknown ids, a query without a relevant document.
    """
    named = _named(columns or {})
    asked = _Texts.read(Path(queries), named["query.id"], [named["query.text"]])
    searched = _Texts.read(
        Path(corpus), named["corpus.id"], [named["corpus.title"], named["corpus.text"]]
    )
    for row, text in enumerate(asked.texts):
        if not text:
            raise InputError(f"{asked.table.where(row)}: the query is empty; remove it or write it")
    empty = sum(not text for text in searched.texts)
    if empty:
        logger.warning("%s: %d documents have no text, and are embedded as none", corpus, empty)
    relevant = _judgements(_read(Path(relevance)), named, asked, searched)
    judged = np.unique(relevant.query)
    if len(judged) < len(asked.texts):
        left_out = len(asked.texts) - len(judged)
        logger.info("%s: %d queries have no judgement, and are left out", relevance, left_out)
    task = RetrievalTask(
        name=name or Path(queries).name.split(".")[0],
        queries=[asked.texts[row] for row in judged],
        corpus=searched.texts,
        relevance=Relevance(
            np.searchsorted(judged, relevant.query), relevant.document, relevant.grade
        ),
        source=str(relevance),
    )
    logger.info(
        "%s: %d queries, %d documents, %d judgements",
        *(task.name, len(task.queries), len(task.corpus), len(relevant.grade)),
    )
    return task


def _inside(folder: Path, name: str) -> Path:
    """The file, or its gzipped twin."""
    for path in (folder / name, folder / f"{name}.gz"):
        if path.is_file():
            return path
    splits = sorted({p.name.split(".")[0] for p in (folder / "qrels").glob("*.tsv*")})
    hint = f" (there are the splits {', '.join(splits)})" if splits and "/" in name else ""
    raise InputError(
        f"{folder / name} is missing{hint}: BEIR's layout is corpus.jsonl, queries.jsonl and"
        " qrels/test.tsv; or name three files of your own"
    )


# ---- columns ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Column:
    """One of our columns: what it may be called, and whether it may be absent."""

    ours: str
    theirs: Sequence[str]
    optional: bool


def _named(columns: Mapping[str, str]) -> dict[str, _Column]:
    for ours in columns:
        if ours not in COLUMNS:
            near = difflib.get_close_matches(ours, COLUMNS, n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise InputError(f"no column of ours is called {ours!r}{hint} ({', '.join(COLUMNS)})")
    return {
        ours: _Column(
            ours,
            [columns[ours]] if ours in columns else usual,
            # a column that was named must be there
            ours in _OPTIONAL and ours not in columns,
        )
        for ours, usual in COLUMNS.items()
    }


def _cells(table: Table, column: _Column) -> list[Any] | None:
    """The cells of a column; None where it is absent and may be."""
    names = table.names or []
    for theirs in column.theirs:
        if theirs in names:
            return table.cells(names.index(theirs))
    if column.optional:
        return None
    raise InputError(
        f"{table.source}: has no column {' or '.join(column.theirs)} (it has {', '.join(names)});"
        f" name it with {column.ours}=…"
    )


def _ids(table: Table, column: _Column) -> list[str]:
    cells = _cells(table, column) or []
    ids = ["" if cell is None or cell is MISSING else str(cell).strip() for cell in cells]
    for row, name in enumerate(ids):
        if not name:
            raise InputError(f"{table.where(row)}: {column.theirs[0]} is empty; it must hold an id")
    return ids


def _read(path: Path) -> Table:
    """The table of a file, its names taken from the first row where the format has none."""
    if not path.is_file():
        raise InputError(f"{path}: no such file; check the path")
    table = read_table(path)
    if table.width and table.names is None:
        table.take_header()
    if not table.width or not table.cells(0):
        raise InputError(f"{path}: holds no rows; give it at least one")
    return table


@dataclass(frozen=True, eq=False)
class _Texts:
    """The texts of a file, the row of each id, and the table they stand in."""

    table: Table
    texts: list[str]
    row: dict[str, int]

    @classmethod
    def read(cls, path: Path, id_column: _Column, columns: Sequence[_Column]) -> _Texts:
        table = _read(path)
        row: dict[str, int] = {}
        for number, name in enumerate(_ids(table, id_column)):
            if row.setdefault(name, number) != number:
                raise InputError(
                    f"{table.where(number)}: the id {name!r} stands at {table.where(row[name])}"
                    " already; every id must be there once"
                )
        parts = [cells for column in columns if (cells := _text_cells(table, column))]
        texts = [" ".join(filter(None, cells)) for cells in zip(*parts, strict=True)]
        return cls(table, texts, row)

    def find(self, name: str, where: str) -> int:
        if name in self.row:
            return self.row[name]
        raise InputError(f"{where}: judges {name!r}, which is no id in {self.table.source}")


def _text_cells(table: Table, column: _Column) -> list[str] | None:
    cells = _cells(table, column)
    if cells is None:
        return None
    texts = ["" if cell is None or cell is MISSING else cell for cell in cells]
    for row, text in enumerate(texts):
        if not isinstance(text, str):
            raise InputError(
                f"{table.where(row)}: {column.theirs[0]} is {text!r:.60}; it must hold text"
            )
    return [text.strip() for text in texts]


# ---- judgements ---------------------------------------------------------------------------------


def _judgements(
    table: Table, named: Mapping[str, _Column], asked: _Texts, searched: _Texts
) -> Relevance:
    """Rows of the texts and grades (J,), in the order of the file."""
    query_ids = _ids(table, named["relevance.query"])
    document_ids = _ids(table, named["relevance.corpus"])
    query = np.empty(len(query_ids), dtype=np.int64)
    document = np.empty_like(query)
    seen: dict[tuple[int, int], int] = {}
    for row, (asks, answers) in enumerate(zip(query_ids, document_ids, strict=True)):
        where = table.where(row)
        pair = asked.find(asks, where), searched.find(answers, where)
        if seen.setdefault(pair, row) != row:
            raise InputError(
                f"{where}: judges {answers!r} for the query {asks!r}, as"
                f" {table.where(seen[pair])} does; keep one of the two"
            )
        query[row], document[row] = pair
    grade = _grades(table, named["relevance.grade"], len(query))
    relevant = set(query[grade > 0].tolist())
    for row, asked_row in enumerate(query.tolist()):
        if asked_row not in relevant:
            raise InputError(
                f"{table.where(row)}: the query {query_ids[row]!r} has no relevant document, all"
                " its judgements are 0; remove them, or judge one above 0"
            )
    return Relevance(query, document, grade)


def _grades(table: Table, column: _Column, rows: int) -> np.ndarray:
    cells = _cells(table, column)
    if cells is None:
        return np.ones(rows)
    grades = np.empty(rows)
    for row, cell in enumerate(cells):
        try:
            grades[row] = math.nan if isinstance(cell, bool) else float(cell)
        except (TypeError, ValueError):
            grades[row] = math.nan
        if not math.isfinite(grades[row]):
            raise InputError(
                f"{table.where(row)}: {column.theirs[0]} is {cell!r:.60}; it must hold a number,"
                " 0 for irrelevant"
            )
    return grades
