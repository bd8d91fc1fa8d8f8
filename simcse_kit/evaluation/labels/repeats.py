"""Texts that stand in a file more than once: known on one side of a split, they are no test.

Equal but for case and white space counts as equal. A split of the texts parts none of these groups:
their first rows are split, and the others go with them; where no text is repeated, that is the
split of the rows.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def same_texts(texts: Sequence[str]) -> np.ndarray:
    """A number for each text, the same for equal ones: (N,), from 0 in order of appearance."""
    numbers: dict[str, int] = {}
    folded = (" ".join(text.casefold().split()) for text in texts)
    return np.array([numbers.setdefault(text, len(numbers)) for text in folded], dtype=np.int64)


def first_rows(groups: np.ndarray) -> np.ndarray:
    """The row where each group (N,) appears first, ascending."""
    return np.sort(np.unique(groups, return_index=True)[1])


def rows_of(chosen: np.ndarray, groups: np.ndarray) -> np.ndarray:
    """All rows of the groups (N,) that the rows `chosen` are of, ascending."""
    return np.flatnonzero(np.isin(groups, groups[chosen]))


def repeated(groups: np.ndarray) -> int:
    """How many rows repeat an earlier one."""
    return len(groups) - len(np.unique(groups))
