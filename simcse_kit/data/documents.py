"""Which document each row is of: by a column of ids, or by the blank lines between documents."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def document_id(cell: object) -> str | None:
    """A cell as an id, a number, a date or bytes, too; "" is none, and None what can be no id."""
    if isinstance(cell, str):
        return cell.strip()
    if isinstance(cell, bytes | bytearray):
        return cell.hex()
    if isinstance(cell, list | tuple | dict):
        return None
    # NaN is unlike itself, and pandas' NA neither like nor unlike
    return "" if cell is None or (cell == cell) is not True else str(cell).strip()


def by_ids(ids: Sequence[str]) -> np.ndarray:
    """Numbers from 0 by first appearance, equal for equal ids, int64 ``(N,)``.

    A row without an id is a document of its own.
    """
    numbers: dict[str | int, int] = {}
    each = (numbers.setdefault(one or row, len(numbers)) for row, one in enumerate(ids))
    return np.fromiter(each, np.int64, len(ids))


def by_blank_lines(numbers: np.ndarray | None) -> np.ndarray | None:
    """Numbers from 0, int64 ``(N,)``; None where no blank line stands between two rows.

    Args:
        numbers: int64 ``(N,)``, the line of each row, from 0; None where all lines are rows.
    """
    if numbers is None:
        return None
    documents = np.cumsum(np.diff(numbers, prepend=numbers[:1]) > 1)
    return documents.astype(np.int64) if documents[-1:].any() else None
