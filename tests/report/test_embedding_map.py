"""The map's page: what is drawn is what was computed, and no text can be anything but text."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from browsing import browser, look
from pages import check_page, contrast
from simcse_kit.errors import InputError
from simcse_kit.report.embedding_map import (
    NAMED,
    EmbeddingMap,
    embedding_map,
    map_page,
    map_section,
    map_style,
)

HOSTILE = [
    "</script><script>alert(1)</script>",
    "<img src=https://example.com/x onerror=alert(2)>",
    "<!-- <script>",
    "a \"quote\" & an 'apostrophe' {{ 7 * 7 }}",
    "NUL \x00, a half of a pair \ud800, two\nlines \u2028 and a \u202eturn",
    "שלום עולם, 你好, 👋",
]


def some_map(labels: int | None = 3, texts: list[str] | None = None, seed: int = 0) -> EmbeddingMap:
    rng = np.random.default_rng(seed)
    texts = texts or [f"the text of number {row}" for row in range(60)]
    rows = rng.normal(size=(len(texts), 8))
    names = None if labels is None else [f"label {i % labels}" for i in range(len(texts))]
    return embedding_map(texts, rows, names, model="tiny", source="texts.csv", seed=seed)


def read_data(html: str) -> dict[str, list]:
    """The JSON as a browser finds it: up to the first end of its element."""
    return json.loads(re.search(r'<script type="application/json"[^>]*>(.*?)</script', html)[1])


def read_points(html: str, group: int) -> np.ndarray:
    path = re.search(rf'map-group-{group} [^>]*? d="([^"]*)"', html)[1]
    return np.array(re.findall(r"M([\d.]+) ([\d.]+)", path), dtype=float)


def test_page_is_whole_and_the_same_twice() -> None:
    html = map_page(some_map())
    check_page(html)
    assert html == map_page(some_map())
    assert html != map_page(some_map(seed=1))
    assert "60 texts" in html and "texts.csv" in html and "tiny" in html


@pytest.mark.parametrize("method", ["pca", "tsne"])
def test_picture_holds_every_point_to_scale(method) -> None:
    drawn = embedding_map(
        [str(row) for row in range(30)],
        np.random.default_rng(0).normal(size=(30, 5)),
        ["a", "b", "b"] * 10,
        method=method,
    )
    html = map_page(drawn)
    data = read_data(html)
    places = np.column_stack([data["x"], data["y"]]) / 10
    points = drawn.projection.points
    # one scale for both axes, and upwards is up
    wanted = np.linalg.norm(points[:, None] - points, axis=2)
    found = np.linalg.norm(places[:, None] - places, axis=2)
    np.testing.assert_allclose(found / found.max(), wanted / wanted.max(), atol=1e-3)
    assert places[points[:, 1].argmax(), 1] == places[:, 1].min()
    assert places[points[:, 0].argmax(), 0] == places[:, 0].max()
    assert places.min() >= 24 and places[:, 0].max() <= 936 and places[:, 1].max() <= 696
    # the picture without scripts shows the same
    for group in (0, 1):
        np.testing.assert_array_equal(
            read_points(html, group), places[np.array(data["shown"]) == group]
        )
    assert data["texts"] == drawn.texts and data["names"] == ["b", "a"]


def test_hostile_texts_and_labels_stay_text() -> None:
    texts = HOSTILE * 3
    drawn = embedding_map(
        texts, np.random.default_rng(0).normal(size=(18, 4)), texts, model="<b>", source="<i>.csv"
    )
    html = map_page(drawn)
    outline = check_page(html)  # no script, no handler, nothing from outside
    assert "img" not in {tag for tag, *_ in outline.attributes}
    assert len(outline.scripts) == 3  # the page's, the map's and the data
    assert "\x00" not in html
    html.encode("utf-8")
    texts_found = read_data(html)["texts"]
    assert texts_found[0] == HOSTILE[0] and texts_found[3] == HOSTILE[3]
    assert texts_found[4] == "NUL , a half of a pair , two lines and a \u202eturn"
    assert all(text in outline.words for text in (*HOSTILE[:4], HOSTILE[5], "<b>", "<i>.csv"))


def test_more_groups_than_marks_share_the_last() -> None:
    texts = [f"text {row}" for row in range(200)]
    labels = [f"label {min(row // 9, 21)}" for row in range(200)]
    html = map_page(embedding_map(texts, np.random.default_rng(0).normal(size=(200, 4)), labels))
    outline = check_page(html)
    assert f"{22 - NAMED} other labels" in outline.words
    data = read_data(html)
    assert max(data["shown"]) == NAMED and max(data["group"]) == 21
    assert sum(len(read_points(html, group)) for group in range(NAMED + 1)) == 200
    marks = re.findall(r'map-mark (map-colour-\w+)" d="M8 8([^"]*)"', html)
    assert len(marks) == len(set(marks)) == NAMED + 1
    # what is left lies below the rest
    order = [int(group) for group in re.findall(r"map-mark map-group-(\d+)", html)]
    assert order == [NAMED, *range(NAMED)]


def test_clusters_say_how_they_were_made() -> None:
    drawn = some_map(labels=None)
    words = check_page(map_page(drawn)).words
    assert "largest mean silhouette" in words and "proves nothing" in words
    given = embedding_map(drawn.texts, np.random.default_rng(0).normal(size=(60, 8)), clusters=4)
    assert "as asked" in check_page(map_page(given)).words
    assert len(given.to_json()["groups"]) == 4


def test_a_sample_is_said() -> None:
    rows = np.random.default_rng(0).normal(size=(5, 4))
    drawn = embedding_map(list("abcde"), rows, rows=1234, seed=9)
    assert "5 texts, drawn from 1,234 with seed 9" in check_page(map_page(drawn)).words


def test_figures_are_those_of_the_map() -> None:
    drawn = some_map()
    figures = json.loads(json.dumps(drawn.to_json(), allow_nan=False))
    assert figures["trustworthiness"] == drawn.projection.trustworthiness
    assert figures["principal_variance"] == list(drawn.projection.variance)  # by pca
    assert figures["neighbours_alike"]["picture"] == drawn.alike_in_picture
    assert [group["texts"] for group in figures["groups"]] == [20, 20, 20]
    typical = figures["groups"][1]["typical"]
    assert typical == [drawn.texts[row] for row in drawn.central[1]] and len(typical) == 3
    words = check_page(map_page(drawn)).words
    assert f"{drawn.projection.trustworthiness:.3f}" in words
    assert all(text in words for text in typical)


def test_two_maps_fit_on_one_page() -> None:
    one, two = map_section(some_map(), "one"), map_section(some_map(seed=1), "two")
    ids = re.findall(r' id="([^"]*)"', str(one.body) + str(two.body))
    assert len(ids) == len(set(ids))


def test_long_texts_are_cut() -> None:
    html = map_page(some_map(texts=["word " * 5000, "b", "c", "d"]))
    assert len(html) < 60_000
    assert read_data(html)["texts"][0].endswith("word…")


def test_lengths_that_differ_are_refused() -> None:
    with pytest.raises(InputError, match="one embedding"):
        embedding_map(["a", "b"], np.eye(3))
    with pytest.raises(InputError, match="one label"):
        embedding_map(["a", "b", "c"], np.eye(3), ["x"])


# -- colours

# Machado, Oliveira & Fernandes (2009): linear RGB as seen without one kind of cone.
_SIGHT = {
    "all cones": np.eye(3),
    "protanopia": [[0.1523, 1.0526, -0.2049], [0.1145, 0.7863, 0.0992], [-0.0039, -0.0481, 1.052]],
    "deuteranopia": [[0.3673, 0.8606, -0.228], [0.2801, 0.6725, 0.0474], [-0.0118, 0.0429, 0.9689]],
    "tritanopia": [[1.2555, -0.0767, -0.1788], [-0.0784, 0.9308, 0.1476], [0.0047, 0.6914, 0.3039]],
}


def _colours(mode: int) -> list[str]:
    return [
        pair[mode] for pair in re.findall(r"--map-\d: light-dark\((#\w+), (#\w+)\)", map_style())
    ]


def _oklab(colours: list[str], sight: np.ndarray) -> np.ndarray:
    """Ottosson's OKLab (2020), in which distances are about as large as they look."""
    rgb = np.array([[int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)] for c in colours])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    linear = (linear @ np.transpose(sight)).clip(0, 1)
    cones = np.array(
        [
            [0.4122214708, 0.5363325363, 0.0514459929],
            [0.2119034982, 0.6806995451, 0.1073969566],
            [0.0883024619, 0.2817188376, 0.6299787005],
        ]
    )
    lab = np.array(
        [
            [0.2104542553, 0.7936177850, -0.0040720468],
            [1.9779984951, -2.4285922050, 0.4505937099],
            [0.0259040371, 0.7827717662, -0.8086757660],
        ]
    )
    return np.cbrt(linear @ cones.T) @ lab.T


@pytest.mark.parametrize("mode", [0, 1], ids=["light", "dark"])
def test_colours_stand_out_and_stay_apart(mode: int) -> None:
    colours = _colours(mode)
    assert len(colours) == 7
    for ground in (("#ffffff", "#fbfaf7"), ("#1c1f25", "#14161a"))[mode]:
        assert all(contrast(colour, ground) >= 3 for colour in colours)  # WCAG 2.2, 1.4.11
    for name, sight in _SIGHT.items():
        seen = _oklab(colours, np.array(sight))
        apart = np.linalg.norm(seen[:, None] - seen, axis=2)[np.triu_indices(7, 1)]
        # a just noticeable difference is some 0.02
        assert apart.min() >= 0.09, name


# -- in a browser


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_in_a_browser(tmp_path: Path, scheme: str) -> None:
    file = tmp_path / "map.html"
    texts = (HOSTILE + [f"word {row} " * 30 for row in range(40)])[:46]
    labels = [f"a rather long name of label {row % 17}" for row in range(45)] + ["W" * 80]
    rows = np.random.default_rng(0).normal(size=(46, 4))
    file.write_text(map_page(embedding_map(texts, rows, labels)), encoding="utf-8")
    with browser() as chromium:
        for width in (390, 1280):
            found = look(chromium, file, width=width, scheme=scheme)
            assert found.complaints == [] and found.requests == [] and found.collisions == []
            assert found.wider_than_the_window == 0


def test_texts_are_read_by_mouse_keys_and_legend(tmp_path: Path) -> None:
    drawn = some_map()
    file = tmp_path / "map.html"
    file.write_text(map_page(drawn), encoding="utf-8")
    with browser() as chromium:
        page = chromium.new_page(viewport={"width": 1280, "height": 1000})
        page.goto(file.as_uri())
        tip, stage = page.locator(".map-tip"), page.locator(".map-stage")
        box = page.locator(".map-plot").bounding_box()
        assert tip.is_hidden()
        # where `map.js` puts the first text: fitted to the plot as `_places` fits it
        data = read_data(file.read_text(encoding="utf-8"))
        x, y = np.array(data["x"]), np.array(data["y"])
        scale = min((box["width"] - 50) / np.ptp(x), (box["height"] - 50) / np.ptp(y))
        at = [
            box["width"] / 2 + (x[0] - (x.min() + x.max()) / 2) * scale,
            box["height"] / 2 + (y[0] - (y.min() + y.max()) / 2) * scale,
        ]
        page.mouse.move(box["x"] + at[0], box["y"] + at[1])
        assert drawn.texts[0] in tip.inner_text() and "label 0" in tip.inner_text()
        page.mouse.move(5, 5)
        assert tip.is_hidden()
        stage.focus()
        seen = set()
        for key in ["ArrowLeft"] * 3 + ["ArrowUp"] * 3 + ["+"] + ["ArrowRight"] * 6:
            page.keyboard.press(key)
            seen.add(page.locator(".map-status").text_content())
        assert len(seen) > 5 and all(any(t in said for t in drawn.texts) for said in seen)
        for group in range(3):
            page.locator(f".map-show-{group}").uncheck()
            assert page.locator(f".map-plot .map-group-{group}").is_hidden()
        assert tip.is_hidden()
