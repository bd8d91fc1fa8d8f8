"""Shortened embeddings by recipe: cut as by hand, seeds by folder, the first compared with."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import spearmanr

from eval.quality.kept_runs import AVERAGE
from eval.quality.shortened import parse, run
from simcse_kit.encoder import SentenceEncoder
from simcse_kit.errors import InputError
from simcse_kit.training.runs.seed_folder import SeedFolder
from training_rows import dev_task


def test_each_length_is_judged_and_compared(
    tiny_encoder: Callable[[str], Path], tmp_path: Path
) -> None:
    encoder = SentenceEncoder.from_pretrained(str(tiny_encoder("bert")), pooling="mean")
    for recipe in ("first", "other"):
        seeds = SeedFolder(tmp_path / recipe, {})
        for seed in (1, 2):
            encoder.save_pretrained(seeds.of(seed))
            seeds.runs[seed] = {}
        seeds.of(3).mkdir()  # not finished
        seeds.write()
    words = ["--trial", str(tmp_path), "--recipes", "first,other", "--dims", "4", "8"]
    words += ["--data-dir", str(tmp_path), "--draws", "50", "--json", str(tmp_path / "out.json")]
    task = dev_task()
    told = run(parse(words), suite=[task])["dims"]
    for dim in (4, 8):
        a, b = (encoder.encode(side)[:, :dim] for side in (task.sentence1, task.sentence2))
        cosines = (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
        expected = 100 * spearmanr(cosines, task.gold).statistic
        assert told[str(dim)]["first"][AVERAGE]["seeds"] == 2
        assert told[str(dim)]["first"][AVERAGE]["mean"] == pytest.approx(expected, abs=0.05)
        assert told[str(dim)]["other"][AVERAGE]["above first"]["difference"] == pytest.approx(0)
    assert "4 numbers: first" in json.loads((tmp_path / "out.json").read_text())["claim"]
    with pytest.raises(InputError, match="no finished seed of the recipe third"):
        run(parse([*words, "--recipes", "first,third"]), suite=[task])
