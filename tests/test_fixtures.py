"""The tiny encoders the other tests stand on load as real checkpoints do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

FAMILIES = ("bert", "roberta", "distilbert", "mpnet", "electra", "xlm-roberta", "modernbert")


@pytest.mark.parametrize("family", FAMILIES)
def test_family_loads_and_tells_texts_apart(
    family: str, tiny_encoder: Callable[[str], Path]
) -> None:
    import torch
    from transformers import AutoModel, AutoTokenizer

    folder = tiny_encoder(family)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model, report = AutoModel.from_pretrained(folder, output_loading_info=True)
    assert model.config.model_type == family
    assert not report["missing_keys"] and not report["unexpected_keys"]

    texts = ["The dog runs.", "A woman plays the guitar in the kitchen", "zebra 42?"]
    batch = tokenizer(texts, padding=True, return_tensors="pt")
    assert tokenizer.unk_token_id not in batch["input_ids"]
    assert (batch["input_ids"][:, 0] == tokenizer.cls_token_id).all()
    ends = batch["attention_mask"].sum(1) - 1
    assert (batch["input_ids"][torch.arange(3), ends] == tokenizer.sep_token_id).all()
    assert int(batch["input_ids"].max()) < model.config.vocab_size

    long = tokenizer(["dog " * 500], truncation=True, return_tensors="pt")
    assert long["input_ids"].shape == (1, 64)
    with torch.no_grad():
        assert torch.isfinite(model.eval()(**long).last_hidden_state).all()
        states = model(**batch).last_hidden_state[:, 0]
    assert (torch.cdist(states, states) + torch.eye(3) > 0.1).all()
