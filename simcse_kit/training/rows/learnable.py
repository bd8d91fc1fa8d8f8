"""Whether rows can teach anything: texts that differ, negatives that are left, texts that fit."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np

from simcse_kit.data import JoinedTexts, Rows, TokenStore, linked_texts, told_links
from simcse_kit.errors import InputError
from simcse_kit.training.distributed import is_main
from simcse_kit.training.settings.config import TrainConfig

logger = logging.getLogger(__name__)

_SAMPLE = 2000  # texts that are tokenised whole, of those that may be cut
_WHOLE = 0.95  # share of the texts that the length which is named leaves whole
_STEP = 16  # such lengths are multiples of it
_UNCUT = 1 << 30


def check_negatives(rows: Rows, config: TrainConfig) -> None:
    """See that anchors have negatives: that not all texts are equal, or positives of each other.

    Raises InputError where no anchor has one; warns where some have none, or where the mask leaves
    a batch less than half of its candidates.
    """
    if len(rows) < 2:
        raise InputError(
            f"{rows.source}: holds one row, and a batch takes two or more, for what a row is told "
            "apart from is the others; give thousands, if there are"
        )
    numbers = rows.text_numbers()
    columns = numbers.reshape(-1, len(rows))
    anchors, positives, *negatives = columns if len(columns) > 1 else (columns[0], columns[0])
    candidates = np.concatenate([positives, *negatives]) if negatives else positives
    if (candidates < 0).any():
        candidates = candidates[candidates >= 0]
    if not len(candidates) or candidates.min() == candidates.max():
        text = _text_of(rows, numbers, int(candidates[0])) if len(candidates) else ""
        raise InputError(
            f"{rows.where(0)}: {text!r:.60} is the text of all {len(rows)} rows, so there is "
            "nothing to tell apart; give texts that differ"
        )
    if numbers.max() + 1 == np.count_nonzero(numbers >= 0):
        return  # no text stands twice, so nothing is masked
    if not config.mask_equal_texts:
        _tell_unmasked(rows, anchors, positives)
        return
    taken = taken_out(anchors, positives, candidates)
    alone = np.flatnonzero(taken == 1)
    if len(alone) == len(rows):
        raise InputError(
            f"{rows.where(0)}: every text of {rows.source} is a positive of every anchor, by equal "
            "texts and by the rows that pair them, so no negatives are left; give rows of several "
            "meanings"
        )
    if not is_main():
        return
    _tell_own_negatives(rows, anchors, positives, negatives)
    if len(alone):
        logger.warning(
            "%s: %d rows teach nothing, for all texts are positives of their anchor",
            *(rows.where(int(alone[0])), len(alone)),
        )
    elif taken.mean() > 0.5:
        most = int(np.bincount(positives[positives >= 0]).argmax())
        row = int(np.flatnonzero((anchors == most) | (positives == most))[0])
        logger.warning(
            "%s: %.0f %% of the candidates in a batch are no negatives of an anchor, for their "
            "texts are equal or positives of it; %r alone stands in %d rows",
            *(rows.where(row), 100 * taken.mean(), _text_of(rows, numbers, most)[:60]),
            int((positives == most).sum()),
        )


def _tell_own_negatives(
    rows: Rows, anchors: np.ndarray, positives: np.ndarray, negatives: Sequence[np.ndarray]
) -> None:
    """Say how many hard negatives are the text of their own anchor or positive."""
    own = [(each >= 0) & ((each == anchors) | (each == positives)) for each in negatives]
    found = np.flatnonzero(np.any(own, axis=0)) if own else np.array([], np.int64)
    if len(found):
        logger.warning(
            "%s: %d rows have a hard negative that is their own anchor or positive; it is taken "
            "for no negative, so it teaches nothing",
            *(rows.where(int(found[0])), len(found)),
        )


def _tell_unmasked(rows: Rows, anchors: np.ndarray, positives: np.ndarray) -> None:
    """Say how many positives are taken for negatives, as the published code takes them."""
    texts = 1 + int(max(anchors.max(), positives.max()))
    links = linked_texts(anchors, positives, texts)
    if len(links) and is_main():
        logger.warning(
            "%s: %s, each of which counts as a negative beside another (mask_equal_texts=false)",
            *(rows.source, told_links(links, texts)),
        )


def taken_out(anchors: np.ndarray, positives: np.ndarray, candidates: np.ndarray) -> np.ndarray:
    """The share of all candidates that are no negatives of each row, float64 ``(N,)``.

    Args:
        anchors, positives: int64 ``(N,)``: the numbers of each row's texts.
        candidates: int64 ``(M,)``: the numbers of all positives and hard negatives.
    """
    texts = 1 + int(max(anchors.max(), candidates.max()))
    counts = np.bincount(candidates, minlength=texts)
    if anchors is positives and candidates is positives:  # of texts: each takes out its equals
        return np.asarray(counts[anchors] / len(candidates))
    pairs = [anchors * texts + positives, positives * texts + anchors, anchors * texts + anchors]
    first, second = np.divmod(np.unique(np.concatenate(pairs)), texts)
    taken = np.bincount(first, weights=counts[second], minlength=texts)
    return np.asarray(taken[anchors] / len(candidates))


def tell_cut(
    texts: Sequence[str], store: TokenStore, tokenizer: Any, max_length: int, limit: int | None
) -> None:
    """Log the share of the texts that are cut; where it is over half, warn and name a length.

    Args:
        texts: those of the store, in order; empty ones do not count.
        store: their tokens, cut.
        tokenizer: what made them.
        limit: tokens the encoder can take; None without a limit.
    """
    if isinstance(texts, JoinedTexts):
        there = texts.filled()
    else:
        there = np.fromiter(map(bool, texts), dtype=bool, count=len(texts))
    full = np.flatnonzero(there & (store.lengths >= max_length))
    if not len(full):
        logger.info("no text is cut: all have %d tokens (max_length) or fewer", max_length)
        return
    sample = full
    if len(full) > _SAMPLE:
        sample = np.random.default_rng(0).choice(full, _SAMPLE, replace=False)
    # as long as they would be; the tokenizer's own limit is only about warnings
    whole = TokenStore.build([texts[place] for place in sample.tolist()], tokenizer, _UNCUT).lengths
    cut = (whole > max_length).mean() * len(full) / there.sum()
    about = "" if len(sample) == len(full) else "about "
    said = f"{about}{_percent(cut)} of the texts are cut at {max_length} tokens (max_length)"
    if cut <= 0.5:
        logger.info(said)
        return
    if limit is not None and limit <= max_length:
        logger.warning("%s, and the encoder takes no more; split them, or take another", said)
        return
    shorter = store.lengths[there & (store.lengths < max_length)]
    weights = np.concatenate([np.ones(len(shorter)), np.full(len(whole), len(full) / len(whole))])
    wanted = _quantile(np.concatenate([shorter, whole]), weights, _WHOLE)
    length = min(-(-wanted // _STEP) * _STEP, limit or _UNCUT)
    fits = (np.concatenate([shorter, whole]) <= length) @ weights / weights.sum()
    logger.warning("%s; max_length=%d leaves %s of them whole", said, length, _percent(fits))


def _quantile(values: np.ndarray, weights: np.ndarray, share: float) -> int:
    """The least value that so much of the weight does not exceed."""
    order = np.argsort(values)
    reached = np.cumsum(weights[order]) / weights.sum()
    return int(values[order[np.searchsorted(reached, share - 1e-9)]])


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %" if share >= 0.01 else f"{100 * share:.2g} %"


def _text_of(rows: Rows, numbers: np.ndarray, number: int) -> str:
    """The text of a number, where it stands first."""
    return rows.texts()[int(np.argmax(numbers == number))]
