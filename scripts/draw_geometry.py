"""The pictures of docs/geometry.md: each figure, computed by the package, of spaces made to differ.

    python scripts/draw_geometry.py docs/images/geometry

The spaces are synthetic and seeded; every number in a picture is what `simcse_kit.geometry` gives.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from simcse_kit.geometry import (
    alignment,
    effective_negatives,
    effective_rank,
    feature_spread,
    hubness,
    isoscore,
    k_occurrences,
    length_bias,
    mean_cosine,
    participation_ratio,
    rankme,
    uniformity,
)

Array = np.ndarray[Any, Any]
BLUE, ORANGE, INK = "#3b8ec2", "#e07b39", "#888888"  # all three read on white and on black
N, DIMENSION = 600, 64


def cloud(seed: int = 0, rows: int = N, dimension: int = DIMENSION) -> Array:
    """Points even on the sphere, (rows, dimension)."""
    return np.random.default_rng(seed).normal(size=(rows, dimension))


def decaying(slope: float) -> Array:
    """A cloud whose k-th direction has the standard deviation k^-slope."""
    return cloud() * (1 + np.arange(DIMENSION)) ** -slope


def circle(angles: Array) -> Array:
    """Points on the unit circle, (len(angles), 2)."""
    return np.stack([np.cos(angles), np.sin(angles)], axis=1)


def draw_alignment(figure: Figure) -> None:
    """Pairs joined by a line, near and far."""
    angles = np.random.default_rng(1).uniform(0, 2 * np.pi, 14)
    for axis, spread in zip(figure.subplots(1, 2), (0.12, 0.7), strict=True):
        one = circle(angles)
        other = circle(angles + spread * np.random.default_rng(2).normal(size=len(angles)))
        _sphere(axis)
        for a, b in zip(one, other, strict=True):
            axis.plot(*zip(a, b, strict=True), color=INK, linewidth=1)
        axis.scatter(*one.T, color=BLUE, s=22, zorder=3)
        axis.scatter(*other.T, color=ORANGE, s=22, zorder=3)
        axis.set_title(f"alignment {alignment(one, other):.2f}")


def draw_uniformity(figure: Figure) -> None:
    """Points in a heap, and all around."""
    rng = np.random.default_rng(3)
    spaces = (rng.normal(0, 0.35, 60), rng.uniform(0, 2 * np.pi, 60))
    for axis, angles in zip(figure.subplots(1, 2), spaces, strict=True):
        points = circle(angles)
        _sphere(axis)
        axis.scatter(*points.T, color=BLUE, s=16, alpha=0.8, zorder=3)
        axis.set_title(f"uniformity {uniformity(points):.2f}")


def draw_mean_cosine(figure: Figure) -> None:
    """Cosines of all pairs, of a centred cloud and of the same with an offset."""
    axis = figure.subplots()
    for offset, colour in ((0.0, BLUE), (0.9, ORANGE)):
        points = cloud() + offset
        unit = points / np.linalg.norm(points, axis=1, keepdims=True)
        cosines = (unit @ unit.T)[np.triu_indices(N, 1)]
        label = f"mean cosine {mean_cosine(points):.2f}"
        axis.hist(cosines, bins=80, density=True, color=colour, alpha=0.6, label=label)
    axis.set_xlabel("cosine of two random sentences")
    axis.set_yticks([])
    _legend(axis)


def draw_spectrum(figure: Figure) -> None:
    """Spectra that fall faster and faster, and what four figures say of them."""
    left, right = figure.subplots(1, 2)
    slopes = np.linspace(0, 2, 9)
    for slope in slopes[::4]:
        left.plot(
            (1 + np.arange(DIMENSION)) ** -slope, color=BLUE, alpha=1 - slope / 3, linewidth=1.6
        )
    left.set_title("standard deviation by direction")
    left.set_xlabel("direction")
    measures: dict[str, tuple[Callable[[Array], float], str, str]] = {
        "effective rank": (effective_rank, BLUE, "-"),
        "RankMe": (rankme, BLUE, ":"),
        "participation ratio": (participation_ratio, ORANGE, "-"),
        "IsoScore × D": (lambda points: isoscore(points) * DIMENSION, ORANGE, ":"),
    }
    for name, (measure, colour, style) in measures.items():
        values = [measure(decaying(slope)) for slope in slopes]
        right.plot(slopes, values, color=colour, linestyle=style, linewidth=1.8, label=name)
    right.set_title(f"of {DIMENSION} directions")
    right.set_xlabel("how fast the spectrum falls")
    _legend(right)


def draw_feature_spread(figure: Figure) -> None:
    """Each feature's spread as the space closes in on one direction."""
    axis = figure.subplots()
    for offset, colour in ((0.0, BLUE), (0.5, INK), (2.0, ORANGE)):
        spread = feature_spread(cloud() + offset) * np.sqrt(DIMENSION)
        axis.plot(spread, color=colour, linewidth=1.4, label=f"mean {spread.mean():.2f}")
    axis.set_xlabel("feature")
    axis.set_ylabel("deviation × √D")
    axis.set_ylim(0)
    _legend(axis)


def draw_hubness(figure: Figure) -> None:
    """How often a sentence is somebody's neighbour, in a few dimensions and in many."""
    axis = figure.subplots()
    for dimension, colour in ((3, BLUE), (200, ORANGE)):
        points = cloud(4, 1500, dimension)
        found = hubness(points)
        label = f"D = {dimension}: hubness {found.skewness:.1f}, anti-hubs {found.anti_hubs:.0%}"
        counts = k_occurrences(points)
        axis.hist(counts, bins=[n - 0.5 for n in range(60)], color=colour, alpha=0.6, label=label)
    axis.set_xlabel("times among the 10 nearest of another sentence")
    axis.set_yscale("log")
    _legend(axis)


def draw_length_bias(figure: Figure) -> None:
    """A space in which a direction follows the length, beside one that does not know it."""
    rng = np.random.default_rng(5)
    lengths = np.exp(rng.normal(2.5, 0.6, N))
    along = np.log(lengths)[:, None] - np.log(lengths).mean()
    direction = rng.normal(size=DIMENSION)
    pairs = rng.integers(0, N, size=(250, 2))
    pairs = pairs[pairs[:, 0] != pairs[:, 1]]
    for axis, share in zip(figure.subplots(1, 2, sharey=True), (0.0, 1.0), strict=True):
        points = cloud(6) + share * along * direction
        unit = points / np.linalg.norm(points, axis=1, keepdims=True)
        gaps = np.abs(np.log(lengths[pairs[:, 0]] / lengths[pairs[:, 1]]))
        cosines = (unit[pairs[:, 0]] * unit[pairs[:, 1]]).sum(axis=1)
        axis.scatter(gaps, cosines, s=7, alpha=0.5, color=ORANGE if share else BLUE)
        axis.set_title(f"length bias {length_bias(points, lengths):.2f}")
        axis.set_xlabel("|log ratio of lengths|")
    figure.axes[0].set_ylabel("cosine")


def draw_effective_negatives(figure: Figure) -> None:
    """How many of 63 negatives count, by the temperature."""
    axis = figure.subplots()
    temperatures = np.geomspace(0.01, 1, 25)
    for slope, colour in ((0.0, BLUE), (1.0, ORANGE)):
        points = decaying(slope)
        counts = [effective_negatives(points, temperature=float(t)) for t in temperatures]
        label = "even on the sphere" if slope == 0 else "few directions in use"
        axis.plot(temperatures, counts, color=colour, linewidth=1.8, label=label)
    axis.axvline(0.05, color=INK, linewidth=1, linestyle=":")
    axis.set_xscale("log")
    axis.set_xlabel("temperature (dotted: 0.05)")
    axis.set_ylabel("effective negatives of 63")
    _legend(axis)


PICTURES: dict[str, tuple[Callable[[Figure], None], float]] = {
    "alignment": (draw_alignment, 3.0),
    "uniformity": (draw_uniformity, 3.0),
    "mean-cosine": (draw_mean_cosine, 2.4),
    "spectrum": (draw_spectrum, 2.8),
    "feature-spread": (draw_feature_spread, 2.4),
    "hubness": (draw_hubness, 2.6),
    "length-bias": (draw_length_bias, 2.6),
    "effective-negatives": (draw_effective_negatives, 2.6),
}


def _sphere(axis: Any) -> None:
    around = circle(np.linspace(0, 2 * np.pi, 200))
    axis.plot(*around.T, color=INK, linewidth=0.8, alpha=0.6)
    axis.set_aspect("equal")
    axis.set_axis_off()


def _legend(axis: Any) -> None:
    axis.legend(frameon=False, labelcolor=INK, fontsize=9)


def main(arguments: list[str]) -> int:
    """Draw all of them into a folder."""
    folder = Path(arguments[0])
    folder.mkdir(parents=True, exist_ok=True)
    greys = dict.fromkeys(
        ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color", "ytick.color"), INK
    )
    clean = {"axes.spines.top": False, "axes.spines.right": False, "font.size": 10.0}
    steady = {"svg.hashsalt": "simcse_kit", "svg.fonttype": "none", "axes.titlesize": 10.0}
    with matplotlib.rc_context({**greys, **clean, **steady, "font.family": "sans-serif"}):
        for name, (draw, height) in PICTURES.items():
            figure = Figure(figsize=(6.4, height), layout="constrained")
            draw(figure)
            path = folder / f"{name}.svg"
            figure.savefig(path, transparent=True, metadata={"Date": None})
            print(path)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
