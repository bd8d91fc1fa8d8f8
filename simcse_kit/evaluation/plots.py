"""Pictures of a run and of a space, as PNG files."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from simcse_kit.data import for_picture
from simcse_kit.errors import InputError
from simcse_kit.evaluation.canvas import (
    BLUE,
    FAINT,
    GREEN,
    GRID,
    INK,
    ORANGE,
    bare,
    new_figure,
    save_picture,
)
from simcse_kit.geometry import ALIGNMENT_MAY_RISE, band_edges

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.text import Annotation

_Panel = tuple[str, str, str]  # key in the history, title, colour
_CHOOSING: tuple[_Panel, ...] = (  # a run has one of them: the figure that its step is chosen by
    ("eval_spearman", "Dev Spearman ×100 (higher is better)", BLUE),
    ("eval_recall@1", "Dev recall@1 ×100 (higher is better)", BLUE),
)
_LOSS: _Panel = ("loss", "Training loss (lower is better)", INK)
_GEOMETRY: tuple[_Panel, ...] = (
    ("eval_alignment", "Alignment (lower is better, may rise as the space spreads)", ORANGE),
    ("eval_uniformity", "Uniformity (lower is better)", GREEN),
)
_BATCH_GEOMETRY: tuple[_Panel, ...] = (  # where there is no dev set
    ("alignment", "Alignment, training batches (lower is better)", ORANGE),
    ("uniformity", "Uniformity, training batches (lower is better)", GREEN),
)


def training_curve(history: Sequence[Mapping[str, Any]], path: Path | str) -> Path:
    """The dev figure, the loss, alignment and uniformity against the step, one panel each.

    Args:
        history: the Trainer's log rows: "step" and any of "eval_spearman" (or "eval_recall@1"),
            "loss", "eval_alignment", "eval_uniformity"; where the latter two are missing,
            "alignment" and "uniformity" of the training batches stand in.
        path: the PNG to write.

    Raises:
        InputError: none of these keys is there.
    """
    geometry = [panel for panel in _GEOMETRY if len(series(history, panel[0])[0])]
    panels = [*_CHOOSING, _LOSS, *(geometry or _BATCH_GEOMETRY)]
    panels = [panel for panel in panels if len(series(history, panel[0])[0])]
    if not panels:
        raise InputError(
            "The history holds nothing to draw: no row has a step with eval_spearman, alignment,"
            " uniformity or loss."
        )
    figure = new_figure(7.2, 0.6 + 1.9 * len(panels))
    axes = np.atleast_1d(figure.subplots(len(panels), 1, sharex=True))
    best = best_step(history)
    for axis, (key, title, colour) in zip(axes, panels, strict=True):
        steps, values = series(history, key)
        bare(axis)
        axis.grid(axis="y", color=GRID, linewidth=0.8)
        marker = "o" if len(steps) <= 40 else None
        axis.plot(steps, values, color=colour, linewidth=1.8, marker=marker, markersize=3.5)
        axis.margins(x=0.02, y=0.12)
        chosen = steps.index(best) if best in steps else len(steps) - 1
        axis.plot(steps[chosen], values[chosen], "o", color=colour, markersize=7.5, zorder=5)
        if best is not None:
            axis.axvline(best, color=FAINT, linewidth=0.9, linestyle=(0, (3, 3)), zorder=0)
        axis.set_title(title, loc="left", fontsize=10.5, color=INK)
        # In the title line, where no curve can cross it.
        change = f"{_short(values[0])} → {_short(values[chosen])}".replace("-", "−")
        axis.set_title(change, loc="right", fontsize=10.5, fontweight="bold", color=colour)
    note = "" if best is None else f"   (dashed: best on dev, step {best:,})"
    axes[-1].set_xlabel("Step" + note, color=INK)
    return save_picture(figure, path)


def _short(value: float) -> str:
    """Two decimals; of what is close to zero, a loss say, two digits."""
    return f"{value:.2f}" if abs(value) >= 0.1 or value == 0 else f"{value:.2g}"


def alignment_uniformity_plane(
    results: Mapping[str, tuple[float, float, float]],
    path: Path | str,
    *,
    score: str = "Spearman ×100",
    labelled: Collection[str] | None = None,
) -> Path:
    """Models, or steps of one, in the plane of uniformity and alignment, coloured by their score.

    The lower left corner is the good one (SimCSE, figure 2).

    Args:
        results: model name to (alignment, uniformity, score).
        score: what that is, beside the colours.
        labelled: the names to write beside their points, and then a line joins all points in their
            order; None: every name, and no line.

    Raises:
        InputError: no model, or a value that is not finite.
    """
    if not results:
        raise InputError("There is no model to draw: give at least one result.")
    for name, values in results.items():
        if not np.isfinite(values).all():
            raise InputError(f"{name} has a value that is not finite: {values}.")
    align, uniform, spearman = (
        np.array(v, dtype=float) for v in zip(*results.values(), strict=True)
    )
    figure = new_figure(7.2, 5.4)
    axis = figure.subplots()
    bare(axis)
    axis.grid(color=GRID, linewidth=0.8)
    axis.set_axisbelow(True)
    shown = [index for index, name in enumerate(results) if labelled is None or name in labelled]
    sizes = [110 if index in shown else 45 for index in range(len(results))]
    if labelled is not None:
        axis.plot(uniform, align, color=FAINT, linewidth=1.1, alpha=0.6, zorder=1)
    points = axis.scatter(
        uniform, align, c=spearman, cmap="cividis", s=sizes, edgecolor="white", linewidth=1.2
    )
    if np.ptp(spearman) > 0:
        bar = figure.colorbar(points, ax=axis, pad=0.02, aspect=30)
        bar.set_label(score, color=INK)
        bar.outline.set_visible(False)
    axis.margins(0.18)
    axis.set_xlim(*_at_least(axis.get_xlim(), 0.5))
    axis.set_ylim(*_at_least(axis.get_ylim(), 0.1))
    axis.set_xlabel("Uniformity (lower is better)", color=INK)
    if len(results) > 1:
        axis.set_title(fill(ALIGNMENT_MAY_RISE, 88), loc="left", fontsize=8.5, color=FAINT)
    axis.set_ylabel("Alignment (lower is better)", color=INK)
    axis.annotate(
        "better",
        xy=(0.015, 0.02),
        xytext=(0.09, 0.085),
        xycoords="axes fraction",
        color=FAINT,
        fontsize=9.5,
        arrowprops={"arrowstyle": "->", "color": FAINT},
    )
    figure.draw_without_rendering()  # label places are chosen in pixels of the final layout
    names = [f"{for_picture(n)}  {s:.1f}" for n, s in zip(results, spearman, strict=True)]
    named = [name if index in shown else "" for index, name in enumerate(names)]
    place_labels(axis, uniform, align, named)
    return save_picture(figure, path)


def cosine_densities(cosines: Any, gold: Any, path: Path | str, title: str = "") -> Path:
    """How the cosines of each gold-score band are spread: one ridge a band, median marked.

    A good encoder's ridges move right with the gold score and overlap little. Bands are five
    equal parts of the gold range (0–5 for STS).

    Args:
        cosines: (N,) of the model. gold: (N,) of the annotators.

    Raises:
        InputError: lengths that differ, values that are not finite, constant gold.
    """
    cosines, gold = np.asarray(cosines, dtype=float), np.asarray(gold, dtype=float)
    if cosines.ndim != 1 or cosines.shape != gold.shape or not len(gold):
        raise InputError(
            f"Densities need one cosine and one gold score a pair, not {cosines.shape} and"
            f" {gold.shape}."
        )
    if not (np.isfinite(cosines).all() and np.isfinite(gold).all()):
        raise InputError("Densities need finite cosines and gold scores.")
    edges = band_edges(gold)
    figure = new_figure(7.2, 4.6)
    axis = figure.subplots()
    bare(axis)
    axis.spines["left"].set_visible(False)
    pad = 0.06 * max(np.ptp(cosines), 1e-3)
    grid = np.linspace(max(cosines.min() - pad, -1), min(cosines.max() + pad, 1), 400)
    colours = _ramp(len(edges) - 1)
    for band, (start, end) in enumerate(pairwise(edges)):
        last = band == len(edges) - 2
        inside = cosines[(gold >= start) & ((gold <= end) if last else (gold < end))]
        _ridge(axis, band, inside, grid, colours[band])
        _margin(axis, 0, band + 0.3, f"{start:g} to {end:g}", weight="bold")
        _margin(axis, 0, band + 0.06, f"n = {len(inside):,}", color=FAINT)
        if len(inside):
            _margin(axis, 1, band + 0.18, f"{np.median(inside):.2f}".replace("-", "−"))
    top = len(edges) - 1 + 0.3
    _margin(axis, 0, top, "Gold score", color=FAINT)
    _margin(axis, 1, top, "Median", color=FAINT)
    axis.set_yticks([])
    axis.set_ylim(-0.08, top + 0.1)
    axis.set_xlim(grid[0], grid[-1])
    axis.set_xlabel("Cosine of the pair", color=INK)
    title = for_picture(title) or "Cosines by gold score"
    axis.set_title(title, loc="left", fontsize=12, color=INK, pad=12)
    return save_picture(figure, path)


def series(history: Sequence[Mapping[str, Any]], key: str) -> tuple[list[int], list[float]]:
    """Steps and values of the rows that have the key, in step order, the last row of a step."""
    rows = {int(row["step"]): float(row[key]) for row in history if key in row and "step" in row}
    finite = {step: value for step, value in rows.items() if np.isfinite(value)}
    return sorted(finite), [finite[step] for step in sorted(finite)]


def best_step(history: Sequence[Mapping[str, Any]]) -> int | None:
    """The step with the highest dev figure, None without a dev set."""
    for key, *_ in _CHOOSING:
        steps, scores = series(history, key)
        if steps:
            return steps[int(np.argmax(scores))]
    return None


def _at_least(limits: tuple[float, float], span: float) -> tuple[float, float]:
    """Limits widened to `span`, so that a hair's breadth does not fill the picture."""
    missing = max(0.0, span - (limits[1] - limits[0])) / 2
    return limits[0] - missing, limits[1] + missing


# Offset in points, horizontal and vertical anchor: beside the point first, then its corners.
_Place = tuple[int, int, Literal["left", "center", "right"], Literal["bottom", "center", "top"]]
_PLACES: tuple[_Place, ...] = (
    (11, 0, "left", "center"),
    (-11, 0, "right", "center"),
    (0, 11, "center", "bottom"),
    (0, -11, "center", "top"),
    (9, 9, "left", "bottom"),
    (9, -9, "left", "top"),
    (-9, 9, "right", "bottom"),
    (-9, -9, "right", "top"),
)


def place_labels(
    axis: Axes,
    x: np.ndarray,
    y: np.ndarray,
    labels: Sequence[str],
    *,
    colours: Sequence[str] | None = None,
    fontsize: float = 9.5,
    halo: bool = True,
) -> None:
    """Each label beside its point, at the place of the eight that overlaps least; "" is none.

    The figure must have been laid out. `halo` makes grid lines stop short of the letters, and
    turns these into shapes where the picture is an SVG.
    """
    from matplotlib.patheffects import withStroke

    effects = [withStroke(linewidth=3, foreground="white")] if halo else []
    frame = tuple(axis.get_window_extent().extents)
    centres = axis.transData.transform(np.column_stack([x, y]))
    taken: list[tuple[float, ...]] = [(cx - 9, cy - 9, cx + 9, cy + 9) for cx, cy in centres]
    for index, label in enumerate(labels):
        if not label:
            continue
        text = axis.annotate(
            label,
            (x[index], y[index]),
            xytext=(0, 0),
            textcoords="offset points",
            fontsize=fontsize,
            color=colours[index] if colours else INK,
            path_effects=effects,
        )
        others = taken[:index] + taken[index + 1 :]
        boxes = [_moved(text, place) for place in _PLACES]
        costs = [
            sum(_overlap(box, other) for other in others) + _area(box) - _overlap(box, frame)
            for box in boxes
        ]
        taken.append(_moved(text, _PLACES[int(np.argmin(np.round(costs, 3)))]))


def _moved(text: Annotation, place: _Place) -> tuple[float, ...]:
    """The box in pixels (x0, y0, x1, y1) of the label at a place."""
    text.xyann = place[:2]
    text.set_horizontalalignment(place[2])
    text.set_verticalalignment(place[3])
    return tuple(text.get_window_extent().extents)


def _area(box: Sequence[float]) -> float:
    return max(0.0, box[2] - box[0]) * max(0.0, box[3] - box[1])


def _overlap(a: Sequence[float], b: Sequence[float]) -> float:
    return _area((max(a[0], b[0]), max(a[1], b[1]), min(a[2], b[2]), min(a[3], b[3])))


def _ridge(axis: Axes, band: int, values: np.ndarray, grid: np.ndarray, colour: Any) -> None:
    """One band's density on its own base line, the median as a mark on it."""
    axis.axhline(band, color=GRID, linewidth=0.8, zorder=1)
    if len(values) > 1 and np.ptp(values) > 0:
        from scipy.stats import gaussian_kde

        density = gaussian_kde(values)(grid)
        height = band + 1.15 * density / density.max()
        order = 20 - band  # lower bands in front, so that no ridge hides its own base
        axis.fill_between(grid, band, height, color=colour, alpha=0.88, linewidth=0, zorder=order)
        axis.plot(grid, height, color="white", linewidth=1.2, zorder=order)
    if len(values):
        marks = [float(np.median(values))] * 2
        axis.plot(marks, [band, band + 0.28], color="white", linewidth=3.6, zorder=30)
        axis.plot(marks, [band, band + 0.28], color=INK, linewidth=1.6, zorder=31)


def _margin(
    axis: Axes, side: int, y: float, text: str, color: str = INK, weight: str = "normal"
) -> None:
    """Text outside the left (0) or right (1) edge, level with `y`: it never meets a curve."""
    axis.annotate(
        text,
        (side, y),
        xycoords=("axes fraction", "data"),
        xytext=(10 if side else -10, 0),
        textcoords="offset points",
        ha="left" if side else "right",
        va="center",
        fontsize=9.5,
        color=color,
        fontweight=weight,
    )


def _ramp(n: int) -> list[Any]:
    """Colours from low to high, ordered in lightness too."""
    from matplotlib import colormaps

    return [colormaps["cividis"](value) for value in np.linspace(0.15, 0.9, n)]
