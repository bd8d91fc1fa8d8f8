"""Pictures of pages: named, sized and coloured as asked; a browser that is required is required."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

import browsing
import screenshots
from browsing import browser
from simcse_kit.errors import InputError

PAGE = """<!doctype html><meta name="color-scheme" content="light dark">
<style>body { margin: 0; height: 900px; background: light-dark(#ffffff, #101010) }</style>"""


def test_pictures_have_the_size_and_the_scheme_asked_for(tmp_path: Path, capsys):
    file, folder = tmp_path / "some.html", tmp_path / "pictures"
    file.write_text(PAGE, encoding="utf-8")
    with browser():
        pass  # skipped, or failed, where there is none
    screenshots.main([str(file), str(folder), "--width", "300", "400", "--height", "200"])
    screenshots.main([str(file), str(folder), "--scheme", "dark", "--width", "320", "--whole"])
    found = {picture.name: Image.open(picture) for picture in folder.iterdir()}
    names = [f"some-{width}-{scheme}.png" for width in (300, 400) for scheme in ("light", "dark")]
    assert sorted(found) == sorted([*names, "some-dark.png"])
    assert found["some-400-light.png"].size == (400, 200)
    assert found["some-dark.png"].size == (320, 900)
    assert found["some-300-light.png"].convert("RGB").getpixel((5, 5)) == (255, 255, 255)
    assert found["some-300-dark.png"].convert("RGB").getpixel((5, 5)) == (16, 16, 16)
    assert "some-400-light.png" in capsys.readouterr().out


def test_a_picture_with_a_palette_is_the_same_to_the_eye():
    picture = Image.new("RGB", (40, 40), (250, 240, 230))
    picture.paste((10, 20, 30), (0, 0, 20, 40))
    png = io.BytesIO()
    picture.save(png, format="PNG")
    again = Image.open(io.BytesIO(screenshots.small(png.getvalue()))).convert("RGB")
    assert again.tobytes() == picture.tobytes()


def test_mistakes_are_said(tmp_path: Path, monkeypatch):
    with browser() as chromium, pytest.raises(InputError, match="there is no page"):
        screenshots.screenshot(
            chromium, str(tmp_path / "none.html"), width=300, height=200, scheme="light"
        )
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="install one of chromium"), screenshots.chromium():
        pass


@pytest.mark.parametrize(
    ("required", "outcome"), [("1", pytest.fail.Exception), ("", pytest.skip.Exception)]
)
def test_a_missing_browser_skips_a_test_or_fails_it(tmp_path, monkeypatch, required, outcome):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("SIMCSE_KIT_REQUIRE_BROWSER", required)
    with pytest.raises(outcome, match="install one of chromium"), browsing.browser():
        pass
