"""The geometry of an embedding space: how close the pairs are, how evenly the rest is spread.

Every function takes numpy or torch arrays (N, D), puts the rows on the unit sphere itself (only
`singular_spectrum` and `rankme` can be told not to) and returns plain numbers. No figure means
much alone, since a collapsed space has alignment 0. `measure_space` gives all of them at once,
with their intervals and with what each means and what it must not be compared with.
"""

from simcse_kit.geometry.figures import FIGURES, Figure, FigureText, Space, measure_space
from simcse_kit.geometry.lengths import length_bias
from simcse_kit.geometry.negatives import effective_negatives
from simcse_kit.geometry.neighbours import Hubness, hubness, k_occurrences
from simcse_kit.geometry.pairs import (
    Sampled,
    alignment,
    mean_cosine,
    sampled_uniformity,
    uniformity,
)
from simcse_kit.geometry.rows import normalize
from simcse_kit.geometry.spectrum import (
    effective_rank,
    feature_spread,
    isoscore,
    participation_ratio,
    rankme,
    singular_spectrum,
)

__all__ = [
    "FIGURES",
    "Figure",
    "FigureText",
    "Hubness",
    "Sampled",
    "Space",
    "alignment",
    "effective_negatives",
    "effective_rank",
    "feature_spread",
    "hubness",
    "isoscore",
    "k_occurrences",
    "length_bias",
    "mean_cosine",
    "measure_space",
    "normalize",
    "participation_ratio",
    "rankme",
    "sampled_uniformity",
    "singular_spectrum",
    "uniformity",
]
