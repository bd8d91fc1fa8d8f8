"""Prototypes: the formula by loops, balanced codes, scikit-learn's clusters."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from simcse_kit.objectives import (
    concentrations,
    prototype_contrast,
    sinkhorn,
    swapped_prediction,
)


def texts(rows=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, 4, generator=generator, dtype=torch.float64)


def test_prototype_contrast_equals_the_formula():
    ours, loop = texts().requires_grad_(), texts().requires_grad_()
    centres, own = texts(3, seed=1), torch.tensor([0, 2, 1, 1, 0, 2])
    phi = torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64)
    loss = prototype_contrast(2 * ours, centres, own, concentration=phi)
    terms = []
    for i in range(6):
        cosine = F.cosine_similarity(loop[i][None], centres)
        weights = (cosine / phi).exp()
        terms.append(-(weights[own[i]] / weights.sum()).log())
    expected = torch.stack(terms).mean()
    torch.testing.assert_close(loss, expected)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(ours.grad, loop.grad)
    same = prototype_contrast(texts(), torch.ones(3, 4, dtype=torch.float64), own)
    assert same.item() == pytest.approx(math.log(3), abs=1e-6)


def test_tight_clusters_have_the_smaller_concentration():
    own = torch.tensor([0] * 5 + [1] * 5 + [2])
    distances = torch.tensor([0.1] * 5 + [1.0] * 5 + [0.0])
    phi = concentrations(distances, own, 4, temperature=0.2)
    by_hand = [0.5 / (5 * math.log(15)), 5.0 / (5 * math.log(15))]
    by_hand += [by_hand[1]] * 2  # one text, and none: nothing is known of them
    mean = sum(by_hand) / 4
    assert phi.tolist() == pytest.approx([0.2 * each / mean for each in by_hand], rel=1e-5)
    nothing = concentrations(torch.zeros(2), torch.tensor([0, 1]), 3, temperature=0.2)
    assert nothing.tolist() == pytest.approx([0.2] * 3)


def test_codes_use_every_prototype_alike():
    scores = 2 * texts(40).sigmoid() - 1
    codes = sinkhorn(scores, iterations=200)
    torch.testing.assert_close(codes.sum(1), torch.ones(40, dtype=torch.float64))
    torch.testing.assert_close(codes.sum(0), torch.full((4,), 10.0, dtype=torch.float64))
    # scaling keeps the odds of two texts between two prototypes
    odds = [(each[0, 0] * each[1, 1]) / (each[0, 1] * each[1, 0]) for each in (codes,)]
    given = (scores / 0.05).exp()
    expected = (given[0, 0] * given[1, 1]) / (given[0, 1] * given[1, 0])
    torch.testing.assert_close(odds[0], expected)
    assert not sinkhorn(scores.requires_grad_()).requires_grad
    assert torch.isfinite(sinkhorn(torch.tensor([[1.0, -1.0], [1.0, -1.0]]), epsilon=1e-3)).all()


def test_swapped_prediction_is_the_cross_entropy_with_the_other_views_codes():
    one, other, centres = texts(), texts(seed=1), texts(3, seed=2)
    scores = [F.normalize(x, dim=-1) @ F.normalize(centres, dim=-1).T for x in (one, other)]
    codes = [sinkhorn(each) for each in scores]
    expected = (
        F.cross_entropy(scores[0] / 0.1, codes[1]) + F.cross_entropy(scores[1] / 0.1, codes[0])
    ) / 2
    torch.testing.assert_close(swapped_prediction(one, other, centres), expected)
