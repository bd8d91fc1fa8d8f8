"""``simcse-kit leakage``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from simcse_kit.commands.column_mapping import FileOptions, column_called, column_mapping
from simcse_kit.commands.console import chatter_on_stderr, note, show_table
from simcse_kit.commands.grouping import grouped
from simcse_kit.commands.options import DataDir, Output, Tasks, listed
from simcse_kit.errors import InputError

if TYPE_CHECKING:
    from simcse_kit.evaluation.leakage import HashedSet, LeakageReport


@grouped
def leakage(
    training: Annotated[
        str | None,
        typer.Option("--train", metavar="FILE", help="Training data to look for in the sets."),
    ] = None,
    data_dir: DataDir = None,
    tasks: Tasks = None,
    hashes: Annotated[
        list[Path] | None,
        typer.Option(
            metavar="FILE", help="A set as hashes (.safetensors), or any file (repeatable)."
        ),
    ] = None,
    set_columns: Annotated[
        list[str] | None,
        typer.Option("--set-column", metavar="OURS=THEIRS", help="The same of the files of sets."),
    ] = None,
    save_hashes: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Write each set as hashes, which hold no text."),
    ] = None,
    examples: Annotated[int, typer.Option(min=0, help="Rows to show of each set.")] = 1,
    *,
    reading: FileOptions,
    output: Output,
) -> None:
    """Look for training rows in evaluation sets.

    Sets are STS tasks, files, or hashes of them; without --train only the sets are compared.
    """
    if reading.columns and training is None:
        raise InputError("--column is of the columns of --train FILE; give it, or leave it out")
    output.check(save_hashes)
    with chatter_on_stderr():
        from simcse_kit.evaluation.leakage import check_leakage

        with column_called("--set-column"):
            how: dict[str, Any] = {"columns": column_mapping(set_columns), **reading.keywords()}
            sets = _sets(data_dir, tasks, hashes or [], how)
        report = check_leakage(
            sets,
            training,
            columns=reading.mapping(),
            examples=examples,
            show_progress=True,
            **reading.keywords(),
        )
        if save_hashes is not None:
            _save(sets, save_hashes)
    output.write(report.to_json())
    if output.has_table:
        _print(report, output.markdown)


def _sets(
    data_dir: Path | None, tasks: str | None, hashes: list[Path], how: dict[str, Any]
) -> list[HashedSet]:
    """The named tasks, all of the suite by default, and what the files hold."""
    from simcse_kit.evaluation.leakage import hash_file, hash_task
    from simcse_kit.evaluation.sts import SUITE, load_tasks

    sets = [hash_file(path, **how) for path in hashes]
    words = {one.words for one in sets}
    if len(words) > 1:
        raise InputError(f"the files of --hashes are of n-grams of {sorted(words)} words; give one")
    if hashes and data_dir is None and tasks is None:
        return sets
    of = {"words": words.pop()} if words else {}
    return [hash_task(task, **of) for task in load_tasks(data_dir, listed(tasks) or SUITE)] + sets


def _save(sets: list[HashedSet], folder: Path) -> None:
    from simcse_kit.evaluation.leakage import write_hashes

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make the folder {folder}: {error.strerror}") from error
    for one in sets:
        write_hashes(one, folder / f"{Path(one.name).name}.safetensors")
    note(f"{len(sets)} sets as hashes in {folder}")


def _print(report: LeakageReport, markdown: bool) -> None:
    from simcse_kit.evaluation import draw
    from simcse_kit.evaluation.leakage import headline, tables
    from simcse_kit.evaluation.leakage import markdown as as_markdown

    if markdown:
        typer.echo(as_markdown(report))
    else:
        for title, cells in tables(report):
            show_table(draw(cells, title=title))
    if said := headline(report):
        typer.echo(said)
