"""Which sentences a geometry is of, and its figures as a table that says what they mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import regex

from simcse_kit.data import Rows, for_markdown
from simcse_kit.errors import InputError
from simcse_kit.evaluation.embedding import distinct
from simcse_kit.evaluation.leakage import folded_words
from simcse_kit.evaluation.sts import PairTask
from simcse_kit.evaluation.tables import Cell, Cells
from simcse_kit.geometry import (
    ALIGNMENT_MAY_RISE,
    FIGURES,
    Figure,
    Reference,
    Space,
    close_pairs,
    scale_of,
)

# Scripts without blanks between words: Chinese, Japanese, Thai, Lao, Khmer, Burmese.
_UNSPACED = regex.compile(
    r"[\p{scx=Han}\p{scx=Hira}\p{scx=Kana}\p{scx=Thai}\p{scx=Laoo}\p{scx=Khmr}\p{scx=Mymr}]"
)
_BATCH, _NEIGHBOURS = 64, 10  # of effective negatives and of hubness, where there are sentences


@dataclass(frozen=True, eq=False)
class Sentences:
    """N different sentences, and which of them are pairs.

    Attributes:
        texts: the sentences.
        pairs: int (P, 2), rows of `texts`; None where there are no pairs.
        gold: (P,) scores of the pairs; None where all pairs mean the same.
        source: where they are from.
    """

    texts: list[str]
    pairs: np.ndarray | None
    gold: np.ndarray | None
    source: str

    def options(self, *, threshold: float | None = None) -> dict[str, Any]:
        """What `geometry.measure_space` takes of them; lengths are by `length_in_words`."""
        n = len(self.texts)
        options: dict[str, Any] = {
            "lengths": np.array([length_in_words(text) for text in self.texts], dtype=float),
            "batch": min(_BATCH, n),
            "k": min(_NEIGHBOURS, n - 1),
        }
        if self.pairs is not None:
            options |= {"pairs": self.pairs, "gold": self.gold, "threshold": threshold}
        return options


def length_in_words(text: str) -> int:
    """How many words a text has, at least 1: what stands between white space, and in scripts that
    have no blanks between words (Chinese, Japanese, Thai, …) each character.
    """
    pieces = text.split()
    if text.isascii():
        return max(1, len(pieces))
    return max(1, sum(max(1, len(folded_words(piece))) if _UNSPACED.search(piece) else 1
                      for piece in pieces))  # fmt: skip


def sentences_of_task(task: PairTask) -> Sentences:
    """The different sentences of an STS task, and its scored pairs."""
    return _with_pairs(task.sentence1, task.sentence2, task.gold, f"{task.name} ({task.split})")


def sentences_of_rows(rows: Rows) -> Sentences:
    """The different texts of rows of any kind; scored pairs, or anchors with their positives.

    Raises InputError where there are fewer than three.
    """
    if rows.kind == "scored":
        sides = rows.columns["sentence1"], rows.columns["sentence2"]
        return _with_pairs(*sides, rows.scores, rows.source)
    if rows.kind == "pairs":
        return _with_pairs(rows.columns["anchor"], rows.columns["positive"], None, rows.source)
    return _enough(Sentences(list(distinct(rows.texts())), None, None, rows.source))


def _with_pairs(
    first: Sequence[str], second: Sequence[str], gold: np.ndarray | None, source: str
) -> Sentences:
    row = distinct([*first, *second])
    pairs = np.array([[row[one], row[other]] for one, other in zip(first, second, strict=True)])
    return _enough(Sentences(list(row), pairs, gold, source))


def _enough(found: Sentences) -> Sentences:
    if len(found.texts) < 3:
        raise InputError(
            f"{found.source} holds {len(found.texts)} different text(s): the geometry of a space"
            " needs at least 3, and says little of fewer than hundreds"
        )
    return found


def space_rows(space: Space, beside: Sequence[Reference] = ()) -> list[list[str]]:
    """A row a figure: title, value, interval, over what, one of each reference, meaning, pitfall.

    Args:
        beside: spaces to see this one beside (`geometry.references`).
    """
    return [
        [
            FIGURES[name].title,
            shown(figure.value),
            interval(figure) or "–",
            f"{figure.n:,} {figure.of}",
            *(shown(one.values[name]) if name in one.values else "–" for one in beside),
            figure.meaning,
            figure.pitfall,
        ]
        for name, figure in space.figures.items()
    ]


def space_notes(
    space: Space, sentences: Sentences, model: str, beside: Sequence[Reference] = ()
) -> list[str]:
    """What the figures are of, how the intervals were made, and what stands beside them."""
    s = space.settings
    notes = [
        f"{model} on {space.sentences:,} different sentences of {sentences.source},"
        f" {space.dimension} dimensions; the intervals ({100 * s['level']:g} %) are over other"
        f" sentences of the same kind and number, {s['draws']:,} draws.",
        f"Effective negatives at temperature {s['temperature']:g} in batches of {s['batch']};"
        f" hubness over {s['k']} neighbours; lengths in words, in scripts without blanks between"
        " them in characters.",
    ]
    if "alignment" in space.figures and s["threshold"] is not None and sentences.gold is not None:
        close = close_pairs(s["threshold"], scale_of(sentences.gold))
        notes.append(f"Alignment is over the pairs with {close}.")
    notes += left_out(space)
    notes += [f"{reference.name}: {reference.source}" for reference in beside]
    return [*notes, *alignment_notes(space)]


def left_out(space: Space) -> list[str]:
    """Why figures that were asked for are not there, a sentence each."""
    return [f"{FIGURES[name].title} is left out: {why}" for name, why in space.missing.items()]


def alignment_notes(space: Space) -> list[str]:
    """What alignment is to be read beside: the distance of two sentences drawn at random."""
    if "alignment" not in space.figures:
        return []
    apart = 2 * (1 - space.figures["mean_cosine"].value)
    return [
        f"Two sentences of this space drawn at random are {shown(apart)} apart, as alignment"
        f" counts: 2 × (1 − mean cosine). {ALIGNMENT_MAY_RISE}"
    ]


def space_markdown(space: Space, notes: Sequence[str], beside: Sequence[Reference] = ()) -> str:
    """The figures of one space as GitHub Markdown."""
    names = [one.name for one in beside]
    header = ["Figure", "value", "interval", "over", *names, "meaning", "pitfall"]
    rule = ["---", *["---:"] * (3 + len(beside)), "---", "---"]
    lines = [header, rule, *space_rows(space, beside)]
    said = map(for_markdown, notes)
    return "\n".join([*(f"| {' | '.join(line)} |" for line in lines), "", *said, ""])


def layer_cells(
    spaces: Sequence[Space], notes: Sequence[str], *, with_intervals: bool = True
) -> Cells:
    """A row a layer, a column a figure, and what the figures mean as notes."""
    names = [name for name in FIGURES if any(name in space.figures for space in spaces)]
    rows = []
    for number, space in enumerate(spaces):
        cells = [
            Cell(shown(figure.value), interval(figure) if with_intervals else "")
            if (figure := space.figures.get(name))
            else Cell("–")
            for name in names
        ]
        rows.append((f"layer {number}" if number else "embeddings", cells))
    legend = [f"{FIGURES[n].title}: {FIGURES[n].meaning} {FIGURES[n].pitfall}" for n in names]
    return Cells(
        [FIGURES[name].title for name in names], rows, [], [*notes, *legend], corner="Layer"
    )


def shown(value: float) -> str:
    """Three significant digits at least, no more than three decimals."""
    text = f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"
    return "0.000" if text == "-0.000" else text


def interval(figure: Figure) -> str:
    """From … to …, or "" where the figure has none."""
    if figure.interval is None:
        return ""
    low, high = (shown(bound) for bound in figure.interval)
    return f"{low}–{high}" if figure.interval[0] >= 0 else f"{low} to {high}"
