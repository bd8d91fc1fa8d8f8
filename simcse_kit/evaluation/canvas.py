"""The sheet that pictures are drawn on: off screen, its looks, its letters, and the PNG file."""

from __future__ import annotations

import contextlib
import logging
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from simcse_kit.data import at_home, replacing
from simcse_kit.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

logger = logging.getLogger(__name__)

# Okabe & Ito: told apart by readers with any common colour blindness.
BLUE, ORANGE, GREEN = "#0072B2", "#D55E00", "#009E73"
INK, FAINT, GRID = "#222222", "#777777", "#E3E3E3"
_DPI = 150


def new_figure(width: float, height: float) -> Figure:
    """An empty figure of so many inches."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, height), dpi=_DPI, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    return figure


def bare(axis: Axes) -> None:
    """No box around the data: two thin axes and quiet ticks."""
    axis.spines[["top", "right"]].set_visible(False)
    axis.spines[["left", "bottom"]].set_color(FAINT)
    axis.tick_params(colors=FAINT, labelcolor=INK, labelsize=9)


def _with_letters(figure: Figure) -> None:
    """Let texts in scripts that matplotlib's own font lacks be drawn by fonts of this machine."""
    from matplotlib.font_manager import FontProperties, findfont, fontManager
    from matplotlib.ft2font import FT2Font
    from matplotlib.text import Text

    known = FT2Font(findfont(FontProperties())).get_charmap()
    texts = [
        text for text in figure.findobj(Text) if not {*map(ord, text.get_text())} <= {10, *known}
    ]
    missing = {ord(letter) for text in texts for letter in text.get_text()} - {10, *known}
    families: list[str] = []
    for font in fontManager.ttflist if missing else ():
        with contextlib.suppress(OSError, RuntimeError):  # pictures of emoji cannot be drawn
            found = missing & FT2Font(font.fname).get_charmap().keys()
            if found:
                families.append(font.name)
                missing -= found
        if not missing:
            break
    for text in texts:
        text.set_fontfamily([*text.get_fontfamily(), *families])
    if missing:
        shown = "".join(map(chr, sorted(missing)))
        logger.warning("no font on this machine has %s: the picture shows boxes for them", shown)


def save_picture(figure: Figure, path: Path | str) -> Path:
    """Write the figure as PNG; InputError where it cannot be written."""
    path = at_home(path)
    _with_letters(figure)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as aside, warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Glyph .* missing")  # it was said
            figure.savefig(aside, format="png")
    except OSError as error:
        raise InputError(f"The picture {path} cannot be written: {error.strerror}.") from error
    return path
