"""Rows held out of training: which, so that training sees none of their texts."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np

from simcse_kit.data import Rows, text_numbers
from simcse_kit.errors import InputError

logger = logging.getLogger(__name__)

_FEWEST = 3  # pairs that are worth a ranking
_TELLING = 100  # pairs from which on a point of recall@1 is no single pair


def hold_out(rows: Rows, size: float, seed: int) -> tuple[Rows, Rows]:
    """Rows to train on, and rows held out of them, each in their order.

    Rows that share a text, directly or through other rows, stay on one side: what is held out has
    no text in common with what is trained on.

    Args:
        size: share of the rows below 1, or their number.
        seed: of the choice.

    Raises:
        InputError: rows of text alone, a size that leaves nothing on one side, or rows so linked
            by their texts that they do not part.
    """
    if rows.kind != "pairs":
        raise InputError(
            f"{rows.source}: eval_split asks whether held-out anchors find their positives, and "
            f"{rows.kind} rows have none; give a dev set of scored pairs with --eval-data, or "
            "train on the columns anchor and positive"
        )
    wanted = round(size * len(rows)) if size < 1 else int(size)
    if not _FEWEST <= wanted < len(rows):
        raise InputError(
            f"{rows.source}: eval_split {size:g} holds out {wanted} of {len(rows)} rows; hold out "
            f"{_FEWEST} or more, and leave some to train on"
        )
    group = _groups(rows)
    sizes = np.bincount(group)
    chosen = np.zeros(len(sizes), dtype=bool)
    held = 0
    for one in np.random.default_rng(seed).permutation(len(sizes)):
        if held + sizes[one] <= wanted:
            chosen[one] = True
            held += sizes[one]
        if held == wanted:
            break
    if held < _FEWEST:
        raise InputError(
            f"{rows.source}: eval_split cannot hold out {wanted} rows, for {sizes.max()} of "
            f"{len(rows)} rows are linked by texts they share, and held-out texts must not be "
            "trained on; give a dev set with --eval-data"
        )
    if held < _TELLING:
        logger.warning(
            "%s: %d pairs are held out, so one of them is %.1f points of recall@1: small "
            "differences between steps are chance; hold out %d or more where there are enough",
            *(rows.source, held, 100 / held, _TELLING),
        )
    if held < 0.9 * wanted:
        logger.warning(
            "%s: %d rows are held out, not %d: rows that share texts stay together",
            *(rows.source, held, wanted),
        )
    out = chosen[group]
    return _some(rows, ~out), _some(rows, out)


def _groups(rows: Rows) -> np.ndarray:
    """The number of each row's group, int (N,): rows that share a text are of one."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n, columns = len(rows), len(rows.columns)
    text = text_numbers(rows.texts())
    row = np.tile(np.arange(n), columns)
    text, row = text[text >= 0], row[text >= 0]  # without the hard negatives that rows lack
    size = n + int(text.max()) + 1
    graph = coo_array((np.ones(len(text), dtype=np.int8), (row, n + text)), shape=(size, size))
    _, group = connected_components(graph, directed=False)
    _, group = np.unique(group[:n], return_inverse=True)
    return np.asarray(group)


def _some(rows: Rows, where: np.ndarray) -> Rows:
    places = np.flatnonzero(where).tolist()
    columns = {name: [column[place] for place in places] for name, column in rows.columns.items()}
    different = len(set(zip(*columns.values(), strict=True)))
    return replace(
        rows,
        columns=columns,
        duplicates=len(places) - different,
        numbers=np.array(places) if rows.numbers is None else rows.numbers[places],
        lines=None if rows.lines is None else rows.lines[places],
    )
