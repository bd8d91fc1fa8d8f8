"""A page opened in a real browser: what it complains of, asks for, and where its words collide."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import screenshots
from simcse_kit.errors import InputError

# Rectangles of all visible pieces of text, and those that cover each other by more than a hair.
_COLLISIONS = """() => {
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  const pieces = [];
  while (walker.nextNode()) {
    const node = walker.currentNode, parent = node.parentElement;
    if (!node.data.trim() || parent.closest('script, style, title, desc, .skip')) continue;
    if (!parent.checkVisibility({visibilityProperty: true, opacityProperty: true})) continue;
    const range = document.createRange();
    range.selectNodeContents(node);
    const frame = parent.closest('.scroll')?.getBoundingClientRect();  // it cuts off what is wider
    for (const box of range.getClientRects()) {
      const left = Math.max(box.left, frame?.left ?? -Infinity);
      const right = Math.min(box.right, frame?.right ?? Infinity);
      const {top, bottom, height} = box;
      pieces.push([node.data.trim().slice(0, 40), {left, right, top, bottom, height}]);
    }
  }
  const found = [];
  for (let i = 0; i < pieces.length; i++) for (let j = i + 1; j < pieces.length; j++) {
    const [a, p] = pieces[i], [b, q] = pieces[j];
    const wide = Math.min(p.right, q.right) - Math.max(p.left, q.left);
    const high = Math.min(p.bottom, q.bottom) - Math.max(p.top, q.top);
    if (wide > 2 && high > 0.35 * Math.min(p.height, q.height)) found.push(`${a} | ${b}`);
  }
  return found;
}"""


@dataclass
class Findings:
    """What a browser found; all empty for a page that is in order."""

    complaints: list[str]
    requests: list[str]
    collisions: list[str]
    wider_than_the_window: int


@contextmanager
def browser() -> Iterator[Any]:
    """Chromium, headless. Where there is none the test is skipped, or fails if one is required.

    SIMCSE_KIT_REQUIRE_BROWSER=1 is for machines that are to have one, so that a green run there
    has opened the pages.
    """
    with ExitStack() as stack:
        try:
            chromium = stack.enter_context(screenshots.chromium())
        except InputError as error:
            if os.environ.get("SIMCSE_KIT_REQUIRE_BROWSER", "0") not in ("", "0"):
                pytest.fail(f"SIMCSE_KIT_REQUIRE_BROWSER is set, and {error}")
            pytest.skip(str(error))
        yield chromium


def look(
    chromium: Any, file: Path, *, width: int, scheme: str = "light", shot: Path | None = None
) -> Findings:
    """Open the file at this width (CSS pixels) and colour scheme, and look at all of it."""
    context = chromium.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, reduced_motion="reduce"
    )
    page = context.new_page()
    complaints: list[str] = []
    requests: list[str] = []
    page.on("console", lambda message: complaints.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(file.as_uri())
    page.wait_for_load_state("networkidle")
    over = page.evaluate("document.scrollingElement.scrollWidth - innerWidth")
    collisions = page.evaluate(_COLLISIONS)
    if shot is not None:
        page.screenshot(path=shot, full_page=True)
    context.close()
    outside = [url for url in requests if url != file.as_uri() and not url.startswith("data:")]
    return Findings(complaints, outside, collisions, max(0, over))
