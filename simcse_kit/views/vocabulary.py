"""What views know of the tokens, and how it is read off a tokenizer."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Vocabulary:
    """What views know of the tokens: V of them.

    A token begins a word unless it `continues` one, and always after one that is special or
    `ends` its word, but never after one that `opens` one.

    Attributes:
        special: bool ``(V,)``: tokens that views leave alone ([CLS], [SEP], [MASK], …). The token
            for unknown words is a word like others.
        continues: bool ``(V,)``: tokens that go on with the word of the one before.
        ends: bool ``(V,)``: tokens after which another word begins, space or none: punctuation,
            and characters of scripts without spaces.
        opens: bool ``(V,)``: tokens that are no more than the space before a word.
        within: int64 ``(V,)``: the token that says the same after a space; itself if there is none.
        first: int64 ``(V,)``: the token that says the same at the beginning of a text.
        mask_id: of the mask token, or None.
        max_length: tokens that texts were cut to, special tokens included.
        room: tokens that the model has positions for, or None where that has no bound.
        words: gives the token ids of each of some words, as it stands within a text; none where
            the tokens cannot say it.
        texts: gives the text of each of some words, given as token ids; "" where they do not
            tell it.
    """

    special: np.ndarray
    continues: np.ndarray
    ends: np.ndarray
    opens: np.ndarray
    within: np.ndarray
    first: np.ndarray
    mask_id: int | None
    max_length: int
    room: int | None
    words: Callable[[list[str]], list[list[int]]]
    texts: Callable[[list[list[int]]], list[str]]


def vocabulary_of(tokenizer: Any, max_length: int, room: int | None = None) -> Vocabulary:
    """Read off a Hugging Face tokenizer what views have to know.

    Where words begin is told by the mark that most of its tokens bear: ``##`` (WordPiece), ``▁``
    (sentencepiece), ``Ġ`` (byte-level BPE), ``</w>`` or ``@@`` (other BPE); without one every
    token is a word. Whatever the mark, punctuation is a word of its own, and so is each token in
    a script without spaces (Chinese, Japanese, Thai, Lao, Khmer, Burmese).

    Args:
        tokenizer: stays as it is; words are spelt by a copy, made when a view first asks.
        max_length: tokens that texts are cut to.
        room: tokens that the model has positions for.
    """
    numbers: dict[str, int] = tokenizer.get_vocab()
    tokens = [""] * (max(numbers.values(), default=-1) + 1)
    for token, number in numbers.items():
        tokens[number] = token
    mark = _mark(tokens)
    special, unknown = _special_ids(tokenizer)
    continues, ends = _borders(tokens, mark)
    opens = np.array([_opens(token, mark) for token in tokens], dtype=bool)
    is_special = np.isin(np.arange(len(tokens)), sorted(special))
    spelling = _Spelling(tokenizer, mark, frozenset(special | unknown))
    within, first = _spaced(tokens, numbers, mark)
    return Vocabulary(
        special=is_special,
        continues=continues & ~is_special,
        ends=ends & ~is_special,
        opens=opens & ~is_special,
        within=within,
        first=first if spelling.first_is_bare else np.arange(len(tokens)),
        mask_id=_role(tokenizer, "mask"),
        max_length=max_length,
        room=room,
        words=spelling.words,
        texts=spelling.texts,
    )


_MARKS = ("##", "▁", "Ġ", "</w>", "@@")
_BEGINNING = ("▁", "Ġ")  # those that stand for the space before a word
_ENDING = ("</w>", "@@")
_BYTE = re.compile(r"<0x([0-9A-F]{2})>")


def _mark(tokens: list[str]) -> str | None:
    """The mark that most tokens bear; None where hardly any bears one."""
    lines = "\n" + "\n".join(tokens) + "\n"
    bearing = {
        mark: lines.count(f"{mark}\n" if mark in _ENDING else f"\n{mark}") for mark in _MARKS
    }
    most = max(bearing, key=lambda mark: bearing[mark])
    return most if bearing[most] > len(tokens) / 100 else None


def _special_ids(tokenizer: Any) -> tuple[set[int], set[int]]:
    """Tokens that are no words; and the one for unknown words, unless it has another role too."""
    roles = ("bos", "eos", "cls", "sep", "pad", "mask")
    named = {number for role in roles if (number := _role(tokenizer, role)) is not None}
    added = getattr(tokenizer, "added_tokens_decoder", {})
    marked = {number for number, token in added.items() if token.special}
    unknown = _role(tokenizer, "unk")
    unknowns = {unknown} - named if unknown is not None else set()
    return (named | marked | set(tokenizer.all_special_ids)) - unknowns, unknowns


def _role(tokenizer: Any, role: str) -> int | None:
    return getattr(tokenizer, f"{role}_token_id", None)


def _borders(tokens: list[str], mark: str | None) -> tuple[np.ndarray, np.ndarray]:
    """`Vocabulary.continues` and `Vocabulary.ends` of tokens with that mark."""
    import regex

    without_spaces = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
    # what begins a word wherever it stands; the surrogates are first bytes of Chinese or Japanese
    alone = regex.compile(rf"[\p{{P}}\p{{S}}]+$|(?!\p{{M}})[{without_spaces}\udce3-\udce9]")
    # what another word follows; after a Thai letter may come its vowel sign, so it is left out
    closing = regex.compile(r"[\p{P}\p{S}]+$|.*[\p{Han}\p{Hiragana}\p{Katakana}]$", regex.DOTALL)
    continues, ends = np.zeros(len(tokens), dtype=bool), np.zeros(len(tokens), dtype=bool)
    for number, token in enumerate(tokens):
        text, continues[number], ends[number] = _unmarked(token, mark)
        if text.isascii() and text.isalnum():
            continue
        if alone.match(text):
            continues[number] = False
        if closing.match(text):
            ends[number] = True
    return continues, ends


def _unmarked(token: str, mark: str | None) -> tuple[str, bool, bool]:
    """A token's text, whether its mark says that it continues a word, and that it ends one.

    Bytes that are no whole character stand there as Python's surrogates.
    """
    if byte := _BYTE.fullmatch(token):
        text = bytes([int(byte[1], 16)]).decode(errors="surrogateescape")
        return text, mark is not None, False
    if mark is None:
        return token, False, False
    if mark in _ENDING:
        return token.removesuffix(mark), True, token.endswith(mark) == (mark == "</w>")
    text, marked = token.removeprefix(mark), token.startswith(mark)
    if mark == "Ġ" and all(character in _BYTES for character in text):
        text = bytes(_BYTES[character] for character in text).decode(errors="surrogateescape")
    return text, marked == (mark == "##"), False


def _opens(token: str, mark: str | None) -> bool:
    """Whether a token is marks of a space alone."""
    return mark in _BEGINNING and token != "" and not token.strip(mark)


def _byte_characters() -> dict[str, int]:
    """Byte-level BPE's characters and the bytes they stand for (GPT-2's table).

    Printable characters of Latin-1 stand for themselves, the others follow from U+0100 on.
    """
    own = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in own]
    return {chr(byte): byte for byte in own} | {
        chr(0x100 + place): byte for place, byte in enumerate(others)
    }


_BYTES = _byte_characters()


def _spaced(
    tokens: list[str], numbers: dict[str, int], mark: str | None
) -> tuple[np.ndarray, np.ndarray]:
    """`Vocabulary.within`; and the token without the space of each."""
    within, bare = np.arange(len(tokens)), np.arange(len(tokens))
    if mark in _BEGINNING:
        for number, token in enumerate(tokens):
            spaced = numbers.get(f"{mark}{token}") if token else None
            if spaced is not None:
                within[number], bare[spaced] = spaced, number
    return within, bare


class _Spelling:
    """From words to token ids and back, by a tokenizer."""

    def __init__(self, tokenizer: Any, mark: str | None, untold: frozenset[int]) -> None:
        """`untold`: tokens that stand for no text."""
        self._tokenizer, self._mark, self._untold = tokenizer, mark, untold

    @cached_property
    def _own(self) -> Any:
        """A copy: a call of a tokenizer changes its truncation, and other threads use it too."""
        return copy.deepcopy(self._tokenizer)

    @cached_property
    def first_is_bare(self) -> bool:
        """Whether a text's first word is written without the mark of a space."""
        if self._mark not in _BEGINNING:
            return False
        backend: Any = getattr(self._tokenizer, "backend_tokenizer", None)
        if backend is None:
            tokens = self._tokenizer.tokenize("a")
        else:
            tokens = backend.encode("a", add_special_tokens=False).tokens
        return not tokens or not tokens[0].startswith(self._mark)

    def words(self, words: list[str]) -> list[list[int]]:
        """`Vocabulary.words`."""
        space = " " if self.first_is_bare else ""
        if not words:
            return []
        options = {"return_attention_mask": False, "return_token_type_ids": False}
        texts = [space + word for word in words]
        ids: list[list[int]] = self._own(texts, add_special_tokens=False, **options)["input_ids"]
        return [[] if self._untold.intersection(each) else each for each in ids]

    def texts(self, words: list[list[int]]) -> list[str]:
        """`Vocabulary.texts`."""
        return [self._text(word) for word in words]

    def _text(self, word: list[int]) -> str:
        if self._untold.intersection(word):
            return ""
        text: str = self._own.decode(word, clean_up_tokenization_spaces=False).strip()
        if self._mark == "##":
            text = text.removeprefix("##")
        return "" if "\ufffd" in text else text
