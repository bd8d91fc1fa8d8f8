"""A matplotlib figure as SVG inside a page: text stays text, colours are the page's variables.

The same figure gives the same bytes. No id of one picture occurs in another.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING
from xml.etree import ElementTree

from markupsafe import Markup

from simcse_kit.data import without_controls

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Variables of `page.css` that a chart may be painted with.
PAINTS = (
    *("ink", "muted", "axis", "rule", "paper", "accent", "good", "bad"),
    *(f"model-{number}" for number in range(1, 7)),
)
WIDTH = 360.0  # points: about the pixels of a phone, so that letters keep their size there
TEXT = 11.0  # points

# matplotlib takes real colours only: each paint travels as one that nothing else has.
_CODES = {name: f"#fe01{number:02x}" for number, name in enumerate(PAINTS)}
_NAMES = {code: name for name, code in _CODES.items()}
# Which letters is the page's to say; versions of matplotlib write it in one property, or in two.
_FAMILY = re.compile(r"font-family: [^;]*;? ?")
_FONT = re.compile(r"font: (?:(bold|\d+) )?([\d.]+)px [^;]*")
_LONG = re.compile(r"(\d\.\d\d)\d+")


def paint(name: str) -> str:
    """The colour that becomes ``var(--name)`` in the page."""
    return _CODES[name]


def canvas(height: float) -> Figure:
    """An empty figure of a phone's width and this height in points."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH / 72, height / 72), dpi=72, layout="constrained")
    figure.patch.set_visible(False)
    FigureCanvasAgg(figure)  # it measures texts, for the layout
    return figure


def bare(axis: Axes) -> Axes:
    """The axes without a box: quiet lines, and letters of the page's size."""
    axis.patch.set_visible(False)
    axis.spines[["top", "right"]].set_visible(False)
    axis.spines[["left", "bottom"]].set_color(paint("axis"))
    axis.tick_params(colors=paint("axis"), labelcolor=paint("ink"), labelsize=TEXT)
    for label in (axis.xaxis.label, axis.yaxis.label):
        label.set_fontsize(TEXT)
        label.set_color(paint("muted"))
    axis.set_axisbelow(True)
    return axis


def to_svg(figure: Figure, name: str, title: str, description: str) -> Markup:
    """The figure as an ``<svg>`` element with `title` and `description` for who cannot see it.

    Args:
        name: different for each picture of a page; its ids begin with "chart-" and it.
    """
    from matplotlib import rc_context

    name = f"chart-{name}"
    written = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(written, format="svg", metadata={"Date": None})
    root = ElementTree.fromstring(without_controls(written.getvalue()))
    _prune(root)
    used = {match for element in root.iter() for match in _references(element)}
    for element in root.iter():
        _rename(element, name, used)
    box = root.attrib["viewBox"]
    root.attrib.clear()
    labels = {f"{name}-title": ("title", title), f"{name}-desc": ("desc", description)}
    root.attrib |= {"viewBox": box, "role": "img", "aria-labelledby": " ".join(labels)}
    for place, (key, (tag, text)) in enumerate(labels.items()):
        label = ElementTree.Element(tag, {"id": key})
        label.text = without_controls(text)
        root.insert(place, label)
    return Markup(ElementTree.tostring(root, encoding="unicode", short_empty_elements=False))


def _prune(root: ElementTree.Element) -> None:
    """Drop what speaks of the file and not of the picture: metadata, and rules for all elements."""
    for parent in list(root.iter()):
        for child in list(parent):
            if _bare_name(child.tag) in ("metadata", "style"):
                parent.remove(child)


def _references(element: ElementTree.Element) -> Iterator[str]:
    for value in element.attrib.values():
        yield from re.findall(r"url\(#([^)]+)\)", value)
        if value.startswith("#"):
            yield value[1:]


def _rename(element: ElementTree.Element, name: str, used: set[str]) -> None:
    """No namespaces, ids where something refers to them, colours by name, short numbers."""
    element.tag = _bare_name(element.tag)
    attributes = {}
    for key, value in element.attrib.items():
        key = _bare_name(key)
        if key == "id":
            if value not in used:
                continue
            value = f"{name}-{value}"
        elif value.startswith("#") and key == "href":
            value = f"#{name}-{value[1:]}"
        else:
            value = re.sub(r"url\(#", f"url(#{name}-", value)
            value = _FAMILY.sub("", _FONT.sub(_font, value))
            value = re.sub(r"#[0-9a-f]{6}", _colour, value)
            value = _LONG.sub(r"\1", value)
        attributes[key] = " ".join(value.split())
    element.attrib.clear()
    element.attrib |= attributes
    if element.text and not element.text.strip():
        element.text = None
    if element.tail and not element.tail.strip():
        element.tail = None


def _bare_name(name: str) -> str:
    return name.rsplit("}", 1)[-1]


def _font(match: re.Match[str]) -> str:
    weight = f"; font-weight: {match[1]}" if match[1] else ""
    return f"font-size: {match[2]}px{weight}"


def _colour(match: re.Match[str]) -> str:
    name = _NAMES.get(match[0])
    return f"var(--{name})" if name else match[0]
