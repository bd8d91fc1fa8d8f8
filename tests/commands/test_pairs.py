"""``simcse-kit pairs``: what it writes and prints, and each mistake in one sentence."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest

import invoking
from simcse_kit.data import read_rows

run, succeed = partial(invoking.run, "pairs"), partial(invoking.succeed, "pairs")
TEXT = """Returning a parcel
Parcels can be returned within 30 days. Write to us first. We will answer soon enough.

Opening hours
We are open every day. On Sunday we close at noon. Holidays are different.

short
"""


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    path = tmp_path / "documents.txt"
    path.write_text(TEXT)
    return path


def test_documents_give_pairs_that_are_read_again(documents: Path, tmp_path: Path) -> None:
    output = tmp_path / "pairs.parquet"
    said = succeed(documents, "--output", output, "--per-document", 2, "--seed", 4)
    rows = read_rows(output)
    assert rows.kind == "pairs" and rows.documents is not None
    assert f"{output}  {len(rows)} rows" in said and "Documents left out: 1 too short." in said
    assert ("Opening hours" in rows.columns["anchor"]) and "title          2           0" in said
    twice = tmp_path / "again.parquet"
    succeed(documents, "--output", twice, "--per-document", 2, "--seed", 4)
    assert read_rows(twice).columns == rows.columns


def test_figures_as_json_and_markdown(documents: Path, tmp_path: Path) -> None:
    output = tmp_path / "pairs.jsonl"
    told = json.loads(succeed(documents, "--output", output, "--ways", "title", "--json", "-"))
    assert told["by_way"] == {"title": 2} and told["too_short"] == 1 and told["documents"] == 3
    assert len(output.read_text().splitlines()) == 2
    assert "| title |" in succeed(documents, "--output", output, "--ways", "title", "--markdown")


def test_a_column_of_documents(tmp_path: Path) -> None:
    table = tmp_path / "table.csv"
    table.write_text('name,body\nx,"Open the valve now. Then water comes out."\n')
    output = tmp_path / "pairs.csv"
    succeed(table, "--column", "body", "--output", output, "--ways", "title")
    assert read_rows(output).columns["anchor"] == ["Open the valve now."]


def test_titles_and_folders(tmp_path: Path) -> None:
    table, output = tmp_path / "table.csv", tmp_path / "pairs.csv"
    table.write_text('title,text\nThe valve,"Open it now. Then water comes out."\n')
    words = ["--output", output, "--ways", "title"]
    succeed(table, "--column", "title=title", *words)
    assert read_rows(output).columns["anchor"] == ["The valve"]
    (tmp_path / "pages").mkdir()
    (tmp_path / "pages/a.html").write_text("<h1>The pump</h1><p>It makes noise. Look at it.</p>")
    succeed(tmp_path / "pages", *words)
    assert read_rows(output).columns == {
        "anchor": ["The pump"],
        "positive": ["It makes noise. Look at it."],
    }


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["documents.txt", "--output", "out.txt"], "the name must end in .parquet, .jsonl, .csv"),
        (["documents.txt", "--output", "none/out.csv"], "does not exist; make the folder first"),
        (["documents.txt", "--output", "out.csv", "--ways", "titel"], "did you mean 'title'?"),
        (["documents.txt", "--output", "out.csv", "--ways", ""], "ways: '' must be one of"),
        (["missing.txt", "--output", "out.csv"], "missing.txt: no such file"),
        (["short.txt", "--output", "out.csv"], "1 documents give no pair by title, crop"),
        (["pairs.csv", "--output", "out.csv"], "are pairs already"),
        (["table.csv", "--output", "table.csv"], "cannot write"),
        (["documents.txt", "--output", "out.csv", "--per-document", "0"], "--per-document"),
    ],
)
def test_a_mistake_is_a_sentence_and_writes_nothing(
    documents: Path, monkeypatch: pytest.MonkeyPatch, words: list[str], says: str
) -> None:
    monkeypatch.chdir(documents.parent)
    Path("short.txt").write_text("one two\n")
    Path("pairs.csv").write_text("anchor,positive\na b c d,e f g h\n")
    Path("table.csv").write_text("text\nOne is here. Two is there.\n")
    result = run(*words)
    assert result.exit_code == 2 and says in result.stderr, result.stderr
    assert "Traceback" not in result.stderr and not Path("out.csv").exists()
