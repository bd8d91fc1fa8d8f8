"""What the figures of a space stand beside: points even on the sphere, and known encoders.

A uniformity of −3.2 says nothing alone. Beside it belong what no encoder can pass, and what
encoders have whose worth is known.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from simcse_kit.geometry.figures import Space

#: For wherever alignment is shown beside a score.
ALIGNMENT_MAY_RISE = (
    "Alignment may rise while a model gets better: a space that spreads out moves all sentences"
    " apart, and scores gain where others move further than pairs that mean the same."
)

_MOST = 50_000  # points drawn; the figures of more differ little, hubness takes fewer anyway


@dataclass(frozen=True)
class Reference:
    """Figures of a space that others are seen beside.

    Attributes:
        name: what it is a space of, short enough for the head of a column.
        values: by the figures' names in `FIGURES`.
        source: where the values come from.
    """

    name: str
    values: Mapping[str, float]
    source: str


def _measured(model: str, options: str) -> str:
    return (
        f"simcse-kit geometry {model} {options}, on STS-B's 2,551 different test sentences in"
        " SentEval's form, fp32, 27 November 2026"
    )


#: Encoders with 384 dimensions on the sentences of one set, by the name `Sentences.source` has.
MEASURED: Mapping[str, tuple[Reference, ...]] = {
    "STSB (test)": (
        Reference(
            "raw MiniLM-L6",
            {
                "alignment": 0.1642,
                "uniformity": -2.0166,
                "mean_cosine": 0.4385,
                "isoscore": 0.0407,
                "participation_ratio": 16.5849,
                "effective_rank": 227.7278,
                "rankme": 199.5116,
                "feature_spread": 0.7322,
                "hubness": 1.6089,
                "anti_hubs": 0.0110,
                "length_bias": -0.1735,
                "effective_negatives": 10.9086,
            },
            "A masked-language model of 6 layers, all-MiniLM-L6-v2's body after 1,000 steps of"
            " masked-language training, which undid its geometry: "
            + _measured("raw-minilm-l6", "--pooling mean --data-dir sts --precision fp32"),
        ),
        Reference(
            "all-MiniLM-L6-v2",
            {
                "alignment": 0.2512,
                "uniformity": -3.8190,
                "mean_cosine": 0.0220,
                "isoscore": 0.2773,
                "participation_ratio": 107.2175,
                "effective_rank": 306.1807,
                "rankme": 304.9140,
                "feature_spread": 0.9815,
                "hubness": 1.7642,
                "anti_hubs": 0.0031,
                "length_bias": -0.0656,
                "effective_negatives": 10.1422,
            },
            "The sentence encoder of that name, trained on a billion pairs: "
            + _measured("minilm", "--data-dir sts --precision fp32"),
        ),
    )
}


def uniformity_of_even_sphere(dimension: int, t: float = 2.0) -> float:
    """Uniformity of independent points even on the sphere of ℝ^D, the least that many can have.

    E exp(−t‖x − y‖²) = e^(−2t) E exp(2t·cos) = e^(−2t) ₀F₁(; D/2; t²), the mean of exp over a
    uniform cosine (Watson 1944, section 3.71, I_ν as ₀F₁). For t = 2 about −4 + 8/D.
    """
    from scipy.special import hyp0f1

    return -2 * t + math.log(float(hyp0f1(dimension / 2, t**2)))


def even_sphere(space: Space) -> Reference:
    """The figures that as many points as a space has would have if they lay even on its sphere.

    Uniformity in closed form; alignment is 2, mean cosine and length bias 0, those of random
    pairs; the others are measured of random points drawn with the space's seed, with its `k`,
    `batch` and temperature, since they depend on the number of points and of dimensions.
    """
    from simcse_kit.geometry.figures import measure_space

    count, settings = min(space.sentences, _MOST), space.settings
    points = np.random.default_rng(settings["seed"]).normal(size=(count, space.dimension))
    drawn = measure_space(
        points.astype(np.float32),
        t=settings["t"],
        temperature=settings["temperature"],
        batch=settings["batch"],
        k=settings["k"],
        draws=100,  # of the intervals, which nobody reads
        seed=settings["seed"],
        exact_up_to=_MOST,
    )
    values = {name: figure.value for name, figure in drawn.figures.items()}
    values |= {
        "alignment": 2.0,
        "mean_cosine": 0.0,
        "length_bias": 0.0,
        "uniformity": uniformity_of_even_sphere(space.dimension, settings["t"]),
    }
    return Reference(
        "even sphere",
        values,
        f"{count:,} random points even on the sphere in {space.dimension} dimensions: what a space"
        " without any structure has.",
    )


def references(space: Space, sentences: str) -> tuple[Reference, ...]:
    """What to show beside a space: the even sphere, and encoders measured on the same sentences.

    Args:
        sentences: what the space is of, as in `MEASURED`; of others only the sphere is comparable.
    """
    return (even_sphere(space), *MEASURED.get(sentences, ()))
