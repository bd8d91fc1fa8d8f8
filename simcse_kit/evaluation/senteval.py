"""SentEval's data folders: where they are, and their files read line by line."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from simcse_kit.data import at_home
from simcse_kit.errors import InputError


def find_root(data_dir: Path, folders: Sequence[str], content: str | None = None) -> Path:
    """The folder that holds some of `folders`: `data_dir`, one level down, or data/downstream.

    `content` is a glob of what lies in one of those folders: where `data_dir` is such a folder
    itself, the complaint says to give its parent. Raises InputError where there is none, or two.
    """
    data_dir = at_home(data_dir)
    if not data_dir.is_dir():
        raise InputError(f"The data folder {data_dir} does not exist or is no folder.")
    below = [*sorted(data_dir.iterdir()), data_dir / "data" / "downstream"]
    for candidates in ([data_dir], below):
        found = [c for c in candidates if any((c / folder).is_dir() for folder in folders)]
        if len(found) > 1:
            raise InputError(
                f"{data_dir} holds SentEval data in {' and in '.join(f.name for f in found)}:"
                " say which with --data-dir."
            )
        if found:
            return found[0]
    inside = data_dir.name in folders or (content is not None and any(data_dir.glob(content)))
    hint = f"give its parent, {data_dir.parent}" if inside else "give SentEval's data/downstream"
    listed = f"{', '.join(f'{folder}/' for folder in folders[:-1])} and {folders[-1]}/"
    raise InputError(
        f"{data_dir} holds no SentEval data, which is a folder with {listed} in it: {hint}."
    )


def read_lines(path: Path, encoding: str = "utf-8-sig") -> list[str]:
    """The lines of a file without their ends; InputError where it is missing or misencoded."""
    if not path.is_file():
        raise InputError(
            f"{path} is missing: the SentEval data are incomplete; get them anew, or name only the"
            " tasks that are there."
        )
    try:
        # Not splitlines(), which also breaks at characters that occur inside sentences.
        lines = path.read_bytes().decode(encoding).split("\n")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not UTF-8 text (byte {error.start}).") from error
    if lines[-1] == "":
        lines.pop()
    return [line.removesuffix("\r") for line in lines]


def tab_separated(line: str, path: Path, number: int, columns: tuple[int, ...]) -> list[str]:
    """Chosen fields of line `number` of `path`, none of them empty. Quote marks are plain text."""
    fields = line.split("\t")
    if len(fields) <= max(columns):
        raise InputError(
            f"{path}:{number} has {len(fields)} tab-separated field(s) where at least"
            f" {max(columns) + 1} are expected."
        )
    chosen = [fields[column] for column in columns]
    if not all(field.strip() for field in chosen):
        raise InputError(f"{path}:{number} has an empty sentence, score or label.")
    return chosen


def check_count(where: str, expected: int, found: int, what: str) -> None:
    """Raise InputError unless a file holds as many examples as were published."""
    if found != expected:
        raise InputError(
            f"{where} holds {found:,} {what} where {expected:,} are expected:"
            " the data are incomplete or another release; get them anew."
        )
