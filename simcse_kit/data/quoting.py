"""Whether a ``.tsv`` is quoted (pandas, Excel, R), or its ``"`` are plain (SentEval, GLUE).

It is read as quoted only where the whole file agrees: every ``"`` belongs to a well-formed quoted
cell, all rows have one width, and something shows the writer's intent: a doubled quote inside a
quoted cell, a quoted first cell, or a tab or line break inside a quoted cell without which the
rows would differ in width.
"""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from itertools import chain

from simcse_kit.data.lines import File, text_blocks, text_lines

_QUOTED_CELL = re.compile(r'"[^"]*+(?:""[^"]*+)*+"(?=\t|\r?\n|\Z)')
_OPEN_CELL = re.compile(r'"[^"]*+(?:""[^"]*+)*+(?:"\r?)?\Z')  # may go on in the next block
_LONGEST = 1 << 26  # characters; a quote that is open for longer opens no cell


def tsv_is_quoted(path: File) -> bool:
    """Whether a ``.tsv`` was written with quoting, by the rule above."""
    if not any(
        block[0] == '"' or '\t"' in block or '\n"' in block for _, block in text_blocks(path)
    ):
        return False
    intended = spanning = False
    for place, cell in _quoted_cells(path):
        if cell is None:
            return False
        intended = intended or place == 0 or '""' in cell[1:-1]
        spanning = spanning or "\t" in cell or "\n" in cell
    if spanning and len({line.count("\t") for line in text_lines(path) if line.strip()}) == 1:
        return False  # unquoted, every line is as wide as the others: those quotes met by chance
    try:
        rows = csv.reader(text_lines(path), delimiter="\t", strict=True)
        return (intended or spanning) and len({len(row) for row in rows if row}) == 1
    except csv.Error:
        return False


def _quoted_cells(path: File) -> Iterator[tuple[int, str | None]]:
    """Where each ``"`` stands that opens a cell, and the cell; at last None for one that does not.

    Of a big file some megabytes are looked at, and what of them may go on below.
    """
    waiting, before, above = "", "\n", 0
    for block in chain((block for _, block in text_blocks(path)), [""]):
        text, at = waiting + block, 0
        while (start := text.find('"', at)) >= 0:
            if (text[start - 1] if start else before) not in "\t\n":
                yield above + start, None
                return
            is_long = len(text) - start > _LONGEST
            if block and not is_long and _OPEN_CELL.match(text, start):
                break
            cell = _QUOTED_CELL.match(text, start)
            yield above + start, cell and cell[0]
            if cell is None:
                return
            at = cell.end()
        start = len(text) if start < 0 else start
        waiting, before, above = text[start:], text[start - 1] if start else before, above + start
