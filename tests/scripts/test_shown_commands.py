"""Every command that README and docs show is one that there is, with options that there are."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from simcse_kit.cli import app

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```bash\n(.*?)^```$", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`(simcse-kit [^`]+)`")


def shown(page: str) -> Iterator[list[str]]:
    """The words of each command of ours, in blocks (a continued line is one) and in the text."""
    blocks = "\n".join(BLOCK.findall(page)).replace("\\\n", " ").splitlines()
    lines = [line[line.index("simcse-kit ") :] for line in blocks if "simcse-kit " in line]
    for line in [*lines, *INLINE.findall(page)]:
        yield shlex.split(line, comments=True)[1:]


def slips(words: list[str]) -> list[str]:
    """What of a command's words there is not: a verb, or an option of the verb that it follows."""
    command: Any = typer.main.get_command(app)
    found, value = [], False
    for word in words:
        if word.startswith("--"):
            name, _, given = word.partition("=")
            options = [one for one in command.params if name in (*one.opts, *one.secondary_opts)]
            found += [] if options or name == "--help" else [name]
            value = bool(options) and not getattr(options[0], "is_flag", False) and not given
        elif value:
            value = False
        elif hasattr(command, "commands") and word not in ("COMMAND", "…"):
            if word not in command.commands:
                return [*found, word]
            command = command.commands[word]
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_command_that_is_shown_is_one_that_there_is(page: Path) -> None:
    for words in shown(page.read_text()):
        assert slips(words) == [], f"{page.name}: simcse-kit {' '.join(words)}"


def test_a_slip_is_found_and_the_pages_show_many() -> None:
    block = "```bash\nx && simcse-kit --threads 2 task retrieval M \\\n  --pair FILE  # so\n```\n"
    (words,) = shown(block)
    assert slips(words) == ["--pair"]
    assert slips(["evalute", "M"]) == ["evalute"]
    assert slips(["train", "--data-dir", "--resume"]) == ["--data-dir"]
    assert sum(1 for page in PAGES for _ in shown(page.read_text())) > 30
