"""The folders a run leaves: unit length, the card, the pictures, what else takes up room."""

from __future__ import annotations

import json
import logging

import numpy as np
import pytest

from simcse_kit.encoder.sentence_encoder import SentenceEncoder
from simcse_kit.evaluation import plots
from simcse_kit.training.run import train
from simcse_kit.training.runs import folder as run_folder
from simcse_kit.training.runs.keeper import Keeper
from training_rows import assert_same, config, dev_task, pair_rows, text_rows, weights

TEXTS = ["the man plays the guitar", "a dog runs", "she reads a book on the train"]


@pytest.fixture
def _no_pictures(monkeypatch):
    monkeypatch.setattr(Keeper, "draw", lambda *_: None)


@pytest.mark.usefixtures("_no_pictures")
@pytest.mark.parametrize("layout", ["current", "legacy"])
def test_trained_models_give_unit_vectors_here_and_in_sentence_transformers(
    tiny_encoder, tmp_path, layout
):
    from sentence_transformers import SentenceTransformer

    settings = config(tmp_path, max_steps=2, layout=layout)
    result = train(tiny_encoder("bert"), text_rows(), settings, tmp_path / "run")
    ours = result.encoder.encode(TEXTS)
    np.testing.assert_allclose(np.linalg.norm(ours, axis=1), 1, atol=1e-6)
    for folder in (tmp_path / "run", tmp_path / "run" / "last"):
        modules = json.loads((folder / "modules.json").read_text())
        assert modules[-1]["type"].endswith("Normalize")
        theirs = SentenceTransformer(str(folder), device="cpu").encode(TEXTS)
        np.testing.assert_allclose(theirs, ours, atol=1e-5)
        again = SentenceEncoder.from_pretrained(folder, device="cpu", precision="fp32")
        np.testing.assert_allclose(again.encode(TEXTS), ours, atol=1e-6)


@pytest.mark.usefixtures("_no_pictures")
def test_raw_lengths_are_kept_where_that_is_set_and_training_is_the_same(tiny_encoder, tmp_path):
    from sentence_transformers import SentenceTransformer

    runs = []
    for normalize in (True, False):
        settings = config(tmp_path, max_steps=3, normalize=normalize)
        folder = tmp_path / str(normalize)
        runs.append(
            train(tiny_encoder("bert"), text_rows(), settings, folder, eval_data=dev_task())
        )
    unit, raw = runs
    assert_same(weights(unit.encoder), weights(raw.encoder))
    for left, right in zip(unit.history, raw.history, strict=True):
        for key in ("loss", "eval_spearman"):
            assert left.get(key) == pytest.approx(right.get(key), abs=1e-4)
    vectors = raw.encoder.encode(TEXTS)
    lengths = np.linalg.norm(vectors, axis=1)
    assert not np.allclose(lengths, 1, atol=1e-2)
    np.testing.assert_allclose(
        vectors / lengths[:, None], raw.encoder.encode(TEXTS, normalize=True), atol=1e-6
    )
    theirs = SentenceTransformer(str(tmp_path / "False"), device="cpu").encode(TEXTS)
    np.testing.assert_allclose(theirs, vectors, atol=1e-5)
    # an encoder that had the layer loses it
    encoder = SentenceEncoder.from_pretrained(tmp_path / "True", device="cpu", precision="fp32")
    again = train(
        encoder, text_rows(), config(tmp_path, max_steps=1, normalize=False), tmp_path / "again"
    )
    assert not again.encoder.normalize


@pytest.mark.usefixtures("_no_pictures")
def test_the_card_lists_every_setting_that_shaped_the_model(tiny_encoder, tmp_path):
    settings = config(tmp_path, max_steps=4)
    rows = pair_rows(16)
    folder = tmp_path / "run"
    result = train(tiny_encoder("bert"), rows, settings, folder, eval_data=dev_task())
    listed = dict(
        [cell.strip(" `") for cell in line.strip("|").split(" | ")]
        for line in (folder / "README.md").read_text().splitlines()
        if line.startswith("| `")
    )
    expected = {
        "base_model": tiny_encoder("bert").name,
        "data": "pairs",
        "rows": "16",
        "dev": "STSB-dev Spearman, 12 pairs",
        "step": str(result.best_step),
        "per_device_train_batch_size": "8",
        "learning_rate": "0.001",
        "temperature": "0.05",
        "head": "train_only",
        "pooling": "mean",
        "dropout": "0.1",
        "bf16": "false",
        "eval_steps": "2",
        "weight_decay": "0",
    }
    assert {key: listed[key] for key in expected} == expected
    assert not {"cache_dir", "report_to", "push_to_hub"} & set(listed)


@pytest.mark.usefixtures("_no_pictures")
def test_another_pooling_than_the_models_own_is_said_loudly(tiny_encoder, tmp_path, caplog):
    folder = tmp_path / "mean"
    SentenceEncoder.from_pretrained(tiny_encoder("bert"), pooling="mean").save_pretrained(folder)
    encoder = SentenceEncoder.from_pretrained(folder, device="cpu")
    for number, model in enumerate((folder, encoder)):
        for pooling, warned in (("mean", False), (None, False), ("cls", True)):
            caplog.clear()
            settings = config(tmp_path, max_steps=1, pooling=pooling)
            train(model, text_rows(), settings, tmp_path / f"{number}-{pooling}")
            loud = [r for r in caplog.records if r.levelno == logging.WARNING]
            assert bool(loud) == warned, (number, pooling)
            if warned:
                said = loud[0].getMessage()
                assert "mean" in said and "cls" in said and str(folder) in said


def test_pictures_show_the_loss_and_every_scored_point(tiny_encoder, tmp_path, monkeypatch):
    drawn = {}
    plane = plots.alignment_uniformity_plane

    def recorded(results, path, **options):
        drawn.update(results=dict(results), **options)
        return plane(results, path, **options)

    monkeypatch.setattr(plots, "alignment_uniformity_plane", recorded)
    settings = config(tmp_path, max_steps=6, learning_rate=3e-2)
    bert = tiny_encoder("bert")
    result = train(bert, text_rows(64), settings, tmp_path / "run", eval_data=dev_task())
    assert list(drawn["results"]) == ["step 0", "step 2", "step 4", "step 6"]
    assert set(drawn["labelled"]) == {"step 0", f"step {result.best_step}", "step 6"}
    assert drawn["score"] == "STSB-dev Spearman ×100"
    for name in ("training_curve", "alignment_uniformity", "cosines_STSB-dev"):
        assert (tmp_path / "run" / f"{name}.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.usefixtures("_no_pictures")
def test_one_checkpoint_is_kept_and_what_may_go_is_told(tiny_encoder, tmp_path):
    settings = config(tmp_path, max_steps=6, save_total_limit=1)
    train(tiny_encoder("bert"), text_rows(64), settings, tmp_path / "run")
    assert [p.name for p in (tmp_path / "run").glob("checkpoint-*")] == ["checkpoint-6"]
    last, checkpoint = run_folder.what_may_go(tmp_path / "run")
    assert last.startswith("last/ is the model after the last step (") and last.endswith(" MB)")
    assert checkpoint.startswith("checkpoint-6 serves --resume alone and may go (")
    assert run_folder.what_may_go(tmp_path) == []
