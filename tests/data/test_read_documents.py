"""Documents are read from tables, with titles, and from folders of files."""

from __future__ import annotations

import json
import os
import threading
from functools import partial
from pathlib import Path

import pytest

from simcse_kit.data import Rows, read_documents, whole_documents
from simcse_kit.errors import InputError


def test_a_folder_is_a_document_a_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    written = {
        "b.txt": "One.\n\nTwo.",
        "a.md": "# Head\n\nText.",
        "sub/c.HTML": "<p>Hi.</p>",
        "sub/d.rst": " \n",
        ".git/e.md": "Hidden.",
        ".f.txt": "Hidden.",
        "g.pdf": "%PDF",
    }
    for name, text in written.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "lost.md").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe.txt")
    caplog.set_level("INFO")
    rows = read_documents(tmp_path)
    assert whole_documents(rows) == ["# Head\n\nText.", "One.\n\nTwo.", "<p>Hi.</p>"]
    assert rows.blank == 1 and "3 files are passed over" in caplog.text
    assert whole_documents(read_documents(tmp_path / "a.md")) == ["# Head\n\nText."]
    assert whole_documents(read_documents(tmp_path / "b.txt")) == ["One.", "Two."]
    (tmp_path / "bad.txt").write_bytes(b"\xff\xff\xff")
    with pytest.raises(InputError, match=r"bad\.txt:1: byte 0xff is not UTF-8"):
        read_documents(tmp_path)
    assert len(read_documents(tmp_path, skip_bad_rows=1)) == 3
    with pytest.raises(InputError, match="has no columns, for its files are whole documents"):
        read_documents(tmp_path, columns={"text": "body"})


def test_a_folder_of_other_files_is_none(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("text\nOne.\n")
    with pytest.raises(InputError, match=r"is a folder; give a file, for instance .*a\.csv"):
        read_documents(tmp_path)
    (tmp_path / "a.md").write_text("")
    with pytest.raises(InputError, match="none of 1 files holds a text"):
        read_documents(tmp_path)


def test_titles_stand_before_the_text_of_their_own_row(tmp_path: Path) -> None:
    path = tmp_path / "corpus.jsonl"
    rows = [("Red", "a b."), ("", "c d."), ("Blue", " "), ("Green", "e f.")]
    path.write_text("".join(json.dumps({"title": t, "text": b}) + "\n" for t, b in rows))
    read = read_documents(path, columns={"title": "title"})
    assert whole_documents(read) == ["Red\n\na b.", "c d.", "Green\n\ne f."]
    assert whole_documents(read_documents(path)) == ["a b.", "c d.", "e f."]
    table = tmp_path / "parts.csv"
    table.write_text("head,body,id,label\nT,One.,x,l\nU,Two.,y,l\nT,Three.,x,l\n")
    named = {"text": "body", "document": "id", "title": "head"}
    assert whole_documents(read_documents(table, columns=named)) == [
        "T\n\nOne.\n\nThree.",
        "U\n\nTwo.",
    ]


def read_from_pipe(folder: Path, text: str, columns: dict[str, str] | None = None) -> Rows:
    """Read a table from a pipe that gives it once; whoever opens that again waits for ever."""
    pipe = folder / f"pipe-{len([*folder.iterdir()])}"
    os.mkfifo(pipe)
    found: list[Rows] = []

    def read() -> None:
        found.append(read_documents(pipe, columns=columns, file_format="csv"))

    for work in (partial(pipe.write_text, text), read):
        thread = threading.Thread(target=work, daemon=True)
        thread.start()
    thread.join(20)
    [rows] = found
    return rows


def test_a_source_that_can_be_read_once_has_titles_too(tmp_path: Path) -> None:
    records = [{"head": "A", "text": "One."}, {"text": "Two."}, {"head": None, "text": "Three."}]
    titled = read_documents((each for each in records), columns={"title": "head"})
    assert whole_documents(titled) == ["A\n\nOne.", "Two.", "Three."]
    text = "head,text,document\nA,One.,x\nB,Two.,y\nA,Three.,x\n"
    titled = read_from_pipe(tmp_path, text, {"title": "head"})
    assert whole_documents(titled) == ["A\n\nOne.\n\nThree.", "B\n\nTwo."]
    assert list(titled.columns) == ["text"] and "title" not in titled.names


def test_pairs_from_what_can_be_read_once_are_said_to_be_pairs(tmp_path: Path) -> None:
    records = ({"anchor": each, "positive": "B"} for each in "ab")
    for pairs in (read_from_pipe(tmp_path, "anchor,positive\nA,B\n"), read_documents(records)):
        with pytest.raises(InputError, match="are pairs already"):
            whole_documents(pairs)
    with pytest.raises(InputError, match="no column for text"):
        read_documents(({"title": each} for each in "ab"), columns={"title": "title"})


def test_labels_beside_documents_are_passed_over(tmp_path: Path) -> None:
    table = tmp_path / "a.csv"
    table.write_text("text,label,document\nOne.,l,x\nTwo.,l,y\nThree.,m,x\n")
    assert whole_documents(read_documents(table)) == ["One.\n\nThree.", "Two."]


def test_columns_that_are_not_there_are_said(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"title": "T", "body": "B is."}))
    with pytest.raises(InputError, match="no column for text") as error:
        read_documents(path)
    assert "--column text=" in error.value.command_line
    with pytest.raises(InputError, match="has no column 'titel'") as error:
        read_documents(path, columns={"text": "body", "title": "titel"})
    assert "--column title=title" in error.value.command_line
    path.write_text(json.dumps({"anchor": "A", "positive": "B"}))
    with pytest.raises(InputError, match="are pairs already"):
        whole_documents(read_documents(path))
