"""What helped, by how much: differences with their intervals, a panel a file of figures.

    python -m eval.quality.gains eval/results/family-unsup.json … --png docs/images/gains.png

Reads what `eval.quality.family`, `unlabelled`, `homes` and `adapt` have written. Of a trial, the
difference of the suite to its first recipe; of runs of variants, that of the STS average (at home:
of its own figure) to the first variant they were compared with, or to the encoder as it was. Bars
are the 95 % intervals over other seeds and other pairs; in colour what can be told from zero: by
the p-value, which a trial corrects for its number of recipes, or where there is none, the interval.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eval.ending import ending
from eval.quality.kept_runs import AVERAGE
from simcse_kit.errors import InputError
from simcse_kit.evaluation.canvas import (
    BLUE,
    FAINT,
    GRID,
    INK,
    ORANGE,
    bare,
    new_figure,
    save_picture,
)
from simcse_kit.evaluation.statistics import Comparison, Interval


@dataclass(frozen=True)
class Gain:
    """A difference in points, its interval, and whether it can be told from zero.

    Attributes:
        told: 1 where it can be told to be above zero, −1 below, 0 neither.
    """

    name: str
    difference: float
    low: float
    high: float
    told: int


@dataclass(frozen=True)
class Panel:
    """The differences of one figure to one baseline, the largest first."""

    title: str
    gains: Sequence[Gain]


def panels_of(path: Path) -> list[Panel]:
    """What a file of figures has to show.

    Raises:
        InputError: the file cannot be read, or no difference with an interval is in it.
    """
    try:
        figures = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: {error}") from None
    if "recipes" in figures:
        found = [Panel(f"STS average, less {figures['baseline']}'s", list(_of_trial(figures)))]
    elif "homes" in figures:
        found = [_of_runs(each["summary"], each["figure"]) for each in figures["homes"].values()]
    elif "summary" in figures:
        found = [_of_runs(figures["summary"], AVERAGE)]
    else:
        found = []
    kept = [Panel(each.title, _ranked(each.gains)) for each in found if each.gains]
    if not kept:
        raise InputError(f"{path} holds no differences: give what family, homes or adapt wrote")
    return kept


def _ranked(gains: Sequence[Gain]) -> list[Gain]:
    return sorted(gains, key=lambda gain: -gain.difference)


def _of_trial(figures: Mapping[str, Any]) -> Iterator[Gain]:
    for recipe in figures["recipes"]:
        told = recipe.get("suite_difference")
        if told is not None:
            yield _gain(recipe["name"], told)


def _of_runs(summary: Mapping[str, Any], label: str) -> Panel:
    """Of each variant, to the first that others were compared with, or else to the start."""
    told = {name: figures[label] for name, figures in summary.items() if label in figures}
    keys = [key for each in told.values() for key in each if key.startswith("above ")]
    over = next((key for key in keys if key != "above start"), "above start")
    if over == "above start":
        baseline = "the encoder's as it was"
        gains = [_above_start(name, each) for name, each in told.items() if "interval" in each]
    else:
        baseline = f"{over.removeprefix('above ')}'s"
        gains = [_gain(name, each[over]) for name, each in told.items() if over in each]
    return Panel(f"{label}, less {baseline}", gains)


def _above_start(name: str, told: Mapping[str, Any]) -> Gain:
    low, high = told["interval"]
    return Gain(name, told["above start"], low, high, (low > 0) - (high < 0))


def _gain(name: str, told: Mapping[str, Any]) -> Gain:
    found = Comparison(**{**told, "interval": Interval(**told["interval"])})
    return Gain(name, found.difference, found.interval.low, found.interval.high, found.told)


def picture(panels: Sequence[Panel], path: Path) -> Path:
    """A point and a bar a difference, panels below each other, as PNG."""
    rows = [len(panel.gains) for panel in panels]
    figure = new_figure(7.2, 0.5 * len(panels) + 0.32 * sum(rows) + 0.4)
    axes = figure.subplots(len(panels), 1, squeeze=False, height_ratios=[n + 1 for n in rows])
    for axis, panel in zip(axes[:, 0], panels, strict=True):
        bare(axis)
        axis.grid(axis="x", color=GRID, linewidth=0.8)
        axis.set_axisbelow(True)
        axis.axvline(0, color=FAINT, linewidth=1)
        for place, gain in enumerate(panel.gains):
            colour = {1: BLUE, -1: ORANGE, 0: FAINT}[gain.told]
            axis.plot((gain.low, gain.high), (place, place), color=colour, linewidth=2)
            axis.plot(gain.difference, place, "o", color=colour, markersize=6)
            said = f"  {gain.difference:+.2f}".replace("-", "−")
            axis.annotate(
                said,
                (gain.high, place),
                va="center",
                fontsize=8.5,
                color=INK,
                bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.5},
            )
        axis.set_yticks(range(len(panel.gains)), [gain.name for gain in panel.gains])
        axis.set_ylim(len(panel.gains) - 0.4, -0.6)
        axis.margins(x=0.12)
        axis.set_title(panel.title, loc="left", fontsize=10.5, color=INK)
    axes[-1, 0].set_xlabel("points", color=INK)
    return save_picture(figure, path)


def parse(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("figures", type=Path, nargs="+", metavar="FILE.json")
    parser.add_argument("--png", type=Path, required=True)
    return parser.parse_args(words)


def run(options: argparse.Namespace) -> Path:
    """Read the files and draw them."""
    return picture([panel for each in options.figures for panel in panels_of(each)], options.png)


if __name__ == "__main__":
    raise SystemExit(ending(lambda: print(run(parse()))))
