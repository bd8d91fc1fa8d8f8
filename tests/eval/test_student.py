"""A student of some layers: trained once, judged beside its teacher, timed in turns."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from eval.quality.student import parse, run
from simcse_kit.encoder import SentenceEncoder
from simcse_kit.evaluation.sts import evaluate
from training_rows import dev_task, sentences


def asked(tmp_path: Path, checkpoint: Path, *more: str, rounds: int = 2) -> list[str]:
    """The command line of a small run; the teacher is the checkpoint, with a pooling."""
    teacher = tmp_path / "teacher"
    SentenceEncoder.from_pretrained(str(checkpoint), pooling="mean").save_pretrained(teacher)
    (tmp_path / "texts.txt").write_text("\n".join(sentences(12)))
    named = {"teacher": teacher, "data": tmp_path / "texts.txt", "data-dir": tmp_path}
    named |= {"output-dir": tmp_path / "student", "json": tmp_path / "out.json"}
    words = [word for name, value in named.items() for word in (f"--{name}", str(value))]
    words += [*more, "--count", "8", "--draws", "50", "--rounds", str(rounds), "--set"]
    words += ["use_cpu=true", "per_device_train_batch_size=4", "bf16=false", "eval_steps=1"]
    return [*words, f"cache_dir={tmp_path / 'cache'}"]


def test_a_student_is_trained_once_and_stands_beside_its_teacher(
    tiny_encoder: Callable[[str], Path], tmp_path: Path
) -> None:
    words = asked(tmp_path, tiny_encoder("bert"), "--layers", "1")
    task = dev_task()
    figures = run(parse(words), dev=task, suite=[task])

    student = SentenceEncoder.from_pretrained(str(tmp_path / "student" / "student"))
    assert student.backbone.config.num_hidden_layers == 1
    assert figures["texts"] == 8
    assert figures["parameters"]["student"] < figures["parameters"]["teacher"]
    teacher = SentenceEncoder.from_pretrained(str(tmp_path / "teacher"))
    for name, encoder in (("teacher", teacher), ("student", student)):
        assert figures["sts"][name] == pytest.approx(evaluate(encoder, [task]).average)
    assert [each["step"] for each in figures["curve"]] == [0, 1, 2]
    assert len(figures["speed"]["ratio"]["rounds"]) == 2
    assert "began as 1 layers" in json.loads((tmp_path / "out.json").read_text())["claim"]

    before = (tmp_path / "student" / "student" / "model.safetensors").stat().st_mtime_ns
    run(parse(words), dev=task, suite=[task])
    assert (tmp_path / "student" / "student" / "model.safetensors").stat().st_mtime_ns == before


def test_a_student_may_begin_as_another_encoder(
    tiny_encoder: Callable[[str], Path], tmp_path: Path
) -> None:
    start = tiny_encoder("roberta")
    words, task = asked(tmp_path, tiny_encoder("bert"), "--start", str(start), rounds=0), dev_task()
    figures = run(parse(words), dev=task, suite=[task])
    student = SentenceEncoder.from_pretrained(str(tmp_path / "student" / "student"))
    assert student.backbone.config.model_type == "roberta"
    assert not {"layers", "speed"} & figures.keys() and figures["start"] == start.name
    assert f"began as {start.name}" in json.loads((tmp_path / "out.json").read_text())["claim"]
    with pytest.raises(SystemExit):
        parse([*words, "--layers", "1"])
