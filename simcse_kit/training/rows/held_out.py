"""Rows held out of training: which, so that training sees none of their texts."""

from __future__ import annotations

import logging
from dataclasses import replace
from itertools import compress

import numpy as np

from simcse_kit.data import Rows
from simcse_kit.errors import InputError

logger = logging.getLogger(__name__)

_FEWEST = 3  # pairs that are worth a ranking
_ENOUGH = 0.9  # of the rows that are asked for
_TELLING = 100  # pairs from which on a point of recall@1 is no single pair


def hold_out(rows: Rows, size: float, seed: int) -> tuple[Rows, Rows]:
    """Rows to train on, and rows held out of them, each in their order.

    Rows that share a text, directly or through other rows, stay on one side: what is held out has
    no text in common with what is trained on. Where hard negatives link too many rows, each side
    loses those of them that are texts of the other.

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
    out = _chosen(rows, wanted, seed, columns=len(rows.columns))
    parted = out.sum() >= _ENOUGH * wanted or len(rows.columns) == 2
    if not parted:  # mined negatives stand in many rows, and are often positives of others
        out = _chosen(rows, wanted, seed, columns=2)
    held = int(out.sum())
    if held < _FEWEST:
        raise InputError(
            f"{rows.source}: eval_split cannot hold out {wanted} rows, for "
            f"{np.bincount(_groups(rows, 2)).max()} of {len(rows)} rows are linked by texts they "
            "share, and held-out texts must not be trained on; give a dev set with --eval-data"
        )
    if held < _TELLING:
        logger.warning(
            "%s: %d pairs are held out, so one of them is %.1f points of recall@1: small "
            "differences between steps are chance; hold out %d or more where there are enough",
            *(rows.source, held, 100 / held, _TELLING),
        )
    if held < _ENOUGH * wanted:
        logger.warning(
            "%s: %d rows are held out, not %d: rows that share texts stay together",
            *(rows.source, held, wanted),
        )
    kept, judged = _some(rows, ~out), _some(rows, out)
    return (kept, judged) if parted else _apart(kept, judged)


def _chosen(rows: Rows, wanted: int, seed: int, columns: int) -> np.ndarray:
    """Which rows are held out, bool (N,): whole groups, as many as fit into the number wanted."""
    group = _groups(rows, columns)
    sizes = np.bincount(group)
    chosen = np.zeros(len(sizes), dtype=bool)
    held = 0
    for one in np.random.default_rng(seed).permutation(len(sizes)):
        if held + sizes[one] <= wanted:
            chosen[one] = True
            held += sizes[one]
        if held == wanted:
            break
    return np.asarray(chosen[group])


def _apart(kept: Rows, judged: Rows) -> tuple[Rows, Rows]:
    """Both without the hard negatives that are texts of the other.

    Training loses those that are held-out anchors and positives; what is held out loses, as
    distractors, those that are trained on.
    """
    held = {text for column in list(judged.columns.values())[:2] for text in column}
    kept, fewer = _without(kept, held)
    judged, missing = _without(judged, set(kept.texts()))
    logger.info(
        "%s: rows are told apart by anchors and positives alone, for hard negatives link too many; "
        "%d hard negatives are left out of training, which are held out, and %d of the %d rows "
        "held out, which are trained on",
        *(kept.source, fewer, missing, len(judged)),
    )
    return kept, judged


def _without(rows: Rows, texts: set[str]) -> tuple[Rows, int]:
    """The rows without these hard negatives, and how many that are."""
    columns = dict(rows.columns)
    left_out = 0
    for name in list(columns)[2:]:
        column = ["" if text in texts else text for text in columns[name]]
        left_out += sum(map(bool, columns[name])) - sum(map(bool, column))
        columns[name] = column
    return replace(rows, columns=columns), left_out


def _groups(rows: Rows, columns: int) -> np.ndarray:
    """The number of each row's group, int (N,): rows that share a text are of one.

    Args:
        columns: 2 for the texts of anchors and positives, more for hard negatives too.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    n = len(rows)
    text = rows.text_numbers()[: columns * n]
    row = np.tile(np.arange(n), columns)
    text, row = text[text >= 0], row[text >= 0]  # without the hard negatives that rows lack
    size = n + int(text.max()) + 1
    graph = coo_array((np.ones(len(text), dtype=np.int8), (row, n + text)), shape=(size, size))
    _, group = connected_components(graph, directed=False)
    _, group = np.unique(group[:n], return_inverse=True)
    return np.asarray(group)


def _some(rows: Rows, where: np.ndarray) -> Rows:
    places = np.flatnonzero(where).tolist()
    columns = {name: [*compress(column, where)] for name, column in rows.columns.items()}
    different = len(set(zip(*columns.values(), strict=True)))
    return replace(
        rows,
        columns=columns,
        duplicates=len(places) - different,
        numbers=np.array(places) if rows.numbers is None else rows.numbers[places],
        lines=None if rows.lines is None else rows.lines[places],
        documents=None if rows.documents is None else rows.documents[places],
    )
