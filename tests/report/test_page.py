"""The shell of a page: whole, sealed, readable in light and dark, and what is quoted is text."""

from __future__ import annotations

import base64
import hashlib
import re
from pathlib import Path

import pytest
from markupsafe import Markup

from browsing import browser, look
from pages import check_page, contrast
from simcse_kit.report.page import Section, page

SECTIONS = [
    Section("one", "The first", Markup("<p>Some <b>words</b>.</p>")),
    Section("two", "The second <two>", "5 < 6 & <script>alert(1)</script>"),
    Section("three", "The third", Markup("<p>More.</p>"), short="3rd"),
]


def test_page_is_whole_and_what_is_quoted_stays_text():
    html = page("A & B", SECTIONS, lead="<lead>", footer="made")
    outline = check_page(html)
    assert "5 < 6 & <script>alert(1)</script>" in outline.words
    assert len(outline.scripts) == 1 and "alert" not in outline.scripts[0]
    assert "3rd" in outline.words and "The second <two>" in outline.words
    assert page("A & B", SECTIONS, lead="<lead>", footer="made") == html


def test_policy_forbids_everything_but_the_pages_own_scripts():
    html = page("T", SECTIONS, scripts=["console.assert(1 < 2 && 'ä');"])
    outline = check_page(html)
    policy = next(v for t, n, v in outline.attributes if n == "content" and "default-src" in v)
    assert "default-src 'none'" in policy and "unsafe-inline'" not in policy.split("style-src")[0]
    for script in outline.scripts:
        digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy
    assert len(outline.scripts) == 2


def test_few_sections_need_no_contents():
    assert '<nav class="contents"' not in page("T", SECTIONS[:2])


@pytest.mark.parametrize(
    "bad",
    [
        {"sections": [SECTIONS[0], SECTIONS[0]]},
        {"sections": SECTIONS, "scripts": ["'</script>'"]},
        {"sections": SECTIONS, "styles": ["p{} </STYLE>"]},
    ],
)
def test_what_would_break_the_page_is_refused(bad):
    with pytest.raises(ValueError, match="page"):
        page("T", **bad)


# ---- colours -------------------------------------------------------------------------------------


def _colours(mode: int) -> dict[str, str]:
    css = (Path(page.__code__.co_filename).parent / "templates" / "page.css").read_text()
    pairs = re.findall(r"--([\w-]+): light-dark\((#\w{6}), (#\w{6})\)", css)
    return {name: both[mode] for name, *both in pairs}


def test_contrast_is_computed_right():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#767676", "#ffffff") == pytest.approx(4.54, abs=0.01)  # WCAG's own example


@pytest.mark.parametrize("mode", [0, 1], ids=["light", "dark"])
def test_colours_have_the_contrast_wcag_asks_for(mode):
    colours = _colours(mode)
    words = {"ink", "muted", "accent", "good", "bad"} | {n for n in colours if "model" in n}
    assert len(words) == 11
    for ground in ("paper", "panel"):
        for name in words:
            assert contrast(colours[name], colours[ground]) >= 4.5, (name, ground)
        assert contrast(colours["axis"], colours[ground]) >= 3, ground  # graphics: 3


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_in_a_browser(tmp_path: Path, scheme: str):
    file = tmp_path / "page.html"
    script = "document.getElementById('theme').click();"
    file.write_text(page("A page " * 9, SECTIONS, scripts=[script]), encoding="utf-8")
    with browser() as chromium:
        for width in (390, 1280):
            found = look(chromium, file, width=width, scheme=scheme)
            assert found.complaints == [] and found.requests == [] and found.collisions == []
            assert found.wider_than_the_window == 0
