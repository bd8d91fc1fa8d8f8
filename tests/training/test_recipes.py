"""Every shipped recipe trains, on the data that it says it is for."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from simcse_kit.training import build_config, recipe_names, recipe_text, train
from training_rows import pair_rows, text_rows


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_trains_on_its_data(
    name: str, tiny_encoder: Callable[[str], Path], tmp_path: Path
) -> None:
    data = next(line for line in recipe_text(name).splitlines() if line.startswith("# Data: "))
    if data.split()[2].startswith("text"):
        rows = text_rows(8)
    else:
        rows = pair_rows(8, negatives="negative" in data or "hard_neg" in data)
    small = ["per_device_train_batch_size=8", "max_steps=1", "report_to=none", "use_cpu=true"]
    pooling = build_config(name).pooling or "mean"  # the tiny encoder is a plain checkpoint
    config = build_config(name, [*small, f"pooling={pooling}", f"cache_dir={tmp_path / 'tokens'}"])
    result = train(tiny_encoder("bert"), rows, config, tmp_path / "run")
    assert result.steps == 1 and result.stopped is None
    assert result.encoder.pooling == pooling
    assert (result.encoder.head is not None) == (config.head == "keep")
