"""What of a text is compared: its letters and digits, whatever their script."""

from __future__ import annotations

import re
import unicodedata

import regex

_ASCII_WORD = re.compile(r"[^\W_]+")
# Written without blanks between words, so that each character stands for itself, its marks with it.
_UNSPACED = "".join(
    rf"\p{{scx={script}}}"
    for script in ("Han", "Hiragana", "Katakana", "Thai", "Lao", "Khmer", "Myanmar")
)
_LETTER = r"[\p{L}\p{N}]"
_WORD = regex.compile(
    rf"[{_LETTER}&&[{_UNSPACED}]]\p{{M}}*"
    rf"|[{_LETTER}--[{_UNSPACED}]][[\p{{L}}\p{{N}}\p{{M}}]--[{_UNSPACED}]]*",
    regex.V1,
)
# Soft hyphens, zero-width blanks and joiners, direction marks: not seen, and lost in any copy.
_INVISIBLE = regex.compile(r"\p{Cf}+")


def folded_words(text: str) -> list[str]:
    """The runs of letters and digits of a text, NFKC-normalised and case-folded.

    Marks (vowel signs, accents that have no letter of their own) belong to the letter before them.
    Scripts without blanks between words (Chinese, Japanese, Thai, Lao, Khmer, Burmese) give a word
    for each character. Characters that are not seen are no part of the text.
    """
    if text.isascii():
        return _ASCII_WORD.findall(text.casefold())
    text = unicodedata.normalize("NFKC", _INVISIBLE.sub("", text))
    # folding can undo a composition, and composing again can leave a letter to fold: ΐ, ᾳ, …
    return list(_WORD.findall(unicodedata.normalize("NFKC", text.casefold())))


def exact_text(text: str) -> str:
    """The text with single spaces for runs of white space."""
    return " ".join(text.split())
