"""The embedding map: texts as points in the plane, on a page of its own or as a report's section.

The picture is an SVG that stands without JavaScript, with a table of the groups as its text
alternative. `map.js` adds each text on hover, touch or arrow keys, and zoom. The texts lie in the
page as JSON that no text can break out of.
"""

from __future__ import annotations

import json
import math
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import resources
from typing import Any

import numpy as np
from markupsafe import Markup

from simcse_kit.errors import InputError
from simcse_kit.geometry import (
    Groups,
    Method,
    Projection,
    by_cluster,
    by_label,
    central_rows,
    neighbours_alike,
    normalize,
    project,
)
from simcse_kit.report.page import Section, page, render
from simcse_kit.version import __version__

NAMED = 14  # groups with a mark of their own; smaller ones share a grey dot
WIDTH, HEIGHT = 960, 720  # of the picture, before `map.js` fits it to the screen
_MARGIN = 24
_COLOURS = 7  # in map.css; with four shapes, 28 marks differ, and neighbours in the list doubly
_LONGEST_TEXT, _LONGEST_EXAMPLE, _LONGEST_NAME = 300, 140, 60  # characters shown
_RADII = ((200, 6.0), (800, 5.0), (2500, 4.0), (math.inf, 3.2))
# Around the current point for a radius of 1, as steps of an SVG path; of about a circle's area.
_POLYGONS = (
    ((-0.9, -0.9), (1.8, 0), (0, 1.8), (-1.8, 0)),
    ((0, -1.3), (1.3, 1.3), (-1.3, 1.3), (-1.3, -1.3)),
    ((0, -1.35), (1.25, 2.2), (-2.5, 0)),
)


@dataclass(frozen=True)
class EmbeddingMap:
    """A map and what is known about it: one value, shown as a page, a section or figures."""

    model: str
    source: str
    texts: list[str]
    rows: int  # in the source; `texts` may be a sample of them
    projection: Projection
    groups: Groups
    central: list[np.ndarray]  # for each group its typical rows
    alike_in_space: float  # share of a text's neighbours that are of its group
    alike_in_picture: float

    def to_json(self) -> dict[str, Any]:
        """The figures, without the points."""
        plane, groups = self.projection, self.groups
        return {
            "model": self.model,
            "source": self.source,
            "texts": len(self.texts),
            "texts_in_source": self.rows,
            "seed": plane.seed,
            "method": plane.method,
            "settings": plane.settings,
            "principal_variance": list(plane.variance) if plane.is_linear else None,
            "trustworthiness": plane.trustworthiness,
            "neighbours": plane.neighbours,
            "trustworthiness_texts": plane.judged,
            "neighbours_alike": {
                "space": self.alike_in_space,
                "picture": self.alike_in_picture,
                "chance": groups.chance,
            },
            "grouped_by": groups.kind,
            "silhouette": groups.silhouette,
            "groups": [
                {"name": name, "texts": int(size), "typical": [self.texts[row] for row in rows]}
                for name, size, rows in zip(groups.names, groups.sizes, self.central, strict=True)
            ],
        }


def embedding_map(
    texts: Sequence[str],
    embeddings: np.ndarray,
    labels: Sequence[str] | None = None,
    *,
    model: str = "",
    source: str = "",
    rows: int | None = None,
    method: Method = "pca",
    clusters: int | None = None,
    seed: int = 0,
) -> EmbeddingMap:
    """Project and group texts and their embeddings (N, D): by `labels`, or else by k-means.

    Raises:
        InputError: as `projection.project` and `groups.by_cluster`, or the lengths differ.
    """
    if len(texts) != len(embeddings) or (labels is not None and len(labels) != len(texts)):
        raise InputError("A map needs one embedding, and one label or none, for each text.")
    plane = project(embeddings, method, seed)
    groups = by_label(labels) if labels is not None else by_cluster(embeddings, clusters, seed)
    return EmbeddingMap(
        model=model,
        source=source,
        texts=list(texts),
        rows=len(texts) if rows is None else rows,
        projection=plane,
        groups=groups,
        central=central_rows(embeddings, groups),
        alike_in_space=neighbours_alike(normalize(embeddings), groups, seed=seed),
        alike_in_picture=neighbours_alike(plane.points, groups, seed=seed),
    )


def map_page(drawn: EmbeddingMap) -> str:
    """A self-contained HTML document: the same bytes for the same map."""
    what = f"{len(drawn.texts):,} texts"
    if drawn.rows > len(drawn.texts):
        what += f", drawn from {drawn.rows:,} with seed {drawn.projection.seed}"
    return page(
        f"Embedding map of {_clip(drawn.source, _LONGEST_NAME)}",
        [map_section(drawn)],
        eyebrow="simcse-kit map",
        lead=Markup("<p>{}, embedded by <strong>{}</strong>.</p>").format(what, drawn.model),
        footer=f"simcse-kit {__version__}. The file holds all it shows and asks for nothing.",
        styles=[map_style()],
        scripts=[map_script()],
    )


def map_section(drawn: EmbeddingMap, anchor: str = "map") -> Section:
    """The map as a section; its page needs `map_style` and `map_script`, once for all maps."""
    places = _places(drawn.projection.points)
    shown = np.minimum(drawn.groups.members, NAMED)
    radius = _radius(len(shown))
    entries = _entries(drawn)
    for number, entry in enumerate(entries):
        entry.mark = _mark(entry.shape, radius)
        entry.path = "".join(f"M{x:g} {y:g}{entry.mark}" for x, y in places[shown == number])
    body = render(
        "map.html",
        anchor=anchor,
        drawn=drawn,
        plane=drawn.projection,
        groups=drawn.groups,
        entries=entries,
        # the rest lies lowest, and a small group on a large one
        layers=sorted(enumerate(entries), key=lambda layer: layer[0] != NAMED),
        width=WIDTH,
        height=HEIGHT,
        data=_data(drawn, places, shown),
    )
    return Section(anchor, _HEADINGS[drawn.projection.method], body)


def map_style() -> str:
    """The map's CSS, to stand after the page's."""
    # A list of rules, since a rule cannot count: a group goes when its box is cleared.
    hide = ".map:has(.map-show-{0}:not(:checked)) .map-plot .map-group-{0} {{ display: none; }}"
    return _file("map.css") + "\n".join(hide.format(number) for number in range(NAMED + 1)) + "\n"


def map_script() -> str:
    """The map's JavaScript: every map of the page reads its own data."""
    return _file("map.js")


# ---- parts --------------------------------------------------------------------------------------

_HEADINGS: dict[Method, str] = {
    "pca": "The principal plane",
    "tsne": "The texts by t-SNE",
    "umap": "The texts by UMAP",
}


@dataclass
class _Entry:
    """A line of the legend and of the table."""

    name: str
    size: int
    colour: str  # a class of map.css
    shape: int
    typical: list[str]
    mark: str = ""  # the subpath of one point
    path: str = ""  # of all its points

    @property
    def swatch(self) -> str:
        return f"M8 8{_mark(self.shape, 5.0)}"


def _entries(drawn: EmbeddingMap) -> list[_Entry]:
    """The groups that have a mark of their own, and the rest of them as one."""
    groups, sizes = drawn.groups, drawn.groups.sizes
    entries = [
        _Entry(
            name=_clip(name, _LONGEST_NAME),
            size=int(size),
            colour=f"map-colour-{number % _COLOURS}",
            shape=number % (len(_POLYGONS) + 1),
            typical=[_clip(drawn.texts[row], _LONGEST_EXAMPLE) for row in rows],
        )
        for number, (name, size, rows) in enumerate(
            zip(groups.names[:NAMED], sizes[:NAMED], drawn.central[:NAMED], strict=True)
        )
    ]
    rest = drawn.central[NAMED:]
    if rest:
        entries.append(
            _Entry(
                name=f"{len(rest):,} other {groups.kind}{'s' if len(rest) > 1 else ''}",
                size=int(sizes[NAMED:].sum()),
                colour="map-colour-other",
                shape=0,
                typical=[_clip(drawn.texts[rows[0]], _LONGEST_EXAMPLE) for rows in rest[:3]],
            )
        )
    return entries


def _places(points: np.ndarray) -> np.ndarray:
    """Points (N, 2) in the picture: y downwards, one scale for both axes, tenths of a unit."""
    low, high = points.min(axis=0), points.max(axis=0)
    room = np.array([WIDTH - 2 * _MARGIN, HEIGHT - 2 * _MARGIN])
    extent = high - low
    scale = min(room[extent > 0] / extent[extent > 0])
    centred = (points - (low + high) / 2) * scale * np.array([1, -1])
    middle = np.array([WIDTH / 2, HEIGHT / 2])
    return np.round(centred + middle, 1)


def _radius(points: int) -> float:
    """Of a mark: the more there are, the smaller."""
    return next(radius for most, radius in _RADII if points <= most)


def _mark(shape: int, radius: float) -> str:
    """An SVG subpath around the current point; shape 0 is the circle."""
    if shape == 0:
        return f"m-{radius:g} 0a{radius:g} {radius:g} 0 1 1 0 .1z"
    steps = (f"{radius * x:.1f} {radius * y:.1f}" for x, y in _POLYGONS[shape - 1])
    return "m" + "l".join(steps) + "z"


def _data(drawn: EmbeddingMap, places: np.ndarray, shown: np.ndarray) -> Markup:
    """What `map.js` reads, as JSON in which no text can end the element or open a comment."""
    tenths = np.rint(places * 10).astype(int)
    data = {
        "x": tenths[:, 0].tolist(),
        "y": tenths[:, 1].tolist(),
        "shown": shown.tolist(),  # the number of the legend's line
        "group": drawn.groups.members.tolist(),
        "names": [_clip(name, _LONGEST_NAME) for name in drawn.groups.names],
        "texts": [_clip(text, _LONGEST_TEXT) for text in drawn.texts],
    }
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    for character in "<>&":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return Markup(text)


def _clip(text: str, longest: int) -> str:
    """One line of at most so many characters, none of which HTML or UTF-8 forbids."""
    line = " ".join(text.split())
    # control characters and unpaired surrogates
    good = "".join(c for c in line if unicodedata.category(c) not in ("Cc", "Cs"))
    return good if len(good) <= longest else good[: longest - 1].rstrip() + "…"


def _file(name: str) -> str:
    return resources.files("simcse_kit.report").joinpath("templates", name).read_text("utf-8")
