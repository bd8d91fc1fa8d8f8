"""``simcse-kit task retrieval``, ``clustering``, ``duplicates`` and ``pairs``: your own files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from simcse_kit.commands.column_mapping import ColumnOption, column_mapping
from simcse_kit.commands.console import chatter_on_stderr
from simcse_kit.commands.grouping import grouped
from simcse_kit.commands.options import Draws, Model, ModelOptions, Output
from simcse_kit.commands.task import show_result
from simcse_kit.errors import InputError

if TYPE_CHECKING:
    from simcse_kit.encoder import SentenceEncoder
    from simcse_kit.evaluation import TaskResult
    from simcse_kit.evaluation.search import RetrievalTask

_FILE = ".csv .tsv .jsonl .parquet (.gz too)"
_SHOWN = {"show_progress": True}


@grouped
def retrieval(
    model: Model,
    folder: Annotated[
        Path | None,
        typer.Argument(help="A folder in BEIR's layout: corpus.jsonl, queries.jsonl, qrels/."),
    ] = None,
    queries: Annotated[
        Path | None, typer.Option(help=f"Instead of a folder, with the next two: {_FILE}.")
    ] = None,
    corpus: Annotated[Path | None, typer.Option(help="The documents.")] = None,
    relevance: Annotated[
        Path | None, typer.Option(help="Which document answers which query, by their ids.")
    ] = None,
    split: Annotated[str, typer.Option(help="Of a folder: qrels/SPLIT.tsv.")] = "test",
    metrics: Annotated[
        str, typer.Option(help="Comma-separated: recall@K, mrr, mrr@K, ndcg@K.")
    ] = "recall@1,recall@5,recall@10,recall@100,mrr@10,ndcg@10",
    columns: ColumnOption = None,
    draws: Draws = 10_000,
    *,
    output: Output,
    loading: ModelOptions,
) -> None:
    """Find each query's documents among all: recall, MRR, nDCG.

    --column names columns as query.id, query.text, corpus.id, corpus.title, corpus.text,
    relevance.query, relevance.corpus, relevance.grade; by default they are BEIR's.
    """
    files = (queries, corpus, relevance)

    def read() -> RetrievalTask:
        from simcse_kit.evaluation.search import COLUMNS, load_beir, load_retrieval

        mapping = column_mapping(columns, ours=tuple(COLUMNS))
        if folder is not None:
            return load_beir(folder, split=split, columns=mapping)
        named = [file for file in files if file is not None]
        return load_retrieval(named[0], named[1], named[2], columns=mapping)

    def judge(encoder: SentenceEncoder, task: RetrievalTask) -> TaskResult:
        from simcse_kit.evaluation.search import evaluate_retrieval

        chosen = [name.strip() for name in metrics.split(",")]
        return evaluate_retrieval(
            encoder, task, metrics=chosen, draws=draws, encode_kwargs=_SHOWN, name=model
        )

    given = sum(file is not None for file in files)
    if given != (3 if folder is None else 0):
        raise InputError("give a folder in BEIR's layout, or --queries, --corpus and --relevance")
    _run(read, judge, model, output, loading)


@grouped
def clustering(
    model: Model,
    file: Annotated[Path, typer.Argument(help=f"Texts with labels: {_FILE}.")],
    columns: ColumnOption = None,
    seeds: Annotated[int, typer.Option(min=1, help="Runs of k-means.")] = 10,
    *,
    output: Output,
    loading: ModelOptions,
) -> None:
    """Compare k-means clusters with labels: V-measure.

    The file has the columns text and label, or --column names them: --column text=NAME.
    """

    def read() -> Any:
        from simcse_kit.evaluation.labels import load_labelled

        return load_labelled(file, column_mapping(columns, ours=("text", "label")))

    def judge(encoder: SentenceEncoder, task: Any) -> TaskResult:
        from simcse_kit.evaluation.labels import evaluate_clustering

        runs = range(seeds)
        return evaluate_clustering(encoder, task, seeds=runs, encode_kwargs=_SHOWN, name=model)

    _run(read, judge, model, output, loading)


@grouped
def duplicates(
    model: Model,
    file: Annotated[Path, typer.Argument(help=f"Pairs, labelled 1 or 0: {_FILE}.")],
    columns: ColumnOption = None,
    draws: Draws = 1_000,
    *,
    output: Output,
    loading: ModelOptions,
) -> None:
    """Tell pairs that mean the same from others: AP, best F1.

    The file has the columns sentence1, sentence2 and label (1 for duplicates), or --column names
    them: --column label=NAME.
    """

    def read() -> Any:
        from simcse_kit.evaluation.search import load_duplicates

        return load_duplicates(
            file, column_mapping(columns, ours=("sentence1", "sentence2", "label"))
        )

    def judge(encoder: SentenceEncoder, task: Any) -> TaskResult:
        from simcse_kit.evaluation.search import evaluate_duplicates

        return evaluate_duplicates(encoder, task, draws=draws, encode_kwargs=_SHOWN, name=model)

    _run(read, judge, model, output, loading)


@grouped
def pairs(
    model: Model,
    files: Annotated[list[Path], typer.Argument(help=f"Pairs with scores: {_FILE}.")],
    columns: ColumnOption = None,
    draws: Draws = 10_000,
    *,
    output: Output,
    loading: ModelOptions,
) -> None:
    """Rank pairs as people did, in any language: Spearman.

    The files have the columns sentence1, sentence2 and score, or --column names them:
    --column score=NAME. Each file is a task of its own.
    """

    def read() -> Any:
        from simcse_kit.evaluation.sts import load_pair_file

        mapping = column_mapping(columns, ours=("sentence1", "sentence2", "score"))
        return [load_pair_file(file, mapping) for file in files]

    def judge(encoder: SentenceEncoder, tasks: Any) -> TaskResult:
        from simcse_kit.evaluation.sts import evaluate_graded

        return evaluate_graded(encoder, tasks, draws=draws, encode_kwargs=_SHOWN, name=model)

    _run(read, judge, model, output, loading)


def _run(
    read: Callable[[], Any],
    judge: Callable[[SentenceEncoder, Any], TaskResult],
    model: str,
    output: Output,
    loading: ModelOptions,
) -> None:
    """Read the task, then load the model, then judge it; a mistake in a file costs no time."""
    output.check()
    with chatter_on_stderr():
        task = read()
        result = judge(loading.load(model), task)
    show_result(result, result.to_json(), output)
