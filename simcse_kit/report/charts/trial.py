"""Pictures of a trial: scores and differences recipe by recipe, the plane, and what each costs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from simcse_kit.evaluation.sts import shown_p
from simcse_kit.report.charts.chart import Chart, span
from simcse_kit.report.charts.space import better_below
from simcse_kit.report.svg import TEXT, bare, canvas, paint, to_svg
from simcse_kit.report.words import brief, minus, signed

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from simcse_kit.evaluation.statistics import Interval
    from simcse_kit.training import Measured, RecipeResult, TrialResult

_ROW = 25.0  # points of height a recipe takes
_PALEST = 0.2  # of the point with the lowest score
_TOLD = {1: "good", 0: "muted", -1: "bad"}  # paint of a difference, by what can be told of it


def trial_scores(result: TrialResult) -> Chart | None:
    """The dev figure: a small mark a seed, a large one for their mean, with its interval."""
    known = [(one, one.dev) for one in result.recipes if one.dev is not None]
    if not known:
        return None
    figure = canvas(48 + _ROW * len(known))
    axis = bare(figure.subplots())
    rows = []
    for place, (one, dev) in enumerate(known):
        colour = paint("ink" if one.name == result.baseline else "accent")
        if dev.interval is not None:
            ends = [dev.interval.low, dev.interval.high]
            axis.plot(ends, [place] * 2, color=colour, linewidth=1.6, zorder=2)
        scores = [run["score"] for run in one.runs.values()]
        axis.plot(scores, [place] * len(scores), "o", color=colour, markersize=3.5, alpha=0.5)
        _spot(axis, dev.mean, place, colour)
        seeds = ", ".join(f"{score:.2f}" for score in scores)
        rows.append((one.name, f"{dev.mean:.2f}", _range(dev.interval), seeds))
    _by_recipe(axis, [one for one, _ in known], f"{brief(result.figure)} ×100")
    title = f"{result.figure}, seed by seed"
    text = "; ".join(f"{name}: {score}" for name, score, *_ in rows)
    svg = to_svg(figure, "trial-scores", title, f"A row a recipe, the best first. {text}")
    return Chart(svg, title, ("Recipe", "Mean", "Interval", "Seeds"), tuple(rows))


def trial_differences(result: TrialResult) -> Chart | None:
    """The forest plot: by how much each recipe is above the first."""
    known = [(one, one.difference) for one in result.recipes if one.difference is not None]
    if not known:
        return None
    figure = canvas(48 + _ROW * len(known))
    axis = bare(figure.subplots())
    axis.axvline(0, color=paint("ink"), linewidth=1, zorder=1)
    rows = []
    for place, (one, found) in enumerate(known):
        colour = paint(_TOLD[found.told])
        ends = [found.interval.low, found.interval.high]
        axis.plot(ends, [place] * 2, color=colour, linewidth=2, zorder=2)
        _spot(axis, found.difference, place, colour)
        p = shown_p(found.p_adjusted)
        rows.append((one.name, signed(found.difference, 2), _range(found.interval), p))
    _by_recipe(axis, [one for one, _ in known], f"Points above {brief(result.baseline)}")
    title = f"Differences from {result.baseline}"
    text = "; ".join(f"{name} {points}" for name, points, *_ in rows)
    svg = to_svg(figure, "trial-differences", title, f"Right of zero is better. {text}")
    return Chart(svg, title, ("Recipe", "Points", "Interval", "p"), tuple(rows))


def trial_plane(result: TrialResult) -> Chart | None:
    """Alignment against uniformity, a point a recipe, the stronger the higher its score."""
    from simcse_kit.evaluation import place_labels

    known = [
        (one.name, one.uniformity, one.alignment, one.dev.mean)
        for one in result.recipes
        if one.dev is not None and one.alignment is not None and one.uniformity is not None
    ]
    if not known:
        return None
    figure = canvas(300)
    axis = bare(figure.subplots())
    axis.grid(color=paint("rule"), linewidth=0.8)
    scores = np.array([score for *_, score in known])
    strengths = (scores - scores.min()) / max(float(np.ptp(scores)), 1e-9)
    for (_, x, y, _), strength in zip(known, strengths.tolist(), strict=True):
        alpha = _PALEST + (1 - _PALEST) * strength
        axis.plot([x], [y], "o", color=paint("accent"), markersize=10, alpha=alpha, zorder=3)
        axis.plot([x], [y], "o", color=paint("accent"), markersize=10, fillstyle="none", zorder=3)
    better_below(axis)
    figure.draw_without_rendering()
    across, up = (np.array([each[place] for each in known]) for place in (1, 2))
    labels = [f"{brief(name, 20)} {score:.1f}" for name, *_, score in known]
    colours = [paint("ink")] * len(known)
    place_labels(axis, across, up, labels, colours=colours, fontsize=TEXT, halo=False)
    rows = tuple(
        (name, minus(f"{a:.3f}"), minus(f"{u:.3f}"), f"{score:.2f}") for name, u, a, score in known
    )
    title = "Alignment and uniformity"
    text = "; ".join(f"{n}: alignment {a}, uniformity {u}, score {s}" for n, a, u, s in rows)
    about = "Lower and further left is better; the fuller a point, the higher its score."
    svg = to_svg(figure, "trial-plane", title, f"{about} {text}")
    return Chart(svg, title, ("Recipe", "Alignment", "Uniformity", result.figure), rows)


def trial_cost(result: TrialResult) -> Chart | None:
    """Score against speed: what a point costs."""
    from simcse_kit.evaluation import place_labels

    known = [
        (one.name, one.sentences_per_second, one.dev)
        for one in result.recipes
        if one.dev is not None and one.sentences_per_second is not None
    ]
    if not known:
        return None
    figure = canvas(280)
    axis = bare(figure.subplots())
    axis.grid(color=paint("rule"), linewidth=0.8)
    for name, speed, dev in known:
        colour = paint("ink" if name == result.baseline else "accent")
        _spot(axis, speed, dev.mean, colour)
    axis.margins(0.25)
    axis.set_xlim(left=0)
    axis.set_xlabel("Sentences a second, in training")
    axis.set_ylabel(f"{brief(result.figure)} ×100")
    figure.draw_without_rendering()
    across = np.array([speed for _, speed, _ in known])
    up = np.array([dev.mean for *_, dev in known])
    colours = [paint("ink")] * len(known)
    labels = [brief(name, 20) for name, *_ in known]
    place_labels(axis, across, up, labels, colours=colours, fontsize=TEXT, halo=False)
    title = "Score and speed"
    rows = tuple((name, f"{speed:,.0f}", _mean(dev)) for name, speed, dev in known)
    text = "; ".join(f"{name}: {speed} sentences a second, {score}" for name, speed, score in rows)
    svg = to_svg(figure, "trial-cost", title, f"Higher and further right is better. {text}")
    return Chart(svg, title, ("Recipe", "Sentences/s", result.figure), rows)


def _spot(axis: Axes, x: float, y: float, colour: str) -> None:
    edge: dict[str, Any] = {"markeredgecolor": paint("paper"), "markeredgewidth": 0.8}
    axis.plot([x], [y], "o", color=colour, markersize=7, zorder=3, **edge)


def _by_recipe(axis: Axes, recipes: Sequence[RecipeResult], xlabel: str) -> None:
    axis.set_yticks(range(len(recipes)), [brief(one.name, 18) for one in recipes])
    axis.set_ylim(len(recipes) - 0.5, -0.6)
    axis.tick_params(axis="y", length=0)
    axis.spines["left"].set_visible(False)
    axis.grid(axis="x", color=paint("rule"), linewidth=0.8)
    axis.margins(x=0.06)
    axis.locator_params(axis="x", nbins=5)
    axis.set_xlabel(xlabel)


def _mean(measured: Measured) -> str:
    return f"{measured.mean:.2f}"


def _range(interval: Interval | None) -> str:
    return "–" if interval is None else span((interval.low, interval.high), 2)
