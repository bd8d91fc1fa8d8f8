"""Does every figure that README and docs quote stand in a result file?

    python scripts/quoted_figures.py README.md docs

A figure is a number with a decimal point, or one with a unit (%, ×, s, MiB, points …). It must
stand, rounded to the digits shown, in a file of eval/results that its block links to. A block is a
paragraph, an item of a list, or a row of a table; a row without a link of its own has those of the
paragraph before the table. Figures measured elsewhere, or by nobody (thresholds, published scores),
are told apart by a comment before the block that names where they come from:

    <!-- figures: SimCSE's paper, table 5 -->

Code, versions (sentence-transformers 6.2) and 95 % as an interval's level are no figures, nor is
what `fill_pages.py` writes.
"""

import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MARK = re.compile(r"<!--\s*figures:\s*(\S.*?)\s*-->")
FILLED = re.compile(
    r"^<!-- (?:settings|arguments|parts|figure): [^>]*-->$.*?^<!-- end -->$", re.M | re.S
)
LINK = re.compile(r"\]\(([^()\s]*eval/results/[^()\s]+\.json)\)")
NUMBER = re.compile(
    r"(?<![\w.,\-/])(?P<number>\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?)(?![\d,]*\d)(?!\.\d)"
    r"(?P<unit>[   ]?(?:%|×|ms\b|s\b|sentences/s|TFLOP/s|[KMG]i?B\b|points?\b|times\b))?"
)
# No figures, though they look like some.
NO_FIGURES = re.compile(
    r"```.*?^```|`[^`\n]*`|<!--.*?-->|\]\([^()\s]*\)|https?://\S+|arXiv:\S+|[Ss]ections? [\d.]+"
    r"|\d{4}-\d{2}-\d{2}|95 %"
    r"|\b(?:[Pp]ython|[Tt]orch|PyTorch|transformers|sentence-transformers|mteb|MTEB|CUDA|Apache)"
    r"[ -](?:≥ ?)?\d+(?:\.\d+)+",
    re.DOTALL | re.MULTILINE,
)


@dataclass(frozen=True)
class Block:
    """A piece of a page: its first line's number, its text, and the result files it links to."""

    line: int
    text: str
    links: tuple[str, ...]
    source: str | None  # what a comment before it names


@dataclass(frozen=True)
class Figure:
    """A number as it is written, and the value and scale that it may stand for."""

    text: str
    value: float
    digits: int
    scales: tuple[float, ...]

    def stands_in(self, numbers: list[float]) -> bool:
        """Whether one of the numbers is this one, rounded to the digits shown."""
        reach = 0.5 * 10.0**-self.digits * (1 + 1e-6)
        return any(
            abs(abs(number) * scale - self.value) <= reach
            for number in numbers
            for scale in self.scales
        )


def blocks(markdown: str) -> Iterator[Block]:
    """The pieces of a page, in order."""
    text = re.sub(
        r"^```.*?^```$", lambda code: "\n" * code[0].count("\n"), markdown, flags=re.M | re.S
    )
    source: str | None = None
    inherited: tuple[str, ...] = ()
    line = 1
    for piece in re.split(r"(\n[ \t]*\n)", text):
        start, line = line, line + piece.count("\n")
        if not piece.strip():
            continue
        marked = MARK.search(piece)
        table = piece.lstrip().startswith("|")
        if marked:
            source = marked[1]
        if marked and not MARK.sub("", piece).strip():
            continue  # it marks the block that follows, and a table that follows that
        own = tuple(LINK.findall(piece))
        for offset, part in _parts(piece):
            links = tuple(LINK.findall(part)) or (inherited if table else own)
            yield Block(start + offset, part, links, source)
        introduces = piece.rstrip().endswith(":") and not table
        if not introduces:
            source = None
        inherited = () if table else own


def _parts(piece: str) -> Iterator[tuple[int, str]]:
    """A table by rows, a list by items, anything else whole."""
    starts = r"^(?=\|)" if piece.lstrip().startswith("|") else r"^(?=\s*(?:[-*]|\d+\.)\s)"
    offset = 0
    for part in re.split(starts, piece, flags=re.M):
        if part.strip():
            yield offset, part
        offset += part.count("\n")


def figures(text: str) -> list[Figure]:
    """The figures of a block, as they are written."""
    found = []
    for match in NUMBER.finditer(NO_FIGURES.sub(lambda gone: " " * len(gone[0]), text)):
        number, unit = match["number"], (match["unit"] or "").strip()
        if "." not in number and not unit:
            continue
        scales = {"%": (1.0, 100.0), "TFLOP/s": (1e-12,), "ms": (1e3,)}.get(unit, (1.0,))
        digits = len(number.partition(".")[2])
        found.append(Figure(match[0].strip(), float(number.replace(",", "")), digits, scales))
    return found


def numbers(found: Any) -> Iterator[float]:
    """Every number of a result file but settings; long series of raw numbers sum nothing up."""
    if isinstance(found, dict):
        for key, value in found.items():
            if key not in ("claim", "made", "settings", "config"):
                yield from numbers(value)
    elif isinstance(found, list):
        if len(found) <= 3 or not all(isinstance(value, float) for value in found):
            for value in found:
                yield from numbers(value)
    elif isinstance(found, str):
        yield from (float(number) for number in re.findall(r"(?<![\w.])\d+\.\d+(?![\w.])", found))
    elif isinstance(found, int | float) and not isinstance(found, bool):
        yield float(found)


def written(page: str) -> str:
    """The page without what `fill_pages.py` put in from the package, its lines numbered as ever."""
    return FILLED.sub(lambda found: "\n" * found[0].count("\n"), page)


def complaints(page: Path) -> Iterator[str]:
    """One sentence for each figure of the page that no linked file holds."""
    for block in blocks(written(page.read_text(encoding="utf-8"))):
        if block.source is not None:
            continue
        held: list[float] = []
        for link in block.links:
            path = (page.parent / link).resolve()
            if not path.exists():
                yield f"{page}:{block.line}: {link} does not exist"
                continue
            held += numbers(json.loads(path.read_text(encoding="utf-8")))
        for figure in figures(block.text):
            if not figure.stands_in(held):
                where = "in no file of eval/results that the block links to"
                reason = where if block.links else "and the block links to no file of eval/results"
                yield f"{page}:{block.line}: {figure.text} stands {reason}"


def pages(arguments: list[str]) -> list[Path]:
    """The files named, and the pages of the folders named."""
    found: list[Path] = []
    for name in arguments or ["README.md", "docs"]:
        path = Path(name)
        found += sorted(path.rglob("*.md")) if path.is_dir() else [path]
    return found


def main(arguments: list[str]) -> int:
    """Print what is wrong with each page; 1 where anything is."""
    wrong = [complaint for page in pages(arguments) for complaint in complaints(page)]
    print("\n".join(wrong), file=sys.stderr, end="\n" if wrong else "")
    return int(bool(wrong))


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
