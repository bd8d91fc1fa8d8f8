"""Spectral figures against SVD, the papers' own steps, and clouds whose spectrum is known."""

import math

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from simcse_kit import geometry
from simcse_kit.errors import InputError


def cloud(n: int, d: int, seed: int = 0, shift: float = 0.5) -> np.ndarray:
    spread = np.linspace(1.0, 0.2, d)
    return np.random.default_rng(seed).normal(size=(n, d)) * spread + shift


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def axes(d: int, used: int) -> np.ndarray:
    """Both ends of the first `used` axes of `d`: equal variance there, none elsewhere, mean 0."""
    ends = np.eye(d)[:used]
    return np.concatenate([ends, -ends])


def isoscore_step_by_step(x: np.ndarray) -> float:
    """Rudman et al. 2022, Algorithm 1, with the paper's names."""
    n = x.shape[1]
    reoriented = PCA(n_components=n).fit_transform(x)
    diagonal = np.diag(np.cov(reoriented.T))
    normalised = math.sqrt(n) * diagonal / np.linalg.norm(diagonal)
    defect = np.linalg.norm(normalised - np.ones(n)) / math.sqrt(2 * (n - math.sqrt(n)))
    fraction = (n - defect**2 * (n - math.sqrt(n))) ** 2 / n**2
    return (n * fraction - 1) / (n - 1)


def exp_entropy(singular_values: np.ndarray) -> float:
    shares = singular_values / singular_values.sum()
    return math.exp(-sum(p * math.log(p) for p in shares if p > 1e-12))


@pytest.mark.parametrize("shape", [(40, 6), (6, 40)])
@pytest.mark.parametrize("centred", [True, False])
@pytest.mark.parametrize("own_length", [True, False])
def test_the_spectrum_is_that_of_the_svd(
    shape: tuple[int, int], centred: bool, own_length: bool
) -> None:
    x = cloud(*shape)
    rows = x if own_length else unit(x)
    rows = rows - rows.mean(axis=0) if centred else rows
    expected = np.linalg.svd(rows, compute_uv=False) / math.sqrt(shape[0])
    found = geometry.singular_spectrum(x, centred=centred, unit=not own_length)
    assert found == pytest.approx(expected, abs=1e-6)
    if not centred and not own_length:
        assert np.square(found).sum() == pytest.approx(1.0)


def test_isoscore_is_the_papers_algorithm() -> None:
    for seed in range(3):
        x = cloud(200, 7, seed)
        assert geometry.isoscore(x) == pytest.approx(isoscore_step_by_step(unit(x)), abs=1e-6)


@pytest.mark.parametrize("used", [1, 2, 5, 8])
def test_k_of_d_even_directions(used: int) -> None:
    x = axes(8, used)
    assert geometry.isoscore(x) == pytest.approx((used - 1) / 7)
    assert geometry.participation_ratio(x) == pytest.approx(used)
    assert geometry.effective_rank(x) == pytest.approx(used)
    assert geometry.rankme(x) == pytest.approx(used)


def test_ranks_are_the_entropy_of_the_singular_values() -> None:
    x = cloud(60, 9)
    rows = unit(x)
    of_centred = np.linalg.svd(rows - rows.mean(axis=0), compute_uv=False)
    assert geometry.effective_rank(x) == pytest.approx(exp_entropy(of_centred), rel=1e-5)
    of_unit = np.linalg.svd(rows, compute_uv=False)
    assert geometry.rankme(x) == pytest.approx(exp_entropy(of_unit), rel=1e-5)
    # As Garrido et al. print it, ε and all.
    raw = np.linalg.svd(x, compute_uv=False)
    shares = raw / raw.sum() + 1e-7
    published = math.exp(-(shares * np.log(shares)).sum())
    assert geometry.rankme(x, unit=False) == pytest.approx(published, rel=1e-4)


def test_a_common_direction_lowers_rankme_and_not_the_effective_rank() -> None:
    x = np.random.default_rng(0).normal(size=(500, 10)) * 0.1
    x[:, 0] += 5.0  # so far off that the sphere is flat there
    assert geometry.rankme(x) < 2.5
    assert geometry.effective_rank(x) == pytest.approx(9, abs=0.2)


def test_feature_spread_is_the_standard_deviation() -> None:
    x = cloud(50, 5)
    assert geometry.feature_spread(x) == pytest.approx(unit(x).std(axis=0), abs=1e-6)
    sphere = np.random.default_rng(0).normal(size=(4000, 16))
    assert geometry.feature_spread(sphere) == pytest.approx(np.full(16, 0.25), rel=0.05)


def test_a_rotation_moves_no_rank() -> None:
    x = cloud(60, 12)
    rotation, _ = np.linalg.qr(np.random.default_rng(2).normal(size=(12, 12)))
    measures = (geometry.isoscore, geometry.effective_rank, geometry.rankme)
    for measure in measures:
        assert measure(3.0 * x @ rotation) == pytest.approx(measure(x), rel=1e-4)
        assert measure(torch.tensor(x)) == pytest.approx(measure(x), rel=1e-6)
        assert measure(x.tolist()) == pytest.approx(measure(x), rel=1e-6)


def test_what_has_no_spectrum_is_refused() -> None:
    for measure in (geometry.isoscore, geometry.effective_rank):
        with pytest.raises(InputError, match="space has collapsed"):
            measure(np.ones((5, 3)))
        with pytest.raises(InputError, match="at least 2"):
            measure(np.ones((1, 3)))
    with pytest.raises(InputError, match="one number"):
        geometry.isoscore(np.array([[1.0], [-1.0]]))
    with pytest.raises(InputError, match="row 0 holds NaN"):
        geometry.rankme(np.array([[np.nan, 1.0]]), unit=False)
