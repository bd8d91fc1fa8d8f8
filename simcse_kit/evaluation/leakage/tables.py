"""What leaked: tables, what their figures mean, the first rows found, and it in a sentence."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from simcse_kit.data import for_markdown, one_line
from simcse_kit.evaluation.leakage.search import LeakageReport, Overlap, TrainingLeakage
from simcse_kit.evaluation.tables import Cell, Cells

_SHOWN = 120  # characters of an example
_MOST = 5  # overlaps that are shown by an example


def markdown(report: LeakageReport) -> str:
    """The report as Markdown: a section a question; texts from the data come out as plain text."""
    lines = [] if report.training is None else _training(report.training)
    if report.overlaps:
        lines += _overlaps(report.overlaps)
    return "\n".join(lines)


def headline(report: LeakageReport) -> str:
    """What was found of the training data, in a sentence or two; "" without training data."""
    training = report.training
    if training is None:
        return ""
    worst = max(training.leaks, key=lambda leak: (leak.rows_folded, leak.rows_gram))
    if worst.rows_folded:
        pairs = f", {worst.rows_pair:,} with both sentences of a pair" if worst.rows_pair else ""
        return (
            f"Training data occur in the evaluation sets: {worst.rows_folded:,} of"
            f" {training.rows:,} rows hold a sentence of {worst.name}{pairs}. Figures on it are of"
            " seen text until these rows are taken out."
        )
    if worst.rows_gram:
        return (
            f"No training row holds a whole sentence of an evaluation set; {worst.rows_gram:,} of"
            f" {training.rows:,} rows share {training.words} words in a row with {worst.name}:"
            " look at the examples, stock phrases are among them."
        )
    return (
        f"None of {training.rows:,} training rows holds a sentence of an evaluation set, nor"
        f" {training.words} words in a row of one. A paraphrase would not be found."
    )


def tables(report: LeakageReport) -> list[tuple[str, Cells]]:
    """The same tables as `markdown`'s, each with its title, for a terminal."""
    found = []
    if report.training is not None:
        header, rows = _training_rows(report.training, _one_line)
        shown = _examples(report.training, _one_line)
        found.append(
            (_TITLES[0], _cells(header, rows, [_meaning(report.training, _one_line), *shown]))
        )
    if report.overlaps:
        for what, counts in (("rows", _of_rows), ("different sentences", _of_sentences)):
            note = f"Share of a set's {what} that are in the set above the column. {_FOLDED}"
            header, rows = _matrix_rows(report.overlaps, counts, _one_line)
            found.append((f"{_TITLES[1]}, by {what}", _cells(header, rows, [note])))
    return found


_TITLES = ("Training rows in evaluation sets", "Evaluation sets in one another")
_FOLDED = "Case and punctuation folded; pairs in either order, whatever their scores."


def _cells(header: list[str], rows: list[list[str]], notes: list[str]) -> Cells:
    named = [(name, [Cell(value) for value in values]) for name, *values in rows]
    return Cells(header[1:], named, [], notes, corner=header[0])


def _training_rows(
    training: TrainingLeakage, plain: Callable[[str], str]
) -> tuple[list[str], list[list[str]]]:
    n = training.words
    header = ["Set", "exact", "folded", f"{n}-gram", "pair", "its sentences", "its rows"]
    rows = [
        [
            plain(leak.name),
            f"{leak.rows_exact:,}",
            f"{leak.rows_folded:,}",
            f"{leak.rows_gram:,}",
            "–" if leak.rows_pair is None else f"{leak.rows_pair:,}",
            f"{leak.sentences_hit:,} of {leak.sentences:,}",
            f"{leak.set_rows_hit:,} of {leak.set_rows:,}",
        ]
        for leak in training.leaks
    ]
    return header, rows


def _meaning(training: TrainingLeakage, plain: Callable[[str], str]) -> str:
    n = training.words
    return (
        f"{training.rows:,} training rows ({plain(training.source)}), and how many have a text"
        " that is in the set: exact, as it stands; folded, without case and punctuation;"
        f" {n}-gram, with {n} words in a row in common (stock phrases are, too); pair, with both"
        " sentences of one of its pairs. Last, which of the set's own sentences, and of its rows"
        " with all their sentences, are in the training data."
    )


def _examples(training: TrainingLeakage, plain: Callable[[str], str]) -> list[str]:
    lines = []
    for leak in training.leaks:
        for example in leak.examples:
            shared = f" “{plain(example.shared)}”" if example.shared else ""
            where = f"{plain(leak.name)}, row {example.row:,}, {example.match}{shared}"
            lines.append(f"{where}: {plain(example.text)}")
    return lines


def _training(training: TrainingLeakage) -> list[str]:
    lines = [f"### {_TITLES[0]}", "", _meaning(training, quoted), ""]
    lines += _table(*_training_rows(training, quoted))
    found = _examples(training, quoted)
    if found:
        lines += ["First rows found:", "", *(f"- {line}" for line in found), ""]
    return lines


def _overlaps(found: Sequence[Overlap]) -> list[str]:
    lines = [
        f"### {_TITLES[1]}",
        "",
        "Share of the rows of a set (its pairs of sentences, in either order, case and punctuation"
        " folded, whatever the scores) that are rows of the set above the column:",
        "",
        *_table(*_matrix_rows(found, _of_rows, quoted)),
        "The same of its different sentences:",
        "",
        *_table(*_matrix_rows(found, _of_sentences, quoted)),
    ]
    shown = [one for one in found if one.examples]
    shown = sorted(shown, key=lambda one: -(one.rows or 0) / one.of_rows)[:_MOST]
    if shown:
        lines += ["The first row of the largest overlaps:", ""]
        for one in shown:
            texts = " / ".join(quoted(text) for text in one.examples[0])
            where = f"{quoted(one.name)} in {quoted(one.other)}"
            lines.append(f"- {where} ({one.rows:,} of {one.of_rows:,} rows): {texts}")
        lines.append("")
    return lines


def _of_rows(one: Overlap) -> tuple[int | None, int]:
    return one.rows, one.of_rows


def _of_sentences(one: Overlap) -> tuple[int | None, int]:
    return one.sentences, one.of_sentences


def _matrix_rows(
    found: Sequence[Overlap],
    counts: Callable[[Overlap], tuple[int | None, int]],
    plain: Callable[[str], str],
) -> tuple[list[str], list[list[str]]]:
    """A row a set, a column a set or group it may occur in."""
    shares = {(one.name, one.other): _share(*counts(one)) for one in found}
    names = dict.fromkeys(one.name for one in found)
    others = [*names, *dict.fromkeys(one.other for one in found if one.other not in names)]
    rows = [[plain(name), *(shares.get((name, other), "") for other in others)] for name in names]
    return ["in →", *map(plain, others)], rows


def _share(part: int | None, whole: int) -> str:
    """Per cent; "–" for rows of another width, "0" for none at all."""
    if part is None or not whole:
        return "–"
    return f"{100 * part / whole:.1f} %" if part else "0"


def _table(header: list[str], rows: list[list[str]]) -> list[str]:
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return [*(f"| {' | '.join(line)} |" for line in lines), ""]


def _one_line(text: str) -> str:
    """Somebody's text on one line, cut short, without what would steer a terminal."""
    line = one_line(text)
    return line if len(line) <= _SHOWN else line[: _SHOWN - 1] + "…"


def quoted(text: str) -> str:
    """The same with no Markdown or HTML of its own."""
    return for_markdown(_one_line(text))
