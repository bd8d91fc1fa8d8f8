"""Losses of labelled texts against float64 loops written from the papers' formulas."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from simcse_kit.objectives import (
    soft_nearest_neighbours,
    supervised_contrastive,
    without_positive,
)

LABELS = torch.tensor([0, 1, 0, 2, 1, 0, 3])  # 2 and 3 stand alone


def texts(rows=7, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, 5, generator=generator, dtype=torch.float64)


def by_loop(x, labels, tau, form):
    x = F.normalize(x, dim=-1)
    terms = []
    for i in range(len(x)):
        positives = [p for p in range(len(x)) if p != i and labels[p] == labels[i]]
        if not positives:
            continue
        total = sum(torch.exp(x[i] @ x[a] / tau) for a in range(len(x)) if a != i)
        shares = [torch.exp(x[i] @ x[p] / tau) / total for p in positives]
        if form == "out":
            terms.append(-sum(share.log() for share in shares) / len(shares))
        else:
            terms.append(-(sum(shares) / len(shares)).log())
    return sum(terms) / len(terms)


@pytest.mark.parametrize("form", ["out", "in"])
@pytest.mark.parametrize("tau", [0.05, 1.0])
def test_supervised_contrast_equals_the_formula(form, tau):
    ours, loop = texts().requires_grad_(), texts().requires_grad_()
    loss = supervised_contrastive(3 * ours, LABELS, temperature=tau, form=form)
    expected = by_loop(loop, LABELS, tau, form)
    torch.testing.assert_close(loss, expected)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(ours.grad, loop.grad)


def test_inside_is_never_above_outside_and_both_say_what_a_point_gives():
    out, inside = (supervised_contrastive(texts(), LABELS, form=f) for f in ("out", "in"))
    assert inside < out
    for form in ("out", "in"):
        same = supervised_contrastive(torch.ones(7, 5), LABELS, form=form)
        assert same.item() == pytest.approx(math.log(6), abs=1e-5)


@pytest.mark.parametrize("loss", [supervised_contrastive, soft_nearest_neighbours])
def test_without_a_positive_there_is_nothing_to_learn(loss):
    x = texts(3).requires_grad_()
    value = loss(x, torch.arange(3))
    value.backward()
    assert value.item() == 0
    assert x.grad.abs().sum() == 0
    assert without_positive(LABELS).nonzero().flatten().tolist() == [3, 6]


def test_soft_nearest_neighbours_equal_the_formula():
    ours, loop = texts().requires_grad_(), texts().requires_grad_()
    loss = soft_nearest_neighbours(ours, LABELS, temperature=0.3)
    x, terms = F.normalize(loop, dim=-1), []
    for i in range(7):
        near = [torch.exp(-(x[i] - x[j]).pow(2).sum() / 0.3) for j in range(7) if j != i]
        same = [
            torch.exp(-(x[i] - x[j]).pow(2).sum() / 0.3)
            for j in range(7)
            if j != i and LABELS[j] == LABELS[i]
        ]
        if same:
            terms.append(-(sum(same) / sum(near)).log())
    expected = sum(terms) / len(terms)
    torch.testing.assert_close(loss, expected)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(ours.grad, loop.grad)


def test_soft_nearest_neighbours_are_the_inside_form_but_for_a_constant():
    labels = torch.tensor([0, 0, 0, 1, 1, 1, 1])
    inside = supervised_contrastive(texts(), labels, temperature=0.1, form="in")
    constant = (3 * math.log(2) + 4 * math.log(3)) / 7
    near = soft_nearest_neighbours(texts(), labels, temperature=0.2)
    assert near.item() == pytest.approx(inside.item() - constant, abs=1e-9)


def test_supervised_contrast_equals_pytorch_metric_learning():
    losses = pytest.importorskip("pytorch_metric_learning.losses")
    x = texts(8, seed=3).float()
    labels = torch.tensor([0, 0, 1, 1, 2, 2, 0, 1])
    theirs = losses.SupConLoss(temperature=0.1)(x, labels)
    torch.testing.assert_close(supervised_contrastive(x, labels, temperature=0.1), theirs)


def test_half_precision_is_computed_in_fp32_under_autocast():
    x = texts().bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = supervised_contrastive(x, LABELS)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, supervised_contrastive(x.float(), LABELS))
