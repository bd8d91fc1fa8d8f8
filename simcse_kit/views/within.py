"""Views of what stands in a prompt: they change the text alone.

A prompt's tokens are those of the text's, and to a view they would be words like others: some texts
would be embedded without their prompt, or with half of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from simcse_kit.views.view import Draws, View
from simcse_kit.views.vocabulary import Vocabulary

#: Texts that begin and end differently in about any vocabulary.
_UNLIKE = ("a", "e", "1", "2", "?", "\u6587", "\u043f")


@dataclass(frozen=True)
class Frame:
    """What stands around every text: tokens before and behind it, special ones included.

    Attributes:
        before, after: int, in the order in which they stand.
        opening, closing: how many special tokens `before` begins with, and `after` ends with; views
            see them.
    """

    before: np.ndarray
    after: np.ndarray
    opening: int
    closing: int

    @property
    def added(self) -> int:
        """Tokens that are neither a text's nor the special ones at its ends."""
        return len(self.before) - self.opening + len(self.after) - self.closing

    def known_to(self, vocabulary: Vocabulary) -> Vocabulary:
        """What views know of the tokens, of texts that stand within this."""
        begins = len(self.before) == self.opening
        return replace(
            vocabulary,
            max_length=vocabulary.max_length - self.added,
            room=None if vocabulary.room is None else vocabulary.room - self.added,
            # what follows a prompt does not begin a text
            first=vocabulary.first if begins else np.arange(len(vocabulary.first)),
        )


def frame_of(
    tokenise: Callable[[list[str]], Sequence[Sequence[int]]], prompt: str, vocabulary: Vocabulary
) -> Frame:
    """The frame of texts behind a prompt, read off what a tokenizer makes of some.

    Args:
        tokenise: gives the token ids of texts, special ones included.
        vocabulary: of those tokens.
    """
    rows = [np.array(row) for row in tokenise([prompt + text for text in _UNLIKE])]
    before = rows[0][: min(_alike(rows[0], row) for row in rows)]
    # the mark of a space is the next word's
    before = before[: len(before) - _leading(vocabulary.opens[before][::-1])]
    backwards = [row[::-1] for row in rows]
    many = min(_alike(backwards[0], row) for row in backwards)
    after = rows[0][len(rows[0]) - min(many, len(rows[0]) - len(before)) :]
    opening, closing = (_leading(vocabulary.special[each]) for each in (before, after[::-1]))
    return Frame(before, after, opening, closing)


def _alike(one: np.ndarray, other: np.ndarray) -> int:
    """With how many equal tokens two texts begin."""
    count = min(len(one), len(other))
    return _leading(one[:count] == other[:count])


def _leading(where: np.ndarray) -> int:
    """How many are True before the first that is not."""
    return len(where) if where.all() else int(np.argmin(where))


class Within(View):
    """A view of what stands within a frame, whose tokens stay and are not cut off.

    What is cut off of features is so in all tokens, in these too (`FeatureCutoff`).

    Args:
        view: built with `Frame.known_to` of the vocabulary.
    """

    IS_BASE = True  # no part: it has no settings

    def __init__(self, view: View, frame: Frame) -> None:
        super().__init__(view.context)
        self.view, self.frame = view, frame

    def __call__(
        self, ids: np.ndarray, lengths: np.ndarray, draws: Draws
    ) -> tuple[np.ndarray, np.ndarray]:
        framed = self._framed(ids, lengths)
        inner, many = self.view(ids[~framed], _counts(~framed, lengths), draws)
        # a token's place in its text: opening, before, the text's own, after, closing
        inside = _places(many)
        slots = np.where(inside < self.frame.opening, 0, 2)
        slots[np.repeat(many, many) - inside <= self.frame.closing] = 4
        again = np.where(self._before(ids, lengths), 1, 3)[framed]
        texts = [np.repeat(np.arange(len(many)), each) for each in (many, _counts(framed, lengths))]
        order = np.lexsort((np.concatenate([slots, again]), np.concatenate(texts)))
        whole = np.concatenate([inner, ids[framed].astype(inner.dtype)])[order]
        return whole, many + _counts(framed, lengths)

    @property
    def cuts(self) -> bool:
        return self.view.cuts

    def kept_tokens(self, ids: np.ndarray, lengths: np.ndarray, draws: Draws) -> np.ndarray | None:
        framed = self._framed(ids, lengths)
        kept = self.view.kept_tokens(ids[~framed], _counts(~framed, lengths), draws)
        if kept is None:
            return None
        whole = np.ones(len(ids), dtype=bool)
        whole[~framed] = kept
        return whole

    def kept_features(self, draws: Draws) -> np.ndarray | None:
        return self.view.kept_features(draws)

    def _framed(self, ids: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        """bool ``(sum(lengths),)``: the frame's tokens, but for the special ones at the ends."""
        return self._before(ids, lengths) | self._after(ids, lengths)

    def _before(self, ids: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        many = _matching(ids, np.cumsum(lengths) - lengths, lengths, self.frame.before, 1)
        places = _places(lengths)
        return (places >= self.frame.opening) & (places < np.repeat(many, lengths))

    def _after(self, ids: np.ndarray, lengths: np.ndarray) -> np.ndarray:
        many = _matching(ids, np.cumsum(lengths) - 1, lengths, self.frame.after[::-1], -1)
        places = np.repeat(lengths, lengths) - 1 - _places(lengths)  # from the end
        return (
            (places >= self.frame.closing)
            & (places < np.repeat(many, lengths))
            & ~self._before(ids, lengths)
        )


def _matching(
    ids: np.ndarray, starts: np.ndarray, lengths: np.ndarray, frame: np.ndarray, step: int
) -> np.ndarray:
    """int64 ``(B,)``: with how many of the frame's tokens each text begins, from `starts` on.

    A text may be cut within its prompt, or melt its first letters with the prompt's last token.
    """
    many, goes_on = np.zeros_like(lengths), np.ones(len(lengths), dtype=bool)
    for place, token in enumerate(frame.tolist()):
        at = np.where(place < lengths, starts + step * place, starts)
        goes_on &= (place < lengths) & (ids[at] == token)
        many += goes_on
    return many


def _places(lengths: np.ndarray) -> np.ndarray:
    """``0 … lengths[0] − 1, 0 … lengths[1] − 1, …``."""
    return np.arange(lengths.sum()) - np.repeat(np.cumsum(lengths) - lengths, lengths)


def _counts(where: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """How many are True in each text, int64 ``(B,)``."""
    text = np.repeat(np.arange(len(lengths)), lengths)
    return np.bincount(text[where], minlength=len(lengths)).astype(np.int64)
