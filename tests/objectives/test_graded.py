"""Graded pairs: sentence-transformers' losses, scipy's correlation, the papers' formulas."""

from __future__ import annotations

import pytest
import torch
from scipy import stats
from sentence_transformers.sentence_transformer.losses import AnglELoss, CoSENTLoss
from torch.nn import functional as F

from simcse_kit.objectives import angle, cosent, cosine_mse, pearson


def pairs(rows=6, width=8, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(rows, width, generator=generator, dtype=torch.float64) for _ in range(2)]


SCORES = torch.tensor([5.0, 0.0, 2.5, 2.5, 4.0, 1.0], dtype=torch.float64)


class Given(torch.nn.Module):
    """A model of theirs that gives the embeddings it is given."""

    def forward(self, features):
        return features


@pytest.mark.parametrize("width", [8, 7])
@pytest.mark.parametrize(("ours", "theirs"), [(cosent, CoSENTLoss), (angle, AnglELoss)])
def test_value_and_gradient_are_those_of_sentence_transformers(ours, theirs, width):
    mine, other = ([x.requires_grad_() for x in pairs(width=width)] for _ in range(2))
    loss = ours(*mine, SCORES)
    reference = theirs(Given())
    expected = reference([{"sentence_embedding": x} for x in other], SCORES)
    assert loss.item() == pytest.approx(expected.item(), abs=1e-5)
    loss.backward()
    expected.backward()
    for a, b in zip(mine, other, strict=True):
        torch.testing.assert_close(a.grad, b.grad, atol=1e-4, rtol=0)


def test_cosent_is_the_sum_over_ordered_pairs_and_0_where_nothing_is_ordered():
    left, right = pairs()
    cosine = F.cosine_similarity(left, right)
    total = 1.0
    for i in range(6):
        for j in range(6):
            if SCORES[i] > SCORES[j]:
                total += torch.exp(20 * (cosine[j] - cosine[i]))
    torch.testing.assert_close(cosent(left, right, SCORES), total.log())
    level = left.clone().requires_grad_()
    loss = cosent(level, right, torch.ones(6))
    loss.backward()
    assert loss.item() == 0 and level.grad.abs().sum() == 0


def test_order_alone_counts_for_cosent():
    left, right = pairs()
    torch.testing.assert_close(
        cosent(left, right, SCORES), cosent(left, right, SCORES.exp() * 100 - 3)
    )


def test_pearson_is_scipys_and_defined_where_a_side_is_constant():
    left, right = pairs()
    r = stats.pearsonr(F.cosine_similarity(left, right).numpy(), SCORES.numpy()).statistic
    assert pearson(left, right, SCORES).item() == pytest.approx(1 - r, abs=1e-9)
    assert pearson(left, right, torch.ones(6)).item() == 1
    same = left.clone().requires_grad_()
    loss = pearson(same, same.detach(), SCORES)  # every cosine is 1
    loss.backward()
    assert torch.isfinite(same.grad).all()


def test_cosine_mse_is_the_mean_squared_difference():
    left, right = pairs()
    expected = (F.cosine_similarity(left, right) - SCORES / 5).pow(2).mean()
    torch.testing.assert_close(cosine_mse(left, right, SCORES / 5), expected)
