"""Where the sentences of a document end: prose, docstrings, Markdown, and scripts without blanks.

By punctuation and lines alone, which is right for most languages that end sentences by a mark. What
has no such marks (Thai, lists of keywords) stays one sentence, and is counted.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import regex

#: Words from which a text without one end of a sentence is told of.
LONG = 60

_FENCE = regex.compile(  # code in a line, which may begin it, has its end there
    r"^[ \t]*(`{3,}|~{3,})[^`\n]*$.*?^[ \t]*\1[^\n]*$", regex.MULTILINE | regex.DOTALL
)
#: Lines that are no prose: rules and underlines, tables, doctests, directives.
_NO_PROSE = regex.compile(r"\s*([-=~^*_+#:.|]{3,}\s*$|[|+].*[|+]\s*$|>>>|\.\.\. |\.\. )")
_HEADING = regex.compile(r"\s{0,3}#{1,6}\s+(.*?)\s*#*\s*$")
_ITEM = regex.compile(r"\s*(?:[-*+•‣]|\d{1,3}[.)])\s+(?=\S)")

_ENDS = r"[.!?…‽؟؛۔।॥։።។။]"  # of sentences that a blank follows
_WIDE_ENDS = r"[。！？｡．]"  # of those that nothing need follow
_CLOSING = r"[\p{Pe}\p{Pf}\"'”’»]"
_OPENING = r"[\p{Ps}\p{Pi}\"'“‘«¿¡*`]"
_SHORTENED = (
    *("e.g", "i.e", "cf", "vs", "etc", "al", "approx", "resp", "incl", "no", "nos", "vol", "fig"),
    *("figs", "eq", "eqs", "sec", "ch", "pp", "ed", "eds", "mr", "mrs", "ms", "dr", "prof", "st"),
    *(
        "jr",
        "sr",
        "inc",
        "ltd",
        "co",
        "corp",
        "dept",
        "est",
        "z.b",
        "d.h",
        "bzw",
        "ca",
        "nr",
        "u.a",
    ),
)
_NOT_AFTER = "".join(rf"(?<!\b(?i:{regex.escape(each)})\.)" for each in _SHORTENED)
_BOUNDARY = regex.compile(
    # an end, what closes behind it, and a blank before what may begin a sentence
    rf"(?:(?<={_ENDS}{_CLOSING}{{0,2}}){_NOT_AFTER}(?<!(?:^|[\s(.])\p{{Lu}}\.)\s+"
    rf"(?={_OPENING}{{0,2}}[\p{{Lu}}\p{{Lt}}\p{{Lo}}\p{{N}}]))"
    rf"|(?<={_WIDE_ENDS}{_CLOSING}{{0,2}})\s*(?!{_WIDE_ENDS}|{_CLOSING}|と|って|$)"
)
_NO_BLANKS = r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}]"
_LETTER = regex.compile(r"[\p{L}\p{M}]")  # many scripts write vowels as marks
_WORD = regex.compile(rf"({_NO_BLANKS})|(?:(?!{_NO_BLANKS})[\p{{L}}\p{{M}}\p{{N}}])+")
_JOINED = regex.compile(rf"(?<={_NO_BLANKS}|[。！？、，])\n(?={_NO_BLANKS})")
_ENDED = regex.compile(rf"(?:{_ENDS}|{_WIDE_ENDS}|[:;]){_CLOSING}{{0,2}}$")


@dataclass(frozen=True)
class Document:
    """A document's prose: paragraphs of sentences, in order; none of them empty."""

    paragraphs: tuple[tuple[str, ...], ...]

    @cached_property
    def sentences(self) -> tuple[str, ...]:
        """All of them, in order."""
        return tuple(each for paragraph in self.paragraphs for each in paragraph)

    @property
    def unsplit(self) -> bool:
        """Whether a long text has no end of a sentence that is known here."""
        return len(self.sentences) == 1 and words_of(self.sentences[0]) >= LONG


def document_of(text: str) -> Document:
    """Split a text into paragraphs and sentences.

    Paragraphs are parted by blank lines; a heading and an item of a list is each its own. A line
    break goes on with the sentence, unless the line ends one, or is so short that nothing wrapped
    it (a title). Code between fences, doctests, tables and rules are left out, and so are
    paragraphs that hold more signs than letters.
    """
    text = _FENCE.sub("\n", text.replace("\r\n", "\n").replace("\r", "\n"))
    longest = max((len(line.rstrip()) for line in text.split("\n")), default=0)
    paragraphs = []
    for block in _blocks(text):
        sentences = tuple(one for line in _unwrapped(block, longest) for one in sentences_of(line))
        if sentences:
            paragraphs.append(sentences)
    return Document(tuple(paragraphs))


def sentences_of(text: str) -> list[str]:
    """The sentences of a paragraph, each on one line, in order; [] for one that is no prose."""
    line = " ".join(text.split())
    letters = len(_LETTER.findall(line))
    if not letters or 2 * letters < len(line.replace(" ", "")):
        return []
    return [one for each in _BOUNDARY.split(line) if (one := each.strip())]


def words_of(text: str) -> int:
    """How many words a text has; of scripts without blanks two characters are one."""
    found = [match[1] is not None for match in _WORD.finditer(text)]
    wide = sum(found)
    return len(found) - wide + (wide + 1) // 2


def up_to(sentences: tuple[str, ...], most: int) -> str:
    """Whole sentences from the first on, of so many words together; the first whatever it has."""
    kept, words = [sentences[0]], words_of(sentences[0])
    for each in sentences[1:]:
        words += words_of(each)
        if words > most:
            break
        kept.append(each)
    return joined(kept)


def joined(sentences: list[str] | tuple[str, ...]) -> str:
    """Sentences as a text: with blanks, but behind ends of sentences that need none."""
    text = sentences[0]
    for each in sentences[1:]:
        text += each if regex.search(rf"{_WIDE_ENDS}{_CLOSING}*$", text) else f" {each}"
    return text


def _blocks(text: str) -> list[list[str]]:
    """The lines of each paragraph, heading and item of a list."""
    blocks: list[list[str]] = [[]]
    for line in text.split("\n"):
        if not line.strip() or _NO_PROSE.match(line):
            blocks.append([])
        elif heading := _HEADING.match(line):
            blocks += [[heading[1]], []]
        elif item := _ITEM.match(line):
            blocks.append([line[item.end() :]])
        else:
            blocks[-1].append(line)
    return [block for block in blocks if block]


def _unwrapped(lines: list[str], longest: int) -> list[str]:
    """Lines as they were before they were wrapped, where that can be told."""
    told = [[lines[0].strip()]]
    for before, line in pairwise(lines):
        wrapped = 3 * len(before.rstrip()) >= 2 * longest and not _ENDED.search(before.rstrip())
        begun = line.strip()
        if wrapped or begun[:1].islower():
            told[-1].append(begun)
        else:
            told.append([begun])
    return [_JOINED.sub("", "\n".join(each)).replace("\n", " ") for each in told]
