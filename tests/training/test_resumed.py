"""A run that goes on: by the model that its folder holds, and by the dev set that chose it."""

from __future__ import annotations

import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml

from simcse_kit.encoder.sentence_encoder import SentenceEncoder
from simcse_kit.errors import InputError
from simcse_kit.training import trainer
from simcse_kit.training.dev import ScoredPairs
from simcse_kit.training.run import train
from simcse_kit.training.runs.keeper import Keeper
from simcse_kit.training.runs.seed_folder import SeedFolder
from simcse_kit.training.seeds import check_alike, common_settings, start_of, train_seeds
from simcse_kit.training.settings.config import build_config
from training_rows import assert_same, config, dev_task, pair_rows, text_rows, weights


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch):
    """They take seconds a run and are tested elsewhere."""
    monkeypatch.setattr(Keeper, "draw", lambda *_: None)


def test_the_model_that_a_killed_run_saved_after_its_checkpoint_is_known(
    tiny_encoder, tmp_path, monkeypatch
):
    # resumed on another machine, where the steps come out a little worse than they did
    scores = iter([10.0, 20.0, 15.0, 40.0, 39.0, 25.0])
    monkeypatch.setattr(ScoredPairs, "score", lambda *_: {"eval_spearman": next(scores)})
    monkeypatch.setattr(ScoredPairs, "table", lambda *_: "")

    def kill(self, args, state, control, **_):
        if state.global_step == 4:
            raise RuntimeError("killed")

    settings = config(tmp_path, max_steps=4, eval_steps=1)
    given = (tiny_encoder("bert"), text_rows(), settings, tmp_path / "run")
    with monkeypatch.context() as patched, pytest.raises(RuntimeError, match="killed"):
        patched.setattr(trainer.OwnDropout, "on_step_end", kill, raising=False)
        train(*given, eval_data=dev_task())
    result = train(*given, eval_data=dev_task(), resume=True)
    assert "| `step` | 3 |" in (tmp_path / "run" / "README.md").read_text()
    assert (result.best_step, result.best_score) == (3, 40.0)
    told = json.loads((tmp_path / "run" / "run.json").read_text())
    assert told["best"] == {"step": 3, "score": 40.0} and told["ended"]["best_step"] == 3


def test_another_dev_set_does_not_go_on_with_the_figures_of_the_first(tiny_encoder, tmp_path):
    bert, rows, run = tiny_encoder("bert"), pair_rows(48), tmp_path / "run"
    short = config(tmp_path, max_steps=2, eval_split=8)
    train(bert, rows, short, run)
    for changes, dev in (
        ({"eval_split": 16}, None),
        ({"eval_split": 8, "eval_split_seed": 1}, None),
        ({}, None),
        ({}, dev_task()),
    ):
        longer = config(tmp_path, max_steps=4, **changes)
        with pytest.raises(InputError, match="goes on with the same"):
            train(bert, rows, longer, run, eval_data=dev, resume=True)
    same = config(tmp_path, max_steps=4, eval_split=8)
    assert train(bert, rows, same, run, resume=True).steps == 4


def test_another_lexicon_of_the_same_name_does_not_go_on(tiny_encoder, tmp_path):
    """Alone, in a compose, of a further data set, and of several seeds."""
    bert, words = tiny_encoder("bert"), tmp_path / "words.tsv"
    synonym = {"name": "synonym", "lexicon": str(words)}
    (tmp_path / "further.txt").write_text("\n".join(text_rows(16).columns["text"]))
    further = {"data": str(tmp_path / "further.txt"), "positive_view": synonym}
    for number, own in enumerate(
        [
            {"anchor_view": synonym},
            {"positive_view": {"name": "compose", "views": ["deletion", synonym]}},
            {"datasets": [further]},
        ]
    ):
        words.write_text("dog\thound\n")
        run = tmp_path / f"run-{number}"
        train(bert, text_rows(16), config(tmp_path, max_steps=1, **own), run)
        longer = config(tmp_path, max_steps=2, **own)
        words.write_text("dog\thound\ncat\ttiger\n")
        with pytest.raises(InputError, match=r"words\.tsv' has changed since the run"):
            train(bert, text_rows(16), longer, run, resume=True)
    words.write_text("dog\thound\n")
    assert train(bert, text_rows(16), longer, run, resume=True).steps == 2
    told = json.loads((tmp_path / "run-0" / "run.json").read_text())
    assert len(told["files"]) == 1 and str(tmp_path) not in told["files"][0]


def test_seeds_of_another_lexicon_are_not_added(tiny_encoder, tmp_path):
    words = tmp_path / "words.tsv"
    own = config(tmp_path, max_steps=1, anchor_view={"name": "synonym", "lexicon": str(words)})
    words.write_text("dog\thound\n")
    start = start_of("model", text_rows(), None)
    before = common_settings(start, own)
    words.write_text("cat\ttiger\n")
    now = common_settings(start, own)
    done = SeedFolder(tmp_path, before, {1: {}})
    with pytest.raises(InputError, match="other content of a file that a part reads"):
        check_alike(done, now)
    older = {key: value for key, value in before.items() if key != "files of parts"}
    check_alike(SeedFolder(tmp_path, older, {1: {}}), now)


def test_scored_pairs_may_come_later_and_rows_that_were_trained_on_may_not(tiny_encoder, tmp_path):
    bert, rows, run = tiny_encoder("bert"), pair_rows(48), tmp_path / "run"
    train(bert, rows, config(tmp_path, max_steps=2), run)
    with pytest.raises(InputError, match=r"begun with eval_split None \(now 8\)"):
        train(bert, rows, config(tmp_path, max_steps=4, eval_split=8), run, resume=True)
    longer = config(tmp_path, max_steps=4)
    judged = train(bert, rows, longer, run, eval_data=dev_task(), resume=True)
    assert judged.dev == "STSB-dev Spearman"
    with pytest.raises(InputError, match="on another dev set"):
        train(bert, rows, config(tmp_path, max_steps=6), run, resume=True)


# -- with something else


def _copies(place: Path, model: Path) -> tuple[Path, Path]:
    """The model's folder twice over; the second of other weights."""
    from safetensors.torch import load_file, save_file

    same, other = place / "same", place / "other"
    for copy in (same, other):
        shutil.copytree(model, copy)
    state = load_file(other / "model.safetensors")
    changed = {name: value + 0.01 for name, value in state.items()}
    save_file(changed, other / "model.safetensors", metadata={"format": "pt"})
    return same, other


@pytest.fixture
def begun(tiny_encoder, tmp_path):
    """A run of four steps of which two are trained; model and rows that it was begun with."""
    bert, rows, run = tiny_encoder("bert"), text_rows(), tmp_path / "run"
    train(bert, rows, config(tmp_path, max_steps=4), run)
    for later in ("checkpoint-4", "last"):
        shutil.rmtree(run / later)
    return bert, rows, run


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"learning_rate": 3e-5}, r"begun with learning_rate 0\.001 \(now 3e-05\)"),
        ({"per_device_train_batch_size": 4}, r"per_device_train_batch_size 8 \(now 4\)"),
        ({"temperature": 0.1, "head": "none"}, r"head train_only \(now none\), temperature 0\.05"),
        ({"seed": 1}, r"seed 42 \(now 1\)"),
        ({"eval_steps": 1}, r"eval_steps 2 \(now 1\)"),
        ({"adam_beta2": 0.9}, r"adam_beta2 0\.999 \(now 0\.9\)"),
        ({"full_determinism": True}, r"full_determinism False \(now True\)"),
        ({"max_steps": 3}, r"begun with 4 steps \(now 3, by max_steps\)"),
    ],
)
def test_other_settings_are_refused_by_name(begun, tmp_path, changes, says):
    bert, rows, run = begun
    before = (run / "train_config.yaml").read_text(), (run / "run.json").read_text()
    with pytest.raises(InputError, match=says):
        train(bert, rows, config(tmp_path, **({"max_steps": 4} | changes)), run, resume=True)
    assert ((run / "train_config.yaml").read_text(), (run / "run.json").read_text()) == before


def test_other_data_and_another_model_are_refused_and_other_names_are_not(begun, tmp_path):
    bert, rows, run = begun
    same, other = _copies(tmp_path, bert)
    settings = config(tmp_path, max_steps=4)
    fewer = replace(rows, columns={"text": rows.columns["text"][:24]}, source="fewer")
    swapped = replace(rows, columns={"text": rows.columns["text"][::-1]})
    for model, data, says in (
        (bert, fewer, r"data 'texts' of 32 rows \(now 'fewer' of 24 rows\)"),
        (bert, swapped, "the data 'texts' have changed since"),
        (other, rows, rf"model .*bert \(now {other}\)"),
    ):
        with pytest.raises(InputError, match=says):
            train(model, data, settings, run, resume=True)
    moved = replace(rows, source="elsewhere")
    assert train(same, moved, settings, run, resume=True).steps == 4
    # of a run that has finished too
    for model, data, says in ((other, moved, "model"), (same, fewer, "data")):
        with pytest.raises(InputError, match=says):
            train(model, data, settings, run, resume=True)
    assert train(same, rows, settings, run, resume=True).steps == 4


def test_rows_of_equal_texts_and_other_labels_scores_or_documents_are_other_rows(begun, tmp_path):
    bert, rows, run = begun
    by_document = replace(rows, documents=np.arange(len(rows)) // 2)
    with pytest.raises(InputError, match="the data 'texts' have changed since"):
        train(bert, by_document, config(tmp_path, max_steps=4), run, resume=True)
    labelled = replace(rows, kind="labelled", labels=["a", "b"] * (len(rows) // 2))
    pairs = pair_rows()
    scored = replace(pairs, kind="scored", scores=np.arange(len(pairs), dtype=np.float64))
    for known, other in (
        (labelled, replace(labelled, labels=["a"] * len(rows))),
        (labelled, replace(labelled, labels=["", "ab"] * (len(rows) // 2))),
        (scored, replace(scored, scores=scored.scores + 1)),
    ):
        assert known.content() == replace(known, source="elsewhere").content()
        assert known.content() != other.content()


def test_a_model_that_changed_under_its_name_is_refused(begun, tmp_path):
    bert, rows, _ = begun
    same, other = _copies(tmp_path, bert)
    settings, run = config(tmp_path, max_steps=4), tmp_path / "own"
    train(same, rows, settings, run)
    shutil.rmtree(run / "last")
    shutil.copy(other / "model.safetensors", same / "model.safetensors")
    with pytest.raises(InputError, match="same' has changed since the run"):
        train(same, rows, settings, run, resume=True)
    # one that is given as an object was trained in place meanwhile, and is the same
    encoder = SentenceEncoder.from_pretrained(bert, pooling="mean", device="cpu", precision="fp32")
    train(encoder, rows, settings, tmp_path / "third")
    shutil.rmtree(tmp_path / "third" / "last")
    assert train(encoder, rows, settings, tmp_path / "third", resume=True).steps == 4


def test_what_may_change_is_said_and_the_weights_stay(begun, tmp_path, caplog):
    bert, rows, run = begun
    whole = train(bert, rows, config(tmp_path, max_steps=4), tmp_path / "whole")
    free = {"save_steps": 1, "save_total_limit": None, "logging_steps": 3, "disable_tqdm": True}
    free |= {"profile": True, "cache_dir": tmp_path / "elsewhere"}
    with caplog.at_level(logging.INFO):
        resumed = train(bert, rows, config(tmp_path, max_steps=4, **free), run, resume=True)
    assert_same(weights(resumed.encoder), weights(whole.encoder))
    (said,) = (text for text in caplog.messages if text.startswith("the run goes on with"))
    for words in (
        "save_steps 1 (had 2)",
        "logging_steps 3 (had 1)",
        "disable_tqdm True (had None)",
    ):
        assert words in said
    assert "cache_dir" not in said and "the schedule of" not in caplog.text
    saved = {path.name for path in run.glob("checkpoint-*")}
    assert saved == {"checkpoint-2", "checkpoint-3", "checkpoint-4"}, "and is done"
    logged = [entry["step"] for entry in resumed.history if "loss" in entry]
    assert logged == [1, 2, 3, 4]


def test_more_steps_follow_the_longer_schedule_and_it_is_said(begun, tmp_path, caplog):
    bert, rows, run = begun
    with caplog.at_level(logging.INFO):
        longer = config(tmp_path, max_steps=8, eval_steps=None, save_steps=None)
        resumed = train(bert, rows, longer, run, resume=True)
    assert (
        "it has 8 steps, not 4: learning_rate (linear) now follows the schedule of 8 steps: "
        "0.00075 at step 2, not 0.0005" in caplog.text
    )
    rates = {entry["step"]: entry["learning_rate"] for entry in resumed.history if "loss" in entry}
    assert rates == pytest.approx(
        {1: 1e-3, 2: 7.5e-4} | {step: 1e-3 * (1 - (step - 1) / 8) for step in range(3, 9)}
    )
    kept = yaml.safe_load((run / "train_config.yaml").read_text())
    assert (kept["max_steps"], kept["eval_steps"], kept["save_steps"]) == (8, 2, 2)


def test_another_machine_and_another_number_of_ranks(begun, tmp_path, monkeypatch, caplog):
    bert, rows, run = begun
    settings = config(tmp_path, max_steps=4)
    with monkeypatch.context() as patch:
        patch.setattr("simcse_kit.training.runs.resuming.world_size", lambda: 2)
        with pytest.raises(InputError, match=r"begun with the number of ranks 1 \(now 2\)"):
            train(bert, rows, settings, run, resume=True)
    told = json.loads((run / "run.json").read_text())
    assert told["computed"] == "in fp32 on cpu"
    (run / "run.json").write_text(json.dumps(told | {"computed": "in bf16 on cuda"}))
    train(bert, rows, settings, run, resume=True)
    assert "was computed in bf16 on cuda and goes on in fp32 on cpu" in caplog.text


def test_the_settings_of_the_folder_are_a_recipe_to_go_on_with(begun, tmp_path):
    bert, rows, run = begun
    with pytest.raises(InputError, match=r"--recipe .*train_config\.yaml"):
        train(bert, rows, config(tmp_path, max_steps=4, temperature=0.1), run, resume=True)
    own = build_config(str(run / "train_config.yaml"))
    assert train(bert, rows, own, run, resume=True).steps == 4


def test_a_folder_that_does_not_tell_its_settings_is_not_resumed(begun, tmp_path):
    bert, rows, run = begun
    for damage in (lambda path: path.write_text(""), lambda path: path.unlink()):
        damage(run / "train_config.yaml")
        with pytest.raises(InputError, match=r"train_config.yaml.* is missing or damaged"):
            train(bert, rows, config(tmp_path, max_steps=4), run, resume=True)


def test_seeds_go_on_with_the_same_rows_and_dev_set(tiny_encoder, tmp_path):
    bert, rows, folder = tiny_encoder("bert"), text_rows(), tmp_path / "seeds"
    settings, dev = config(tmp_path, max_steps=2), dev_task()
    train_seeds(bert, rows, settings, folder, seeds=2, eval_data=dev)
    other = replace(dev, gold=dev.gold[::-1].copy(), source="other.tsv")
    swapped = replace(rows, columns={"text": rows.columns["text"][::-1]})
    for seeds in (2, 3):  # with finished ones alone, and with one to come
        with pytest.raises(InputError, match=r"trained with the dev set 'test .*, not 'other\.tsv"):
            train_seeds(bert, rows, settings, folder, seeds=seeds, eval_data=other, resume=True)
        with pytest.raises(InputError, match=r"trained with the dev set .*, not None"):
            train_seeds(bert, rows, settings, folder, seeds=seeds, resume=True)
        with pytest.raises(InputError, match="trained with other rows of the same name"):
            train_seeds(bert, swapped, settings, folder, seeds=seeds, eval_data=dev, resume=True)
    logs = config(tmp_path, max_steps=2, logging_steps=5)
    moved = replace(rows, source="elsewhere")
    assert train_seeds(bert, moved, logs, folder, seeds=2, eval_data=dev, resume=True).mean
