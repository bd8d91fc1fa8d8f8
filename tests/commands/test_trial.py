"""``simcse-kit trial``: its options, what it prints and writes, and what it refuses."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from invoking import run, settings, succeed
from pages import check_page
from simcse_kit.training.runs.keeper import Keeper
from simcse_kit.training.trials import trial as trials

Tiny = Callable[[str], Path]


@pytest.fixture
def common(tiny_encoder: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Two recipes from files, with one seed each, in this process."""
    monkeypatch.setattr(trials, "in_own_process", lambda work, *given, called: work(*given))
    monkeypatch.setattr(Keeper, "draw", lambda *_: None)
    texts, dev = tmp_path / "texts.txt", tmp_path / "dev.tsv"
    texts.write_text("\n".join(f"the man plays song {i}\na dog runs {i}" for i in range(16)))
    rows = [
        f"the man runs {i}\ta boy {'runs' if i % 2 else 'eats'} {i}\t{i % 6}" for i in range(12)
    ]
    dev.write_text("\n".join(["sentence1\tsentence2\tscore", *rows]))
    for name, rate in (("plain", 1e-3), ("quick", 1e-2)):
        (tmp_path / f"{name}.yaml").write_text(f"learning_rate: {rate}\n")
    return [
        "trial", "--model", tiny_encoder("bert"), "--data", texts, "--eval-data", dev,
        "--recipes", f"{tmp_path / 'plain.yaml'},{tmp_path / 'quick.yaml'}", "--seeds", 1,
        "--output-dir", tmp_path / "out", "--draws", 100,
        *settings(max_steps=2, cache_dir=tmp_path / "tokens"),
    ]  # fmt: skip


def test_it_prints_writes_and_goes_on(common: list[Any], tmp_path: Path) -> None:
    done = run(*common)
    assert done.exit_code == 0, done.stderr
    assert "plain" in done.stdout and "two seeds or more" in done.stdout
    page = tmp_path / "out" / "trial.html"
    assert f"wrote {page}" in done.stderr
    assert "learning_rate" in check_page(page.read_text(encoding="utf-8")).words
    figures = json.loads(succeed(*common, "--resume", "--json", "-"))
    assert {each["name"] for each in figures["recipes"]} == {"plain", "quick"}
    assert figures == json.loads((tmp_path / "out" / "trial.json").read_text())["result"]
    assert str(tmp_path) not in json.dumps(figures["recipes"])
    table = succeed(*common, "--resume", "--markdown", "--seeds", 2)
    assert table.startswith("| Recipe | Seeds | dev file Spearman | Difference | p (Holm) |")
    again = run(*common)
    assert again.exit_code == 2 and "is not empty" in again.stderr
    assert "± " in succeed("evaluate", tmp_path / "out" / "quick", "--tasks", tmp_path / "dev.tsv")


def test_an_interruption_says_how_to_go_on(
    common: list[Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("simcse_kit.training.train_trial", interrupted)
    monkeypatch.setattr("sys.argv", ["simcse-kit", "trial", "--recipes", "a,b", "--resume"])
    found = run(*common)
    assert found.exit_code == 130
    assert found.stderr.endswith("start again with: simcse-kit trial --recipes a,b\n")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "trial.json").write_text("{}")
    assert "that are left with: simcse-kit trial --recipes a,b --resume" in run(*common).stderr


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--recipes", "few-rows"], "two recipes or more"),
        (["--recipes", "few-rows,no-such"], "unknown recipe 'no-such'"),
        (["--recipes", "few-rows,,own-text"], "a name is missing between two commas"),
        (["--recipes", "few-rows,few-rows"], "are both called few-rows"),
        (["--resume", "--overwrite"], "give one"),
        (["--drop-below", 2], "give --drop-after SEEDS too"),
        (["--drop-after", 1], "--drop-after 1 of 1 seeds saves none"),
        (["--set", "no_such=1"], "no_such"),
        (["--eval-split", 0.1], "both make a dev set"),
        (["--data-dir", "nowhere"], "nowhere"),
        (["--set", "max_length=5000"], "plain: .*5000.*; quick: .*5000"),
    ],
)
def test_what_makes_no_trial_is_refused(
    common: list[Any], tmp_path: Path, more: list[Any], says: str
) -> None:
    refused = run(*common, *more)
    assert refused.exit_code == 2 and "Traceback" not in refused.output
    assert refused.stderr.count("error: ") == 1
    assert re.search(says, refused.stderr), refused.stderr
    assert not (tmp_path / "out").exists()
