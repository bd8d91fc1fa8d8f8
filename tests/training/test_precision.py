"""Whatever a model is stored or given in, everything that is trained is fp32."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoModelForMaskedLM, AutoTokenizer

from simcse_kit.encoder import SentenceEncoder
from simcse_kit.training import trainer
from simcse_kit.training.run import train
from training_rows import assert_same, config, text_rows, weights

HALVES = [torch.float16, torch.bfloat16]


@pytest.fixture
def half_model(tiny_encoder, tmp_path):
    """A masked-LM checkpoint in half precision, as many are stored; and its values in fp32."""

    def save(dtype: torch.dtype):
        torch.manual_seed(0)
        model = AutoModelForMaskedLM.from_pretrained(tiny_encoder("bert")).to(dtype)
        tokenizer = AutoTokenizer.from_pretrained(tiny_encoder("bert"))
        for folder, stored in ((tmp_path / "half", dtype), (tmp_path / "full", torch.float32)):
            model.to(stored).save_pretrained(folder)
            tokenizer.save_pretrained(folder)
        return tmp_path / "half", tmp_path / "full"

    return save


@pytest.fixture
def trained(monkeypatch):
    """The dtypes of all that a run trains."""
    seen: set[torch.dtype] = set()

    def note(self, args, state, control, model=None, **_):
        seen.update(p.dtype for p in model.parameters())

    monkeypatch.setattr(trainer.OwnDropout, "on_step_end", note, raising=False)
    return seen


@pytest.mark.parametrize("bf16", [False, True])
@pytest.mark.parametrize("dtype", HALVES, ids=str)
def test_a_half_checkpoint_and_its_masked_lm_head(half_model, tmp_path, trained, dtype, bf16):
    half, full = half_model(dtype)
    settings = config(tmp_path, max_steps=2, mlm_weight=0.1, bf16=bf16, head="keep")
    from_half = train(half, text_rows(), settings, tmp_path / "one").encoder
    assert trained == {torch.float32}
    from_full = train(full, text_rows(), settings, tmp_path / "other").encoder
    assert_same(weights(from_half), weights(from_full))


@pytest.mark.parametrize("dtype", [*HALVES, torch.float64], ids=str)
def test_an_encoder_given_in_another_precision(tiny_encoder, tmp_path, trained, caplog, dtype):
    encoder = SentenceEncoder.from_pretrained(tiny_encoder("bert"), pooling="mean", device="cpu")
    encoder.to(dtype)
    rounded = SentenceEncoder.from_pretrained(tiny_encoder("bert"), pooling="mean", device="cpu")
    for parameter in rounded.parameters():
        parameter.data = parameter.data.to(dtype).float()
    settings = config(tmp_path, max_steps=2)
    with caplog.at_level("INFO"):
        one = train(encoder, text_rows(), settings, tmp_path / "one").encoder
    assert trained == {torch.float32}
    assert f"given in {str(dtype).removeprefix('torch.')}; it is trained in fp32" in caplog.text
    other = train(rounded, text_rows(), settings, tmp_path / "other").encoder
    assert_same(weights(one), weights(other))
