"""A run's end: what is resumed of it, what it says, and what its folder tells live."""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import pytest

import simcse_kit.training.run as running
from simcse_kit.commands.train import _training_summary
from simcse_kit.encoder.sentence_encoder import SentenceEncoder
from simcse_kit.errors import InputError
from simcse_kit.training import trainer
from simcse_kit.training.dev import ScoredPairs
from simcse_kit.training.run import steps_in_all, train
from simcse_kit.training.runs import folder as run_folder
from simcse_kit.training.runs.keeper import Keeper
from simcse_kit.training.seeds import train_seeds
from training_rows import assert_same, config, dev_task, pair_rows, text_rows, weights


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch):
    """They take seconds a run and are tested elsewhere."""
    monkeypatch.setattr(Keeper, "draw", lambda *_: None)


def files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def no_step(*_, **__):
    raise AssertionError("a step was trained")


def test_resuming_a_finished_run_trains_nothing_and_gives_its_result(
    tiny_encoder, tmp_path, monkeypatch, caplog
):
    settings = config(tmp_path, max_steps=4, learning_rate=3e-2)
    given = (tiny_encoder("bert"), text_rows(), settings, tmp_path / "run")
    whole = train(*given, eval_data=dev_task())
    before = files(tmp_path / "run")
    monkeypatch.setattr(trainer.ContrastiveTrainer, "training_step", no_step)
    with caplog.at_level(logging.INFO):
        again = train(*given, eval_data=dev_task(), resume=True)
    assert "has finished (step 4 of 4): nothing is trained" in caplog.text
    assert files(tmp_path / "run") == before, "nothing is written either"
    assert (again.steps, again.best_step, again.best_score) == (
        whole.steps,
        whole.best_step,
        whole.best_score,
    )
    assert again.history == whole.history and again.dev == whole.dev == "STSB-dev Spearman"
    assert_same(weights(again.encoder), weights(whole.encoder))
    # its checkpoints may go, and it is still known to have finished
    for checkpoint in (tmp_path / "run").glob("checkpoint-*"):
        shutil.rmtree(checkpoint)
    assert train(*given, eval_data=dev_task(), resume=True).steps == 4
    further = config(tmp_path, max_steps=6, learning_rate=3e-2)
    with pytest.raises(InputError, match="ended at step 4, and its checkpoints are gone"):
        train(*given[:2], further, tmp_path / "run", eval_data=dev_task(), resume=True)


def test_a_run_that_was_cut_off_after_its_last_step_is_only_written_down(
    tiny_encoder, tmp_path, monkeypatch
):
    settings = config(tmp_path, max_steps=4)
    given = (tiny_encoder("bert"), text_rows(), settings, tmp_path / "run")
    whole = train(*given)
    expected = weights(SentenceEncoder.from_pretrained(tmp_path / "run" / "last", device="cpu"))
    shutil.rmtree(tmp_path / "run" / "last")
    monkeypatch.setattr(trainer.ContrastiveTrainer, "training_step", no_step)
    again = train(*given, resume=True)
    assert again.steps == whole.steps == 4
    last = SentenceEncoder.from_pretrained(tmp_path / "run" / "last", device="cpu")
    assert_same(weights(last), expected)
    assert run_folder.read_ended(tmp_path / "run").step == 4


def test_a_finished_run_goes_on_when_it_is_to_be_longer(tiny_encoder, tmp_path):
    settings = config(tmp_path, max_steps=2)
    bert, rows = tiny_encoder("bert"), text_rows(64)
    train(bert, rows, settings, tmp_path / "run")
    longer = train(bert, rows, config(tmp_path, max_steps=4), tmp_path / "run", resume=True)
    assert longer.steps == 4 and run_folder.read_ended(tmp_path / "run").of == 4


def test_a_run_stopped_early_has_finished_unless_its_settings_change(
    tiny_encoder, tmp_path, monkeypatch
):
    def constant(self, encoder):
        return {"eval_spearman": 10.0}

    monkeypatch.setattr(ScoredPairs, "score", constant)
    monkeypatch.setattr(ScoredPairs, "table", lambda *_: "")
    bert, rows, dev = tiny_encoder("bert"), text_rows(64), dev_task()
    settings = config(tmp_path, max_steps=8, early_stopping_patience=1)
    stopped = train(bert, rows, settings, tmp_path / "run", eval_data=dev)
    assert stopped.steps == 2
    again = train(bert, rows, settings, tmp_path / "run", eval_data=dev, resume=True)
    assert again.steps == 2 and again.stopped == stopped.stopped
    patient = config(tmp_path, max_steps=8, early_stopping_patience=2)
    further = train(bert, rows, patient, tmp_path / "run", eval_data=dev, resume=True)
    assert further.steps == 4


def test_resuming_finished_seeds_trains_nothing(tiny_encoder, tmp_path, monkeypatch):
    settings = config(tmp_path, max_steps=2)
    given = (tiny_encoder("bert"), text_rows(), settings, tmp_path / "seeds")
    whole = train_seeds(*given, seeds=2)
    # the second one's end was not noted any more
    state = json.loads((tmp_path / "seeds" / "seeds.json").read_text())
    del state["runs"]["43"]
    (tmp_path / "seeds" / "seeds.json").write_text(json.dumps(state))
    monkeypatch.setattr(trainer.ContrastiveTrainer, "training_step", no_step)
    assert train_seeds(*given, seeds=2, resume=True).runs == whole.runs


@pytest.mark.parametrize(
    ("rows", "changes", "steps"),
    [
        (35, {}, 4),  # of 8 rows; the last batch is short
        (35, {"num_train_epochs": 2.5}, 10),
        (35, {"gradient_accumulation_steps": 3}, 2),
        (35, {"max_steps": 7}, 7),
    ],
)
def test_steps_are_counted_as_the_trainer_does(tiny_encoder, tmp_path, rows, changes, steps):
    settings = config(tmp_path, **changes)
    assert steps_in_all(rows, settings) == steps
    result = train(tiny_encoder("bert"), text_rows(rows), settings, tmp_path / "run")
    assert result.steps == steps


def test_a_checkpoint_that_a_kill_cut_short_is_passed_over(tiny_encoder, tmp_path):
    settings = config(tmp_path, max_steps=6)
    given = (tiny_encoder("bert"), text_rows(64), settings, tmp_path / "run")
    whole = weights(train(*given).encoder)
    run = tmp_path / "run"
    shutil.rmtree(run / "last")
    (run / "checkpoint-6" / "trainer_state.json").write_text('{"epo')
    (run / "checkpoint-4-copy").mkdir()  # a user's
    assert run_folder.take_checkpoint(run) == run / "checkpoint-4"
    assert_same(weights(train(*given, resume=True).encoder), whole)
    shutil.rmtree(run / "last")
    for state in run.glob("checkpoint-*/trainer_state.json"):
        state.unlink()
    with pytest.raises(InputError, match=r"no checkpoint in .* is whole: checkpoint-6 \(trainer_s"):
        train(*given, resume=True)


# -- how often


@pytest.mark.parametrize(
    ("steps", "given", "expected"),
    [
        (3, {}, (1, 1)),
        (200, {}, (20, 100)),
        (15_625, {}, (125, 500)),
        (200, {"eval_steps": 125, "save_steps": 7}, (125, 7)),
    ],
)
def test_evaluations_follow_the_length_of_the_run(steps, given, expected):
    settings = run_folder.TrainConfig(**given).for_length(steps)
    assert (settings.eval_steps, settings.save_steps) == expected


def test_the_last_step_is_scored_and_a_short_run_has_points(tiny_encoder, tmp_path):
    settings = config(tmp_path, max_steps=3, eval_steps=2)
    result = train(
        tiny_encoder("bert"), text_rows(), settings, tmp_path / "a", eval_data=dev_task()
    )
    steps = [entry["step"] for entry in result.history if "eval_spearman" in entry]
    assert steps == [0, 2, 3]
    with_loss = {entry["step"] for entry in result.history if "loss" in entry}
    assert {2, 3} <= with_loss, "every evaluation has a loss beside it"
    settings = config(tmp_path, max_steps=10, eval_steps=None, logging_steps=100)
    result = train(
        tiny_encoder("bert"), text_rows(), settings, tmp_path / "b", eval_data=dev_task()
    )
    steps = [entry["step"] for entry in result.history if "eval_spearman" in entry]
    assert steps == list(range(11))


# -- what is said


def test_settings_and_evaluations_are_said_in_the_log(tiny_encoder, tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        result = train(
            tiny_encoder("bert"),
            text_rows(),
            config(tmp_path, max_steps=4),
            tmp_path / "run",
            eval_data=dev_task(),
        )
    said = [record.getMessage() for record in caplog.records]
    (block,) = (text for text in said if text.startswith("settings in force"))
    for words in (
        "pooling mean, head train_only*, normalize true*, max_length 32*",
        "32 rows (text), each with its dropout twin, against 7 negatives of the batch",
        "STSB-dev Spearman, 12 pairs",
        "temperature 0.05*, per_device_train_batch_size 8,",
        "learning_rate 0.001, lr_scheduler_type linear*",
        "4 steps on cpu, num_train_epochs 1*, max_steps 4, seed 42*, bf16 false",
        "save_total_limit 2",
    ):
        assert words in block, words
    lines = [text for text in said if text.startswith("step ")]
    assert [line.split(":")[0] for line in lines] == [f"step {n} of 4" for n in (0, 2, 4)]
    scored = [entry for entry in result.history if "eval_spearman" in entry]
    losses = {entry["step"]: entry["loss"] for entry in result.history if "loss" in entry}
    for line, entry in zip(lines, scored, strict=True):
        assert f"dev Spearman {entry['eval_spearman']:.2f} (best" in line
        assert f"uniformity {entry['eval_uniformity']:.3f}" in line
        if entry["step"]:
            assert f"loss {losses[entry['step']]:.4g}, " in line
    assert "(best so far)" in lines[0]
    assert not [text for text in said if "distinct sentences" in text]


def test_a_run_without_a_dev_set_says_its_loss(tiny_encoder, tmp_path, caplog):
    with caplog.at_level(logging.INFO):
        train(tiny_encoder("bert"), text_rows(), config(tmp_path, max_steps=3), tmp_path / "run")
    said = [record.getMessage() for record in caplog.records]
    assert [text.split(":")[0] for text in said if text.startswith("step ")] == [
        f"step {n} of 3" for n in (1, 2, 3)
    ]


def test_it_is_said_that_training_did_not_help(tiny_encoder, tmp_path, monkeypatch, caplog):
    scores = iter([50.0, 40.0, 30.0])
    monkeypatch.setattr(ScoredPairs, "score", lambda *_: {"eval_spearman": next(scores)})
    monkeypatch.setattr(ScoredPairs, "table", lambda *_: "")
    settings = config(tmp_path, max_steps=4)
    bert = tiny_encoder("bert")
    result = train(bert, text_rows(), settings, tmp_path / "run", eval_data=dev_task())
    assert result.best_step == 0
    assert caplog.text.count("training did not help on the dev set") == 1
    shown = _training_summary(result, None)
    assert "best   step 0 of 4, the model as it was: STSB-dev Spearman 50.00" in shown
    assert "did not help" not in shown, "a terminal shows both"
    kept = SentenceEncoder.from_pretrained(tmp_path / "run", device="cpu")
    start = SentenceEncoder.from_pretrained(bert, pooling="mean", device="cpu")
    assert_same(weights(kept), weights(start))


@pytest.mark.parametrize(
    ("dev", "same"), [(None, True), ([1.0, 2.0, 3.0], True), ([2, 1, 1], False)]
)
def test_the_last_step_takes_no_room_of_its_own_where_it_is_the_chosen_one(
    tiny_encoder, tmp_path, monkeypatch, dev, same
):
    run = tmp_path / "run"
    if dev is not None:
        scores = iter(dev)
        monkeypatch.setattr(ScoredPairs, "score", lambda *_: {"eval_spearman": next(scores)})
        monkeypatch.setattr(ScoredPairs, "table", lambda *_: "")
    task, bert = None if dev is None else dev_task(), tiny_encoder("bert")
    train(bert, text_rows(), config(tmp_path, max_steps=4), run, eval_data=task)
    assert (run / "model.safetensors").samefile(run / "last" / "model.safetensors") == same
    before = (run / "model.safetensors").read_bytes()
    # a longer run's does not write into the other
    longer = config(tmp_path, max_steps=6)
    monkeypatch.setattr(Keeper, "save_best", lambda *_: None)
    monkeypatch.setattr(ScoredPairs, "score", lambda *_: {"eval_spearman": 0.0})
    train(bert, text_rows(), longer, run, eval_data=task, resume=True)
    if dev is not None:
        assert (run / "model.safetensors").read_bytes() == before
        assert (run / "last" / "model.safetensors").read_bytes() != before


# -- the history


def test_the_history_is_written_as_it_happens(tiny_encoder, tmp_path, monkeypatch):
    seen: list[list[int]] = []

    def step_end(self, args, state, control, **_):
        path = tmp_path / "run" / "history.jsonl"
        lines = path.read_text().splitlines() if path.is_file() else []
        seen.append([json.loads(line)["step"] for line in lines])
        if state.global_step == 3:
            raise RuntimeError("the machine went down")

    monkeypatch.setattr(trainer.OwnDropout, "on_step_end", step_end)
    settings = config(tmp_path, max_steps=6)
    with pytest.raises(RuntimeError, match="went down"):
        train(tiny_encoder("bert"), text_rows(), settings, tmp_path / "run")
    assert seen == [[], [1], [1, 2]]
    left = run_folder.read_history(tmp_path / "run")
    assert [entry["step"] for entry in left] == [1, 2], "a crash leaves what was"
    told = json.loads((tmp_path / "run" / "run.json").read_text())
    assert told["model"] == str(tiny_encoder("bert")) and "ended" not in told


def test_the_history_has_every_step_once_after_resuming(tiny_encoder, tmp_path):
    settings = config(tmp_path, max_steps=6)
    given = (tiny_encoder("bert"), text_rows(), settings)
    whole = train(*given, tmp_path / "whole", eval_data=dev_task())
    shutil.copytree(tmp_path / "whole", tmp_path / "cut")
    for later in ("checkpoint-6", "last"):
        shutil.rmtree(tmp_path / "cut" / later)
    resumed = train(*given, tmp_path / "cut", eval_data=dev_task(), resume=True)
    written = run_folder.read_history(tmp_path / "cut")
    assert written == resumed.history
    clocks = {"sentences_per_second", "train_runtime"}
    for key in ("loss", "eval_spearman"):
        ours, theirs = (
            [(e["step"], e[key]) for e in h if key in e] for h in (written, whole.history)
        )
        assert ours == theirs, key
    assert clocks & set(written[-1]), "the last entry sums the run up"


# -- folders that hold what is given


def test_an_output_folder_that_holds_what_is_given_is_refused(tiny_encoder, tmp_path):
    bert, rows = tiny_encoder("bert"), pair_rows(16)
    settings = config(tmp_path, max_steps=2)
    train(bert, rows, settings, tmp_path / "run")
    run = tmp_path / "run"
    alias = tmp_path / "alias"
    alias.symlink_to(run)
    before = files(run)
    for model, output in (
        (run, run),
        (alias, run),
        (run, alias),
        (tmp_path / "x" / ".." / "run", run),
        (SentenceEncoder.from_pretrained(run, device="cpu"), run),
    ):
        (tmp_path / "x").mkdir(exist_ok=True)
        for how in ({"overwrite": True}, {"resume": True}, {}):
            with pytest.raises(InputError, match="is the model that training starts from"):
                train(model, rows, settings, output, **how)
    for how in ({"overwrite": True}, {"resume": True}):
        with pytest.raises(InputError, match=r"model .*last' lies in output folder"):
            train(run / "last", rows, settings, run, **how)
    with pytest.raises(InputError, match="which would be replaced"):
        train_seeds(run, rows, settings, run, seeds=2, overwrite=True)

    (run / "texts.txt").write_text("a\nb\n")
    dev = dev_task()
    inside = replace(dev, source=f"{alias}/d.tsv")
    (run / "d.tsv").write_text("")
    cache = config(run, max_steps=2)
    cases = [
        (run / "texts.txt", settings, None, "data"),
        (rows, settings, inside, "dev set"),
        (rows, cache, None, "cache of tokens"),
    ]
    for data, recipe, judged, what in cases:
        with pytest.raises(InputError, match=f"{what} .* lies in output folder .*--overwrite"):
            train(bert, data, recipe, run, eval_data=judged, overwrite=True)
    for path, content in before.items():
        assert (run / path).read_bytes() == content, "nothing was touched"


def test_a_folder_by_a_link_is_emptied_and_the_link_stays(tiny_encoder, tmp_path, monkeypatch):
    bert, rows, settings = tiny_encoder("bert"), text_rows(), config(tmp_path, max_steps=2)
    disk, run = tmp_path / "disk", tmp_path / "run"
    disk.mkdir()
    run.symlink_to(disk)
    with monkeypatch.context() as patched, pytest.raises(RuntimeError, match="failed late"):
        patched.setattr(running, "_trainer", Mock(side_effect=RuntimeError("failed late")))
        train(bert, rows, settings, run)
    assert run.is_symlink() and not any(disk.iterdir())
    train(bert, rows, settings, run)
    (disk / "mine.txt").write_text("")
    (disk / "elsewhere").symlink_to(bert)
    train(bert, rows, settings, run, overwrite=True)
    assert run.is_symlink() and (disk / "modules.json").is_file()
    assert not (disk / "mine.txt").exists() and (bert / "config.json").is_file()
