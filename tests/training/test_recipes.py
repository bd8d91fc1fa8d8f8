"""Every shipped recipe trains, on the data that it says it is for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from simcse_kit.data import Rows
from simcse_kit.training import build_config, recipe_names, recipe_text, train
from training_rows import pair_rows, text_rows


def rows_for(data: str) -> Rows:
    """Rows of the kind that a recipe's header asks for."""
    kind = data.split()[2].rstrip(",:")
    texts = text_rows(16)
    if kind == "labels":
        labels = [str(row % 2) for row in range(16)]
        return replace(texts, kind="labelled", labels=labels)
    if kind == "grades":
        pairs = pair_rows(8).columns.values()
        columns = dict(zip(("sentence1", "sentence2"), pairs, strict=True))
        return Rows("scored", columns, None, np.arange(8.0) / 7, "scores", 0, 0)
    if kind == "documents":
        return replace(texts, documents=np.arange(16) // 4)
    if kind == "text":
        return texts
    return pair_rows(8, negatives="negative" in data or "hard_neg" in data)


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_trains_on_its_data(
    name: str, tiny_encoder: Callable[[str], Path], tmp_path: Path
) -> None:
    data = next(line for line in recipe_text(name).splitlines() if line.startswith("# Data: "))
    rows = rows_for(data)
    small = ["per_device_train_batch_size=8", "max_steps=1", "report_to=none", "use_cpu=true"]
    pooling = build_config(name).pooling or "mean"  # the tiny encoder is a plain checkpoint
    small += [f"pooling={pooling}", f"cache_dir={tmp_path / 'tokens'}"]
    if "teacher" in data:
        small += [f"teachers=[{{model: {tiny_encoder('roberta')}, pooling: mean}}]"]
    if build_config(name).matryoshka_dims:  # of the tiny encoder's width
        small += ["matryoshka_dims=[32, 8]"]
    if build_config(name).auxiliaries and name == "prototypes":
        small += ["auxiliaries=[{name: prototypes, clusters: [3]}]"]
    config = build_config(name, small)
    result = train(tiny_encoder("bert"), rows, config, tmp_path / "run")
    assert result.steps == 1 and result.stopped is None
    assert result.encoder.pooling == pooling
    assert (result.encoder.head is not None) == (config.head == "keep")
