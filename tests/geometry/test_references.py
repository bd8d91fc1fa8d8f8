"""What a space stands beside: the even sphere against sampling and closed forms, known encoders."""

from __future__ import annotations

import numpy as np
import pytest

from simcse_kit.geometry.figures import FIGURES, measure_space
from simcse_kit.geometry.pairs import uniformity
from simcse_kit.geometry.references import (
    MEASURED,
    even_sphere,
    references,
    uniformity_of_even_sphere,
)


def _points(count: int, dimension: int, seed: int = 3) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(count, dimension))


@pytest.mark.parametrize("dimension", [2, 3, 24])
def test_uniformity_of_an_even_sphere_is_that_of_many_random_points(dimension):
    assert uniformity(_points(4000, dimension)) == pytest.approx(
        uniformity_of_even_sphere(dimension), abs=0.01
    )


def test_uniformity_of_an_even_sphere_by_its_integral_and_in_the_limit():
    from scipy.integrate import quad

    for dimension, t in ((3, 2.0), (10, 0.5)):

        def density(cosine: float, power: float = (dimension - 3) / 2) -> float:
            return (1 - cosine**2) ** power

        whole = quad(density, -1, 1)[0]
        mean = quad(lambda c: np.exp(-2 * t * (1 - c)) * density(c), -1, 1)[0] / whole  # noqa: B023
        assert uniformity_of_even_sphere(dimension, t) == pytest.approx(np.log(mean))
    assert uniformity_of_even_sphere(768) == pytest.approx(-4 + 8 / 768, abs=1e-4)


def test_a_space_that_is_even_has_the_figures_of_the_even_sphere():
    points = _points(1500, 32)
    lengths = np.random.default_rng(0).integers(3, 30, 1500)
    pairs = np.arange(1000).reshape(-1, 2)
    space = measure_space(points, pairs=pairs, lengths=lengths, draws=100)
    beside = even_sphere(space)
    assert set(beside.values) == set(FIGURES)
    for name, figure in space.figures.items():
        near = {"hubness": 0.12, "alignment": 0.12}.get(name, 0.03)  # skewness is of few points
        assert beside.values[name] == pytest.approx(figure.value, rel=0.03, abs=near), name
    assert even_sphere(space).values == beside.values  # seeded


def test_a_heap_is_far_from_it():
    heap = measure_space(_points(300, 16) + 3.0, draws=100)
    beside = even_sphere(heap).values
    assert heap.figures["mean_cosine"].value > 0.5 > beside["mean_cosine"]
    assert heap.figures["uniformity"].value > beside["uniformity"] + 1


def test_known_encoders_stand_beside_their_own_sentences_only():
    space = measure_space(_points(120, 16), draws=100)
    assert [one.name for one in references(space, "mine.txt")] == ["even sphere"]
    for sentences, known in MEASURED.items():
        found = references(space, sentences)
        assert found[1:] == known
        for one in known:
            assert set(one.values) == set(FIGURES) and one.source
            # what cannot be otherwise of 384 dimensions
            assert uniformity_of_even_sphere(384) < one.values["uniformity"] < 0
            assert one.values["isoscore"] == pytest.approx(
                (one.values["participation_ratio"] - 1) / 383, abs=1e-4
            )
