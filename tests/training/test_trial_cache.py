"""A trial with a cache judges by the same vectors, and computes those of a model once."""

from __future__ import annotations

from simcse_kit.encoder import SentenceEncoder, VectorCache
from simcse_kit.training.trials.run import Job, judge
from training_rows import config, dev_task, text_rows


def test_judging_again_computes_nothing(tiny_encoder, tmp_path, monkeypatch):
    model = str(tiny_encoder("bert"))
    encoder = SentenceEncoder.from_pretrained(model, pooling="mean", precision="fp32")
    rows, settings, dev = text_rows(), config(tmp_path), dev_task()
    cache = VectorCache(tmp_path / "cache")
    plain = judge(encoder, Job(model, rows, settings, tmp_path / "run", dev, (dev,)))
    job = Job(model, rows, settings, tmp_path / "run", dev, (dev,), cache=cache)
    first = judge(encoder, job)
    calls = []
    monkeypatch.setattr(SentenceEncoder, "_fill", lambda *args, **named: calls.append(args))
    again = judge(encoder, job)
    assert not calls
    assert plain[0] == first[0] == again[0]
    assert plain[1]["dev"].tolist() == again[1]["dev"].tolist()
