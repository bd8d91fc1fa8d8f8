"""Retrieval against a plain loop, and sklearn's ranking metric where they measure one thing."""

import numpy as np
import pytest
from sklearn.metrics import label_ranking_average_precision_score, ndcg_score

from simcse_kit.errors import InputError
from simcse_kit.evaluation.search.retrieval import Relevance, by_query, retrieval


def embeddings(n: int, seed: int = 0, d: int = 6) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, d)).astype(np.float32)


def naive(queries: np.ndarray, corpus: np.ndarray, relevant: np.ndarray) -> dict[str, float]:
    ranks = []
    for query, own in zip(queries.astype(float), relevant, strict=True):
        cosines = [
            float(query @ row / np.linalg.norm(query) / np.linalg.norm(row))
            for row in corpus.astype(float)
        ]
        better = [i for i, cosine in enumerate(cosines) if i != own and cosine >= cosines[own]]
        ranks.append(len(better) + 1)
    n = len(ranks)
    found = {f"recall@{k}": 100 * sum(rank <= k for rank in ranks) / n for k in (1, 5, 10)}
    return {**found, "mrr": 100 * sum(1 / rank for rank in ranks) / n}


@pytest.mark.parametrize("block", [1, 7, 1024])
def test_it_is_the_naive_loop_whatever_the_block(block: int) -> None:
    corpus = embeddings(50)
    relevant = np.random.default_rng(1).integers(0, 50, size=23)
    queries = corpus[relevant] + 4.0 * embeddings(23, seed=2)
    result = retrieval(queries, corpus, relevant, block=block)
    assert result == pytest.approx(naive(queries, corpus, relevant))
    assert 0 < result["recall@1"] < result["recall@10"] < 100


@pytest.mark.parametrize("block", [1, 7, 1024])
def test_a_query_that_is_in_the_corpus_does_not_find_itself(block: int) -> None:
    corpus = embeddings(20)
    itself, relevant = np.arange(20), np.append(np.arange(1, 20), 19)  # the last is its own
    itself[3] = -1
    result = by_query(corpus, corpus, relevant, block=block, itself=itself)
    expected = []
    for row, own in enumerate(relevant):
        there = [i for i in range(20) if i != row or i == own or row == 3]
        alone = by_query(corpus[row : row + 1], corpus[there], np.array([there.index(own)]))
        expected.append(alone["mrr"][0])
    assert result["mrr"] == pytest.approx(np.array(expected))


def test_mrr_is_sklearns_where_one_document_is_relevant() -> None:
    corpus, relevant = embeddings(30), np.arange(30)
    queries = corpus + embeddings(30, seed=1)
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (queries, corpus)]
    expected = label_ranking_average_precision_score(np.eye(30), unit[0] @ unit[1].T)
    assert retrieval(queries, corpus, relevant)["mrr"] == pytest.approx(100 * expected)


def test_scale_does_not_count_and_a_perfect_space_is_perfect() -> None:
    corpus = embeddings(20)
    sizes = np.random.default_rng(3).uniform(0.1, 10, size=(20, 1))
    result = retrieval(sizes * corpus, corpus[::-1], np.arange(20)[::-1])
    assert result == {"recall@1": 100.0, "recall@5": 100.0, "recall@10": 100.0, "mrr": 100.0}


def test_ties_count_against_the_query() -> None:
    collapsed = np.ones((40, 4))
    result = retrieval(collapsed[:8], collapsed, np.zeros(8, dtype=int))
    assert result["recall@10"] == 0.0
    assert result["mrr"] == pytest.approx(100 / 40)
    corpus = embeddings(5)
    twice = np.concatenate([corpus, corpus[:1]])
    result = retrieval(corpus[:1], twice, np.array([0]))
    assert (result["recall@1"], result["mrr"]) == (0.0, 50.0)


@pytest.mark.parametrize(
    ("queries", "relevant", "message"),
    [
        (embeddings(3, d=5), np.zeros(3, dtype=int), "5 dimensions and the corpus 6"),
        (embeddings(3), np.zeros(2, dtype=int), "each of the 3 queries"),
        (embeddings(3), np.zeros(3), "not float64"),
        (embeddings(3), np.array([0, 9, 1]), "query 1 is 9, outside the corpus of 9 rows"),
        (embeddings(3), np.array([0, 1, -1]), "query 2 is -1"),
        (np.full((3, 6), np.nan), np.zeros(3, dtype=int), "not finite"),
        (np.zeros((3, 6)), np.zeros(3, dtype=int), "no direction in row 0"),
    ],
)
def test_what_cannot_be_ranked_is_refused(
    queries: np.ndarray, relevant: np.ndarray, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        retrieval(queries, embeddings(9), relevant)


# ---- several relevant documents, with grades ----------------------------------------------------

GRADED = ("recall@1", "recall@3", "recall@10", "mrr", "mrr@10", "ndcg@3", "ndcg@10", "ndcg@100")


def judgements(n_queries: int, n_documents: int, seed: int = 5) -> Relevance:
    """From 1 to 8 documents a query, graded 0 to 3, at least one of them relevant; shuffled."""
    rng = np.random.default_rng(seed)
    rows = []
    for query in range(n_queries):
        documents = rng.choice(n_documents, size=rng.integers(1, 9), replace=False)
        grades = rng.integers(0, 4, size=len(documents))
        grades[0] = rng.integers(1, 4)
        rows += [(query, d, g) for d, g in zip(documents, grades, strict=True)]
    query, document, grade = np.array(rows)[rng.permutation(len(rows))].T
    return Relevance(query, document, grade.astype(float))


def spaces(n_queries: int, n_documents: int, judged: Relevance) -> tuple[np.ndarray, np.ndarray]:
    """A corpus, and queries near the documents that answer them."""
    corpus = embeddings(n_documents, d=12)
    queries = 2.0 * embeddings(n_queries, seed=7, d=12)
    np.add.at(queries, judged.query, judged.grade[:, None] * corpus[judged.document])
    return queries, corpus


def naive_by_query(
    queries: np.ndarray, corpus: np.ndarray, judged: Relevance
) -> dict[str, list[float]]:
    """Every query's corpus in a list, sorted; what ties is sorted by grade, the lowest first."""
    found: dict[str, list[float]] = {name: [] for name in GRADED}
    for number, query in enumerate(queries.astype(float)):
        grade = dict.fromkeys(range(len(corpus)), 0.0)
        for q, d, g in zip(judged.query, judged.document, judged.grade, strict=True):
            if q == number:
                grade[int(d)] = max(float(g), 0.0)
        cosine = [
            query @ row / np.linalg.norm(query) / np.linalg.norm(row)
            for row in corpus.astype(float)
        ]
        order = sorted(grade, key=lambda d: (-round(cosine[d], 6), grade[d]))
        ranked = [grade[d] for d in order]
        best = sorted(ranked, reverse=True)
        first = next(i for i, g in enumerate(ranked, start=1) if g > 0)

        def dcg(grades: list[float], k: int) -> float:
            return sum(g / np.log2(i + 1) for i, g in enumerate(grades[:k], start=1))

        for name in GRADED:
            figure, _, k = name.partition("@")
            cut = int(k or len(corpus))
            value = {
                "recall": sum(g > 0 for g in ranked[:cut]) / sum(g > 0 for g in ranked),
                "mrr": 1 / first if first <= cut else 0.0,
                "ndcg": dcg(ranked, cut) / dcg(best, cut),
            }[figure]
            found[name].append(100 * value)
    return found


@pytest.mark.parametrize("block", [1, 7, 4096])
def test_graded_relevance_is_the_naive_loop_whatever_the_block(block: int) -> None:
    judged = judgements(25, 60)
    queries, corpus = spaces(25, 60, judged)
    result = by_query(queries, corpus, judged, metrics=GRADED, block=block)
    expected = naive_by_query(queries, corpus, judged)
    for name in GRADED:
        np.testing.assert_allclose(result[name], expected[name], err_msg=name)
    assert 20 < result["ndcg@10"].mean() < 95


def test_ties_with_several_relevant_documents_are_the_naive_loop() -> None:
    judged = judgements(25, 60)
    queries, corpus = spaces(25, 60, judged)
    corpus = corpus[np.random.default_rng(3).integers(0, 20, size=60)]  # each about three times
    result = by_query(queries, corpus, judged, metrics=GRADED, block=9)
    expected = naive_by_query(queries, corpus, judged)
    for name in GRADED:
        np.testing.assert_allclose(result[name], expected[name], err_msg=name)


def test_ndcg_is_sklearns() -> None:
    judged = judgements(30, 50)
    queries, corpus = spaces(30, 50, judged)
    truth = np.zeros((30, 50))
    truth[judged.query, judged.document] = judged.grade
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (queries, corpus)]
    result = retrieval(queries, corpus, judged, metrics=["ndcg@5", "ndcg@10"])
    for k in (5, 10):
        expected = 100 * ndcg_score(truth, unit[0] @ unit[1].T, k=k)
        assert result[f"ndcg@{k}"] == pytest.approx(expected)


@pytest.mark.parametrize("cone", [0.0, 100.0, 1000.0, 10_000.0])
def test_all_figures_are_trec_evals_in_narrow_spaces_too(cone: float) -> None:
    """At 10,000 all cosines lie between 1 and 1 − 2e-7, and differ by less than float32 tells."""
    pytrec_eval = pytest.importorskip("pytrec_eval")
    judged = judgements(30, 80)
    queries, corpus = (side + np.float32(cone) for side in spaces(30, 80, judged))
    exact = [x.astype(float) for x in (queries, corpus)]
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in exact]
    cosines = unit[0] @ unit[1].T
    # trec_eval holds scores in float32, so it is given their order.
    cosines = cosines.argsort(axis=1).argsort(axis=1)
    qrels: dict[str, dict[str, int]] = {}
    for q, d, g in zip(judged.query, judged.document, judged.grade, strict=True):
        qrels.setdefault(str(q), {})[str(d)] = int(g)
    run = {str(q): {str(d): float(c) for d, c in enumerate(row)} for q, row in enumerate(cosines)}
    theirs = {"recall.1,5,10", "ndcg_cut.5,10", "recip_rank"}
    found = pytrec_eval.RelevanceEvaluator(qrels, theirs).evaluate(run)
    result = by_query(
        queries, corpus, judged, metrics=["recall@1", "recall@5", "recall@10", "mrr", "ndcg@5"]
    )
    for ours, name in {
        "recall@1": "recall_1",
        "recall@5": "recall_5",
        "recall@10": "recall_10",
        "mrr": "recip_rank",
        "ndcg@5": "ndcg_cut_5",
    }.items():
        expected = [100 * found[str(q)][name] for q in range(30)]
        np.testing.assert_allclose(result[ours], expected, err_msg=name)


def test_a_collapsed_space_ranks_everything_last_and_the_best_grade_at_the_very_end() -> None:
    judged = Relevance(np.array([0, 0]), np.array([1, 2]), np.array([1.0, 3.0]))
    result = retrieval(
        np.ones((1, 4)), np.ones((5, 4)), judged, metrics=["mrr", "ndcg@5", "recall@3"]
    )
    assert result["mrr"] == pytest.approx(100 / 4)
    assert result["recall@3"] == 0.0
    expected = (1 / np.log2(5) + 3 / np.log2(6)) / (3 + 1 / np.log2(3))
    assert result["ndcg@5"] == pytest.approx(100 * expected)


def test_grades_of_zero_and_below_are_no_relevance() -> None:
    corpus, queries = embeddings(9), embeddings(2, seed=1)
    one = Relevance(np.array([0, 1]), np.array([3, 4]), np.array([1.0, 2.0]))
    more = Relevance(
        np.array([0, 1, 0, 1]), np.array([3, 4, 5, 6]), np.array([1.0, 2.0, 0.0, -1.0])
    )
    assert retrieval(queries, corpus, one) == retrieval(queries, corpus, more)


def rows(*values: int) -> np.ndarray:
    return np.array(values)


@pytest.mark.parametrize(
    ("judged", "message"),
    [
        (Relevance(rows(0, 1), rows(1), np.ones(2)), "one length"),
        (Relevance(np.ones(2), rows(1, 2), np.ones(2)), "float64"),
        (Relevance(rows(0, 2), rows(1, 1), np.ones(2)), "Query 2 is judged, and there are 2"),
        (Relevance(rows(0, 1), rows(1, 9), np.ones(2)), "query 1 is 9, outside the corpus"),
        (Relevance(rows(0, 1, 0), rows(1, 1, 1), np.ones(3)), "Document 1 is judged twice.*0"),
        (Relevance(rows(0, 1), rows(1, 1), np.array([1.0, 0])), "1 of 2 queries.*query 1"),
        (Relevance(rows(0, 1), rows(1, 1), np.array([1.0, np.nan])), "not finite"),
    ],
)
def test_judgements_that_make_no_sense_are_refused(judged: Relevance, message: str) -> None:
    with pytest.raises(InputError, match=message):
        retrieval(embeddings(2), embeddings(9), judged)


@pytest.mark.parametrize("name", ["recall", "ndcg", "map@10", "mrr@0", "recall@", "recall@1.5"])
def test_an_unknown_metric_is_refused(name: str) -> None:
    with pytest.raises(InputError, match="no metric"):
        retrieval(embeddings(2), embeddings(9), rows(0, 1), metrics=[name])
