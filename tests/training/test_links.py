"""A positive is never taken for a negative: what the data call one, on any row, in any batch."""

from __future__ import annotations

import json
import logging

import numpy as np
import pytest
import torch

from simcse_kit.compute.packing import PackedBatch
from simcse_kit.data import TokenStore
from simcse_kit.data.rows import Rows, read_rows
from simcse_kit.encoder.sentence_encoder import SentenceEncoder
from simcse_kit.errors import InputError
from simcse_kit.training.model.building import build_model
from simcse_kit.training.rows.collator import ViewCollator
from simcse_kit.training.rows.views import build_views, link_rows
from simcse_kit.training.run import train
from simcse_kit.training.settings.config import TrainConfig, build_config
from training_rows import config, sentences


def questions(count: int, answers: int) -> Rows:
    """Each question in several rows, with an answer each."""
    texts = sentences(count * (1 + answers))
    anchors = [text for text in texts[:count] for _ in range(answers)]
    positives = texts[count:]
    return Rows("pairs", {"anchor": anchors, "positive": positives}, None, None, "faq", 0, 0)


def loss_of(tiny_encoder, tmp_path, rows: Rows, batch_rows: list[int], **own):
    """A batch's loss without dropout, its texts' embeddings ``(B, V, D)``, float64, and τ."""
    encoder = SentenceEncoder.from_pretrained(
        tiny_encoder("bert"), pooling="mean", dropout=0.0, device="cpu", precision="fp32"
    )
    settings = config(tmp_path, head="none", **own)
    model = build_model(encoder, settings).train()
    views, text_ids = build_views(rows, settings)
    link_rows(model.goals[0], rows, text_ids)
    numbers = views(np.array(batch_rows))
    texts = [rows.texts()[n] for n in numbers.reshape(-1)]
    batch = PackedBatch.from_sequences([encoder.tokenizer(text)["input_ids"] for text in texts])
    output = model(batch, torch.from_numpy(text_ids[numbers]))
    z = torch.from_numpy(encoder.encode(texts, normalize=True)).double()
    return output["loss"].item(), z.unflatten(0, numbers.shape), settings.objective.temperature


@pytest.mark.parametrize("mini_batch_size", [None, 2])
def test_answers_to_one_question_do_not_push_it_away(tiny_encoder, tmp_path, mini_batch_size):
    rows = questions(3, 4)
    batch_rows = [0, 1, 4, 9]  # two answers of question 0, one each of 1 and 2
    found, z, temperature = loss_of(
        tiny_encoder, tmp_path, rows, batch_rows, mini_batch_size=mini_batch_size
    )
    anchors, positives = z.unbind(1)
    logits = anchors @ positives.T / temperature
    loss = 0.0
    for i, row in enumerate(batch_rows):
        rivals = [j for j, other in enumerate(batch_rows) if j == i or row // 4 != other // 4]
        loss += (torch.logsumexp(logits[i, rivals], 0) - logits[i, i]).item() / 4
    assert found == pytest.approx(loss, rel=1e-4)


@pytest.mark.parametrize("mini_batch_size", [None, 2])
@pytest.mark.parametrize("weight", [1.0, 3.0])
@pytest.mark.parametrize("mask", [True, False])
def test_lists_of_unequal_length_against_a_plain_reading_of_the_records(
    tiny_encoder, tmp_path, mini_batch_size, weight, mask
):
    """Candidates of an anchor: all texts given in the batch but those the file calls positives."""
    words = sentences(12)
    records = [
        {"query": words[0], "pos": words[1:3], "neg": [words[5], words[6], words[7]]},
        {"query": words[3], "pos": [words[4]], "neg": []},
        # its negatives are a positive of the first question, and the second question itself
        {"query": words[8], "pos": [words[9]], "neg": [words[2], words[3]]},
        {"query": words[10], "pos": [words[0]], "neg": [words[11]]},
    ]
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(map(json.dumps, records)))
    rows = read_rows(path)
    batch = [0, 1, 2, 3, 4]
    found, z, temperature = loss_of(
        *(tiny_encoder, tmp_path, rows, batch),
        mini_batch_size=mini_batch_size,
        hard_negative_weight=weight,
        mask_equal_texts=mask,
    )
    table = [[column[row] for column in rows.columns.values()] for row in batch]
    vectors = {(i, k): z[i, k] for i, row in enumerate(table) for k, t in enumerate(row) if t}
    assert len(vectors) == 5 * 2 + 3 + 3 + 0 + 2 + 1  # no place that holds no text
    positives: dict[str, set[str]] = {text: set() for text in words}
    for record in records:
        for text in record["pos"]:
            positives[record["query"]].add(text)
            positives[text].add(record["query"])
    loss = 0.0
    for i, (anchor, positive, *_) in enumerate(table):
        terms = []
        for (j, k), vector in vectors.items():
            text = table[j][k]
            if k == 0:
                continue
            if mask and (j, k) != (i, 1) and text in (anchor, positive, *positives[anchor]):
                continue
            own = weight if k > 1 and j == i else 1.0
            terms.append(own * torch.exp(z[i, 0] @ vector / temperature))
        loss += (torch.log(sum(terms)) - z[i, 0] @ z[i, 1] / temperature).item() / len(batch)
    assert found == pytest.approx(loss, rel=1e-4)


def test_places_that_no_row_of_a_batch_fills_are_not_computed(tiny_tokenizer):
    words = sentences(9)
    columns = {"anchor": words[:3], "positive": words[3:6]}
    columns |= {"negative": [words[6], "", ""], "negative_2": [words[7], "", words[8]]}
    rows = Rows("pairs", columns, None, None, "rows", 0, 0)
    views, text_ids = build_views(rows, TrainConfig())
    store = TokenStore.build(rows.texts(), tiny_tokenizer, 32)
    for batch, width in (([0, 1], 4), ([1, 2], 3), ([1], 2)):
        found = ViewCollator(store, views, text_ids, narrow=True)(batch)
        whole = ViewCollator(store, views, text_ids)(batch)
        assert len(found["batch"]) == len(batch) * width == found["text_ids"].numel()
        assert len(whole["batch"]) == len(batch) * 4
        filled = (whole["text_ids"] >= 0).any(0)
        assert torch.equal(whole["text_ids"][:, filled], found["text_ids"])


def test_a_run_on_lists(tiny_encoder, tmp_path, caplog):
    caplog.set_level(logging.INFO, "simcse_kit")
    words = sentences(60)
    records = [
        {
            "query": words[i],
            "pos": words[20 + i : 20 + i + 1 + i % 2],
            "neg": words[40 : 40 + i % 4],
        }
        for i in range(20)
    ]
    path = tmp_path / "a.jsonl"
    path.write_text("\n".join(map(json.dumps, records)))
    for sampler in ("random", "no_duplicates"):
        settings = config(
            tmp_path, max_steps=3, per_device_train_batch_size=4, batch_sampler=sampler
        )
        result = train(str(tiny_encoder("bert")), path, settings, tmp_path / sampler)
        assert result.steps == 3
    assert "20 records to a row for each of 30 positives" in caplog.text
    assert "as given, against up to 15 negatives of the batch" in caplog.text
    assert "texts have several positives" in caplog.text


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


def test_pairs_of_one_document_are_no_negatives_of_each_other(tiny_encoder, tmp_path) -> None:
    texts = sentences(12)
    rows = Rows(
        "pairs",
        {"anchor": texts[:6], "positive": texts[6:]},
        None,
        None,
        "made",
        0,
        0,
        documents=np.array([0, 0, 1, 2, 2, 3]),
    )
    batch_rows = [0, 1, 2, 3, 4]
    found, z, temperature = loss_of(tiny_encoder, tmp_path, rows, batch_rows)
    anchors, positives = z.unbind(1)
    logits = anchors @ positives.T / temperature
    own = torch.tensor([0, 0, 1, 2, 2])
    same = (own[:, None] == own) & ~torch.eye(5, dtype=torch.bool)
    logits = logits.masked_fill(same, -torch.inf)
    assert found == pytest.approx(-logits.log_softmax(1).diagonal().mean().item(), rel=1e-4)
