"""Training with prompts is training on texts that begin with them, and the model keeps them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from invoking import run as invoke
from invoking import settings, succeed
from simcse_kit.data import Rows
from simcse_kit.encoder.sentence_encoder import SentenceEncoder
from simcse_kit.errors import InputError
from simcse_kit.training.rows.batches import Vectors
from simcse_kit.training.run import train
from training_rows import assert_same, config, dev_task, pair_rows, sentences, text_rows, weights

ASK, BOOK = "the question ", "a book "


def before(rows: Rows, *prompts: str) -> Rows:
    """The rows with a prompt in each text, a column's own."""
    columns = zip(rows.columns.items(), prompts, strict=True)
    told = {name: [prompt + text for text in texts] for (name, texts), prompt in columns}
    return replace(rows, columns=told)


def load(folder) -> SentenceEncoder:
    return SentenceEncoder.from_pretrained(
        folder, default_pooling="mean", device="cpu", precision="fp32"
    )


def test_texts_and_dev_pairs_begin_with_the_prompt(tiny_encoder, tmp_path):
    from sentence_transformers import SentenceTransformer

    dev = dev_task()
    how = {"max_steps": 4, "dropout": 0.1}
    given = train(
        tiny_encoder("bert"),
        text_rows(),
        config(tmp_path, prompt=ASK, **how),
        tmp_path / "given",
        eval_data=dev,
    )
    written = train(
        tiny_encoder("bert"),
        before(text_rows(), ASK),
        config(tmp_path, **how),
        tmp_path / "written",
        eval_data=replace(
            dev,
            sentence1=[ASK + text for text in dev.sentence1],
            sentence2=[ASK + text for text in dev.sentence2],
        ),
    )
    assert_same(weights(load(tmp_path / "given/last")), weights(load(tmp_path / "written/last")))
    assert given.best_step == written.best_step
    assert given.best_score == pytest.approx(written.best_score, abs=1e-9)
    texts = sentences(3)
    expected = load(tmp_path / "written").encode([ASK + text for text in texts])
    for model in (
        given.encoder,
        load(tmp_path / "given"),
        SentenceTransformer(str(tmp_path / "given"), device="cpu"),
    ):
        np.testing.assert_allclose(model.encode(texts), expected, atol=1e-5)
        np.testing.assert_allclose(model.encode_document(texts), expected, atol=1e-5)
    # the folder says it: a further training has it too, unless it is told otherwise
    again = train(tmp_path / "given", text_rows(), config(tmp_path, max_steps=1), tmp_path / "on")
    assert again.encoder.default_prompt == "query" and again.encoder.prompts["query"] == ASK


def test_queries_and_documents_begin_with_their_own(tiny_encoder, tmp_path):
    rows = pair_rows(24)
    how = {"max_steps": 3, "eval_split": 6}
    given = train(
        tiny_encoder("bert"),
        rows,
        config(tmp_path, prompt=ASK, document_prompt=BOOK, **how),
        tmp_path / "given",
    )
    written = train(
        tiny_encoder("bert"),
        before(rows, ASK, BOOK),
        config(tmp_path, **how),
        tmp_path / "written",
    )
    assert_same(weights(load(tmp_path / "given/last")), weights(load(tmp_path / "written/last")))
    scores = [
        [entry["eval_mrr"] for entry in each.history if "eval_mrr" in entry]
        for each in (given, written)
    ]
    assert scores[0] == pytest.approx(scores[1], abs=1e-9)
    assert given.encoder.prompts == {"query": ASK, "document": BOOK}


def test_a_teacher_reads_each_column_behind_its_own_prompt(tiny_encoder, tmp_path):
    rows, model = pair_rows(6), tiny_encoder("bert")
    teacher = {"model": str(model), "pooling": "mean", "precision": "fp32", "storage": "fp32"}
    teacher |= {"prompt": ASK, "document_prompt": BOOK}
    asked = config(tmp_path, teachers=[teacher], auxiliaries=[{"name": "similarity_kl"}])
    teachers = Vectors.of(rows, asked, torch.device("cpu")).teachers
    (found,) = teachers.gather(teachers.numbers)
    expected = load(model).encode(before(rows, ASK, BOOK).texts())
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_what_cannot_be_trained_with_a_prompt(tiny_encoder, tmp_path, caplog):
    one = config(tmp_path, document_prompt=BOOK, max_steps=1)
    with pytest.raises(InputError, match="document_prompt is for the positives and negatives"):
        train(tiny_encoder("bert"), text_rows(), one, tmp_path / "a")
    encoder = load(tiny_encoder("bert"))
    encoder.prompts, encoder.include_prompt = {"query": ASK}, False
    encoder.similarity_fn_name = "dot"
    encoder.save_pretrained(tmp_path / "model")
    named = config(tmp_path, prompt_name="query", max_steps=1)
    with pytest.raises(InputError, match="leaves its prompts out of pooling"):
        train(tmp_path / "model", text_rows(), named, tmp_path / "b")
    assert not (tmp_path / "b").exists()
    none = config(tmp_path, max_steps=1)
    trained = train(tmp_path / "model", text_rows(), none, tmp_path / "c").encoder
    assert "has prompts (query) and none of them is put before" in caplog.text
    assert "compares by dot; training compares by cosine" in caplog.text
    assert trained.similarity_fn_name == "cosine"


def test_the_command_line_names_prompts_and_heads(tiny_encoder, tmp_path):
    (tmp_path / "texts.txt").write_text("\n".join(sentences(16)) + "\n")
    plain = settings(cache_dir=tmp_path, max_steps=1)
    command = ("train", "--data", tmp_path / "texts.txt", *plain, "--output-dir")
    model = tiny_encoder("bert")
    succeed(*command, tmp_path / "run", "--model", f"{model}@head=keep", "--prompt", ASK)
    trained = load(tmp_path / "run")
    assert trained.head is not None and trained.prompts["query"] == ASK
    start = SentenceEncoder.from_pretrained(model, pooling="cls", head="keep", device="cpu")
    assert (trained.head.linear.weight - start.head.linear.weight).abs().max() < 0.01
    refused = invoke(*command, tmp_path / "no", "--model", f"{model}@max_length=9")
    assert refused.exit_code == 2 and "--set max_length=64" in refused.stderr
