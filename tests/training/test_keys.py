"""Momentum keys and their queue, against the algorithm written out by hand."""

from __future__ import annotations

import copy
from functools import partial

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from simcse_kit.compute import PackedBatch, use_cutoff
from simcse_kit.encoder import SentenceEncoder
from simcse_kit.training import train
from simcse_kit.training.model.building import build_model
from simcse_kit.training.model.contrastive import ContrastiveModel
from simcse_kit.training.moving_average import MovingAverage
from training_rows import config, sentences, text_rows, weights

ROWS = 4


def model_of(tiny_encoder, tmp_path, dropout: float = 0.0, **own) -> ContrastiveModel:
    encoder = SentenceEncoder.from_pretrained(
        tiny_encoder("bert"), pooling="mean", dropout=dropout, device="cpu", precision="fp32"
    )
    torch.manual_seed(1)
    return build_model(encoder, config(tmp_path, **own)).train()


def packed(model: ContrastiveModel, texts: list[str]) -> PackedBatch:
    tokenizer = model.encoder.tokenizer
    return PackedBatch.from_sequences([tokenizer(text)["input_ids"] for text in texts])


def steps(model: ContrastiveModel, count: int, gives_positives: bool = False):
    """Train some steps; each step's texts, loss and the model as it was before the step."""
    optimizer = torch.optim.SGD([p for p in model.parameters() if p.requires_grad], lr=0.05)
    texts = sentences(2 * ROWS * count)
    for step in range(count):
        part = texts[2 * ROWS * step : 2 * ROWS * (step + 1)]
        anchors, positives = part[:ROWS], part[ROWS:]
        before = copy.deepcopy(model)
        beside = [text for pair in zip(anchors, positives, strict=True) for text in pair]
        ids = torch.arange(2 * ROWS).reshape(2, ROWS).T + 2 * ROWS * step
        loss = model(
            packed(model, anchors if gives_positives else beside),
            ids,
            key_batch=packed(model, positives),
        )["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        model.after_step(step + 1)
        yield anchors, positives, loss.item(), before


def projected(model: ContrastiveModel, texts: list[str], slow: bool = False) -> torch.Tensor:
    encoder = model.keys.encoder.copy if slow else model.encoder
    head = model.keys.projection.copy if slow else model.projection
    with torch.no_grad():
        return F.normalize(head(encoder(packed(model, texts))), dim=-1).double()


@pytest.mark.parametrize("gives_positives", [False, True])
@pytest.mark.parametrize("length", [3, 6, 100])
def test_losses_are_those_of_the_algorithm_written_out(
    tiny_encoder, tmp_path, gives_positives, length
):
    keys = {"name": "momentum", "momentum": 0.5, "queue_length": length}
    keys["positives"] = "momentum" if gives_positives else "encoder"
    model = model_of(tiny_encoder, tmp_path, keys=keys, temperature=0.2)
    queue: list[torch.Tensor] = []
    for anchors, positives, loss, before in steps(model, 5, gives_positives):
        before.eval()  # dropout is 0, and the tiny head has none
        queries = projected(before, anchors)
        wanted = projected(before, positives, slow=gives_positives)
        total = 0.0
        for i in range(ROWS):
            candidates = torch.stack([*wanted, *queue]) if queue else wanted
            logits = candidates @ queries[i] / 0.2
            total += (torch.logsumexp(logits, 0) - logits[i]).item() / ROWS
        assert loss == pytest.approx(total, rel=1e-4)
        queue = [*queue, *projected(before, positives, slow=True)][-length:]
        held = model.keys.queue[-len(queue) :].double()
        torch.testing.assert_close(held, torch.stack(queue), atol=1e-5, rtol=0)
        assert int(model.keys.filled) == len(queue)


def test_the_copy_is_exact_at_the_start_and_follows_by_the_formula(tiny_encoder, tmp_path):
    keys = {"name": "momentum", "momentum": 0.9}
    model = model_of(tiny_encoder, tmp_path, keys=keys)
    slow = {name: p.double().clone() for name, p in model.encoder.named_parameters()}
    for _ in steps(model, 3):
        for name, weight in model.encoder.named_parameters():
            slow[name] = 0.9 * slow[name] + 0.1 * weight.detach().double()
        for name, weight in model.keys.encoder.copy.named_parameters():
            torch.testing.assert_close(weight.double(), slow[name], atol=1e-6, rtol=0)
            assert not weight.requires_grad


def test_a_queued_text_is_no_negative_of_itself(tiny_encoder, tmp_path):
    model = model_of(tiny_encoder, tmp_path, keys="momentum", temperature=0.2)
    texts = sentences(2 * ROWS)
    anchors, positives = texts[:ROWS], texts[ROWS:]
    beside = packed(model, [t for pair in zip(anchors, positives, strict=True) for t in pair])
    ids = torch.arange(2 * ROWS).reshape(2, ROWS).T.contiguous()
    losses = [
        model(beside, ids, key_batch=packed(model, positives))["loss"].item() for _ in range(3)
    ]
    own = projected(model.eval(), anchors), projected(model, positives)
    slow = projected(model, positives, slow=True)
    logits = own[0] @ torch.cat([own[1], slow]).T / 0.2
    logits[torch.arange(ROWS), torch.arange(ROWS) + ROWS] = -torch.inf
    once = F.cross_entropy(logits, torch.arange(ROWS)).item()
    assert losses[1] == pytest.approx(once, rel=1e-4)  # the same texts stand in the queue
    assert losses[0] < losses[1] < losses[2]


def test_a_batch_that_is_no_number_does_not_stay_in_the_queue(tiny_encoder, tmp_path):
    model = model_of(tiny_encoder, tmp_path, keys="momentum")
    model.keys.remember(torch.full((2, model.keys.queue.shape[1]), torch.nan), torch.arange(2))
    assert model.keys.queue.isfinite().all()


def test_keys_have_dropout_only_where_it_is_asked_for(tiny_encoder, tmp_path):
    texts = sentences(3)
    for dropout in (False, True):
        keys = {"name": "momentum", "dropout": dropout}
        model = model_of(tiny_encoder, tmp_path, dropout=0.3, keys=keys)
        batch = packed(model, texts)
        same = torch.equal(model.keys.encode(batch), model.keys.encode(batch))
        assert same is not dropout
        assert model.keys.encoder.copy.training  # what it was before


def test_average_of_weights_begins_as_a_copy_and_forgets_the_first_ones():
    source = torch.nn.Linear(2, 2)
    average = MovingAverage(source, 0.99, warm=True)
    expected = source.weight.detach().double()
    for step in range(1, 30):
        with torch.no_grad():
            source.weight += torch.randn(2, 2)
        average.follow(source, step)
        decay = min(0.99, (1 + step) / (10 + step))
        expected = decay * expected + (1 - decay) * source.weight.detach().double()
    torch.testing.assert_close(average.copy.weight.double(), expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("family", ["bert", "mpnet", "modernbert"])
def test_a_copy_computes_with_its_own_weights(tiny_encoder, family, precision):
    """Whatever was put before or into the layers of its source, and stays there."""
    encoder = SentenceEncoder.from_pretrained(
        tiny_encoder(family), pooling="cls", dropout=0.0, device="cpu", precision=precision
    )
    use_cutoff(encoder.backbone)
    average = MovingAverage(encoder, 0.5)
    texts = sentences(4)
    batch = PackedBatch.from_sequences([encoder.tokenizer(text)["input_ids"] for text in texts])
    before = encoder.encode(texts), encoder.train()(batch).detach()
    with torch.no_grad():
        for weight in encoder.parameters():
            weight.add_(torch.randn_like(weight))
    np.testing.assert_array_equal(average.copy.encode(texts), before[0])
    torch.testing.assert_close(average.copy.train()(batch), before[1], atol=1e-5, rtol=1e-5)
    assert not torch.equal(encoder(batch), before[1])
    average.follow(encoder, 1)
    assert not torch.equal(average.copy(batch), before[1])


def test_an_average_that_is_handed_out_is_trained_where_its_source_was():
    source = torch.nn.Sequential(torch.nn.Linear(2, 2), torch.nn.Linear(2, 2))
    source[0].weight.requires_grad_(False)
    average = MovingAverage(source, 0.9)
    assert not any(each.requires_grad for each in average.parameters())
    average.release()
    asked = {name for name, each in average.copy.named_parameters() if each.requires_grad}
    assert asked == {"0.bias", "1.weight", "1.bias"}


def test_the_averaged_encoder_of_a_run_can_be_trained_further(tiny_encoder, tmp_path):
    run = partial(train, data=text_rows(16), config=config(tmp_path, max_steps=2, ema_decay=0.9))
    first = run(tiny_encoder("bert"), output_dir=tmp_path / "first").encoder
    start = weights(first)
    second = run(first, output_dir=tmp_path / "second").encoder
    assert all(each.requires_grad for each in first.parameters())
    found = weights(second)
    assert any(not torch.equal(found[name], start[name]) for name in start)


def test_sides_with_dropout_of_their_own(tiny_encoder, tmp_path):
    """Anchors at 0, positives at 0.5: anchors are as in evaluation, positives are not."""
    model = model_of(tiny_encoder, tmp_path, head="none", positive_dropout=0.5)
    texts = sentences(6)
    seen = []
    model.objective.register_forward_pre_hook(lambda _, given: seen.append(given[0]))
    model([packed(model, texts), packed(model, texts)])
    expected = model.encoder.encode(texts, normalize=False)
    np.testing.assert_allclose(seen[0].anchors.detach(), expected, atol=1e-5)
    assert not np.allclose(seen[0].positives.detach(), expected, atol=1e-2)
    assert model.encoder.dropout_rates() == {0.0}
