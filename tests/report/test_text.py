"""A report as Markdown and as a LaTeX table: rows of equal length, nothing that escapes."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from reporting import EVIL, small_report
from simcse_kit.report.data import Report
from simcse_kit.report.latex import escaped, latex
from simcse_kit.report.markdown import markdown


@pytest.fixture(scope="module")
def report() -> Report:
    return small_report(name=EVIL)


@pytest.mark.parametrize("models", [1, 2, 3])
def test_markdown_tables_have_rows_of_equal_length(models):
    text = markdown(small_report(models))
    tables = re.findall(r"(?:^\|.*\|\n?)+", text, re.M)
    assert len(tables) >= 6
    for table in tables:
        widths = {len(re.split(r"(?<!\\)\|", line)) for line in table.strip().splitlines()}
        assert len(widths) == 1, table
    assert text.startswith("# ") and "None" not in text


def test_markdown_shows_what_others_wrote_as_text(report):
    text = markdown(report)
    assert "<script" not in text and "&lt;script>" in text
    assert "/private" not in text


def test_latex_rows_have_as_many_cells_as_columns(report):
    text = latex(report)
    columns = re.search(r"\\begin\{tabular\}\{(\w+)\}", text)
    assert columns is not None
    rows = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert len(rows) == 5  # a head, and two models with their intervals
    for row in rows:
        assert len(re.split(r"(?<!\\)&", row)) == len(columns[1])
    for number, model in enumerate(report.models):
        for score in model.result.tasks.values():
            assert f"{score.spearman:.2f}" in rows[1 + 2 * number]


def test_latex_prints_every_character_as_it_stands():
    assert escaped("50% of a_b & {c} #1 $2 ~^\\ <5>") == (
        r"50\% of a\_b \& \{c\} \#1 \$2 \textasciitilde{}\textasciicircum{}\textbackslash{}"
        r" \textless{}5\textgreater{}"
    )
    assert escaped("−1.0–2.0 ×100\n\\end{document}") == (
        r"$-$1.0--2.0 $\times$100 \textbackslash{}end\{document\}"
    )


def test_latex_compiles(report, tmp_path: Path):
    program = shutil.which("pdflatex") or shutil.which("tectonic")
    if program is None:
        pytest.skip("no TeX on this machine to compile the table with")
    source = tmp_path / "table.tex"
    head = "\\documentclass{article}\\usepackage{booktabs}\\begin{document}\n"
    source.write_text(head + latex(report) + "\\end{document}\n", encoding="utf-8")
    options = ["-no-shell-escape", "-interaction=nonstopmode", "-halt-on-error"]
    command = [program, *(options if program.endswith("pdflatex") else []), source.name]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
