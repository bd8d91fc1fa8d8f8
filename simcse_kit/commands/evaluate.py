"""``simcse-kit evaluate``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from simcse_kit.commands.console import chatter_on_stderr, note
from simcse_kit.commands.grouping import grouped
from simcse_kit.commands.judging import Judged, judge, published_beside
from simcse_kit.commands.models import runs_of_model, split_model
from simcse_kit.commands.options import (
    Judging,
    Model,
    ModelOptions,
    Output,
    Plots,
)
from simcse_kit.commands.showing import draw_cosines, print_scores, scores_as_json
from simcse_kit.commands.transfer import evaluate_on_transfer
from simcse_kit.errors import InputError

if TYPE_CHECKING:
    from simcse_kit.evaluation.sts import PairTask, Published, STSIntervals, STSResult


@grouped
def evaluate(
    model: Model,
    suite: Annotated[
        Literal["sts", "transfer"], typer.Option(help="Similarity, or SentEval's classification.")
    ] = "sts",
    *,
    judging: Judging,
    output: Output,
    plots: Plots = None,
    update_card: Annotated[
        bool,
        typer.Option("--update-card", help="Write the table into the README.md of the folder."),
    ] = False,
    loading: ModelOptions,
) -> None:
    """Score a model on the STS suite, or on transfer tasks.

    Spearman x 100 of cosines with its interval, alignment and uniformity beside it. A folder of
    several seeds (`train --seeds`) is scored seed by seed: mean, standard deviation, interval.
    With --suite transfer: accuracy x 100 of logistic regression on MR, CR, SUBJ, MPQA, SST2, TREC
    and MRPC (--tasks names some of them), each with its interval.
    """
    if suite == "transfer":
        usual = Judging()
        given = {
            **dict.fromkeys(judging.given_of_files(), True),
            "--protocol": judging.protocol != usual.protocol,
            "--clustered": judging.clustered is not None,
            "--draws": judging.draws != usual.draws,
            "--no-intervals": judging.no_intervals,
            "--published": judging.published != usual.published,
            "--plots": plots is not None,
            "--update-card": update_card,
        }
        if foreign := [option for option, is_set in given.items() if is_set]:
            raise InputError(f"{', '.join(foreign)}: for --suite sts only; leave it out")
        return evaluate_on_transfer(model, judging, output, loading)
    output.check(plots)
    card = _card(model) if update_card else None
    runs = runs_of_model(model)
    if plots is not None and len(runs) > 1:
        raise InputError(f"--plots draws one model, and {model} is {len(runs)}; name a seed's own")
    with chatter_on_stderr():
        tasks, protocol = judging.read()
        judged = judge(runs, tasks, protocol, loading)
        result, sure = _sum_up(model, judged, tasks, judging)
        if plots is not None:
            draw_cosines(result, tasks, plots)
    beside = published_beside(protocol, judged.encoders, judging.published, tasks)
    output.write(scores_as_json(result, judged.results, sure, beside))
    if card is not None:
        _write_card(card, result, sure, beside)
    if output.has_table:
        print_scores({model: result}, {model: sure} if sure else {}, beside, output.markdown)


def _sum_up(
    name: str, judged: Judged, tasks: Sequence[PairTask], judging: Judging
) -> tuple[STSResult, STSIntervals | None]:
    """One result for what was named, and how sure it is unless that is not asked for."""
    from simcse_kit.evaluation.sts import intervals, mean_result, summarise_runs

    if len(judged.results) > 1:
        if judging.no_intervals:
            return replace(mean_result(judged.results), model=name), None
        mean, sure = summarise_runs(judged.results, tasks, **judging.given())
        return replace(mean, model=name), sure
    result = judged.results[0]
    return result, None if judging.no_intervals else intervals(result, tasks, **judging.given())


# ---- the model card ------------------------------------------------------------------------------


def _card(model: str) -> Path:
    """The card of a model's folder, checked before the work."""
    from simcse_kit.data import check_can_write

    folder = Path(split_model(model)[0])
    card = folder / "README.md"
    if not (folder / "modules.json").is_file():
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
