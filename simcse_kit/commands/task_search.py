"""``simcse-kit task retrieval``, ``duplicates`` and ``pairs``: texts that belong together."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from simcse_kit.commands.column_mapping import FileOptions
from simcse_kit.commands.grouping import grouped
from simcse_kit.commands.options import Draws, Model, listed
from simcse_kit.commands.task import FORMATS, SHOWN, RetrievalOptions, TaskOptions, run_task
from simcse_kit.errors import InputError

if TYPE_CHECKING:
    from simcse_kit.encoder import SentenceEncoder
    from simcse_kit.evaluation import TaskResult
    from simcse_kit.evaluation.search import RetrievalTask
    from simcse_kit.evaluation.sts import PairTask


@grouped
def retrieval(
    model: Model,
    folder: Annotated[
        Path | None,
        typer.Argument(help="A folder in BEIR's layout: corpus.jsonl, queries.jsonl, qrels/."),
    ] = None,
    question_answers: Annotated[
        Path | None,
        typer.Option(
            "--pairs",
            metavar="FILE",
            help="Instead of a folder, one file of questions and their answers: a row's document"
            f" answers its query. {FORMATS}.",
        ),
    ] = None,
    queries: Annotated[
        Path | None, typer.Option(help=f"Instead of a folder, with the next two: {FORMATS}.")
    ] = None,
    corpus: Annotated[Path | None, typer.Option(help="The documents.")] = None,
    relevance: Annotated[
        Path | None, typer.Option(help="Which document answers which query, by their ids.")
    ] = None,
    split: Annotated[str, typer.Option(help="Of a folder: qrels/SPLIT.tsv.")] = "test",
    metrics: Annotated[
        str, typer.Option(help="Comma-separated: recall@K, mrr, mrr@K, ndcg@K.")
    ] = "recall@1,recall@5,recall@10,recall@100,mrr@10,ndcg@10",
    ignore_identical_ids: Annotated[
        bool,
        typer.Option(
            help="BEIR's rule: a query that stands in the corpus under its own id (with --pairs: as"
            " a document) is no candidate for itself."
        ),
    ] = True,
    draws: Draws = 10_000,
    *,
    reading: FileOptions,
    options: RetrievalOptions,
) -> None:
    """Find each query's documents among all: recall, MRR, nDCG.

    --column names columns as query.id, query.text, corpus.id, corpus.title, corpus.text,
    relevance.query, relevance.corpus, relevance.grade, by default BEIR's; with --pairs as query
    and document (--column query=question --column document=answer).
    """
    three = [file for file in (queries, corpus, relevance) if file is not None]
    given = [folder is not None, question_answers is not None, bool(three)]
    if folder is not None and question_answers is not None:
        raise InputError(
            f"{str(folder)!r} is taken for a folder in BEIR's layout, and there is --pairs besides:"
            f" give one of them; another model is --with {folder}"
        )
    if sum(given) != 1 or len(three) not in (0, 3):
        raise InputError(
            "give a folder in BEIR's layout, or --pairs FILE of questions and answers, or all of"
            " --queries, --corpus and --relevance"
        )

    def read() -> RetrievalTask:
        from simcse_kit.evaluation.search import (
            COLUMNS,
            PAIR_COLUMNS,
            load_beir,
            load_question_answers,
            load_retrieval,
        )

        if question_answers is not None:
            mapping = reading.mapping(ours=tuple(PAIR_COLUMNS))
            how = reading.keywords()
            return load_question_answers(question_answers, columns=mapping, **how)
        mapping = reading.mapping(ours=tuple(COLUMNS))
        if folder is not None:
            return load_beir(folder, split=split, columns=mapping, **reading.keywords())
        return load_retrieval(*three, columns=mapping, **reading.keywords())

    def judge(encoder: SentenceEncoder, task: RetrievalTask, name: str) -> TaskResult:
        from simcse_kit.evaluation.search import evaluate_retrieval

        return evaluate_retrieval(
            encoder,
            task,
            ignore_identical_ids=ignore_identical_ids,
            metrics=listed(metrics),
            draws=draws,
            encode_kwargs=SHOWN,
            name=name,
        )

    run_task(read, judge, model, options, draws=draws)


@grouped
def duplicates(
    model: Model,
    file: Annotated[Path, typer.Argument(help=f"Pairs, labelled 1 or 0: {FORMATS}.")],
    draws: Draws = 1_000,
    *,
    reading: FileOptions,
    options: TaskOptions,
) -> None:
    """Tell pairs that mean the same from others: AP, best F1.

    The file has the columns sentence1, sentence2 and label (1 for duplicates), or --column names
    them: --column label=NAME.
    """

    def read() -> PairTask:
        from simcse_kit.evaluation.search import load_duplicates

        ours = ("sentence1", "sentence2", "label")
        return load_duplicates(file, reading.mapping(ours=ours), **reading.keywords())

    def judge(encoder: SentenceEncoder, task: PairTask, name: str) -> TaskResult:
        from simcse_kit.evaluation.search import evaluate_duplicates

        return evaluate_duplicates(encoder, task, draws=draws, encode_kwargs=SHOWN, name=name)

    run_task(read, judge, model, options, draws=draws)


@grouped
def pairs(
    model: Model,
    files: Annotated[list[Path], typer.Argument(help=f"Pairs with scores: {FORMATS}.")],
    draws: Draws = 10_000,
    *,
    reading: FileOptions,
    options: TaskOptions,
) -> None:
    """Rank pairs as people did, in any language: Spearman.

    The files have the columns sentence1, sentence2 and score, or --column names them:
    --column score=NAME. Each file is a task of its own.
    """

    def read() -> list[PairTask]:
        from simcse_kit.evaluation.sts import load_pair_files

        mapping = reading.mapping(ours=("sentence1", "sentence2", "score"))
        return load_pair_files(files, mapping, **reading.keywords())

    def judge(encoder: SentenceEncoder, tasks: list[PairTask], name: str) -> TaskResult:
        from simcse_kit.evaluation.sts import evaluate_graded

        return evaluate_graded(encoder, tasks, draws=draws, encode_kwargs=SHOWN, name=name)

    run_task(read, judge, model, options, draws=draws)
