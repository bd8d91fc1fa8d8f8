"""The Trainer's gradient clipping, spared where it would multiply by one."""

from __future__ import annotations

import copy
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from simcse_kit.training.trainer import ContrastiveTrainer


def model() -> nn.Module:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 3), nn.Linear(3, 2))
    layers[:2](torch.randn(5, 8)).square().sum().backward()  # the last one has no gradient
    return layers


def clip(layers: nn.Module, longest: float) -> torch.Tensor:
    args = SimpleNamespace(
        device=torch.device("cpu"), world_size=1, fp16=False, max_grad_norm=longest
    )
    return ContrastiveTrainer._clip_grad_norm(SimpleNamespace(args=args, update=None), layers)


@pytest.mark.parametrize("longest", [0.5, 1e6])
def test_gradients_are_clipped_as_torch_does(longest):
    ours, theirs = model(), model()
    norm = clip(ours, longest)
    expected = nn.utils.clip_grad_norm_(theirs.parameters(), longest)
    torch.testing.assert_close(norm, expected, rtol=1e-6, atol=0)  # summed in another order
    assert 0.5 < norm < 1e6  # one of the two limits clips, the other does not
    for got, wanted in zip(ours.parameters(), theirs.parameters(), strict=True):
        assert (got.grad is None) == (wanted.grad is None)
        if got.grad is not None:
            rounding = 2e-6 if norm > longest else 0.0  # what is not clipped stays as it was
            torch.testing.assert_close(got.grad, wanted.grad, rtol=rounding, atol=0)


def test_a_gradient_that_is_not_finite_is_not_taken_for_short():
    ours = model()
    ours[0].weight.grad[0, 0] = torch.nan
    theirs = copy.deepcopy(ours)
    for mine, original in zip(theirs.parameters(), ours.parameters(), strict=True):
        mine.grad = None if original.grad is None else original.grad.clone()
    assert clip(ours, 1.0).isnan()
    nn.utils.clip_grad_norm_(theirs.parameters(), 1.0)
    for got, wanted in zip(ours.parameters(), theirs.parameters(), strict=True):
        if got.grad is not None:
            torch.testing.assert_close(got.grad, wanted.grad, equal_nan=True)
