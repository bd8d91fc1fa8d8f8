"""The shell of a self-contained page: one file that asks for nothing from outside.

Light and dark, on paper and on a phone. A Content-Security-Policy in the page itself forbids
every request and every script but the page's own, which are named by their hashes, so that text
quoted from somebody's data can never run.
"""

from __future__ import annotations

import base64
import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from simcse_kit.data import without_controls

if TYPE_CHECKING:
    from jinja2 import Environment


@dataclass(frozen=True)
class Section:
    """A part of a page.

    Attributes:
        anchor: its id in the page, and its address in the list of contents.
        title: its heading.
        body: HTML as `Markup`; a plain str is text, and is escaped.
        short: its name in the list of contents, the title by default.
    """

    anchor: str
    title: str
    body: Markup | str
    short: str = ""


def page(
    title: str,
    sections: Sequence[Section],
    *,
    eyebrow: str = "simcse-kit",
    lead: Markup | str = "",
    footer: Markup | str = "",
    styles: Sequence[str] = (),
    scripts: Sequence[str] = (),
) -> str:
    """A whole HTML document.

    Args:
        title: the heading, and the name of the browser's tab.
        sections: in order; more than two are listed as contents.
        eyebrow: the small line above the title.
        lead: what stands below the title, before the first section.
        footer: the last line.
        styles, scripts: more CSS and JavaScript, as text. CSS has the colours of `page.css` as
            variables; each variable follows light and dark by itself.

    Raises:
        ValueError: two sections of one anchor, or a style or script that would end its element.
    """
    anchors = [section.anchor for section in sections]
    if len(set(anchors)) < len(anchors):
        raise ValueError(f"two sections of a page have one anchor: {anchors}")
    css = [text_of("page.css"), *styles]
    own = [text_of("page.js"), *scripts]
    for text, tag in [*((text, "style") for text in css), *((text, "script") for text in own)]:
        if f"</{tag}" in text.lower() or "<!--" in text:
            raise ValueError(f"a {tag} of a page holds </{tag} or <!--, which would end it")
    return str(
        render(
            "page.html",
            title=title,
            sections=sections,
            eyebrow=eyebrow,
            lead=lead,
            footer=footer,
            styles=[Markup(text) for text in css],
            scripts=[Markup(text) for text in own],
            policy=_policy(own),
        )
    )


def render(template: str, **values: Any) -> Markup:
    """A template of this package with these values; every str in them is escaped."""
    return Markup(_environment().get_template(template).render(**values))


def _policy(scripts: Sequence[str]) -> str:
    """No source of anything but the file itself; inline styles, since charts carry them."""
    hashes = (base64.b64encode(hashlib.sha256(text.encode()).digest()) for text in scripts)
    allowed = " ".join(f"'sha256-{digest.decode()}'" for digest in hashes)
    return (
        f"default-src 'none'; script-src {allowed}; style-src 'unsafe-inline'; img-src data:;"
        " base-uri 'none'; form-action 'none'"
    )


def text_of(name: str) -> str:
    """A template of this package as it is, its line ends as HTML reads them."""
    loader = _environment().loader
    assert loader is not None
    return loader.get_source(_environment(), name)[0].replace("\r\n", "\n")


def _for_page(value: Any) -> Any:
    """What a template writes, without characters that no page may hold; it is escaped after."""
    return without_controls(value) if type(value) is str else value


@functools.cache
def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    return Environment(
        loader=PackageLoader("simcse_kit.report"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_for_page,
        trim_blocks=True,
        lstrip_blocks=True,
    )
