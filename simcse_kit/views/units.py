"""Texts as units that stay together: a word with all its tokens, or one special token.

What views share: they choose among words, put units into another order, leave some out or give
some other tokens, and have the texts put together again.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np

from simcse_kit.views.view import mixed
from simcse_kit.views.vocabulary import Vocabulary


@dataclass(frozen=True)
class Units:
    """U units of B texts, in their order; W of them are words.

    Attributes:
        ids: int ``(T,)``: tokens of the units.
        starts: int64 ``(U,)``: where in `ids` a unit's tokens start.
        sizes: int64 ``(U,)``: how many there are.
        text: int64 ``(U,)``: which text a unit is of.
        words: int64 ``(W,)``: which units are words, increasing.
        counts: int64 ``(B,)``: words of each text.
        given: bool ``(U,)``: units whose tokens were put there by a view, as within a text.
        vocabulary: of the tokens.
    """

    ids: np.ndarray
    starts: np.ndarray
    sizes: np.ndarray
    text: np.ndarray
    words: np.ndarray
    counts: np.ndarray
    given: np.ndarray
    vocabulary: Vocabulary

    @classmethod
    def of(cls, ids: np.ndarray, lengths: np.ndarray, vocabulary: Vocabulary) -> Units:
        """The units of texts that lie end to end: ids ``(sum(lengths),)``, lengths ``(B,)``."""
        special = vocabulary.special[ids]
        begins = ~vocabulary.continues[ids]
        begins[1:] |= special[:-1] | vocabulary.ends[ids[:-1]]
        begins[1:] &= ~vocabulary.opens[ids[:-1]]
        begins |= special
        begins[np.cumsum(lengths) - lengths] = True
        starts = np.flatnonzero(begins)
        text = np.repeat(np.arange(len(lengths)), lengths)[starts]
        words = np.flatnonzero(~special[starts])
        return cls(
            ids=ids,
            starts=starts,
            sizes=np.diff(starts, append=len(ids)),
            text=text,
            words=words,
            counts=np.bincount(text[words], minlength=len(lengths)),
            given=np.zeros(len(starts), dtype=bool),
            vocabulary=vocabulary,
        )

    @cached_property
    def places(self) -> np.ndarray:
        """int64 ``(W,)``: each word's place among the words of its text, from 0."""
        return _places(self.counts)

    def per_word(self, values: np.ndarray) -> np.ndarray:
        """A value a text ``(B,)`` as one a word ``(W,)``."""
        return np.repeat(values, self.counts)

    def lowest(self, draws: np.ndarray, many: np.ndarray) -> np.ndarray:
        """bool ``(W,)``: in each text the ``many[text]`` words with the lowest `draws` ``(W,)``."""
        return lowest(draws, self.counts, many)

    @cached_property
    def spellings(self) -> np.ndarray:
        """uint64 ``(W,)``: a number for each word's tokens: equal where these are.

        Different words share one with probability 2⁻⁶⁴.
        """
        if not len(self.words):
            return np.empty(0, dtype=np.uint64)
        sizes = self.sizes[self.words]
        inside = _places(sizes)
        tokens = self.ids[inside + np.repeat(self.starts[self.words], sizes)]
        numbers = mixed(mixed(tokens.astype(np.uint64)) + inside.astype(np.uint64))
        return np.add.reduceat(numbers, np.cumsum(sizes) - sizes)

    def tokens(self, units: np.ndarray) -> list[list[int]]:
        """The token ids of some units, each a list."""
        bounds = zip(self.starts[units], self.starts[units] + self.sizes[units], strict=True)
        return [self.ids[start:end].tolist() for start, end in bounds]

    def with_tokens(self, units: np.ndarray, contents: list[np.ndarray]) -> Units:
        """Other tokens in some units: `contents` for each, as within a text, none empty."""
        sizes = np.array([len(each) for each in contents], dtype=np.int64)
        all_sizes, all_starts, given = self.sizes.copy(), self.starts.copy(), self.given.copy()
        all_sizes[units], given[units] = sizes, True
        all_starts[units] = len(self.ids) + np.cumsum(sizes) - sizes
        ids = np.concatenate([self.ids, *contents]).astype(self.ids.dtype)
        return replace(self, ids=ids, sizes=all_sizes, starts=all_starts, given=given)

    def kept(self, words: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The texts with some of their words alone: bool ``(W,)``."""
        stays = np.ones(len(self.starts), dtype=bool)
        stays[self.words] = words
        return self.joined(np.flatnonzero(stays))

    def joined(self, order: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Texts again, of the units `order`, those of a text together and the texts in turn.

        A word that has moved is written as its new neighbour on the left asks for: with the mark
        of a space, or without, where the tokenizer writes the first word of a text so.

        Returns:
            ids int ``(sum(lengths),)`` and lengths int64 ``(B,)``.
        """
        sizes, text = self.sizes[order], self.text[order]
        begins = np.cumsum(sizes) - sizes
        ids = self.ids[_places(sizes) + np.repeat(self.starts[order], sizes)]
        self._space(ids, begins, order)
        lengths = np.bincount(text, weights=sizes, minlength=len(self.counts))
        return ids, lengths.astype(np.int64)

    def _space(self, ids: np.ndarray, begins: np.ndarray, order: np.ndarray) -> None:
        """Write the first tokens of units, at `begins` of `ids`, as their place asks for."""
        known, text = self.vocabulary, self.text[order]
        is_word = np.zeros(len(self.starts), dtype=bool)
        is_word[self.words] = True
        words = np.flatnonzero(is_word[order])  # where in the order words stand
        units, begins = order[words], begins[words]
        moved = self.given[units] | (np.diff(order, prepend=-2)[words] != 1)
        was_first = np.zeros(len(self.starts), dtype=bool)
        was_first[self.words[self.places == 0]] = True
        now_first = np.diff(text[words], prepend=-1) != 0
        new_first = begins[now_first & (self.given | ~was_first)[units]]
        ids[new_first] = known.first[ids[new_first]]
        left = ids[np.maximum(begins, 1) - 1]
        beside = np.diff(text, prepend=-1)[words] == 0  # another unit of the text, on the left
        glued = moved & beside & ~known.special[left] & ~known.ends[left]
        glued &= known.continues[ids[begins]]
        ids[begins[glued]] = known.within[ids[begins[glued]]]


def _places(counts: np.ndarray) -> np.ndarray:
    """``0 … counts[0] − 1, 0 … counts[1] − 1, …``."""
    return np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)


def lowest(draws: np.ndarray, counts: np.ndarray, many: np.ndarray) -> np.ndarray:
    """bool ``(N,)``: of each of B groups in turn the ``many[b]`` with the lowest `draws`.

    That many drawn without replacement, if draws are uniform.

    Args:
        draws: ``(N,)``.
        counts: int64 ``(B,)``: how large each group is, N in all.
        many: int ``(B,)``.
    """
    order = np.lexsort((draws, np.repeat(np.arange(len(counts)), counts)))
    chosen = np.empty(len(draws), dtype=bool)
    chosen[order] = _places(counts) < np.repeat(many, counts)
    return chosen


def share(rate: float, counts: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """int64 ``(B,)``: that share of each count, rounded up or down so that it is so on average.

    ``⌊rate · counts + draws⌋`` with uniform draws: a tenth of seven words is no word or one.
    """
    return np.floor(rate * counts + draws).astype(np.int64)


def cut(
    ids: np.ndarray, lengths: np.ndarray, limits: np.ndarray, vocabulary: Vocabulary
) -> tuple[np.ndarray, np.ndarray]:
    """Texts of at most `limits` ``(B,)`` tokens: the last that are not special go, but for one."""
    excess = np.maximum(lengths - limits, 0)
    if not excess.any():
        return ids, lengths
    text = np.repeat(np.arange(len(lengths)), lengths)
    ordinary = ~vocabulary.special[ids]
    counts = np.bincount(text[ordinary], minlength=len(lengths))
    stay = np.minimum(counts, np.maximum(counts - excess, 1))
    keep = ~ordinary
    keep[ordinary] = _places(counts) < np.repeat(stay, counts)
    return ids[keep], np.bincount(text[keep], minlength=len(lengths))
