"""Names of models, tasks and files as people give them, in every format that is written."""

from __future__ import annotations

import json
import logging
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from markdown_it import MarkdownIt

from invoking import succeed
from reporting import small_report
from simcse_kit.data import for_markdown, for_picture, one_line
from simcse_kit.evaluation import alignment_uniformity_plane, cosine_densities
from simcse_kit.evaluation.task_result import Figure, TaskResult
from simcse_kit.evaluation.task_result import markdown as task_markdown
from simcse_kit.report.html import html
from simcse_kit.report.latex import escaped, latex
from simcse_kit.report.markdown import markdown

# An emoji is drawn as a box where the machine has no font for it, which is logged and tested below.
pytestmark = pytest.mark.filterwarnings("ignore:Glyph .* missing from font")

NAMES = [
    *("price_$5_to_$9", "_label", "a|b", "*star*", "**", "[x](y)", "# head", "- item", "1. one"),
    *("<b>&amp;</b>", "<script>", "\"two\" 'one' ``back''", "模型", "emoji 🎉 :smile:", "~~x~~"),
    *(
        "ctrl\x1b[31m\x07red",
        "50%_a^b",
        "\\alpha $x^2$ {y}",
        "a\nb\tc",
        "`code`",
        "[bold]no[/bold]",
    ),
    *(
        "$",
        "$$",
        "a\\$b$",
        "--",
        "> q",
        "http://x.y/_z_",
        "ünï · ×",
        "\u202eltr",
        "mod@pooling=cls",
    ),
]
WHOLE = ["_$5|$9", "[x](y) <b>", "*`# 模型\x1b[31m\x07", '"two" 🎉 &amp; \\a~', "\u202e> q\nb #1%"]


class Reader(HTMLParser):
    """The text of a page, and its elements."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.text, self.tags = "", []
        self.feed(page)

    def handle_data(self, data: str) -> None:
        self.text += data

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)


def read_markdown(text: str) -> Reader:
    return Reader(MarkdownIt("commonmark").enable(["table", "strikethrough"]).render(text))


@pytest.mark.parametrize("name", NAMES)
def test_markdown_reads_as_the_name_stands(name):
    shown = one_line(name)
    assert read_markdown(for_markdown(name)).text.strip() == shown
    in_table = read_markdown(f"| a |\n|---|\n| {for_markdown(name)} |")
    assert set(in_table.tags) <= {"table", "thead", "tbody", "tr", "th", "td"}
    assert shown in in_table.text


def test_python_s_markdown_reads_the_same():
    """The one that builds sites; its escapes are fewer."""
    markdown_ = pytest.importorskip("markdown")
    for name in NAMES:
        page = Reader(markdown_.markdown(for_markdown(name), extensions=["tables"]))
        assert page.text.strip() == one_line(name)
        assert page.tags == ["p"]


@pytest.fixture(scope="module")
def plain():
    return small_report(name="plain")


@pytest.mark.parametrize("name", WHOLE)
def test_a_report_in_every_format(name, plain):
    report, shown = small_report(name=name), one_line(name)
    said, usual = read_markdown(markdown(report)), read_markdown(markdown(plain))
    assert shown in said.text
    assert said.tags == usual.tags, "the name is read as Markdown or HTML"
    page, known = html(report), html(plain)
    read = Reader(page)
    assert shown in read.text or shown in " ".join(read.text.split())
    assert sorted(set(read.tags)) == sorted(set(Reader(known).tags))
    assert not re.search("[\x00-\x08\x0b\x0c\x0e-\x1f\u202a-\u202e]", page)
    legend = re.findall(r"<text[^>]*>([^<]*)</text>", page)
    drawn = Reader(" ".join(legend)).text
    assert shown in " ".join(drawn.split()), "no picture has the name"
    rows = [line.strip() for line in latex(report).splitlines() if line.endswith("\\\\")]
    assert not any(row.startswith(("[", "*")) for row in rows)
    assert {len(re.split(r"(?<!\\)&", row)) for row in rows} == {4}


def read_latex(text: str) -> str:
    """What TeX prints of text that has escapes and no commands of a user's."""
    words = {"textbackslash": "\\", "textasciitilde": "~", "textasciicircum": "^", "textless": "<"}
    words |= {"textgreater": ">", "textbar": "|", "ldots": "…"}
    found = re.sub(r"\$\\times\$", "×", text)
    found = re.sub(r"\\([a-z]+)\{\}", lambda m: words[m[1]], found)
    found = re.sub(r"(?<!\\)\{\}", "\x00", found)
    assert not re.search(r"(?<!\\)[$%#_&{}]", re.sub(r"\\\\", "", found)), "a bare special"
    assert not re.search(r"--|``|,,|\?`|!`", found), "a ligature"
    return re.sub(r"\\([&%$#_{}])", r"\1", found).replace("\x00", "")


@pytest.mark.parametrize("name", NAMES)
def test_latex_prints_the_name(name):
    written = escaped(name)
    expected = one_line(name).replace('"', "''")  # which TeX has no straight one of
    if "\\" not in name:
        assert read_latex(written.replace("''", "\x01").replace("\x01", "''")) == expected
    else:
        assert written.count(r"\textbackslash{}") == name.count("\\")


def test_a_row_of_latex_never_begins_with_what_the_line_before_would_take():
    for name in ("[b]", "*", "*[2pt]"):
        rows = [line.strip() for line in latex(small_report(name=name)).splitlines()]
        (row,) = (row for row in rows if row.endswith("\\\\") and name in row)
        assert row.startswith("{}" + name)


def test_latex_says_what_letters_beyond_latin_need():
    assert "% xelatex or lualatex" in latex(small_report(name="模型"))
    assert "xelatex" not in latex(small_report(name="ünï"))


@pytest.fixture
def drawn(monkeypatch):
    """Every text of a picture as matplotlib draws it, and whether it takes it for a formula."""
    from matplotlib.figure import Figure as Picture
    from matplotlib.text import Text

    texts: list[tuple[str, bool]] = []
    save = Picture.savefig

    def saved(self, *args, **kwargs):
        save(self, *args, **kwargs)
        for text in self.findobj(Text):
            words, formula = text._preprocess_math(text.get_text())
            texts.append((words, bool(formula)))

    monkeypatch.setattr(Picture, "savefig", saved)
    return texts


@pytest.mark.parametrize("name", NAMES)
def test_pictures_draw_the_name(name, drawn, tmp_path, caplog):
    gold = np.linspace(0, 5, 40)
    cosine_densities(gold / 5, gold, tmp_path / "a.png", title=f"{name} on {name}")
    alignment_uniformity_plane(
        {name: (0.2, -2.0, 70.0), "b": (0.3, -2.5, 72.0)}, tmp_path / "b.png"
    )
    assert (one_line(f"{name} on {name}"), False) in drawn
    assert (one_line(f"{name}  70.0"), False) in [(one_line(t), f) for t, f in drawn]
    assert not any(formula for _, formula in drawn)


def test_letters_that_no_font_has_are_said(tmp_path, caplog, monkeypatch):
    from matplotlib.font_manager import fontManager

    monkeypatch.setattr(fontManager, "ttflist", [])
    caplog.set_level(logging.WARNING)
    gold = np.linspace(0, 5, 40)
    cosine_densities(gold / 5, gold, tmp_path / "a.png", title="模型 on a")
    assert "no font on this machine has 型模" in caplog.text
    caplog.clear()
    cosine_densities(gold / 5, gold, tmp_path / "b.png", title="ünï × – α on a")
    assert not caplog.text


def test_dollars_are_dollars():
    assert for_picture("price_$5_to_$9") == r"price_\$5_to_\$9"
    assert for_picture("a\nb\x1b") == "a b"


@pytest.mark.parametrize("name", ["a|b", "<b>", "_x_", "$5 $9", "# h"])
def test_a_task_s_caption_is_text(name):
    result = TaskResult(name, name, {name: Figure(1.5)}, {}, f"over {name}")
    page = read_markdown(task_markdown(result))
    assert set(page.tags) == {"table", "thead", "tbody", "tr", "th", "td", "p"}
    assert f"{name} on {name}: over {name}" in page.text


@pytest.mark.parametrize("stem", ["price_$5_to_$9", "模型 🎉", "a|b <i> [x] _y_"])
def test_a_file_s_name_from_the_command_line(tiny_encoder, tmp_path, stem):
    import shutil

    model = tmp_path / f"{stem} model"
    shutil.copytree(tiny_encoder("bert"), model)
    file = tmp_path / f"{stem}.tsv"
    rows = [f"the {w} dog\ta {w} cat\t{i % 6}" for i, w in enumerate("abcdefghijkl")]
    file.write_text("sentence1\tsentence2\tscore\n" + "\n".join(rows) + "\n", encoding="utf-8")
    command = ("task", "pairs", model, file, "--pooling", "mean", "--json", tmp_path / "j.json")
    page = read_markdown(succeed(*command, "--markdown"))
    assert f"{stem} model on {stem}" in page.text
    assert f"{stem} model on {stem}" in succeed(*command)
    assert stem in json.loads((tmp_path / "j.json").read_text())["task"]
