"""Hubness, length bias, effective negatives and sampling against loops and other libraries."""

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.stats import pearsonr, skew
from sklearn.neighbors import NearestNeighbors

from simcse_kit import geometry
from simcse_kit.errors import InputError


def cloud(n: int, d: int, seed: int = 0, shift: float = 0.4) -> np.ndarray:
    return np.random.default_rng(seed).normal(loc=shift, size=(n, d))


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=1, keepdims=True)


# ---- hubness ------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [1, 5, 10])
@pytest.mark.parametrize("block", [7, 1024])
def test_occurrences_are_those_of_scikit_learns_neighbours(k: int, block: int) -> None:
    x = cloud(120, 20)
    finder = NearestNeighbors(n_neighbors=k, metric="cosine").fit(x)
    neighbours = finder.kneighbors(return_distance=False)  # of each row, itself left out
    expected = np.bincount(neighbours.ravel(), minlength=len(x))
    assert (geometry.k_occurrences(x, k, block) == expected).all()
    found = geometry.hubness(x, k)
    assert found.skewness == pytest.approx(skew(expected))
    assert found.anti_hubs == (expected == 0).mean()
    assert (found.largest, found.k, found.sentences) == (expected.max(), k, 120)


def test_a_ring_has_no_hubs_and_a_star_has_one() -> None:
    angles = np.arange(12) * 2 * math.pi / 12 + 0.1
    ring = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    assert (geometry.k_occurrences(ring, 2) == 2).all()
    assert geometry.hubness(ring, 2).skewness == 0.0
    star = np.concatenate([np.eye(6), np.full((1, 6), 1.0)])
    star[0, 1] = 0.1  # the one that is nearest to the middle
    counts = geometry.k_occurrences(star, 1)
    assert counts.tolist() == [1, 0, 0, 0, 0, 0, 6]
    assert geometry.hubness(star, 1).anti_hubs == pytest.approx(5 / 7)


def test_hubness_needs_more_sentences_than_neighbours() -> None:
    with pytest.raises(InputError, match="10 sentences have no 10 neighbours"):
        geometry.hubness(cloud(10, 3))
    with pytest.raises(InputError, match="k must be a whole number of at least 1, not 0"):
        geometry.hubness(cloud(10, 3), k=0)


# ---- length bias --------------------------------------------------------------------------------


@pytest.mark.parametrize("block", [5, 13, 4096])
def test_length_bias_is_pearsons_correlation_over_all_pairs(block: int) -> None:
    x, lengths = cloud(40, 6), np.random.default_rng(3).integers(3, 60, size=40)
    i, j = np.triu_indices(40, 1)
    cosines = (unit(x) @ unit(x).T)[i, j]
    gaps = np.abs(np.log(lengths[i] / lengths[j]))
    expected = pearsonr(cosines, gaps).statistic
    assert geometry.length_bias(x, lengths, block) == pytest.approx(expected, abs=1e-6)
    assert geometry.length_bias(x, lengths * 4.5, block) == pytest.approx(expected, abs=1e-6)


def test_a_space_that_knows_only_length_has_the_bias() -> None:
    lengths = np.exp(np.random.default_rng(0).uniform(1, 4, size=200))
    angle = np.log(lengths) / 4
    by_length = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    assert geometry.length_bias(by_length, lengths) < -0.9
    assert abs(geometry.length_bias(cloud(200, 50, shift=0), lengths)) < 0.05


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        ([3, 4], "one number for each of the 3"),
        ([3, 3, 3], "Every length is 3"),
        ([3, 0, 4], "length of sentence 1 is 0"),
        ([3, np.nan, 4], "length of sentence 1 is nan"),
        (["a", "b", "c"], "must be 3 numbers"),
    ],
)
def test_lengths_that_cannot_be_used_are_refused(lengths: list[float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        geometry.length_bias(cloud(3, 4), lengths)


def test_a_collapsed_space_has_no_length_bias() -> None:
    with pytest.raises(InputError, match="same cosine"):
        geometry.length_bias(np.ones((5, 3)), [1, 2, 3, 4, 5])


# ---- effective negatives ------------------------------------------------------------------------


@pytest.mark.parametrize("temperature", [0.02, 0.05, 1.0])
def test_effective_negatives_are_the_perplexity_of_the_gradients_shares(
    temperature: float,
) -> None:
    x = cloud(16, 8)
    rows = unit(x)
    cosines = torch.tensor(rows @ rows.T)
    cosines.fill_diagonal_(0.73)  # the positive of another view: any value gives the same shares
    cosines.requires_grad_()
    loss = torch.nn.functional.cross_entropy(cosines / temperature, torch.arange(16))
    (gradient,) = torch.autograd.grad(loss, cosines)
    perplexities = []
    for i in range(16):
        pulls = [float(gradient[i, j]) for j in range(16) if j != i]
        shares = [pull / sum(pulls) for pull in pulls]
        perplexities.append(math.exp(-sum(p * math.log(p) for p in shares if p > 0)))
    found = geometry.effective_negatives(x, temperature=temperature, batch=16)
    assert found == pytest.approx(sum(perplexities) / 16, rel=1e-5)


def test_effective_negatives_lie_between_one_and_all() -> None:
    assert geometry.effective_negatives(np.eye(8), batch=8) == pytest.approx(7)
    twins = np.repeat(np.eye(4), 2, axis=0)  # each has one other that is as good as itself
    assert geometry.effective_negatives(twins, temperature=0.01, batch=8) == pytest.approx(1)
    # Two copies and two at right angles, by hand: shares e^(1/τ) : 1 : 1.
    four = np.array([[1.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    near = [math.e / (math.e + 2), 1 / (math.e + 2), 1 / (math.e + 2)]
    of_a_twin = math.exp(-sum(p * math.log(p) for p in near))
    expected = (2 * of_a_twin + 2 * 3) / 4
    assert geometry.effective_negatives(four, temperature=1, batch=4) == pytest.approx(expected)


def test_effective_negatives_are_seeded_and_use_whole_batches() -> None:
    x = cloud(70, 8)
    first = geometry.effective_negatives(x, batch=16, seed=1)
    assert first == geometry.effective_negatives(x, batch=16, seed=1)
    assert first != geometry.effective_negatives(x, batch=16, seed=2)
    with pytest.raises(InputError, match="70 sentences make no batch of 71"):
        geometry.effective_negatives(x, batch=71)
    with pytest.raises(InputError, match="temperature must be a positive number, not 0"):
        geometry.effective_negatives(x, temperature=0)


# ---- sampled uniformity -------------------------------------------------------------------------


def test_the_standard_error_of_sampled_uniformity_is_right() -> None:
    x = cloud(300, 12)
    exact = geometry.uniformity(x)
    draws = [geometry.sampled_uniformity(x, pairs=2000, seed=seed) for seed in range(300)]
    values = np.array([draw.value for draw in draws])
    stated = np.mean([draw.standard_error for draw in draws])
    assert values.std() == pytest.approx(stated, rel=0.12)
    assert values.mean() == pytest.approx(exact, abs=4 * stated / math.sqrt(300))
    inside = np.abs(values - exact) < 1.96 * np.array([draw.standard_error for draw in draws])
    assert inside.mean() == pytest.approx(0.95, abs=0.04)


def test_sampling_never_pairs_a_row_with_itself_and_reads_memory_maps(tmp_path: Path) -> None:
    opposite = np.array([[1.0, 0.0], [-2.0, 0.0]], dtype=np.float32)
    assert geometry.sampled_uniformity(opposite, pairs=50).value == pytest.approx(-8.0)
    x = cloud(50, 4).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    mapped = np.load(tmp_path / "x.npy", mmap_mode="r")
    expected = geometry.sampled_uniformity(x, pairs=999, block=100)
    assert geometry.sampled_uniformity(mapped, pairs=999, block=100) == expected
    assert geometry.sampled_uniformity(torch.tensor(x), pairs=999, block=100) == expected
    assert geometry.sampled_uniformity(x.tolist(), pairs=999, block=100) == expected
    with pytest.raises(InputError, match="at least 2 rows"):
        geometry.sampled_uniformity(x[:1])
    x[17] = np.nan
    with pytest.raises(InputError, match="row 17 holds NaN"):
        geometry.sampled_uniformity(x)
