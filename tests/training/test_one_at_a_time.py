"""A folder is one run's at a time: who comes second is refused, and takes nothing away."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from simcse_kit.data import alone
from simcse_kit.errors import InputError
from simcse_kit.training.run import train
from simcse_kit.training.runs import folder as run_folder
from simcse_kit.training.runs.keeper import Keeper
from training_rows import config, text_rows


def test_two_runs_do_not_train_in_one_folder(
    tiny_encoder: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The one that comes later is refused, whenever it has looked at the folder."""
    monkeypatch.setattr(Keeper, "draw", lambda *_: None)
    given = tiny_encoder("bert"), text_rows(), config(tmp_path, max_steps=1)
    folder, first = tmp_path / "run", tmp_path / "first"
    with (
        alone(folder),
        pytest.raises(InputError, match=r"another run trains in .*run'; wait until"),
    ):
        train(*given, folder)
    assert not folder.exists()
    train(*given, first)
    there = sorted(path.name for path in first.iterdir())

    def meanwhile() -> None:
        shutil.copytree(first, folder)

    with pytest.raises(InputError, match=r"output folder .* is not empty"):
        train(*given, folder, ready=meanwhile)
    assert sorted(path.name for path in folder.iterdir()) == there
    assert not list(tmp_path.glob(".*.lock"))


def test_a_folder_beside_which_no_lock_can_be_made_is_trained_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that is mounted by itself in a container."""

    def refused(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(run_folder, "alone", refused)
    with run_folder._held(tmp_path / "run"):
        pass
