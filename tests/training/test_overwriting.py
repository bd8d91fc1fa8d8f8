"""The run that is overwritten stays until the new one has a model, and nothing given is deleted."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from simcse_kit.errors import InputError
from simcse_kit.training import trainer
from simcse_kit.training.run import train
from simcse_kit.training.runs import overwriting
from simcse_kit.training.runs.keeper import Keeper
from simcse_kit.training.seeds import train_seeds
from training_rows import config, dev_task, pair_rows, text_rows


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch):
    """They take seconds a run and are tested elsewhere."""
    monkeypatch.setattr(Keeper, "draw", lambda *_: None)


@pytest.fixture(scope="module")
def made(tiny_encoder, tmp_path_factory):
    """A run that is there already, and training of several seeds."""
    place = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Keeper, "draw", lambda *_: None)
        bert, own = tiny_encoder("bert"), config(place, max_steps=2)
        train(bert, text_rows(), own, place / "run")
        train_seeds(bert, text_rows(), own, place / "seeds", seeds=2)
    return place


def _files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def _ends(monkeypatch, step, error):
    """A run ends so at that step, before a checkpoint of it."""

    def on_step_end(self, args, state, control, **_):
        if state.global_step == step:
            raise error

    monkeypatch.setattr(trainer.OwnDropout, "on_step_end", on_step_end, raising=False)


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("kind", ["run", "seeds"])
def test_an_overwriting_run_that_leaves_nothing_leaves_the_old_one(
    tiny_encoder, tmp_path, made, monkeypatch, kind, error
):
    folder = tmp_path / kind
    shutil.copytree(made / kind, folder)
    (folder / "mine.txt").write_text("notes")
    before = _files(folder)
    given = tiny_encoder("bert"), text_rows(), config(tmp_path, max_steps=4, save_steps=3), folder
    how = {"overwrite": True} | ({"seeds": 2} if kind == "seeds" else {})
    begin = train_seeds if kind == "seeds" else train
    with monkeypatch.context() as patch, pytest.raises(error):
        _ends(patch, 2, error)
        begin(*given, **how)
    assert _files(folder) == before
    assert not list(folder.glob(".*")) and not (folder / overwriting.REPLACED).exists()
    begin(*given, **how)
    assert not (folder / overwriting.REPLACED).exists()
    model = folder if kind == "run" else folder / "seed-42"
    assert "| `max_steps` | 4 |" in (model / "README.md").read_text()
    assert (folder / "mine.txt").exists() == (kind == "seeds"), "of seeds their own alone goes"


def test_a_checkpoint_is_kept_beside_the_old_run_until_there_is_a_model(
    tiny_encoder, tmp_path, made, monkeypatch
):
    folder, kept = tmp_path / "run", tmp_path / "run" / overwriting.REPLACED
    shutil.copytree(made / "run", folder)
    before = _files(folder)
    given = tiny_encoder("bert"), text_rows(), config(tmp_path, max_steps=4), folder
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        _ends(patch, 3, KeyboardInterrupt)
        train(*given, overwrite=True)
    assert _files(kept) == before
    assert train(*given, resume=True).steps == 4
    assert not kept.exists()


def test_a_model_of_step_0_takes_no_run_s_place(tiny_encoder, tmp_path, made, monkeypatch):
    """A dev set has the model kept before it is trained; the old run is worth more than that."""
    folder = tmp_path / "run"
    shutil.copytree(made / "run", folder)
    before = _files(folder)
    given = tiny_encoder("bert"), text_rows(), config(tmp_path, max_steps=4), folder
    with monkeypatch.context() as patch, pytest.raises(RuntimeError):
        _ends(patch, 1, RuntimeError)
        train(*given, overwrite=True, eval_data=dev_task())
    assert _files(folder) == before and not (folder / overwriting.REPLACED).exists()
    monkeypatch.setattr(
        "simcse_kit.training.dev.ScoredPairs.score", lambda *_: {"eval_spearman": 1.0}
    )
    monkeypatch.setattr("simcse_kit.training.dev.ScoredPairs.table", lambda *_: "")
    assert train(*given, overwrite=True, eval_data=dev_task()).best_step == 0
    assert not (folder / overwriting.REPLACED).exists(), "the new run has ended"


@pytest.mark.parametrize("moment", ["moving", "moved", "training"])
def test_killed_while_it_overwrites_the_old_run_is_still_whole(
    tiny_encoder, tmp_path, made, monkeypatch, moment
):
    folder = tmp_path / "run"
    shutil.copytree(made / "run", folder)
    before = _files(folder)
    given = tiny_encoder("bert"), text_rows(), config(tmp_path, max_steps=4), folder
    kept = folder / overwriting.REPLACED
    if moment == "moving":
        (folder / ".moving").mkdir()
        for name in ("README.md", "last", "train_config.yaml"):
            os.rename(folder / name, folder / ".moving" / name)
    else:
        overwriting.set_aside(folder)
    if moment == "training":
        (folder / "train_config.yaml").write_text("")
        (folder / ".run.json.7.part").write_text("")
    told = "is missing or damaged; .*; the run that was to be replaced is in .*run"
    with pytest.raises(InputError, match=told):
        train(*given, resume=True)
    with monkeypatch.context() as patch, pytest.raises(RuntimeError):
        _ends(patch, 1, RuntimeError)
        train(*given, overwrite=True)
    assert _files(folder) == before and not kept.exists()


def test_nothing_that_is_read_goes_by_whatever_link(tiny_encoder, tmp_path, made, monkeypatch):
    bert, run, own = tiny_encoder("bert"), tmp_path / "run", config(tmp_path, max_steps=2)
    shutil.copytree(made / "run", run)
    data, hard = tmp_path / "data", run / "hard.tsv"
    data.mkdir()
    texts = "\n".join("\t".join(row) for row in zip(*pair_rows(16).columns.values(), strict=True))
    (data / "pairs.tsv").write_text(f"anchor\tpositive\n{texts}\n")
    (run / "there").symlink_to(data)
    os.link(data / "pairs.tsv", hard)
    before = _files(run)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(run / "hub"))
    with pytest.raises(InputError, match=r"Hugging Face cache .* lies in output folder"):
        (run / "hub").mkdir()
        train(bert, data / "pairs.tsv", own, run, overwrite=True)
    (run / "hub").rmdir()
    for given in (run / "there" / "pairs.tsv", hard, tmp_path / "x" / ".." / "run" / "hard.tsv"):
        (tmp_path / "x").mkdir(exist_ok=True)
        with pytest.raises(InputError, match=r"data .* lies in output folder .*--overwrite"):
            train(bert, given, own, run, overwrite=True)
    assert _files(run) == before
    # by its own name a file outlives the link to it
    train(bert, data / "pairs.tsv", own, run, overwrite=True, eval_data=dev_task())
    assert (data / "pairs.tsv").is_file() and not hard.exists() and not (run / "there").exists()


def test_links_as_output_folders_are_overwritten_and_stay(tiny_encoder, tmp_path, made):
    disk, run = tmp_path / "disk", tmp_path / "run"
    shutil.copytree(made / "run", disk)
    run.symlink_to(disk)
    own = config(tmp_path, max_steps=4)
    train(tiny_encoder("bert"), text_rows(), own, run, overwrite=True)
    assert run.is_symlink() and "| `max_steps` | 4 |" in (disk / "README.md").read_text()
