"""Markup around a document's prose is taken away, and what only looks like it stays."""

from __future__ import annotations

import time
from html.parser import HTMLParser

import pytest

from simcse_kit.data.within_documents import document_of
from simcse_kit.data.within_documents.markup import unmarked

PAGE = """<!DOCTYPE html>
<html><head><title>My page</title><style>p {color: red}</style>
<script>if (a < b) { go("</p>"); }</script></head>
<body class="x"><nav><a href="/">Home</a></nav><h1>A head</h1>
<p>Hello <b>there</b>.<br/>Second &amp; last.</p><p>Next one.</p>
<!-- not <p>this</p> --><ul><li>item one</li><li>item two</li></ul>
<table><tr><td>left</td><td>right</td></tr></table><pre>code()</pre></body></html>"""


def test_html_becomes_its_paragraphs() -> None:
    found = [list(each) for each in document_of(PAGE).paragraphs]
    assert found == [
        ["My page"],
        ["A head"],
        ["Hello there.", "Second & last."],
        ["Next one."],
        ["item one"],
        ["item two"],
        ["left right"],
    ]


def test_text_is_that_of_python_s_own_parser() -> None:
    class Text(HTMLParser):
        skipped, found = 0, ""

        def handle_starttag(self, tag: str, attrs: object) -> None:
            self.skipped += tag in ("style", "script", "nav", "pre")

        def handle_endtag(self, tag: str) -> None:
            self.skipped -= tag in ("style", "script", "nav", "pre")

        def handle_data(self, data: str) -> None:
            self.found += "" if self.skipped else "".join(data.split())

    parser = Text()
    parser.feed(PAGE)
    assert "".join(unmarked(PAGE).split()) == parser.found


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("Use `List<String>`, <name> and a < b > c.\n", None),
        ("A <b> of a usage line: cmd <a> [<i>].", None),
        ("&amp; stays where there is no HTML.", None),
        ("---\n\nA rule, and no key: value.\n\n---\n", None),
        (">>> mean(a)\n1", None),
        ("a[0](x)", "a0"),
        ("<pre>is never closed</p>", "<pre>is never closed\n\n"),
        ("See [the docs](https://a.b/c \"T\") and ![pic](d.png) here.", "See the docs and  here."),
        ("# Foo [![Build](https://a/b.svg)](https://c/d)", "# Foo "),
        ("Text <!-- of\nno use --> here <!-- open", "Text  here <!-- open"),
        ("---\ntitle: \"A guide\"\ntags:\n  - a\n---\nText.", "A guide\n\nText."),
        ("> Quoted is\n> > this.\n>> And it.", "Quoted is\nthis.\nAnd it."),
    ],
)  # fmt: skip
def test_what_is_markup_goes_and_what_is_text_stays(text: str, left: str | None) -> None:
    assert unmarked(text) == (text if left is None else left)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 30_000,
        "![" * 20_000,
        "<!--" * 20_000,
        "<pre>" * 20_000 + "</p>",
        "<p " * 20_000 + "</p>",
        "---\n" + "-a: b\n" * 20_000,
        "```py\nx\n" * 5_000,
        "~~~~ x\ny\n" * 5_000,
        "# a" + " " * 50_000 + "b",
        "> " * 30_000 + "x",
        "a. " * 20_000,
        "! 🎉" * 20_000,
        "-" * 50_000 + "x",
        "a|b\n" + "-" * 20_000 + " " * 20_000 + "x|",
        "a|b\n-|-\n" + "|" * 50_000 + "\na|b\n" + "-|" * 20_000 + "x",
    ],
    ids=lambda text: repr(text[:6]),
)
def test_no_text_is_read_over_and_over(text: str) -> None:
    started = time.process_time()
    document_of(text)
    assert time.process_time() - started < 2
