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
from simcse_kit.training.seeds import train_seeds
from simcse_kit.training.trials.trial import train_trial
from training_rows import config, dev_task, text_rows


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
    with run_folder.held_alone(tmp_path / "run"):
        pass


def test_nor_do_two_sets_of_seeds_or_two_trials(
    tiny_encoder: Callable[[str], Path], tmp_path: Path
) -> None:
    """Overwriting does not help: what the other writes is not moved away."""
    given, folder = (tiny_encoder("bert"), text_rows()), tmp_path / "runs" / "seeds"
    settings = config(tmp_path, max_steps=1)
    with alone(folder):
        for again in (False, True):
            with pytest.raises(InputError, match="another run trains in"):
                train_seeds(*given, settings, folder, seeds=2, overwrite=again)
            with pytest.raises(InputError, match="another run trains in"):
                recipes = {"a": settings, "b": settings}
                train_trial(*given, recipes, folder, seeds=1, eval_data=dev_task(), overwrite=again)
    assert not folder.exists()


def test_a_run_that_went_on_meanwhile_is_not_gone_on_with_from_before(
    tiny_encoder: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Keeper, "draw", lambda *_: None)
    given, folder = (tiny_encoder("bert"), text_rows()), tmp_path / "run"
    settings = config(tmp_path, max_steps=2, save_steps=1, save_total_limit=None)
    train(*given, settings, folder)
    kept = tmp_path / "checkpoint-2"
    (folder / "checkpoint-2").rename(kept)
    (folder / "run.json").rename(tmp_path / "run.json")
    shutil.rmtree(folder / "last", ignore_errors=True)
    with pytest.raises(InputError, match=r"another run has gone on in .*give the command again"):
        train(
            *given,
            settings,
            folder,
            resume=True,
            ready=lambda: kept.rename(folder / "checkpoint-2") and None,
        )
    assert (folder / "checkpoint-2").is_dir()


def test_folders_made_for_a_refused_one_are_gone(tmp_path: Path) -> None:
    with (
        pytest.raises(InputError, match="refused"),
        run_folder.held_alone(tmp_path / "a" / "b" / "c"),
    ):
        raise InputError("refused")
    assert not (tmp_path / "a").exists()
    with run_folder.held_alone(tmp_path / "a" / "b" / "c"):
        (tmp_path / "a" / "b" / "c").mkdir()
    assert (tmp_path / "a" / "b" / "c").is_dir()
