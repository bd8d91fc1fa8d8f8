"""Retrieval by dot product and distance, against all scores sorted by hand."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pytest

from simcse_kit.errors import InputError
from simcse_kit.evaluation.search.ranked_alike import as_cosines
from simcse_kit.evaluation.search.retrieval import Relevance
from simcse_kit.evaluation.search.retrieval_data import RetrievalTask
from simcse_kit.evaluation.search.retrieval_task import evaluate_retrieval
from simcse_kit.evaluation.sts import PairTask, evaluate

SCORES = {
    "dot": lambda q, d: q @ d.T,
    "euclidean": lambda q, d: -np.linalg.norm(q[:, None] - d[None], axis=2),
    "cosine": lambda q, d: (
        (q / np.linalg.norm(q, axis=1, keepdims=True))
        @ (d / np.linalg.norm(d, axis=1, keepdims=True)).T
    ),
}


class Vectors:
    """Embeds "17" as row 17."""

    def __init__(self, rows: np.ndarray, similarity: str) -> None:
        self.rows, self.similarity_fn_name = rows, similarity

    def encode(self, texts: list[str], **kwargs: Any) -> np.ndarray:
        return self.rows[[int(text) for text in texts]]


@pytest.mark.parametrize("similarity", SCORES)
def test_ranks_are_those_of_the_models_own_scores(similarity: str) -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(70, 6)) * rng.lognormal(sigma=0.7, size=(70, 1))
    queries, corpus = rows[:20], rows[20:]
    order = np.argsort(-SCORES[similarity](queries, corpus), axis=1)
    expected = 100 * np.mean([1 / (1 + list(order[i]).index(i)) for i in range(20)])
    numbers = np.arange(20)
    task = RetrievalTask(
        name="made",
        queries=[str(i) for i in range(20)],
        corpus=[str(i) for i in range(20, 70)],
        relevance=Relevance(numbers, numbers, np.ones(20)),
        itself=np.full(20, -1),
        source="made",
    )
    result = evaluate_retrieval(Vectors(rows, similarity), task, metrics=("mrr",), draws=100)
    assert result.figures["mrr"].value == pytest.approx(expected)
    assert result.protocol["similarity"] == similarity
    ours = as_cosines(queries, corpus, similarity)
    assert (np.argsort(-SCORES["cosine"](*ours), axis=1) == order).all()


def test_what_is_not_ranked_by_is_refused_and_other_figures_say_cosine(caplog: Any) -> None:
    rows = np.random.default_rng(0).normal(size=(6, 4))
    with pytest.raises(InputError, match="compares by manhattan"):
        evaluate_retrieval(Vectors(rows, "manhattan"), None)  # type: ignore[arg-type]
    texts = [str(i) for i in range(6)]
    task = PairTask("made", texts, texts[::-1], np.arange(6.0), {}, "test", "made")
    with caplog.at_level(logging.WARNING):
        evaluate(Vectors(rows, "dot"), [task])
    assert "compares by dot; these figures are of cosines" in caplog.text
