"""All figures at once: the same numbers as one by one, explained, and refused in one sentence."""

import dataclasses
import json
from typing import Any

import numpy as np
import pytest
import torch

from simcse_kit import geometry
from simcse_kit.errors import InputError
from simcse_kit.geometry import FIGURES, Space, measure_space

RNG = np.random.default_rng(5)
X = RNG.normal(size=(300, 12)) * np.linspace(1, 0.3, 12) + 0.2
LENGTHS = RNG.integers(4, 40, size=300)
PAIRS = RNG.permutation(300)[:80].reshape(40, 2)
GOLD = np.linspace(0, 5, 40)


@pytest.fixture(scope="module")
def space() -> Space:
    return measure_space(X, pairs=PAIRS, gold=GOLD, lengths=LENGTHS, batch=32)


def test_every_figure_is_that_of_its_own_function(space: Space) -> None:
    close = PAIRS[GOLD > 4]
    hubs = geometry.hubness(X)
    expected = {
        "alignment": geometry.alignment(X[close[:, 0]], X[close[:, 1]]),
        "uniformity": geometry.uniformity(X),
        "mean_cosine": geometry.mean_cosine(X),
        "isoscore": geometry.isoscore(X),
        "participation_ratio": geometry.participation_ratio(X),
        "effective_rank": geometry.effective_rank(X),
        "rankme": geometry.rankme(X),
        "feature_spread": geometry.feature_spread(X).mean() * np.sqrt(12),
        "hubness": hubs.skewness,
        "anti_hubs": hubs.anti_hubs,
        "length_bias": geometry.length_bias(X, LENGTHS),
        "effective_negatives": geometry.effective_negatives(X, batch=32),
    }
    found = {name: figure.value for name, figure in space.figures.items()}
    assert found == pytest.approx(expected, rel=1e-6)
    assert list(space.figures) == list(FIGURES)
    assert space.figures["alignment"].n == len(close) == (GOLD > 4).sum()
    assert space.figures["effective_negatives"].n == 300 // 32
    assert space.spectrum == pytest.approx(geometry.singular_spectrum(X), abs=1e-7)
    assert space.feature_std == pytest.approx(geometry.feature_spread(X))
    assert (space.sentences, space.dimension) == (300, 12)


def test_every_figure_lies_in_its_interval_and_is_explained(space: Space) -> None:
    for name, figure in space.figures.items():
        if figure.interval is not None:
            low, high = figure.interval
            assert low < figure.value < high, name
        assert figure.meaning.count("\n") == figure.pitfall.count("\n") == 0
        assert figure.meaning.endswith(".") and figure.pitfall.endswith(".")
    for text in FIGURES.values():
        assert all(dataclasses.astuple(text))
        assert len(text.meaning) < 110


def test_a_space_is_frozen_seeded_and_plain_json(space: Space) -> None:
    again = measure_space(X, pairs=PAIRS, gold=GOLD, lengths=LENGTHS, batch=32)
    assert json.dumps(again.to_json(), allow_nan=False) == json.dumps(space.to_json())
    other = measure_space(X, seed=1, batch=32)
    assert other.figures["uniformity"].value == space.figures["uniformity"].value
    assert other.figures["uniformity"].interval != space.figures["uniformity"].interval
    with pytest.raises(dataclasses.FrozenInstanceError):
        space.figures["uniformity"].value = 0.0  # type: ignore[misc]
    assert json.loads(json.dumps(space.to_json()))["settings"]["batch"] == 32


def test_without_pairs_and_lengths_their_figures_are_missing() -> None:
    figures = measure_space(torch.tensor(X)).figures
    assert FIGURES.keys() - figures.keys() == {"alignment", "length_bias"}


def test_what_is_sampled_is_near_the_whole_and_says_on_how_much() -> None:
    whole = measure_space(X, lengths=LENGTHS, batch=32).figures
    part = measure_space(X, lengths=LENGTHS, batch=32, exact_up_to=299, sample=200).figures
    uniformity = part["uniformity"]
    assert (uniformity.n, uniformity.of) == (1_000_000, "pairs")
    assert uniformity.interval is not None
    assert uniformity.value == pytest.approx(whole["uniformity"].value, abs=0.01)
    assert uniformity.interval[1] - uniformity.interval[0] < 0.02
    for name in ("hubness", "anti_hubs", "length_bias"):
        assert (part[name].n, part[name].of) == (200, "sentences")
    assert part["rankme"] == whole["rankme"]


def test_intervals_that_cannot_be_had_are_none() -> None:
    few = measure_space(X[:70], pairs=PAIRS[:1] % 70, batch=32).figures
    assert few["alignment"].interval is None
    assert few["effective_negatives"].interval is None
    sphere = measure_space(X, k=100).figures["anti_hubs"]  # nobody is left alone
    assert sphere.value < 10 / 300 and sphere.interval is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"gold": GOLD}, "there are no pairs"),
        ({"pairs": PAIRS, "gold": GOLD[:3]}, "each of the 40 pairs"),
        ({"pairs": PAIRS, "gold": np.full(40, np.nan)}, "each of the 40 pairs"),
        ({"pairs": PAIRS, "gold": GOLD, "threshold": 5}, "above 5 .the highest is 5"),
        ({"pairs": PAIRS + 1000}, "Pair 0 names the rows"),
        ({"pairs": PAIRS.astype(float)}, "float64 of shape"),
        ({"pairs": PAIRS[:0]}, "There is no pair"),
        ({"lengths": LENGTHS[:3]}, "each of the 300 embeddings"),
        ({"lengths": LENGTHS[:3], "sample": 100}, "each of the 300 embeddings"),
        ({"batch": 301}, "make no batch of 301"),
        ({"k": 300}, "at least 301 are needed"),
        ({"k": 2.5}, "k must be a whole number"),
        ({"t": 0}, "scale t of uniformity"),
        ({"temperature": float("nan")}, "temperature must be a positive"),
    ],
)
def test_what_cannot_be_measured_is_refused_in_one_sentence(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises(InputError, match=message) as caught:
        measure_space(X, **options)
    assert "\n" not in str(caught.value)


def test_broken_and_collapsed_embeddings_are_refused() -> None:
    broken = X.copy()
    broken[7, 3] = np.nan
    with pytest.raises(InputError, match="row 7 holds NaN"):
        measure_space(broken)
    with pytest.raises(InputError, match="has collapsed"):
        measure_space(np.ones((100, 4)))
    with pytest.raises(InputError, match="holds 3 row"):
        measure_space(X[:3])
