"""What the script that measures latency makes of the times it takes."""

from __future__ import annotations

import numpy as np
import pytest

from eval.speed import latency


def test_ratios_are_of_calls_side_by_side(monkeypatch):
    """A machine that slows down as it goes changes times, and no ratio."""
    costs = {"bf16": 1.0, "fp32": 2.0, "theirs, bf16": 2.0, "theirs, default": 4.0}
    by_name = {name: lambda text: np.array([1.0, 2.0]) for name in costs}
    of_call = {id(call): costs[name] for name, call in by_name.items()}
    made = []

    def timed(encode, text):
        made.append(encode)
        return of_call[id(encode)] * (1 + (len(made) - 1) // len(costs))

    monkeypatch.setattr(latency, "timed", timed)
    monkeypatch.setattr(latency, "text_of", lambda tokens, model: "word " * tokens)
    found = latency.calls(by_name, "a model", repeats=5)
    assert found.keys() == {"8", "32", "128"}
    first = found["8"]
    assert first["milliseconds"]["fp32"]["p50"] == 6.0
    assert first["milliseconds"]["fp32"]["p99"] == round(
        float(np.percentile([2, 4, 6, 8, 10], 99)), 3
    )
    assert first["least_cosine"] == 1.0
    for figures in found.values():
        assert figures["ratio"] == {
            "bf16 / theirs, bf16": 0.5,
            "bf16 / theirs, default": 0.25,
            "fp32 / theirs, default": 0.5,
        }


def test_a_text_has_the_tokens_it_is_called_by(tiny_encoder):
    with pytest.raises(ValueError, match="tokens and not 128"):
        latency.text_of(128, str(tiny_encoder("roberta")))


def test_a_command_that_fails_is_no_measurement(tmp_path):
    import subprocess

    with pytest.raises(subprocess.CalledProcessError):
        latency.shell(str(tmp_path / "none"), repeats=1)
