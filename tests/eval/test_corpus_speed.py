"""The scripts that measure search and de-duplication: they run on few vectors, and sides agree."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from eval.speed import dedupe, search
from simcse_kit.corpus import unit

pytestmark = pytest.mark.slow


def test_exact_search_and_an_index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("faiss")
    rows = np.random.default_rng(0).normal(size=(2000, 16))
    np.save(tmp_path / "rows.npy", unit(rows))
    given = ["--vectors", str(tmp_path / "rows.npy"), "--queries", "20", "--turns", "2"]
    asked = ["search", *given, "--factory", "HNSW16_SQ8", "--json", str(tmp_path / "out.json")]
    monkeypatch.setattr(sys, "argv", asked)
    monkeypatch.setattr(sys, "orig_argv", [sys.executable, "-m", "eval.speed.search", *given])
    assert search.main() == 0
    figures = json.loads((tmp_path / "out.json").read_text())
    assert figures["shape"] == [1980, 16] and figures["exact"]["same"] == 1
    assert figures["index"]["recall"] > 0.9 and "HNSW16_SQ8 finds" in figures["claim"]


def test_our_side_takes_out_what_repeats(tmp_path: Path) -> None:
    rows = unit(np.random.default_rng(0).normal(size=(300, 16)))
    np.save(tmp_path / "vectors.npy", np.concatenate([rows, rows[:20]]))
    told = dedupe.side("ours", tmp_path, 0.95)
    assert told["go"] == 20 and np.load(tmp_path / "ours.npy").tolist() == [*range(300, 320)]
    assert dedupe._wrong(np.load(tmp_path / "vectors.npy"), np.arange(10), 0.95) == 0
    assert dedupe._wrong(np.load(tmp_path / "vectors.npy"), np.arange(25, 35), 0.95) == 1
