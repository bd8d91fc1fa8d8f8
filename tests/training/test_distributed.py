"""Two ranks under torchrun learn what one process learns from the joined batch."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

import two_ranks
from methods import METHODS, assert_alike, settings_of, some_steps
from simcse_kit.encoder.sentence_encoder import SentenceEncoder
from simcse_kit.errors import InputError
from simcse_kit.training import distributed
from simcse_kit.training.run import train


@pytest.fixture(scope="module")
def encoder(tiny_encoder) -> str:
    return str(tiny_encoder("bert"))


def on_two_ranks(*words: str) -> str:
    """Run `two_ranks` to its end, in the empty folder that it is given first; what it said.

    Once in some whole runs of the tests it did not end, on a busy machine. Ranks then write where
    they stand and give up (`two_ranks.HANGS`); that is warned of, and it is tried once more.
    """
    status, said, complained = _launched(*words)
    if status and "Timeout (" in complained:
        warnings.warn(f"two ranks hung: {complained[-8000:]}", stacklevel=1)
        shutil.rmtree(words[0])
        Path(words[0]).mkdir()
        status, said, complained = _launched(*words)
    assert status == 0, complained[-4000:]
    return said


def _launched(*words: str) -> tuple[int, str, str]:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"]
    with subprocess.Popen(
        [*launcher, "--standalone", two_ranks.__file__, *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
    ) as process:
        try:
            said, complained = process.communicate(timeout=500)
        except subprocess.TimeoutExpired:
            process.terminate()  # not killed: the launcher ends its ranks
            raise
    return process.returncode, said, complained


@pytest.fixture(scope="module")
def launched(encoder: str, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """What two ranks left (see `two_ranks`), and what they said on stdout."""
    folder = tmp_path_factory.mktemp("two-ranks")
    return folder, on_two_ranks(str(folder), encoder)


@pytest.fixture(scope="module")
def folder(launched: tuple[Path, str]) -> Path:
    return launched[0]


@pytest.fixture(scope="module")
def answers(folder: Path) -> list[dict[str, Any]]:
    return [json.loads((folder / f"rank-{rank}.json").read_text()) for rank in (0, 1)]


def test_the_gradient_is_that_of_one_process(folder, encoder):
    """Unequal rows, texts equal and linked across ranks, hard negatives of which one lacks, chunks,
    masked LM, a learnt scale."""
    expected, _ = two_ranks.joint_step(two_ranks.joint_model(encoder), slice(0, two_ranks.ROWS))
    ours = [load_file(folder / f"step-{rank}.safetensors") for rank in (0, 1)]
    assert expected["objective.log_scale"] != 0
    for name, value in expected.items():
        if not name.endswith("key.bias"):  # nothing but rounding
            scale = max(value.abs().max().item(), 1e-3)
            for rank in (0, 1):
                torch.testing.assert_close(
                    ours[rank][name], value, atol=1e-4 * scale, rtol=1e-4, msg=f"{rank} {name}"
                )


def test_without_gathering_each_rank_has_its_own_negatives(folder, encoder):
    model = two_ranks.joint_model(encoder)
    model.masked_lm = None
    own = [two_ranks.joint_step(model, rows)[0] for rows in (slice(0, 4), slice(4, 7))]
    found = [load_file(folder / f"alone-{rank}.safetensors") for rank in (0, 1)]
    for rank in (0, 1):
        torch.testing.assert_close(found[rank]["figures"], own[rank]["figures"])
        name = "objective.log_scale"
        torch.testing.assert_close(found[rank][name], (own[0][name] + own[1][name]) / 2)


def test_a_run_is_that_of_one_process_with_the_joined_batches(folder, answers, encoder, tmp_path):
    own = two_ranks.settings(tmp_path, per_device_train_batch_size=8, **two_ranks.JOINED)
    one = train(encoder, two_ranks.pairs(), own, tmp_path / "one", eval_data=two_ranks.dev())
    two = answers[0]["joined"]
    assert two["steps"] == one.steps
    assert two["stopped"] == one.stopped and "no new best in 3 evaluations" in one.stopped
    assert two["best"][0] == one.best_step
    assert two["best"][1] == pytest.approx(one.best_score, abs=0.1)
    for left, right in zip(one.history, two["history"], strict=True):
        assert left.keys() == right.keys()
        for key in left.keys() & {"loss", "grad_norm", "uniformity", "negative_cosine", "epoch"}:
            assert right[key] == pytest.approx(left[key], rel=2e-3, abs=1e-5), key
    last = [
        SentenceEncoder.from_pretrained(run / "last", device="cpu", precision="fp32")
        for run in (tmp_path / "one", folder / "two")
    ]
    for name, value in last[0].named_parameters():
        if not name.endswith("key.bias"):
            torch.testing.assert_close(
                last[1].get_parameter(name), value, atol=1e-4, rtol=1e-3, msg=name
            )


def assert_as_in_one_process(method: str, folder: Path, encoder: str, tmp_path: Path) -> None:
    expected = some_steps(encoder, settings_of(tmp_path, encoder, method), METHODS[method][0])
    for rank in (0, 1):
        found = load_file(folder / f"{method}-{rank}.safetensors")
        assert_alike(found, expected, 1e-3)


@pytest.mark.parametrize("method", two_ranks.OFTEN)
def test_every_part_is_of_the_joined_batch(method, folder, encoder, tmp_path):
    assert_as_in_one_process(method, folder, encoder, tmp_path)


@pytest.mark.slow
def test_so_is_every_other(encoder, tmp_path):
    others = [method for method in METHODS if method not in two_ranks.OFTEN]
    on_two_ranks(str(tmp_path), encoder, *others)
    for method in others:
        assert_as_in_one_process(method, tmp_path, encoder, tmp_path)


def test_a_labelled_run_with_all_kinds_of_state_is_that_of_one_process(
    folder, answers, encoder, tmp_path
):
    one = two_ranks.labelled_run(encoder, tmp_path, 8, "one")
    two = answers[0]["labelled"]
    assert two["steps"] == one.steps == 8
    assert two["best"][1] == pytest.approx(one.best_score, abs=0.5)
    places = tmp_path / "one", folder / "labelled"
    expected, found = (load_file(each / "checkpoint-8" / "model.safetensors") for each in places)
    assert {"keys.queue", "average.copy.backbone.embeddings.word_embeddings.weight"} <= found.keys()
    assert {"objective.log_scale", "auxiliaries.1.centroids"} <= found.keys()
    assert_alike(found, expected, 1e-3)


def test_ranks_agree_and_return_the_same_model(answers):
    def without_clock(answer: dict[str, Any]) -> list[dict[str, Any]]:
        clock = {"sentences_per_second", "train_runtime"}
        timed = (entry.items() for entry in answer["history"])
        return [
            {k: v for k, v in entry if k not in clock and "per_second" not in k} for entry in timed
        ]

    for run in ("joined", "whole", "resumed"):
        left, right = answers[0][run], answers[1][run]
        assert without_clock(left) == without_clock(right)
        assert [left[key] for key in ("steps", "best", "stopped", "sum")] == [
            right[key] for key in ("steps", "best", "stopped", "sum")
        ]
    assert [answer["agreed"] for answer in answers] == [[True, False]] * 2
    assert [answer["rows"] for answer in answers] == [4, 3]


def test_a_resumed_run_ends_where_the_whole_one_does(folder, answers):
    assert answers[0]["resumed"]["steps"] == answers[0]["whole"]["steps"] == 4
    whole, resumed = (
        SentenceEncoder.from_pretrained(folder / run / "last", device="cpu", precision="fp32")
        for run in ("whole", "cut")
    )
    for name, value in whole.named_parameters():
        assert torch.equal(resumed.get_parameter(name), value), name


@pytest.mark.parametrize("order", two_ranks.ORDERS)
def test_a_run_resumed_in_its_second_epoch_has_that_epochs_rows(answers, order):
    for last, whole, steps, resumed in (answer["orders"][order] for answer in answers):
        assert (last, whole) == (steps, resumed) and last == 6


def test_every_rank_draws_its_own_dropout(folder):
    states = [
        torch.load(folder / "whole" / "checkpoint-2" / f"rng_state_{rank}.pth", weights_only=False)
        for rank in (0, 1)
    ]
    assert not torch.equal(states[0]["cpu"], states[1]["cpu"])


def test_an_interrupt_of_one_rank_stops_all_after_the_same_step(folder, answers):
    assert {answer["interrupted"] for answer in answers} == {
        f"saved step 2 in {folder / 'interrupted'}"
    }
    assert (folder / "interrupted" / "checkpoint-2" / "model.safetensors").is_file()


def test_the_command_line_speaks_once_and_leaves_the_group(folder, answers, launched):
    assert launched[1].count("last   step 2") == 1
    assert launched[1].count("model  ") == 1
    assert (folder / "from-cli" / "modules.json").is_file()
    # a rank that ends without leaving may die of SIGABRT, its work done
    assert [answer["left"] for answer in answers] == [True, True]


def test_every_rank_needs_a_batch(encoder, tmp_path, monkeypatch):
    monkeypatch.setattr("simcse_kit.training.checks.world_size", lambda: 11)
    with pytest.raises(InputError, match="40 rows do not fill one batch of 4 on each of 11 ranks"):
        train(encoder, two_ranks.pairs(), two_ranks.settings(tmp_path), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_a_single_process_is_left_alone():
    rows = torch.ones(2, 3, requires_grad=True)
    assert distributed.join_rows(rows) is rows
    assert distributed.mean_over_ranks(rows) is rows
    assert distributed.from_main(lambda: {"a": 1.5}) == {"a": 1.5}
    assert distributed.any_rank(True) and not distributed.any_rank(False)
    assert distributed.is_main() and distributed.world_size() == 1
    with distributed.one_a_machine_first():
        distributed.wait_for_all()
