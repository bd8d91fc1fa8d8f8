"""No page quotes a figure that no result file holds."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

import quoted_figures
from quoted_figures import complaints, figures

ROOT = Path(__file__).parents[2]


def page(folder: Path, text: str, **result: object) -> list[str]:
    """What is wrong with a page that stands beside one result file."""
    (folder / "eval/results").mkdir(parents=True, exist_ok=True)
    (folder / "eval/results/r.json").write_text(json.dumps(result))
    (folder / "page.md").write_text(text)
    return [said.split(": ", 1)[1].split(" stands")[0] for said in complaints(folder / "page.md")]


def test_readme_and_docs_quote_what_was_measured(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    assert quoted_figures.main([]) == 0, capsys.readouterr().err


def test_a_changed_digit_is_noticed(tmp_path: Path) -> None:
    """The last digit of every figure of three or more that stands for a result, one at a time."""
    shutil.copytree(ROOT / "eval/results", tmp_path / "eval/results")
    (tmp_path / "docs").mkdir()
    changed, unnoticed = 0, []
    for name in ("README.md", "docs/speed.md", "docs/data.md"):
        text = (ROOT / name).read_text()
        for block in quoted_figures.blocks(text):
            if block.source is not None or not block.links:
                continue
            for figure in figures(block.text):
                number = re.match(r"[\d,.]+", figure.text)[0]  # type: ignore[index]
                if len(re.sub(r"\D", "", number)) < 3:
                    continue  # of two digits some other figure of the file will always do
                wrong = number[:-1] + str((int(number[-1]) + 3) % 10)
                spoilt = block.text.replace(figure.text, figure.text.replace(number, wrong), 1)
                (tmp_path / name).write_text(text.replace(block.text, spoilt, 1))
                changed += 1
                if not list(complaints(tmp_path / name)):
                    unnoticed.append(f"{name}: {number} as {wrong}")
    assert changed > 100
    assert len(unnoticed) <= changed / 15, "\n".join(unnoticed)


def test_a_figure_must_stand_in_a_file_its_block_links_to(tmp_path: Path) -> None:
    link = "([r](eval/results/r.json))"
    held = {"score": 74.2249, "share": 0.4772, "rate": 2.5078e12, "taken": 641.4, "n": [1871.91]}
    good = f"It is 74.22, 48 % and 47.7 %, 2.51 TFLOP/s, in 641 s, 1,872 sentences/s {link}."
    assert page(tmp_path, good, **held) == []
    assert page(tmp_path, good.replace("74.22", "74.23"), **held) == ["74.23"]
    assert page(tmp_path, good.replace("641 s", "642 s"), **held) == ["642 s"]
    assert page(tmp_path, good.replace(link, ""), **held)
    apart = f"As measured {link}.\n\nIt is 74.22."
    assert page(tmp_path, apart, **held) == ["74.22"]


def test_rows_have_their_own_link_or_the_paragraph_s(tmp_path: Path) -> None:
    table = "Before ([r](eval/results/r.json)):\n\n| | a |\n|---|---|\n| x | 1.5 |\n| y | {} |\n"
    assert page(tmp_path, table.format("2.5"), a=1.5, b=2.5) == []
    assert page(tmp_path, table.format("2.6"), a=1.5, b=2.5) == ["2.6"]
    own = table.format("2.5 [s](eval/results/s.json)")
    (tmp_path / "eval/results/s.json").write_text(json.dumps({"a": 3.5}))
    assert page(tmp_path, own, a=1.5, b=2.5) == ["2.5"]


def test_a_missing_result_file_is_named(tmp_path: Path) -> None:
    assert page(tmp_path, "[x](eval/results/x.json)") == ["eval/results/x.json does not exist"]


def test_marked_blocks_code_and_versions_are_free(tmp_path: Path) -> None:
    assert page(tmp_path, "<!-- figures: the paper, table 5 -->\nIt is 76.25.") == []
    assert page(tmp_path, "<!-- figures: the paper -->\n\nAs published:\n\n| a | 1.5 |\n") == []
    assert page(tmp_path, "<!-- figures: the paper -->\nIt is 76.25.\n\nAnd 3.5.") == ["3.5"]
    assert page(tmp_path, "<!-- figures: -->\nIt is 76.25.") == ["76.25"]
    code = "Use `tau=0.05`.\n\n```bash\nx --r 0.5\n```\n\nPython 3.11, mteb 2.26.24, 95 %."
    assert page(tmp_path, code) == []


def test_raw_series_do_not_hold_a_figure(tmp_path: Path) -> None:
    text = "It is 2.5 ([r](eval/results/r.json))."
    assert page(tmp_path, text, turns=[2.5, 2.6, 2.7, 2.8]) == ["2.5"]
    assert page(tmp_path, text, interval=[2.5, 2.6]) == []
