"""Runs that follow teachers: nearer to them afterwards, and the same when stopped between."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
from scipy.stats import spearmanr

from simcse_kit.data import Rows
from simcse_kit.encoder import SentenceEncoder, keep_layers
from simcse_kit.errors import InputError
from simcse_kit.training import train
from training_rows import assert_same, config, pair_rows, sentences, weights

TEXTS = [*sentences(20), *sentences(4)]  # four stand twice


@pytest.fixture
def teacher(tiny_encoder):
    return SentenceEncoder.from_pretrained(tiny_encoder("bert"), pooling="mean", precision="fp32")


def rows():
    return Rows("text", {"text": TEXTS}, None, None, "texts", 0, 0)


def nearness(encoder, teacher):
    """Mean cosine of each text's two vectors, and how alike the texts' similarities rank."""
    ours, theirs = (each.encode(TEXTS[:20], normalize=True) for each in (encoder, teacher))
    above = np.triu_indices(20, 1)
    ranks = spearmanr((ours @ ours.T)[above], (theirs @ theirs.T)[above]).statistic
    return (ours * theirs).sum(1).mean(), ranks


@pytest.mark.parametrize("kind", ["vectors", "similarities"])
def test_a_student_comes_nearer_its_teacher_and_goes_on_where_it_stopped(
    tiny_encoder, teacher, tmp_path, kind
):
    model = str(tiny_encoder("bert"))
    if kind == "vectors":
        objective, teachers = "teacher_cosine", [{"model": model, "pooling": "mean"}]
    else:
        np.save(tmp_path / "v.npy", teacher.encode(TEXTS))
        teachers = [str(tmp_path / "v.npy"), {"model": model, "pooling": "cls"}]
        objective = {"name": "similarity_kl", "shuffle": 0.1, "teacher_weights": [3, 1]}
    settings = config(
        tmp_path,
        objective=objective,
        teachers=teachers,
        student_layers=[0, 2],
        head="none",
        num_train_epochs=5,
        save_steps=8,
        save_total_limit=None,
    )
    whole = train(model, rows(), settings, tmp_path / "run")
    place = 0 if kind == "vectors" else 1
    before = nearness(keep_layers(teacher, [0, 2]), teacher)[place]
    assert nearness(whole.encoder, teacher)[place] > before + 0.02
    assert whole.encoder.backbone.config.num_hidden_layers == 2
    if kind == "vectors":
        return
    expected = weights(whole.encoder)
    shutil.rmtree(tmp_path / "run" / "checkpoint-15")
    shutil.rmtree(tmp_path / "run" / "last", ignore_errors=True)
    resumed = train(model, rows(), settings, tmp_path / "run", resume=True)
    assert_same(weights(resumed.encoder), expected)


def test_what_cannot_be_followed_is_said_before_training(tiny_encoder, tmp_path):
    model = str(tiny_encoder("bert"))
    np.save(tmp_path / "v.npy", np.ones((3, 4)))
    for settings, said in (
        ({"objective": "teacher_mse"}, "teacher"),
        ({"objective": "list_net", "teachers": str(tmp_path / "v.npy")}, "holds 3 vectors"),
        ({"objective": "cosent"}, "score"),
        ({"student_layers": [0, 7]}, "has the layers 0 to 2"),
    ):
        with pytest.raises(InputError, match=said):
            train(model, rows(), config(tmp_path, max_steps=1, **settings), tmp_path / "out")


def test_a_file_of_vectors_is_of_all_rows_and_none_are_held_out(tiny_encoder, tmp_path):
    np.save(tmp_path / "v.npy", np.ones((40, 4)))
    settings = config(
        tmp_path,
        max_steps=1,
        eval_split=0.2,
        objective="similarity_kl",
        teachers=[str(tmp_path / "v.npy")],
    )
    with pytest.raises(InputError, match="of which eval_split holds some out"):
        train(str(tiny_encoder("bert")), pair_rows(20), settings, tmp_path / "out")


def test_a_run_goes_on_with_the_teacher_that_it_was_begun_with(tiny_encoder, tmp_path):
    model, file, run = str(tiny_encoder("bert")), tmp_path / "v.npy", tmp_path / "run"
    vectors = np.random.default_rng(0).normal(size=(24, 4))
    np.save(file, vectors)
    settings = config(tmp_path, max_steps=4, objective="similarity_kl", teachers=[str(file)])
    train(model, rows(), settings, run)
    for later in ("checkpoint-4", "last"):
        shutil.rmtree(run / later)
    np.save(file, vectors + 1)
    with pytest.raises(InputError, match=r"teachers: .*v.npy' has changed since the run"):
        train(model, rows(), settings, run, resume=True)
    np.save(file, vectors)
    assert train(model, rows(), settings, run, resume=True).steps == 4
