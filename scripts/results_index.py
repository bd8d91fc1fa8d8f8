"""The index of eval/results: what each file claims, and how, when and on what it was made.

python scripts/results_index.py            # write eval/results/README.md
python scripts/results_index.py --check    # fail where it is stale, or a file claims nothing
"""

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parents[1] / "eval" / "results"
HEAD = """\
# What was measured

One file a measurement, each with the sentence it stands for, its figures, and how it was made:
command, date, hardware, versions, settings and seeds. README and docs quote no figure that is in
none of them (`scripts/quoted_figures.py`). `python scripts/results_index.py` makes this page.
Commands run in the checkout; data and models are named, not the folders they lay in.

| claim | command | file | date | hardware |
|---|---|---|---|---|
"""


def index(folder: Path) -> str:
    """The page, one row a file by name. Raises ValueError for a file that claims nothing."""
    return HEAD + "".join(row(path) for path in sorted(folder.glob("*.json")))


def row(path: Path) -> str:
    """One line of the table."""
    found = json.loads(path.read_text(encoding="utf-8"))
    made = found.get("made", {})
    missing = [key for key in ("command", "date", "hardware") if not made.get(key)]
    if not str(found.get("claim", "")).strip():
        missing.append("claim")
    if missing:
        raise ValueError(f"{path}: no {', no '.join(missing)}; eval.provenance.write adds them")
    # folders outside the checkout are nobody else's
    command = re.sub(r"(?<=\s)(?:\.\./|/)\S*/(?=[^\s/]+)", "", made["command"])
    cells = [
        found["claim"],
        f"`{command}`",
        f"[{path.name}]({path.name})",
        made["date"],
        hardware(made["hardware"]),
    ]
    return "| " + " | ".join(str(cell).replace("|", "\\|") for cell in cells) + " |\n"


def hardware(found: dict[str, Any]) -> str:
    """The machine in a few words: its processor without its instruction sets, and the threads."""
    cpu = re.sub(r"\((?:R|TM)\)|\s*\([a-z0-9_, ]*\)", "", found["cpu"])
    threads = found["threads"]
    named = [" ".join(cpu.split()), f"{threads} thread{'s' if threads > 1 else ''}"]
    return ", ".join([*named, *([str(found["gpu"])] if found.get("gpu") else [])])


def main(arguments: list[str] | None = None) -> int:
    """Write the page, or tell whether it is what would be written."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--folder", type=Path, default=RESULTS)
    options = parser.parse_args(arguments)
    page = options.folder / "README.md"
    try:
        text = index(options.folder)
    except ValueError as error:
        print(error, file=sys.stderr)
        return 1
    if not options.check:
        page.write_text(text, encoding="utf-8")
    elif not page.exists() or page.read_text(encoding="utf-8") != text:
        print(f"{page} is stale: python scripts/results_index.py", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
