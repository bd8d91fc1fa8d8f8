"""InfoNCE and its kin against sentence-transformers, pytorch-metric-learning and CLIP."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from pytorch_metric_learning.losses import ArcFaceLoss, NTXentLoss, SelfSupervisedLoss
from pytorch_metric_learning.reducers import DoNothingReducer
from sentence_transformers.sentence_transformer.losses import (
    GISTEmbedLoss,
    MultipleNegativesRankingLoss,
)
from tokenizers import Tokenizer, models
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast
from transformers.models.clip.modeling_clip import image_text_contrastive_loss

from simcse_kit.objectives import Embedded, InfoNCE


def batch_of(rows=6, given=0, seed=0, guide=False) -> Embedded:
    generator = torch.Generator().manual_seed(seed)
    a, noise = torch.randn(2, rows, 8, generator=generator)
    n = torch.randn(rows, given, 8, generator=generator) if given else None
    g = torch.randn(rows, 2 + given, 5, generator=generator) if guide else None
    return Embedded(3 * a, a + noise, n, guide=g)


def assert_equal(ours: nn.Module, theirs, batch: Embedded) -> None:
    """In value and in every gradient; theirs is given the texts' vectors, column by column."""
    found = []
    for loss_of in (ours, theirs):
        columns = [batch.anchors, batch.positives]
        if batch.negatives is not None:
            columns += batch.negatives.unbind(1)
        leaves = [each.clone().requires_grad_() for each in columns]
        if loss_of is ours:
            given = torch.stack(leaves[2:], dim=1) if leaves[2:] else None
            loss = ours(replace(batch, anchors=leaves[0], positives=leaves[1], negatives=given))
        else:
            loss = theirs(leaves)
        loss.backward()
        found.append([loss.detach(), *(leaf.grad for leaf in leaves)])
    torch.testing.assert_close(found[0][0], found[1][0], atol=1e-5, rtol=1e-5)
    for left, right in zip(found[0][1:], found[1][1:], strict=True):
        torch.testing.assert_close(left, right, atol=1e-4 * right.abs().max().item(), rtol=1e-4)


@pytest.mark.parametrize("given", [0, 1, 3])
@pytest.mark.parametrize("symmetric", [False, True])
def test_ranking_of_multiple_negatives(given, symmetric):
    both = {"directions": ("query_to_doc", "doc_to_query"), "partition_mode": "per_direction"}
    theirs = MultipleNegativesRankingLoss(None, scale=10.0, **(both if symmetric else {}))
    assert_equal(
        InfoNCE(temperature=0.1, symmetric=symmetric),
        lambda columns: theirs.compute_loss_from_embeddings(columns, None),
        batch_of(given=given),
    )


def test_ranking_with_the_two_sides_among_themselves():
    theirs = MultipleNegativesRankingLoss(
        None, scale=20.0, directions=("query_to_doc", "query_to_query", "doc_to_doc")
    )
    assert_equal(
        InfoNCE(same_side=True),
        lambda columns: theirs.compute_loss_from_embeddings(columns, None),
        batch_of(),
    )


class Looked(nn.Module):
    """A sentence-transformers model whose vectors are in the features already."""

    def __init__(self, key: str) -> None:
        super().__init__()
        self.key = key
        self.tokenizer = PreTrainedTokenizerFast(
            tokenizer_object=Tokenizer(models.WordLevel({"a": 0}, "a"))
        )
        self.max_seq_length = 8

    def forward(self, features: dict[str, Tensor]) -> dict[str, Tensor]:
        return {"sentence_embedding": features[self.key]}


@pytest.mark.parametrize("given", [0, 1])
@pytest.mark.parametrize("relative", [False, True])
@pytest.mark.parametrize("margin", [0.0, 0.15])
@pytest.mark.parametrize("both", [False, True])
def test_gist_embed(given, relative, margin, both):
    theirs = GISTEmbedLoss(
        Looked("own"),
        Looked("guide"),
        temperature=0.05,
        margin_strategy="relative" if relative else "absolute",
        margin=margin,
        contrast_anchors=both,
        contrast_positives=both,
    )
    batch = batch_of(rows=8, given=given, guide=True)
    assert batch.guide is not None
    guide = batch.guide.unbind(1)

    def of_columns(columns: list[Tensor]) -> Tensor:
        features = [{"own": own, "guide": told} for own, told in zip(columns, guide, strict=True)]
        return theirs(features, None)

    ours = InfoNCE(guide_margin=margin, guide_relative=relative, same_side=both)
    assert_equal(ours, of_columns, batch)
    masked, plain = ours(batch), InfoNCE(same_side=both)(batch)
    assert masked < 0.95 * plain, "the guide left something out"


@pytest.mark.parametrize("given", [0, 2])
def test_nt_xent(given):
    """All 2B − 1 other texts; hard negatives are texts of classes of their own."""

    def theirs(columns: list[Tensor]) -> Tensor:
        rows = len(columns[0])
        own = torch.arange(rows)
        labels = torch.cat([own, *(own + rows * place for place in range(len(columns) - 1))])
        return NTXentLoss(temperature=0.2)(torch.cat(columns), labels)

    assert_equal(InfoNCE(temperature=0.2, negatives="all"), theirs, batch_of(given=given))
    if not given:
        wrapped = SelfSupervisedLoss(NTXentLoss(temperature=0.2))
        assert_equal(
            InfoNCE(temperature=0.2, negatives="all"), lambda each: wrapped(*each), batch_of()
        )


def each_row(columns: list[Tensor], *, both: bool) -> Tensor:
    """Their loss of every row, from either view or from the first alone, before any mean."""
    theirs = NTXentLoss(temperature=0.2, reducer=DoNothingReducer())
    wrapped = SelfSupervisedLoss(theirs, symmetric=both)
    return wrapped(*columns)["loss"]["losses"]


@pytest.mark.parametrize("both", [False, True])
def test_decoupled(both):
    """``ln Σ of the others − l⁺`` is ``ln(e^L − 1)`` of the loss L with the positive in the sum."""
    ours = InfoNCE(temperature=0.2, negatives="all" if both else "positives", decoupled=True)
    assert_equal(ours, lambda each: each_row(each, both=both).expm1().log().mean(), batch_of())


@pytest.mark.parametrize("gamma", [0.5, 2.0])
@pytest.mark.parametrize("both", [False, True])
def test_focal(gamma, both):
    def theirs(columns: list[Tensor]) -> Tensor:
        loss = each_row(columns, both=both)
        return ((1 - (-loss).exp()) ** gamma * loss).mean()

    ours = InfoNCE(temperature=0.2, negatives="all" if both else "positives", focal=gamma)
    assert_equal(ours, theirs, batch_of())


@pytest.mark.parametrize("degrees", [5.0, 10.0, 30.0])
def test_arc_face(degrees):
    """Rows are classes, and a class's weights are its positive; far from 180°, where it differs."""

    def theirs(columns: list[Tensor]) -> Tensor:
        anchors, positives = columns
        loss = ArcFaceLoss(len(anchors), anchors.shape[1], margin=degrees, scale=20.0)
        del loss.W
        loss.W = positives.T
        return loss(anchors, torch.arange(len(anchors)))

    assert_equal(InfoNCE(margin=degrees), theirs, batch_of())


def test_one_direction_of_nt_xent():
    wrapped = SelfSupervisedLoss(NTXentLoss(temperature=0.2), symmetric=False)
    assert_equal(InfoNCE(temperature=0.2), lambda each: wrapped(*each), batch_of())


def test_clip():
    """Its loss of a learned scale, whose gradient is ours."""
    batch = batch_of()
    ours = InfoNCE(temperature=0.07, learn_temperature=True, symmetric=True)
    log_scale = torch.tensor(math.log(1 / 0.07), requires_grad=True)

    def theirs(columns: list[Tensor]) -> Tensor:
        a, p = (nn.functional.normalize(each, dim=-1) for each in columns)
        return image_text_contrastive_loss(log_scale.exp() * a @ p.T)

    assert_equal(ours, theirs, batch)
    assert ours.log_scale is not None
    torch.testing.assert_close(ours.log_scale.grad, log_scale.grad)
