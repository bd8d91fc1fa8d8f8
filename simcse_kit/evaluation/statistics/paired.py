"""Several models on the same resamples of the items they were tested on. Arrays only.

For whatever can be computed from how often each item was drawn: means over queries or examples, F1,
average precision. What is read off the draws is in `intervals`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from simcse_kit.errors import InputError
from simcse_kit.evaluation.statistics.bootstrap import Figure

#: A model's figures by name, each (B,), where item i is there ``counts[b, i]`` times: (B, N).
Resampled = Callable[[np.ndarray], Mapping[str, np.ndarray]]

# Elements in a block of resamples.
_BLOCK = 1 << 20


def resample_together(
    models: Sequence[Resampled], items: int, *, draws: int = 10_000, seed: int = 0
) -> dict[str, Figure]:
    """The figures of M models as observed, and on the same B resamples of N items.

    Resamples in which some figure does not exist (NaN) are left out of it.

    Args:
        models: each tested on the same N items, in the same order.
        items: N.
        draws, seed: of the resamples; the same seed gives the same bits.

    Raises:
        InputError: a figure that does not exist in half of the resamples.
    """
    observed = [model(np.ones((1, items), dtype=np.int64)) for model in models]
    names = [name for name in observed[0] if all(name in each for each in observed)]
    drawn = {name: np.empty((draws, len(models))) for name in names}
    rng = np.random.default_rng(seed)
    rows = max(1, _BLOCK // items)
    for start in range(0, draws, rows):
        size = min(rows, draws - start)
        chosen = rng.integers(0, items, size=(size, items)) + items * np.arange(size)[:, None]
        counts = np.bincount(chosen.reshape(-1), minlength=size * items).reshape(size, items)
        for column, model in enumerate(models):
            figures = model(counts)
            for name in names:
                drawn[name][start : start + size, column] = figures[name]
    found = {}
    for name, values in drawn.items():
        kept = values[np.isfinite(values).all(axis=1)]
        if 2 * len(kept) < draws:
            raise InputError(f"{name} does not exist in most resamples: there are too few items.")
        found[name] = Figure(np.array([float(each[name][0]) for each in observed]), kept)
    return found
