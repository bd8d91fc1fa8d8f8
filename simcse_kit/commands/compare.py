"""``simcse-kit compare``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from simcse_kit.commands.console import chatter_on_stderr, show_table
from simcse_kit.commands.grouping import grouped
from simcse_kit.commands.judging import judge, published_beside
from simcse_kit.commands.options import (
    ModelOptions,
    NoIntervals,
    Output,
    Plots,
    PublishedOption,
    Resampling,
    STSOptions,
    known_models,
)
from simcse_kit.commands.showing import print_scores, scores_as_json
from simcse_kit.errors import InputError

if TYPE_CHECKING:
    from simcse_kit.evaluation.sts import STSComparison, STSResult


@grouped
def compare(
    models: Annotated[
        list[str],
        typer.Argument(
            help="Two models or more, or folders of several seeds of a recipe each.",
            callback=known_models,
        ),
    ],
    baseline: Annotated[
        str | None, typer.Option(help="The model the others are compared with. Default: the first.")
    ] = None,
    *,
    sts: STSOptions,
    resampling: Resampling,
    no_intervals: NoIntervals = False,
    published: PublishedOption = "near",
    output: Output,
    plots: Plots = None,
    loading: ModelOptions,
) -> None:
    """Score several models on the same tasks, and tell which differences are real.

    Each model against the first by paired bootstrap, p-values corrected by Holm.
    """
    from simcse_kit.evaluation.sts import check_contenders, compare_results, mean_result
    from simcse_kit.training import runs_of

    if len(set(models)) < 2:
        raise InputError("compare needs at least two different models")
    output.check(plots)
    runs = {model: runs_of(model) for model in models}
    check_contenders({model: len(folders) for model, folders in runs.items()}, baseline)
    with chatter_on_stderr():
        tasks, protocol = sts.read()
        judged = {
            model: judge(folders, tasks, protocol, loading) for model, folders in runs.items()
        }
        results = {
            model: replace(mean_result(found.results), model=model)
            if len(found.results) > 1
            else found.results[0]
            for model, found in judged.items()
        }
        comparison = None
        if not no_intervals:
            contenders = {model: found.results for model, found in judged.items()}
            comparison = compare_results(contenders, tasks, baseline=baseline, **resampling.given())
        if plots is not None:
            _draw_plane(results, plots)
    encoders = {kind for found in judged.values() for kind in found.encoders}
    beside = published_beside(protocol, encoders, published)
    intervals = comparison.intervals if comparison else {}
    output.write(
        {
            "models": [
                scores_as_json(results[model], judged[model].results, intervals.get(model))
                for model in results
            ],
            "comparison": comparison.to_json() if comparison else None,
            "published": [row.to_json() for row in beside],
        }
    )
    if output.has_table:
        print_scores(results, intervals, beside, output.markdown)
        if comparison is not None:
            _print_comparison(comparison, output.markdown)


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
