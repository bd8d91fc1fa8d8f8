"""The sweep of the temperature as a PNG file."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from simcse_kit.data import for_picture
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
from simcse_kit.evaluation.temperature import BAND_NAMES, TemperatureSweep

_STRENGTHS = (1.0, 0.62, 0.32, 0.12)  # of a band's colour, the hardest first


def temperature_picture(found: TemperatureSweep, path: Path | str) -> Path:
    """Where the force lies at each temperature, and how many negatives and anchors have it.

    Raises:
        InputError: the file cannot be written.
    """
    at, places = found.forces.at, np.arange(len(found.forces.at))
    names = [f"{force.temperature:g}" for force in at]
    figure = new_figure(7.2, 6.4)
    above, below = figure.subplots(2, 1, sharex=True)
    start = np.zeros(len(at))
    for (band, name), strength in zip(BAND_NAMES.items(), _STRENGTHS, strict=True):
        shares = 100 * np.array([force.shares[band].value for force in at])
        evenly = f"{name} ({found.forces.even[band]:.1%} of the negatives)"
        above.bar(places, shares, 0.72, start, color=BLUE, alpha=strength, label=evenly)
        start += shares
    bare(above)
    above.set_ylabel("Force on the negatives, %", color=INK)
    title = for_picture(f"{Path(found.model).name} on {found.views} of {Path(found.source).name}")
    above.set_title(title, loc="left", fontsize=11, color=INK)
    figure.legend(
        *above.get_legend_handles_labels(),
        loc="outside lower center", ncols=2, frameon=False, fontsize=8.5, labelcolor=INK,
    )  # fmt: skip
    bare(below)
    below.grid(axis="y", color=GRID, linewidth=0.8)
    effective = [100 * force.effective_negatives.value / found.forces.negatives for force in at]
    positive = [100 * force.positive.value for force in at]
    lines = ((effective, ORANGE, "effective negatives"), (positive, GREEN, "p of the positive"))
    for values, colour, name in lines:
        below.plot(places, values, color=colour, marker="o", markersize=4, label=name)
    below.set_ylim(0, 104)
    below.set_ylabel("% of all negatives; p in %", color=INK)
    below.set_xticks(places, names)
    below.set_xlabel("Temperature τ", color=INK)
    below.legend(frameon=False, fontsize=8.5, labelcolor=INK)
    above.tick_params(axis="x", colors=FAINT)
    return save_picture(figure, path)
