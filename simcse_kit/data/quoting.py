"""Whether a ``.tsv`` is quoted (pandas, Excel, R), or its ``"`` are plain (SentEval, GLUE).

It is read as quoted only where the whole file agrees: every ``"`` belongs to a well-formed quoted
cell, all rows have one width, and something shows the writer's intent: a doubled quote inside a
quoted cell, a quoted first cell, or a tab or line break inside a quoted cell without which the
rows would differ in width.
"""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

from simcse_kit.data.lines import text_blocks

_QUOTED_CELL = re.compile(r'"[^"]*+(?:""[^"]*+)*+"(?=\t|\r?\n|\Z)')


def tsv_is_quoted(path: Path) -> bool:
    """Whether a ``.tsv`` was written with quoting, by the rule above."""
    if not any(
        block[0] == '"' or '\t"' in block or '\n"' in block for _, block in text_blocks(path)
    ):
        return False
    text = "".join(block for _, block in text_blocks(path))
    intended = text[0] == '"'
    spanning = False
    at = text.find('"')
    while at >= 0:
        cell = _QUOTED_CELL.match(text, at)
        if cell is None or (at and text[at - 1] not in "\t\n"):
            return False
        intended = intended or '""' in cell[0][1:-1]
        spanning = spanning or "\t" in cell[0] or "\n" in cell[0]
        at = text.find('"', cell.end())
    if spanning and len({line.count("\t") for line in text.split("\n") if line.strip()}) == 1:
        return False  # unquoted, every line is as wide as the others: those quotes met by chance
    rows = csv.reader(io.StringIO(text, newline="\n"), delimiter="\t", strict=True)
    try:
        return (intended or spanning) and len({len(row) for row in rows if row}) == 1
    except csv.Error:
        return False
