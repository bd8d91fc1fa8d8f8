"""SwAV: balanced codes, swapped prediction, prototypes that are learnt."""

from __future__ import annotations

import logging

import pytest
import safetensors.torch
import torch
from torch.nn import functional as F

from simcse_kit.objectives import Embedded, Swapped, sinkhorn, swapped_prediction
from simcse_kit.parts import Context


def texts(rows=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, 4, generator=generator, dtype=torch.float64)


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


def test_a_queue_takes_part_in_the_balance_alone():
    one, other, centres, queue = (texts(seed=s) for s in range(4))
    scores = [F.normalize(x, dim=-1) @ F.normalize(centres, dim=-1).T for x in (one, other, queue)]
    codes = [sinkhorn(torch.cat([each, scores[2]]))[:6] for each in scores[:2]]
    expected = (
        F.cross_entropy(scores[0] / 0.1, codes[1]) + F.cross_entropy(scores[1] / 0.1, codes[0])
    ) / 2
    found = swapped_prediction(one, other, centres, queue=queue)
    torch.testing.assert_close(found, expected)
    built = part()
    built.begin_step(0, 10)
    with_queue = built(Embedded(one.float(), other.float(), queue=queue.float()))
    assert not torch.isclose(with_queue, built(Embedded(one.float(), other.float())))


def part(seed=0, **given):
    return Swapped(Context(width=4, rows=100, seed=seed), **({"prototypes": 5} | given))


def test_prototypes_are_drawn_by_the_seed_and_kept_on_the_sphere():
    built, again, other = part(), part(), part(seed=1)
    assert torch.equal(built.prototypes, again.prototypes)
    assert not torch.equal(built.prototypes, other.prototypes)
    with torch.no_grad():
        built.prototypes.mul_(7)
    built.begin_step(3, 10)
    torch.testing.assert_close(built.prototypes, again.prototypes)
    assert built.prototypes.requires_grad


def test_prototypes_are_frozen_in_the_first_steps_and_then_learn():
    built = part(frozen_steps=2)
    x, y = texts().float().requires_grad_(), texts(seed=1).float()
    for step, moves in [(0, False), (1, False), (2, True)]:
        built.begin_step(step, 10)
        built.zero_grad()
        loss = built(Embedded(x, y))
        loss.backward()
        assert built.prototypes.grad is not None  # ranks wait for it
        assert bool(built.prototypes.grad.abs().sum() > 0) == moves
        torch.testing.assert_close(loss, swapped_prediction(x, y, built.prototypes))
    assert x.grad.abs().sum() > 0


def test_a_checkpoint_carries_prototypes_and_their_use(tmp_path):
    built, resumed = part(), part(seed=1)
    built.begin_step(0, 10)
    built(Embedded(texts().float(), texts(seed=1).float()))
    safetensors.torch.save_model(built, str(tmp_path / "part"))
    safetensors.torch.load_model(resumed, str(tmp_path / "part"), strict=True)
    for name, value in built.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name])
    assert built.use.sum() > 0


@pytest.mark.parametrize("point", [torch.ones(4), torch.zeros(4)])
def test_a_point_has_a_finite_gradient_and_is_told_once(point, caplog):
    built = part(frozen_steps=0)
    x = point.repeat(8, 1).requires_grad_()
    with caplog.at_level(logging.WARNING):
        for step in (*range(3), 100, 200):
            built.begin_step(step, 300)
            loss = built(Embedded(x, x[:, :].clone()))
    loss.backward()
    assert torch.isfinite(x.grad).all() and torch.isfinite(built.prototypes.grad).all()
    assert built.told()["largest_prototype"] == pytest.approx(1, abs=1e-5)
    assert built.told()["prototype_evenness"] == pytest.approx(0, abs=1e-5)
    [record] = caplog.records
    assert "one of 5 clusters has 100 %" in record.getMessage()


def test_texts_that_spread_raise_no_alarm(caplog):
    built = part()
    for step in (*range(10), 100):
        built.begin_step(step, 300)
        built(Embedded(texts(40, seed=step).bfloat16(), texts(40, seed=step).bfloat16()))
    assert not caplog.records and built.told()["prototype_evenness"] > 0.7
    assert part().told()["prototype_evenness"] == pytest.approx(1)
    assert torch.isfinite(built(Embedded(texts().float()[:, :2], texts().float()[:, :2])))
