"""What is said before training: settings as they are written, and what the evaluations cost."""

from __future__ import annotations

import logging
import re

import pytest
import yaml

from simcse_kit.data import Rows
from simcse_kit.encoder import SentenceEncoder
from simcse_kit.training import TrainConfig, build_config, recipe_names
from simcse_kit.training.dev import ScoredPairs
from simcse_kit.training.run import train
from simcse_kit.training.runs.in_force import in_force, on_the_card
from simcse_kit.training.runs.keeper import Keeper
from training_rows import config, dev_task, text_rows


@pytest.fixture
def encoder(tiny_encoder):
    return SentenceEncoder.from_pretrained(tiny_encoder("bert"), pooling="mean", device="cpu")


def said(encoder: SentenceEncoder, settings: TrainConfig, line: str, steps: int = 40) -> str:
    config, dev = settings.for_length(steps), ScoredPairs(dev_task())
    block = in_force(settings, config, encoder, text_rows(), dev, steps)
    (found,) = (text for text in block.splitlines() if text.strip().startswith(line))
    return found.strip()


@pytest.mark.parametrize(
    "setting",
    [
        "profile={skip: 1, warm: 0, record: 2}",
        "lr_scheduler_kwargs={power: 2.0}",
        "report_to=[all]",
        "dataloader_num_workers=2",
    ],
)
def test_a_setting_is_said_as_it_is_written(encoder, setting):
    line = said(encoder, build_config(None, [setting]), "also")
    assert line == f"also       {setting.replace('=', ' ')}"


def test_what_an_anchor_has_for_negatives_is_said_in_full(encoder):
    keys = {"name": "momentum", "queue_length": 1024}
    given = TrainConfig(keys=keys, negatives="noise", per_device_train_batch_size=4)
    assert said(encoder, given, "keys") == (
        "keys       keys momentum, keys.momentum 0.99*, keys.queue_length 1024, keys.positives "
        "encoder*, keys.dropout false*, keys.predictor false*, negatives noise, negatives.count "
        "64*, negatives.moves 4*, negatives.step_size 0.1*, negatives.temperature 0.05*"
    )
    assert "against 3 negatives of the batch and up to 1,024 keys of earlier ones" in said(
        encoder, given, "data"
    )
    plain = TrainConfig(per_device_train_batch_size=4)
    block = in_force(plain, plain.for_length(4), encoder, text_rows(), None, 4)
    assert "keys" not in block and block.count("negatives of the batch\n") == 1


def test_evaluations_that_cost_more_than_a_tenth_of_the_training_are_said(encoder):
    dear = said(encoder, TrainConfig(per_device_train_batch_size=4, eval_steps=10), "dev")
    assert dear == (
        "dev        STSB-dev Spearman, 12 pairs; 5 evaluations score 60 pairs, where 160 rows are "
        "trained on (a larger eval_steps makes them fewer)"
    )
    assert "evaluations" not in said(encoder, TrainConfig(eval_steps=10), "dev")


@pytest.mark.parametrize("settings", [{"eval_steps": 2}, {"eval_steps": 5, "eval_delay": 6}, {}])
def test_as_many_evaluations_as_there_will_be(
    tiny_encoder, tmp_path, caplog, monkeypatch, settings
):
    monkeypatch.setattr(Keeper, "draw", lambda *_: None)
    own = config(tmp_path, **({"eval_steps": None} | settings), max_steps=11)
    own = own.model_copy(update={"per_device_train_batch_size": 4})
    with caplog.at_level(logging.INFO):
        given = (tiny_encoder("bert"), text_rows(), own, tmp_path / "run")
        result = train(*given, eval_data=dev_task())
    times = int(re.findall(r"(\d+) evaluations score", caplog.text)[0])
    assert times == sum("eval_spearman" in entry for entry in result.history)


@pytest.mark.parametrize(
    ("rows", "settings", "recipe"),
    [(8, {}, "few-rows"), (700, {}, "qa-pairs"), (8, {"learning_rate": 1e-5}, None)],
)
def test_pairs_and_a_sentence_encoder_are_told_their_recipe(encoder, rows, settings, recipe):
    texts = [[f"{side} {row}" for row in range(rows)] for side in ("one", "other")]
    columns = dict(zip(("anchor", "positive"), texts, strict=True))
    pairs = Rows("pairs", columns, None, None, "pairs.csv", 0, 0)
    for data, expected in ((pairs, recipe), (text_rows(), None)):
        given = TrainConfig(**settings)
        block = in_force(given, given.for_length(4), encoder, data, None, 4)
        found = re.findall(r"--recipe (\S+)", block)
        assert found == ([] if expected is None else [expected])
        assert set(found) <= set(recipe_names())
    plain = TrainConfig(pooling="mean")
    assert "--recipe" not in in_force(plain, plain.for_length(4), encoder, pairs, None, 4)


def test_the_card_lists_rare_settings_where_they_were_set(encoder):
    plain = on_the_card(TrainConfig(), encoder, {})
    assert "temperature" in plain and not {"tf32", "optim_args", "log_level"} & set(plain)
    given = TrainConfig(optim="sgd", optim_args="momentum=0.9", log_level="error")
    assert on_the_card(given, encoder, {})["optim_args"] == "momentum=0.9"
    assert "log_level" not in on_the_card(given, encoder, {}), "about this machine"


def test_what_is_said_of_max_length_is_so(tiny_encoder, tmp_path, monkeypatch):
    monkeypatch.setattr(Keeper, "draw", lambda *_: None)
    began = SentenceEncoder.from_pretrained(tiny_encoder("bert"), pooling="mean", device="cpu")
    own = config(tmp_path, max_steps=1, max_length=8)
    train(tiny_encoder("bert"), text_rows(), own, tmp_path / "run")
    saved = SentenceEncoder.from_pretrained(tmp_path / "run", device="cpu")
    assert saved.max_length == began.max_length == 64
    assert "as many tokens as the model it began with" in str(
        TrainConfig.model_fields["max_length"].description
    )
    assert yaml.safe_load((tmp_path / "run" / "train_config.yaml").read_text())["max_length"] == 8
