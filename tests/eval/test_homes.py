"""Methods where they belong: their rows, their judges, runs that go on, on a tiny model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from eval.quality import homes
from eval.quality.homes import Home, claim, halves, labels, parse, read_trec, run
from eval.quality.kept_runs import START
from simcse_kit.data import read_rows
from simcse_kit.errors import InputError
from training_rows import sentences


def trec(folder: Path, each: int = 20) -> Path:
    lines = [
        f"{coarse}:{fine} Is {fine} number {n} a {coarse} ?"
        for coarse, fine in zip("AABBCCDDEE", "abcdefghij", strict=True)
        for n in range(each)
    ]
    (folder / "train_5500.label").write_text("\n".join([*lines, lines[0], "Z:z rare ?"]))
    return folder


def test_classes_that_are_judged_were_not_learnt(tmp_path: Path) -> None:
    examples = read_trec(trec(tmp_path) / "train_5500.label")
    assert len(examples) == 201  # the repeated question once
    learnt, asked = halves(examples)
    assert {label for _, label in learnt} == {"A:a", "B:c", "C:e", "D:g", "E:i"}
    assert {label for _, label in asked} == {"A:b", "B:d", "C:f", "D:h", "E:j"}
    assert not {text for text, _ in learnt} & {text for text, _ in asked}
    with pytest.raises(InputError, match="No such file"):
        read_trec(tmp_path / "none")


class Known:
    """Classes along axes of their own: few-shot accuracy 100."""

    def encode(self, texts: list[str]) -> np.ndarray:
        return np.eye(10)[["abcdefghij".index(text.split()[1]) for text in texts]]


def test_a_space_of_classes_is_right_in_every_episode(tmp_path: Path) -> None:
    words = ["--model", "m", "--output-dir", "o", "--json", "j", "--trec", str(trec(tmp_path))]
    home = labels(parse(words))
    scores = home.judge(Known())  # type: ignore[arg-type]
    assert (scores["few-shot accuracy"] == 100).all() and home.rows.kind == "labelled"
    assert home.plain.kind == "text" and len(home.plain) == len(home.rows) == 100
    with pytest.raises(InputError, match="needs --trec"):
        labels(parse(words[:-2]))


def test_a_method_is_told_from_plain_on_the_same_texts(
    tiny_encoder: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = sentences(12)
    rows = read_rows([{"text": text, "document": str(n // 4)} for n, text in enumerate(texts)])
    plain = read_rows([{"text": text} for text in texts])

    def judge(encoder) -> dict[str, np.ndarray]:
        return {"middle mrr": encoder.encode(texts)[:, 0] * 100}

    words = [
        *("--model", str(tiny_encoder("bert")), "--output-dir", str(tmp_path / "runs")),
        *("--json", str(tmp_path / "homes.json"), "--seeds", "1", "2", "--draws", "100"),
        *("--set", "use_cpu=true", "max_steps=1", "per_device_train_batch_size=4", "bf16=false"),
        *("learning_rate=1e-3", "warmup_steps=0", f"cache_dir={tmp_path / 'cache'}"),
    ]
    home = {"documents": Home("cpc", rows, plain, judge, "middle mrr")}
    figures = run(parse(words), home)
    told = figures["homes"]["documents"]["summary"]
    assert set(told) == {START, "plain", "cpc"}
    compared = told["cpc"]["middle mrr"]["above plain"]
    assert compared["difference"] == pytest.approx(
        told["cpc"]["middle mrr"]["mean"] - told["plain"]["middle mrr"]["mean"]
    )
    assert "cpc (" in claim(figures) and "above plain" in claim(figures)
    assert json.loads((tmp_path / "homes.json").read_text())["claim"] == claim(figures)

    def never(*_: object, **__: object) -> None:
        raise AssertionError("it is finished")

    monkeypatch.setattr(homes, "train", never)
    assert run(parse(words), home)["homes"] == figures["homes"]
