"""Retrieval from embeddings: does each query find its own documents? Arrays only.

Figures are those of trec_eval, which BEIR and MTEB report: recall@k is the share of a query's
relevant documents among its first k; mrr the reciprocal rank of the first relevant one, mrr@k
the same but 0 where that rank is above k; ndcg@k weighs the grades by 1 / log2(rank + 1) and
divides by the best possible order (Järvelin & Kekäläinen 2002, with linear gain). Only ties differ:
trec_eval orders them by document id, here they count against the query.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from simcse_kit.corpus import Barred, UnitRows, product_blocks, unit
from simcse_kit.errors import InputError
from simcse_kit.geometry import normalize

# Equal texts get equal embeddings, but their cosines may differ by rounding errors of the matrix
# product; anything this close is a tie. Cosines are taken in float64, since those of a narrow space
# (1 ± 1e-5, say) differ by no more than float32 rounds.
_TIE = 1e-12
_METRIC = re.compile(r"(recall|mrr|ndcg)(?:@([1-9]\d*))?")


@dataclass(frozen=True, eq=False)
class Relevance:
    """J judgements: document `document[j]` answers query `query[j]` to the degree `grade[j]`.

    `query` and `document` are row numbers, int (J,), a pair of them once; a `grade` above 0 is
    relevant, and any other as good as no judgement. A `document` of −1 is in no corpus: it belongs
    to the query and is never found, as in trec_eval.
    """

    query: np.ndarray
    document: np.ndarray
    grade: np.ndarray


def retrieval(
    queries: Any,
    corpus: Any,
    relevant: Any,
    *,
    metrics: Sequence[str] = ("recall@1", "recall@5", "recall@10", "mrr"),
    block: int = 4096,
) -> dict[str, float]:
    """The mean over queries of each metric ×100, by cosine: as `by_query`, which it averages."""
    values = by_query(queries, corpus, relevant, metrics=metrics, block=block)
    return {name: float(each.mean()) for name, each in values.items()}


def by_query(
    queries: Any,
    corpus: Any,
    relevant: Any,
    *,
    metrics: Sequence[str] = ("recall@1", "recall@5", "recall@10", "mrr"),
    block: int = 4096,
    itself: Any = None,
) -> dict[str, np.ndarray]:
    """Each metric ×100 of each query, by cosine.

    Ties count against the query: a relevant document stands behind every other that scores at
    least as high (within 1e-12), and of tied relevant ones the lowest grade stands first. So a
    collapsed space ranks everything last, and a document that is in the corpus twice is at best
    second.

    Args:
        queries: embeddings (N, D). corpus: embeddings (M, D).
        relevant: int (N,), the one corpus row that belongs to each query; or a `Relevance`, with
            at least one relevant document a query.
        metrics: any of "recall@K", "mrr", "mrr@K", "ndcg@K".
        block: queries, and documents, compared at a time: memory beyond the unit rows and the
            judgements is O(block²).
        itself: int (N,), the corpus row that is the query's own text, which is no candidate unless
            it is relevant; -1 for none.

    Returns:
        {metric: (N,) float64}.

    Raises:
        InputError: widths that differ, non-finite or zero rows, row numbers outside the arrays,
            a query without a relevant document, a pair judged twice, an unknown metric.
    """
    measures = {name: _measure(name) for name in metrics}
    queries, corpus = np.asarray(queries), np.asarray(corpus)
    for rows in (queries, corpus):
        normalize(rows)  # complains of what has no direction
    if queries.shape[1] != corpus.shape[1]:
        raise InputError(
            f"Queries have {queries.shape[1]} dimensions and the corpus {corpus.shape[1]}:"
            " embed both with one model."
        )
    judged = _checked(relevant, len(queries), len(corpus))
    own = np.full(len(queries), -1) if itself is None else np.asarray(itself)
    ranked = _ranked(queries, corpus, judged, own, block)
    return {name: 100 * measure(ranked) for name, measure in measures.items()}


# ---- what is relevant ---------------------------------------------------------------------------


def _checked(relevant: Any, n_queries: int, n_documents: int) -> Relevance:
    """The relevant pairs alone (J,), in the order of the queries."""
    fewest = -1 if isinstance(relevant, Relevance) else 0
    if not isinstance(relevant, Relevance):
        relevant = _one_each(np.asarray(relevant), n_queries)
    query, document = np.asarray(relevant.query), np.asarray(relevant.document)
    grade = np.asarray(relevant.grade, dtype=np.float64)
    whole = np.issubdtype(query.dtype, np.integer) and np.issubdtype(document.dtype, np.integer)
    if not whole or query.ndim != 1 or not query.shape == document.shape == grade.shape:
        raise InputError(
            "A Relevance needs row numbers and grades of one length, not arrays of"
            f" {query.dtype} {query.shape}, {document.dtype} {document.shape} and {grade.shape}."
        )
    if not np.isfinite(grade).all():
        raise InputError("A grade of relevance is not finite: give numbers, 0 for irrelevant.")
    outside = (query < 0) | (query >= n_queries)
    if outside.any():
        first = int(query[outside][0])
        raise InputError(f"Query {first} is judged, and there are {n_queries} queries, from 0.")
    outside = (document < fewest) | (document >= n_documents)
    if outside.any():
        first = int(np.flatnonzero(outside)[0])
        raise InputError(
            f"The relevant row of query {query[first]} is {document[first]}, outside the corpus of"
            f" {n_documents} rows."
        )
    order = np.lexsort((document, query))
    query, document, grade = query[order], document[order], grade[order]
    equal = (np.diff(query) == 0) & (np.diff(document) == 0)
    twice = np.flatnonzero(equal & (document[1:] >= 0))
    if len(twice):
        raise InputError(
            f"Document {document[twice[0]]} is judged twice for query {query[twice[0]]}: once will"
            " do."
        )
    kept = grade > 0
    missing = np.flatnonzero(np.bincount(query[kept], minlength=n_queries) == 0)
    if len(missing):
        raise InputError(
            f"{len(missing)} of {n_queries} queries have no relevant document, the first is query"
            f" {missing[0]}: leave them out."
        )
    return Relevance(query[kept], document[kept], grade[kept])


def _one_each(relevant: np.ndarray, n_queries: int) -> Relevance:
    if relevant.shape != (n_queries,) or not np.issubdtype(relevant.dtype, np.integer):
        raise InputError(
            f"relevant must hold one corpus row number for each of the {n_queries} queries,"
            f" not {relevant.dtype} of shape {relevant.shape}."
        )
    return Relevance(np.arange(n_queries), relevant, np.ones(n_queries))


# ---- ranks --------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Ranked:
    """The relevant documents of all queries end to end, by query and then by rank: (J,) each.

    `first` (N,) is where each query's begin, `place` counts them from 0.
    """

    query: np.ndarray
    grade: np.ndarray
    rank: np.ndarray
    first: np.ndarray
    place: np.ndarray


def _ranked(
    queries: np.ndarray, corpus: np.ndarray, judged: Relevance, own: np.ndarray, block: int
) -> _Ranked:
    scores = np.empty(len(judged.query))
    for start in range(0, len(scores), block):
        some = slice(start, start + block)
        pairs = queries[judged.query[some]], corpus[judged.document[some]]
        scores[some] = np.einsum("jd,jd->j", *(unit(each, np.float64) for each in pairs))
    scores[judged.document < 0] = -2.0  # below every cosine

    # By query and descending score. Runs of scores that lie within a tie of the next are one group:
    # all of it stands behind whatever ties with its lowest, its best document last.
    order = np.lexsort((-scores, judged.query))
    query, scores, grade = judged.query[order], scores[order], judged.grade[order]
    new = np.append(True, (np.diff(query) > 0) | (scores[:-1] - scores[1:] > _TIE))
    group = np.cumsum(new) - 1
    lowest = np.minimum.reduceat(scores, np.flatnonzero(new))[group]
    grade = grade[np.lexsort((grade, group))]
    first = np.flatnonzero(np.append(True, np.diff(query) > 0))
    place = np.arange(len(query)) - first[query]
    ahead = _others_ahead(queries, corpus, judged, own, (query, place, lowest - _TIE), block)
    rank = np.where(scores < -1.5, np.inf, ahead + place + 1)
    return _Ranked(query, grade, rank, first, place)


def _others_ahead(
    queries: np.ndarray,
    corpus: np.ndarray,
    judged: Relevance,
    own: np.ndarray,
    sought: tuple[np.ndarray, np.ndarray, np.ndarray],
    block: int,
) -> np.ndarray:
    """How many irrelevant documents but a query's own text score at least a threshold: (J,).

    `sought` is a query, its place among the query's thresholds, and the threshold: (J,) each,
    in the order of the queries, as `judged` is.
    """
    query, place, threshold = sought
    ahead = np.zeros(len(query), dtype=np.int64)
    for start in range(0, len(queries), block):
        part = slice(*np.searchsorted(query, [start, start + block]))
        of_place = [
            part.start + np.flatnonzero(place[part] == p) for p in range(place[part].max() + 1)
        ]
        rows, documents = judged.query[part] - start, judged.document[part]
        asked = unit(queries[start : start + block], np.float64)
        mine = own[start : start + block]
        gone = Barred.of(np.append(rows, np.arange(len(mine))), np.append(documents, mine))
        for _, scores in product_blocks(asked, UnitRows(corpus, np.float64), gone, block=block):
            for some in of_place:  # at most one threshold a query: no larger than the block
                reached = scores[query[some] - start] >= threshold[some, None]
                ahead[some] += reached.sum(axis=1)
    return ahead


# ---- from ranks to figures ----------------------------------------------------------------------


def _measure(name: str) -> Callable[[_Ranked], np.ndarray]:
    """The function from ranks to a value from 0 to 1 for each query (N,)."""
    match = _METRIC.fullmatch(name)
    if match is None or (match[2] is None and match[1] != "mrr"):
        raise InputError(f"There is no metric {name!r}: use recall@K, mrr, mrr@K or ndcg@K.")
    figure, k = match[1], int(match[2] or 0)
    if figure == "mrr":
        return lambda ranked: _reciprocal_rank(ranked, k)
    return lambda ranked: (_recall if figure == "recall" else _ndcg)(ranked, k)


def _recall(ranked: _Ranked, k: int) -> np.ndarray:
    found = np.bincount(ranked.query, ranked.rank <= k)
    shares: np.ndarray = found / np.bincount(ranked.query)
    return shares


def _reciprocal_rank(ranked: _Ranked, k: int) -> np.ndarray:
    """Of the first relevant document; k = 0 does not cut."""
    best = ranked.rank[ranked.first]
    return np.where((k == 0) | (best <= k), 1 / best, 0.0)


def _ndcg(ranked: _Ranked, k: int) -> np.ndarray:
    gain = np.where(ranked.rank <= k, ranked.grade / np.log2(ranked.rank + 1), 0.0)
    best_first = ranked.grade[np.lexsort((-ranked.grade, ranked.query))]
    ideal = np.where(ranked.place < k, best_first / np.log2(ranked.place + 2), 0.0)
    shares: np.ndarray = np.bincount(ranked.query, gain) / np.bincount(ranked.query, ideal)
    return shares
