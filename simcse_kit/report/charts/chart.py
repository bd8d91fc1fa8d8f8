"""What all charts share: how a model is told from the others, and how numbers are written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from simcse_kit.evaluation.sts import AVERAGE
from simcse_kit.report.svg import TEXT, paint
from simcse_kit.report.words import minus

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

    from simcse_kit.report.data import ModelReport, Report

_MARKS = "osD^vP"  # with the colour, so that models differ in black and white too

#: A legend above the axes, one entry a line: as wide as a phone, whatever the models are called.
_LEGEND: dict[str, Any] = {
    "loc": "lower left",
    "bbox_to_anchor": (-0.02, 1.0),
    "frameon": False,
    "fontsize": TEXT,
    "labelcolor": paint("ink"),
    "borderpad": 0.1,
    "handlelength": 1.6,
    "labelspacing": 0.3,
    "ncols": 1,
}


@dataclass(frozen=True)
class Chart:
    """A picture, what it is called, and its numbers as a table."""

    svg: Markup
    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def model_paint(number: int) -> str:
    """The paint of the model with this number, from 0."""
    return f"model-{1 + number % 6}"


def numbered(report: Report) -> list[tuple[int, ModelReport]]:
    """The models with the numbers of their paints and marks; one alone is not the grey first."""
    return list(enumerate(report.models, start=int(len(report.models) == 1)))


def mark(number: int) -> str:
    """matplotlib's mark of the model with this number, from 0."""
    return _MARKS[number % len(_MARKS)]


def label(figure: str) -> str:
    """A task's name as tables have it, or that of the average."""
    return "Average" if figure == AVERAGE else figure


def legend(axis: Axes, handles: Sequence[Artist], labels: Sequence[str]) -> None:
    """The legend above the axes; matplotlib of itself leaves out labels that begin with "_"."""
    drawn = axis.legend(handles=list(handles), labels=["–"] * len(labels), **_LEGEND)
    for text, label in zip(drawn.get_texts(), labels, strict=True):
        text.set_text(label)


def span(interval: tuple[float, float] | None, digits: int) -> str:
    """An interval in a table of numbers."""
    if interval is None:
        return "–"
    return " to ".join(minus(f"{value:.{digits}f}") for value in interval)
