"""What the columns mean, and the complaint about every row that does not fit."""

from __future__ import annotations

import gzip
import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from simcse_kit.data.rows import Rows, read_rows
from simcse_kit.errors import InputError, explain


def write(folder: Path, name: str, content: str) -> Path:
    path = folder / name
    data = content.encode()
    path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return path


# file name, content, options -> kind, columns, labels, scores
READ: dict[str, tuple[str, str, dict[str, Any], tuple[Any, ...]]] = {
    "txt": ("a.txt", "A b.\n\n C d. \nA b.\n", {}, ("text", {"text": ["A b.", "C d.", "A b."]})),
    "one column, no header": (
        "a.csv", '"A, b"\nC d\n', {"header": False}, ("text", {"text": ["A, b", "C d"]}),
    ),
    "sentence": ("a.tsv", "id\tSentence\n1\tA b\n", {}, ("text", {"text": ["A b"]})),
    "text like a name": (
        "a.csv", "hello\nyou\n", {"header": False}, ("text", {"text": ["hello", "you"]}),
    ),
    "nulls": ("a.jsonl", '{"text": "A"}\n{"text": null}\n', {}, ("text", {"text": ["A"]})),
    "pairs": (
        "a.csv", "positive,anchor\nP,A\n", {},
        ("pairs", {"anchor": ["A"], "positive": ["P"]}),
    ),
    "SimCSE's names": (
        "a.csv.gz", "sent0,sent1,hard_neg\nA,P,N\n", {},
        ("pairs", {"anchor": ["A"], "positive": ["P"], "negative": ["N"]}),
    ),
    "numbered negatives": (
        "a.tsv", "anchor\tnegative_10\tpositive\tnegative_2\tNegative 1\nA\tZ\tP\tY\tX\n", {},
        ("pairs", {"anchor": ["A"], "positive": ["P"], "negative": ["X"], "negative_2": ["Y"],
                   "negative_3": ["Z"]}),
    ),
    "pairs by position": (
        "a.tsv", "A a\tP p\nB b\tQ q\n", {"header": False},
        ("pairs", {"anchor": ["A a", "B b"], "positive": ["P p", "Q q"]}),
    ),
    "word pairs by position": (
        "a.tsv", "hot\twarm\ncold\tchilly\n", {"header": False},
        ("pairs", {"anchor": ["hot", "cold"], "positive": ["warm", "chilly"]}),
    ),
    "negatives by position": (
        "a.csv", "A a,P p,N n,M m\n", {"header": False},
        ("pairs", {"anchor": ["A a"], "positive": ["P p"], "negative": ["N n"],
                   "negative_2": ["M m"]}),
    ),
    "sentence pairs without score": (
        "a.jsonl", '{"sentence1": "A", "sentence2": "B"}', {},
        ("pairs", {"anchor": ["A"], "positive": ["B"]}),
    ),
    "labelled": (
        "a.jsonl", '{"label": 1, "text": "A"}\n{"text": "B", "label": "x"}\n', {},
        ("labelled", {"text": ["A", "B"]}, ["1", "x"]),
    ),
    "scored": (
        "a.csv", "score,sentence2,sentence1\n 4.5,B,A\n-1e-1,D,C\n", {},
        ("scored", {"sentence1": ["A", "C"], "sentence2": ["B", "D"]}, None, [4.5, -0.1]),
    ),
    "scored by position": (
        "a.tsv", "A a\tB b\t5\nC c\tD d\t0.25\n", {"header": False},
        ("scored", {"sentence1": ["A a", "C c"], "sentence2": ["B b", "D d"]}, None, [5, 0.25]),
    ),
    "mapped": (
        "a.csv", "title,abstract,text\nA,B,C\n",
        {"columns": {"anchor": "title", "positive": "abstract"}},
        ("pairs", {"anchor": ["A"], "positive": ["B"]}),
    ),
    "half mapped, half by name": (
        "a.csv", "topic,text,stars\nx,A,5\ny,B,4\n", {"columns": {"label": "topic"}},
        ("labelled", {"text": ["A", "B"]}, ["x", "y"]),
    ),
    "the rest of a pair by name": (
        "a.csv", "sent0,answer,hard_neg\nA,B,C\n", {"columns": {"positive": "answer"}},
        ("pairs", {"anchor": ["A"], "positive": ["B"], "negative": ["C"]}),
    ),
    "mapped to what a column means": (
        "a.csv", "sent0,sent1,hard_neg\nA,B,C\n", {"columns": {"text": "negative"}},
        ("text", {"text": ["C"]}),
    ),
    "nothing is added to what makes rows": (
        "a.csv", "title,label\nA,x\n", {"columns": {"text": "title"}},
        ("text", {"text": ["A"]}, None),
    ),
    "one column of a table": (
        "a.tsv", "sentence1\tsentence2\tscore\nA\tB\t3\n", {"columns": {"text": "sentence2"}},
        ("text", {"text": ["B"]}),
    ),
    "header by order": (
        "a.csv", "Text\nA b\n", {"header": False}, ("text", {"text": ["Text", "A b"]}),
    ),
    "header over the same words": (
        "a.csv", "text,label\ntext,label\n", {"header": True},
        ("labelled", {"text": ["text"]}, ["label"]),
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", READ)
def test_columns_decide_the_kind(tmp_path: Path, case: str) -> None:
    name, content, options, (kind, columns, *more) = READ[case]
    rows = read_rows(write(tmp_path, name, content), **options)
    labels, scores = (*more, None, None)[:2]
    assert (rows.kind, rows.columns, rows.labels) == (kind, columns, labels)
    assert list(rows.columns) == list(columns)
    if scores is None:
        assert rows.scores is None
    else:
        assert rows.scores is not None and rows.scores.dtype == np.float64
        assert rows.scores.tolist() == scores
    assert len(rows) == len(next(iter(columns.values())))
    assert rows.source == str(tmp_path / name)


def test_texts_go_column_by_column() -> None:
    rows = Rows("pairs", {"anchor": ["a", "b"], "positive": ["c", "d"]}, None, None, "x", 0, 0)
    assert rows.texts() == ["a", "b", "c", "d"]


def test_equal_rows_and_blank_lines_are_counted(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "simcse_kit")
    rows = read_rows(write(tmp_path, "a.txt", "A\n\nB\nA \n  \nA\n"))
    assert (len(rows), rows.duplicates, rows.blank) == (4, 2, 2)
    assert "4 rows (text), 2 equal to an earlier one, 2 blank skipped" in caplog.text

    content = "sentence1,sentence2,score,id\nA,B,1,x\nA,B,1,y\nA,B,2,z\n,,,\n\n"
    rows = read_rows(write(tmp_path, "a.csv", content))
    assert (len(rows), rows.duplicates, rows.blank) == (3, 1, 2)
    assert "a.csv: columns ignored: id" in caplog.text


def test_null_texts_are_blank_in_parquet_too(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pd.DataFrame({"vector": [[1.0], [2.0]], "text": ["A", None]}).to_parquet(path)
    rows = read_rows(path)
    assert (rows.columns, rows.blank) == ({"text": ["A"]}, 1)


PAIR = "sentence1,sentence2,score\n"
BAD: dict[str, tuple[str, str, dict[str, Any], str]] = {
    "empty txt": ("a.txt", "", {}, r"a\.txt: holds no rows, it is empty"),
    "blank txt": ("a.txt", "\n \n\n", {}, r"a\.txt: holds no rows, only 3 blank lines"),
    "empty csv": ("a.csv", "", {}, r"a\.csv: holds no rows, it is empty"),
    "blank tsv": ("a.tsv.gz", "\n\n", {}, r"a\.tsv\.gz: holds no rows, only 2 blank lines"),
    "empty jsonl": ("a.jsonl", "\n", {}, r"a\.jsonl: holds no rows, only 1 blank line;"),
    "only a header": ("a.csv", "anchor,positive\n", {}, r"a\.csv: holds no rows, it is empty or"),
    "one-column pairs": (
        "a.csv", "anchor\nA\n", {}, r"a\.csv:1: the first row \(anchor\) has a column anchor but",
    ),
    "half a pair": ("a.tsv", "id\tsentence2\n1\tB\n", {}, "sentence2 but none for sentence1"),
    "half a pair in jsonl": (
        "a.jsonl", '{"id": 1, "sentence2": "B"}', {}, "sentence2 but none for sentence1",
    ),
    "unknown names": (
        "a.csv", "title,body\nA b,C d\n", {},
        r"a\.csv:1: the first row \(title, body\) names no columns that are known .*; if it is "
        r"data, give header=False; if it is a header, give columns=\{'anchor': 'title', 'positive'",
    ),
    "SICK's names": (
        "a.tsv", "sentence_A\tsentence_B\trelatedness_score\nA\tB\t3.5\n", {},
        r"sentence_A, sentence_B, relatedness_score.*columns=\{'sentence1': 'sentence_A', "
        r"'sentence2': 'sentence_B', 'score': 'relatedness_score'\}",
    ),
    "names that don't do": ("a.jsonl", '{"a": "A", "label": 1}', {}, "no columns to learn from"),
    "a name twice": ("a.csv", "text,sentence\nA,B\n", {}, "'text' and 'sentence' both mean text"),
    "empty cell": ("a.csv", 'anchor,positive\n"A\nb",B\nC, \n', {}, r"a\.csv:4: positive is empty"),
    "no score": ("a.csv", PAIR + "A,B,1\nC,D,\n", {}, r"a\.csv:3: score is empty"),
    "NaN score": ("a.csv", PAIR + "\nA,B,NaN\n", {}, r"a\.csv:3: score is 'NaN'; it must hold a f"),
    "infinite score": ("a.csv", PAIR + "A,B,-inf\n", {}, r"a\.csv:2: score is '-inf'"),
    "score in words": ("a.csv", PAIR + "A,B,high\n", {}, r"a\.csv:2: score is 'high'"),
    "decimal comma": ("a.csv", PAIR + 'A,B,"4,5"\n', {}, r"a\.csv:2: score is '4,5'"),
    "a bad score by position": (
        "a.tsv", "A a\tB b\t1\nC c\tD d\tn/a\nE e\tF f\t2\n", {"header": False},
        r"a\.tsv:2: score \(column 3\)",
    ),
    "true as score": (
        "a.jsonl", '{"sentence1": "A", "sentence2": "B", "score": true}', {},
        r"a\.jsonl:1: score is True",
    ),
    "NaN in jsonl": (
        "a.jsonl", '{"sentence1": "A", "sentence2": "B", "score": NaN}', {},
        r"a\.jsonl:1: score is nan",
    ),
    "classes for scores": (
        "a.jsonl", '{"sentence1": "A", "sentence2": "B", "label": 0}', {}, "rename it to score",
    ),
    "missing key": (
        "a.jsonl", '{"anchor": "A", "positive": "B"}\n\n{"anchor": "C"}\n', {},
        r"a\.jsonl:3: has no key 'positive', which other lines have",
    ),
    "missing text": ("a.jsonl", '{"text": "A"}\n{"txt": "B"}\n', {}, r"a\.jsonl:2: has no key 'te"),
    "number for text": ("a.jsonl", '{"text": "A"}\n{"text": 7}\n', {}, r"a\.jsonl:2: text is 7"),
    "empty label": ("a.csv", "text,label\nA,1\nB,\n", {}, r"a\.csv:3: label is empty"),
    "empty labelled text": ("a.csv", "text,label\n,1\n", {}, r"a\.csv:2: text is empty"),
    "numbers for text": (
        "a.tsv", "A a\t0\nB b\t1\n", {"header": False}, "its column 2 holds numbers, not text",
    ),
    "score first": (
        "a.tsv", "4.5\tA a\tB b\n", {"header": False}, "its column 1 holds numbers, not text",
    ),
    "mapped to nothing": (
        "a.csv", "titel,text\nA,B\n", {"columns": {"text": "title"}},
        r"has no column 'title' \(it has titel, text\); did you mean 'titel'\?",
    ),
    "mapped from nothing": (
        "a.csv", "title\nA\n", {"columns": {"query": "title"}},
        r"'query' is no column .*did you mean anchor\? give columns=\{'anchor': 'title'\}",
    ),
    "mapped the other way round": (
        "a.csv", "body,topic\nA,B\n", {"columns": {"body": "text"}},
        r"it is ours first, then the file's: give columns=\{'text': 'body'\}",
    ),
    "mapped without header": (
        "a.csv", "A\n", {"columns": {"text": "A"}, "header": False},
        r"has no column 'A' \(it has 1\)",
    ),
    "half mapped": (
        "a.csv", "a,b\nA,B\n", {"columns": {"anchor": "a"}},
        r"anchor but none for positive .*give columns=\{'anchor': 'a', 'positive': 'b'\} or ",
    ),
    "a label alone": (
        "a.csv", "review,label\nA,B\n", {},
        r"no columns but label .*give columns=\{'text': 'review', 'label': 'label'\}$",
    ),
    "mapped to what two columns mean": (
        "a.jsonl", '{"sent0": "A", "Anchor": "B"}', {"columns": {"text": "anchor"}},
        "more than one column 'anchor'",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_misfits_are_named(tmp_path: Path, case: str) -> None:
    name, content, options, message = BAD[case]
    with pytest.raises(InputError, match=message) as error:
        read_rows(write(tmp_path, name, content), **options)
    assert "\n" not in str(error.value)


def test_the_command_line_is_told_what_to_type(tmp_path: Path) -> None:
    path = write(tmp_path, "a.csv", "body text,topic\nA b,x\n")
    with pytest.raises(InputError, match="columns=") as error:
        read_rows(path, columns={"text": "body text", "label": "label"})
    said = explain(error.value) or ""
    assert said.endswith(
        "has no column 'label' (it has body text, topic); give --column label=topic"
    )
    path = write(tmp_path, "a.jsonl", '{"body text": "A", "topic": "x"}')
    with pytest.raises(InputError, match="columns=") as error:
        read_rows(path)
    assert (explain(error.value) or "").endswith(
        "give --column 'text=body text' or --column 'anchor=body text' --column positive=topic"
    )


def test_rows_know_what_the_file_calls_them(tmp_path: Path) -> None:
    rows = read_rows(write(tmp_path, "a.csv", "sent0,sent1,id\nA,B,1\n"))
    assert rows.names == {"anchor": "sent0", "positive": "sent1"}
    assert read_rows(write(tmp_path, "b.txt", "A\n")).names == {"text": "text"}
    assert read_rows(write(tmp_path, "c.tsv", "A b\tC d\n"), header=False).names == {}


def test_missing_files_get_a_near_name(tmp_path: Path) -> None:
    write(tmp_path, "wiki_1m.txt.gz", "A")
    with pytest.raises(InputError, match=r"no such file; did you mean .*wiki_1m\.txt\.gz\?"):
        read_rows(tmp_path / "wiki1m.txt.gz")
    with pytest.raises(InputError, match=r"no such file; the folder .*nowhere does not exist"):
        read_rows(tmp_path / "nowhere" / "wiki.txt")
    with pytest.raises(InputError, match=r"^data/wiki\.txt: no such file"):
        read_rows("data/wiki.txt")  # no dataset of the hub, for all its looks


def test_folders_are_not_files(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"is a folder; give a file, ending in \.txt, "):
        read_rows(tmp_path)
    write(tmp_path, "b.csv.gz", "A")
    with pytest.raises(InputError, match=r"is a folder; give a file, for instance .*b\.csv\.gz$"):
        read_rows(str(tmp_path))


def test_unreachable_hub_is_advice(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="nobody/nothing: no such file here, and the hub is n"):
        read_rows("nobody/nothing")


def test_saved_datasets(tmp_path: Path) -> None:
    import datasets

    texts = datasets.Dataset.from_dict(
        {"text": ["A", "B"], "label": [1, 0]},
        features=datasets.Features(
            {"text": datasets.Value("string"), "label": datasets.ClassLabel(names=["no", "yes"])}
        ),
    )
    texts.save_to_disk(tmp_path / "one")
    datasets.DatasetDict(train=texts, test=texts.select([1])).save_to_disk(tmp_path / "two")
    for folder in ("one", "two"):
        rows = read_rows(tmp_path / folder)
        assert (rows.kind, rows.columns, rows.labels) == (
            "labelled",
            {"text": ["A", "B"]},
            ["yes", "no"],
        )
    assert read_rows(tmp_path / "two", split="test").labels == ["no"]
    with pytest.raises(InputError, match="has no split 'dev'; it has train, test"):
        read_rows(tmp_path / "two", split="dev")


def test_hub_datasets(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    asked: list[Any] = []

    def load_dataset(*args: Any, **options: Any) -> Any:
        asked.append((args, options))
        return datasets.Dataset.from_dict(
            {"sentence1": ["A", "C"], "sentence2": ["B", "D"], "score": [1, 2.5]}
        )

    monkeypatch.setattr("simcse_kit.data.hub.ask_hub", lambda *_, **__: None)  # it has it
    monkeypatch.setattr(datasets, "load_dataset", load_dataset)
    rows = read_rows("owner/name:config", split="dev", revision="abc")
    assert asked == [(("owner/name", "config"), {"split": "dev", "revision": "abc"})]
    assert rows.kind == "scored" and rows.scores is not None
    assert (rows.scores.tolist(), rows.source) == ([1, 2.5], "owner/name:config [dev]")


def test_reading_needs_none_of_the_heavy_libraries(tmp_path: Path) -> None:
    path = write(tmp_path, "a.jsonl", json.dumps({"text": "A"}))
    code = (
        "import sys; from simcse_kit.data.rows import read_rows; import simcse_kit.data.tokens; "
        f"read_rows({str(path)!r}); "
        "print({'torch', 'transformers', 'datasets', 'pandas', 'pyarrow'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("set()\n", "")
