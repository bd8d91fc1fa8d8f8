"""Retrieval against a plain loop, and sklearn's ranking metric where they measure one thing."""

import numpy as np
import pytest
from sklearn.metrics import label_ranking_average_precision_score

from simcse_kit.errors import InputError
from simcse_kit.evaluation.retrieval import retrieval


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
