"""Alignment, uniformity and decorrelation as losses, against loops and numpy."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from simcse_kit.objectives import (
    Embedded,
    align_uniform,
    decorrelation,
    dimension_contrast,
    variance_covariance,
)
from simcse_kit.parts import spec_of


def sides(rows=6, width=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(rows, width, generator=generator, dtype=torch.float64) for _ in range(2)]


@pytest.mark.parametrize(("alpha", "t", "weight"), [(2.0, 2.0, 1.0), (1.0, 3.0, 0.5)])
def test_align_uniform_equals_the_formula(alpha, t, weight):
    ours, loop = ([x.requires_grad_() for x in sides()] for _ in range(2))
    loss = align_uniform(*ours, uniformity_weight=weight, alpha=alpha, t=t)
    x, y = (F.normalize(side, dim=-1) for side in loop)
    close = torch.stack([(x[i] - y[i]).norm() ** alpha for i in range(6)]).mean()
    spread = []
    for side in (x, y):
        terms = [
            torch.exp(-t * (side[i] - side[j]).pow(2).sum()) for i in range(6) for j in range(i)
        ]
        spread.append(torch.stack(terms).mean().log())
    expected = close + weight * sum(spread) / 2
    torch.testing.assert_close(loss, expected, atol=1e-9, rtol=1e-7)
    loss.backward()
    expected.backward()
    for a, b in zip(ours, loop, strict=True):
        torch.testing.assert_close(a.grad, b.grad, atol=1e-8, rtol=1e-5)


@pytest.mark.parametrize("alpha", [1.0, 2.0])
def test_equal_views_have_a_gradient(alpha):
    x = sides()[0].requires_grad_()
    loss = align_uniform(x, x, alpha=alpha)
    loss.backward()
    assert torch.isfinite(x.grad).all()
    same = torch.ones(3, 4)
    assert align_uniform(same, same, alpha=alpha).item() == pytest.approx(0, abs=1e-5)


def test_decorrelation_is_of_numpys_correlation():
    x, y = sides(rows=9)
    correlation = np.corrcoef(x.numpy().T, y.numpy().T)[:4, 4:]
    own = np.diag(correlation)
    others = (correlation**2).sum() - (own**2).sum()
    expected = (((1 - own) ** 2).sum() + 0.1 * others) / 4
    assert decorrelation(x, y, off_diagonal_weight=0.1).item() == pytest.approx(expected)
    assert decorrelation(3 * x + 7, y).item() == pytest.approx(decorrelation(x, y).item())


def test_constant_dimensions_have_no_correlation():
    x = torch.full((5, 4), 0.3).requires_grad_()
    loss = decorrelation(x, x)
    loss.backward()
    assert loss.item() == 1 and torch.isfinite(x.grad).all()


def test_dimension_contrast_is_info_nce_of_numpys_correlations():
    x, y = sides(rows=9)
    correlation = torch.from_numpy(np.corrcoef(x.numpy().T, y.numpy().T)[:4, 4:]) / 0.5
    expected = F.cross_entropy(correlation, torch.arange(4))
    torch.testing.assert_close(dimension_contrast(3 * x + 7, y, temperature=0.5), expected)
    flat = torch.full((5, 4), 0.3).requires_grad_()
    loss = dimension_contrast(flat, flat)
    loss.backward()
    assert loss.item() == pytest.approx(np.log(4)) and torch.isfinite(flat.grad).all()


def test_variance_covariance_equals_pytorch_metric_learning():
    losses = pytest.importorskip("pytorch_metric_learning.losses")
    ours, theirs = ([0.5 * each.requires_grad_() for each in sides(rows=9)] for _ in range(2))
    for each in (*ours, *theirs):
        each.retain_grad()
    loss = variance_covariance(*ours, invariance_weight=3, variance_weight=7, covariance_weight=2)
    expected = losses.VICRegLoss(3, 7, 2)(theirs[0], ref_emb=theirs[1])
    torch.testing.assert_close(loss, expected)
    loss.backward()
    expected.backward()
    for one, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(one.grad, other.grad)


def test_a_point_has_no_variance_and_its_gradient_is_finite():
    x = torch.full((5, 4), 0.3).requires_grad_()
    loss = variance_covariance(x, x, spread=0.5)
    loss.backward()
    assert loss.item() == pytest.approx(25 * 0.49) and torch.isfinite(x.grad).all()


@pytest.mark.parametrize(
    ("name", "given", "function"),
    [
        ("align_uniform", {"alpha": 1.0, "t": 3.0, "uniformity_weight": 0.5}, align_uniform),
        ("decorrelation", {"off_diagonal_weight": 0.1}, decorrelation),
        ("dimension_contrast", {"temperature": 2.0}, dimension_contrast),
        ("variance_covariance", {"covariance_weight": 3.0, "spread": 0.2}, variance_covariance),
    ],
)
def test_parts_compute_their_function_with_their_settings(name, given, function):
    x, y = sides()
    built = spec_of("objective", {"name": name, **given}).build()
    torch.testing.assert_close(built(Embedded(x, y)), function(x, y, **given))
    default = spec_of("objective", name).build()
    torch.testing.assert_close(default(Embedded(x, y)), function(x, y))
    two = [each[:2].bfloat16().requires_grad_() for each in (x, y)]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = default(Embedded(*two))
    loss.backward()
    assert loss.dtype == torch.float32 and torch.isfinite(two[0].grad).all()
