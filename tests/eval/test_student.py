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


def test_a_student_is_trained_once_and_stands_beside_its_teacher(
    tiny_encoder: Callable[[str], Path], tmp_path: Path
) -> None:
    teacher = tmp_path / "teacher"
    plain = SentenceEncoder.from_pretrained(str(tiny_encoder("bert")), pooling="mean")
    plain.save_pretrained(teacher)
    (tmp_path / "texts.txt").write_text("\n".join(sentences(12)))
    named = {"teacher": teacher, "data": tmp_path / "texts.txt", "data-dir": tmp_path}
    named |= {"output-dir": tmp_path / "student", "json": tmp_path / "out.json"}
    words = [word for name, value in named.items() for word in (f"--{name}", str(value))]
    words += ["--layers", "1", "--count", "8", "--draws", "50", "--rounds", "2", "--set"]
    words += ["use_cpu=true", "per_device_train_batch_size=4", "bf16=false", "eval_steps=1"]
    words += [f"cache_dir={tmp_path / 'cache'}"]
    task = dev_task()
    figures = run(parse(words), dev=task, suite=[task])

    student = SentenceEncoder.from_pretrained(str(tmp_path / "student" / "student"))
    assert student.backbone.config.num_hidden_layers == 1
    assert figures["texts"] == 8
    assert figures["parameters"]["student"] < figures["parameters"]["teacher"]
    for name, encoder in (("teacher", plain), ("student", student)):
        assert figures["sts"][name] == pytest.approx(evaluate(encoder, [task]).average)
    assert [each["step"] for each in figures["curve"]] == [0, 1, 2]
    assert len(figures["speed"]["ratio"]["rounds"]) == 2
    assert "1 layers" in json.loads((tmp_path / "out.json").read_text())["claim"]

    before = (tmp_path / "student" / "student" / "model.safetensors").stat().st_mtime_ns
    run(parse(words), dev=task, suite=[task])
    assert (tmp_path / "student" / "student" / "model.safetensors").stat().st_mtime_ns == before
