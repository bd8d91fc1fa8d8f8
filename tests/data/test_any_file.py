"""Whatever a file holds: what was written is read, no row moves, and nothing but InputError."""

from __future__ import annotations

import csv
import io
import itertools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from simcse_kit.data.column_names import guess
from simcse_kit.data.rows import Rows, read_rows
from simcse_kit.errors import InputError

often = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
_NUMBER = itertools.count()

characters = st.characters(exclude_categories=("Cs",), exclude_characters="\0")
#: Texts with what files choke on more often than chance would have it.
awkward = st.text(st.one_of(st.sampled_from(" ab\"',;|\t\n\r\\{}[]:猫\ufeff\u2028é"), characters))
line = awkward.map(lambda text: " ".join(text.split("\n")).replace("\r", " "))


def put(folder: Path, name: str, content: str | bytes) -> Path:
    path = folder / f"{next(_NUMBER)}-{name}"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def as_csv(texts: list[str], separator: str = ",") -> str:
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=separator, quoting=csv.QUOTE_ALL)
    writer.writerows([["id", "text"], *([number, text] for number, text in enumerate(texts))])
    return out.getvalue()


def as_parquet(texts: list[str]) -> bytes:
    out = io.BytesIO()
    pd.DataFrame({"text": pd.Series(texts, dtype="object")}).to_parquet(out)
    return out.getvalue()


#: A file's name, and how a column of texts is written into it.
WRITERS: dict[str, Callable[[list[str]], str | bytes]] = {
    "a.csv": as_csv,
    "a.tsv": lambda texts: as_csv(texts, "\t"),
    "a.jsonl": lambda texts: "\n".join(json.dumps({"text": text}) for text in texts),
    "b.jsonl": lambda texts: "\n".join(json.dumps([text], ensure_ascii=False) for text in texts),
    "a.json": lambda texts: json.dumps([{"text": text} for text in texts], indent=1),
    "b.json": json.dumps,
    "a.parquet": as_parquet,
}


@often
@given(texts=st.lists(awkward, min_size=1, max_size=6))
@pytest.mark.parametrize("name", WRITERS)
def test_a_row_written_is_that_row_read(tmp_path: Path, name: str, texts: list[str]) -> None:
    path = put(tmp_path, name, WRITERS[name](texts))
    stripped = [text.strip() for text in texts]
    by_number = {"text": "1"} if name == "b.jsonl" else None  # texts may be numbers
    rows = read_rows(path, wanted=["text"], blank="keep", columns=by_number)
    assert rows.columns == {"text": stripped} and rows.numbers is None
    assert_skips_or_names_the_blank(path, stripped, by_number)


@often
@given(texts=st.lists(line, min_size=1, max_size=6), ending=st.sampled_from(["\n", "\r\n"]))
def test_a_line_written_is_that_line_read(tmp_path: Path, texts: list[str], ending: str) -> None:
    path = put(tmp_path, "a.txt", "".join(text + ending for text in texts))
    stripped = [text.strip() for text in texts]
    if stripped[0].startswith("\ufeff") or texts[0].startswith("\ufeff"):
        return  # at the start of a file it is its mark
    assert read_rows(path, wanted=["text"], blank=None).columns == {"text": stripped}
    assert_skips_or_names_the_blank(path, stripped, None)


def assert_skips_or_names_the_blank(
    path: Path, stripped: list[str], columns: dict[str, str] | None
) -> None:
    how: dict[str, Any] = {"wanted": ["text"], "columns": columns}
    kept = [row for row, text in enumerate(stripped) if text]
    if len(kept) == len(stripped):
        assert read_rows(path, **how, blank="error").columns == {"text": stripped}
        return
    first = next(row for row, text in enumerate(stripped) if not text)
    with pytest.raises(InputError, match="has no text") as error:
        read_rows(path, **how, blank="error")
    if path.suffix in (".txt", ".parquet"):
        assert f":{first + 1}:" in str(error.value) or f"row {first + 1}:" in str(error.value)
    if kept:
        rows = read_rows(path, **how, blank="skip")
        assert rows.columns == {"text": [stripped[row] for row in kept]}
        assert rows.numbers is not None and rows.numbers.tolist() == kept


@often
@given(name=line, texts=st.lists(line.filter(str.strip), min_size=1, max_size=4))
@example(name="正文", texts=["今天的天气很好"])
@example(name="text", texts=["text"])
def test_a_first_row_is_a_header_or_a_row_or_asked_about(
    tmp_path: Path, name: str, texts: list[str]
) -> None:
    path = put(tmp_path, "a.csv", "".join(f'"{cell.replace(chr(34), "")}x"\n' for cell in texts))
    cells = [cell.replace('"', "") + "x" for cell in texts]
    name = (
        name.replace('"', "")
        .replace(";", "")
        .replace("|", "")
        .strip()
        .removeprefix("\ufeff")
        .strip()
    )
    if not name or "\t" in name:  # the other separators of a .csv are refused
        return
    path.write_text(f'"{name}"\n' + path.read_text(encoding="utf-8"), encoding="utf-8")
    try:
        found = read_rows(path).columns["text"]
        assert found == [cell.strip() for cell in cells] and guess(name) == "text"
    except InputError as error:
        assert "if it is data, give header=False" in str(error) and name[:40] in str(error)
    without = read_rows(path, header=False)
    assert without.columns["text"] == [name, *(cell.strip() for cell in cells)]
    assert read_rows(path, columns={"text": name}).columns["text"] == without.columns["text"][1:]


@often
@given(
    rows=st.lists(st.one_of(st.none(), st.integers(0, 9)), min_size=1, max_size=12),
    name=st.sampled_from(["a.csv", "a.tsv", "a.jsonl"]),
)
def test_bad_rows_leave_the_others_their_numbers(
    tmp_path: Path, rows: list[int | None], name: str
) -> None:
    broken = {"a.csv": 'one "cell\n"x" y,z', "a.tsv": "one cell", "a.jsonl": '{"anchor": '}[name]
    broken = broken.split("\n")[0]
    write: dict[str, Callable[[int], str]] = {
        "a.csv": "a {0},p {0}".format,
        "a.tsv": "a {0}\tp {0}".format,
        "a.jsonl": lambda row: json.dumps({"anchor": f"a {row}", "positive": f"p {row}"}),
    }
    head = {"a.csv": ["anchor,positive"], "a.tsv": ["anchor\tpositive"], "a.jsonl": []}[name]
    lines = [broken if row is None else write[name](row) for row in rows]
    path = put(tmp_path, name, "\n".join([*head, *lines]) + "\n")
    kept = [place for place, row in enumerate(rows) if row is not None]
    bad = len(rows) - len(kept)
    if bad:
        with pytest.raises(InputError, match=r"bad row|has 1 column|not valid JSON|quoting"):
            read_rows(path, skip_bad_rows=bad - 1)
    if not kept:
        return
    found = read_rows(path, skip_bad_rows=bad)
    assert found.columns["anchor"] == [f"a {rows[place]}" for place in kept]
    numbers = range(len(rows)) if found.numbers is None else found.numbers.tolist()
    assert list(numbers) == kept
    assert [found.where(row) for row in range(len(kept))] == [
        f"{path}:{place + 1 + len(head)}" for place in kept
    ]


words = b'text label anchor positive score 1 , " { } [ ] : null NaN 1e999 PAR1 \xe9'.split(b" ")
marks = [b"\t", b"\n", b"\r", b" ", b"\0", b"\xff\xfe", b"\xef\xbb\xbf", b"\x1f\x8b"]
whole = ["猫".encode(), b'{"text": "a"}', b'["a", 1]']
pieces = st.lists(st.sampled_from([*words, *marks, *whole])).map(b"".join)
SUFFIXES = ("a.txt", "a.csv", "a.tsv", "a.jsonl", "a.json", "a.parquet", "a.csv.gz")
OPTIONS: list[dict[str, Any]] = [
    {},
    {"header": False},
    {"header": True, "skip_bad_rows": 2},
    {"columns": {"text": "text"}},
    {"columns": {"text": "1"}, "header": False},
    {"wanted": ("text",), "blank": "keep", "skip_bad_rows": 99},
    {"wanted": ("text",), "blank": None},
    {"wanted": ("text", "label")},
    {"wanted": ("sentence1", "sentence2", "score"), "skip_bad_rows": 1},
]


@settings(often, max_examples=250)
@given(
    content=st.one_of(pieces, st.binary(max_size=60), awkward.map(str.encode)),
    name=st.sampled_from(SUFFIXES),
    options=st.sampled_from(OPTIONS),
)
def test_any_bytes_are_rows_or_one_sentence(
    tmp_path: Path, content: bytes, name: str, options: dict[str, Any]
) -> None:
    try:
        rows = read_rows(put(tmp_path, name, content), **options)
    except InputError as error:
        assert str(error) and error.command_line
    else:
        assert isinstance(rows, Rows) and len(rows) > 0
        assert len({len(texts) for texts in rows.columns.values()}) == 1
        assert rows.numbers is None or len(rows.numbers) == len(rows)
