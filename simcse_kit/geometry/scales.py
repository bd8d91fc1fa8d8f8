"""On what scale gold scores are, as far as they tell, and from where on their pairs are close.

Wang & Isola measure alignment on STS-B's pairs with gold above 4, of a scale from 0 to 5: its top
fifth. Scores of 0 to 1 have no such pair, and of 0 to 100 nearly all are.
"""

from __future__ import annotations

import numpy as np

from simcse_kit.errors import InputError

_ENDS = (1.0, 2.0, 3.0, 4.0, 5.0, 7.0, 10.0)
_PERCENT = 100.0
_CLOSE = 4 / 5
_NEARLY_ALL = 0.9


def scale_of(gold: np.ndarray) -> tuple[float, float]:
    """From where to where the scale of gold scores (N,) goes.

    Up to the least of 1, 2, 3, 4, 5, 7, 10 and, of scores above 50, 100 that holds them all, else
    up to the highest score; from 0, or where a score is negative from as far below 0.
    """
    low, high = float(gold.min()), float(np.abs(gold).max())
    ends = [end for end in (*_ENDS, _PERCENT) if end >= high]
    if ends and (ends[0] < _PERCENT or high > _PERCENT / 2):
        high = ends[0]
    return (-high if low < 0 else 0.0), high


def close_above(gold: np.ndarray) -> float:
    """The score above which pairs are close: four fifths of the scale of gold scores (N,).

    4 on a scale of 0 to 5. On others, where more than nine tenths of the pairs lie above that
    (scores of 90 to 100, say), four fifths of the way from the lowest score to the highest.
    """
    low, high = scale_of(gold)
    above = low + _CLOSE * (high - low)
    if (low, high) != (0.0, 5.0) and (gold > above).mean() > _NEARLY_ALL:
        low, high = float(gold.min()), float(gold.max())
        above = low + _CLOSE * (high - low)
    return round(above, 9)


def close_pairs(threshold: float, scale: tuple[float, float]) -> str:
    """Which pairs are close, in words: "gold > 80, on a scale from 0 to 100"."""
    on = "" if scale == (0.0, 5.0) else f", on a scale from {scale[0]:g} to {scale[1]:g}"
    return f"gold > {threshold:g}{on}"


def band_edges(gold: np.ndarray) -> np.ndarray:
    """Edges of the bands of gold scores (N,): whole numbers where the scale ends at 3 to 5, halves
    where at 2, else five equal bands. The first and the last are never empty.

    Raises InputError where all scores are the same.
    """
    low, high = float(gold.min()), float(gold.max())
    if low == high:
        raise InputError(f"Every gold score is {low:g}: there are no bands to compare.")
    step = {2.0: 0.5, 3.0: 1.0, 4.0: 1.0, 5.0: 1.0}.get(scale_of(gold)[1])
    if low >= 0 and step is not None:
        whole = step * np.arange(np.floor(low / step), np.ceil(high / step) + 1)
        if len(whole) > 2:
            return whole
    edges = np.linspace(low, high, 6)
    digits = 3 - int(np.floor(np.log10(high - low)))
    edges[1:-1] = edges[1:-1].round(digits)
    return edges
