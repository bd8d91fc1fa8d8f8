r"""The table of scores for a paper: LaTeX that needs ``\usepackage{booktabs}`` and nothing else."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from simcse_kit.data import one_line
from simcse_kit.evaluation import Cell
from simcse_kit.evaluation.sts import sts_cells
from simcse_kit.report.data import Report
from simcse_kit.report.verdict import verdict

_SPECIAL = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': "''",
    "−": "$-$",
    "–": "--",
    "×": r"$\times$",
    "≤": r"$\leq$",
    "≥": r"$\geq$",
    "±": r"$\pm$",
    "α": r"$\alpha$",
    "τ": r"$\tau$",
    "…": r"\ldots{}",
    "“": "``",
    "”": "''",
} | {character: f"\\{character}" for character in "&%$#_{}"}
#: Between these TeX would join what it reads: -- to a dash, '' to a quotation mark.
_JOINED = r"(?<=[-'`,?!])(?=[-'`,])"
_PATTERN = re.compile("|".join([_JOINED, *map(re.escape, _SPECIAL)]))
_LATIN = re.compile("[\x00-\u024f\u2010-\u2027]*")
_NAMES = {"STSB": "STS-B", "SICKR": "SICK-R"}


def latex(report: Report) -> str:
    """A ``table*`` of the scores, their intervals below them, and the published rows."""
    plain = {name: replace(result, geometry=None) for name, result in report.results.items()}
    cells = sts_cells(plain, report.intervals, report.published)
    header = [_NAMES.get(name, name) for name in cells.header]
    lines = [
        "% \\usepackage{booktabs}",
        r"\begin{table*}",
        r"  \centering",
        rf"  \begin{{tabular}}{{l{'r' * len(header)}}}",
        r"    \toprule",
        _row("Model", [escaped(name) for name in header]),
        r"    \midrule",
    ]
    for name, row in cells.rows:
        lines += _measured(name, row)
    if cells.published:
        lines.append(r"    \midrule")
        for name, row in cells.published:
            lines.append(_row(escaped(name), [escaped(cell.figure) for cell in row]))
    caption = " ".join([verdict(report).text(), *cells.notes])
    lines += [
        r"    \bottomrule",
        r"  \end{tabular}",
        rf"  \caption{{{escaped(caption)}}}",
        r"  \label{tab:sts}",
        r"\end{table*}",
    ]
    if not _LATIN.fullmatch("".join(lines)):
        lines.insert(1, "% xelatex or lualatex, and a font that has all letters of the names")
    return "\n".join(lines) + "\n"


def escaped(text: str) -> str:
    """Text that LaTeX prints as it stands; line breaks become spaces."""
    return _PATTERN.sub(lambda found: _SPECIAL[found[0]] if found[0] else "{}", one_line(text))


def _measured(name: str, row: Sequence[Cell]) -> list[str]:
    figures = [
        rf"\textbf{{{escaped(cell.figure)}}}" if cell.best else escaped(cell.figure) for cell in row
    ]
    lines = [_row(escaped(name), figures)]
    if any(cell.below for cell in row):
        lines.append(_row("", [rf"\scriptsize {escaped(cell.below)}" for cell in row]))
    return lines


def _row(name: str, cells: Sequence[str]) -> str:
    guard = "{}" if name.startswith(("[", "*")) else ""  # the line before would take it for its own
    return f"    {guard}{' & '.join([name, *cells])} \\\\"
