"""The force on negatives: loops in float64, torch's autograd of our own loss, and its edges."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from simcse_kit.errors import InputError
from simcse_kit.geometry import BANDS, effective_negatives, forces
from simcse_kit.geometry.rows import Unmeasurable
from simcse_kit.objectives import info_nce

TAUS = (0.02, 0.05, 0.5)


def unit(rng: np.random.Generator, rows: int, width: int = 12) -> np.ndarray:
    x = rng.normal(size=(rows, width)) + 0.5
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


def looped(anchors, candidates, mask, tau):
    """The means over the anchors of one batch, one number after the other."""
    a, c = anchors.astype(float), candidates.astype(float)
    found: dict[str, list[float]] = {}
    rest_of = []
    for i in range(len(a)):
        cosines = [float(a[i] @ c[j] / np.linalg.norm(a[i]) / np.linalg.norm(c[j]))
                   for j in range(len(c))]  # fmt: skip
        terms = {j: math.exp(cosines[j] / tau) for j in range(len(c)) if j == i or not mask[i, j]}
        negatives = sorted((j for j in terms if j != i), key=lambda j: -terms[j])
        if not negatives:
            continue
        total, pushed = sum(terms.values()), sum(terms[j] for j in negatives)
        shares = [terms[j] / pushed for j in negatives]
        n = len(negatives)
        ends = [
            0,
            1,
            max(1, math.ceil(round(0.05 * n, 9))),
            max(1, math.ceil(round(0.2 * n, 9))),
            n,
        ]
        values = {
            "effective_negatives": math.exp(-sum(r * math.log(r) for r in shares)),
            "positive": terms[i] / total,
            "saturation": pushed / total,
            "pull": pushed / total / tau,
            "loss": -math.log(terms[i] / total),
        }
        for band, low, high in zip(BANDS, ends[:-1], ends[1:], strict=True):
            values[band] = sum(shares[low:high])
        for name, value in values.items():
            found.setdefault(name, []).append(value)
        rest_of.append(pushed / total)
    means = {name: sum(values) / len(values) for name, values in found.items()}
    weights = [each / sum(rest_of) for each in rest_of]
    means["effective_anchors"] = math.exp(-sum(w * math.log(w) for w in weights))
    return means


def flat(force):
    single = {n: getattr(force, n).value for n in vars(force) if n not in ("temperature", "shares")}
    return single | {band: mean.value for band, mean in force.shares.items()}


@pytest.mark.parametrize(("rows", "columns"), [(2, 2), (5, 5), (40, 40), (9, 41)])
def test_every_figure_is_the_loops(rows: int, columns: int) -> None:
    rng = np.random.default_rng(rows)
    batches = []
    for number in range(2):
        mask = rng.random((rows, columns)) < 0.2 * number
        batches.append((3 * unit(rng, rows), unit(rng, columns), mask))
    if rows == 2:
        batches[1][2][:] = [[True, False], [False, False]]
    found = forces(batches, TAUS)
    assert found.batches == 2 and found.anchors == 2 * rows and found.alone == 0
    for force, tau in zip(found.at, TAUS, strict=True):
        each = [looped(*batch, tau) for batch in batches]
        wanted = {name: (each[0][name] + each[1][name]) / 2 for name in each[0]}
        assert force.temperature == tau
        assert flat(force) == pytest.approx(wanted, rel=3e-5, abs=1e-9)
        assert sum(flat(force)[band] for band in BANDS) == pytest.approx(1)


def test_shares_and_loss_are_those_of_our_own_infonce_by_autograd() -> None:
    rng = np.random.default_rng(7)
    rows, given, width = 5, 5, 24
    a, p, n = (torch.from_numpy(unit(rng, k, width)).double() for k in (rows, rows, given))
    mask = torch.zeros(rows, rows + given, dtype=torch.bool)
    mask[0, 2] = mask[3, 6] = True
    c = torch.cat([p, n]).requires_grad_()
    for tau in TAUS:
        loss = info_nce(a, c[:rows], c[rows:], temperature=tau, false_negatives=mask)
        (gradient,) = torch.autograd.grad(loss, c)
        force = np.zeros((rows, rows + given))
        for j in range(rows + given):  # ∂loss/∂c_j = Σ_i w_ij (a_i − s_ij c_j), the a_i independent
            tangent = (a - (a @ c[j].detach())[:, None] * c[j].detach()).T
            force[:, j] = np.linalg.lstsq(tangent.numpy(), gradient[j].numpy(), rcond=None)[0]
        found = forces([(a, c.detach(), mask)], [tau]).at[0]
        own = -force[range(rows), range(rows)] * rows
        others = force.copy()
        others[range(rows), range(rows)] = 0
        assert np.abs(others[mask.numpy()]).max() < 1e-9
        shares = others / others.sum(axis=1, keepdims=True)
        assert found.pull.value == pytest.approx(own.mean(), rel=1e-4)
        assert found.pull.value == pytest.approx(others.sum(axis=1).mean() * rows, rel=1e-4)
        assert found.shares["hardest"].value == pytest.approx(shares.max(axis=1).mean(), rel=1e-4)
        assert found.loss.value == pytest.approx(loss.item(), rel=1e-4)


def test_a_small_temperature_has_the_force_on_the_hardest_and_a_large_one_spreads_it() -> None:
    rng = np.random.default_rng(1)
    batches = [(unit(rng, 32), unit(rng, 32), None) for _ in range(5)]
    found = forces(batches, [1, 0.001, 0.05, 0.2, 0.05])
    assert [force.temperature for force in found.at] == [0.001, 0.05, 0.2, 1]
    hardest = [force.shares["hardest"].value for force in found.at]
    effective = [force.effective_negatives.value for force in found.at]
    assert hardest == sorted(hardest, reverse=True) and hardest[0] > 0.9
    assert effective == sorted(effective) and effective[-1] > 0.95 * 31
    assert found.even == pytest.approx(
        {"hardest": 1 / 31, "to_5_percent": 1 / 31, "to_20_percent": 5 / 31, "rest": 24 / 31}
    )
    low, high = found.at[1].loss.interval
    assert low < found.at[1].loss.value < high


def test_against_the_effective_negatives_of_a_space() -> None:
    x = unit(np.random.default_rng(3), 16)
    found = forces([(x, x, None)], [0.05]).at[0]
    assert found.effective_negatives.value == pytest.approx(
        effective_negatives(x, temperature=0.05, batch=16), rel=1e-4
    )
    assert found.effective_negatives.interval is None  # of one batch


def test_equal_embeddings_spread_the_force_evenly_at_any_temperature() -> None:
    x = np.ones((21, 4), dtype=np.float32)
    for force in forces([(x, x, None)], TAUS).at:
        assert force.effective_negatives.value == pytest.approx(20)
        assert force.loss.value == pytest.approx(math.log(21))
        assert force.effective_anchors.value == pytest.approx(21)
        assert flat(force) | {} == pytest.approx(
            flat(force) | {"hardest": 0.05, "to_5_percent": 0, "to_20_percent": 0.15, "rest": 0.8}
        )


def test_anchors_without_a_negative_are_left_out_and_counted() -> None:
    rng = np.random.default_rng(5)
    anchors, candidates = unit(rng, 3), unit(rng, 3)
    mask = np.zeros((3, 3), dtype=bool)
    mask[1] = True
    found = forces([(anchors, candidates, mask)], [0.1])
    assert (found.anchors, found.alone, found.negatives) == (2, 1, 2.0)
    assert flat(found.at[0]) == pytest.approx(looped(anchors, candidates, mask, 0.1), rel=1e-5)
    with pytest.raises(Unmeasurable, match="No anchor of these batches has a negative"):
        forces([(anchors, candidates, np.ones((3, 3), bool))], [0.1])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"temperatures": []}, "no temperature"),
        ({"temperatures": [0.0]}, "positive number, not 0"),
        ({"temperatures": [math.nan]}, "positive number, not nan"),
        ({"temperatures": [1e-320]}, "positive number, not 1e-320"),
        ({"anchors": np.zeros((2, 3))}, "anchors has no direction in row 0"),
        ({"candidates": np.full((2, 3), np.nan)}, "candidates is not finite: row 0"),
        ({"candidates": np.ones((1, 3))}, "positive of each anchor first"),
        ({"left_out": np.zeros((2, 3), bool)}, "anchors by candidates"),
    ],
)
def test_bad_arrays_are_refused(change, said) -> None:
    given = {"anchors": np.ones((2, 3)), "candidates": np.ones((2, 3)), "left_out": None}
    given |= {"temperatures": [0.05]} | change
    batch = given["anchors"], given["candidates"], given["left_out"]
    with pytest.raises(InputError, match=said):
        forces([batch], given["temperatures"])
