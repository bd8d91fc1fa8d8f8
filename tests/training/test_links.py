"""A positive is never taken for a negative: what the data call one, on any row, in any batch."""

from __future__ import annotations

import logging

import numpy as np
import pytest
import torch

from simcse_kit.compute.packing import PackedBatch
from simcse_kit.data.rows import Rows
from simcse_kit.encoder.sentence_encoder import SentenceEncoder
from simcse_kit.errors import InputError
from simcse_kit.training.config import build_config
from simcse_kit.training.contrastive import build_model, build_views, link_rows
from simcse_kit.training.run import train
from training_rows import config, sentences


def questions(count: int, answers: int) -> Rows:
    """Each question in several rows, with an answer each."""
    texts = sentences(count * (1 + answers))
    anchors = [text for text in texts[:count] for _ in range(answers)]
    positives = texts[count:]
    return Rows("pairs", {"anchor": anchors, "positive": positives}, None, None, "faq", 0, 0)


@pytest.mark.parametrize("mini_batch_size", [None, 2])
def test_answers_to_one_question_do_not_push_it_away(tiny_encoder, tmp_path, mini_batch_size):
    rows = questions(3, 4)
    encoder = SentenceEncoder.from_pretrained(
        tiny_encoder("bert"), pooling="mean", dropout=0.0, device="cpu", precision="fp32"
    )
    settings = config(tmp_path, head="none", mini_batch_size=mini_batch_size)
    model = build_model(encoder, settings).train()
    views, text_ids = build_views(rows, settings)
    link_rows(model, rows, text_ids)
    batch_rows = np.array([0, 1, 4, 9])  # two answers of question 0, one each of 1 and 2
    numbers = views(batch_rows)
    texts = rows.texts()
    ids = [encoder.tokenizer(texts[n])["input_ids"] for n in numbers.reshape(-1)]
    batch = PackedBatch.from_sequences(ids)
    output = model(batch, torch.from_numpy(text_ids[numbers]))

    z = torch.from_numpy(encoder.encode([texts[n] for n in numbers.reshape(-1)], normalize=True))
    anchors, positives = z.double().unflatten(0, (4, 2)).unbind(1)
    logits = anchors @ positives.T / settings.temperature
    loss = 0.0
    for i, row in enumerate(batch_rows):
        rivals = [j for j, other in enumerate(batch_rows) if j == i or row // 4 != other // 4]
        loss += (torch.logsumexp(logits[i, rivals], 0) - logits[i, i]).item() / 4
    assert output["loss"].item() == pytest.approx(loss, rel=1e-4)


@pytest.mark.parametrize("sampler", ["random", "no_duplicates"])
def test_a_run_says_how_many_links_there_are(tiny_encoder, tmp_path, caplog, sampler):
    caplog.set_level(logging.INFO, "simcse_kit")
    settings = config(tmp_path, max_steps=3, per_device_train_batch_size=4, batch_sampler=sampler)
    result = train(str(tiny_encoder("bert")), questions(8, 3), settings, tmp_path / "run")
    assert result.steps == 3
    assert "faq: 8 texts have several positives (24 pairs)" in caplog.text


@pytest.mark.parametrize(
    "other", [{"group_window": 4}, {"mask_equal_texts": False}], ids=["window", "mask"]
)
def test_settings_that_contradict_the_sampler(other):
    with pytest.raises(InputError, match="batch_sampler 'no_duplicates'"):
        build_config(
            None, [f"{k}={v}" for k, v in (other | {"batch_sampler": "no_duplicates"}).items()]
        )
