"""The scripts that measure speed: they run, the sides agree, and FLOPs are counted right.

Heavy imports stay inside the tests: a process that is started for a side imports this file.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from conftest import WORDS
from eval.speed import compare as speed
from eval.speed import growth
from eval.speed import host as speed_host
from eval.speed.machine import encoder_flops
from eval.speed.ours import read_sentences
from eval.speed.report import summarise
from eval.speed.turns import Gate, Memory, Setting, Turn, Worker
from simcse_kit.errors import InputError


@pytest.fixture(scope="module")
def sentences(tmp_path_factory: pytest.TempPathFactory) -> Path:
    draw = random.Random(1)
    lines = {" ".join(draw.choices(WORDS, k=draw.randint(4, 12))): None for _ in range(60)}
    path = tmp_path_factory.mktemp("sentences") / "sentences.txt"
    path.write_text("\n".join(lines) + "\n\n")
    return path


def test_training_and_encoding_in_turns(
    tiny_encoder: Callable[[str], Path],
    sentences: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    options = ["--work", "train", "encode", "--peers", "default", "--precision", "fp32"]
    options += ["--pairs", "1", "--steps", "2", "--warmup-steps", "1", "--batch-size", "4"]
    options += ["--sentences", "20", "--encode-length", "16", "--matrix-sizes", "32"]
    options += ["--one-process", "--json", str(tmp_path / "speed.json"), "--markdown"]
    model = str(tiny_encoder("bert"))
    assert speed.main(["--model", model, "--data", str(sentences), *options]) == 0

    figures = json.loads((tmp_path / "speed.json").read_text())
    train, encode = figures["rows"]
    assert (train["work"], encode["work"]) == ("train", "encode")
    assert train["ours"]["sentences_a_turn"] == train["peer"]["sentences_a_turn"] == 2 * 4
    assert encode["ours"]["sentences_a_turn"] == encode["peer"]["sentences_a_turn"] == 20
    for row in (train, encode):
        assert len(row["ratio"]["pairs"]) == 1  # the warm-up is not among them
        assert row["ours"]["mfu"] > 0
        assert row["facts"]["packed"]
    assert train["agreement"]["ours_loss"] == pytest.approx(
        train["agreement"]["peer_loss"], abs=1e-5
    )
    assert encode["agreement"]["ours_min_cosine"] == pytest.approx(1, abs=1e-6)
    assert figures["made"]["command"].startswith("python ")
    assert capsys.readouterr().out.count("|\n") + 1 >= 4


@pytest.mark.parametrize("family", ["bert", "electra"])
def test_flops_are_those_torch_counts(
    monkeypatch: pytest.MonkeyPatch, tiny_encoder: Callable[[str], Path], family: str
) -> None:
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    from simcse_kit.compute.packing import PackedBatch
    from simcse_kit.encoder.sentence_encoder import SentenceEncoder

    encoder = SentenceEncoder.from_pretrained(
        tiny_encoder(family), pooling="mean", precision="fp32", device="cpu"
    )
    lengths = np.array([7, 3, 7, 12, 3])
    ids = np.random.default_rng(1).integers(5, 100, lengths.sum())
    # torch's counter knows fused attention not at all, ours or its own: here it is written out
    monkeypatch.setattr("simcse_kit.compute.attention.built_kernels", lambda: None)
    written_out = sdpa_kernel(SDPBackend.MATH)
    with FlopCounterMode(display=False) as counter, torch.no_grad(), written_out:
        encoder(PackedBatch.from_flat(ids, lengths))
    assert encoder_flops(encoder, lengths) == counter.get_total_flops()


def test_a_row_is_made_of_pairs() -> None:
    pairs = [
        (Turn(1.0, 10, {"seconds_a_step": 0.5}), Turn(2.0, 10, {"seconds_a_step": 1.0})),
        (Turn(1.0, 10, {"seconds_a_step": 0.5}), Turn(4.0, 10, {"seconds_a_step": 2.0})),
        (Turn(2.0, 10, {"seconds_a_step": 1.0}), Turn(2.0, 10, {"seconds_a_step": 1.0})),
    ]
    row = summarise(pairs, (Memory(300.0, 200.0), None), flops_a_sentence=7.0)
    assert row["ratio"] == {"median": 2.0, "min": 1.0, "max": 4.0, "pairs": [2.0, 4.0, 1.0]}
    assert row["ours"]["sentences_per_second"] == 10
    assert row["peer"]["real_flops_per_second"] == 7 * 5
    assert row["ours"]["peak_mib"] == 300
    assert "peak_mib" not in row["peer"]


class Counting:
    """A side that tells how many turns it had and never computes anything."""

    def __init__(self, setting: Setting) -> None:
        if setting.model == "broken":
            raise InputError("the model is broken")
        self.evidence = {"turns": 0}

    def take_turns(self, gate: Gate) -> None:
        while True:
            gate.wait()
            self.evidence["turns"] += 1
            gate.done(Turn(1.0, self.evidence["turns"]))


@pytest.mark.parametrize("alone", [False, True])
def test_a_side_works_when_it_is_its_turn(alone: bool) -> None:
    with Worker(Counting, Setting("whole"), alone=alone) as worker:
        worker.ready()
        assert [worker.turn().sentences for _ in range(3)] == [1, 2, 3]
        evidence, memory = worker.finish()
    assert evidence == {"turns": 3}
    assert (memory is not None) == alone
    if memory is not None:
        assert memory.peak >= memory.before > 0


def test_a_users_mistake_is_one_sentence(
    sentences: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InputError, match="model is broken"):
        Worker(Counting, Setting("broken"), alone=False).ready()
    with pytest.raises(InputError, match="holds 60 different sentences where 61 are needed"):
        read_sentences(sentences, 61)
    assert speed.main(["--model", "none", "--pairs", "0"]) == 2
    assert "--pairs must be 1 or more" in capsys.readouterr().err
    assert speed.main(["--model", "none", "--work", "train", "--peers", "onnx"]) == 2
    assert "has no peer onnx" in capsys.readouterr().err
    assert growth.main(["--what", "encode"]) == 2
    assert "encode needs --model" in capsys.readouterr().err


def test_the_slope_of_growth() -> None:
    rows = [{"size": 10.0, "seconds": 1.0}, {"size": 1000.0, "seconds": 10_000.0}]
    assert growth.exponent(rows, "seconds") == pytest.approx(2)
    assert growth.exponent(rows[:1], "seconds") is None


def test_a_pair_that_the_host_disturbed_is_taken_again(
    tiny_encoder: Callable[[str], Path],
    sentences: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Once for each pair at most: a host that never rests does not hold the measurement up."""
    shares = iter(
        [0.9, 0.5, 0.01, 0.4, 0.6]
    )  # warm-up, again, counted, again, counted all the same
    monkeypatch.setattr(speed.Stolen, "share", lambda self: next(shares))
    options = ["--work", "encode", "--peers", "default", "--precision", "fp32", "--pairs", "2"]
    options += ["--sentences", "8", "--encode-length", "16"]
    options += ["--matrix-sizes", "32", "--one-process"]
    options += ["--json", str(tmp_path / "speed.json"), "--data", str(sentences)]
    assert speed.main(["--model", str(tiny_encoder("bert")), *options]) == 0
    (row,) = json.loads((tmp_path / "speed.json").read_text())["rows"]
    assert row["stolen"] == [0.01, 0.6]
    assert [each["stolen"] for each in row["not_counted"]] == [0.5, 0.4]
    assert len(row["ratio"]["pairs"]) == 2


def test_the_hosts_share_is_that_of_the_time_between(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stat = tmp_path / "stat"
    monkeypatch.setattr(speed_host, "_STAT", stat)
    assert speed_host.Stolen().share() == 0  # not on Linux
    stat.write_text("cpu  100 0 50 800 0 0 0 50 7 7\ncpu0 1 1\n")
    host = speed_host.Stolen()
    stat.write_text("cpu  160 0 60 810 0 0 0 70 9 9\ncpu0 2 2\n")
    assert host.share() == pytest.approx(20 / 100)
    assert host.share() == 0
