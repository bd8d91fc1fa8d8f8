"""Commands that judge by classification: ``task classification``, ``few-shot``, ``--suite``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from invoking import run, succeed
from mini_transfer import MINI, build_transfer, text
from simcse_kit.evaluation.labels import transfer, transfer_data


def refuse(*arguments: object) -> str:
    """The one sentence of a mistake."""
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("error: ") and "Traceback" not in result.stderr
    return last


@pytest.fixture(scope="module")
def model(tiny_encoder: Callable[[str], Path]) -> list[object]:
    return [tiny_encoder("bert"), "--pooling", "mean", "--precision", "fp32"]


@pytest.fixture
def reviews(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    rows = [f"{text(rng, row % 3, 3)} {row},{'abc'[row % 3]},9" for row in range(120)]
    path = tmp_path / "reviews.csv"
    path.write_text("\n".join(["review,topic,stars", *rows]))
    return path


NAMED = ["--column", "text=review", "--column", "label=topic"]


def test_any_file_is_a_task_by_naming_its_columns(
    model: list[object], reviews: Path, tmp_path: Path
) -> None:
    out = tmp_path / "scores.json"
    command = ["task", "classification", *model, reviews, *NAMED, "--k", 3, "--seed", 5]
    table = succeed(*command, "--json", out)
    figures = json.loads(out.read_text())
    assert figures["model"] == str(model[0])
    assert set(figures["figures"]) == {
        "probe accuracy", "probe macro-F1", "3-NN accuracy", "3-NN macro-F1",
        "commonest class accuracy",
    }  # fmt: skip
    probe = figures["figures"]["probe accuracy"]
    assert f"{probe['value']:.2f}" in table and "95 % interval" in table
    assert (figures["protocol"]["seed"], figures["protocol"]["classes"]) == (5, 3)
    assert json.loads(succeed(*command, "--json", "-")) == figures
    assert "| probe accuracy |" in succeed(*command, "--markdown")


def test_classification_with_a_file_to_test_on(
    model: list[object], reviews: Path, tmp_path: Path
) -> None:
    test = tmp_path / "test.csv"
    lines = reviews.read_text().splitlines()
    test.write_text("\n".join([lines[0], *lines[-30:]]))
    reviews.write_text("\n".join(lines[:-30]))
    shown = succeed(
        "task", "classification", *model, reviews, "--test", test, *NAMED, "--json", "-"
    )
    protocol = json.loads(shown)["protocol"]
    assert (protocol["train"], protocol["test"], protocol["split"]) == (90, 30, "two files")


def test_few_shot(model: list[object], reviews: Path) -> None:
    sizes = ["--ways", 3, "--shots", 2, "--queries", 4, "--episodes", 20]
    command = ["task", "few-shot", *model, reviews, *NAMED, *sizes]
    figures = json.loads(succeed(*command, "--json", "-"))
    accuracy = figures["figures"]["accuracy"]
    assert set(accuracy) == {"value", "interval", "sd"}
    assert (figures["protocol"]["ways"], figures["protocol"]["episodes"]) == (3, 20)
    shown = succeed(*command)
    assert "3-way 2-shot" in shown and f"{accuracy['value']:.2f}" in shown


def test_mistakes_are_one_sentence(model: list[object], reviews: Path, tmp_path: Path) -> None:
    classify = ["task", "classification", *model]
    assert "no such file" in refuse(*classify, tmp_path / "none.csv")
    assert "has no column 'topics'" in refuse(*classify, reviews, *NAMED[:2], "--column",
                                              "label=topics")  # fmt: skip
    said = refuse(*classify, reviews, "--column", "text")
    assert "write it as OURS=THEIRS, for instance --column text=text" in said
    assert "every label is 9" in refuse(*classify, reviews, *NAMED[:2], "--column", "label=stars")
    assert "lies between 0 and 1" in refuse(*classify, reviews, *NAMED, "--test-share", 2)
    assert "fewer than the 40 folds" in refuse(*classify, reviews, *NAMED, "--folds", 40)
    assert "for k = 500" in refuse(*classify, reviews, *NAMED, "--k", 500)
    assert "fewer than the 5 ways" in refuse("task", "few-shot", *model, reviews, *NAMED)
    assert "does not exist" in refuse(*classify, reviews, *NAMED, "--json", tmp_path / "no" / "f")
    assert "No such command 'few-shots'" in refuse("task", "few-shots")
    assert "--ways" in refuse("task", "few-shot", *model, reviews, "--ways", 1)
    assert "Missing argument" in refuse("task", "classification")
    gap = tmp_path / "gap.csv"
    gap.write_text(reviews.read_text().replace(",b,", ",,", 1))
    assert "gap.csv:3: label (topic) is empty" in refuse(*classify, gap, *NAMED)


def test_the_group_says_what_is_in_it() -> None:
    shown = succeed("task")
    assert "classification" in shown and "few-shot" in shown
    assert "Judge models on your own files" in succeed("--help")


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(transfer, "FOLDS", 2)
    monkeypatch.setattr(transfer_data, "PUBLISHED", MINI)
    monkeypatch.setitem(
        transfer_data.load_transfer.__kwdefaults__,  # type: ignore[arg-type]
        "counts",
        MINI,
    )
    return build_transfer(tmp_path / "senteval")


def test_the_transfer_suite(model: list[object], tree: Path, tmp_path: Path) -> None:
    out = tmp_path / "transfer.json"
    command = ["evaluate", *model, "--suite", "transfer", "--data-dir", tree]
    table = succeed(*command, "--json", out)
    figures = json.loads(out.read_text())
    assert list(figures["tasks"]) == ["MR", "CR", "SUBJ", "MPQA", "SST2", "TREC", "MRPC"]
    assert figures["protocol"]["pooling"] == "mean"
    for name, score in figures["tasks"].items():
        assert name in table and f"{score['accuracy']:.2f}" in table
    some = json.loads(succeed(*command, "--tasks", "TREC, mrpc", "--json", "-"))
    assert list(some["tasks"]) == some["average_over"] == ["TREC", "MRPC"]
    assert some["tasks"]["TREC"] == figures["tasks"]["TREC"]
    assert "| MRPC F1 |" in succeed(*command, "--tasks", "MRPC", "--markdown")


def test_mistakes_about_the_transfer_suite(model: list[object], tree: Path) -> None:
    command = ["evaluate", *model, "--suite", "transfer"]
    assert "are read from a folder" in refuse(*command)
    assert "give its parent" in refuse(*command, "--data-dir", tree / "MR")
    assert "no transfer task 'STSB'" in refuse(*command, "--data-dir", tree, "--tasks", "STSB")
    assert "--plots" in refuse(*command, "--data-dir", tree, "--plots", tree / "plots")
    foreign = ("--clustered", "--draws", 500, "--protocol", "mean")
    assert "--protocol, --clustered, --draws: for --suite sts" in refuse(*command, *foreign)
    (tree / "MR" / "rt-polarity.pos").unlink()
    assert "rt-polarity.pos is missing" in refuse(*command, "--data-dir", tree)
