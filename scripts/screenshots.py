"""Pictures of our pages as readers see them: several widths, light and dark, small files.

    python scripts/screenshots.py docs/report.html docs/images

writes report-light.png and report-dark.png: the first screen, 1280 × 800. With several --width the
width is part of the name, and --whole takes the page to its end. A page is a file or an address.
Needs playwright and a Chromium (`chromium`, `chromium-browser` or `google-chrome`).
"""

import argparse
import io
import shutil
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from simcse_kit.errors import InputError

PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
SCHEMES = ("light", "dark")
_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
_COLOURS = 256  # of a picture: pages are flat, and a palette takes a third of the bytes


@contextmanager
def chromium() -> Iterator[Any]:
    """A headless browser of playwright's; InputError where there is none."""
    program = next(filter(None, map(shutil.which, PROGRAMS)), None)
    if program is None:
        raise InputError(f"no browser to open the page in: install one of {', '.join(PROGRAMS)}")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError as error:
        raise InputError("playwright is not installed: pip install playwright") from error
    with sync_playwright() as started:
        browser = started.chromium.launch(executable_path=program, args=_FLAGS)
        try:
            yield browser
        finally:
            browser.close()


def screenshot(
    browser: Any, page: str, *, width: int, height: int, scheme: str, whole: bool = False
) -> bytes:
    """A PNG of a page at this width (CSS pixels) and colour scheme.

    Args:
        page: a file or an address.
        height: of the window; with `whole` the picture goes on to the page's end.
    """
    context = browser.new_context(
        viewport={"width": width, "height": height}, color_scheme=scheme, reduced_motion="reduce"
    )
    try:
        tab = context.new_page()
        tab.goto(_address(page))
        tab.wait_for_load_state("networkidle")
        shot: bytes = tab.screenshot(full_page=whole)
    finally:
        context.close()
    return small(shot)


def small(png: bytes) -> bytes:
    """The same picture with a palette, as small as PNG goes."""
    from PIL import Image

    with Image.open(io.BytesIO(png)) as picture:
        flat = picture.convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE)
    out = io.BytesIO()
    flat.save(out, format="PNG", optimize=True)
    return out.getvalue()


def _address(page: str) -> str:
    if urlsplit(page).scheme in ("http", "https", "file"):
        return page
    file = Path(page)
    if not file.is_file():
        raise InputError(f"there is no page {page}")
    return file.resolve().as_uri()


def name_of(page: str, scheme: str, width: int | None) -> str:
    """What a picture of a page is called: its stem, its width where that is given, its scheme."""
    stem = Path(urlsplit(page).path).stem or "index"
    return "-".join([stem, *([str(width)] if width else []), scheme]) + ".png"


def main(arguments: Sequence[str]) -> None:
    """Take the pictures and name them on stdout."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pages", nargs="+", metavar="PAGE", help="a file or an address")
    parser.add_argument("folder", type=Path, help="where the pictures go")
    parser.add_argument("--width", type=int, nargs="+", default=[1280])
    parser.add_argument("--height", type=int, default=800)
    parser.add_argument("--scheme", choices=SCHEMES, nargs="+", default=list(SCHEMES))
    parser.add_argument("--whole", action="store_true", help="to the end of the page")
    given = parser.parse_args(arguments)
    given.folder.mkdir(parents=True, exist_ok=True)
    with chromium() as browser:
        for page in given.pages:
            for width in given.width:
                for scheme in given.scheme:
                    shot = screenshot(
                        browser,
                        page,
                        width=width,
                        height=given.height,
                        scheme=scheme,
                        whole=given.whole,
                    )
                    name = name_of(page, scheme, width if len(given.width) > 1 else None)
                    file = given.folder / name
                    file.write_bytes(shot)
                    print(f"{file}  {len(shot) / 1024:.0f} KiB")


if __name__ == "__main__":
    try:
        main(sys.argv[1:])
    except InputError as error:
        sys.exit(str(error))
