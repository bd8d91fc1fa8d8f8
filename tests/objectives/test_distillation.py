"""What a student learns of a teacher, against loops, scipy and torch's own divergence."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy.spatial.distance import jensenshannon
from torch.nn import functional as F

from simcse_kit.objectives import (
    list_mle,
    list_net,
    ranking_consistency,
    similarity_kl,
    vector_cosine,
    vector_mse,
)


def similarities(rows=4, columns=5, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return 2 * torch.rand(rows, columns, generator=generator, dtype=torch.float64) - 1


def gradients(loss, expected, ours, loop):
    torch.testing.assert_close(loss, expected)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(ours.grad, loop.grad)


@pytest.mark.parametrize("leave_out", [False, True])
def test_kl_and_list_net_equal_the_formulas(leave_out):
    teacher = similarities(seed=1)
    mask = torch.eye(4, 5, dtype=torch.bool) if leave_out else None
    kept = [[j for j in range(5) if not (leave_out and i == j)] for i in range(4)]
    for loss in (similarity_kl, list_net):
        ours, loop = (similarities().requires_grad_() for _ in range(2))
        total = 0
        for i, columns in enumerate(kept):
            wanted = (teacher[i, columns] / 0.2).exp()
            found = (loop[i, columns] / 0.1).exp()
            wanted, found = wanted / wanted.sum(), found / found.sum()
            entropy = (wanted * wanted.log()).sum() if loss is similarity_kl else 0
            total = total + entropy - (wanted * found.log()).sum()
        value = loss(ours, teacher, temperature=0.1, teacher_temperature=0.2, leave_out=mask)
        gradients(value, total / 4, ours, loop)


def test_a_student_like_its_teacher_is_at_its_best():
    teacher = similarities()
    assert similarity_kl(teacher, teacher).item() == pytest.approx(0, abs=1e-12)
    assert similarity_kl(similarities(seed=2), teacher).item() > 0
    entropy = torch.distributions.Categorical(logits=teacher / 0.05).entropy().mean()
    best = list_net(teacher, teacher, temperature=0.05, teacher_temperature=0.05)
    torch.testing.assert_close(best, entropy)


@pytest.mark.parametrize("leave_out", [False, True])
def test_list_mle_is_the_chance_of_the_teachers_order(leave_out):
    teacher = similarities(seed=1)
    mask = torch.eye(4, 5, dtype=torch.bool) if leave_out else None
    ours, loop = (similarities().requires_grad_() for _ in range(2))
    total = 0
    for i in range(4):
        columns = [j for j in range(5) if not (leave_out and i == j)]
        columns.sort(key=lambda j: -teacher[i, j].item())
        weights = (loop[i, columns] / 0.1).exp()
        for place in range(len(columns)):
            total = total - (weights[place] / weights[place:].sum()).log()
    loss = list_mle(ours, teacher, temperature=0.1, leave_out=mask)
    gradients(loss, total / 4, ours, loop)


def test_two_rankings_diverge_by_jensen_and_shannon():
    one, other = similarities(5, 5), similarities(5, 5, seed=1)
    shares = [F.softmax(each / 0.1, dim=1).numpy() for each in (one, other)]
    expected = np.mean([jensenshannon(p, q) ** 2 for p, q in zip(*shares, strict=True)])
    assert ranking_consistency(one, other, temperature=0.1).item() == pytest.approx(expected)
    assert ranking_consistency(one, one).item() == pytest.approx(0, abs=1e-12)
    apart = [torch.eye(2), torch.eye(2).flip(1)]  # a 1e-7 in the logarithm would bound it
    assert ranking_consistency(*apart, temperature=0.001).item() == pytest.approx(math.log(2))


def test_vectors_by_difference_and_by_direction():
    student, teacher = similarities(), similarities(seed=1)
    expected = float(((student - teacher) ** 2).mean())
    assert vector_mse(student, teacher).item() == pytest.approx(expected)
    cosine = F.cosine_similarity(student, teacher).mean().item()
    assert vector_cosine(5 * student, teacher).item() == pytest.approx(1 - cosine)


def test_a_row_of_nothing_teaches_nothing():
    student = similarities().requires_grad_()
    everything = torch.zeros(4, 5, dtype=torch.bool)
    everything[0] = True
    for loss in (similarity_kl, list_net, list_mle):
        student.grad = None
        value = loss(student, similarities(seed=1), leave_out=everything)
        value.backward()
        assert torch.isfinite(value) and torch.isfinite(student.grad).all()
        assert student.grad[1:].abs().sum() > 0
