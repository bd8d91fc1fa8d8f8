"""Figures task by task, each with its interval: scores, and differences as a forest plot."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from simcse_kit.evaluation.sts import AVERAGE, shown_p
from simcse_kit.report.charts.chart import (
    Chart,
    label,
    legend,
    mark,
    model_paint,
    numbered,
    span,
)
from simcse_kit.report.svg import bare, canvas, paint, to_svg
from simcse_kit.report.words import brief, signed

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from simcse_kit.evaluation.statistics import Interval
    from simcse_kit.report.data import ModelReport, Report

_ROW = 27.0  # points of height a task takes


def scores(report: Report) -> Chart:
    """Every model's figure on every task, with intervals, and the published ones as ticks."""
    figures = _figures(report)
    figure = canvas(40 + _ROW * len(figures) + 16 * len(report.models))
    axis = bare(figure.subplots())
    rows = []
    offsets = _dodge(len(report.models))
    for offset, (number, model) in zip(offsets, numbered(report), strict=True):
        for place, name in enumerate(figures):
            value, interval = _score(model, name)
            _whisker(axis, place + offset, value, interval, number, bold=name == AVERAGE)
            rows.append((model.name, label(name), f"{value:.2f}", _range(interval)))
    for row in report.published:
        for place, name in enumerate(figures):
            known = row.average if name == AVERAGE else row.scores.get(name)
            if known is not None:
                span = [place - 0.36, place + 0.36]
                axis.plot([known] * 2, span, color=paint("axis"), linewidth=1, zorder=1)
    if report.published:
        axis.plot([], [], color=paint("axis"), linewidth=1, label="published rows")
    _by_task(axis, figures, "Spearman ×100")
    _legend(axis, [model.name for model in report.models], numbered(report)[0][0])
    title = "Scores with their intervals"
    text = "; ".join(f"{m.name}: average {m.result.average:.2f}" for m in report.models)
    svg = to_svg(figure, "scores", title, f"A row a task, a mark a model with its interval. {text}")
    return Chart(svg, title, ("Model", "Task", "Spearman ×100", "Interval"), tuple(rows))


def differences(report: Report) -> Chart | None:
    """The forest plot: by how much each model is above the first, task by task."""
    found = report.comparison
    if found is None:
        return None
    figures = [
        name for name in _figures(report) if all(name in of for of in found.differences.values())
    ]
    if not figures:
        return None
    figure = canvas(40 + _ROW * len(figures) + 16 * len(found.differences))
    axis = bare(figure.subplots())
    axis.axvline(0, color=paint("ink"), linewidth=1, zorder=1)
    offsets = _dodge(len(found.differences))
    rows = []
    for number, (model, of) in enumerate(found.differences.items()):
        for place, name in enumerate(figures):
            one = of[name]
            where = place + offsets[number]
            _whisker(axis, where, one.difference, one.interval, number + 1, bold=name == AVERAGE)
            p = shown_p(one.p_adjusted)
            rows.append((model, label(name), signed(one.difference, 2), _range(one.interval), p))
    _by_task(axis, figures, f"Points above {brief(found.baseline)}")
    low, high = axis.get_xlim()
    axis.set_xlim(min(low, 0), max(high, 0))
    _legend(axis, list(found.differences), 1)
    title = f"Differences from {found.baseline}"
    told = "; ".join(
        f"{model} on average {signed(of[AVERAGE].difference, 2)}"
        for model, of in found.differences.items()
        if AVERAGE in of
    )
    text = f"A row a task; right of zero is better than {found.baseline}. {told}"
    svg = to_svg(figure, "differences", title, text)
    header = ("Model", "Task", "Points", "Interval", "p")
    return Chart(svg, title, header, tuple(rows))


def _figures(report: Report) -> list[str]:
    """The tasks in order, then the average where there is one over several."""
    model = report.models[0].result
    return [*model.tasks, *([AVERAGE] if len(model.average_over) > 1 else [])]


def _score(model: ModelReport, name: str) -> tuple[float, Interval | None]:
    if name == AVERAGE:
        return model.result.average, model.intervals.average
    return model.result.tasks[name].spearman, model.intervals.tasks.get(name)


def _dodge(count: int) -> list[float]:
    """How far from a row's middle each of its marks is."""
    return [] if not count else list((np.arange(count) - (count - 1) / 2) * min(0.26, 0.75 / count))


def _whisker(
    axis: Axes, y: float, value: float, interval: Interval | None, number: int, *, bold: bool
) -> None:
    colour = paint(model_paint(number))
    if interval is not None:
        ends = [interval.low, interval.high]
        axis.plot(ends, [y] * 2, color=colour, linewidth=2.6 if bold else 1.6, zorder=2)
    axis.plot(
        [value],
        [y],
        mark(number),
        color=colour,
        markersize=8 if bold else 5.5,
        markeredgecolor=paint("paper"),
        markeredgewidth=0.8,
        zorder=3,
    )


def _by_task(axis: Axes, figures: Sequence[str], xlabel: str) -> None:
    axis.set_yticks(range(len(figures)), [brief(label(name), 16) for name in figures])
    axis.set_ylim(len(figures) - 0.45, -0.55)
    axis.tick_params(axis="y", length=0)
    axis.spines["left"].set_visible(False)
    axis.grid(axis="x", color=paint("rule"), linewidth=0.8)
    axis.margins(x=0.04)
    axis.locator_params(axis="x", nbins=6)
    axis.set_xlabel(xlabel)
    if AVERAGE in figures:
        axis.get_yticklabels()[-1].set_fontweight("bold")
        axis.axhline(len(figures) - 1.5, color=paint("rule"), linewidth=0.8, zorder=0)


def _legend(axis: Axes, names: Sequence[str], first: int) -> None:
    """The models above the picture, numbered from `first`, then what else has a label."""
    from matplotlib.lines import Line2D

    handles: list[Any] = [
        Line2D(
            [],
            [],
            color=paint(model_paint(n)),
            marker=mark(n),
            markersize=6,
            linewidth=1.6,
        )
        for n, name in enumerate(names, start=first)
    ]
    others, labels = axis.get_legend_handles_labels()
    legend(axis, handles + others, [brief(name) for name in names] + labels)


def _range(interval: Interval | None) -> str:
    return "–" if interval is None else span((interval.low, interval.high), 1)
