"""Machines as they are: no permission is found before the work, any locale and home will do."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from invoking import run, settings
from simcse_kit.encoder import SentenceEncoder
from small_disk import mounted

PAIRS = "sentence1\tsentence2\tscore\nthe dog é\tthe cat\t1\nthe man\tthe king\t3\n猫\tthe cat\t5\n"
TEXTS = "\n".join(["der Hund läuft im Café", "猫", *(f"the cat eats {n}" for n in range(40))])


@pytest.fixture
def files(tmp_path: Path) -> Path:
    (tmp_path / "pairs.tsv").write_text(PAIRS, encoding="utf-8")
    (tmp_path / "texts.txt").write_text(TEXTS, encoding="utf-8")
    (tmp_path / "out").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    "words",
    [
        ["train", "--model", "MODEL", "--data", "texts.txt", "--output-dir", "out/run"],
        ["embed", "MODEL", "texts.txt", "--output", "out/x.npy"],
        ["map", "MODEL", "texts.txt", "--html", "out/x.html"],
        ["geometry", "MODEL", "texts.txt", "--json", "out/x.json"],
        ["evaluate", "MODEL", "--tasks", "pairs.tsv", "--json", "out/x.json"],
        ["evaluate", "MODEL", "--tasks", "pairs.tsv", "--plots", "out/pictures"],
        ["compare", "MODEL", "OTHER", "--tasks", "pairs.tsv", "--json", "out/x.json"],
        ["report", "MODEL", "--tasks", "pairs.tsv", "--html", "out/x.html"],
        ["leakage", "--train", "texts.txt", "--tasks", "pairs.tsv", "--json", "out/x.json"],
    ],
    ids=lambda words: f"{words[0]} {words[-2]}",
)
def test_a_place_without_permission_is_said_before_the_work(
    tiny_encoder, files, monkeypatch, words
):
    """By a disk that may only be read, since root may write anywhere else."""

    def worked(*_, **__):
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(SentenceEncoder, "from_pretrained", worked)
    monkeypatch.chdir(files)
    with mounted(files / "out2", 100_000) as disk:
        disk.chmod(0o555)
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        models = {"MODEL": tiny_encoder("bert"), "OTHER": tiny_encoder("roberta")}
        result = run(*(models.get(word, word.replace("out/", "out2/")) for word in words))
    assert result.exit_code == 2 and result.stderr.count("error:") == 1, result.stderr
    assert "no permission to write in" in result.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    "surroundings",
    [
        {"HOME": None},
        {"HOME": "/nonexistent/home"},
        {"HOME": "read-only"},
        {"LC_ALL": "C"},
        {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    ],
    ids=str,
)
def test_a_run_and_its_report_need_no_home_and_no_locale(tiny_encoder, files, surroundings):
    with mounted(files / "home", 100_000) as home:
        subprocess.run(["mount", "-o", "remount,ro", str(home)], check=True)
        own = {
            key: str(home) if each == "read-only" else each for key, each in surroundings.items()
        }
        environment = {key: each for key, each in (os.environ | own).items() if each is not None}
        common = {"cwd": files, "env": environment, "check": False, "capture_output": True}
        train = ["train", "--model", tiny_encoder("bert"), "--data", "texts.txt", *settings()]
        train += ["--eval-data", "pairs.tsv", "--output-dir", "run"]
        report = ["report", "run", "--tasks", "pairs.tsv", "--html", "x.html", "--latex", "x.tex"]
        embed = ["embed", "run", "texts.txt", "--output", "x.parquet"]
        for words in (train, report, embed):
            command = [sys.executable, "-m", "simcse_kit.commands.cli", *map(str, words)]
            done = subprocess.run(command, **common)
            assert done.returncode == 0, done.stderr.decode()[-2000:]
    assert "猫" in (files / "x.html").read_text(encoding="utf-8")
