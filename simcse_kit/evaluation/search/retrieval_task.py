"""A model on a retrieval task: texts are embedded, documents ranked, figures get intervals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from simcse_kit.evaluation.embedding import Encoder, distinct, embed, model_name, model_settings
from simcse_kit.evaluation.search.ranked_alike import as_cosines, similarity_of
from simcse_kit.evaluation.search.retrieval import Relevance, by_query
from simcse_kit.evaluation.search.retrieval_data import RetrievalTask
from simcse_kit.evaluation.statistics import mean_estimates
from simcse_kit.evaluation.task_result import Figure, TaskResult, means

METRICS = ("recall@1", "recall@5", "recall@10", "recall@100", "mrr@10", "ndcg@10")
# What sentence-transformers calls the prompts of the two sides, first come first served.
_QUERY_PROMPTS = ("query",)
_DOCUMENT_PROMPTS = ("document", "passage", "corpus")
_NAMES = {"dot": "dot product", "euclidean": "Euclidean distance"}


def evaluate_retrieval(
    model: Encoder,
    task: RetrievalTask,
    *,
    ignore_identical_ids: bool = True,
    metrics: Sequence[str] = METRICS,
    draws: int = 10_000,
    seed: int = 0,
    encode_kwargs: Mapping[str, Any] | None = None,
    name: str | None = None,
) -> TaskResult:
    """Rank the corpus for every query; intervals are over other queries of the kind.

    By cosine, or by dot product or Euclidean distance where the model says that it is made for
    these (`similarity_fn_name`).

    Every distinct text of each side is embedded once, with the model's prompt for that side where
    it has one ("query"; "document", "passage" or "corpus", as in sentence-transformers).

    Args:
        ignore_identical_ids: BEIR's rule: the document that is the query itself (`task.itself`) is
            no candidate, as it would be found first; judged relevant, it counts as not found.
        metrics: see `retrieval.by_query`.
        draws, seed: of the bootstrap over queries.
        encode_kwargs: passed on to `model.encode`.
        name: what to call the model; its own `name` by default.

    Raises:
        InputError: as `embed` and `by_query`.
    """
    query_prompt = _prompt(model, _QUERY_PROMPTS)
    document_prompt = _prompt(model, _DOCUMENT_PROMPTS)
    similarity = similarity_of(model)
    values = _by_query(
        *as_cosines(
            _embed(model, task.queries, encode_kwargs, query_prompt),
            _embed(model, task.corpus, encode_kwargs, document_prompt),
            similarity,
        ),
        task,
        metrics,
        ignore_identical_ids,
    )
    estimates = mean_estimates(values, draws=draws, seed=seed, bounded=True)
    n, m, j = len(task.queries), len(task.corpus), int((task.relevance.grade > 0).sum())
    return TaskResult(
        model=name or model_name(model),
        task=task.name,
        figures={name: Figure(each.value, each.interval) for name, each in estimates.items()},
        protocol={
            "similarity": similarity,
            "ties": "against the query",
            "queries": n,
            "documents": m,
            "relevant": j,
            "ignore_identical_ids": ignore_identical_ids,
            "queries_in_corpus": int((task.itself >= 0).sum()),
            "judged_documents_missing": task.missing,
            "queries_without_relevant": n - len(_answerable(task)),
            "query_prompt": query_prompt if _text(model, query_prompt) else None,
            "document_prompt": document_prompt if _text(model, document_prompt) else None,
            "query_prompt_text": _text(model, query_prompt),
            "document_prompt_text": _text(model, document_prompt),
            "interval": f"percentile bootstrap over queries, {draws} draws, seed {seed}; near 0 and"
            " 100 Wilson's",
            "source": task.source,
        }
        | model_settings(model, encode_kwargs),
        summary=" ".join(
            [
                f"means ×100 over {n:,} queries in {m:,} documents, by"
                f" {_NAMES.get(similarity, similarity)}.",
                *_prompts_put(model, query_prompt, document_prompt),
                *_remarks(task, ignore_identical_ids),
            ]
        ),
        tested=means(values),
    )


def _by_query(
    queries: np.ndarray,
    corpus: np.ndarray,
    task: RetrievalTask,
    metrics: Sequence[str],
    ignore_identical_ids: bool,
) -> dict[str, np.ndarray]:
    """Each metric ×100 of each query (N,): 0 where nothing is relevant, as in pytrec_eval."""
    asked = _answerable(task)
    found, itself = task.relevance, None
    kept = found.grade > 0
    query, document, grade = found.query[kept], found.document[kept], found.grade[kept]
    if ignore_identical_ids:
        document = np.where(document == task.itself[query], -1, document)
        itself = task.itself[asked]
    judged = Relevance(np.searchsorted(asked, query), document, grade)
    values = by_query(queries[asked], corpus, judged, metrics=metrics, itself=itself)
    whole = {name: np.zeros(len(queries)) for name in values}
    for name, each in values.items():
        whole[name][asked] = each
    return whole


def _answerable(task: RetrievalTask) -> np.ndarray:
    """The queries with a judgement above 0."""
    return np.unique(task.relevance.query[task.relevance.grade > 0])


def _remarks(task: RetrievalTask, ignore_identical_ids: bool) -> list[str]:
    """What a reader of the figures has to know of the judgements, a sentence each."""
    said = []
    itself, n = int((task.itself >= 0).sum()), len(task.queries)
    if itself:
        rule = (
            "is no candidate for itself (BEIR's rule)"
            if ignore_identical_ids
            else "is a candidate for itself, against BEIR's rule"
        )
        said.append(f"{itself:,} of the queries stand in the corpus; such a query {rule}.")
    if task.missing:
        said.append(
            f"{task.missing:,} judgement(s) of documents that are not in the corpus count as not"
            " found."
        )
    if nothing := n - len(_answerable(task)):
        said.append(f"{nothing:,} of the queries have no relevant document and count 0.")
    return said


def _prompt(model: Any, names: Sequence[str]) -> str | None:
    """The name of the first of these prompts that the model has, if only to put nothing there."""
    prompts = getattr(model, "prompts", None) or {}
    return next((name for name in names if prompts.get(name) is not None), None)


def _text(model: Any, name: str | None) -> str | None:
    """What is put before texts that get the prompt of this name, else the default one; or None."""
    prompts = getattr(model, "prompts", None) or {}
    default = getattr(model, "default_prompt_name", getattr(model, "default_prompt", None))
    return prompts.get(name or default) or None


def _prompts_put(model: Any, query: str | None, document: str | None) -> list[str]:
    """Which prompts were put before the texts, in a sentence; none where none were."""
    put = {"queries": _text(model, query), "documents": _text(model, document)}
    if not any(put.values()):
        return []
    said = (f"{repr(text) if text else 'none'} before {side}" for side, text in put.items())
    return [f"Prompts: {', '.join(said)}."]


def _embed(
    model: Encoder,
    texts: Sequence[str],
    encode_kwargs: Mapping[str, Any] | None,
    prompt_name: str | None,
) -> np.ndarray:
    row = distinct(texts)
    prompted = {"prompt_name": prompt_name} if prompt_name is not None else {}
    embeddings = embed(model, list(row), {**prompted, **(encode_kwargs or {})})
    if len(row) == len(texts):
        return embeddings
    return embeddings[[row[text] for text in texts]]
