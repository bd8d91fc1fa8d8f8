"""All figures of a space at once, each with its interval, its meaning and its pitfall."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from statistics import NormalDist
from typing import TYPE_CHECKING, Any

import numpy as np

from simcse_kit.geometry.intervals import (
    check_draws,
    percentiles,
    resampled_means,
    student_interval,
)
from simcse_kit.geometry.lengths import length_bias_with_influence, positive_lengths
from simcse_kit.geometry.negatives import batch_perplexities
from simcse_kit.geometry.neighbours import (
    occurrence_moments,
    occurrences_of,
    skewness_and_anti_hubs,
)
from simcse_kit.geometry.pairs import (
    checked_scores,
    close_distances,
    mean_cosine_with_influence,
    sampled_uniformity,
    uniformity_with_influence,
)
from simcse_kit.geometry.rows import Unmeasurable, unit_rows, whole_number
from simcse_kit.geometry.scales import close_above
from simcse_kit.geometry.spectrum import feature_spread, spectral_figures

if TYPE_CHECKING:
    from torch import Tensor

_FEW_BATCHES = 4  # too few means to tell their spread
_FEW_EVENTS = 10  # a share of fewer sentences than this has no percentile interval worth the name
_BLOCK = 4096


@dataclass(frozen=True)
class FigureText:
    """What a figure means, in one line, what it must not be compared with, and its source."""

    title: str
    meaning: str
    pitfall: str
    source: str


@dataclass(frozen=True)
class Figure:
    """One figure of a space, ready to be shown.

    Attributes:
        name: its key in `FIGURES`.
        value: see `meaning`.
        interval: (low, high), or None where it cannot be had honestly (see `measure_space`).
        n: how many of `of` it was measured on.
        of: "sentences", "pairs" or "batches".
        meaning: one line: what it tells, which way is better.
        pitfall: one line: what it does not tell, and what it is not comparable with.
    """

    name: str
    value: float
    interval: tuple[float, float] | None
    n: int
    of: str
    meaning: str
    pitfall: str


@dataclass(frozen=True, eq=False)
class Space:
    """What `measure_space` found.

    Attributes:
        figures: by name, in the order of `FIGURES`.
        spectrum: singular values of the centred unit rows / √N, (min(N, D),), descending.
        feature_std: standard deviation of each feature of the unit rows, (D,).
        sentences, dimension: N and D.
        settings: what two spaces must have in common to be compared.
        missing: why a figure that was asked for is left out, by name.
    """

    figures: dict[str, Figure]
    spectrum: np.ndarray
    feature_std: np.ndarray
    sentences: int
    dimension: int
    settings: dict[str, Any]
    missing: dict[str, str] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain values, ready for `json.dumps`."""
        return {
            "figures": {name: asdict(figure) for name, figure in self.figures.items()},
            "spectrum": self.spectrum.tolist(),
            "feature_std": self.feature_std.tolist(),
            "sentences": self.sentences,
            "dimension": self.dimension,
            "settings": self.settings,
            "missing": self.missing,
        }


FIGURES: dict[str, FigureText] = {
    "alignment": FigureText(
        "Alignment",
        "Mean squared distance of pairs that mean the same; lower is better, 0 to 4.",
        "A collapsed space has 0, so read it with uniformity; other pairs, or another gold"
        " threshold, give another figure.",
        "Wang & Isola 2020, eq. 6",
    ),
    "uniformity": FigureText(
        "Uniformity",
        "How evenly the sentences cover the sphere; lower is better, from 0 (collapsed) to about"
        " −4.",
        "Nearly blind to unused dimensions; repeated sentences raise it, and another set of"
        " sentences or a small dimension (the floor is −4 + 8/D) gives another figure.",
        "Wang & Isola 2020, eq. 7",
    ),
    "mean_cosine": FigureText(
        "Mean cosine",
        "Cosine of two random sentences; near 0 the space is centred, near 1 all look alike.",
        "A constant offset alone raises it and changes no ranking; sentences on one topic have a"
        " higher one by right.",
        "Ethayarajh 2019",
    ),
    "isoscore": FigureText(
        "IsoScore",
        "Share of the dimensions that vary evenly; 1 is isotropic, 0 a single direction.",
        "Does not see the mean (read it with the mean cosine), is too low unless there are many"
        " more sentences than dimensions, and compares only equal N and D.",
        "Rudman et al. 2022, Algorithm 1",
    ),
    "participation_ratio": FigureText(
        "Participation ratio",
        "Number of directions the variance is spread over; higher is richer, at most D.",
        "Governed by the few largest directions; grows with the number of sentences until that"
        " is far above D.",
        "(Σλ)² / Σλ² of the covariance",
    ),
    "effective_rank": FigureText(
        "Effective rank",
        "Number of directions in use, small ones included, after centring; at most D.",
        "Noise in weak directions counts as use; grows with the number of sentences, so compare"
        " equal N and D only.",
        "Roy & Vetterli 2007",
    ),
    "rankme": FigureText(
        "RankMe",
        "Effective rank without centring: a common direction shared by all sentences lowers it.",
        "Made to compare runs of one method on one data set, not methods, sizes or dimensions;"
        " here of unit rows, the paper's are at their own lengths.",
        "Garrido et al. 2023",
    ),
    "feature_spread": FigureText(
        "Feature spread",
        "Mean standard deviation of the features times √D: 1 on an even sphere, 0 collapsed.",
        "A rotation of the space changes it though no cosine changes; a low mean does not tell"
        " how many features are dead (see the list of them).",
        "Chen & He 2021, section 4.1",
    ),
    "hubness": FigureText(
        "Hubness",
        "Skewness of how often a sentence is a neighbour of others; near 0 there are no hubs.",
        "Depends on the number of sentences and on k, and rises with intrinsic dimension even in"
        " a perfect space; repeated sentences are each other's neighbours.",
        "Radovanović et al. 2010",
    ),
    "anti_hubs": FigureText(
        "Anti-hubs",
        "Share of sentences that are nobody's near neighbour, which no search by k finds.",
        "Depends on the number of sentences and on k like hubness.",
        "Radovanović et al. 2010",
    ),
    "length_bias": FigureText(
        "Length bias",
        "Correlation of cosine with difference in length; below 0, equally long sentences look"
        " alike.",
        "Where length goes with topic or genre an honest space has some too; another unit of"
        " length or another text is not comparable.",
        "after Wu et al. 2022 (ESimCSE)",
    ),
    "effective_negatives": FigureText(
        "Effective negatives",
        "How many negatives of a batch the InfoNCE gradient really pulls on, at this temperature.",
        "Depends on temperature and batch size; measured without dropout and on these"
        " sentences, not on the training batches.",
        "Wang & Liu 2021, relative penalty; Hill 1973",
    ),
}


def measure_space(
    embeddings: Any,
    *,
    pairs: Any = None,
    gold: Any = None,
    threshold: float | None = None,
    lengths: Any = None,
    t: float = 2.0,
    temperature: float = 0.05,
    batch: int = 64,
    k: int = 10,
    level: float = 0.95,
    draws: int = 1000,
    seed: int = 0,
    exact_up_to: int = 100_000,
    sample: int = 20_000,
) -> Space:
    """All figures of a space, with percentile intervals over resampled sentences.

    An interval tells how far the figure would move with other sentences of the same kind and
    number. It does not correct what depends on that number (the ranks, hubness). Alignment
    resamples pairs; effective negatives have Student's interval over their disjoint batches.
    There is none (None) for alignment from one pair, effective negatives from fewer than 4
    batches, and fewer than 10 anti-hubs. A figure that these sentences have none of (length bias
    of equally long ones, alignment without a close pair) is left out, with the reason in `missing`.

    Args:
        embeddings: (N, D), one row a distinct sentence, N > k and N ≥ `batch`.
        pairs: int (P, 2), the rows of sentences that mean the same; without it there is no
            alignment.
        gold: (P,) scores; alignment is over the pairs strictly above `threshold` only, by default
            four fifths of the scale (`scales.close_above`): 4 where it goes to 5.
        lengths: (N,) positive lengths in any unit; without it there is no length bias.
        t: scale of uniformity.
        temperature, batch: of effective negatives.
        k: neighbours of hubness.
        level, draws, seed: of the intervals; `seed` also shuffles and samples.
        exact_up_to: sentences up to which uniformity is over all pairs; beyond, it is over
            1,000,000 random pairs, its interval that of drawing them.
        sample: hubness and length bias, quadratic in N, take so many random sentences at most.

    Raises:
        InputError: as the single figures do; pairs outside the rows; no pair above a `threshold`
            that was given.
    """
    draws = check_draws(draws, level)
    unit = unit_rows(embeddings, "embeddings", at_least=whole_number(k, "k") + 1)
    n, dimension = unit.shape
    resampling = _Resampling(draws, level, seed)
    found: dict[str, tuple[float, tuple[float, float] | None, int, str]] = {}

    missing: dict[str, str] = {}
    chosen_here = gold is not None and threshold is None
    if gold is not None and threshold is None:
        threshold = close_above(checked_scores(gold, len(np.atleast_1d(gold))))
    distances = None
    try:
        distances = close_distances(unit, pairs, gold, threshold)
    except Unmeasurable as error:
        if not chosen_here:
            raise
        missing["alignment"] = str(error)
    if distances is not None:
        interval = resampling.of_mean(distances) if len(distances) > 1 else None
        found["alignment"] = (float(distances.mean()), interval, len(distances), "pairs")

    influences: dict[str, np.ndarray] = {}
    values, influences, spectrum = spectral_figures(unit)
    values["mean_cosine"], influences["mean_cosine"] = mean_cosine_with_influence(unit)
    if n <= exact_up_to:
        values["uniformity"], shares = uniformity_with_influence(unit, t, _BLOCK)
        influences["uniformity"] = shares
    else:
        drawn = sampled_uniformity(unit, t=t, seed=seed)
        reach = NormalDist().inv_cdf((1 + level) / 2) * drawn.standard_error
        interval = (drawn.value - reach, drawn.value + reach)
        found["uniformity"] = (drawn.value, interval, drawn.pairs, "pairs")
    for name, interval in resampling.of_influences(values, influences).items():
        found[name] = (values[name], interval, n, "sentences")

    few = unit
    if n > sample:
        chosen = np.sort(np.random.default_rng(seed).choice(n, size=sample, replace=False))
        few = unit[chosen]
        lengths = None if lengths is None else positive_lengths(lengths, n)[chosen]
    found |= _hubs(few, k, resampling)
    if lengths is not None:
        try:
            value, influence = length_bias_with_influence(few, lengths, _BLOCK)
        except Unmeasurable as error:
            missing["length_bias"] = str(error)
        else:
            both = {"length_bias": value}, {"length_bias": influence}
            interval = resampling.of_influences(*both)["length_bias"]
            found["length_bias"] = (value, interval, len(few), "sentences")

    batches = batch_perplexities(unit, temperature, batch, seed)
    interval = student_interval(batches, level) if len(batches) >= _FEW_BATCHES else None
    found["effective_negatives"] = (float(batches.mean()), interval, len(batches), "batches")

    figures = {
        name: Figure(name, *found[name], meaning=text.meaning, pitfall=text.pitfall)
        for name, text in FIGURES.items()
        if name in found
    }
    settings = {
        "threshold": threshold if gold is not None else None,
        "t": t,
        "temperature": temperature,
        "batch": batch,
        "k": k,
        "level": level,
        "draws": draws,
        "seed": seed,
    }
    return Space(figures, spectrum, feature_spread(unit), n, dimension, settings, missing)


@dataclass(frozen=True)
class _Resampling:
    draws: int
    level: float
    seed: int

    def of_mean(self, values: np.ndarray) -> tuple[float, float]:
        """Interval of the mean of `values` (N,)."""
        return self.of(values[:, None], lambda means: means[:, 0])

    def of(
        self, values: np.ndarray, figure: Callable[[np.ndarray], np.ndarray]
    ) -> tuple[float, float]:
        """Interval of a function from means (draws, F) of `values` (N, F) to (draws,)."""
        return percentiles(figure(resampled_means(values, self.draws, self.seed)), self.level)

    def of_influences(
        self, values: dict[str, float], influences: dict[str, np.ndarray]
    ) -> dict[str, tuple[float, float]]:
        """Intervals of figures from the influences (N,) on each, all over the same resamples."""
        names = list(influences)
        columns = np.stack([influences[name] for name in names], axis=1)
        means = resampled_means(columns, self.draws, self.seed)
        intervals = {}
        for name, moved in zip(names, means.T, strict=True):
            # Uniformity is a log: what is resampled is each sentence's share of the potential.
            shift = 2 * np.log1p(moved) if name == "uniformity" else moved
            intervals[name] = percentiles(values[name] + shift, self.level)
        return intervals


def _hubs(
    unit: Tensor, k: int, resampling: _Resampling
) -> dict[str, tuple[float, tuple[float, float] | None, int, str]]:
    """Both figures of hubness. The neighbours stay as they are; their counts are resampled."""
    counts = occurrences_of(unit, k)
    moments = occurrence_moments(counts)
    skewness, anti_hubs = skewness_and_anti_hubs(moments.mean(axis=0))
    interval = resampling.of(moments, lambda means: skewness_and_anti_hubs(means)[0])
    of_none = None
    if (counts == 0).sum() >= _FEW_EVENTS:
        of_none = resampling.of(moments, lambda means: skewness_and_anti_hubs(means)[1])
    return {
        "hubness": (float(skewness), interval, len(unit), "sentences"),
        "anti_hubs": (float(anti_hubs), of_none, len(unit), "sentences"),
    }
