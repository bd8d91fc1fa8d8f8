"""Formats: quoting, separators, typed columns, and the line that every complaint names."""

from __future__ import annotations

import csv
import gzip
import io
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simcse_kit.data.readers import MISSING, Table, read_table
from simcse_kit.data.rows import read_rows
from simcse_kit.errors import InputError

AWKWARD = ['say "hi", now', "tab\there", "two\nlines", '"', 'a ""b""', "it's", "naïve 猫", "c\r\nd"]


def write(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / name
    data = content if isinstance(content, bytes) else content.encode()
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


def rows(table: Table) -> list[tuple[Any, ...]]:
    return list(zip(*(table.cells(index) for index in range(table.width)), strict=True))


def places(table: Table) -> list[int]:
    assert table.lines is not None
    return list(table.lines)


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_txt_is_a_text_a_line(tmp_path: Path, ending: str) -> None:
    table = read_table(write(tmp_path, f"A.TXT{ending}", " one \r\n\n  \ntwo, 2\t\nthree"))
    assert (table.names, rows(table)) == (
        ["text"],
        [(x,) for x in ("one", "", "", "two, 2", "three")],
    )
    assert (places(table), table.blank) == ([1, 2, 3, 4, 5], 0)


def test_csv_lines_stay_right_after_quoted_line_breaks(tmp_path: Path) -> None:
    content = '"a\nb\n",x\n\n"c, ""d""", "e, f"\r\n,\n"g","h"'
    table = read_table(write(tmp_path, "a.csv", content))
    assert rows(table) == [("a\nb\n", "x"), ('c, "d"', "e, f"), ("", ""), ("g", "h")]
    assert (places(table), table.blank) == ([1, 5, 6, 7], 1)
    assert table.where(1) == f"{tmp_path / 'a.csv'}:5"


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.csv.gz", "a.tsv.gz"])
@pytest.mark.parametrize("quoting", [csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
def test_what_pandas_writes_reads_back(tmp_path: Path, name: str, quoting: int) -> None:
    frame = pd.DataFrame({"sentence1": AWKWARD, "sentence2": AWKWARD[::-1]})
    separator = "\t" if ".tsv" in name else ","
    frame.to_csv(tmp_path / name, sep=separator, index=False, quoting=quoting)
    table = read_table(tmp_path / name)
    assert rows(table) == [tuple(frame.columns), *frame.itertuples(index=False, name=None)]


@given(
    st.lists(st.lists(st.text(st.sampled_from('ab",\t\n '), min_size=1), min_size=3, max_size=3))
)
def test_csv_is_what_the_csv_module_wrote(tmp_path_factory: Any, cells: list[list[str]]) -> None:
    out = io.StringIO(newline="")
    csv.writer(out).writerows([["x", "y", "z"], *cells])
    table = read_table(write(tmp_path_factory.mktemp("csv"), "a.csv", out.getvalue()))
    # blanks after a comma are no part of a cell, quoted ones are
    assert [[c.lstrip(" ") for c in row] for row in rows(table)[1:]] == [
        [c.lstrip(" ") for c in row] for row in cells
    ]


@given(st.lists(st.lists(st.text(st.sampled_from('ab",  '), min_size=1), min_size=3, max_size=3)))
def test_tsv_without_quoting_is_taken_as_it_is(
    tmp_path_factory: Any, cells: list[list[str]]
) -> None:
    # One stray quote anywhere shows that the writer did not quote, whatever the rest looks like.
    cells = [['a stray " quote', "y", "z"], *cells]
    content = "".join("\t".join(row) + "\n" for row in cells)
    table = read_table(write(tmp_path_factory.mktemp("tsv"), "a.tsv", content))
    assert rows(table) == list(map(tuple, cells))


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        # as STS-B has it: quotes that open and never close, or close early
        ('4.2\t"Yes," he said.\tNo.\n1\t"Go\tx\n', [("4.2", '"Yes," he said.', "No.")]),
        # plainly wrapped cells could be either: they stay as written
        ('0\t"Yes."\tNo.\n1\tHo\t"No."\n', [("0", '"Yes."', "No.")]),
        # a doubled quote inside a wrapped cell is quoting
        ('0\t"He said ""no""."\tHm\n1\t"Yes."\tx\n', [("0", 'He said "no".', "Hm")]),
        # so is a quoted first cell, as R writes its header
        ('"s1"\t"s2"\n"A b"\t"C d"\n', [("s1", "s2")]),
        # quotes that meet by chance, from line to line: unquoted, all lines are equally wide
        ('0\t"A b\tc d\n1\te f\tg"\n', [("0", '"A b', "c d")]),
        ('0\t"A b\tc d\n1\te"\tg\n', [("0", '"A b', "c d")]),
    ],
    ids=["stray", "wrapped", "doubled", "quoted-header", "by-chance", "by-chance-inside"],
)
def test_tsv_quoting_is_decided_by_the_whole_file(
    tmp_path: Path, content: str, expected: list[tuple[str, ...]]
) -> None:
    table = read_table(write(tmp_path, "a.tsv", content))
    assert rows(table)[:1] == expected
    assert table.lines is not None and list(table.lines) == [1, 2]


def test_jsonl_keys_may_come_and_go(tmp_path: Path) -> None:
    content = '{"text": "a\\nb", "n": 1}\r\n\n{"n": null, "text": "naïve", "new": [2]}\n{}\n'
    table = read_table(write(tmp_path, "a.jsonl.gz", content))
    assert table.names == ["text", "n", "new"]
    assert rows(table) == [
        ("a\nb", 1, MISSING),
        ("naïve", None, [2]),
        (MISSING, MISSING, MISSING),
    ]
    assert (places(table), table.blank) == ([1, 3, 4], 1)


def test_jsonl_arrays_have_places_and_no_header(tmp_path: Path) -> None:
    path = write(tmp_path, "a.jsonl", '["anchor", "b"]\n\n["c", "d"]\n')
    table = read_table(path)
    assert (table.names, rows(table)) == (None, [("anchor", "b"), ("c", "d")])
    assert places(table) == [1, 3]
    pairs = read_rows(path)
    assert pairs.columns == {"anchor": ["anchor", "c"], "positive": ["b", "d"]}


@pytest.mark.parametrize("indent", [None, 2])
@pytest.mark.parametrize(
    "records",
    [
        [{"anchor": "a", "positive": "b"}, {"positive": "d", "anchor": "c"}],
        [["a", "b"], ["c", "d"]],
    ],
    ids=["objects", "arrays"],
)
def test_json_is_a_list_of_rows_or_its_lines(
    tmp_path: Path, records: list[object], indent: int | None
) -> None:
    wanted = {"anchor": ["a", "c"], "positive": ["b", "d"]}
    whole = write(tmp_path, "a.json", json.dumps(records, indent=indent))
    assert read_rows(whole).columns == wanted
    assert read_table(whole).where(1) == f"{whole}, row 2"
    lines = write(tmp_path, "b.json", "\n".join(map(json.dumps, records)))
    assert read_rows(lines).columns == wanted
    assert read_table(lines).where(1) == f"{lines}:2"


def test_json_list_of_texts(tmp_path: Path) -> None:
    path = write(tmp_path, "a.json.gz", '["a b", "c"]')
    assert read_rows(path).columns == {"text": ["a b", "c"]}


def test_a_cell_may_be_a_long_document(tmp_path: Path) -> None:
    text = "word, " * 60_000  # 360 KB; Python's own limit for a cell is 128 KiB
    path = write(tmp_path, "a.csv", f'text,label\n"{text}",x\n')
    assert rows(read_table(path))[1] == (text, "x")


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_parquet_is_read_by_column(tmp_path: Path, ending: str) -> None:
    path = tmp_path / "a.parquet"
    frame = pd.DataFrame({"text": ["a", None, "c"], "label": pd.Categorical(["x", "y", "x"])})
    frame.to_parquet(path)
    table = read_table(write(tmp_path, f"b.parquet{ending}", path.read_bytes()))
    assert (table.names, rows(table)) == (["text", "label"], [("a", "x"), (None, "y"), ("c", "x")])
    assert table.where(1) == f"{tmp_path / f'b.parquet{ending}'}, row 2"


BAD: dict[str, tuple[str, str | bytes, str]] = {
    "unknown extension": ("a.docx", "x", "a.docx: '.docx' is no known format; use .txt, .csv, "),
    "no extension": ("corpus", "x", "corpus: '' is no known format; use .txt"),
    "json number": ("a.json", "[17]", "a.json, row 1: is a number, not an object"),
    "json open": ("a.json", '[{"text": "a"},\n', "a.json:1: is not valid JSON"),
    "json of two forms": ("a.json", '[{"text": "a"}, ["b"]]', "row 2: is an array among objects"),
    "csv too narrow": ("a.csv", "x,y,z\na,b\n", "a.csv:2: has 2 columns where line 1 has 3$"),
    "csv too wide": ("a.csv", "\nx,y\n\na,b, c\n", "a.csv:4: has 3 columns where line 2 has 2; "),
    "csv stray quote": ("a.csv", 'x,y\n"a" b,c\n', "a.csv:2: the quoting of the row .* is broken"),
    "csv open quote": ("a.csv", 'x,y\na,b\n"c,d\ne,f\n', "a.csv:3: the quoting .* is broken"),
    "csv of tabs": ("a.csv", "x\ty\na\tb\nc\td\n", "a.csv: its cells are separated by tabs"),
    "csv of semicolons": ("a.csv", "x;y\na;b\nc;d\n", "a.csv: .* separated by semicolons"),
    "csv of tabs, commas": ("a.csv", "x\ty\na, b\tc\n", "a.csv:2: .* holds tabs: .* name .* .tsv"),
    "csv of semicolons, commas": ("a.csv", "x;y\na, b;c\n", "a.csv:2: .* holds semicolons"),
    "tsv too wide": ("a.tsv", "x\ty\na\tb\tc\n", "a.tsv:2: has 3 columns where line 1 has 2"),
    "tsv undecodable": ("a.tsv", b"x\ty\n\xff\tb\n", "a.tsv:2: byte 0xff is not UTF-8"),
    "jsonl bad line": ("a.jsonl", '{"text": "a"}\n{"text": \n', "a.jsonl:2: is not valid JSON"),
    "jsonl over lines": ("a.jsonl", '{\n"text": "a"\n}\n', "a.jsonl:1: .*must stand on one line"),
    "jsonl string": ("a.jsonl", '"a"\n', "a.jsonl:1: is a string, not an object"),
    "jsonl truth": ("a.jsonl", '{"text": "a"}\ntrue\n', "a.jsonl:2: is true or false, not an"),
    "jsonl ragged arrays": ("a.jsonl", '["a", "b"]\n["c"]\n', "a.jsonl:2: is an array of 1 where"),
    "jsonl of two forms": ("a.jsonl", '["a"]\n\n{"text": "b"}\n', "a.jsonl:3: is an object among"),
    "jsonl number": ("a.jsonl", "\n\n17\n", "a.jsonl:3: is a number, not an object"),
    "jsonl surrogate": ("a.jsonl", '{"text": "\\ud83d"}', "a.jsonl:1: .* half of a character"),
    "jsonl deep": ("a.jsonl", "[" * 99999, "a.jsonl:1: is not valid JSON"),
    "parquet that is none": ("a.parquet", "text\na\n", "a.parquet: is not a readable parquet"),
    "parquet empty": ("a.parquet", "", "a.parquet: is not a readable parquet file"),
}


@pytest.mark.parametrize("case", BAD)
def test_malformed_files_are_named(tmp_path: Path, case: str) -> None:
    name, content, message = BAD[case]
    path = write(tmp_path, name, content)
    with pytest.raises(InputError, match=message) as error:
        read_table(path)
    assert str(error.value).startswith(str(tmp_path)) and "\n" not in str(error.value)


def test_parquet_cut_short(tmp_path: Path) -> None:
    pd.DataFrame({"text": ["a b c"] * 500}).to_parquet(tmp_path / "a.parquet")
    content = (tmp_path / "a.parquet").read_bytes()
    path = write(tmp_path, "b.parquet", content[: len(content) // 2])
    with pytest.raises(InputError, match=r"b\.parquet: is not a readable parquet file"):
        read_table(path)


def test_jsonl_escaped_pair_is_whole(tmp_path: Path) -> None:
    path = write(tmp_path, "a.jsonl", json.dumps({"text": "\U0001f600"}))
    assert rows(read_table(path)) == [("\U0001f600",)]
