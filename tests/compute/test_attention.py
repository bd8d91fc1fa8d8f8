"""Attention inside packed sequences against torch's, one sequence at a time; dropout masks."""

from __future__ import annotations

import pytest
import torch

from simcse_kit.compute import attention
from simcse_kit.compute.attention import grouped_attention, window_mask
from simcse_kit.compute.dropout import FastDropout, keep_mask, use_fast_dropout
from simcse_kit.compute.kernels import kernels

compiled = pytest.mark.skipif(kernels() is None, reason="no C++ compiler here: torch's run anyway")
GROUPS = [((2, 3), (1, 7), (3, 8), (2, 17)), ((4, 5),), ((1, 1), (1, 40))]


def states(groups, seed=0):
    tokens = sum(count * length for count, length in groups)
    generator = torch.Generator().manual_seed(seed)
    return [
        torch.randn(tokens, 4, 8, generator=generator, dtype=torch.float64).requires_grad_()
        for _ in range(3)
    ]


def one_by_one(query, key, value, groups, masks, window):
    """The definition, with the dropout masks given (None: no dropout)."""
    outputs, start = [], 0
    for number, length in enumerate(length for count, length in groups for _ in range(count)):
        q, k, v = (x[start : start + length].transpose(0, 1) for x in (query, key, value))
        scores = q @ k.transpose(1, 2) / 8**0.5
        band = window_mask(length, window, scores.device)
        if band is not None:
            scores = scores.masked_fill(~band, -torch.inf)
        weights = scores.softmax(-1)
        if masks is not None:
            weights = weights * masks[number]
        outputs.append((weights @ v).transpose(0, 1))
        start += length
    return torch.cat(outputs)


@pytest.mark.parametrize("window", [None, 4])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
@pytest.mark.parametrize("groups", GROUPS)
def test_forward_and_gradients(monkeypatch, groups, dropout, window):
    drawn = []

    def remember(like, rate):
        drawn.append(keep_mask(like, rate))
        return drawn[-1]

    monkeypatch.setattr(attention, "keep_mask", remember)
    ours, theirs = states(groups), states(groups)
    got = grouped_attention(*ours, groups, dropout=dropout, scaling=None, window=window)
    lengths = [length for count, length in groups for _ in range(count)]
    masks = None
    if dropout:
        blocks = [row for mask in drawn for row in mask.unflatten(0, (-1, 4))]
        masks = [block[:, :n, :n] for block, n in zip(blocks, lengths, strict=True)]
    expected = one_by_one(*theirs, groups, masks, window)
    torch.testing.assert_close(got, expected, atol=1e-12, rtol=1e-12)
    weights = torch.randn(got.shape, generator=torch.Generator().manual_seed(9)).double()
    (got * weights).sum().backward()
    (expected * weights).sum().backward()
    for x, y in zip(ours, theirs, strict=True):
        torch.testing.assert_close(x.grad, y.grad, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("rate", [0.1, 0.5])
def test_masks_have_the_distribution_of_dropout(rate):
    torch.manual_seed(0)
    like = torch.empty(1000, 1000)
    mask = keep_mask(like, rate)
    kept = (mask > 0).double().mean().item()
    assert kept == pytest.approx(1 - rate, abs=4 * (rate * (1 - rate) / 1e6) ** 0.5)
    assert sorted(set(mask.unique().tolist())) == pytest.approx([0, 1 / (1 - rate)], rel=1e-4)
    # rows and columns are as independent as a fair draw's
    for sums in ((mask > 0).double().sum(0), (mask > 0).double().sum(1)):
        assert sums.var().item() == pytest.approx(1000 * rate * (1 - rate), rel=0.2)


def test_masks_follow_torchs_seed_and_differ_between_calls():
    like = torch.empty(64, 64)
    torch.manual_seed(5)
    first, second = keep_mask(like, 0.5), keep_mask(like, 0.5)
    torch.manual_seed(5)
    assert torch.equal(first, keep_mask(like, 0.5))
    assert not torch.equal(first, second)


def test_fast_dropout_replaces_plain_dropout():
    model = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Dropout(0.25))
    use_fast_dropout(model)
    assert isinstance(model[1], FastDropout) and model[1].p == 0.25
    x = torch.ones(2000, 4, requires_grad=True)
    y = model[1](x)
    y.sum().backward()
    assert torch.equal(x.grad, y.detach())  # the gradient passes the same mask
    assert model.eval()[1](x) is x
    assert y.mean().item() == pytest.approx(1, abs=4 * (0.25 / 0.75 / 8000) ** 0.5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_lengths_met_in_inference_first_can_be_trained_on(dtype):
    """What is kept of a batch's lengths serves the next batch that has them, with gradients."""
    groups = ((3, 2), (2, 9), (1, 13))
    with torch.inference_mode():
        plain = [each.to(dtype) for each in states(groups)]
        grouped_attention(*plain, groups, dropout=0.1, scaling=None, window=5)
        grouped_attention(*plain, groups, dropout=0.0, scaling=None, window=None)
    for rate, window in ((0.1, 5), (0.0, None)):
        given = [each.detach().to(dtype).requires_grad_() for each in states(groups)]
        attended = grouped_attention(*given, groups, dropout=rate, scaling=None, window=window)
        attended.sum().backward()
        assert all(each.grad.isfinite().all() for each in given)


@pytest.fixture
def long_from_eight(monkeypatch):
    monkeypatch.setattr(attention, "_LONG", 8)


def kept(groups, dropout=0.0, window=None, dtype=torch.float32):
    """Numbers that are kept for the way back beside query, key and value."""
    parts = [each.detach().to(dtype).requires_grad_() for each in states(groups)]
    sizes = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: sizes.append(t.numel()), id):
        grouped_attention(*parts, groups, dropout=dropout, scaling=None, window=window)
    return sum(sizes) - sum(each.numel() for each in parts)


@compiled
@pytest.mark.parametrize("window", [None, 4, 9])
@pytest.mark.parametrize("fill", [0, 5])
@pytest.mark.parametrize("groups", [*GROUPS, ((1, 40),)])
def test_values_and_gradients(long_from_eight, groups, fill, window):
    ours = [each.detach().float().requires_grad_() for each in states(groups)]
    theirs = states(groups)
    row = [torch.nn.functional.pad(each, (0, 0, 0, 0, 0, fill)) for each in ours]
    got = grouped_attention(*row, groups, dropout=0.0, scaling=None, window=window)
    expected = one_by_one(*theirs, groups, None, window)
    assert len(got) == len(expected) + fill and not got[len(expected) :].any()
    got = got[: len(expected)]
    torch.testing.assert_close(got.double(), expected, atol=1e-5, rtol=1e-5)
    weights = torch.randn(got.shape, generator=torch.Generator().manual_seed(9)).double()
    (got * weights).sum().backward()
    (expected * weights).sum().backward()
    for x, y in zip(ours, theirs, strict=True):
        torch.testing.assert_close(x.grad.double(), y.grad, atol=1e-4, rtol=1e-4)


@compiled
def test_no_weights_are_kept_of_long_texts():
    """Below the limit the compiled kernel keeps length² of them a head."""
    long, short, heads, width = 800, 600, 4, 8
    assert kept(((1, long),)) < 3 * long * heads * width
    assert kept(((1, short),)) > short**2 * heads
    assert kept(((1, long),), dropout=0.1) > long**2 * heads, "torch has no dropout there"


@compiled
def test_a_narrow_window_stays_with_the_kernel(monkeypatch):
    called = []
    monkeypatch.setattr(attention, "_by_length", lambda *args: called.append(1))
    kept(((1, 800),), window=64)
    assert not called
