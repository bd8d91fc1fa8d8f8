"""A second kind of real text that most machines have: the manual pages of their programs.

A page's NAME line says in a few words what its DESCRIPTION then tells. The pages' source, man(7),
is read as text; what uses other macros is passed over, and no program is run.
"""

from __future__ import annotations

import gzip
import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from simcse_kit.data.within_documents import document_of
from simcse_kit.errors import InputError

FOLDER = Path("/usr/share/man")
SECTIONS = ("man1", "man5", "man7", "man8")  # those of programs, files and ideas; not of C
MIN_SENTENCES, MAX_SENTENCES = 2, 12
MIN_TITLE_WORDS, MIN_WORDS = 3, 15
MOST = 150  # pages of a family: some have thousands, all alike
HELD_OUT = 4  # of so many families of pages one is held out, whole

_ESCAPES: list[tuple[re.Pattern[str], str]] = [
    (re.compile(r"\\f(?:\[[^\]]*\]|\([A-Z]{2}|.)"), ""),  # fonts
    (re.compile(r'\\".*'), ""),
    (re.compile(r"\\s[-+]?\d{1,2}|\\[&|^/,%:cd]|\\m\[[^\]]*\]"), ""),
    (re.compile(r"\\(?:\(aq|\(cq|\(oq|\[aq\]|\[cq\]|\[oq\])"), "'"),
    (re.compile(r"\\(?:\([lr]q|\[[lr]q\]|\(dq|\[dq\])"), '"'),
    (re.compile(r"\\(?:-|\(en|\(em|\(hy|\[en\]|\[em\])"), "-"),
    (re.compile(r"\\\*\([A-Za-z]{2}|\\\([a-z]{2}|\\\[[^\]]*\]|\\\*."), ""),
    (re.compile(r"\\e|\\\\"), r"\\"),
    (re.compile(r"\\[ ~0]"), " "),
]
_HEADING = re.compile(r'^\.SH\s+"?([^"\n]*)"?\s*$', re.MULTILINE)
_PARAGRAPH = re.compile(r"^\.(?:PP|P|LP|sp|HP)\b.*$")
_LIST = re.compile(r"^\.(?:TP|IP|RS|nf|EX|TS|SS|SY|Vb|UR|de)\b")
_TEXT_MACRO = re.compile(r"^\.(B|I|R|SM|SB|BR|RB|IR|RI|BI|IB)\s+(.*)$")
_NAME = re.compile(r"^(.+?)\s+-+\s+(\S.*)$", re.DOTALL)
_WORD = re.compile(r"[^\W\d_]{2,}")


@dataclass(frozen=True)
class Page:
    """What a manual page says: of which family it is, and its text, a title before all else."""

    family: str
    text: str


def page_of(name: str, source: str) -> Page | None:
    """A page's NAME and the prose that its DESCRIPTION begins with; None where it has no such."""
    parts = _HEADING.split(source)
    found = {
        head.strip().upper(): body for head, body in zip(parts[1::2], parts[2::2], strict=True)
    }
    named = _NAME.match(" ".join(_prose(found.get("NAME", ""))))
    if named is None or "DESCRIPTION" not in found:
        return None
    title = f"{named[2][:1].upper()}{named[2][1:].rstrip('.')}"
    body = "\n\n".join(_prose(found["DESCRIPTION"]))
    document = document_of(body)
    body = "\n\n".join(" ".join(each) for each in _leading(document.paragraphs))
    words = _WORD.findall(body)
    if (
        len(document.sentences) < MIN_SENTENCES
        or len(words) < MIN_WORDS
        or len(_WORD.findall(title)) < MIN_TITLE_WORDS
        or not body.isascii()  # English, but for names
        or sum(map(len, words)) < 0.7 * len(re.sub(r"\s", "", body))
    ):
        return None
    return Page(re.split(r"[-_.:+\d]", name.lower(), maxsplit=1)[0] or name, f"{title}\n\n{body}")


def gather_manuals(folder: Path = FOLDER) -> tuple[list[Page], list[Page]]:
    """Pages to train on, and those of the families that are held out; no text stands twice.

    Raises:
        InputError: there are no manual pages here.
    """
    found = list(_pages(folder))
    if not found:
        raise InputError(f"{folder}: holds no manual pages of English text; give another domain")
    held = _distinct((each for each in found if is_held_out(each.family)), ())
    train = _distinct((each for each in found if not is_held_out(each.family)), held)
    return train, held


def is_held_out(family: str) -> bool:
    """Whether pages of a family are never trained on: by its name, alike on every machine."""
    return hashlib.sha256(family.encode()).digest()[0] % HELD_OUT == 0


def _pages(folder: Path) -> Iterator[Page]:
    for section in SECTIONS:
        for path in sorted((folder / section).glob("*")):
            opened = gzip.open if path.suffix == ".gz" else open
            try:
                with opened(path, "rt", encoding="utf-8") as file:
                    source = file.read()
            except (OSError, UnicodeDecodeError, EOFError):
                continue
            page = page_of(path.name.removesuffix(".gz").rpartition(".")[0], source)
            if page is not None:
                yield page


def _prose(body: str) -> list[str]:
    """The paragraphs before the first list, example or table."""
    paragraphs: list[list[str]] = [[]]
    for line in body.splitlines():
        if _LIST.match(line):
            break
        if not line.strip() or _PARAGRAPH.match(line):
            paragraphs.append([])
        elif macro := _TEXT_MACRO.match(line):
            words = re.findall(r'"([^"]*)"|(\S+)', macro[2])
            between = "" if len(macro[1]) == 2 and macro[1] != "SM" else " "
            paragraphs[-1].append(between.join(quoted or bare for quoted, bare in words))
        elif not line.startswith((".", "'")):
            paragraphs[-1].append(line)
    return [_plain(" ".join(each)) for each in paragraphs if each]


def _leading(paragraphs: Sequence[Sequence[str]]) -> list[list[str]]:
    """The first `MAX_SENTENCES`, in their paragraphs."""
    kept: list[list[str]] = []
    left = MAX_SENTENCES
    for each in paragraphs:
        kept.append(list(each[:left]))
        left -= len(kept[-1])
    return [each for each in kept if each]


def _plain(text: str) -> str:
    for pattern, replacement in _ESCAPES:
        text = pattern.sub(replacement, text)
    return " ".join(text.split())


def _distinct(found: Iterable[Page], others: Iterable[Page]) -> list[Page]:
    """The first of each title and of each text, none of which others have; `MOST` of a family."""
    counts: Counter[str] = Counter()
    seen = {part for each in others for part in each.text.split("\n\n", 1)}
    kept = []
    for each in found:
        parts = set(each.text.split("\n\n", 1))
        if not parts & seen and counts[each.family] < MOST:
            seen |= parts
            counts[each.family] += 1
            kept.append(each)
    return kept
