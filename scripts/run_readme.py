"""Run the blocks of a README that ask for it, so that what it shows keeps working.

A fenced ```bash or ```python block is run when the line `<!-- run -->` stands right before its
fence. The blocks share one temporary folder, in order, and see this interpreter's environment
first on PATH.

    python scripts/run_readme.py README.md
"""

import os
import re
import subprocess
import sys
import tempfile
import time
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


def main(arguments: list[str]) -> int:
    """Run the marked blocks of the named file; 1 at the first that fails, 2 where there is none."""
    path = Path(arguments[0] if arguments else "README.md")
    blocks = marked_blocks(path.read_text(encoding="utf-8"))
    if not blocks:
        print(f"{path}: no block is marked <!-- run -->", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory() as folder:
        for line, language, code in blocks:
            print(f"--- {path}:{line} ({language})", flush=True)
            start = time.perf_counter()
            status = run_block(language, code, Path(folder))
            if status:
                print(f"{path}:{line}: the {language} block failed ({status})", file=sys.stderr)
                return 1
            print(f"--- ok, {time.perf_counter() - start:.1f} s", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
