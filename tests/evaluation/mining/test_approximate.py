"""Candidates by an index of faiss's against the exact search."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from simcse_kit.corpus import Barred, nearest
from simcse_kit.evaluation.mining import approximate


def unit(n: int, seed: int, d: int = 6) -> np.ndarray:
    rows = np.random.default_rng(seed).normal(size=(n, d))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def barred(*pairs: tuple[int, int]) -> Barred:
    rows = np.array(sorted(pairs), dtype=np.int64).reshape(-1, 2)
    return Barred(rows[:, 0], rows[:, 1])


def test_a_flat_index_is_the_exact_search(tmp_path: Path) -> None:
    pytest.importorskip("faiss")
    queries, corpus = unit(9, 1), unit(60, 2)
    out = barred(*((i, int(j)) for i in range(9) for j in (corpus @ queries[i]).argsort()[-i:]))
    expected = nearest(queries, corpus, 5, out)
    for _ in range(2):  # the second from its file
        found = approximate.Approximate(corpus, tmp_path / "index.faiss")(queries, 5, out)
        assert found[0].tolist() == expected[0].tolist()
        assert found[1].tolist() == expected[1].tolist()


def test_cells_hold_most_of_the_nearest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("faiss")
    monkeypatch.setattr(approximate, "_MANY", 1000)
    monkeypatch.setattr(approximate, "_PROBED", 4)
    centres = unit(20, 8, d=16)[np.random.default_rng(0).integers(0, 20, 3000)]
    corpus = centres + 0.3 * unit(3000, 9, d=16)
    corpus /= np.linalg.norm(corpus, axis=1, keepdims=True)
    index = approximate.Approximate(corpus, tmp_path / "index.faiss")
    found, cosines = index(corpus[:50], 10, barred(*((i, i) for i in range(50))))
    expected, _ = nearest(corpus[:50], corpus, 10, barred(*((i, i) for i in range(50))))
    share = np.mean([np.isin(e, f).mean() for e, f in zip(expected, found, strict=True)])
    assert share > 0.8
    assert (found != np.arange(50)[:, None]).all() and (np.diff(cosines, axis=1) <= 0).all()
