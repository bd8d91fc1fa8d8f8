"""Retrieval tasks as data: queries, documents, and which of them belong together.

A folder in BEIR's layout (`corpus.jsonl`, `queries.jsonl`, `qrels/test.tsv`), any three files with
named columns, or one file of questions and their answers: .csv .tsv .jsonl .parquet, each also .gz.
A document is its title and its text with a blank between them, as BEIR and MTEB embed it. Every
complaint names file and line.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Unpack

import numpy as np

from simcse_kit.data import BadRows, Reading, Table, at_home
from simcse_kit.errors import InputError
from simcse_kit.evaluation.embedding import distinct
from simcse_kit.evaluation.search.retrieval import Relevance
from simcse_kit.evaluation.search.retrieval_columns import (
    Column,
    find_cells,
    id_cells,
    named,
    open_table,
    text_cells,
)
from simcse_kit.evaluation.sts import task_name

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
#: The same of a file of pairs.
PAIR_COLUMNS: Mapping[str, Sequence[str]] = {
    "query": ("query", "question"),
    "document": ("document", "answer"),
}
_OPTIONAL = ("corpus.title", "relevance.grade")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class RetrievalTask:
    """N queries, M documents, and the judgements by their rows.

    Attributes:
        itself: int (N,), the document that is the query itself, by its id (in a file of pairs by
            its text), −1 for none: in ArguAna and Quora every query stands in the corpus.
        missing: judgements of documents that are not in the corpus, `document` −1.
    """

    name: str
    queries: list[str]
    corpus: list[str]
    relevance: Relevance
    source: str
    itself: np.ndarray = field(default_factory=lambda: np.empty(0, dtype=np.int64))
    missing: int = 0

    def __post_init__(self) -> None:
        if not len(self.itself):
            object.__setattr__(self, "itself", np.full(len(self.queries), -1))


def load_beir(
    folder: Path | str,
    *,
    split: str = "test",
    columns: Mapping[str, str] | None = None,
    **reading: Unpack[Reading],
) -> RetrievalTask:
    """The task in a folder of BEIR's layout: one split of its judgements.

    Raises InputError where one of the three files is missing, and as `load_retrieval`.
    """
    folder = at_home(folder)
    if not folder.is_dir():
        raise InputError(f"{folder} is no folder: give one in BEIR's layout, or the three files.")
    wanted = "queries.jsonl", "corpus.jsonl", f"qrels/{split}.tsv"
    queries, corpus, relevance = (_inside(folder, name) for name in wanted)
    name = folder.resolve().name
    return load_retrieval(queries, corpus, relevance, columns=columns, name=name, **reading)


def load_retrieval(
    queries: Path | str,
    corpus: Path | str,
    relevance: Path | str,
    *,
    columns: Mapping[str, str] | None = None,
    name: str | None = None,
    **reading: Unpack[Reading],
) -> RetrievalTask:
    """A task from three files; queries that nobody judged are left out, with a log line.

    Args:
        columns: our names (`COLUMNS`) to the files', `{"query.text": "question"}`. By default they
            are BEIR's: _id (or id), title, text; query-id, corpus-id, score. Title and score may
            be absent: no title, and every judgement a relevance of 1.
        name: of the task; the stem of the queries' file by default.
        reading: as for `read_rows`, of the three files together.

    A judgement above 0 of a document that is missing stays, for it was to be found (`missing`);
    those of queries that are missing are left out. Both are counted in the log.

    Raises:
        InputError: a file that cannot be read, a missing column or cell, an id twice in one file,
            a pair judged in two ways, no judgement above 0 that can be found.
    """
    our = named(columns, COLUMNS, _OPTIONAL)
    asked = _Texts.read(_open(queries, reading), our["query.id"], [our["query.text"]])
    searched = _Texts.read(
        _open(corpus, reading), our["corpus.id"], [our["corpus.title"], our["corpus.text"]]
    )
    for row, text in enumerate(asked.texts):
        if not text:
            raise InputError(f"{asked.table.where(row)}: the query is empty; remove it or write it")
    empty = sum(not text for text in searched.texts)
    if empty:
        logger.warning("%s: %d documents have no text, and are embedded as none", corpus, empty)
    relevant = _judgements(_open(relevance, reading), our, asked, searched)
    missing = int((relevant.document < 0).sum())
    if missing:
        logger.warning(
            "%s: %d of %d judgements are of documents that are not in %s: they count as not found,"
            " as in pytrec_eval",
            *(relevance, missing, len(relevant.document), corpus),
        )
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
        itself=_own_documents(asked, searched, relevant)[judged],
        missing=missing,
    )
    logger.info(
        "%s: %d queries, %d documents, %d judgements",
        *(task.name, len(task.queries), len(task.corpus), len(relevant.grade)),
    )
    return task


def load_question_answers(
    path: Path | str, *, columns: Mapping[str, str] | None = None, **reading: Unpack[Reading]
) -> RetrievalTask:
    """A task from one file of pairs: each row's document answers its query.

    Equal queries are one query, whose documents all are relevant, and equal documents are one.

    Args:
        columns: our names (query, document) to the file's; by default they are called so
            (`PAIR_COLUMNS`).
        reading: as for `read_rows`.

    Raises:
        InputError: a file that cannot be read, a missing column, an empty cell, one document alone.
    """
    our = named(columns, PAIR_COLUMNS)
    bad = BadRows(reading.get("skip_bad_rows", 0))
    table = open_table(Path(path), reading, bad)
    sides = [text_cells(table, our[side]) or [] for side in PAIR_COLUMNS]
    for row, texts in enumerate(zip(*sides, strict=True)):
        if not all(texts):
            side = list(PAIR_COLUMNS)[texts.index("")]
            bad.met(
                InputError(f"{table.where(row)}: the {side} is empty; remove the row or write it")
            )
    bad.tell(str(path))
    whole = [texts for texts in zip(*sides, strict=True) if all(texts)]
    if not whole:
        raise InputError(f"{path}: holds no rows, each lacks a query or a document")
    sides = [list(side) for side in zip(*whole, strict=True)]
    documents = distinct(sides[1])
    if len(documents) < 2:
        raise InputError(
            f"{path}: every row has the same document, {sides[1][0]!r:.60}: there is nothing to"
            " find; check the column"
        )
    both = [(q, d) for q, d in zip(*sides, strict=True) if q != d]
    if len(both) < len(sides[0]):
        alike = len(sides[0]) - len(both)
        logger.warning("%s: %d rows have one text on both sides, and judge nothing", path, alike)
    if not both:
        raise InputError(f"{path}: query and document are equal in every row; check the columns")
    queries = distinct(query for query, _ in both)
    pairs = np.array(list(dict.fromkeys((queries[q], documents[d]) for q, d in both)))
    task = RetrievalTask(
        name=task_name(path),
        queries=list(queries),
        corpus=list(documents),
        relevance=Relevance(pairs[:, 0], pairs[:, 1], np.ones(len(pairs))),
        source=str(path),
        itself=np.array([documents.get(text, -1) for text in queries], dtype=np.int64),
    )
    logger.info(
        "%s: %d rows are %d queries, %d documents, %d judgements",
        *(path, len(sides[0]), len(task.queries), len(task.corpus), len(pairs)),
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


# ---- texts --------------------------------------------------------------------------------------


def _open(path: Path | str, reading: Reading) -> Table:
    bad = BadRows(reading.get("skip_bad_rows", 0))
    table = open_table(Path(path), reading, bad)
    bad.tell(str(path))
    return table


@dataclass(frozen=True, eq=False)
class _Texts:
    """The texts of a file, the row of each id, and the table they stand in."""

    table: Table
    texts: list[str]
    row: dict[str, int]

    @classmethod
    def read(cls, table: Table, id_column: Column, columns: Sequence[Column]) -> _Texts:
        row: dict[str, int] = {}
        for number, name in enumerate(id_cells(table, id_column)):
            if row.setdefault(name, number) != number:
                raise InputError(
                    f"{table.where(number)}: the id {name!r} stands at {table.where(row[name])}"
                    " already; every id must be there once"
                )
        parts = [cells for column in columns if (cells := text_cells(table, column))]
        texts = [" ".join(filter(None, cells)) for cells in zip(*parts, strict=True)]
        return cls(table, texts, row)


def _own_documents(asked: _Texts, searched: _Texts, relevant: Relevance) -> np.ndarray:
    """The document under each query's own id (N,), −1 for none.

    Files that number their queries and their documents have equal ids of different things: an own
    id that is judged relevant is the query itself only if it has the query's text.
    """
    own = np.array([searched.row.get(name, -1) for name in asked.row], dtype=np.int64)
    answers = (own[relevant.query] == relevant.document) & (relevant.document >= 0)
    answers &= relevant.grade > 0
    for query in relevant.query[answers].tolist():
        if not searched.texts[own[query]].endswith(asked.texts[query]):
            own[query] = -1
    return own


# ---- judgements ---------------------------------------------------------------------------------


def _judgements(
    table: Table, our: Mapping[str, Column], asked: _Texts, searched: _Texts
) -> Relevance:
    """Rows of the texts and grades (J,), in the order of the file; each pair once."""
    query_ids = id_cells(table, our["relevance.query"])
    document_ids = id_cells(table, our["relevance.corpus"])
    grade = _grades(table, our["relevance.grade"], len(query_ids))
    first: dict[tuple[str, str], int] = {}
    for row, pair in enumerate(zip(query_ids, document_ids, strict=True)):
        if grade[first.setdefault(pair, row)] != grade[row]:
            raise InputError(
                f"{table.where(row)}: judges {pair[1]!r} for the query {pair[0]!r} otherwise than"
                f" {table.where(first[pair])} does; keep one of the two"
            )
    query = np.array([asked.row.get(asks, -1) for asks, _ in first], dtype=np.int64)
    document = np.array([searched.row.get(answers, -1) for _, answers in first], dtype=np.int64)
    grade = grade[list(first.values())]
    known = query >= 0
    if not ((grade > 0) & (document >= 0) & known).any():
        raise InputError(
            f"{table.source}: no judgement above 0 is of a document in {searched.table.source} for"
            f" a query in {asked.table.source}: there is nothing to find; check the files' ids"
        )
    if len(first) < len(query_ids):
        again = len(query_ids) - len(first)
        logger.warning("%s: %d judgements stand there already, and count once", table.source, again)
    if not known.all():
        logger.warning(
            "%s: %d of %d judgements are of queries that are not in %s, and are left out, as by"
            " pytrec_eval",
            *(table.source, (~known).sum(), len(known), asked.table.source),
        )
    return Relevance(query[known], document[known], grade[known])


def _grades(table: Table, column: Column, rows: int) -> np.ndarray:
    cells = find_cells(table, column)
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
