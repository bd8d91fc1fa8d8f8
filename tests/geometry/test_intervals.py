"""The intervals: influences against finite differences, spread and coverage by simulation."""

from collections.abc import Callable

import numpy as np
import pytest

from simcse_kit import geometry
from simcse_kit.errors import InputError
from simcse_kit.geometry.intervals import percentiles, resampled_means
from simcse_kit.geometry.lengths import length_bias_with_influence
from simcse_kit.geometry.pairs import mean_cosine_with_influence, uniformity_with_influence
from simcse_kit.geometry.rows import unit_rows
from simcse_kit.geometry.spectrum import spectral_figures


def unit(x: np.ndarray) -> np.ndarray:
    return x / np.linalg.norm(x, axis=1, keepdims=True)


def cloud(n: int, d: int, rng: np.random.Generator) -> np.ndarray:
    """An off-centre cloud whose directions differ in spread, on the sphere."""
    x = rng.normal(size=(n, d)) * np.linspace(1.0, 0.1, d)
    x[:, 0] += 1.5
    return unit(x)


# ---- the figures of a weighted cloud, written out -----------------------------------------------


def over_pairs(kernel: np.ndarray, weights: np.ndarray) -> float:
    """Mean over pairs of different rows, each weighted by the product of its rows' weights."""
    products = np.outer(weights, weights)
    np.fill_diagonal(products, 0)
    return float((products * kernel).sum() / products.sum())


def spectrum(x: np.ndarray, weights: np.ndarray, centred: bool) -> np.ndarray:
    mean = weights @ x if centred else np.zeros(x.shape[1])
    eigenvalues = np.linalg.eigvalsh(((x - mean) * weights[:, None]).T @ (x - mean))
    return np.clip(eigenvalues, 0, None)


def exp_entropy(values: np.ndarray) -> float:
    shares = values[values > 1e-7] / values[values > 1e-7].sum()  # below: zeros, rounded
    return float(np.exp(-(shares * np.log(shares)).sum()))


def correlation(x: np.ndarray, lengths: np.ndarray, weights: np.ndarray) -> float:
    a, b = x @ x.T, np.abs(np.log(lengths[:, None] / lengths))
    a, b = a - over_pairs(a, weights), b - over_pairs(b, weights)
    both = over_pairs(a * b, weights)
    return both / np.sqrt(over_pairs(a * a, weights) * over_pairs(b * b, weights))


def weighted_figures(lengths: np.ndarray) -> dict[str, Callable[..., float]]:
    def ratio(x: np.ndarray, w: np.ndarray) -> float:
        values = spectrum(x, w, True)
        return float(values.sum() ** 2 / np.square(values).sum())

    def spread(x: np.ndarray, w: np.ndarray) -> float:
        return float(np.sqrt(w @ np.square(x - w @ x)).mean() * np.sqrt(x.shape[1]))

    return {
        "uniformity": lambda x, w: np.log(over_pairs(np.exp(4 * (x @ x.T - 1)), w)),
        "mean_cosine": lambda x, w: over_pairs(x @ x.T, w),
        "participation_ratio": ratio,
        "isoscore": lambda x, w: (ratio(x, w) - 1) / (x.shape[1] - 1),
        "effective_rank": lambda x, w: exp_entropy(np.sqrt(spectrum(x, w, True))),
        "rankme": lambda x, w: exp_entropy(np.sqrt(spectrum(x, w, False))),
        "feature_spread": spread,
        "length_bias": lambda x, w: correlation(x, lengths, w),
    }


@pytest.mark.parametrize("n", [30, 7])  # more rows than dimensions, and fewer
def test_influences_are_the_derivatives_by_a_sentences_weight(n: int) -> None:
    rng = np.random.default_rng(0)
    x, lengths = cloud(n, 9, rng), rng.uniform(3, 40, size=n)
    rows = unit_rows(x, "x")
    values, influences, _ = spectral_figures(rows)
    values["mean_cosine"], influences["mean_cosine"] = mean_cosine_with_influence(rows)
    values["uniformity"], shares = uniformity_with_influence(rows, 2.0, 4)
    influences["uniformity"] = 2 * shares
    values["length_bias"], influences["length_bias"] = length_bias_with_influence(rows, lengths, 4)

    even, step = np.full(n, 1 / n), 1e-5
    for name, figure in weighted_figures(lengths).items():
        assert values[name] == pytest.approx(figure(x, even), rel=1e-4), name
        for i in (0, 3, n - 1):
            towards = step * (np.eye(n)[i] - even)
            slope = (figure(x, even + towards) - figure(x, even - towards)) / (2 * step)
            assert influences[name][i] == pytest.approx(slope, rel=2e-3, abs=2e-3), (name, i)
        assert influences[name].mean() == pytest.approx(0, abs=1e-5), name


# ---- resampling ---------------------------------------------------------------------------------


def test_resampled_means_are_means_of_drawn_rows() -> None:
    values = np.random.default_rng(0).normal(size=(50, 2))
    means = resampled_means(values, 400, seed=3)
    picks = np.random.default_rng(3).integers(50, size=(400, 50))
    assert means == pytest.approx(values[picks].mean(axis=1))
    assert percentiles(np.arange(101.0), 0.9) == pytest.approx((5, 95))


def uniformities(x: np.ndarray, seed: int, draws: int = 600) -> dict[str, np.ndarray]:
    """Uniformity of the same resamples by three bootstraps, minus its value."""
    n = len(x)
    picks = np.random.default_rng(seed).integers(n, size=(draws, n))
    weights = np.stack([np.bincount(pick, minlength=n) for pick in picks]).astype(float)
    kernel = np.exp(4 * (x @ x.T - 1))
    naive = ((weights @ kernel) * weights).sum(axis=1) - n
    np.fill_diagonal(kernel, 0)
    apart = ((weights @ kernel) * weights).sum(axis=1)
    pairs = n**2 - np.square(weights).sum(axis=1)
    value, shares = uniformity_with_influence(unit_rows(x, "x"), 2.0, 4096)
    return {
        "copies are pairs": np.log(naive / (n * (n - 1))) - value,
        "copies left out": np.log(apart / pairs) - value,
        "influences": 2 * np.log1p(resampled_means(shares[:, None], draws, seed)[:, 0]),
    }


def test_copies_in_a_resample_are_what_biases_a_bootstrap() -> None:
    shifts = uniformities(cloud(300, 24, np.random.default_rng(1)), seed=0)
    spread = {name: shift.std() for name, shift in shifts.items()}
    bias = {name: shift.mean() for name, shift in shifts.items()}
    assert bias["copies are pairs"] > 0.75 * spread["copies are pairs"]
    assert abs(bias["copies left out"]) < 0.1 * spread["copies left out"]
    assert abs(bias["influences"]) < 0.1 * spread["influences"]
    assert spread["influences"] == pytest.approx(spread["copies left out"], rel=0.03)
    # Not only in the mean: resample by resample.
    assert np.corrcoef(shifts["influences"], shifts["copies left out"])[0, 1] > 0.99


def test_intervals_refuse_settings_that_leave_no_tail() -> None:
    x = np.random.default_rng(0).normal(size=(80, 4))
    for bad in ({"draws": 10}, {"level": 1.0}, {"level": 0.0}):
        with pytest.raises(InputError, match=r"draws must be|level of an interval"):
            geometry.measure_space(x, **bad)


@pytest.mark.slow
def test_intervals_cover_as_often_as_they_say() -> None:
    """95 % intervals over 400 samples of 400 sentences against the mean over 1,500 more."""
    rng = np.random.default_rng(7)

    def figures(draws: int) -> dict[str, geometry.Figure]:
        x = cloud(400, 24, rng)
        lengths = np.exp(x[:, 1] + rng.normal(size=400))  # one direction tells the length
        return geometry.measure_space(x, lengths=lengths, batch=32, draws=draws).figures

    samples = [figures(40) for _ in range(1500)]
    truth = {name: np.mean([f[name].value for f in samples]) for name in samples[0]}
    tries = [figures(600) for _ in range(400)]
    # Skewness is moved by single hubs, and the variance of ranks is a little too large (the
    # jackknife's second-order excess, Efron & Stein 1981); the rest is nominal.
    bounds = {"hubness": (0.88, 0.97), "anti_hubs": (0.0, 1.0)}
    found = {}
    for name, expected in truth.items():
        intervals = [f[name].interval for f in tries]
        inside = [low <= expected <= high for low, high in filter(None, intervals)]
        found[name] = np.mean(inside) if inside else float("nan")
    print(found)
    for name, coverage in found.items():
        low, high = bounds.get(name, (0.92, 0.985))
        assert low <= coverage <= high or name == "anti_hubs", (name, coverage)


@pytest.mark.slow
def test_a_plain_bootstrap_of_uniformity_would_not_cover() -> None:
    rng = np.random.default_rng(8)
    truth = np.mean([geometry.uniformity(cloud(400, 24, rng)) for _ in range(1500)])
    inside: dict[str, list[bool]] = {}
    for seed in range(300):
        x = cloud(400, 24, rng)
        value = geometry.uniformity(x)
        for name, shifts in uniformities(x, seed).items():
            low, high = percentiles(value + shifts, 0.95)
            inside.setdefault(name, []).append(low <= truth <= high)
    coverage = {name: np.mean(hits) for name, hits in inside.items()}
    print(coverage)
    assert coverage["copies are pairs"] < 0.88
    assert 0.92 <= coverage["copies left out"] <= 0.98
    assert 0.92 <= coverage["influences"] <= 0.98
