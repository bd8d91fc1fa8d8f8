"""How the command line speaks: results on stdout, the rest on stderr, mistakes in one sentence."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import typer
from typer.core import TyperGroup

from simcse_kit.data import (
    at_home,
    check_can_make,
    check_can_write,
    json_text,
    without_controls,
)
from simcse_kit.data import write_json as put_json
from simcse_kit.errors import InputError, explain

if TYPE_CHECKING:
    from rich.table import Table

DEBUG = "SIMCSE_KIT_DEBUG"
_WIDE = 200  # columns for a table that goes to a file or a pipe, where nothing is to be cut
_LEAST = 12  # columns for a sentence that is wrapped


class OneSentence(TyperGroup):
    """A group of commands whose errors are explained: 2 a user's, 1 a bug of ours, 130 Ctrl-C."""

    def make_context(self, *args: Any, **kwargs: Any) -> Any:
        with _explained():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: Any) -> Any:
        with _explained():
            return super().invoke(ctx)


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    try:
        yield
    except (typer.Exit, typer.Abort, BrokenPipeError):
        raise
    except KeyboardInterrupt:
        note("interrupted")
        raise typer.Exit(130) from None
    except Exception as error:
        if os.environ.get(DEBUG):
            raise
        usage = getattr(error, "format_message", None)  # typer's own, about the options
        sentence = " ".join(usage().split()) if usage else explain(error)
        if sentence is not None:
            note(f"error: {sentence}")
            raise typer.Exit(2) from None
        reason = " ".join(str(error).split())
        note(f"error: a bug in simcse-kit: {type(error).__name__}: {reason}")
        note(f"Set {DEBUG}=1 to see where it is, and please report it.")
        raise typer.Exit(1) from None


def note(text: str) -> None:
    """Say something that is no result."""
    typer.echo(without_controls(text), err=True)


@contextlib.contextmanager
def chatter_on_stderr() -> Iterator[None]:
    """Keep whatever libraries print while they work out of the results."""
    with contextlib.redirect_stdout(sys.stderr):
        yield


def turn_down_libraries() -> None:
    """No advice and warnings of other libraries; no progress bars but on a terminal; our notes.

    To be called before those libraries are imported. What the user's environment says stands.
    """
    if not os.environ.get(DEBUG):
        warnings.simplefilter("ignore")
        os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
        os.environ.setdefault("DATASETS_VERBOSITY", "error")
        os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # torch's profiler, in capital letters
    if not sys.stderr.isatty():
        os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
        os.environ.setdefault("HF_DATASETS_DISABLE_PROGRESS_BARS", "1")
    notes = logging.StreamHandler()
    notes.setFormatter(logging.Formatter("%(message)s"))
    logging.getLogger("simcse_kit").addHandler(notes)
    logging.getLogger("simcse_kit").setLevel(logging.INFO)


def check_outputs(json_file: str | None, plots: Path | None) -> None:
    """Raise InputError for places that cannot be written, before the work and not after it."""
    if json_file is not None and json_file != "-":
        check_can_write(at_home(json_file))
    if plots is not None:
        check_can_make(plots)


def check_new_folder(folder: Path) -> None:
    """Raise InputError for a folder that cannot be made or holds something, before the work."""
    check_can_make(folder)
    if folder.is_dir() and any(folder.iterdir()):
        raise InputError(f"{folder} is not empty; give a new folder")


def write_json(figures: object, file: str) -> None:
    """Write figures as JSON, and say where; ``-`` is stdout."""
    if file == "-":
        typer.echo(json_text(figures))
        return
    put_json(at_home(file), figures)
    note(f"wrote {file}")


def show_table(
    table: Table,
    file: IO[str] | None = None,
    *,
    narrower: Table | None = None,
    wraps: bool = False,
) -> None:
    """Print a table on stdout, or into `file`.

    A terminal too narrow for it gets `narrower`, which says the same, where that fits; else its
    lines are wrapped. No figure or name is cut. With `wraps` it holds sentences, which may be
    wrapped within their column. Title and notes are as wide as the terminal, not as the table.
    """
    from rich.console import Console
    from rich.text import Text

    # names may hold what rich takes for an emoji's
    console = Console(file=file or sys.stdout, highlight=False, emoji=False)

    def needed(one: Table) -> int:
        wrapping = [column for column in one.columns if wraps and not column.no_wrap]
        for column in wrapping:  # a longer word goes on in the next line
            column.max_width = _LEAST
        measured = console.measure(one, options=console.options.update(width=_WIDE))
        for column in wrapping:
            column.max_width = None
        return measured.minimum if wraps else measured.maximum

    if console.is_terminal and narrower is not None and needed(narrower) <= console.width:
        table = table if needed(table) <= console.width else narrower
    if not console.is_terminal or console.width < needed(table):
        console = Console(file=file or sys.stdout, highlight=False, emoji=False, width=_WIDE)
    title, caption, table.title, table.caption = table.title, table.caption, None, None
    for text, style in ((title, table.title_style), (table, ""), (caption, table.caption_style)):
        if isinstance(text, str):
            text = Text.from_markup(text, emoji=False)
        if text:
            console.print(text, style=style or None)
