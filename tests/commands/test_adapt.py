"""``simcse-kit adapt``: one command from documents to a model, and each mistake in one sentence."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

import invoking
from simcse_kit.encoder import SentenceEncoder
from simcse_kit.training import adapting

run, succeed = partial(invoking.run, "adapt"), partial(invoking.succeed, "adapt")


@pytest.fixture
def folder(
    tiny_encoder: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    SentenceEncoder.from_pretrained(tiny_encoder("bert"), pooling="mean").save_pretrained(
        tmp_path / "start"
    )
    lines = [
        f"The {a} {b} plays here.\nThe {b} sees the {a} now. A {a} runs to the {b}.\n"
        for a in ("dog", "cat", "man", "boy")
        for b in ("bird", "horse", "king")
    ]
    (tmp_path / "documents.txt").write_text("\n".join(lines))
    (tmp_path / "general.txt").write_text("\n".join(f"the {n} is {n}" for n in range(40)))
    monkeypatch.chdir(tmp_path)
    return tmp_path


SETTINGS = invoking.settings(
    per_device_train_batch_size=4, max_steps=3, pooling="null", cache_dir="tokens"
)


def test_documents_become_a_model(folder: Path) -> None:
    words = ["start", "documents.txt", "--output-dir", "deep/out", "--general", "general.txt"]
    words += ["--num-negatives", "0", *SETTINGS]
    said = succeed(*words)
    assert said.startswith("pairs  ") and "\nlast   step 3; there was no dev set" in said
    assert said.endswith(f"model  {Path('deep/out/model')}\n")
    SentenceEncoder.from_pretrained(folder / "deep/out/model")
    told = json.loads(succeed(*words, "--resume", "--json", "-"))
    assert told["steps"] == 3 and told["pairs"]["documents"] == 12 and told["mined"] is None


def test_where_no_negative_is_left_it_is_said_and_pairs_stay(folder: Path) -> None:
    result = run("start", "documents.txt", "--output-dir", "out", "--relative-margin", 1, *SETTINGS)
    assert result.exit_code == 2 and "no negatives: --relative-margin took out" in result.stderr
    assert result.stderr.endswith("loosen it, or train on the pairs alone (--num-negatives 0)\n")
    words = ["start", "documents.txt", "--output-dir", "out", "--num-negatives", 0, "--resume"]
    assert "mined" not in succeed(*words, *SETTINGS)  # which nothing was trained on yet
    result = run("start", "documents.txt", "--output-dir", "out", "--resume", *SETTINGS)
    assert result.exit_code == 2 and "was begun with other rules" in result.stderr


def test_interrupted_below_home_it_says_how_to_go_on(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setattr(adapting, "write_pairs", interrupted)
    result = run("start", "documents.txt", "--output-dir=~/out", *SETTINGS)
    assert result.exit_code == 130 and result.stderr.endswith(" --resume\n"), result.stderr
    assert (folder / "out/adapt.json").is_file() and not (folder / "~").exists()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["nowhere", "documents.txt"], "nowhere"),
        (["start", "missing.txt"], "missing.txt: no such file"),
        (["start", "documents.txt", "--ways", "tilte"], "did you mean 'title'?"),
        (["start", "documents.txt", "--general-weight", "2"], "are of --general FILE"),
        (["start", "documents.txt", "--general", "documents.txt", "--general-weight", "0"], "0"),
        (["start", "documents.txt", "--set", "learning_rat=1"], "learning_rat"),
        (["start", "documents.txt", "--recipe", "adap"], "adapt"),
        (["start", "documents.txt", "--num-negatives", "-1"], "--num-negatives"),
        (["start", "documents.txt", "--relative-margin", "-1"], "--relative-margin"),
        (["start", "documents.txt", "--resume"], "nothing to resume"),
    ],
)
def test_a_mistake_is_a_sentence_and_writes_nothing(
    folder: Path, words: list[str], says: str
) -> None:
    result = run(*words, "--output-dir", "out")
    assert result.exit_code == 2 and says in result.stderr, result.stderr
    assert "Traceback" not in result.stderr and not (folder / "out").exists()
