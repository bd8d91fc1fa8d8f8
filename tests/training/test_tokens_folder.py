"""A user without a home that can be written, as in many a container and cluster, trains too."""

from __future__ import annotations

from pathlib import Path

import pytest

from simcse_kit.training import TrainConfig, checks
from simcse_kit.training.checks import tokens_folder
from simcse_kit.training.run import train
from training_rows import config, text_rows


def _no_home() -> Path:
    raise RuntimeError("Could not determine home directory.")


def test_the_usual_place_is_looked_for_and_not_made(monkeypatch, tmp_path, caplog):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert tokens_folder(TrainConfig()) == tmp_path / ".cache/simcse_kit/tokens"
    assert not list(tmp_path.iterdir()) and not caplog.records


@pytest.mark.parametrize("home", ["none", "read-only"])
def test_without_a_place_the_tokens_stay_in_memory(
    monkeypatch, tmp_path, caplog, tiny_encoder, home
):
    if home == "none":
        monkeypatch.setattr(checks.Path, "home", _no_home)
    else:
        shut = tmp_path / "shut"
        shut.mkdir()
        monkeypatch.setenv("HOME", str(shut / "home"))
        monkeypatch.setattr(checks.os, "access", lambda path, mode: Path(path) != shut)
    named = config(tmp_path, max_steps=1)
    assert tokens_folder(named) == named.cache_dir
    own = TrainConfig(**named.model_dump(exclude={"cache_dir"}, exclude_unset=True))
    assert train(tiny_encoder("bert"), text_rows(16), own, tmp_path / "run").steps == 1
    assert "the tokens stay in memory" in caplog.text and "cache_dir=DIR" in caplog.text
    assert not (tmp_path / "cache").exists()
