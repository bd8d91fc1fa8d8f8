"""The course of a training, from a run's history."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from simcse_kit.report.charts.chart import Chart
from simcse_kit.report.svg import TEXT, bare, canvas, paint, to_svg
from simcse_kit.report.words import minus

if TYPE_CHECKING:
    from simcse_kit.report.runs import Run

_FALL = 30  # a curve over more than this is drawn on a logarithmic scale
_CURVES = (
    ("eval_spearman", "Dev Spearman ×100, higher better", "accent"),
    ("eval_recall@1", "Dev recall@1 ×100, higher better", "accent"),
    ("loss", "Training loss", "ink"),
    ("eval_alignment", "Dev alignment, lower better", "model-3"),
    ("eval_uniformity", "Dev uniformity, lower better", "model-4"),
    ("alignment", "Alignment, training batches", "model-3"),
    ("uniformity", "Uniformity, training batches", "model-4"),
)


def curves(name: str, run: Run, number: int) -> Chart | None:
    """The course of a training: dev Spearman, loss, alignment and uniformity, by step."""
    from simcse_kit.evaluation import best_step, series

    panels = [(*panel, *series(run.history, panel[0])) for panel in _CURVES]
    panels = [panel for panel in panels if panel[3]]
    if any(panel[0] == "eval_alignment" for panel in panels):  # the dev set's say more
        panels = [panel for panel in panels if panel[0] not in ("alignment", "uniformity")]
    if not panels:
        return None
    figure = canvas(24 + 92 * len(panels))
    axes = np.atleast_1d(figure.subplots(len(panels), 1, sharex=True))
    best, rows = best_step(run.history), []
    for axis, (_, title, colour, steps, values) in zip(axes, panels, strict=True):
        bare(axis).grid(axis="y", color=paint("rule"), linewidth=0.8)
        dots = "o" if len(steps) <= 40 else None
        axis.plot(steps, values, color=paint(colour), linewidth=1.8, marker=dots, markersize=3.5)
        axis.margins(x=0.02, y=0.15)
        if min(values) > 0 and max(values) > _FALL * min(values):
            axis.set_yscale("log")
            axis.yaxis.set_major_formatter("{x:g}")
            axis.minorticks_off()
        else:
            axis.locator_params(axis="y", nbins=4)
        if best is not None and len(steps):
            axis.axvline(best, color=paint("axis"), linewidth=0.9, linestyle=(0, (3, 3)), zorder=0)
        chosen = steps.index(best) if best in steps else len(steps) - 1
        change = " → ".join(_shown(values[place]) for place in (0, chosen))
        axis.set_title(change, loc="right", fontsize=TEXT, color=paint("muted"))
        axis.set_title(title, loc="left", fontsize=TEXT, color=paint("ink"))
        ends = [_shown(value) for value in (values[0], values[-1])]
        rows.append((title, f"{steps[0]:,}", ends[0], f"{steps[-1]:,}", ends[1]))
    note = "" if best is None else f" (dashed: best on dev, step {best:,})"
    axes[-1].set_xlabel("Step" + note)
    axes[-1].locator_params(axis="x", nbins=6, integer=True)
    text = "; ".join(f"{title}: from {first} to {last}" for title, _, first, _, last in rows)
    svg = to_svg(figure, f"curves-{number + 1}", f"Training of {name}", text)
    header = ("", "First step", "Value", "Last step", "Value")
    return Chart(svg, f"Training of {name}", header, tuple(rows))


def _shown(value: float) -> str:
    """Two decimals, or as many digits where these would say nothing."""
    return minus(f"{value:.2f}" if abs(value) >= 0.1 or value == 0 else f"{value:.2g}")
