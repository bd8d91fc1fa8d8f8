"""From a row of token ids to its views: what an objective compares.

A view set names which stored texts stand side by side for a row. The dropout twin (SimCSE)
is the same text twice in one batch: the two copies differ by their dropout masks alone.
Given pairs and hard negatives are the row's own columns.
"""

from __future__ import annotations

import numpy as np


def dropout_twins(rows: np.ndarray) -> np.ndarray:
    """Row numbers ``(B,)`` to text numbers ``(B, 2)``: each text beside itself."""
    return np.stack([rows, rows], axis=1)


def given_columns(rows: np.ndarray, columns: int, total: int) -> np.ndarray:
    """Row numbers ``(B,)`` to text numbers ``(B, columns)`` of column-major stored texts.

    Args:
        columns: 2 for anchor and positive, more with hard negatives.
        total: rows in the data: text ``r`` of column ``c`` is number ``c * total + r``.
    """
    return rows[:, None] + total * np.arange(columns)[None, :]
