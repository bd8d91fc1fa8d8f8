"""What of a document is markup around its prose: HTML, front matter, links and images, quotations.

Only what is plainly markup goes. A ``<name>`` that HTML has not, or a tag in a text that closes
none, is text.
"""

from __future__ import annotations

from html import unescape

import regex

#: Elements that part paragraphs.
_BLOCKS = (
    *("address", "article", "aside", "blockquote", "body", "caption", "dd", "details", "div", "dl"),
    *("dt", "figcaption", "figure", "footer", "form", "h1", "h2", "h3", "h4", "h5", "h6", "head"),
    *("header", "hr", "html", "li", "link", "main", "meta", "ol", "option", "p", "section"),
    *("select", "summary", "table", "tbody", "tfoot", "thead", "title", "tr", "ul"),
)
#: Elements within a paragraph; those that part words leave a blank.
_PARTING = ("br", "td", "th", "img", "input", "button", "label")
_WITHIN = (
    *("a", "abbr", "b", "bdi", "bdo", "big", "cite", "code", "del", "dfn", "em", "font", "i"),
    *("ins", "kbd", "mark", "q", "s", "samp", "small", "span", "strike", "strong", "sub", "sup"),
    *("time", "tt", "u", "var", "wbr"),
)
#: Elements that hold no prose.
_SKIPPED = ("script", "style", "template", "svg", "math", "pre", "nav", "noscript", "iframe")


def _tags(names: tuple[str, ...]) -> regex.Pattern[str]:
    return regex.compile(rf"</?(?:{'|'.join(names)})(?:\s[^<>]*)?/?>", regex.IGNORECASE)


#: A text is HTML where it has one of these.
_IS_HTML = regex.compile(
    rf"</(?:{'|'.join(_BLOCKS)}|a|td|span)\s*>"
    r"|<br\s*/?>|<!doctype html",
    regex.IGNORECASE,
)
_OPENED = regex.compile(rf"<({'|'.join(_SKIPPED)})(?:\s[^<>]*)?>", regex.IGNORECASE)
_DECLARED = regex.compile(r"<[!?][a-z][^<>]*>", regex.IGNORECASE)
_BLOCK_TAG, _PARTING_TAG, _WITHIN_TAG = map(_tags, (_BLOCKS, _PARTING, _WITHIN))

_FRONT = regex.compile(
    r"\A---[ \t]*\n((?:[ \t#\-].*\n|\w[\w-]*[ \t]*:.*\n|\n)+?)---[ \t]*(?:\n|\Z)"
)
_TITLE = regex.compile(r"^title[ \t]*:[ \t]*(.+)$", regex.MULTILINE | regex.IGNORECASE)
# bounded, or a text of brackets would be read again from each
_IMAGE = regex.compile(r"!\[[^\[\]]{0,300}\]\([^()\n]{0,2000}\)")
_LINK = regex.compile(r"\[([^\[\]\n]{0,300})\]\([^()\s]{0,2000}(?:[ \t]+[\"'(][^()\n]{0,300})?\)")
_QUOTED = regex.compile(r"^[ \t]*(?!>>>(?:\s|$))(?:>[ \t]?)+", regex.MULTILINE)  # but doctests


def unmarked(text: str) -> str:
    """The text without its markup: paragraphs of HTML are parted by blank lines then.

    Args:
        text: with ``\\n`` between lines.
    """
    if front := _FRONT.match(text):
        title = _TITLE.search(front[1])
        told = title[1].strip().strip("\"'") if title else ""
        text = f"{told}\n\n{text[front.end() :]}"
    text = _without_comments(text)
    if _IS_HTML.search(text):
        text = _of_html(text)
    if "](" in text:
        text = _LINK.sub(r"\1", _IMAGE.sub("", text))
    return _QUOTED.sub("", text) if ">" in text else text


def _without_comments(text: str) -> str:
    kept, start = [], 0
    while (begun := text.find("<!--", start)) >= 0:
        end = text.find("-->", begun + 4)
        if end < 0:
            break
        kept.append(text[start:begun])
        start = end + 3
    return "".join([*kept, text[start:]])


def _of_html(text: str) -> str:
    text = _without_skipped(text)
    text = _BLOCK_TAG.sub("\n\n", _DECLARED.sub("", text))
    return unescape(_WITHIN_TAG.sub("", _PARTING_TAG.sub(" ", text)))


def _without_skipped(text: str) -> str:
    """Without the elements that hold no prose, as far as they are closed."""
    lower = text.lower()
    if len(lower) != len(text):  # some letters are two in lower case
        lower = text
    kept, start, unclosed = [], 0, set()
    for found in _OPENED.finditer(text):
        name = found[1].lower()
        if found.start() < start or name in unclosed:
            continue
        end = lower.find(f"</{name}", found.end())
        if end < 0:
            unclosed.add(name)
            continue
        kept.append(text[start : found.start()])
        close = text.find(">", end)
        start = len(text) if close < 0 else close + 1
    return "\n\n".join([*kept, text[start:]])
