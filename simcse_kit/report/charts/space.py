"""Pictures of a space: alignment and uniformity, cosines by gold score, the spectrum."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from simcse_kit.report.charts.chart import Chart, legend, mark, model_paint, numbered, span
from simcse_kit.report.svg import TEXT, bare, canvas, paint, to_svg
from simcse_kit.report.words import brief, minus

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from simcse_kit.report.data import Bands, ModelReport, Report


_FAR = 1.0  # an alignment above it, such as the even sphere's 2, would leave the others a corner


def plane(report: Report) -> Chart | None:
    """Alignment against uniformity, with intervals: the good corner is the lower left one."""
    from simcse_kit.evaluation import place_labels

    known = [
        (number, model) for number, model in numbered(report) if "alignment" in model.space.figures
    ]
    if not known:
        return None
    figure = canvas(300)
    axis = bare(figure.subplots())
    axis.grid(color=paint("rule"), linewidth=0.8)
    spots, rows = [], []
    for number, model in known:
        a, u = (model.space.figures[name] for name in ("alignment", "uniformity"))
        spots.append((u.value, a.value))
        _cross(axis, u.value, a.value, u.interval, a.interval, number)
        rows.append(
            (
                model.name,
                *(f"{minus(f'{f.value:.3f}')} ({span(f.interval, 3)})" for f in (a, u)),
            )
        )
    beside = [
        (one.name, one.values["uniformity"], one.values["alignment"])
        for one in report.references
        if one.values["alignment"] < _FAR
    ]
    for name, x, y in beside:
        axis.plot([x], [y], "o", color=paint("axis"), markersize=5, fillstyle="none", zorder=2)
        rows.append((name, *(minus(f"{value:.3f}") for value in (y, x))))
    better_below(axis)
    figure.draw_without_rendering()
    spots += [(x, y) for _, x, y in beside]
    across, up = (np.array(values) for values in zip(*spots, strict=True))
    place_labels(
        axis,
        across,
        up,
        [
            brief(name, 24)
            for name in (*(model.name for _, model in known), *(b[0] for b in beside))
        ],
        colours=[
            *(paint(model_paint(number)) for number, _ in known),
            *(paint("muted") for _ in beside),
        ],
        fontsize=TEXT,
        halo=False,
    )
    title = "Alignment and uniformity"
    text = "; ".join(f"{name}: alignment {a}, uniformity {u}" for name, a, u in rows)
    svg = to_svg(figure, "plane", title, f"Lower and further left is better. {text}")
    return Chart(svg, title, ("Model", "Alignment", "Uniformity"), tuple(rows))


def densities(model: ModelReport, number: int, limits: tuple[float, float]) -> Chart:
    """The cosines of each gold band: one ridge a band, its median marked."""
    bands = model.bands
    figure = canvas(262)
    axis = bare(figure.subplots())
    axis.spines["left"].set_visible(False)
    grid = np.linspace(*limits, 200)
    count = len(bands.cosines)
    for band, inside in enumerate(bands.cosines):
        strength = 0.3 + 0.6 * band / max(count - 1, 1)
        _ridge(axis, band, inside, grid, paint(model_paint(number)), strength)
        if len(inside):
            _margin(axis, 1, band + 0.18, minus(f"{np.median(inside):.2f}"), "ink")
        _margin(axis, 0, band + 0.18, _band(bands, band), "ink")
    _margin(axis, 0, count + 0.3, "Gold", "muted")
    _margin(axis, 1, count + 0.3, "Median", "muted")
    axis.set_yticks([])
    axis.set_ylim(-0.08, count + 0.45)
    axis.set_xlim(*limits)
    axis.set_xlabel(f"Cosine of the pair, {brief(bands.task)}")
    title = f"{model.name}: cosines by gold score"
    rows = []
    for band, inside in enumerate(bands.cosines):
        quartiles = np.quantile(inside, [0.25, 0.5, 0.75]) if len(inside) else []
        shown = [minus(f"{value:.3f}") for value in quartiles] or ["–"] * 3
        rows.append((_band(bands, band), f"{len(inside):,}", *shown))
    medians = ", ".join(f"{row[0]}: {row[3]}" for row in rows)
    svg = to_svg(figure, f"densities-{number + 1}", title, f"Medians by gold score: {medians}")
    header = ("Gold", "Pairs", "Lower quartile", "Median", "Upper quartile")
    return Chart(svg, title, header, tuple(rows))


def cosine_limits(report: Report) -> tuple[float, float]:
    """One scale of cosines for all models."""
    every = np.concatenate([part for model in report.models for part in model.bands.cosines])
    pad = 0.05 * max(float(np.ptp(every)), 1e-3)
    return max(float(every.min()) - pad, -1.0), min(float(every.max()) + pad, 1.0)


def spectrum(report: Report) -> Chart:
    """Singular values of the centred embeddings, largest first."""
    figure = canvas(260)
    axis = bare(figure.subplots())
    axis.grid(axis="y", color=paint("rule"), linewidth=0.8)
    axis.set_yscale("log")
    rows = []
    styles: tuple[Any, ...] = ("-", (0, (6, 2)), (0, (2, 1.5)), "-.", (0, (8, 2, 2, 2, 2, 2)), ":")
    for number, model in numbered(report):
        values = model.space.spectrum
        axis.plot(
            1 + np.arange(len(values)),
            values,
            color=paint(model_paint(number)),
            linewidth=1.9,
            linestyle=styles[number % len(styles)],
        )
        share = np.cumsum(values**2) / np.sum(values**2)
        half, most = (int(np.searchsorted(share, part)) + 1 for part in (0.5, 0.9))
        rows.append((model.name, f"{model.space.dimension:,}", f"{half:,}", f"{most:,}"))
    axis.set_xlabel("Direction, by its variance")
    axis.set_ylabel("Singular value")
    axis.minorticks_off()
    axis.yaxis.set_major_formatter("{x:g}")
    # A normalised layer leaves the last direction nothing but rounding, which sets no scale.
    ends = [s[int(0.98 * (len(s) - 1))] for s in (model.space.spectrum for model in report.models)]
    top = max(model.space.spectrum[0] for model in report.models)
    axis.set_ylim(max(0.5 * min(ends), 1e-4 * top), 1.5 * top)
    legend(axis, axis.get_lines(), [brief(name) for name, *_ in rows])
    title = "Spectrum"
    text = "; ".join(f"{n}: {h} of {d} directions hold half the variance" for n, d, h, _ in rows)
    svg = to_svg(figure, "spectrum", title, f"A flat line is an even space. {text}")
    header = ("Model", "Dimensions", "Directions for 50 %", "for 90 % of the variance")
    return Chart(svg, title, header, tuple(rows))


def better_below(axis: Axes) -> None:
    """What a plane of uniformity and alignment says at its edges, once its points are there."""
    axis.margins(0.2)
    _widen(axis, 0.6, 0.12)
    axis.set_xlabel("Uniformity, lower is better")
    axis.set_ylabel("Alignment, lower is better")
    axis.annotate(
        "better",
        xy=(0.015, 0.02),
        xytext=(0.1, 0.1),
        xycoords="axes fraction",
        color=paint("muted"),
        fontsize=TEXT,
        arrowprops={"arrowstyle": "->", "color": paint("axis")},
    )


def _widen(axis: Axes, wide: float, high: float) -> None:
    """Limits of at least this width, so that a hair's breadth does not fill the picture."""
    for get, put, least in (
        (axis.get_xlim, axis.set_xlim, wide),
        (axis.get_ylim, axis.set_ylim, high),
    ):
        low, top = get()
        more = max(0.0, least - (top - low)) / 2
        put(low - more, top + more)


def _cross(
    axis: Axes,
    x: float,
    y: float,
    along: tuple[float, float] | None,
    across: tuple[float, float] | None,
    number: int,
) -> None:
    colour = paint(model_paint(number))
    if along is not None:
        axis.plot(along, [y, y], color=colour, linewidth=1.4)
    if across is not None:
        axis.plot([x, x], across, color=colour, linewidth=1.4)
    axis.plot(
        [x], [y], mark(number), color=colour, markersize=9, markeredgecolor=paint("paper"), zorder=3
    )


def _ridge(
    axis: Axes, band: int, values: np.ndarray, grid: np.ndarray, colour: str, strength: float
) -> None:
    axis.axhline(band, color=paint("rule"), linewidth=0.8, zorder=1)
    order = 20 - band  # lower bands in front, so that no ridge hides its own base
    if len(values) > 1 and np.ptp(values) > 0:
        from scipy.stats import gaussian_kde

        density = gaussian_kde(values)(grid)
        height = band + 1.15 * density / density.max()
        axis.fill_between(grid, band, height, color=paint("paper"), linewidth=0, zorder=order)
        axis.fill_between(grid, band, height, color=colour, alpha=strength, lw=0, zorder=order)
        axis.plot(grid, height, color=colour, linewidth=1.2, zorder=order)
    if len(values):
        marks = [float(np.median(values))] * 2
        axis.plot(marks, [band, band + 0.3], color=paint("paper"), linewidth=3.6, zorder=30)
        axis.plot(marks, [band, band + 0.3], color=paint("ink"), linewidth=1.6, zorder=31)


def _margin(axis: Axes, side: int, y: float, text: str, colour: str) -> None:
    """Text outside the left (0) or right (1) edge, level with `y`: it never meets a curve."""
    axis.annotate(
        text,
        (side, y),
        xycoords=("axes fraction", "data"),
        xytext=(8 if side else -8, 0),
        textcoords="offset points",
        ha="left" if side else "right",
        va="center",
        fontsize=TEXT,
        color=paint(colour),
    )


def _band(bands: Bands, band: int) -> str:
    return f"{bands.edges[band]:g}–{bands.edges[band + 1]:g}"
