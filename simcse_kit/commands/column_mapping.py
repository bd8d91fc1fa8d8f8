"""How files are read: ``--column OURS=THEIRS``, ``--header`` and the like, for all commands."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from simcse_kit.errors import InputError, one_of

if TYPE_CHECKING:
    from simcse_kit.data import Reading

_HELP = "Which column of the file is which of ours, e.g. anchor=title (repeatable)"

ColumnOption = Annotated[
    list[str] | None, typer.Option("--column", metavar="OURS=THEIRS", help=f"{_HELP}.")
]
#: Of a command that asks for one column: a bare name is that.
TextColumnOption = Annotated[
    list[str] | None,
    typer.Option(
        "--column", metavar="[OURS=]THEIRS", help=f"{_HELP}; a name alone is the text's column."
    ),
]


@dataclass(frozen=True)
class FileOptions:
    """How the files of a command are read."""

    columns: ColumnOption = None
    header: Annotated[
        bool | None,
        typer.Option(
            "--header/--no-header",
            help="Whether the first row of a .csv or .tsv is names. Default: if it names columns"
            " that are known.",
        ),
    ] = None
    skip_bad_rows: Annotated[
        int, typer.Option(metavar="N", min=0, help="Leave out up to N broken rows, and list them.")
    ] = 0
    file_format: Annotated[
        Literal["txt", "csv", "tsv", "jsonl", "json", "parquet"] | None,
        typer.Option("--format", help="Of the file, whatever its name ends in (- is text)."),
    ] = None

    def mapping(
        self, *, ours: Sequence[str] = (), bare: str | None = None
    ) -> dict[str, str] | None:
        """The columns, as `column_mapping`."""
        return column_mapping(self.columns, ours=ours, bare=bare)

    def keywords(self) -> Reading:
        """The rest, as keywords for what reads files."""
        return {
            "header": self.header,
            "skip_bad_rows": self.skip_bad_rows,
            "file_format": self.file_format,
        }

    def given_of_files(self) -> list[str]:
        """The options that were given."""
        chosen = {
            "--column": bool(self.columns),
            "--header": self.header is not None,
            "--skip-bad-rows": self.skip_bad_rows > 0,
            "--format": self.file_format is not None,
        }
        return [option for option, is_set in chosen.items() if is_set]


@dataclass(frozen=True)
class TextFileOptions(FileOptions):
    """The same, of a command that asks for one column."""

    columns: TextColumnOption = None


@contextlib.contextmanager
def column_called(option: str) -> Iterator[None]:
    """Let complaints name the option that is meant, where a command reads files of two kinds."""
    try:
        yield
    except InputError as error:
        said = error.command_line.replace("--column ", f"{option} ")
        raise InputError(str(error), command_line=said) from error


def column_mapping(
    columns: Sequence[str] | None, *, ours: Sequence[str] = (), bare: str | None = None
) -> dict[str, str] | None:
    """``["anchor=title", …]`` as ``{"anchor": "title", …}``; None for none.

    Args:
        ours: the names that there are; none is checked by who reads the file.
        bare: which of ours a name without ``=`` is for; None allows no such name.

    Raises:
        InputError: what is no mapping, a name that is not ours, and one of ours twice.
    """
    if not columns:
        return None
    mapping: dict[str, str] = {}
    for text in columns:
        name, equals, theirs = text.partition("=")
        if not equals and bare is not None:
            name, theirs = bare, text
        if not name or not theirs:
            raise InputError(f"--column {text}: write it as OURS=THEIRS, {_example(text, ours)}")
        if ours and name not in ours:
            raise InputError(f"--column {text}: {name} {one_of(ours, name)}")
        if name in mapping:
            raise InputError(f"--column {text}: {name} is {mapping[name]} already; give it once")
        mapping[name] = theirs
    return mapping


def _example(text: str, ours: Sequence[str]) -> str:
    name, theirs = ours[0] if ours else "anchor", text.strip("=") or "title"
    return f"for instance --column {shlex.quote(f'{name}={theirs}')}"
