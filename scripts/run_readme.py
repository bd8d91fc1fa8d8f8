"""Run the blocks of pages that ask for it, so that what they show keeps working.

A fenced ```bash or ```python block is run when the line `<!-- run -->` stands right before its
fence. The blocks of a page share one temporary folder, in order, and see this interpreter's
environment first on PATH. Folders stand for the pages in them.

    python scripts/run_readme.py README.md docs
"""

import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

BLOCK = re.compile(r"^<!-- run -->\n+```(bash|python)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def marked_blocks(markdown: str) -> list[tuple[int, str, str]]:
    """Return (line of the first line of code, language, code) of every marked block, in order."""
    return [
        (markdown.count("\n", 0, match.start(2)) + 1, match.group(1), match.group(2))
        for match in BLOCK.finditer(markdown)
    ]


def run_block(language: str, code: str, folder: Path) -> int:
    """Run one block in `folder` and return its exit status; bash stops at the first failure."""
    bin_dir = str(Path(sys.executable).parent)  # not resolved: a venv's python is a link out of it
    env = os.environ | {"PATH": os.pathsep.join([bin_dir, os.environ.get("PATH", "")])}
    command = {"bash": ["bash", "-euo", "pipefail", "-c"], "python": [sys.executable, "-c"]}
    return subprocess.run(
        [*command[language], code], cwd=folder, env=env, stdin=subprocess.DEVNULL, check=False
    ).returncode


def run_page(path: Path) -> bool:
    """Run the blocks of a page in a folder of its own; False at the first that fails."""
    with tempfile.TemporaryDirectory() as folder:
        for line, language, code in marked_blocks(path.read_text(encoding="utf-8")):
            print(f"--- {path}:{line} ({language})", flush=True)
            start = time.perf_counter()
            status = run_block(language, code, Path(folder))
            if status:
                print(f"{path}:{line}: the {language} block failed ({status})", file=sys.stderr)
                return False
            print(f"--- ok, {time.perf_counter() - start:.1f} s", flush=True)
    return True


def pages(names: Sequence[str]) -> list[Path]:
    """The files named, and the pages of the folders named, each once."""
    found: list[Path] = []
    for path in map(Path, names):
        found += sorted(path.rglob("*.md")) if path.is_dir() else [path]
    return list(dict.fromkeys(found))


def main(arguments: Sequence[str]) -> int:
    """Run the marked blocks; 1 at the first that fails, 2 where a file named has none."""
    named = list(arguments) or ["README.md"]
    todo = pages(named)
    without = [path for path in todo if not marked_blocks(path.read_text(encoding="utf-8"))]
    empty = [str(path) for path in without if str(path) in named]
    if empty or without == todo:
        print(f"{', '.join(empty or named)}: no block is marked <!-- run -->", file=sys.stderr)
        return 2
    return int(not all(run_page(path) for path in todo if path not in without))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
