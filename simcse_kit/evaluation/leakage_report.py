"""What leaked, as GitHub Markdown: tables, what their figures mean, the first rows found."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Sequence

from simcse_kit.evaluation.leakage import LeakageReport, Overlap, TrainingLeakage

_SHOWN = 120  # characters of an example
_MOST = 5  # overlaps that are shown by an example


def markdown(report: LeakageReport) -> str:
    """The report as Markdown: a section a question; texts from the data come out as plain text."""
    lines = [] if report.training is None else _training(report.training)
    if report.overlaps:
        lines += _overlaps(report.overlaps)
    return "\n".join(lines)


def _training(training: TrainingLeakage) -> list[str]:
    n = training.words
    header = ["Set", "exact", "folded", f"{n}-gram", "pair", "its sentences", "its rows"]
    rows = [
        [
            _plain(leak.name),
            f"{leak.rows_exact:,}",
            f"{leak.rows_folded:,}",
            f"{leak.rows_gram:,}",
            "–" if leak.rows_pair is None else f"{leak.rows_pair:,}",
            f"{leak.sentences_hit:,} of {leak.sentences:,}",
            f"{leak.set_rows_hit:,} of {leak.set_rows:,}",
        ]
        for leak in training.leaks
    ]
    lines = [
        "### Training rows in evaluation sets",
        "",
        f"{training.rows:,} training rows ({_plain(training.source)}), and how many have a text"
        " that is in the set: exact, as it stands; folded, without case and punctuation;"
        f" {n}-gram, with {n} words in a row in common (stock phrases are, too); pair, with both"
        " sentences of one of its pairs. Last, which of the set's own sentences, and of its rows"
        " with all their sentences, are in the training data.",
        "",
        *_table(header, rows),
    ]
    found = [(leak.name, example) for leak in training.leaks for example in leak.examples]
    if found:
        lines += ["First rows found:", ""]
        for name, example in found:
            shared = f" “{_plain(example.shared)}”" if example.shared else ""
            where = f"{_plain(name)}, row {example.row:,}, {example.match}{shared}"
            lines.append(f"- {where}: {_plain(example.text)}")
        lines.append("")
    return lines


def _overlaps(found: Sequence[Overlap]) -> list[str]:
    lines = [
        "### Evaluation sets in one another",
        "",
        "Share of the rows of a set (its pairs of sentences, in either order, case and punctuation"
        " folded, whatever the scores) that are rows of the set above the column:",
        "",
        *_matrix(found, lambda one: (one.rows, one.of_rows)),
        "The same of its different sentences:",
        "",
        *_matrix(found, lambda one: (one.sentences, one.of_sentences)),
    ]
    shown = [one for one in found if one.examples]
    shown = sorted(shown, key=lambda one: -(one.rows or 0) / one.of_rows)[:_MOST]
    if shown:
        lines += ["The first row of the largest overlaps:", ""]
        for one in shown:
            texts = " / ".join(_plain(text) for text in one.examples[0])
            where = f"{_plain(one.name)} in {_plain(one.other)}"
            lines.append(f"- {where} ({one.rows:,} of {one.of_rows:,} rows): {texts}")
        lines.append("")
    return lines


def _matrix(
    found: Sequence[Overlap], counts: Callable[[Overlap], tuple[int | None, int]]
) -> list[str]:
    """A row a set, a column a set or group it may occur in."""
    shares = {(one.name, one.other): _share(*counts(one)) for one in found}
    names = dict.fromkeys(one.name for one in found)
    others = [*names, *dict.fromkeys(one.other for one in found if one.other not in names)]
    header = ["in →", *map(_plain, others)]
    rows = [[_plain(name), *(shares.get((name, other), "") for other in others)] for name in names]
    return _table(header, rows)


def _share(part: int | None, whole: int) -> str:
    """Per cent; "–" for rows of another width, "0" for none at all."""
    if part is None or not whole:
        return "–"
    return f"{100 * part / whole:.1f} %" if part else "0"


def _table(header: list[str], rows: list[list[str]]) -> list[str]:
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return [*(f"| {' | '.join(line)} |" for line in lines), ""]


def _plain(text: str) -> str:
    """Somebody's text as text: on one line, cut short, no Markdown or HTML of its own."""
    line = " ".join(text.split())
    if len(line) > _SHOWN:
        line = line[: _SHOWN - 1] + "…"
    return re.sub(r"([\\`*_\[\]|])", r"\\\1", html.escape(line, quote=False))
