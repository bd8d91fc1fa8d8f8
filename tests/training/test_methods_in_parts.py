"""Every kind of part gives by chunks, in bf16, padded and recomputed what it gives plainly."""

from __future__ import annotations

import pytest
import torch
from pydantic import ValidationError

from methods import BATCH, METHODS, assert_alike, settings_of, some_steps
from recomputing import recompute_layers
from simcse_kit.training.model import contrastive
from simcse_kit.training.model.grad_cache import chunk_sizes

#: In each run of the tests; the others where time is no matter.
OFTEN = ("keys for positives", "cut-offs", "options", "prototypes")


def each_method(often):
    return [
        pytest.param(method, marks=() if method in often else pytest.mark.slow)
        for method in METHODS
    ]


@pytest.fixture
def steps(tiny_encoder, tmp_path):
    """Some steps of a method, with changes to its settings."""

    def taken(method, family="bert", change=lambda *_: None, steps=2, **own):
        settings = settings_of(tmp_path, str(tiny_encoder("bert")), method, **own)
        encoder, kind = str(tiny_encoder(family)), METHODS[method][0]
        return some_steps(encoder, settings, kind, change=change, steps=steps)

    return taken


@pytest.mark.parametrize("method", each_method(OFTEN))
def test_chunks_give_what_the_whole_batch_gives(steps, method):
    assert_alike(steps(method, mini_batch_size=3), steps(method), 5e-4)


@pytest.mark.parametrize(
    ("method", "own"),
    [
        ("plain", {"positive_dropout": 0.4}),
        ("cut-offs", {"mlm_weight": 0.3}),
        pytest.param("queue", {"positive_dropout": 0.0}, marks=pytest.mark.slow),
        pytest.param("prototypes", {"mlm_weight": 0.3}, marks=pytest.mark.slow),
    ],
)
def test_chunks_have_the_dropout_again_that_they_had(steps, monkeypatch, method, own):
    """Against the same chunks, all of whose graphs are kept."""
    own = {"dropout": 0.1, "mini_batch_size": 3, **own}
    ours = steps(method, **own)

    def plainly(encode, batch, chunks, *, padded):
        parts = batch.split(chunk_sizes(batch, chunks, padded))
        return torch.cat([encode(part) for part in parts])[batch.order]

    monkeypatch.setattr(contrastive, "encode_in_chunks", plainly)
    monkeypatch.setattr(
        "simcse_kit.training.model.masked_lm.replayed", lambda function, *parts: function(*parts)
    )
    assert_alike(ours, steps(method, **own), 1e-4)


def test_predicted_tokens_are_read_whole(steps):
    """A masked-LM loss is the same whatever a view cuts off for the contrastive one."""
    own = {"mlm_weight": 0.3, "steps": 1, "keys": None}
    whole = {
        "anchor_view": {"name": "token_cutoff", "rate": 1e-6},
        "positive_view": {"name": "feature_cutoff", "rate": 1e-6},
    }
    lm = [
        steps("cut-offs", **own, **views)["losses"]
        - steps("cut-offs", **{**own, "mlm_weight": 0.0}, **views)["losses"]
        for views in ({}, whole)
    ]
    torch.testing.assert_close(lm[0], lm[1], atol=1e-5, rtol=1e-5)
    assert lm[0] > 0.1


@pytest.mark.parametrize("method", each_method(("queue", "cut-offs", "matryoshka", "teachers")))
def test_in_bf16_it_is_what_it_is_in_fp32_nearly(steps, method):
    narrow, wide = (steps(method, steps=2, bf16=bf16) for bf16 in (True, False))
    for name, value in narrow.items():
        assert value.isfinite().all(), name
        assert value.dtype == wide[name].dtype
    torch.testing.assert_close(narrow["losses"], wide["losses"], atol=0.3, rtol=0.1)
    torch.testing.assert_close(narrow["figures"], wide["figures"], atol=0.3, rtol=0.1)


@pytest.mark.parametrize("method", each_method(("keys for positives", "cut-offs")))
def test_recomputed_layers_give_the_same(steps, method):
    again = steps(method, change=lambda model, _: recompute_layers(model.encoder.backbone))
    assert_alike(again, steps(method), 5e-4)


@pytest.mark.parametrize("method", each_method(("keys for positives", "cut-offs")))
def test_padded_families_too(steps, method):
    """MPNet, whole and by chunks."""
    assert_alike(steps(method, "mpnet", mini_batch_size=3), steps(method, "mpnet"), 5e-4)


@pytest.mark.parametrize("method", each_method(("queue", "swapped")))
def test_accumulated_batches_follow_each_other(steps, method):
    """Each is a batch by itself with its own negatives; a queue takes in one after another."""
    found = steps(method, gradient_accumulation_steps=2)
    assert len(found["losses"]) == 2 * 2
    assert all(value.isfinite().all() for value in found.values())
    if "keys.filled" in found:
        assert found["keys.filled"] == min(2 * BATCH, len(found["keys.queue"]))


def test_layers_are_not_recomputed_with_another_dropout(tiny_encoder, tmp_path):
    own = {"positive_dropout": 0.2, "gradient_checkpointing": True}
    with pytest.raises(ValidationError, match="recomputed with the other side's dropout"):
        settings_of(tmp_path, str(tiny_encoder("bert")), "plain", **own)
