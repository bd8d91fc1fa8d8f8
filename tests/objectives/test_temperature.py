"""Temperatures that move: over the steps, learned, by how hard rows are."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor

from contrast_loop import Loop
from simcse_kit.objectives import Embedded, InfoNCE, info_nce
from simcse_kit.objectives.temperature import adapted, hardness_of_negatives, scheduled


def pair(rows=6, seed=0, dtype=torch.float32) -> Embedded:
    generator = torch.Generator().manual_seed(seed)
    a, noise = torch.randn(2, rows, 8, generator=generator, dtype=torch.float64)
    return Embedded(a.to(dtype), (a + noise).to(dtype))


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_a_schedule_goes_from_the_first_to_the_last_step(schedule):
    course = [scheduled(0.2, 0.05, step, 11, schedule) for step in range(11)]
    assert course[0] == pytest.approx(0.2)
    assert course[5] == pytest.approx(0.125)
    assert course[10] == pytest.approx(0.05)
    assert all(left > right for left, right in pairwise(course))
    if schedule == "cosine":
        assert course[1] == pytest.approx(0.05 + 0.15 * (1 + math.cos(math.pi / 10)) / 2)
    else:
        assert course[1] == pytest.approx(0.185)
    assert scheduled(0.2, 0.05, 0, 1, schedule) == pytest.approx(0.2)
    assert scheduled(0.2, 0.05, 12, 11, schedule) == pytest.approx(0.05)


def test_the_loss_is_of_the_steps_temperature_whatever_came_before():
    objective = InfoNCE(temperature=0.2, final_temperature=0.05)
    batch = pair()

    def expected(temperature: float) -> Tensor:
        return info_nce(batch.anchors, batch.positives, temperature=temperature)

    assert objective(batch) == expected(0.2)
    for step in (10, 5, 0):
        objective.begin_step(step, 11)
        assert objective.temperature == pytest.approx(0.2 - 0.015 * step)
        torch.testing.assert_close(objective(batch), expected(0.2 - 0.015 * step))
        assert objective.told() == {"temperature": pytest.approx(0.2 - 0.015 * step)}
    assert not objective.state_dict()
    assert InfoNCE().told() == {}


@pytest.mark.parametrize("own", [{}, {"negatives": "all", "debiased": 0.1}, {"mixed": 0.2}])
def test_a_learned_temperature_has_its_gradient(own):
    objective = InfoNCE(temperature=0.1, learn_temperature=True, **own)
    assert objective.log_scale is not None
    assert objective.log_scale.dtype == torch.float32
    batch = pair(dtype=torch.float64)
    objective(batch).backward()
    log_scale = torch.tensor(math.log(10), dtype=torch.float64, requires_grad=True)
    Loop(batch, (-log_scale).exp(), **own).loss().backward()
    assert log_scale.grad is not None
    assert objective.log_scale.grad is not None
    assert objective.log_scale.grad.item() == pytest.approx(log_scale.grad.item(), rel=1e-5)


def test_a_learned_temperature_stays_at_clips_bound_and_comes_back():
    objective = InfoNCE(temperature=0.01, learn_temperature=True)
    assert objective.log_scale is not None
    with torch.no_grad():
        objective.log_scale.fill_(7.0)
    objective.begin_step(3, 10)
    assert objective.log_scale.item() == pytest.approx(math.log(100))
    assert objective.told() == {"temperature": pytest.approx(0.01)}
    objective(pair(seed=1)).backward()
    assert objective.log_scale.grad is not None
    assert objective.log_scale.grad.abs() > 0
    assert list(objective.state_dict()) == ["log_scale"]


def test_alignment_makes_a_batch_softer():
    batch = pair()
    aligned = torch.cosine_similarity(batch.anchors, batch.positives).mean().item()
    got = InfoNCE(adaptive_temperature=0.5, adaptive_to="alignment", adaptive_origin=0.2)(batch)
    temperature = 0.05 * (1 + 0.5 * (aligned - 0.2))
    expected = info_nce(batch.anchors, batch.positives, temperature=temperature)
    torch.testing.assert_close(got, expected)


def test_a_temperature_never_reaches_0():
    assert adapted(0.05, torch.tensor(-1.0), 5.0, 0.5).item() == pytest.approx(0.005)


def test_hardness_is_between_the_mean_and_the_nearest():
    cosines = torch.tensor([[0.9, 0.1, 0.5], [0.2, 0.2, 0.2], [0.3, 0.4, 0.5]])
    left_out = torch.tensor([[False, False, True], [False] * 3, [True] * 3])
    found = hardness_of_negatives(cosines, left_out, 0.1)
    share = 1 / (1 + math.exp(-8))
    assert found.tolist() == pytest.approx([0.9 * share + 0.1 * (1 - share), 0.2, 0.0])
    warm = hardness_of_negatives(cosines, left_out, 1e6)
    assert warm[0].item() == pytest.approx(0.5, abs=1e-5)


def test_no_gradient_passes_through_the_hardness():
    batch = pair(dtype=torch.float64)
    a = batch.anchors.clone().requires_grad_()
    objective = InfoNCE(adaptive_temperature=1.0)
    objective(Embedded(a, batch.positives)).backward()
    b = batch.anchors.clone().requires_grad_()
    Loop(Embedded(b, batch.positives), 0.05, adaptive_temperature=1.0).loss().backward()
    torch.testing.assert_close(a.grad, b.grad)
