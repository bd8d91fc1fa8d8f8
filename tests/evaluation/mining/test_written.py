"""What is written is what is read again."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from simcse_kit.data import check_cells, read_rows, writing_table
from simcse_kit.errors import InputError
from simcse_kit.evaluation.mining.written import (
    OutputFormat,
    check_written,
    laid_out,
    names_of,
)

ANCHORS = ['a "quoted", text', "ein Ärgernis 🙂", "plain"]
CANDIDATES = ["p0", "p1, with a comma", "p2", "x", "y"]
PAIRS = np.array([0, 0, 1, 2]), np.array([0, 1, 2, 0])
NEGATIVES = np.array([[3, 4], [3, 4], [3, -1], [-1, -1]])


def write(path: Path, output_format: OutputFormat) -> None:
    names = names_of(output_format, 2)
    with writing_table(path, names, lists=output_format == "list") as put:
        for some in (slice(0, 2), slice(2, 4)):
            pairs = PAIRS[0][some], PAIRS[1][some]
            put(laid_out(pairs, NEGATIVES[some], (ANCHORS, CANDIDATES), output_format))


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl", ".csv", ".tsv"])
def test_tuples_and_triplets_are_read_again(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"rows{suffix}"
    write(path, "n-tuple")
    rows = read_rows(path)
    assert rows.kind == "pairs" and rows.columns == {
        "anchor": [ANCHORS[0]] * 2,
        "positive": CANDIDATES[:2],
        "negative": ["x", "x"],
        "negative_2": ["y", "y"],
    }
    write(path, "triplet")
    assert read_rows(path).columns == {
        "anchor": [*[ANCHORS[0]] * 4, ANCHORS[1]],
        "positive": ["p0", "p0", CANDIDATES[1], CANDIDATES[1], "p2"],
        "negative": ["x", "y", "x", "y", "x"],
    }


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl"])
def test_the_document_of_a_pair_stays_with_it(tmp_path: Path, suffix: str) -> None:
    documents = np.array([7, 7, 3, 5])
    for output_format in ("n-tuple", "triplet", "list"):
        path = tmp_path / f"{output_format}{suffix}"
        names = names_of(output_format, 2, documents=True)
        with writing_table(path, names, lists=output_format == "list") as put:
            texts = ANCHORS, CANDIDATES
            put(laid_out(PAIRS, NEGATIVES, texts, output_format, documents))
        rows = read_rows(path)
        told = {"triplet": [0, 0, 0, 0, 1], "n-tuple": [0, 0], "list": [0, 0, 1]}[output_format]
        assert rows.documents is not None and rows.documents.tolist() == told


@pytest.mark.parametrize("suffix", [".parquet", ".jsonl"])
def test_lists_keep_pairs_with_fewer(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"rows{suffix}"
    write(path, "list")
    rows = read_rows(path)
    assert rows.columns["positive"] == CANDIDATES[:3]
    assert rows.columns["negative"] == ["x", "x", "x"]
    assert rows.columns["negative_2"] == ["y", "y", ""]


def test_what_a_cell_cannot_hold_is_said(tmp_path: Path) -> None:
    check_cells(tmp_path / "rows.jsonl", ["a\tb\rc"])
    check_cells(tmp_path / "rows.csv", ["a\tb\nc"])
    for name, text in (("rows.tsv", "a\tb"), ("rows.tsv", "a\nb"), ("rows.csv", "a\rb")):
        with pytest.raises(InputError, match=r"cannot hold 'a.*give a \.parquet or \.jsonl$"):
            check_cells(tmp_path / name, ["fine", text])
    with pytest.raises(InputError, match="half of a character"):
        check_cells(tmp_path / "rows.parquet", ["ä", "a \ud800"])


@pytest.mark.parametrize(
    ("name", "output_format", "says"),
    [
        ("rows.txt", "triplet", r"must end in \.parquet, \.jsonl, \.csv or \.tsv$"),
        ("rows.csv", "list", r"a \.csv holds no lists"),
        ("missing/rows.csv", "triplet", "does not exist; make the folder first"),
    ],
)
def test_a_place_that_cannot_be_written(
    tmp_path: Path, name: str, output_format: OutputFormat, says: str
) -> None:
    with pytest.raises(InputError, match=says):
        check_written(tmp_path / name, output_format)
