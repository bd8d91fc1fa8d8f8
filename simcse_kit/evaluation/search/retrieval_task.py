"""A model on a retrieval task: texts are embedded, documents ranked, figures get intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from simcse_kit.evaluation.embedding import Encoder, distinct, embed, model_name, model_settings
from simcse_kit.evaluation.search.retrieval import by_query
from simcse_kit.evaluation.search.retrieval_data import RetrievalTask
from simcse_kit.evaluation.statistics import mean_estimates
from simcse_kit.evaluation.task_result import Figure, TaskResult, means

METRICS = ("recall@1", "recall@5", "recall@10", "recall@100", "mrr@10", "ndcg@10")
# What sentence-transformers calls the prompts of the two sides, first come first served.
_QUERY_PROMPTS = ("query",)
_DOCUMENT_PROMPTS = ("document", "passage", "corpus")


def evaluate_retrieval(
    model: Encoder,
    task: RetrievalTask,
    *,
    metrics: Sequence[str] = METRICS,
    draws: int = 10_000,
    seed: int = 0,
    encode_kwargs: Mapping[str, Any] | None = None,
    name: str | None = None,
) -> TaskResult:
    """Rank the corpus for every query by cosine; intervals are over other queries of the kind.

    Every distinct text of each side is embedded once, with the model's prompt for that side where
    it has one ("query"; "document", "passage" or "corpus", as in sentence-transformers).

    Args:
        metrics: see `retrieval.by_query`.
        draws, seed: of the bootstrap over queries.
        encode_kwargs: passed on to `model.encode`.
        name: what to call the model; its own `name` by default.

    Raises:
        InputError: as `embed` and `by_query`.
    """
    query_prompt = _prompt(model, _QUERY_PROMPTS)
    document_prompt = _prompt(model, _DOCUMENT_PROMPTS)
    values = by_query(
        _embed(model, task.queries, encode_kwargs, query_prompt),
        _embed(model, task.corpus, encode_kwargs, document_prompt),
        task.relevance,
        metrics=metrics,
    )
    estimates = mean_estimates(values, draws=draws, seed=seed)
    n, m, j = len(task.queries), len(task.corpus), int((task.relevance.grade > 0).sum())
    return TaskResult(
        model=name or model_name(model),
        task=task.name,
        figures={name: Figure(each.value, each.interval) for name, each in estimates.items()},
        protocol={
            "similarity": "cosine",
            "ties": "against the query",
            "queries": n,
            "documents": m,
            "relevant": j,
            "query_prompt": query_prompt,
            "document_prompt": document_prompt,
            "interval": f"percentile bootstrap over queries, {draws} draws, seed {seed}",
            "source": task.source,
        }
        | model_settings(model, encode_kwargs),
        summary=f"means ×100 over {n:,} queries in {m:,} documents, by cosine.",
        tested=means(values),
    )


def _prompt(model: Any, names: Sequence[str]) -> str | None:
    """The name of the first of these prompts that the model has and that says something."""
    prompts = getattr(model, "prompts", None) or {}
    return next((name for name in names if prompts.get(name)), None)


def _embed(
    model: Encoder,
    texts: Sequence[str],
    encode_kwargs: Mapping[str, Any] | None,
    prompt_name: str | None,
) -> np.ndarray:
    row = distinct(texts)
    prompted = {"prompt_name": prompt_name} if prompt_name else {}
    embeddings = embed(model, list(row), {**prompted, **(encode_kwargs or {})})
    if len(row) == len(texts):
        return embeddings
    return embeddings[[row[text] for text in texts]]
