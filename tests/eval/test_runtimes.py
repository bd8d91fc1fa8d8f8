"""The scripts that compare runtimes: they run on tiny models, and their sides agree."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from eval.speed import int8, runtimes
from eval.speed.turns import Turn
from mini_senteval import toy_task

pytestmark = pytest.mark.slow


def test_runtimes_in_one_table(tiny_encoder, tmp_path, capsys, monkeypatch):
    pytest.importorskip("onnxscript")
    sentences = tmp_path / "sentences.txt"
    words = ["man", "woman", "dog", "cat", "plays", "runs", "the", "a", "red", "blue"]
    sentences.write_text("\n".join(f"{a} {b}" for a in words for b in words))
    monkeypatch.setattr(runtimes, "sts_tasks", lambda setting: [toy_task()])
    options = ["--model", str(tiny_encoder("bert")), "--data", str(sentences), "--one-process"]
    options += ["--data-dir", str(tmp_path), "--rounds", "1", "--sentences", "20"]
    options += ["--encode-length", "16"]
    options += ["--only", "ONNX Runtime", "ours, fp32", "--json", str(tmp_path / "out.json")]
    assert runtimes.main(options) == 0
    figures = json.loads((tmp_path / "out.json").read_text())
    names = [row["runtime"] for row in figures["rows"]]
    assert names == ["ours", "ours, fp32", "ONNX Runtime", "sentence-transformers"]
    for row in figures["rows"][1:]:
        assert row["precision"] == "fp32"
        assert row["min_cosine"] == pytest.approx(1, abs=1e-6)
        assert row["sts_lost"] == pytest.approx(0, abs=1e-6)
        assert len(row["ratio"]["rounds"]) == 1
    assert figures["rows"][2]["export"]["min_cosine"] == pytest.approx(1, abs=1e-6)
    assert "ONNX Runtime" in capsys.readouterr().out


def test_ratios_are_to_ours_within_a_round():
    import numpy as np

    rows = np.eye(2, dtype=np.float32)
    names = ("ours", runtimes.REFERENCE)
    chosen = [each for each in runtimes.CONTENDERS if each.name in names]
    rounds = [
        {"ours": Turn(1.0, 10), "sentence-transformers": Turn(2.0, 10)},
        {"ours": Turn(2.0, 10), "sentence-transformers": Turn(2.0, 10)},
        {"ours": Turn(1.0, 10), "sentence-transformers": Turn(4.0, 10)},
    ]
    ends = {
        "ours": ({"precision": "bf16", "sts": 70.0, "embeddings": rows}, None),
        "sentence-transformers": ({"precision": "fp32", "sts": 71.0, "embeddings": 3 * rows}, None),
    }
    ours, theirs = runtimes.summarise(chosen, rounds, ends)
    assert (ours["ratio"]["median"], ours["sts_lost"]) == (1.0, 1.0)
    assert theirs["ratio"]["rounds"] == [0.5, 1.0, 0.25]
    assert theirs["sentences_per_second"] == 5.0
    assert ours["mean_cosine"] == pytest.approx(1)


def test_products_in_int8(tmp_path, capsys):
    output = tmp_path / "int8.json"
    given = ["--hidden", "32", "--intermediate", "64", "--tokens", "48", "--pairs", "2"]
    assert int8.main([*given, "--json", str(output)]) == 0
    figures = json.loads(Path(output).read_text())
    assert figures["rows"]
    for row in figures["rows"]:
        assert row["ratio"]["min"] > 0 and len(row["ratio"]["pairs"]) == 2
        for product in row["products"].values():
            assert 0 < product["error"] < 0.05  # of random states: rounding, and no more
