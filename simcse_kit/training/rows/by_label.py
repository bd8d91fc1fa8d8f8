"""The order of labelled rows in which every batch has several rows of each of its labels."""

from __future__ import annotations

import logging
from collections import Counter, deque
from collections.abc import Iterator, MutableSequence
from itertools import islice

import numpy as np

from simcse_kit.data import Rows
from simcse_kit.errors import InputError
from simcse_kit.training.distributed import is_main
from simcse_kit.training.rows.sampling import ByEpoch

#: Groups looked at for the gap that is left in a batch.
_LOOK = 50
#: Share of the rows that may be alone with their label without a word.
_FEW = 0.1

logger = logging.getLogger(__name__)


class ByLabel(ByEpoch):
    """Rows in random order, in batches of ``batch_size / samples_per_label`` labels.

    Each label of a batch has `samples_per_label` rows in it, side by side, but:

    - what a label has fewer rows, or has left of them at last, is a smaller group, taken whole
      beside others; only the group that fills a batch may be cut.
    - where a label has more groups than there are batches, or labels are fewer than a batch has
      room for, groups of one label share a batch, spread evenly over all batches.

    Every epoch has every row once; what is no full batch comes last: groups drawn at random, for
    training leaves them out.

    Args:
        labels: int ``(rows,)``, equal for equal labels.
        batch_size: rows a batch, of all ranks together; a multiple of `samples_per_label`.
        samples_per_label: K.
        seed: of all epochs.
    """

    def __init__(
        self, labels: np.ndarray, batch_size: int, samples_per_label: int, seed: int
    ) -> None:
        super().__init__(seed)
        if batch_size % samples_per_label:
            raise ValueError(f"batches of {batch_size} do not hold groups of {samples_per_label}")
        self.labels = labels
        self.batch_size = batch_size
        self.samples_per_label = samples_per_label
        order = np.argsort(labels, kind="stable")
        self._classes = np.split(order, np.flatnonzero(np.diff(labels[order])) + 1)

    def __len__(self) -> int:
        return len(self.labels)

    def __iter__(self) -> Iterator[int]:
        generator = self.draw()
        full, small = self._groups(generator)
        last = self._left_over(full, small, generator)
        batches = self._dealt(full)
        self._fill(batches, small)
        for place in generator.permutation(len(batches)).tolist():
            yield from batches[place]
        yield from last

    def one_label_batches(self) -> tuple[int, int]:
        """Full batches of this epoch that hold one label alone, and all full ones."""
        whole = len(self.labels) // self.batch_size
        rows = np.array([*self], dtype=np.int64)[: whole * self.batch_size]
        labels = self.labels[rows].reshape(whole, self.batch_size)
        return int((labels == labels[:, :1]).all(axis=1).sum()), whole

    def _groups(self, generator: np.random.Generator) -> tuple[list[list[int]], deque[list[int]]]:
        """Groups of K rows of a label, those of one behind each other; and smaller ones."""
        k = self.samples_per_label
        full: list[list[int]] = []
        small: list[list[int]] = []
        for place in generator.permutation(len(self._classes)).tolist():
            rows = generator.permutation(self._classes[place]).tolist()
            groups = [rows[at : at + k] for at in range(0, len(rows), k)]
            small += [groups.pop()] if len(groups[-1]) < k else []
            full += groups
        return full, deque(small[place] for place in generator.permutation(len(small)))

    def _left_over(
        self, full: list[list[int]], small: deque[list[int]], generator: np.random.Generator
    ) -> list[int]:
        """Take the rows that fill no batch out of the groups, any group as likely as another."""
        left: list[int] = []
        rest = len(self.labels) % self.batch_size
        while room := rest - len(left):
            place = int(generator.integers(len(full) + len(small)))
            groups: MutableSequence[list[int]] = full
            if place >= len(full):
                place, groups = place - len(full), small
            group = groups[place]
            del groups[place]
            left += group[:room]
            if group[room:]:  # it is cut
                small.append(group[room:])
        return left

    def _dealt(self, groups: list[list[int]]) -> list[list[int]]:
        """Batches with the groups dealt round: those of one label come to different ones."""
        batches: list[list[int]] = [[] for _ in range(len(self.labels) // self.batch_size)]
        coming = iter(groups)
        for _ in range(self.batch_size // self.samples_per_label):
            for batch, group in zip(batches, coming, strict=False):
                batch += group
        return batches

    def _fill(self, batches: list[list[int]], small: deque[list[int]]) -> None:
        """Fill batches up with smaller groups, of labels that they have not, where that can be."""
        for batch in batches:
            labels = set(self.labels[batch].tolist())
            while room := self.batch_size - len(batch):
                place = self._fitting(small, room, labels)
                group = small[place]
                del small[place]
                if group[room:]:  # it is cut
                    small.appendleft(group[room:])
                batch += group[:room]
                labels.add(int(self.labels[group[0]]))

    def _fitting(self, small: deque[list[int]], room: int, labels: set[int]) -> int:
        """Which group comes next: one that leaves room for groups of K, or else the largest."""
        gap = room % self.samples_per_label or self.samples_per_label
        best, fits = 0, 0
        for place, group in enumerate(islice(small, _LOOK)):
            if len(group) > room or int(self.labels[group[0]]) in labels:
                continue
            if len(group) == gap or room > gap == self.samples_per_label:
                return place
            fit = 2 * len(group) if len(group) < gap else 1
            if fit > fits:
                best, fits = place, fit
        return best


def tell_one_label_batches(order: ByLabel, source: str) -> None:
    """Warn where many batches hold one label alone, which then is told from nothing."""
    alone, whole = order.one_label_batches()
    if alone > _FEW * whole and is_main():
        logger.warning(
            "%s: %d of %d batches of an epoch hold one label alone, which nothing is told from: "
            "one label has most rows; take a smaller samples_per_label, which spreads the others",
            *(source, alone, whole),
        )


def check_labels(rows: Rows, batch_size: int, samples_per_label: int | None = None) -> None:
    """See that the rows have labels to learn from; warn where many are alone with theirs.

    Args:
        batch_size: rows a batch, of all ranks together.
        samples_per_label: K where batches are made of groups of K rows a label (`ByLabel`); None:
            they are made in another way.

    Raises:
        InputError: the rows have no labels, all one, or no two labels with two rows each; their
            texts are all one; or batches do not hold two labels of K rows each.
    """
    if rows.labels is None:
        raise InputError(
            f"{rows.source}: labels are asked for, and {rows.kind} rows have none; give the "
            "columns text and label"
        )
    counts = np.array(list(Counter(rows.labels).values()))
    if len(counts) == 1:
        raise InputError(
            f"{rows.where(0)}: {rows.labels[0]!r:.60} is the label of all {len(rows)} rows, so "
            "there is nothing to tell apart; give rows of several labels"
        )
    texts = rows.texts()
    if all(text == texts[0] for text in texts):
        raise InputError(
            f"{rows.where(0)}: {texts[0]!r:.60} is the text of all {len(rows)} rows, so there is "
            "nothing to tell apart; give texts that differ"
        )
    if np.count_nonzero(counts > 1) < 2:
        raise InputError(
            f"{rows.source}: of {len(counts)} labels {np.count_nonzero(counts > 1)} have two rows "
            "or more, and what labels teach is that texts of one are alike; check the label column"
        )
    if samples_per_label is not None:
        _check_groups(batch_size, samples_per_label)
    _tell_alone(rows, counts)


def _check_groups(batch_size: int, samples_per_label: int) -> None:
    if batch_size % samples_per_label:
        raise InputError(
            f"a batch of {batch_size} rows is no multiple of samples_per_label "
            f"{samples_per_label}, of which batch_sampler group_by_label makes it; change one"
        )
    if batch_size < 2 * samples_per_label:
        raise InputError(
            f"samples_per_label {samples_per_label} fills a batch of {batch_size} rows with one "
            f"label, and there is nothing to tell it from; give {batch_size // 2} or fewer"
        )


def _tell_alone(rows: Rows, counts: np.ndarray) -> None:
    alone = int(np.count_nonzero(counts == 1))
    if alone > _FEW * len(rows) and is_main():
        logger.warning(
            "%s: %d of %d rows are the only one of their label, so that labels give them no "
            "positive; check the label column",
            *(rows.source, alone, len(rows)),
        )
