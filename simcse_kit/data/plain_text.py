"""Somebody's text (a model's name, a file's, a sentence) written so that it reads as it stands.

One function a format. HTML pages have their templates for it, LaTeX tables `report.latex`.
"""

from __future__ import annotations

import re

#: Control characters, halves of pairs, marks that turn the direction of what follows, and what no
#: XML may hold.
_UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)
#: Within a word an underscore is one in any Markdown.
_MARKDOWN = re.compile(r"[\\`*\[\]|]|(?<![^\W_])_|_(?![^\W_])")
_ENTITIES = {"&": "&amp;", "<": "&lt;", "$": "&#36;", "~": "&#126;"}
#: What begins a heading, a list, a quotation or a rule where it begins a line.
_BEGINS = re.compile(r"^(?:(?=[#>])|(?=[-+](?:\s|$))|(?=-+$)|(\d+)(?=[.)](?:\s|$)))")


def one_line(text: str) -> str:
    """The text on one line, without what would steer a terminal or break a file."""
    return without_controls(" ".join(text.split()))


def without_controls(text: str) -> str:
    """The text without characters that no page can hold; its lines stay."""
    return _UNSEEN.sub(lambda found: found[0] if found[0] in "\t\n\r" else "", text)


def for_markdown(text: str) -> str:
    """Text that Markdown shows as it stands, wherever in a line or a table it is put."""
    line = one_line(text)
    marked = _MARKDOWN.sub(r"\\\g<0>", re.sub("[&<$~]", lambda c: _ENTITIES[c[0]], line))
    return _BEGINS.sub(lambda found: (found[1] or "") + "\\", marked, count=1)


def for_picture(text: str) -> str:
    """Text that matplotlib draws as it stands: between two ``$`` it reads formulas."""
    return one_line(text).replace("$", r"\$")
