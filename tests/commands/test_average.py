"""``simcse-kit average``: the folder it writes, and each mistake in one sentence."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from sentence_transformers import SentenceTransformer

import invoking
from simcse_kit.encoder import SentenceEncoder

run = partial(invoking.run, "average")


@pytest.fixture
def runs(tiny_encoder: Callable[[str], Path], tmp_path: Path) -> list[Path]:
    folders = [tmp_path / f"seed-{seed}" for seed in (1, 2)]
    for seed, folder in enumerate(folders):
        encoder = SentenceEncoder.from_pretrained(tiny_encoder("bert"), pooling="mean")
        torch.manual_seed(seed)
        with torch.no_grad():
            for weight in encoder.parameters():
                weight += 0.02 * torch.randn_like(weight)
        encoder.save_pretrained(folder)
    return folders


def test_a_folder_with_the_mean_that_sentence_transformers_loads(
    runs: list[Path], tmp_path: Path
) -> None:
    result = run(*runs, "--output-dir", tmp_path / "mean")
    assert result.exit_code == 0, result.stderr
    assert result.stdout == f"{tmp_path / 'mean'}  the mean of 2 encoders\n"
    first, second, mean = (
        load_file(folder / "model.safetensors") for folder in (*runs, tmp_path / "mean")
    )
    for name, weight in mean.items():
        torch.testing.assert_close(weight, (first[name] + second[name]) / 2)
    assert "seed-1, seed-2" in (tmp_path / "mean" / "README.md").read_text()
    vectors = SentenceTransformer(str(tmp_path / "mean"), device="cpu").encode(["a man"])
    assert np.isfinite(vectors).all()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["seed-1"], "give at least two"),
        (["seed-1", "nowhere"], "nowhere"),
        (["seed-1", "seed-2@pooling=cls"], "has pooling 'cls'"),
    ],
)
def test_a_mistake_is_one_sentence_and_nothing_is_written(
    runs: list[Path], tmp_path: Path, words: list[str], said: str
) -> None:
    result = run(*(tmp_path / word for word in words), "--output-dir", tmp_path / "mean")
    assert result.exit_code == 2 and result.stdout == ""
    assert said in result.stderr and "Traceback" not in result.stderr
    assert not (tmp_path / "mean").exists()
    full = run(*runs, "--output-dir", runs[0])
    assert full.exit_code == 2 and "is not empty" in full.stderr
