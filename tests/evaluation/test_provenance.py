"""Recorded commands: they run again as they stand, and tell nothing of the machine's folders."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import pytest

from simcse_kit.evaluation.provenance import provenance, shareable, short


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("runs/first", "runs/first"),
        ("../data/sts", "../data/sts"),
        ("sentence-transformers/all-MiniLM-L6-v2", "sentence-transformers/all-MiniLM-L6-v2"),
        ("--set=max_steps=3", "--set=max_steps=3"),
        ("query=a=b", "query=a=b"),
        ("/home/ann/data/sts", "/path/to/sts"),
        ("--data-dir=/home/ann/data/sts", "--data-dir=/path/to/sts"),
    ],
)
def test_paths_elsewhere_are_replaced_and_others_stay(given, shown):
    assert shareable(given) == shown


def test_a_path_in_the_current_folder_becomes_relative(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert shareable(str(tmp_path / "runs" / "one")) == "runs/one"
    assert shareable(f"cache_dir={tmp_path}/tokens") == "cache_dir=tokens"
    assert shareable(str(tmp_path.parent / "beside")) == "/path/to/beside"
    monkeypatch.chdir("/")
    assert shareable("/home/ann/data") == "/path/to/data"  # "home/ann/data" would tell


def test_the_command_of_a_figure_is_the_one_that_was_given(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    given = ["report", "my run", "--data-dir", "/home/ann/sts", "--html", str(tmp_path / "r.html")]
    monkeypatch.setattr(sys, "argv", ["simcse-kit", *given])
    command = provenance("simcse-kit")["command"]
    assert shlex.split(command) == [
        *("simcse-kit", "report", "my run", "--data-dir", "/path/to/sts", "--html", "r.html")
    ]
    assert "ann" not in command


@pytest.mark.parametrize(
    ("started", "typed"),
    [
        ("/home/ann/kit/simcse_kit/__main__.py", "simcse-kit"),
        ("/home/ann/kit/simcse_kit/commands/cli.py", "simcse-kit"),
        ("/home/ann/simcse_kit/simcse-kit", "simcse-kit"),
        ("/home/ann/simcse_kit/scripts/mine.py", "mine.py"),
        ("/home/ann/kit/my_training.py", "my_training.py"),
    ],
)
def test_the_command_is_typed_as_ours_however_it_was_started(monkeypatch, started, typed):
    monkeypatch.setattr(sys, "argv", [started, "train"])
    assert provenance(Path(started).name)["command"] == f"{typed} train"


def test_a_source_is_its_last_part():
    assert short("/home/ann/train.csv") == "train.csv"
    assert short("a/hub-id") == "a/hub-id"
