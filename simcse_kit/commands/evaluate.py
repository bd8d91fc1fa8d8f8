"""``simcse-kit evaluate`` and ``compare``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from simcse_kit.commands.console import (
    chatter_on_stderr,
    check_outputs,
    note,
    show_table,
    write_json,
)
from simcse_kit.commands.options import (
    Clustered,
    DataDir,
    Draws,
    HeadOption,
    Json,
    Markdown,
    MaxLength,
    Model,
    NoIntervals,
    Plots,
    PoolingOption,
    Precision,
    ProtocolOption,
    PublishedOption,
    Tasks,
    load_encoder,
)
from simcse_kit.commands.transfer import evaluate_on_transfer
from simcse_kit.errors import InputError

if TYPE_CHECKING:
    from simcse_kit.evaluation.sts import (
        PairTask,
        Protocol,
        Published,
        STSComparison,
        STSIntervals,
        STSResult,
    )


def evaluate(
    model: Model,
    suite: Annotated[
        Literal["sts", "transfer"], typer.Option(help="Similarity, or SentEval's classification.")
    ] = "sts",
    data_dir: DataDir = None,
    tasks: Tasks = None,
    protocol: ProtocolOption = "senteval-all",
    clustered: Clustered = False,
    draws: Draws = 10_000,
    no_intervals: NoIntervals = False,
    published: PublishedOption = "near",
    json_file: Json = None,
    plots: Plots = None,
    markdown: Markdown = False,
    update_card: Annotated[
        bool,
        typer.Option("--update-card", help="Write the table into the README.md of the folder."),
    ] = False,
    precision: Precision = "auto",
    pooling: PoolingOption = None,
    head: HeadOption = None,
    max_length: MaxLength = None,
) -> None:
    """Score a model on the STS suite, or on SentEval's transfer tasks.

    Spearman x 100 of cosines with its interval, alignment and uniformity beside it. A folder of
    several seeds (`train --seeds`) is scored seed by seed: mean, standard deviation, interval.
    With --suite transfer: accuracy x 100 of logistic regression on MR, CR, SUBJ, MPQA, SST2, TREC
    and MRPC (--tasks names some of them), each with its interval.
    """
    from simcse_kit.training import runs_of

    load = {"precision": precision, "pooling": pooling, "head": head, "max_length": max_length}
    if suite == "transfer":
        given = {
            "--protocol": protocol != "senteval-all",
            "--clustered": clustered,
            "--draws": draws != 10_000,
            "--no-intervals": no_intervals,
            "--published": published != "near",
            "--plots": plots is not None,
            "--update-card": update_card,
        }
        if foreign := [option for option, is_set in given.items() if is_set]:
            raise InputError(f"{', '.join(foreign)}: for --suite sts only; leave it out")
        return evaluate_on_transfer(model, data_dir, tasks, json_file, markdown, load)
    check_outputs(json_file, plots)
    card = _card(model) if update_card else None
    runs = runs_of(model)
    if plots is not None and len(runs) > 1:
        raise InputError(f"--plots draws one model, and {model} is {len(runs)}; name a seed's own")
    with chatter_on_stderr():
        chosen, named = _tasks(tasks, data_dir, protocol)
        judged = _judge(runs, chosen, named, load)
        result, sure = _sum_up(model, judged, chosen, draws, clustered, no_intervals)
        if plots is not None:
            draw_cosines(result, chosen, plots)
    beside = _published(named, judged.encoders, published)
    if json_file is not None:
        write_json(_as_json(result, judged.results, sure, beside), json_file)
    if card is not None:
        _write_card(card, result, sure, beside)
    if json_file != "-":
        _print_scores({model: result}, {model: sure} if sure else {}, beside, markdown)


def compare(
    models: Annotated[
        list[str],
        typer.Argument(help="Two models or more, or folders of several seeds of a recipe each."),
    ],
    baseline: Annotated[
        str | None, typer.Option(help="The model the others are compared with. Default: the first.")
    ] = None,
    data_dir: DataDir = None,
    tasks: Tasks = None,
    protocol: ProtocolOption = "senteval-all",
    clustered: Clustered = False,
    draws: Draws = 10_000,
    no_intervals: NoIntervals = False,
    published: PublishedOption = "near",
    json_file: Json = None,
    plots: Plots = None,
    markdown: Markdown = False,
    precision: Precision = "auto",
    pooling: PoolingOption = None,
    max_length: MaxLength = None,
) -> None:
    """Score several models on the same tasks, and tell which differences are real.

    Each model against the first by paired bootstrap, p-values corrected by Holm.
    """
    from simcse_kit.evaluation.sts import check_contenders, compare_results, mean_result
    from simcse_kit.training import runs_of

    if len(set(models)) < 2:
        raise InputError("compare needs at least two different models")
    load = {"precision": precision, "pooling": pooling, "max_length": max_length}
    check_outputs(json_file, plots)
    runs = {model: runs_of(model) for model in models}
    check_contenders({model: len(folders) for model, folders in runs.items()}, baseline)
    with chatter_on_stderr():
        chosen, named = _tasks(tasks, data_dir, protocol)
        judged = {model: _judge(folders, chosen, named, load) for model, folders in runs.items()}
        results = {
            model: replace(mean_result(found.results), model=model)
            if len(found.results) > 1
            else found.results[0]
            for model, found in judged.items()
        }
        comparison = None
        if not no_intervals:
            contenders = {model: found.results for model, found in judged.items()}
            comparison = compare_results(
                contenders, chosen, baseline=baseline, draws=draws, clustered=clustered
            )
        if plots is not None:
            _draw_plane(results, plots)
    encoders = {kind for found in judged.values() for kind in found.encoders}
    beside = _published(named, encoders, published)
    intervals = comparison.intervals if comparison else {}
    if json_file is not None:
        figures = [
            _as_json(results[model], judged[model].results, intervals.get(model), ())
            for model in results
        ]
        compared = comparison.to_json() if comparison else None
        rows = [row.to_json() for row in beside]
        write_json({"models": figures, "comparison": compared, "published": rows}, json_file)
    if json_file != "-":
        _print_scores(results, intervals, beside, markdown)
        if comparison is not None:
            _print_comparison(comparison, markdown)


# ---- judging -------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Judged:
    """The results of a model, or of a recipe's seeds, and what kinds of encoders they are."""

    results: list[STSResult]
    encoders: set[str]


def _tasks(
    names: str | None, data_dir: Path | None, protocol: str
) -> tuple[list[PairTask], Protocol]:
    from simcse_kit.evaluation.sts import load_tasks
    from simcse_kit.evaluation.sts import protocol as by_name

    named = by_name(protocol)
    chosen = named.suite if names is None else [name.strip() for name in names.split(",")]
    return load_tasks(data_dir, chosen), named


def _judge(
    runs: Sequence[str], tasks: Sequence[PairTask], protocol: Protocol, load: dict[str, Any]
) -> _Judged:
    from simcse_kit.evaluation.sts import evaluate as judge
    from simcse_kit.evaluation.sts import nearest_encoder

    results, encoders = [], set()
    for run in runs:  # one model in memory at a time
        encoder = load_encoder(run, **load)
        result = judge(
            encoder,
            tasks,
            aggregation=protocol.aggregation,
            encode_kwargs={"show_progress": True},
            name=run,
        )
        results.append(replace(result, protocol=result.protocol | {"name": protocol.name}))
        settings = encoder.backbone.config
        encoders.add(nearest_encoder(settings.model_type, settings.hidden_size))
    return _Judged(results, encoders)


def _sum_up(
    name: str,
    judged: _Judged,
    tasks: Sequence[PairTask],
    draws: int,
    clustered: bool,
    no_intervals: bool,
) -> tuple[STSResult, STSIntervals | None]:
    """One result for what was named, and how sure it is."""
    from simcse_kit.evaluation.sts import intervals, mean_result, summarise_runs

    options: dict[str, Any] = {"draws": draws, "clustered": clustered}
    if len(judged.results) > 1:
        if no_intervals:
            return replace(mean_result(judged.results), model=name), None
        mean, sure = summarise_runs(judged.results, tasks, **options)
        return replace(mean, model=name), sure
    result = judged.results[0]
    return result, None if no_intervals else intervals(result, tasks, **options)


def _published(
    protocol: Protocol, encoders: set[str], wanted: Literal["near", "all", "none"]
) -> list[Published]:
    from simcse_kit.evaluation.sts import published

    if wanted == "none":
        return []
    rows = published(protocol.name)
    return [row for row in rows if wanted == "all" or row.encoder in encoders]


# ---- what is shown and written -------------------------------------------------------------------


def _as_json(
    result: STSResult,
    runs: Sequence[STSResult],
    sure: STSIntervals | None,
    beside: Sequence[Published],
) -> dict[str, Any]:
    figures = result.to_json() | {"intervals": sure.to_json() if sure else None}
    if len(runs) > 1:
        figures["runs"] = [run.to_json() for run in runs]
    return figures | ({"published": [row.to_json() for row in beside]} if beside else {})


def _print_scores(
    results: Mapping[str, STSResult],
    intervals: Mapping[str, STSIntervals],
    beside: Sequence[Published],
    markdown: bool,
) -> None:
    from simcse_kit.evaluation.sts import markdown_table, sts_table

    if markdown:
        typer.echo(markdown_table(results, intervals, beside))
        return
    drawn = [sts_table(results, intervals, beside, upright=upright) for upright in (False, True)]
    show_table(drawn[0], narrower=drawn[1])


def _print_comparison(comparison: STSComparison, markdown: bool) -> None:
    from simcse_kit.evaluation.sts import comparison_markdown, comparison_table

    if markdown:
        typer.echo(comparison_markdown(comparison))
    else:
        drawn = [comparison_table(comparison, upright=upright) for upright in (False, True)]
        show_table(drawn[0], narrower=drawn[1])
    for sentence in comparison.sentences():
        typer.echo(f"- {sentence}" if markdown else sentence)


def _draw_plane(results: Mapping[str, STSResult], folder: Path) -> None:
    from simcse_kit.evaluation import alignment_uniformity_plane

    points = {
        model: (result.geometry.alignment, result.geometry.uniformity, result.average)
        for model, result in results.items()
        if result.geometry is not None
    }
    alignment_uniformity_plane(points, folder / "alignment_uniformity.png")


def draw_cosines(result: STSResult, tasks: Sequence[PairTask], folder: Path) -> None:
    """Write ``cosines_TASK.png`` for each task: its cosines by band of gold score."""
    from simcse_kit.evaluation import cosine_densities

    for task in tasks:
        score = result.tasks[task.name].spearman
        cosine_densities(
            result.cosines[task.name],
            task.gold,
            folder / f"cosines_{task.name}.png",
            title=f"{Path(result.model).name} on {task.name}: Spearman {score:.2f}",
        )


def _card(model: str) -> Path:
    """The card of a model's folder, checked before the work."""
    from simcse_kit.data import check_can_write

    card = Path(model) / "README.md"
    if not (Path(model) / "modules.json").is_file():
        raise InputError(f"--update-card writes into a saved model's folder, and {model} is none")
    check_can_write(card)
    return card


def _write_card(
    card: Path,
    result: STSResult,
    sure: STSIntervals | None,
    beside: Sequence[Published],
) -> None:
    from simcse_kit.data import replacing
    from simcse_kit.encoder import with_section
    from simcse_kit.evaluation.sts import markdown_table

    title = card.absolute().parent.name
    table = markdown_table({title: result}, {title: sure} if sure else {}, beside)
    before = card.read_text(encoding="utf-8") if card.is_file() else f"# {title}\n"
    with replacing(card) as aside:
        aside.write_text(with_section(before, "Measured on STS tasks", table), encoding="utf-8")
    note(f"the table stands in {card}")
