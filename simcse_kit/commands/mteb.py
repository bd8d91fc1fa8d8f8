"""``simcse-kit mteb``: STS figures as MTEB writes them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from simcse_kit.commands.console import chatter_on_stderr
from simcse_kit.commands.grouping import grouped
from simcse_kit.commands.options import DataDir, Model, ModelOptions, listed
from simcse_kit.data import check_can_make


@grouped
def mteb(
    model: Model,
    output: Annotated[
        Path,
        typer.Option(metavar="DIR", help="results/MODEL/REVISION/TASK.json go there."),
    ],
    data_dir: DataDir = None,
    tasks: Annotated[
        str, typer.Option(help="Comma-separated, of these seven; SICKR-MTEB is MTEB's SICK-R.")
    ] = "STS12,STS13,STS14,STS15,STS16,STSB,SICKR-MTEB",
    name: Annotated[
        str | None, typer.Option(help="ORGANIZATION/MODEL there. Default: the hub id, or local/….")
    ] = None,
    *,
    loading: ModelOptions,
) -> None:
    """Write STS results in MTEB's own files.

    mteb.ResultCache(DIR).load_results() reads them. The data must be in the original case; the
    hub's, and any that MTEB would score otherwise is refused. Needs simcse-kit[mteb].
    """
    check_can_make(output)
    with chatter_on_stderr():
        from simcse_kit.evaluation import check_tasks, write_mteb
        from simcse_kit.evaluation.sts import evaluate, load_tasks

        chosen = load_tasks(data_dir, listed(tasks))
        check_tasks(chosen)
        encoder = loading.load(model)
        result = evaluate(encoder, chosen, encode_kwargs={"show_progress": True}, name=model)
        files = write_mteb(result, chosen, output, encoder, name=name)
    for task, file in zip(chosen, files, strict=True):
        typer.echo(f"{file}  {result.tasks[task.name].spearman / 100:.4f}")
