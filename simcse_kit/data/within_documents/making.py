"""Documents become pairs by several ways, and what each way gave is counted."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from simcse_kit.data.rows import Rows
from simcse_kit.data.within_documents.sentences import (
    Document,
    common_sentences,
    document_of,
    words_of,
)
from simcse_kit.data.within_documents.ways import WAYS, Draw, Pair
from simcse_kit.errors import InputError, one_of

#: Ways that are usual: those that need no order of the documents' parts but a beginning.
USUAL = ("title", "crop", "cloze", "keywords")
_TRIES = 4  # draws for each pair that is asked: short documents give the same one again

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class PairsMade:
    """Pairs of texts of one document, and where they come from.

    Attributes:
        rows: "pairs"; `Rows.documents` tells the document of each, as numbers of those given.
        ways: P names, which way made each.
        given: documents. repeated: of equal prose as an earlier one, left out.
        short: documents with too few words for any pair. none: others that gave none.
        unsplit: long ones without an end of a sentence that is known.
        common: sentences that stand in more than `COMMON` of them, left out.
        by_way: pairs that each way gave. lacking: documents that gave none of it.
    """

    rows: Rows
    ways: list[str]
    given: int
    repeated: int
    short: int
    none: int
    unsplit: int
    common: int
    by_way: dict[str, int]
    lacking: dict[str, int]

    def __len__(self) -> int:
        return len(self.rows)

    def to_json(self) -> dict[str, Any]:
        """Plain values, ready for `json.dumps`."""
        return {
            "source": self.rows.source,
            "documents": self.given,
            "repeated": self.repeated,
            "too_short": self.short,
            "without_a_pair": self.none,
            "unsplit": self.unsplit,
            "common_sentences": self.common,
            "pairs": len(self),
            "by_way": self.by_way,
            "documents_without": self.lacking,
        }

    def sentences(self) -> list[str]:
        """What became of the documents, in words."""
        said = [f"{len(self):,} pairs of {self.given:,} documents of {self.rows.source}."]
        left_out = {
            "equal to an earlier one": self.repeated,
            "too short": self.short,
            "without a pair by these ways": self.none,
        }
        if any(left_out.values()):
            told = ", ".join(f"{count:,} {why}" for why, count in left_out.items() if count)
            said.append(f"Documents left out: {told}.")
        if self.common:
            said.append(
                f"Sentences left out, for more than a quarter of the documents have them:"
                f" {self.common:,}."
            )
        if self.unsplit:
            said.append(
                f"{self.unsplit:,} long documents have no end of a sentence that is known here, and"
                " count as one sentence each."
            )
        return said


def whole_documents(rows: Rows) -> list[str]:
    """The documents of rows of text: a row each, or the rows of one document as its lines.

    Raises:
        InputError: rows that are no plain texts.
    """
    if rows.kind not in ("text", "labelled"):
        raise InputError(
            f"{rows.source}: {rows.kind} rows are pairs already; train on them, or give a column of"
            " whole documents",
            command_line=f"{rows.source}: {rows.kind} rows are pairs already; train on them, or"
            " name a column of whole documents with --column text=NAME",
        )
    texts = rows.columns["text"]
    if rows.documents is None:
        return [*texts]
    # a row of a table is a paragraph; without a column of ids these are lines of plain text
    between = "\n\n" if "document" in rows.names else "\n"
    order = np.argsort(rows.documents, kind="stable")
    numbers = rows.documents[order]
    parts = np.split(order, np.flatnonzero(np.diff(numbers)) + 1)
    return [between.join(texts[row] for row in part.tolist()) for part in parts]


def make_pairs(
    documents: Sequence[str],
    ways: Sequence[str] = USUAL,
    *,
    per_document: int = 1,
    seed: int = 0,
    words: int = 100,
    least: int = 3,
    source: str = "documents",
    show_progress: bool = False,
) -> PairsMade:
    """Make pairs of each document by each of several ways.

    What a document gives depends on the seed, the way and its place alone (keywords on the other
    documents, too). No pair stands twice, and none has one text for both sides. What stands in more
    than a quarter of a dozen documents or more (headings, notices) tells none of them from the
    others, and is passed over.

    Args:
        ways: names of `WAYS`.
        per_document: pairs of each way that a document gives at most.
        words: what a side holds at most, in whole sentences; a first sentence that is longer stays.
        least: words that a side must have.
        source: what the rows are called.
        show_progress: bars on stderr, when that is a terminal.

    Raises:
        InputError: no such way, a number that is none, or documents that give no pair.
    """
    _check(ways, per_document, words, least, seed)
    quiet = None if show_progress else True
    numbers, whole = _distinct(documents, quiet=quiet)
    common = common_sentences(whole)
    parsed = [each.without(common) for each in whole]
    short = [_words(each) < 2 * least for each in parsed]
    found: dict[Pair, tuple[int, str]] = {}
    by_way, lacking = dict.fromkeys(ways, 0), dict.fromkeys(ways, 0)
    giving: set[int] = set()
    for name in ways:
        draw = WAYS[name](parsed, words, least)
        for place, number in enumerate(tqdm(numbers, desc=name, disable=quiet)):
            if short[place]:
                continue
            stream = np.random.default_rng([seed, list(WAYS).index(name), number])
            pairs = [
                each for each in _drawn(draw, place, stream, per_document) if each not in found
            ]
            found |= dict.fromkeys(pairs, (number, name))
            by_way[name] += len(pairs)
            lacking[name] += not pairs
            giving |= {number} if pairs else set()
    if not found:
        raise _nothing(source, len(documents), ways, short, least)
    made = PairsMade(
        rows=_rows(found, source),
        ways=[name for _, name in found.values()],
        given=len(documents),
        repeated=len(documents) - len(numbers),
        short=sum(short),
        none=len(numbers) - sum(short) - len(giving),
        unsplit=sum(each.unsplit for each in parsed),
        common=len(common),
        by_way=by_way,
        lacking=lacking,
    )
    if made.unsplit:
        logger.warning(
            "%s: %d long documents have no end of a sentence that is known here, and count as one "
            "sentence each: put every sentence on a line of its own",
            *(source, made.unsplit),
        )
    return made


def _distinct(documents: Sequence[str], *, quiet: bool | None) -> tuple[list[int], list[Document]]:
    """The numbers of those whose prose is none of an earlier one's, and they themselves."""
    texts: set[str] = set()
    known: set[Document] = set()
    numbers, parsed = [], []
    for number, text in enumerate(tqdm(documents, desc="sentences", disable=quiet)):
        if (bare := text.strip()) in texts:
            continue
        texts.add(bare)
        document = document_of(bare)
        if document in known:
            continue
        if document.sentences:
            known.add(document)
        numbers.append(number)
        parsed.append(document)
    return numbers, parsed


def _drawn(draw: Draw, place: int, stream: np.random.Generator, most: int) -> list[Pair]:
    """Up to `most` different pairs of a document."""
    found: dict[Pair, None] = {}
    for _ in range(_TRIES * most):
        pair = draw(place, stream)
        if pair is not None and pair[0] != pair[1]:
            found[pair] = None
        if len(found) == most:
            break
    return list(found)


def _words(document: Document) -> int:
    return sum(map(words_of, document.sentences))


def _rows(found: dict[Pair, tuple[int, str]], source: str) -> Rows:
    columns = {"anchor": [pair[0] for pair in found], "positive": [pair[1] for pair in found]}
    numbers = np.array([number for number, _ in found.values()], dtype=np.int64)
    return Rows("pairs", columns, None, None, source, duplicates=0, blank=0, documents=numbers)


def _check(ways: Sequence[str], per_document: int, words: int, least: int, seed: int) -> None:
    for name in ways:
        if name not in WAYS:
            raise InputError(f"ways: {name!r} {one_of(list(WAYS), name)}")
    if not ways or len(set(ways)) < len(ways):
        raise InputError(
            f"ways must be some of {', '.join(WAYS)}, each once, not {', '.join(ways) or 'none'}"
        )
    for told, value in (("per_document", per_document), ("words", words), ("least", least)):
        if value < 1:
            raise InputError(f"{told} must be 1 or more, not {value}")
    if least > words:
        raise InputError(
            f"least {least} is above words {words}, which no side could be",
            command_line=f"--least {least} is above --words {words}, which no side could be",
        )
    if seed < 0:
        raise InputError(f"seed must be 0 or more, not {seed}")


def _nothing(
    source: str, given: int, ways: Sequence[str], short: Sequence[bool], least: int
) -> InputError:
    too_short = sum(short)
    others = len(short) - too_short
    why = [f"{too_short:,} have fewer than {2 * least} words"] if too_short else []
    if others:
        lack = ["two sentences that are long enough"] if set(ways) - {"keywords"} else []
        lack += ["three words that tell it from the others"] if "keywords" in ways else []
        why.append(f"{others:,} have no {' and no '.join(lack)}")
    return InputError(
        f"{source}: {given:,} documents give no pair by {', '.join(ways)}: {', '.join(why)}; give "
        "whole documents (in a .txt put a blank line between them), or other ways"
    )
