"""A disk that fills up while a run trains: one sentence, nothing half-written, the rest stays."""

from __future__ import annotations

import pytest

from invoking import run, settings, succeed
from simcse_kit.encoder import SentenceEncoder
from simcse_kit.errors import InputError
from simcse_kit.training.run import train
from simcse_kit.training.runs.checkpoints import newest_whole
from simcse_kit.training.runs.keeper import Keeper
from small_disk import files_of_at_most, mounted
from training_rows import assert_same, config, dev_task, sentences, text_rows, weights


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch):
    """They take seconds a run and are tested elsewhere."""
    monkeypatch.setattr(Keeper, "draw", lambda *_: None)


def _size(folder):
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


@pytest.fixture(scope="module")
def whole(tiny_encoder, tmp_path_factory):
    place = tmp_path_factory.mktemp("whole")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Keeper, "draw", lambda *_: None)
        own = config(place, max_steps=6)
        result = train(tiny_encoder("bert"), text_rows(64), own, place / "run")
    return weights(result.encoder), _size(place / "run" / "checkpoint-6"), _size(place / "run/last")


@pytest.mark.parametrize("what", ["checkpoint", "model"])
def test_a_run_ends_in_a_sentence_and_goes_on_when_there_is_room(
    tiny_encoder, tmp_path, whole, what
):
    """There is room for two of the checkpoints; or for all, and for no model."""
    expected, a_checkpoint, a_model = whole
    room = 2.7 * a_checkpoint if what == "checkpoint" else 3.05 * a_checkpoint + 0.3 * a_model
    own = config(tmp_path, max_steps=6, save_total_limit=None)
    with mounted(tmp_path / "disk", int(room)) as disk:
        folder = disk / "run"
        given = tiny_encoder("bert"), text_rows(64), own, folder
        with pytest.raises(InputError, match=f"cannot write {folder}.*: the disk is full"):
            train(*given)
        step = 4 if what == "checkpoint" else 6
        assert newest_whole(folder) == (folder / f"checkpoint-{step}", [])
        names = {path.name for path in folder.iterdir()}
        kept = {f"checkpoint-{n}" for n in range(2, step + 1, 2)}
        assert names == kept | {"history.jsonl", "run.json", "train_config.yaml"}
        # room is made
        for old in range(2, step, 2):
            for path in (folder / f"checkpoint-{old}").iterdir():
                path.unlink()
        own = config(tmp_path, max_steps=6, save_total_limit=1)
        resumed = train(*given[:2], own, folder, resume=True)
        assert_same(weights(resumed.encoder), expected)


def test_the_best_model_so_far_stays_whole(tiny_encoder, tmp_path, whole, monkeypatch):
    """No file of its size can be written from the second evaluation on."""
    scores, saved = iter([10.0, 20.0, 30.0, 40.0]), Keeper.save_best

    def save_best(self, step, score):
        if step == 0:
            return saved(self, step, score)
        with files_of_at_most(whole[2] // 2):
            return saved(self, step, score)

    monkeypatch.setattr(
        "simcse_kit.training.dev.ScoredPairs.score", lambda *_: {"eval_spearman": next(scores)}
    )
    monkeypatch.setattr("simcse_kit.training.dev.ScoredPairs.table", lambda *_: "")
    monkeypatch.setattr(Keeper, "save_best", save_best)
    bert, folder = tiny_encoder("bert"), tmp_path / "run"
    with pytest.raises(InputError, match="the disk is full"):
        train(bert, text_rows(), config(tmp_path, max_steps=4), folder, eval_data=dev_task())
    first = SentenceEncoder.from_pretrained(bert, pooling="mean", device="cpu", precision="fp32")
    kept = SentenceEncoder.from_pretrained(folder, device="cpu", precision="fp32")
    assert_same(weights(kept), weights(first))
    assert "| `step` | 0 |" in (folder / "README.md").read_text()
    assert not list(folder.glob(".*"))


def test_the_command_ends_with_one_sentence(tiny_encoder, tmp_path):
    (tmp_path / "texts.txt").write_text("\n".join(sentences(40)))
    words = ["train", "--model", tiny_encoder("bert"), "--data", tmp_path / "texts.txt"]
    words += settings(cache_dir=tmp_path / "cache")
    succeed(*words, "--output-dir", tmp_path / "run")  # the tokens are cached
    with files_of_at_most(50_000):
        result = run(*words, "--output-dir", tmp_path / "full")
    assert result.exit_code == 2 and result.stderr.count("error:") == 1
    assert "cannot write" in result.stderr and "the disk is full" in result.stderr
