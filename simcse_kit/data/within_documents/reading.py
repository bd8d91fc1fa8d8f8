"""Where documents lie: in a table, in a text, or in a folder of files, a document each."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Unpack

from simcse_kit.data.bad_rows import BadRows
from simcse_kit.data.column_names import DOCUMENT, TITLE
from simcse_kit.data.dataset_tables import is_saved_dataset
from simcse_kit.data.home import at_home
from simcse_kit.data.lines import text_blocks
from simcse_kit.data.readers import data_suffix
from simcse_kit.data.rows import Reading, Rows, Source, check_reading, rows_of, table_of
from simcse_kit.errors import InputError

#: Files that hold one document each, wherever they lie; of a folder ``.txt`` too.
WRITTEN = (".md", ".markdown", ".rst", ".html", ".htm")

logger = logging.getLogger(__name__)


def read_documents(
    source: Source, *, columns: Mapping[str, str] | None = None, **reading: Unpack[Reading]
) -> Rows:
    """Read rows of text, each a document or a part of one (`whole_documents`).

    Args:
        source: as of `read_rows`; or a folder, of which every ``.txt``, ``.md``, ``.rst`` and
            ``.html`` is a document, folders within it included; or one such file, but for
            ``.txt``, in which blank lines part documents.
        columns: as of `read_rows`: ``text``, ``document``, and ``title`` for a column that is put
            before the text, in a paragraph of its own.
        reading: as of `Reading`; of a folder `skip_bad_rows` counts files.

    Raises:
        InputError: as of `read_rows`; a folder without such files.
    """
    check_reading(reading)
    files = _files(source, reading)
    if files is not None:
        if columns:
            raise InputError(
                f"{source}: has no columns, for its files are whole documents; leave columns out",
                command_line=f"{source}: has no columns, for its files are whole documents; leave"
                " --column out",
            )
        return _rows_of_files(str(source), files, reading.get("skip_bad_rows", 0))
    # a pipe and a generator give what they hold once, and a hub's dataset is large
    bad, header = BadRows(reading.get("skip_bad_rows", 0)), reading.get("header")
    table = table_of(source, bad, reading.get("file_format"))
    columns, beside = columns or None, (DOCUMENT, TITLE)
    try:
        rows = rows_of(table, bad, columns=columns, wanted=("text",), beside=beside, header=header)
    except InputError:
        if columns is None:
            with contextlib.suppress(InputError):
                return rows_of(table, bad, header=header)  # others, as `whole_documents` says
        raise
    return _titled(rows)


def _files(source: Source, reading: Reading) -> list[Path] | None:
    """The files that are a document each; None where the source is a table, or a text."""
    if not isinstance(source, str | os.PathLike) or reading.get("file_format") is not None:
        return None
    path = at_home(os.fspath(source))
    if path.is_file():
        return [path] if data_suffix(path) in WRITTEN else None
    if not path.is_dir() or is_saved_dataset(path):
        return None
    return _below(path) or None


def _below(folder: Path) -> list[Path]:
    """Files of documents in a folder and the folders within, in an order of their names."""
    found, others = [], 0
    for inner, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for path in (Path(inner, name) for name in names if not name.startswith(".")):
            if data_suffix(path) in (*WRITTEN, ".txt") and path.is_file():  # no pipe, no lost link
                found.append(path)
            else:
                others += 1
    if found and others:
        logger.info(
            "%s: %d files are passed over, which are none of %s",
            *(folder, others, ", ".join((".txt", *WRITTEN))),
        )
    return sorted(found, key=lambda path: path.relative_to(folder).parts)


def _rows_of_files(source: str, files: list[Path], allowed: int) -> Rows:
    bad = BadRows(allowed)
    texts, blank = [], 0
    for path in files:
        try:
            text = "".join(block for _, block in text_blocks(path)).strip()
        except InputError as complaint:
            bad.met(complaint)
            continue
        if text:
            texts.append(text)
        else:
            blank += 1
    bad.tell(source)
    if not texts:
        raise InputError(f"{source}: none of {len(files):,} files holds a text; give some that do")
    logger.info("%s: %d documents, %d empty files skipped", source, len(texts), blank)
    return Rows("text", {"text": texts}, None, None, source, duplicates=0, blank=blank)


def _titled(rows: Rows) -> Rows:
    """With what a column of titles has, if there is one, before the first row of each document."""
    columns = dict(rows.columns)
    titles = columns.pop(TITLE, None)
    if titles is None:
        return rows
    told, begun = [], set()
    documents = range(len(rows)) if rows.documents is None else rows.documents.tolist()
    for title, document, text in zip(titles, documents, columns["text"], strict=True):
        above = "" if document in begun else title
        begun.add(document)
        told.append(f"{above}\n\n{text}" if above else text)
    names = {ours: theirs for ours, theirs in rows.names.items() if ours != TITLE}
    return replace(rows, columns=columns | {"text": told}, names=names)
