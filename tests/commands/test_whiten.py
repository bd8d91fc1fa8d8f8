"""``simcse-kit whiten``: the folder it writes, what it says, and each mistake in one sentence."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer

import invoking
from conftest import WORDS
from simcse_kit.encoder import SentenceEncoder

run, succeed = partial(invoking.run, "whiten"), partial(invoking.succeed, "whiten")


@pytest.fixture(scope="module")
def folder(tiny_encoder: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("whiten")
    encoder = SentenceEncoder.from_pretrained(tiny_encoder("bert"), pooling="mean")
    encoder.save_pretrained(root / "model")
    encoder.normalize = True
    encoder.save_pretrained(root / "unit")
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(WORDS, size=5)) for _ in range(60)]
    (root / "texts.txt").write_text("\n".join(texts))
    (root / "few.txt").write_text("\n".join(texts[:4]))
    return root


def test_a_folder_that_sentence_transformers_loads(folder: Path, tmp_path: Path) -> None:
    new = tmp_path / "new"
    asked = (folder / "texts.txt", "--output-dir", new, "-k", 5, "--json", tmp_path / "fit.json")
    result = run(folder / "model", *asked)
    assert result.exit_code == 0, result.stderr
    assert result.stdout.startswith(f"{new}  32 dimensions whitened to 5, ")
    assert "1 of 32 directions without variance left out" in result.stderr
    assert "few" not in result.stderr  # 60 texts for 5
    fit = json.loads((tmp_path / "fit.json").read_text())
    assert (fit["rank"], fit["dimensions"], fit["texts"]) == (31, 5, 60)
    assert len(fit["variances"]) == 5 and f"{fit['variance_kept']:.1%}" in result.stdout
    texts = (folder / "texts.txt").read_text().splitlines()
    vectors = SentenceTransformer(str(new), device="cpu").encode(texts)
    np.testing.assert_allclose(np.cov(vectors.T), np.eye(5), atol=1e-3)
    assert "## Whitening" in (new / "README.md").read_text()


def test_a_model_that_normalises_needs_a_word_on_it(folder: Path, tmp_path: Path) -> None:
    asked = [folder / "unit", folder / "texts.txt", "--output-dir", tmp_path / "new"]
    result = run(*asked)
    assert result.exit_code == 2 and "--normalize drop leaves the Normalize out" in result.stderr
    assert not (tmp_path / "new").exists()
    said = run(*asked, "--normalize", "keep")
    assert said.exit_code == 0 and "60 texts for 31 dimensions are few" in said.stderr
    vectors = SentenceTransformer(str(tmp_path / "new"), device="cpu").encode(["a man", "a dog"])
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["few.txt", "--output-dir", "new"], "4 different texts do not fill the 32 dimensions"),
        (["few.txt", "--output-dir", "new", "-k", "4"], "vary in 3 directions, fewer than the 4"),
        (["texts.txt", "--output-dir", "new", "-k", "33"], "cannot be whitened to 33"),
        (["texts.txt", "--output-dir", "new", "-k", "0"], "--dimensions"),
        (["texts.txt", "--output-dir", "model"], "is not empty; give a new folder"),
        (["texts.txt", "--output-dir", "texts.txt"], "texts.txt"),
        (["texts.txt", "--output-dir", "new", "--normalize", "keep"], "has no Normalize to keep"),
        (["none.txt", "--output-dir", "new"], "no such file"),
        (["texts.txt"], "--output-dir"),
    ],
)
def test_a_mistake_is_one_sentence_and_leaves_nothing(
    folder: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    monkeypatch.chdir(folder)
    result = run("model", *arguments)
    assert result.exit_code == 2 and said in result.stderr, result.stderr
    assert result.stderr.count("error: ") == 1 and "Traceback" not in result.stderr
    assert not Path("new").exists()
