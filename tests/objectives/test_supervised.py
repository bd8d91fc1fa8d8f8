"""Losses of labelled texts against float64 loops written from the papers' formulas."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from simcse_kit.objectives import (
    Embedded,
    SoftNearestNeighbours,
    SupervisedContrastive,
    label_info_nce,
    soft_nearest_neighbours,
    supervised_contrastive,
    without_positive,
)
from simcse_kit.objectives.info_nce import info_nce
from simcse_kit.parts import spec_of

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
        if form == "outside":
            terms.append(-sum(share.log() for share in shares) / len(shares))
        else:
            terms.append(-(sum(shares) / len(shares)).log())
    return sum(terms) / len(terms)


@pytest.mark.parametrize("form", ["outside", "inside"])
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
    out, inside = (supervised_contrastive(texts(), LABELS, form=f) for f in ("outside", "inside"))
    assert inside < out
    for form in ("outside", "inside"):
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


@pytest.mark.parametrize("temperature", [0.1, 1.0])
def test_soft_nearest_neighbours_are_pytorch_metric_learnings_nca(temperature):
    losses = pytest.importorskip("pytorch_metric_learning.losses")
    ours, theirs = texts().requires_grad_(), texts().requires_grad_()
    loss = soft_nearest_neighbours(ours, LABELS, temperature=temperature)
    expected = losses.NCALoss(softmax_scale=1 / temperature)(theirs, LABELS)
    assert loss.item() == pytest.approx(expected.item(), abs=1e-5)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(ours.grad, theirs.grad, atol=1e-4, rtol=0)


def test_soft_nearest_neighbours_are_the_inside_form_but_for_a_constant():
    labels = torch.tensor([0, 0, 0, 1, 1, 1, 1])
    inside = supervised_contrastive(texts(), labels, temperature=0.1, form="inside")
    constant = (3 * math.log(2) + 4 * math.log(3)) / 7
    near = soft_nearest_neighbours(texts(), labels, temperature=0.2)
    assert near.item() == pytest.approx(inside.item() - constant, abs=1e-9)


def test_supervised_contrast_equals_pytorch_metric_learning():
    losses = pytest.importorskip("pytorch_metric_learning.losses")
    ours, theirs = (texts(8, seed=3).float().requires_grad_() for _ in range(2))
    labels = torch.tensor([0, 0, 1, 1, 2, 2, 0, 1])
    loss = supervised_contrastive(ours, labels, temperature=0.1)
    expected = losses.SupConLoss(temperature=0.1)(theirs, labels)
    torch.testing.assert_close(loss, expected)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-4, atol=1e-6)


def batch(rows=7, labels=LABELS, **given):
    return Embedded(texts(rows, seed=1), texts(rows, seed=2), labels=labels, **given)


def test_the_part_takes_both_views_of_every_row_as_pytorch_metric_learning_would():
    losses = pytest.importorskip("pytorch_metric_learning.losses")
    part = spec_of("objective", "supervised_contrastive").build()
    both = torch.cat([texts(seed=1), texts(seed=2)])
    expected = losses.SupConLoss(temperature=0.05)(both, LABELS.repeat(2))
    torch.testing.assert_close(part(batch()), expected)
    assert part.told() == {"rows_alone_in_label": 2.0}
    assert "alone" not in part.state_dict()


def by_pairs(batch, tau, own_twin, equal):
    """The outside form of both views by a loop, each (row, side) a text."""
    where = [(row, side) for side in (0, 1) for row in range(len(batch.labels))]
    views = [F.normalize(each, dim=-1) for each in (batch.anchors, batch.positives)]
    terms = []
    for row, side in where:
        shares, positives = {}, []
        for other, of in where:
            twin = other == row
            contrary = bool(equal[row, other]) and batch.labels[row] != batch.labels[other]
            if (twin and (of == side or not own_twin)) or contrary:
                continue
            shares[other, of] = torch.exp(views[side][row] @ views[of][other] / tau)
            if batch.labels[row] == batch.labels[other]:
                positives.append((other, of))
        if positives:
            total = sum(shares.values())
            terms.append(-sum((shares[p] / total).log() for p in positives) / len(positives))
    return sum(terms) / len(terms)


@pytest.mark.parametrize("own_twin", [True, False])
def test_twins_count_or_not_and_equal_texts_of_two_labels_never(own_twin):
    equal = torch.zeros(7, 7, dtype=torch.bool)
    equal[0, 1] = True  # of two labels; told one way round
    equal[0, 2] = equal[2, 0] = True  # of one label: a positive all the same
    given = batch(false_negatives=equal)
    part = SupervisedContrastive(own_twin=own_twin, temperature=0.2)
    expected = by_pairs(given, 0.2, own_twin, equal | equal.T)
    torch.testing.assert_close(part(given), expected)


@pytest.mark.parametrize("part", [SupervisedContrastive, SoftNearestNeighbours])
@pytest.mark.parametrize("own_twin", [True, False])
def test_degenerate_batches_have_a_gradient(part, own_twin):
    built = part(own_twin=own_twin)
    for anchors, labels in [
        (torch.ones(2, 5), torch.tensor([0, 0])),
        (torch.ones(2, 5), torch.tensor([0, 1])),
        (torch.zeros(3, 5), torch.tensor([0, 0, 1])),
        (texts(4).float(), torch.arange(4)),
        (texts(4).float(), torch.zeros(4, dtype=torch.int64)),
    ]:
        x = anchors.clone().requires_grad_()
        all_equal = torch.ones(len(x), len(x), dtype=torch.bool)
        for mask in (None, all_equal):
            loss = built(Embedded(x, 2 * x, labels=labels, false_negatives=mask))
            loss.backward()
            assert torch.isfinite(loss) and torch.isfinite(x.grad).all()
    assert torch.isnan(built(Embedded(torch.full((2, 5), torch.nan), x[:2], labels=labels[:2])))


def test_soft_nearest_neighbours_leave_the_twin_out_unless_asked_for():
    both, labels = torch.cat([texts(seed=1), texts(seed=2)]), LABELS.repeat(2)
    twins = torch.eye(7, dtype=torch.bool).repeat(2, 2)
    expected = soft_nearest_neighbours(both, labels, uncounted=twins)
    torch.testing.assert_close(SoftNearestNeighbours()(batch()), expected)
    whole = soft_nearest_neighbours(both, labels)
    torch.testing.assert_close(SoftNearestNeighbours(own_twin=True)(batch()), whole)
    assert not torch.isclose(expected, whole)


# ---- InfoNCE that knows labels -------------------------------------------------------------------


def by_positives(a, b, labels, tau, positives, masked):
    a, b = F.normalize(a, dim=-1), F.normalize(b, dim=-1)
    terms = []
    for i in range(len(a)):
        against = sum(
            torch.exp(a[i] @ b[n] / tau)
            for n in range(len(a))
            if labels[n] != labels[i] and not masked[i, n]
        )
        own = [p for p in range(len(a)) if labels[p] == labels[i]] if positives == "all" else [i]
        shares = [torch.exp(a[i] @ b[p] / tau) for p in own]
        terms.append(-sum((s / (s + against)).log() for s in shares) / len(shares))
    return sum(terms) / len(terms)


@pytest.mark.parametrize("positives", ["own", "all"])
@pytest.mark.parametrize("tau", [0.05, 1.0])
def test_label_info_nce_equals_the_formula(positives, tau):
    masked = torch.zeros(7, 7, dtype=torch.bool)
    masked[1, 3] = masked[0, 2] = True
    given = {"temperature": tau, "positives": positives}
    ours, loop = ([texts(seed=s).requires_grad_() for s in (1, 2)] for _ in range(2))
    loss = label_info_nce(3 * ours[0], ours[1], LABELS, false_negatives=masked, **given)
    expected = by_positives(*loop, LABELS, tau, positives, masked)
    torch.testing.assert_close(loss, expected)
    loss.backward()
    expected.backward()
    for one, other in zip(ours, loop, strict=True):
        torch.testing.assert_close(one.grad, other.grad)
    part = spec_of("objective", {"name": "label_info_nce", **given}).build()
    with_negatives = torch.cat([masked, torch.ones(7, 7, dtype=torch.bool)], dim=1)
    torch.testing.assert_close(
        part(batch(false_negatives=with_negatives)),
        label_info_nce(texts(seed=1), texts(seed=2), LABELS, false_negatives=masked, **given),
    )


def test_label_info_nce_is_ntxent_with_labels_and_info_nce_with_a_mask():
    losses = pytest.importorskip("pytorch_metric_learning.losses")
    x, y, labels = texts(6, seed=1), texts(6, seed=2), torch.tensor([0, 1, 2, 0, 1, 2])
    again = labels.clone()  # the same tensor would leave the twins out
    theirs = losses.NTXentLoss(temperature=0.1)(x, labels, ref_emb=y, ref_labels=again)
    torch.testing.assert_close(label_info_nce(x, y, labels, temperature=0.1), theirs)
    same = LABELS[:, None] == LABELS
    expected = info_nce(texts(seed=1), texts(seed=2), temperature=0.1, false_negatives=same)
    own = label_info_nce(texts(seed=1), texts(seed=2), LABELS, temperature=0.1, positives="own")
    torch.testing.assert_close(own, expected)


def test_one_label_alone_teaches_label_info_nce_nothing():
    x = texts(3).float().requires_grad_()
    loss = label_info_nce(x, 2 * x, torch.zeros(3, dtype=torch.int64))
    loss.backward()
    assert loss.item() == 0 and x.grad.abs().sum() == 0
    same = label_info_nce(torch.ones(4, 5), torch.ones(4, 5), torch.tensor([0, 0, 1, 2]))
    assert same.item() == pytest.approx((2 * math.log(3) + 2 * math.log(4)) / 4, abs=1e-5)


def test_half_precision_is_computed_in_fp32_under_autocast():
    x = texts().bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = supervised_contrastive(x, LABELS)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, supervised_contrastive(x.float(), LABELS))
