"""Files as people bring them, on the commands that read them: rows stay rows, doubts are asked."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from itertools import cycle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from invoking import run, succeed
from simcse_kit.commands.cli import app
from simcse_kit.encoder.sentence_encoder import SentenceEncoder
from simcse_kit.evaluation.sts.tasks import load_pair_file

HOLES = "id,text\n1,the first note\n2,\n3,the third note\n4,the fourth note\n"
TEXTS = ["the first note", "", "the third note", "the fourth note"]


@pytest.fixture(scope="module")
def model(tiny_encoder: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("files") / "model"
    encoder = SentenceEncoder.from_pretrained(tiny_encoder("bert"), pooling="mean")
    encoder.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def encode(model: Path) -> Callable[[list[str]], np.ndarray]:
    encoder = SentenceEncoder.from_pretrained(model, precision="fp32")
    return lambda texts: np.asarray(encoder.encode(texts))


@pytest.fixture
def embed(model: Path, tmp_path: Path) -> Callable[..., np.ndarray]:
    def call(*arguments: object) -> np.ndarray:
        out = tmp_path / "e.npy"
        succeed("embed", model, *arguments, "--output", out, "--precision", "fp32")
        found: np.ndarray = np.load(out)
        return found

    return call


def refused(*arguments: object) -> str:
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (2, ""), result.output
    return result.stderr.strip().splitlines()[-1]


def write(folder: Path, name: str, content: str) -> Path:
    path = folder / name
    path.write_bytes(content.encode())
    return path


# ---- rows that move ------------------------------------------------------------------------------


def test_a_row_without_text_is_an_error_that_names_its_line(model: Path, tmp_path: Path) -> None:
    said = refused("embed", model, write(tmp_path, "h.csv", HOLES), "--output", tmp_path / "e.npy")
    assert "h.csv:3: has no text; --blank keep" in said and "--blank skip" in said
    assert not (tmp_path / "e.npy").exists()


def test_a_row_without_text_is_kept_or_left_out_with_the_numbers(
    embed: Callable[..., np.ndarray], encode: Callable[..., np.ndarray], tmp_path: Path
) -> None:
    path, numbers = write(tmp_path, "h.csv", HOLES), tmp_path / "e.rows.npy"
    kept = embed(path, "--blank", "keep")
    np.testing.assert_allclose(kept, encode(TEXTS), atol=1e-6)
    assert not numbers.exists()
    left = embed(path, "--blank", "skip")
    assert np.load(numbers).tolist() == [0, 2, 3]
    np.testing.assert_allclose(left, kept[[0, 2, 3]], atol=1e-6)
    embed(path, "--blank", "keep")
    assert not numbers.exists()  # those of an earlier file do not stay beside this one
    embed(write(tmp_path, "whole.txt", "a\nb\n"), "--blank", "skip")
    assert np.load(numbers).tolist() == [0, 1]


def test_the_numbers_are_a_column_of_a_parquet(model: Path, tmp_path: Path) -> None:
    path, out = write(tmp_path, "h.csv", HOLES), tmp_path / "e.parquet"
    succeed("embed", model, path, "--output", out, "--blank", "skip")
    table = pq.read_table(out)
    assert table.column("row").to_pylist() == [0, 2, 3]
    assert table.column("text").to_pylist() == [TEXTS[row] for row in (0, 2, 3)]
    succeed("embed", model, path, "--output", out, "--blank", "keep")
    assert pq.read_table(out).column_names == ["text", "embedding"]


def test_the_file_that_is_read_is_not_written_over(model: Path, tmp_path: Path) -> None:
    path, link = tmp_path / "a.parquet", tmp_path / "b.parquet"
    pq.write_table(pa.table({"text": ["one", "two"], "price": [1, 2]}), path)
    link.symlink_to(path)
    for source, output in ((path, path), (path, link), (link, path)):
        said = refused("embed", model, source, "--output", output)
        assert said.endswith("it is a file that is read too; give another name")
    assert pq.read_table(path).column_names == ["text", "price"]


def test_no_command_writes_over_what_it_reads(model: Path, tmp_path: Path) -> None:
    pairs = write(
        tmp_path, "pairs.csv", "sentence1,sentence2,score\na man,a boy,3\na dog,a cat,1\n"
    )
    texts = write(tmp_path, "texts.txt", "one\ntwo\nthree\n")
    for command in (
        ("task", "pairs", model, pairs, "--json", pairs),
        ("evaluate", model, "--tasks", pairs, "--json", pairs),
        ("map", model, texts, "--html", texts),
        ("leakage", "--train", texts, "--tasks", pairs, "--save-hashes", texts),
        ("report", model, "--tasks", pairs, "--html", tmp_path / "a.html", "--markdown", pairs),
        ("report", model, "--sentences", texts, "--latex", texts),
    ):
        before = pairs.read_bytes(), texts.read_bytes()
        assert refused(*command).endswith("it is a file that is read too; give another name")
        assert before == (pairs.read_bytes(), texts.read_bytes())


def test_no_command_writes_over_what_a_folder_is_made_of(model: Path, tmp_path: Path) -> None:
    pairs = write(tmp_path, "pairs.csv", "sentence1,sentence2,score\na man,a boy,3\na dog,a c,1\n")
    texts = write(tmp_path, "texts.txt", "one\ntwo\nthree\n")
    own, kept = tmp_path / "model", tmp_path / "kept"
    shutil.copytree(model, own)
    succeed("embed", own, texts, "--output", kept, "--texts")
    (tmp_path / "link").symlink_to(own / "modules.json")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    for command in (
        ("search", kept, "one", "--json", kept / "manifest.json"),
        ("dedupe", kept, "--output", kept / "shard-000000.parquet"),
        ("embed", own, texts, "--output", kept, "--json", kept / "manifest.json"),
        ("evaluate", own, "--tasks", pairs, "--json", own / "config.json"),
        ("evaluate", own, "--tasks", pairs, "--json", own / "1_Pooling" / "config.json"),
        ("evaluate", own, "--tasks", pairs, "--json", tmp_path / "link"),
        ("evaluate", own, "--tasks", pairs, "--json", own / "tokenizer.json"),
        ("report", own, "--tasks", pairs, "--markdown", own / "model.safetensors"),
    ):
        assert refused(*command).endswith("is made of it; give another name"), command
        assert before == {path: path.read_bytes() for path in before}
    for _ in range(2):  # a result may lie there, and be written again
        succeed("search", kept, "one", "--json", kept / "found.json")
        succeed("embed", own, tmp_path / "texts.txt", "--output", tmp_path / "e.npy")
        figures = ("--json", tmp_path / "a_config.json")  # in a folder that is none of these
        succeed("leakage", "--tasks", pairs, "--data-dir", tmp_path, *figures)


def test_no_command_writes_one_file_twice(model: Path, tmp_path: Path) -> None:
    pairs = write(tmp_path, "pairs.csv", "sentence1,sentence2,score\na man,a boy,3\na dog,a c,1\n")
    texts = write(tmp_path, "texts.txt", "one\ntwo\nthree\n")
    (tmp_path / "link").symlink_to(tmp_path / "out.csv")
    (tmp_path / "in").mkdir()
    out = tmp_path / "out.csv"
    names = cycle([out, tmp_path / "in" / ".." / "out.csv", tmp_path / "link"])
    for command, options in (
        (("temperature", model, texts), ("--html", "--json")),
        (("map", model, texts), ("--html", "--json")),
        (("mine", model, pairs), ("--output", "--json")),
        (("embed", model, texts), ("--output", "--json")),
        (("export", model, "--format", "onnx"), ("--output", "--json")),
        (("pairs", texts), ("--output", "--json")),
        (("dedupe", texts), ("--output", "--pairs")),
        (("dedupe", texts), ("--pairs", "--json")),
        (("report", model), ("--html", "--markdown")),
        (("report", model), ("--latex", "--json")),
        (("evaluate", model, "--tasks", pairs), ("--json", "--plots")),
        (("leakage", "--tasks", pairs), ("--save-hashes", "--json")),
        (("whiten", model, texts), ("--output-dir", "--json")),
    ):
        name = next(names)
        said = refused(*command, options[0], out, options[1], name)
        both = (" and ".join(options), " and ".join(options[::-1]))
        assert any(f"{each} are both {tmp_path}" in said for each in both), command
        assert said.endswith("give two names") and not out.exists()
    out.write_text("a result")
    (tmp_path / "hard").hardlink_to(out)
    command = ("temperature", model, texts, "--html", out, "--json")
    assert refused(*command, tmp_path / "hard").endswith("give two names")
    assert out.read_text() == "a result"


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_a_line_of_a_txt_is_a_row(
    model: Path,
    embed: Callable[..., np.ndarray],
    encode: Callable[..., np.ndarray],
    tmp_path: Path,
    ending: str,
) -> None:
    lines = ["", "a man runs", "", "a dog", "   ", "the end", ""]
    path = write(tmp_path, "a.txt", ending.join(lines) + ending)
    expected = encode([line.strip() for line in lines])
    np.testing.assert_allclose(embed(path), expected, atol=1e-6)
    said = refused("embed", model, path, "--output", tmp_path / "x.npy", "--blank", "error")
    assert "a.txt:1: has no text, and 3 more;" in said


def test_a_label_beside_the_text_is_not_asked_for_by_embed(
    embed: Callable[..., np.ndarray], tmp_path: Path
) -> None:
    path = write(tmp_path, "a.csv", "text,label\na man,\na dog,x\n")
    assert len(embed(path)) == 2


# ---- headers -------------------------------------------------------------------------------------


def test_a_header_in_any_language_is_asked_about(
    model: Path, embed: Callable[..., np.ndarray], tmp_path: Path
) -> None:
    path = write(tmp_path, "zh.csv", "正文\n今天的天气很好\n他在厨房里做饭\n火车六点钟出发\n")
    for command in (
        ("embed", model, path, "--output", tmp_path / "x.npy"),
        ("map", model, path, "--html", tmp_path / "x.html"),
        ("geometry", model, path),
        ("leakage", "--train", path, "--hashes", path),
        ("train", "--model", model, "--data", path, "--output-dir", tmp_path / "run"),
    ):
        said = refused(*command)
        assert "zh.csv:1: the first row (正文) " in said
        assert "if it is data, give --no-header; if it is a header, give --" in said
        assert said.endswith("text=正文' or --header")
    for options in (("--header",), ("--column", "正文"), ("--column", "text=正文")):
        assert len(embed(path, *options)) == 3
    assert len(embed(path, "--no-header")) == 4


def test_a_label_that_reads_like_a_column_is_no_header(
    model: Path, embed: Callable[..., np.ndarray], encode: Callable[..., np.ndarray], tmp_path: Path
) -> None:
    texts = ["I love this film", "the food was cold", "great music", "I want my money back"]
    rows = "\n".join(f"{text},{'positive' if row % 2 == 0 else 'negative'}"
                     for row, text in enumerate(texts))  # fmt: skip
    path = write(tmp_path, "a.csv", rows)
    said = refused("embed", model, path, "--output", tmp_path / "x.npy")
    assert "the first row (I love this film, positive)" in said and "--no-header" in said
    np.testing.assert_allclose(embed(path, "--no-header"), encode(texts), atol=1e-6)
    options = ("--no-header", "--column", "text=1", "--column", "label=2")
    np.testing.assert_allclose(embed(path, *options), encode(texts), atol=1e-6)
    assert "has no column '3' (it has 1, 2)" in refused(
        "embed", model, path, "--output", tmp_path / "x.npy", "--no-header", "--column", "3"
    )


def test_tasks_take_files_without_header(model: Path, tmp_path: Path) -> None:
    graded = write(tmp_path, "g.tsv", "a man\ta boy\t4.5\na dog\ta car\t0.5\na cat\ta dog\t2\n")
    assert "--no-header" in refused("task", "pairs", model, graded)
    figures = json.loads(succeed("task", "pairs", model, graded, "--no-header", "--json", "-"))
    by_number = [f"--column={name}={n + 1}" for n, name in enumerate(("sentence1", "sentence2", "score"))]  # noqa: E501 # fmt: skip
    again = json.loads(
        succeed("task", "pairs", model, graded, "--no-header", *by_number, "--json", "-")
    )
    assert figures == again
    asked = write(tmp_path, "q.csv", "who runs,a man\nwhat barks,a dog\nwho reads,she\n")
    found = json.loads(
        succeed("task", "retrieval", model, "--pairs", asked, "--no-header", "--column", "query=1",
                "--column", "document=2", "--json", "-", "--draws", 100)
    )  # fmt: skip
    assert '"queries": 3' in json.dumps(found)


# ---- bad rows ------------------------------------------------------------------------------------


def test_bad_rows_are_left_out_only_as_asked_and_listed(
    model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    content = "sentence1\tsentence2\tscore\na man\ta boy\t4.5\na dog\t\t0.5\n\"\tbroken\na cat\ta dog\t2\na car\ta bus\t3\n"  # noqa: E501 # fmt: skip
    path = write(tmp_path, "a.tsv", content)
    task = ("task", "pairs", model, path, "--json", "-")
    assert "a.tsv:4: has 2 columns where line 1 has 3" in refused(*task)
    assert "with this one there are more than 1 bad row" in refused(*task, "--skip-bad-rows", 1)
    found = json.loads(succeed(*task, "--skip-bad-rows", 2))
    for said in ("a.tsv: 2 bad rows left out", "a.tsv:3: sentence2 is empty", "a.tsv:4: has 2 col"):
        assert said in caplog.text
    assert list(found["figures"]) == ["a"]
    assert load_pair_file(path, skip_bad_rows=2).gold.tolist() == [4.5, 2, 3]


def test_embed_gives_the_numbers_of_the_rows_that_bad_ones_leave(
    embed: Callable[..., np.ndarray], encode: Callable[..., np.ndarray], tmp_path: Path
) -> None:
    path = write(tmp_path, "a.jsonl", '{"text": "a"}\n{"text": \n{"text": 7}\n{"text": "b"}\n')
    found = embed(path, "--skip-bad-rows", 2)
    np.testing.assert_allclose(found, encode(["a", "b"]), atol=1e-6)
    assert np.load(tmp_path / "e.rows.npy").tolist() == [0, 3]


# ---- where files come from -----------------------------------------------------------------------


def test_standard_input_is_a_file(
    model: Path, encode: Callable[..., np.ndarray], tmp_path: Path
) -> None:
    out = tmp_path / "e.npy"
    for options, content in ((), "a man\n\na dog\n"), (("--format", "csv"), "text\na man\n\na dog"):
        words = ["embed", str(model), "-", "--output", str(out), "--precision", "fp32", *options]
        words += ["--blank", "keep"]
        result = CliRunner().invoke(app, words, input=content)
        assert result.exit_code == 0, result.output
        np.testing.assert_allclose(np.load(out), encode(["a man", "", "a dog"]), atol=1e-6)


@pytest.mark.skipif(not Path("/dev/stdin").exists(), reason="no /dev/stdin")
@pytest.mark.parametrize("name", ["-", "/dev/stdin"])
def test_a_pipe_is_read_once_and_whole(name: str) -> None:
    code = (
        "from simcse_kit.data.rows import read_rows;"
        f"rows = read_rows({name!r}, file_format='tsv', columns={{'text': 'b'}});"
        "print(rows.columns['text'], rows.where(1))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input="a\tb\n1\tx y\n2\tz\n", capture_output=True, text=True
    )
    assert done.stdout == f"['x y', 'z'] {name}:3\n", done.stderr


def test_named_pipes_come_one_after_the_other(tmp_path: Path) -> None:
    from simcse_kit.data.rows import read_rows

    for text in ("one", "two"):
        path = tmp_path / "pipe.jsonl"
        os.mkfifo(path)
        writing = threading.Thread(target=path.write_text, args=(json.dumps({"text": text}),))
        writing.start()
        assert read_rows(path).columns == {"text": [text]}
        writing.join()
        os.unlink(path)


def test_a_tilde_is_expanded_wherever_a_path_stands(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path, "a.txt", "a man\na dog runs\nthe cat is here\n")
    write(tmp_path, "g.tsv", "sentence1\tsentence2\tscore\na man\ta boy\t4\na\tb\t0\nc\td\t2\n")
    (tmp_path / "model").symlink_to(model)
    succeed("embed", "~/model", "~/a.txt", "--output=~/e.npy")
    succeed("map", "~/model@pooling=mean", "~/a.txt", "--html=~/m.html", "--json=~/m.json")
    succeed("task", "pairs", "~/model", "~/g.tsv", "--json=~/t.json")
    succeed("evaluate", "~/model", "--tasks=~/g.tsv", "--no-intervals", "--json=~/s.json")
    succeed("geometry", "~/model", "~/a.txt", "--draws", 100)
    succeed("leakage", "--train=~/a.txt", "--hashes=~/g.tsv", "--save-hashes=~/hashes")
    for name in ("e.npy", "m.html", "m.json", "t.json", "s.json", "hashes/g.safetensors"):
        assert (tmp_path / name).is_file()


# ---- other options -------------------------------------------------------------------------------


def test_columns_of_the_other_file_have_an_option_of_their_own(model: Path, tmp_path: Path) -> None:
    texts = write(tmp_path, "a.txt", "a man\na dog\na cat\n")
    dev = write(tmp_path, "dev.csv", "left,right,grade\na man,a boy,4\na dog,a car,0\na,b,2\n")
    train = ("train", "--model", model, "--data", texts, "--output-dir", tmp_path / "run")
    said = refused(*train, "--eval-data", dev)
    assert "--eval-column sentence1=left --eval-column sentence2=right" in said
    sets = ("leakage", "--train", texts, "--hashes", dev)
    assert "--set-column" in refused(*sets)
    mapped = [f"--set-column={each}" for each in ("sentence1=left", "sentence2=right")]
    succeed(*sets, *mapped)


def test_a_report_maps_the_columns_of_its_files(model: Path, tmp_path: Path) -> None:
    graded = "sentence1,sentence2,score\na man,a boy,4\na dog,a car,0\na,b,2\nthe cat,she,3\n"
    tasks = write(tmp_path, "g.csv", graded)
    data = write(tmp_path, "a.csv", "title,body\na man,it runs\na dog,he reads\n")
    report = ("report", model, "--tasks", tasks, "--html", tmp_path / "r.html", "--draws", 100)
    options = ("--train-data", data, "--sentences", data)
    assert "--sentence-column anchor=title" in refused(*report, *options)
    options += ("--sentence-column", "text=body")
    assert "--train-column anchor=title" in refused(*report, *options)
    succeed(*report, *options, "--train-column", "text=title")


def test_leakage_counts_rows_as_the_file_does(tmp_path: Path) -> None:
    train = write(tmp_path, "a.csv", "id,text\n1,the man\n2,\n3,a dog runs\n")
    other = write(tmp_path, "b.txt", "a dog runs\n")
    sets = ("leakage", "--train", train, "--hashes", other, "--json", "-")
    leaks = json.loads(succeed(*sets))["training"]
    assert '"row": 3' in json.dumps(leaks)
