"""The page of a report: whole, sealed, the same twice, and in order in a real browser."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from browsing import browser, look
from pages import Outline, check_page
from reporting import EVIL, RUN, small_report, task
from simcse_kit.evaluation.sts.suite import PairTask
from simcse_kit.report import charts
from simcse_kit.report.data import Report
from simcse_kit.report.html import html
from simcse_kit.report.markdown import markdown
from simcse_kit.report.svg import canvas, paint, to_svg


@pytest.fixture(scope="module")
def report() -> Report:
    return small_report()


@pytest.fixture(scope="module")
def page(report: Report) -> str:
    return html(report)


def test_the_page_is_whole_and_says_what_was_found(report, page):
    outline = check_page(page)
    words = " ".join(outline.words.split())
    assert "better scores higher than worse" in words
    anchors = {"scores", "cosines", "space", "training", "neighbours", "misjudged", "leakage"}
    assert anchors | {"made"} <= set(outline.ids)
    for model in report.models:
        assert f"{model.result.average:.2f}" in words
        for score in model.result.tasks.values():
            assert f"{score.spearman:.2f}" in words
    assert "40.00 → 70.00" in words  # of the training, from the start to the best step
    assert "From base" not in page and "/private" not in page
    assert "://" not in page


def test_the_same_report_gives_the_same_bytes(report, page):
    assert html(report) == page
    again = small_report()
    assert html(replace(again, made=report.made)) == page


def test_every_picture_can_be_read_without_seeing_it(page):
    pictures = re.findall(r"<svg.*?</svg>", page, re.S)
    assert len(pictures) == 7  # two of scores, two densities, plane, spectrum, training
    for picture in pictures:
        root = ElementTree.fromstring(picture)
        assert root.get("role") == "img"
        title, description = root.find("title"), root.find("desc")
        assert title is not None and description is not None
        assert title.text and description.text and len(description.text) > 20
        assert root.get("aria-labelledby") == f"{title.get('id')} {description.get('id')}"
    assert page.count("Numbers of this picture") == len(pictures)


def test_pictures_have_only_the_pages_colours_and_letters(page):
    for picture in re.findall(r"<svg.*?</svg>", page, re.S):
        references = r'"#[^"]*"|\(#[^)]*\)'
        assert not re.search(r"#[0-9a-fA-F]{6}", re.sub(references, "", picture))
        assert "font-family" not in picture and "font:" not in picture
        assert "<text" in picture and "<style" not in picture and "<metadata" not in picture


def test_what_others_wrote_stays_text():
    evil = small_report(name=EVIL)
    one = task("A")
    sentences = [f"{EVIL} {text}" for text in one.sentence1]
    bad = PairTask("A", sentences, one.sentence2, one.gold, {}, "test", "x")
    from reporting import Bag
    from simcse_kit.evaluation.sts.protocols import PROTOCOLS
    from simcse_kit.report.collect import Subject, collect

    quoted = collect(
        [Subject(EVIL, lambda: Bag(1.0))], [bad], named=PROTOCOLS["senteval-all"], draws=100
    )
    for report in (evil, quoted):
        outline = check_page(html(report))
        assert len(outline.scripts) == 1 and "alert" not in outline.scripts[0]
        assert EVIL in outline.words


@pytest.mark.parametrize("models", [1, 3])
def test_one_model_and_three(models):
    report = small_report(models)
    outline = check_page(html(report))
    assert ("chart-differences-title" in outline.ids) is (models > 1)


def test_a_report_without_runs_or_examples_leaves_those_sections_out(report):
    models = tuple(replace(model, run=None) for model in report.models)
    less = replace(report, models=models, neighbours=None, misjudged={"better": ((), ())})
    outline = check_page(html(less))
    assert not {"training", "neighbours", "misjudged"} & set(outline.ids)


def test_a_run_without_history_says_so(report):
    run = replace(RUN, history=[], base=None, data=None)
    models = (report.models[0], replace(report.models[1], run=run))
    words = check_page(html(replace(report, models=models))).words
    assert "no history to draw" in " ".join(words.split())


def test_ids_of_pictures_do_not_meet_and_references_lead_somewhere(report):
    drawn = [charts.densities(m, number, (-1, 1)).svg for number, m in enumerate(report.models)]
    outline = Outline("".join(drawn))
    assert len(outline.ids) == len(set(outline.ids))
    for _, name, value in outline.attributes:
        for target in re.findall(r"url\(#([^)]+)\)", value) + (
            [value[1:]] if name == "href" else []
        ):
            assert target in outline.ids


def test_svg_of_a_figure_keeps_text_and_turns_paint_into_variables():
    figure = canvas(100)
    axis = figure.subplots()
    axis.plot([0, 1], [0, 1], color=paint("model-2"))
    axis.set_title("5 < 6 & <b>", color=paint("ink"))
    svg = to_svg(figure, "x", "<title>", 'a "description"')
    root = ElementTree.fromstring(svg)
    assert "5 < 6 & <b>" in [text.text for text in root.iter("text")]
    assert root.find("title").text == "<title>"
    assert "var(--model-2)" in svg and "var(--ink)" in svg and paint("ink") not in svg


def test_a_long_name_makes_no_page_wider(tmp_path: Path):
    file = tmp_path / "report.html"
    file.write_text(html(small_report(name="organisation/" + "long" * 20)), encoding="utf-8")
    with browser() as chromium:
        found = look(chromium, file, width=390)
        assert found.collisions == [] and found.wider_than_the_window == 0


def test_in_a_browser(tmp_path: Path, page: str):
    file = tmp_path / "report.html"
    file.write_text(page, encoding="utf-8")
    opened = tmp_path / "open.html"
    opened.write_text(page.replace("<details>", "<details open>"), encoding="utf-8")
    with browser() as chromium:
        for path, width, scheme in (
            (file, 1280, "light"),
            (file, 390, "dark"),
            (opened, 390, "light"),
            (opened, 768, "dark"),
        ):
            found = look(chromium, path, width=width, scheme=scheme)
            assert found.complaints == [] and found.requests == [] and found.collisions == []
            assert found.wider_than_the_window == 0


def test_a_command_with_folders_of_another_machine_says_what_to_put_in(report):
    made = report.made | {"command": "simcse-kit report one --data-dir /path/to/sts"}
    assert "put your own in its place" in check_page(html(replace(report, made=made))).words
    made |= {"command": "simcse-kit report one --data-dir sts"}
    assert "put your own in its place" not in check_page(html(replace(report, made=made))).words
    assert "put your own" in markdown(
        replace(report, made=made | {"command": "simcse-kit report /path/to/one"})
    )


def test_the_first_screen_says_which_how_sure_and_what_for(report, page):
    words = " ".join(check_page(page).words.split())
    top = words[: words.index("Scores on STS")]
    best, first = report.models[1].result.average, report.models[0].result.average
    use = "For pairs like these, use better rather than worse"
    assert f"{use}: it scores {best:.1f} of 100, worse {first:.1f}." in top
    for asked in ("How sure", "What the score means", "What for", "Tasks won", "Difference"):
        assert asked in top
    assert "Uniformity" not in top and "Effective rank" not in top


def test_geometry_stands_beside_an_even_sphere_and_known_encoders(report):
    from simcse_kit.geometry.references import MEASURED

    assert [one.name for one in report.references] == ["even sphere"]  # of A nothing is known
    known = MEASURED["STSB (test)"]
    beside = replace(report, references=(*report.references, *known))
    words = " ".join(check_page(html(beside)).words.split())
    assert "all-MiniLM-L6-v2 −3.819" in words and "Alignment may rise while" in words
    assert f"even sphere {report.references[0].values['rankme']:.1f}" in words
    text = markdown(beside)
    assert "| even sphere | raw MiniLM-L6 | all-MiniLM-L6-v2 |" in text and "−3.819" in text
    plane = charts.plane(beside)
    assert plane is not None
    assert [row[0] for row in plane.rows] == [
        "worse",
        "better",
        "raw MiniLM-L6",
        "all-MiniLM-L6-v2",
    ]
