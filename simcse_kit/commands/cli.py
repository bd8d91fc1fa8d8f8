"""The command line: one command a verb, each a few calls of the library (`commands`).

Results go to stdout and everything else to stderr; a user's mistake is one sentence and exit
code 2. Only typer and pydantic are imported before a command runs, so that ``--help`` is quick.
"""

from __future__ import annotations

from typing import Annotated

import typer

from simcse_kit.commands.adapt import adapt
from simcse_kit.commands.average import average
from simcse_kit.commands.collecting import collector_at_rest
from simcse_kit.commands.compare import compare
from simcse_kit.commands.console import OneSentence, turn_down_libraries
from simcse_kit.commands.dedupe import dedupe
from simcse_kit.commands.embed import embed, similarity
from simcse_kit.commands.evaluate import evaluate
from simcse_kit.commands.export import export
from simcse_kit.commands.geometry import geometry
from simcse_kit.commands.index import index
from simcse_kit.commands.leakage import leakage
from simcse_kit.commands.map import embedding_map
from simcse_kit.commands.mine import mine
from simcse_kit.commands.mteb import mteb
from simcse_kit.commands.pairs import pairs as document_pairs
from simcse_kit.commands.recipes import recipes
from simcse_kit.commands.report import report
from simcse_kit.commands.search import search
from simcse_kit.commands.task import app as task
from simcse_kit.commands.task_labels import classification, clustering, few_shot
from simcse_kit.commands.task_search import duplicates, pairs, retrieval
from simcse_kit.commands.temperature import temperature
from simcse_kit.commands.train import SETTINGS, train
from simcse_kit.commands.trial import trial
from simcse_kit.commands.whiten import whiten
from simcse_kit.compute.threads import use_threads
from simcse_kit.version import __version__

app = typer.Typer(
    cls=OneSentence,
    name="simcse-kit",
    help="Turn a Hugging Face text encoder into a better sentence encoder, and prove it.",
    add_completion=False,
    context_settings={"help_option_names": ["--help", "-h"]},
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)


@app.callback(invoke_without_command=True)
def _start(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version.")] = False,
    threads: Annotated[
        int | None,
        typer.Option(min=1, help="Threads of the CPU to compute with. Default: one a core."),
    ] = None,
) -> None:
    if version:
        typer.echo(f"simcse-kit {__version__}")
    elif context.invoked_subcommand is None:
        typer.echo(context.get_help())
    else:
        use_threads(threads)


# In the order that --help lists them.
app.command(epilog=SETTINGS)(train)
app.command(epilog=SETTINGS)(trial)
app.command(epilog=SETTINGS)(adapt)
app.command("pairs")(document_pairs)
app.command()(mine)
app.command()(temperature)
app.command()(average)
app.command()(whiten)
for command in (evaluate, compare, report, geometry, leakage, embed, similarity, recipes):
    app.command()(command)
for command in (index, search, dedupe):
    app.command()(command)
app.command("map")(embedding_map)
app.command()(export)
app.command()(mteb)
for kind in (classification, few_shot, retrieval, clustering, duplicates, pairs):
    task.command()(kind)
app.add_typer(task, name="task")


def main() -> None:
    """Run the command line."""
    turn_down_libraries()
    with collector_at_rest():
        app()


if __name__ == "__main__":
    main()
