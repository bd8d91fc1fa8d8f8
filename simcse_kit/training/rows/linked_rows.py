"""The order of training rows that keeps those with linked texts out of one batch."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator
from itertools import chain, islice

import numpy as np

from simcse_kit.training.distributed import is_main
from simcse_kit.training.rows.sampling import ByEpoch

#: Waiting rows looked at for one batch, in batches: bounds the work where one text has most rows.
_LOOK = 100
#: Share of the rows that may be left over without a word.
_FEW = 0.1

logger = logging.getLogger(__name__)


class NoDuplicates(ByEpoch):
    """Rows in random order, such that no batch holds a text twice or two that a row pairs.

    The masks of `simcse_kit.objectives` take such candidates out of an anchor's sum; here they do
    not meet, so that every anchor keeps all its negatives. Rows that fit no batch any more, because
    what is left all shares a text, fill the last batches as they are: every epoch has every row.

    Args:
        texts: ``(rows, V)``, the numbers of each row's texts: anchor, positive, hard negatives;
            below 0 for a hard negative that the row lacks.
        batch_size: rows a batch, of all ranks together.
        seed: of all epochs.
    """

    def __init__(self, texts: np.ndarray, batch_size: int, seed: int) -> None:
        super().__init__(seed)
        self.own = [frozenset(text for text in row if text >= 0) for row in texts.tolist()]
        partners: dict[int, set[int]] = defaultdict(set)
        for anchor, positive, *_ in texts.tolist():
            partners[anchor].add(positive)
            partners[positive].add(anchor)
        self.partners = [partners[anchor] for anchor in texts[:, 0].tolist()]  # shared, not copied
        self.batch_size = batch_size
        self._told = False

    def __len__(self) -> int:
        return len(self.own)

    def __iter__(self) -> Iterator[int]:
        order = self.draw().permutation(len(self.own)).tolist()
        waiting: deque[int] = deque()  # rows that met a relative, the longest-waiting first
        coming = iter(order)
        while True:
            batch = self._batch(waiting, coming)
            if len(batch) < self.batch_size:
                self._tell(len(waiting))
                yield from [*batch, *waiting]
                return
            yield from batch

    def _tell(self, mixed: int) -> None:
        """Say once that many rows could not be kept apart."""
        if mixed <= _FEW * len(self.own) or self._told or not is_main():
            return
        self._told = True
        [(_, rows)] = Counter(chain.from_iterable(self.own)).most_common(1)
        logger.warning(
            "batch_sampler no_duplicates: %d of %d rows share texts with too many others to be "
            "kept apart, and make batches as they come; the commonest text stands in %d rows",
            *(mixed, len(self.own), rows),
        )

    def _batch(self, waiting: deque[int], coming: Iterable[int]) -> list[int]:
        """A batch of strangers; what had to wait stays in `waiting`."""
        batch: list[int] = []
        texts: set[int] = set()
        apart: set[int] = set()
        early = tuple(islice(waiting, _LOOK * self.batch_size))
        for source, again in ((early, True), (coming, False)):
            for row in source:
                own, partners = self.own[row], self.partners[row]
                if texts.isdisjoint(own) and texts.isdisjoint(partners) and apart.isdisjoint(own):
                    batch.append(row)
                    texts |= own
                    apart |= own
                    apart |= partners
                    if again:
                        waiting.remove(row)
                elif not again:
                    waiting.append(row)
                if len(batch) == self.batch_size:
                    return batch
        return batch
