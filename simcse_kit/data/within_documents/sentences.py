"""Where the sentences of a document end: prose, docstrings, Markdown, and scripts without blanks.

By punctuation and lines alone, which is right for most languages that end sentences by a mark. What
has no such marks (Thai, lists of keywords) stays one sentence, and is counted.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence, Set
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import regex

from simcse_kit.data.within_documents.markup import unmarked

#: A share of documents; what more of them have tells none from the others. Of a dozen or more.
COMMON = 0.25
ENOUGH = 12

#: Words from which a text without one end of a sentence is told of.
LONG = 60

_FENCE = regex.compile(r"[ \t]*(`{3,}|~{3,})([^`\n]*)$")  # code in a line may begin it
#: Lines that are no prose: rules and underlines, tables, doctests, directives.
_NO_PROSE = regex.compile(
    r"\s*([-=~^*_+#:.|][-=~^*_+#:.|\s]{2,}$|[|+].*[|+]\s*$|>>>|\.\.\. |\.\. )"
)
#: The rule below a Markdown table's head: cells of dashes, with a bar at their sides or between.
_CELL = r"\s*+:?-++:?\s*+"
_HEAD_RULE = regex.compile(rf"\s*+(?!-\s)(?=[^|]*\|)\|?{_CELL}(?:\|{_CELL})*\|?\s*+$")
_BAR = regex.compile(r"(?<!\\)\|")
_COLUMNS = regex.compile(r"\s*=+(?:\s+=+)+\s*$")  # the rule of a table in reStructuredText
_HEADING = regex.compile(r"\s{0,3}#{1,6}\s+(?=\S)")
_ITEM = regex.compile(r"\s*(?:[-*+•‣]|\d{1,3}[.)])\s+(?=\S)")

_ENDS = r"[.!?…‽؟؛۔।॥։።។။]"  # of sentences that a blank follows
_WIDE_ENDS = r"[。！？｡．]"  # of those that nothing need follow
_CLOSING = r"[\p{Pe}\p{Pf}\"'”’»]"
_OPENING = r"[\p{Ps}\p{Pi}\"'“‘«¿¡*`]"
_EMOJI = r"[\p{Extended_Pictographic}\p{Emoji_Modifier}\u200d\ufe0f]"
#: What a full stop shortens, in the languages that most of the web is in.
_SHORTENED = (
    *("e.g", "i.e", "cf", "vs", "etc", "al", "approx", "resp", "incl", "no", "nos", "vol", "fig"),
    *("figs", "eq", "eqs", "sec", "ch", "pp", "ed", "eds", "mr", "mrs", "ms", "dr", "prof", "st"),
    *("jr", "sr", "inc", "ltd", "co", "corp", "dept", "est", "gov", "sen", "rev", "hon"),
    *("lt", "capt", "sgt", "ave", "blvd", "univ", "jan", "feb", "aug", "sept", "oct", "nov", "dec"),
    *("bzw", "ca", "nr", "abb", "bd", "vgl", "evtl", "ggf", "inkl", "zzgl", "sog", "kap"),
    *("sra", "srta", "dra", "pág", "págs", "núm", "ud", "uds", "aprox", "dott", "pag"),
    *("ecc", "chap", "éd", "bijv", "blz", "dhr", "mevr"),
    *("рис", "табл", "см", "стр", "гл", "им", "ул", "тыс", "млн", "млрд", "напр", "др", "пр"),
)
_BEFORE = r"(?:^|[\s(.])"
_NO_END = (
    # a word that is shortened; a letter alone, which in Latin script may be a name's if it is a
    # capital, and in lower case is one of several ("z. B.", "p.m.")
    rf"(?<!\b(?i:{'|'.join(map(regex.escape, _SHORTENED))})\.)"
    rf"(?<!{_BEFORE}[\p{{Lu}}\p{{Cyrillic}}\p{{Arabic}}\p{{Hebrew}}]\.)"
    rf"(?<!{_BEFORE}\p{{L}}\.\s?\p{{Ll}}\.)"
    rf"(?!(?<={_BEFORE}\p{{Ll}}\.)\s+\p{{L}}\.)"
)
_HAN = r"[\p{Han}\p{Hiragana}\p{Katakana}]"


def _boundary(begins: str) -> regex.Pattern[str]:
    """Where one sentence ends and the next begins, with a letter of these classes or a number."""
    return regex.compile(
        # an end, what closes behind it, and a blank before what may begin a sentence
        rf"(?:(?<={_ENDS}{_CLOSING}{{0,2}}(?:\s?{_EMOJI}){{0,4}}){_NO_END}\s+"
        rf"(?={_OPENING}{{0,2}}[{begins}\p{{Lo}}\p{{N}}]))"
        rf"|(?<={_WIDE_ENDS}{_CLOSING}{{0,2}})\s*(?!{_WIDE_ENDS}|{_CLOSING}|と|って|$)"
        rf"|(?<={_HAN}[.!?]{_CLOSING}{{0,2}})(?={_HAN})"
    )


_BOUNDARY, _UNCASED_BOUNDARY = _boundary(r"\p{Lu}\p{Lt}"), _boundary(r"\p{L}")
_CAPITAL = regex.compile(r"[\p{Lu}\p{Lt}]")
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

    def without(self, sentences: Set[str]) -> Document:
        """What is left without these sentences."""
        if not sentences or sentences.isdisjoint(self.sentences):
            return self
        left = (
            tuple(one for one in paragraph if one not in sentences) for paragraph in self.paragraphs
        )
        return Document(tuple(paragraph for paragraph in left if paragraph))

    @property
    def unsplit(self) -> bool:
        """Whether a long text has no end of a sentence that is known here."""
        return len(self.sentences) == 1 and words_of(self.sentences[0]) >= LONG


def document_of(text: str) -> Document:
    """Split a text into paragraphs and sentences.

    Paragraphs are parted by blank lines; a heading and an item of a list is each its own. A line
    break goes on with the sentence, unless the line ends one, or is so short that nothing wrapped
    it (a title). Code between fences, doctests, tables and rules are left out, and so are
    paragraphs that hold more signs than letters, and markup (`unmarked`). Where no letter is a
    capital, sentences begin with any.
    """
    text = unmarked(text.replace("\r\n", "\n").replace("\r", "\n"))
    lines = _without_tables(_without_code(text.split("\n")))
    longest = max((len(line.rstrip()) for line in lines), default=0)
    cased = _CAPITAL.search(text) is not None
    paragraphs = []
    for block in _blocks(lines):
        told = _unwrapped(block, longest, cased=cased)
        sentences = tuple(one for line in told for one in sentences_of(line, cased=cased))
        if sentences:
            paragraphs.append(sentences)
    return Document(tuple(paragraphs))


def sentences_of(text: str, *, cased: bool | None = None) -> list[str]:
    """The sentences of a paragraph, each on one line, in order; [] for one that is no prose.

    Args:
        cased: whether sentences begin with capitals; None: whether there is one in the text.
    """
    line = " ".join(text.split())
    letters = len(_LETTER.findall(line))
    if not letters or 2 * letters < len(line.replace(" ", "")):
        return []
    cased = _CAPITAL.search(line) is not None if cased is None else cased
    told: list[str] = []
    ahead: list[str] = []  # numbers and signs alone are no sentence, but begin the next
    for each in (_BOUNDARY if cased else _UNCASED_BOUNDARY).split(line):
        if one := each.strip():
            ahead.append(one)
            if _LETTER.search(one):
                told.append(joined(ahead))
                ahead = []
    return [*told[:-1], joined([told[-1], *ahead])]


def common_sentences(documents: Sequence[Document]) -> set[str]:
    """Those that more than `COMMON` of the documents have; none of fewer than `ENOUGH` documents.

    Headings that every document has, notices, what a site says on each page.
    """
    if len(documents) < ENOUGH:
        return set()
    having = Counter(one for each in documents for one in set(each.sentences))
    return {one for one, count in having.items() if count > COMMON * len(documents)}


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


def _without_code(lines: list[str]) -> list[str]:
    """The lines, those between fences empty; what opens and is never closed is none."""
    kept, number = [], 0
    unclosed: dict[str, int] = {}  # no fence of so many signs or more is closed from here on
    while number < len(lines):
        line = lines[number]
        fence = _FENCE.match(line)
        if fence and not _is_underline(fence, lines[number - 1] if number else ""):
            sign, count = fence[1][0], len(fence[1])
            end = None
            if count < unclosed.get(sign, count + 1):
                end = _closing(lines, number + 1, sign, count)
            if end is not None:
                kept += [""] * (end + 1 - number)
                number = end + 1
                continue
            unclosed[sign] = min(count, unclosed.get(sign, count))
            line = ""
        kept.append(line)
        number += 1
    return kept


def _is_underline(fence: regex.Match[str], before: str) -> bool:
    """Whether tildes stand under a title, as in reStructuredText."""
    title = before.rstrip()
    return fence[1][0] == "~" and not fence[2].strip() and 0 < len(title) <= len(fence[0].rstrip())


def _closing(lines: list[str], start: int, sign: str, count: int) -> int | None:
    """The line that closes a fence of so many signs."""
    for number in range(start, len(lines)):
        line = lines[number].strip()
        if len(line) >= count and line == sign * len(line):
            return number
    return None


def _without_tables(lines: list[str]) -> list[str]:
    """The lines, those of Markdown's tables empty, which need no bar at their sides.

    A table is told by the rule below its head, and goes on while there are bars in its lines,
    none of which is a heading or an item.
    """
    kept = [*lines]
    within = False
    for number, (before, line) in enumerate(pairwise(lines), start=1):
        within = within and _cells(line) > 0 and not (_HEADING.match(line) or _ITEM.match(line))
        if _HEAD_RULE.match(line) and kept[number - 1] and _cells(before) == _cells(line):
            kept[number - 1], within = "", True
        if within:
            kept[number] = ""
    return kept


def _cells(line: str) -> int:
    """How many cells of a table a line has; 0 where it has no bar."""
    inner = line.strip()
    bars = len(_BAR.findall(inner))
    closed = len(inner) > 1 and inner.endswith("|") and not inner.endswith("\\|")
    return bars + 1 - inner.startswith("|") - closed if bars else 0


def _blocks(lines: list[str]) -> list[list[str]]:
    """The lines of each paragraph, heading and item of a list."""
    blocks: list[list[str]] = [[]]
    table = False
    for line in lines:
        table = bool(line.strip()) and (table or _COLUMNS.match(line) is not None)
        if table or not line.strip() or _NO_PROSE.match(line):
            blocks.append([])
        elif heading := _HEADING.match(line):
            blocks += [[_unclosed(line[heading.end() :])], []]
        elif item := _ITEM.match(line):
            blocks.append([line[item.end() :]])
        else:
            blocks[-1].append(line)
    return [block for block in blocks if block]


def _unclosed(heading: str) -> str:
    """A heading without the signs that close it, which a blank goes before ("C#" keeps its own)."""
    heading = heading.rstrip()
    bare = heading.rstrip("#")
    return bare.rstrip() if bare != bare.rstrip() else heading


def _unwrapped(lines: list[str], longest: int, *, cased: bool) -> list[str]:
    """Lines as they were before they were wrapped, where that can be told."""
    told = [[lines[0].strip()]]
    for before, line in pairwise(lines):
        wrapped = 3 * len(before.rstrip()) >= 2 * longest and not _ENDED.search(before.rstrip())
        begun = line.strip()
        if wrapped or (cased and begun[:1].islower()):
            told[-1].append(begun)
        else:
            told.append([begun])
    return [_JOINED.sub("", "\n".join(each)).replace("\n", " ") for each in told]
