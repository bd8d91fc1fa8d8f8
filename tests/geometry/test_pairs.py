"""Geometry against plain float64 loops and values known in closed form."""

import math

import numpy as np
import pytest
import torch

from simcse_kit import geometry
from simcse_kit.errors import InputError


def cloud(n: int, d: int, seed: int = 0, shift: float = 0.0) -> np.ndarray:
    return np.random.default_rng(seed).normal(loc=shift, size=(n, d))


def naive_alignment(x: np.ndarray, y: np.ndarray, alpha: float) -> float:
    distances = []
    for a, b in zip(x, y, strict=True):
        difference = a / math.sqrt(sum(a * a)) - b / math.sqrt(sum(b * b))
        distances.append(math.sqrt(sum(difference * difference)) ** alpha)
    return sum(distances) / len(distances)


def naive_uniformity(x: np.ndarray, t: float) -> float:
    unit = [row / math.sqrt(sum(row * row)) for row in x]
    potentials = [
        math.exp(-t * sum((unit[i] - unit[j]) ** 2))
        for i in range(len(unit))
        for j in range(i + 1, len(unit))
    ]
    return math.log(sum(potentials) / len(potentials))


@pytest.mark.parametrize("alpha", [1.0, 2.0])
@pytest.mark.parametrize("shift", [0.0, 3.0])
def test_alignment_is_the_naive_loop(alpha: float, shift: float) -> None:
    x, y = cloud(40, 6, 0, shift), cloud(40, 6, 1, shift)
    assert geometry.alignment(x, y, alpha) == pytest.approx(naive_alignment(x, y, alpha), abs=1e-6)


@pytest.mark.parametrize("t", [0.5, 2.0, 200.0])
@pytest.mark.parametrize("block", [1, 7, 16, 41, 4096])
def test_uniformity_is_the_naive_loop_whatever_the_block(t: float, block: int) -> None:
    x = cloud(41, 5, shift=0.7)
    assert geometry.uniformity(x, t, block) == pytest.approx(naive_uniformity(x, t), abs=2e-5)


def test_uniformity_does_not_count_a_row_with_itself() -> None:
    # Two opposite points: one pair at distance 2, hence exactly −t·4.
    x = np.array([[1.0, 0.0], [-2.0, 0.0]])
    assert geometry.uniformity(x) == pytest.approx(-8.0, abs=1e-6)


def test_a_uniform_sphere_and_a_collapsed_space() -> None:
    sphere = cloud(2000, 64)
    assert geometry.uniformity(sphere) == pytest.approx(-4 + 8 / 64, abs=0.01)
    assert geometry.mean_cosine(sphere) == pytest.approx(0.0, abs=2e-3)
    assert geometry.participation_ratio(sphere) == pytest.approx(64, rel=0.05)

    collapsed = np.ones((50, 8)) + 1e-5 * cloud(50, 8)
    assert geometry.uniformity(collapsed) == pytest.approx(0.0, abs=1e-5)
    assert geometry.mean_cosine(collapsed) == pytest.approx(1.0, abs=1e-5)
    assert geometry.alignment(collapsed, collapsed[::-1]) == pytest.approx(0.0, abs=1e-5)
    with pytest.raises(InputError, match="collapsed"):
        geometry.participation_ratio(np.ones((50, 8)))


def test_mean_cosine_is_the_mean_over_pairs() -> None:
    x = cloud(30, 4, shift=1.0)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    expected = (unit @ unit.T)[np.triu_indices(30, 1)].mean()
    assert geometry.mean_cosine(x) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("shape", [(30, 5), (5, 30)])
def test_participation_ratio_is_that_of_the_covariance_spectrum(shape: tuple[int, int]) -> None:
    x = cloud(*shape, shift=0.5)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    spectrum = np.linalg.eigvalsh(np.cov(unit.T))
    expected = spectrum.sum() ** 2 / (spectrum**2).sum()
    assert geometry.participation_ratio(x) == pytest.approx(expected, rel=1e-4)


def test_a_rotation_and_a_scale_change_nothing() -> None:
    x, y = cloud(60, 12, 0, 0.3), cloud(60, 12, 1, 0.3)
    rotation, _ = np.linalg.qr(cloud(12, 12, 2))
    moved_x, moved_y = 7.0 * x @ rotation, 0.1 * y @ rotation
    assert geometry.alignment(moved_x, moved_y) == pytest.approx(geometry.alignment(x, y), abs=1e-5)
    for measure in (geometry.uniformity, geometry.mean_cosine, geometry.participation_ratio):
        assert measure(moved_x) == pytest.approx(measure(x), rel=1e-4, abs=1e-5)


def test_the_array_kind_does_not_matter_nor_does_autocast() -> None:
    x = cloud(20, 8)
    expected = geometry.uniformity(x)
    tensor = torch.tensor(x, requires_grad=True)
    assert geometry.uniformity(x.astype(np.float32).tolist()) == pytest.approx(expected, abs=1e-6)
    assert geometry.uniformity(tensor) == pytest.approx(expected, abs=1e-6)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert geometry.uniformity(tensor) == pytest.approx(expected, abs=1e-6)
    assert isinstance(geometry.normalize(x), np.ndarray)
    unit = geometry.normalize(tensor)
    assert isinstance(unit, torch.Tensor)
    assert torch.allclose(unit.norm(dim=1), torch.ones(20))


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.array([[1.0, 2.0], [np.nan, 1.0]]), "row 1 holds NaN"),
        (np.array([[1.0, np.inf], [0.0, 1.0]]), "row 0 holds NaN"),
        (np.array([[1.0, 2.0], [0.0, 0.0]]), "no direction in row 1"),
        (np.array([[1.0, 2.0]]), "at least 2"),
        (np.zeros((0, 3)), "at least 2"),
        (np.ones(4), "shape"),
        (["a", "b"], "array of numbers"),
    ],
)
def test_what_has_no_geometry_is_refused(x: np.ndarray, message: str) -> None:
    for measure in (geometry.uniformity, geometry.mean_cosine, geometry.participation_ratio):
        with pytest.raises(InputError, match=message):
            measure(x)


def test_pairs_that_do_not_match_are_refused() -> None:
    with pytest.raises(InputError, match=r"x is \(3, 2\) and y \(2, 2\)"):
        geometry.alignment(np.ones((3, 2)), np.ones((2, 2)))
