"""``simcse-kit compare``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from simcse_kit.commands.console import chatter_on_stderr, note, show_table
from simcse_kit.commands.grouping import grouped
from simcse_kit.commands.judging import judge, published_beside
from simcse_kit.commands.models import by_label, runs_of_model
from simcse_kit.commands.options import (
    Judging,
    Labels,
    ModelOptions,
    Output,
    Pairwise,
    Plots,
    known_models,
)
from simcse_kit.commands.showing import print_scores, scores_as_json
from simcse_kit.data import for_markdown, one_line
from simcse_kit.errors import InputError

if TYPE_CHECKING:
    from simcse_kit.evaluation.sts import PairTask, STSComparison, STSResult


@grouped
def compare(
    models: Annotated[
        list[str],
        typer.Argument(
            help="Two models or more, or folders of several seeds of a recipe each.",
            callback=known_models,
        ),
    ],
    labels: Labels = None,
    baseline: Annotated[
        str | None,
        typer.Option(help="The model (or label) the others are compared with. Default: the first."),
    ] = None,
    pairwise: Pairwise = False,
    *,
    judging: Judging,
    output: Output,
    plots: Plots = None,
    loading: ModelOptions,
) -> None:
    """Compare models on the same tasks: which differences are real.

    Each model against the first (--baseline), or all pairs (--pairwise), by paired bootstrap;
    p-values are corrected by Holm. --pooling is for models that have none of their own.
    """
    from simcse_kit.evaluation.sts import check_contenders, mean_result

    if len(set(models)) < 2:
        raise InputError("compare needs at least two different models")
    if pairwise and baseline is not None:
        raise InputError("--pairwise compares all pairs, and --baseline all with one; give one")
    output.check(plots)
    named = by_label(models, labels)
    base = next((name for name, model in named.items() if model == baseline), baseline)
    runs = {name: runs_of_model(model) for name, model in named.items()}
    check_contenders({name: len(folders) for name, folders in runs.items()}, base)
    with chatter_on_stderr():
        tasks, protocol = judging.read()
        judged = {
            name: judge(folders, tasks, protocol, loading, alone=False)
            for name, folders in runs.items()
        }
        results = {
            name: replace(mean_result(found.results), model=named[name])
            if len(found.results) > 1
            else found.results[0]
            for name, found in judged.items()
        }
        contenders = {name: found.results for name, found in judged.items()}
        comparisons = []
        if not judging.no_intervals:
            comparisons = _compared(contenders, tasks, base, pairwise, judging)
        if plots is not None:
            _draw_plane(results, plots)
    encoders = {kind for found in judged.values() for kind in found.encoders}
    beside = published_beside(protocol, encoders, judging.published, tasks)
    intervals = comparisons[0].intervals if comparisons else {}
    output.write(
        {
            "models": [
                ({"label": name} if labels else {})
                | scores_as_json(result, contenders[name], intervals.get(name))
                for name, result in results.items()
            ],
            "comparison": comparisons[0].to_json() if comparisons else None,
            **({"pairwise": [one.to_json() for one in comparisons]} if pairwise else {}),
            "published": [row.to_json() for row in beside],
        }
    )
    if output.has_table:
        print_scores(results, intervals, beside, output.markdown)
        for comparison in comparisons:
            _print_comparison(comparison, output.markdown)


def _compared(
    contenders: Mapping[str, Sequence[STSResult]],
    tasks: Sequence[PairTask],
    baseline: str | None,
    pairwise: bool,
    judging: Judging,
) -> list[STSComparison]:
    from simcse_kit.evaluation.sts import compare_pairwise, compare_results

    if pairwise:
        return compare_pairwise(contenders, tasks, **judging.given())
    return [compare_results(contenders, tasks, baseline=baseline, **judging.given())]


def _print_comparison(comparison: STSComparison, markdown: bool) -> None:
    from simcse_kit.evaluation.sts import comparison_markdown, comparison_table

    if markdown:
        typer.echo(comparison_markdown(comparison))
    else:
        drawn = [comparison_table(comparison, upright=upright) for upright in (False, True)]
        show_table(drawn[0], narrower=drawn[1])
    for sentence in comparison.sentences():
        typer.echo(f"- {for_markdown(sentence)}" if markdown else one_line(sentence))


def _draw_plane(results: Mapping[str, STSResult], folder: Path) -> None:
    from simcse_kit.evaluation import alignment_uniformity_plane

    points = {
        model: (result.geometry.alignment, result.geometry.uniformity, result.average)
        for model, result in results.items()
        if result.geometry is not None
    }
    picture = folder / "alignment_uniformity.png"
    alignment_uniformity_plane(points, picture)
    note(f"wrote {picture}")
