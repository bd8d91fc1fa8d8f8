"""Which document each row is of: by a column, or by blank lines, against a loop over the lines."""

from __future__ import annotations

import datetime
import gzip
import random
import uuid
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from datasets import Dataset

from simcse_kit.data.documents import by_blank_lines, by_ids
from simcse_kit.data.rows import Rows, read_rows
from simcse_kit.errors import InputError

ROWS = [("A b", "x"), ("C d", "y"), ("E f", "x"), ("G h", "z"), ("I j", "y")]
NUMBERS = [0, 1, 0, 2, 1]


def write(folder: Path, name: str, content: str) -> Path:
    path = folder / name
    path.write_bytes(gzip.compress(content.encode()) if name.endswith(".gz") else content.encode())
    return path


def documents(rows: Rows) -> list[int] | None:
    assert rows.kind == "text" and list(rows.columns) == ["text"]
    if rows.documents is None:
        return None
    assert rows.documents.dtype == np.int64 and rows.documents.shape == (len(rows),)
    return rows.documents.tolist()


def in_format(folder: Path, kind: str, name: str = "document") -> Any:
    """The rows in a file or an object of this kind."""
    texts, ids = zip(*ROWS, strict=True)
    frame = pd.DataFrame({name: ids, "text": texts})
    if kind == "parquet":
        frame.to_parquet(folder / "a.parquet")
        return folder / "a.parquet"
    if kind in ("csv", "tsv", "csv.gz"):
        return write(
            folder, f"a.{kind}", frame.to_csv(index=False, sep="\t" if kind == "tsv" else ",")
        )
    if kind == "jsonl":
        return write(folder, "a.jsonl", frame.to_json(orient="records", lines=True))
    return {
        "frame": frame,
        "dataset": Dataset.from_pandas(frame),
        "columns": {name: list(ids), "text": list(texts)},
        "records": frame.to_dict("records"),
    }[kind]


@pytest.mark.parametrize(
    "kind",
    ["csv", "csv.gz", "tsv", "jsonl", "parquet", "frame", "dataset", "columns", "records"],
)
def test_a_column_of_any_format(tmp_path: Path, kind: str) -> None:
    assert documents(read_rows(in_format(tmp_path, kind))) == NUMBERS
    renamed = in_format(tmp_path, kind, "page")
    assert documents(read_rows(renamed, columns={"document": "page"})) == NUMBERS
    assert documents(read_rows(renamed)) is None


def test_ids_of_any_kind_and_rows_without_one(tmp_path: Path) -> None:
    records = [
        '{"text": "A", "document": 7}', '{"text": "B", "document": "7"}', '{"text": "C"}',
        '{"text": "D", "document": null}', '{"text": "E", "document": ""}',
        '{"text": "F", "document": true}', '{"text": "G", "document": 7.5}',
        '{"text": "H", "document": " 7 "}',
    ]  # fmt: skip
    rows = read_rows(write(tmp_path, "a.jsonl", "\n".join(records)))
    assert documents(rows) == [0, 0, 1, 2, 3, 4, 5, 0]
    listed = write(tmp_path, "b.jsonl", records[0] + '\n{"text": "B", "document": [7]}')
    with pytest.raises(InputError, match=r"document is \[7\]; it must hold an id"):
        read_rows(listed)
    frame = pd.DataFrame({"text": ["A", "B", "C", "D"], "document": [1.0, np.nan, np.nan, 1.0]})
    assert documents(read_rows(frame)) == [0, 1, 2, 0]
    frame.to_parquet(tmp_path / "a.parquet")
    assert documents(read_rows(tmp_path / "a.parquet")) == [0, 1, 2, 0]


DAY, OTHER = datetime.date(2026, 1, 1), datetime.date(2026, 1, 2)


@pytest.mark.parametrize(
    "ids",
    [
        [Decimal(7), Decimal(7), Decimal(8)],
        [DAY, DAY, OTHER],
        [b"7\xff", b"7\xff", b"8"],
        pd.to_datetime([DAY, DAY, OTHER]),
        np.array([7, 7, 8]),
        np.array([7.5, 7.5, 8]),
        [uuid.UUID(int=7), uuid.UUID(int=7), uuid.UUID(int=8)],
    ],
    ids=["decimal", "date", "bytes", "timestamp", "int64", "float64", "uuid"],
)
def test_ids_of_other_types(tmp_path: Path, ids: Any) -> None:
    texts, expected = ["A", "B", "C"], [0, 0, 1]
    frame = pd.DataFrame({"text": texts, "document": ids})
    records = [{"text": text, "document": one} for text, one in zip(texts, ids, strict=True)]
    for given in (frame, records, {"text": texts, "document": ids}):
        assert documents(read_rows(given)) == expected
    if not isinstance(ids[0], uuid.UUID):  # which pyarrow takes for bytes, or not at all
        frame.to_parquet(tmp_path / "a.parquet")
        assert documents(read_rows(tmp_path / "a.parquet")) == expected
    none = [{"text": "A", "document": pd.NA}, {"text": "B", "document": pd.NaT}, *records]
    assert documents(read_rows(none)) == [0, 1, 2, 2, 3]


def test_labels_and_scores_of_numpy() -> None:
    labels = {"text": ["A", "B"], "label": np.array([0, 1])}
    read = read_rows(labels, columns={"text": "text", "label": "label"})
    assert read.labels == ["0", "1"]
    records = [{"sentence1": "A", "sentence2": "B", "score": np.float32(0.5)}]
    assert read_rows(records).scores == [0.5]


def test_rows_that_are_left_out_leave_the_others_theirs(tmp_path: Path) -> None:
    blank = write(tmp_path, "a.csv", "text,document\nA,x\n,x\nB,y\n,\nC,x\n")
    rows = read_rows(blank)
    assert (documents(rows), rows.blank) == ([0, 1, 0], 2)
    assert documents(read_rows(blank, blank="keep")) == [0, 0, 1, 2, 0]
    broken = write(tmp_path, "b.csv", "text,document\nA,x\nB\nC,y\nD,x\n")
    assert documents(read_rows(broken, skip_bad_rows=1)) == [0, 1, 0]


def test_equal_texts_of_other_documents_are_equal_texts(tmp_path: Path) -> None:
    rows = read_rows(write(tmp_path, "a.csv", "text,document\nA,x\nA,y\n"))
    assert rows.duplicates == 1 and rows.texts() == ["A", "A"]


def test_columns_by_number(tmp_path: Path) -> None:
    path = write(tmp_path, "a.tsv", "x\tA b\ny\tC d\nx\tE f\n")
    columns = {"text": "2", "document": "1"}
    assert documents(read_rows(path, columns=columns, header=False)) == [0, 1, 0]


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (["A", "B", "", "C", " \t", "", "D"], [0, 0, 1, 2]),
        (["", "A", "", "B", "", ""], [0, 1]),
        (["A", "B", "C"], None),
        (["", "A", "B", ""], None),  # at the ends they part nothing
        (["A"], None),
    ],
)
@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz"])
def test_blank_lines_of_plain_text(tmp_path: Path, name: str, lines, expected) -> None:
    rows = read_rows(write(tmp_path, name, "\n".join([*lines, ""])))
    assert documents(rows) == expected
    assert rows.blank == sum(not line.strip() for line in lines)


def test_blank_lines_against_a_loop(tmp_path: Path) -> None:
    chance = random.Random(0)
    for _ in range(30):
        lines = [chance.choice(["", " ", "a", "b", "c d"]) for _ in range(chance.randint(1, 12))]
        number, expected, begun = -1, [], False
        for line in lines:
            if line.strip():
                number += not begun
                expected.append(number)
            begun = bool(line.strip())
        if not expected:
            continue
        rows = read_rows(write(tmp_path, "a.txt", "\n".join(lines) + "\n"))
        assert documents(rows) == (expected if number else None)


def test_blank_rows_of_a_table_part_nothing(tmp_path: Path) -> None:
    assert documents(read_rows(write(tmp_path, "a.tsv", "text\nA\n\nB\n"))) is None
    assert documents(read_rows(["A", "", "B"])) is None
    kept = read_rows(write(tmp_path, "a.txt", "A\n\nB\n"), blank="keep")
    assert kept.documents is None


def test_pairs_may_tell_their_documents(tmp_path: Path) -> None:
    content = "anchor,positive,document\nA,P,x\nB,Q,\nC,R,x\nD,S,\n"
    rows = read_rows(write(tmp_path, "a.csv", content))
    assert rows.kind == "pairs" and list(rows.columns) == ["anchor", "positive"]
    assert rows.documents is not None and rows.documents.tolist() == [0, 1, 0, 2]
    lists = '{"anchor": "A", "positive": ["P", "Q"], "negative": ["N"], "document": 7}\n'
    lists += '{"anchor": "B", "positive": ["R"], "negative": [], "document": 8}\n'
    rows = read_rows(write(tmp_path, "a.jsonl", lists))
    assert rows.columns["negative"] == ["N", "N", ""]
    assert rows.documents is not None and rows.documents.tolist() == [0, 0, 1]


@pytest.mark.parametrize(
    ("content", "kind", "options"),
    [
        ("text,label,document\nA,x,1\nB,y,1\n", "labelled", {}),
        (
            "anchor,positive,document\nA,P,1\n",
            "pairs",
            {"columns": {"anchor": "anchor", "positive": "positive"}},
        ),
        (
            "query,document\nA,P\n",
            "pairs",
            {"columns": {"anchor": "query", "positive": "document"}},
        ),
        ("document\nA\n", "text", {"header": True}),
        ("document\nA\n", "text", {"columns": {"text": "document"}}),
        ("text,document\nA,x\n", "text", {"wanted": ("text",)}),
        ("text,document\nA,x\n", "text", {"columns": {"text": "text"}}),  # only what is named
    ],
)
def test_elsewhere_a_document_is_what_it_was(tmp_path: Path, content, kind, options) -> None:
    rows = read_rows(write(tmp_path, "a.csv", content), **options)
    assert (rows.kind, rows.documents) == (kind, None)


@pytest.mark.parametrize(
    ("content", "options", "said"),
    [
        ("query,document\nA,P\n", {"header": True}, "positive': 'document'"),
        ("anchor,document\nA,P\n", {"header": True}, "'positive': 'document'"),
        ("text,document,Document\nA,x,y\n", {}, "'document' and 'Document' both mean document"),
        ("text,page\nA,x\n", {"columns": {"document": "pages"}}, "did you mean 'page'"),
        ("text,page\nA,x\n", {"columns": {"documents": "page"}}, "no column of ours"),
    ],
)
def test_what_is_in_doubt_is_asked(tmp_path: Path, content, options, said) -> None:
    with pytest.raises(InputError, match=said):
        read_rows(write(tmp_path, "a.csv", content), **options)


def test_numbers_themselves() -> None:
    assert by_ids(["b", "", "a", "b", ""]).tolist() == [0, 1, 2, 0, 3]
    assert by_blank_lines(np.array([1, 2, 4, 7, 8])).tolist() == [0, 0, 1, 2, 2]
    assert by_blank_lines(np.array([], dtype=np.int64)) is None
