"""Every command that README and docs show is one that there is, with options that there are."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from simcse_kit.commands.cli import app

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


def missing(page: str) -> list[str]:
    """Files of the checkout and modules of it that a page names, and that are not there."""
    files = re.findall(r"(?<![\w./])((?:eval|scripts|simcse_kit|tests)/[\w/-]*(?:\.\w+)?)", page)
    modules = re.findall(r"\b((?:eval|simcse_kit)\.[a-z_][\w.]*\w)", page)
    gone = [name for name in files if not (ROOT / name).exists()]
    for name in modules:
        parts = name.split(".")
        found = [n for n in range(len(parts), 0, -1) if _is_module(ROOT.joinpath(*parts[:n]))]
        # what stands in a module stands in its text or, handed on, in its stub
        rest = parts[found[0] :] if found else parts
        if len(rest) > 2 or (rest and not _holds(ROOT.joinpath(*parts[: found[0]]), rest[0])):
            gone.append(name)
    return gone


def _is_module(path: Path) -> bool:
    return path.is_dir() or path.with_suffix(".py").is_file()


def _holds(path: Path, name: str) -> bool:
    places = (path.with_suffix(".py"), path / "__init__.py", path / "__init__.pyi")
    return any(re.search(rf"\b{name}\b", one.read_text()) for one in places if one.is_file())


@pytest.mark.parametrize(
    "page", [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"], ids=lambda page: page.name
)
def test_files_and_modules_that_a_page_names_are_there(page: Path) -> None:
    text = page.read_text().split("## [0.1.0]")[0]  # what a released version had may be gone
    assert missing(text) == []


def test_a_file_that_has_moved_is_found() -> None:
    page = "`eval/speed.py` `eval/results/` `simcse_kit.kernels` eval.speed.compare eval.sped.x"
    assert missing(page) == ["eval/speed.py", "simcse_kit.kernels", "eval.sped.x"]
    assert missing("`simcse_kit.training.train` simcse_kit.training.no_such_thing") == [
        "simcse_kit.training.no_such_thing"
    ]
