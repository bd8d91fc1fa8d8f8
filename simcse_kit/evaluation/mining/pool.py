"""Rows of pairs as distinct anchors and candidates, and which candidates are no negatives."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from simcse_kit.corpus import Barred
from simcse_kit.data import Rows, document_links, linked_texts, map_them, text_numbers
from simcse_kit.errors import InputError
from simcse_kit.evaluation.embedding import distinct


@dataclass(frozen=True, eq=False)
class Pool:
    """What is searched for what; every text once a side, by first appearance.

    Attributes:
        anchors: N texts. candidates: M texts, the positives before the rest of the corpus.
        anchor, positive: int64 (P,): the anchor and the candidate of each different pair of the
            rows, by anchor.
        barred: an anchor's own text, its positives in any row, the texts that it is a positive
            of, and where rows tell of documents those of its own.
        repeated: rows whose pair stands in an earlier one.
        own, linked: how many candidates are barred as an anchor's own text, and as linked with it.
        documents: int64 (P,), the document of each pair, where rows tell of documents.
    """

    anchors: list[str]
    candidates: list[str]
    anchor: np.ndarray
    positive: np.ndarray
    barred: Barred
    repeated: int
    own: int
    linked: int
    documents: np.ndarray | None = None


def pool_of(rows: Rows, corpus: Sequence[str] = ()) -> Pool:
    """The anchors and candidates of rows.

    Args:
        corpus: candidates beside the positives of the rows; blank ones are none.

    Raises:
        InputError: rows that are no pairs, and candidates that are all positives of every anchor.
    """
    if rows.kind != "pairs":
        raise _no_pairs(rows)
    columns = rows.columns["anchor"], rows.columns["positive"]
    others = [stripped for text in corpus if (stripped := text.strip())]  # as cells of rows are
    anchors, candidates = distinct(columns[0]), distinct([*columns[1], *others])
    first: dict[tuple[int, int], int] = {}  # the row that each pair stands in first
    for row, pair in enumerate(_places(columns, (anchors, candidates))):
        first.setdefault(pair, row)
    pairs = np.array(list(first), dtype=np.int64).reshape(-1, 2)
    order = np.argsort(pairs[:, 0], kind="stable")
    pairs = pairs[order]
    documents = None if rows.documents is None else rows.documents[list(first.values())][order]
    numbers = text_numbers([*anchors, *candidates])
    further = _of_documents(rows, numbers, (anchors, candidates))
    barred = _barred(numbers, len(anchors), pairs, further)
    if len(barred.query) == len(anchors) * len(candidates):
        raise InputError(
            f"{rows.source}: every text is a positive of every anchor, or the anchor itself, so"
            " there is none to be a negative; give rows of several meanings, or more texts with"
            " --corpus"
        )
    own = sum(text in candidates for text in anchors)
    return Pool(
        anchors=list(anchors),
        candidates=list(candidates),
        anchor=pairs[:, 0],
        positive=pairs[:, 1],
        barred=barred,
        repeated=len(rows) - len(pairs),
        own=own,
        linked=len(barred.query) - own,
        documents=documents,
    )


def _places(
    columns: tuple[Sequence[str], Sequence[str]], rows: tuple[dict[str, int], dict[str, int]]
) -> list[tuple[int, int]]:
    return [(rows[0][a], rows[1][p]) for a, p in zip(*columns, strict=True)]


def _of_documents(
    rows: Rows, numbers: np.ndarray, places: tuple[dict[str, int], dict[str, int]]
) -> list[np.ndarray]:
    """Links between the texts of each document, where the rows tell of documents."""
    if rows.documents is None:
        return []
    anchors, candidates = places
    first = numbers[[anchors[text] for text in rows.columns["anchor"]]]
    second = numbers[[len(anchors) + candidates[text] for text in rows.columns["positive"]]]
    return [document_links([first, second], rows.documents, int(numbers.max()) + 1)]


def _barred(
    numbers: np.ndarray, count: int, pairs: np.ndarray, further: list[np.ndarray]
) -> Barred:
    """Candidates equal to or linked with each anchor, `count` of the numbered texts."""
    texts = int(numbers.max()) + 1
    of_anchors, of_candidates = numbers[:count], numbers[count:]
    first, second = of_anchors[pairs[:, 0]], of_candidates[pairs[:, 1]]
    keys = [of_anchors * texts + of_anchors, first * texts + second, *further]
    keys.append(linked_texts(first, second, texts))  # the other way round, too
    query, candidate = np.divmod(np.unique(np.concatenate(keys)), texts)
    place = np.full((2, texts), -1, dtype=np.int64)
    place[0, of_anchors], place[1, of_candidates] = range(count), range(len(numbers) - count)
    query, candidate = place[0, query], place[1, candidate]
    there = (query >= 0) & (candidate >= 0)
    query, candidate = query[there], candidate[there]
    order = np.lexsort((candidate, query))
    return Barred(query[order], candidate[order])


def _no_pairs(rows: Rows) -> InputError:
    wrong = f"{rows.source}: {rows.kind} rows have no positives to mine negatives beside"
    texts = list(rows.columns)
    if not rows.names or len(texts) < 2:
        return InputError(f"{wrong}; give anchors and positives, two columns")
    both = dict(zip(("anchor", "positive"), (rows.names[name] for name in texts), strict=True))
    return map_them(f"{wrong}; to take every pair for a positive one,", both)
