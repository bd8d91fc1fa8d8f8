"""Real text that every machine with this project has: the docstrings of its scientific packages.

A docstring written as the scientific packages write theirs is a summary line and, in other words,
a description. That is a pair of texts about one thing: to train on, or to be found again. The
packages' source files are parsed, never imported.
"""

import ast
import os
import re
import warnings
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from importlib.util import find_spec
from inspect import cleandoc
from multiprocessing import get_context
from pathlib import Path

from simcse_kit.errors import InputError

SKIPPED_FOLDERS = frozenset(
    {"tests", "test", "testing", "externals", "_vendor", "_vendored", "_lib"}
    | {"_inductor", "_dynamo", "_functorch"}  # PyTorch's compiler: half its source, little prose
)
MAX_WORDS = 80  # of a description: whole sentences up to here, near what an encoder reads at once
MIN_SUMMARY_WORDS, MAX_SUMMARY_WORDS = 4, 40
MIN_DESCRIPTION_WORDS = 8


@dataclass(frozen=True)
class Entry:
    """One documented object: `summary` is its first sentence, `description` the prose after it."""

    package: str
    name: str
    summary: str
    description: str


@dataclass(frozen=True)
class Corpus:
    """Training and held-out entries; no text of the held-out packages occurs in training."""

    train: list[Entry]
    held_out: list[Entry]


# ---------------------------------------------------------------------------------------- reading


def package_folder(name: str) -> Path:
    """Find an installed package's source folder without importing it.

    Raises `InputError` when the package is not installed or is not a folder of source files.
    """
    spec = find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise InputError(f"package '{name}' is not installed here: install it or leave it out")
    return Path(next(iter(spec.submodule_search_locations)))


def documented(source: str) -> Iterator[tuple[str, str]]:
    """Yield (qualified name, docstring) of every class and function in a module, in file order.

    Private objects are left out: their notes are to maintainers, often of half a sentence. A file
    that does not parse yields nothing.
    """

    def walk(node: ast.AST, prefix: str) -> Iterator[tuple[str, str]]:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                if child.name.startswith("_"):
                    continue
                docstring = ast.get_docstring(child, clean=False)
                if docstring:
                    yield prefix + child.name, cleandoc(docstring)
                yield from walk(child, f"{prefix}{child.name}.")
            elif isinstance(child, ast.If | ast.Try | ast.With):
                yield from walk(child, prefix)

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # others' invalid escapes are not our user's business
            tree = ast.parse(source)
    except (SyntaxError, ValueError):
        return
    yield from walk(tree, "")


def entries(package: str, folder: Path) -> list[Entry]:
    """Return the usable entries of all source files below `folder`, in path order."""
    found = []
    for path in sorted(folder.rglob("*.py"), key=lambda p: p.relative_to(folder).parts):
        parts = path.relative_to(folder).with_suffix("").parts
        if SKIPPED_FOLDERS.intersection(parts) or parts[-1].startswith(("test_", "conftest")):
            continue
        module = ".".join((package, *parts)).removesuffix(".__init__")
        for name, docstring in documented(path.read_text(encoding="utf-8", errors="replace")):
            split = split_docstring(docstring)
            if split and is_telling(*split):
                found.append(Entry(package, f"{module}.{name}", *split))
    return found


# --------------------------------------------------------------------------------------- cleaning

# sympy puts its description under a heading of its own: the heading goes, the text stays
_EXPLANATION = re.compile(r"^(?:Explanation|Description)\s*\n[=-]{3,}\s*$\n?", re.MULTILINE)
_SECTION = re.compile(  # the first section, field list, doctest, directive or Markdown heading
    r"^[ \t]*(?:[A-Z][\w /()-]*\n[ \t]*[-=~^]{3,}[ \t]*$"
    r"|(?:Args|Arguments|Keyword arg(?:ument)?s|Param(?:eter)?s|Returns?|Yields?|Raises|Examples?"
    r"|Notes?|Shape|Inputs?|Outputs?|Attributes|See also|References?|Warnings?|Usage(?: examples?)?"
    r"|Todo|Tips?|Call signatures?)[ \t]*(?:::?(?=\s)|$)"
    r"|:(?:param|type|returns?|rtype|raises?|arg|keyword|ivar|cvar|var|meta)\b"
    r"|@\w+|\#+[ ]|\.\.[ ]|>>>|> \[!)",
    re.IGNORECASE | re.MULTILINE,
)
_MARKUP: Sequence[tuple[re.Pattern[str], str]] = [
    (re.compile(r"\[`~?(?:[\w.]*\.)?([^`]+)`\](?:\([^)]*\))?"), r"\1"),  # [`Class`]
    (re.compile(r"\s*<[^<>\s][^<>`]*>`__?"), "`"),  # `text <target>`_ keeps its text
    (re.compile(r"(?::[a-z:]+:)?`!?~[\w.]*?(\w+(?:\(\))?)`"), r"\1"),  # :func:`~a.b.c` -> c
    (re.compile(r":[a-z:]+:`!?\.?([^`<]*?)\s*(?:<[^`>]*>)?`"), r"\1"),
    (re.compile(r"\[([^\]]+)\]\((?:https?:|/|#|\.)[^)]*\)"), r"\1"),  # [text](address)
    (re.compile(r"\s*,?\s*\[[\w.*#]+\]_"), ""),  # citations
    (re.compile(r"`{1,2}\.?([^`]*)`{1,2}_{0,2}"), r"\1"),
    (re.compile(r"\$([^$\n]+)\$"), r"\1"),
    (re.compile(r"(?<!\w)\*{1,2}(?=\S)([^*]+?)(?<=\S)\*{1,2}(?!\w)"), r"\1"),
    (re.compile(r"(?<!\w)\|(\w[^|]*)\|(?!\w)"), r"\1"),  # substitutions
    (re.compile(r"</?\w+[^<>]*>"), " "),
    (re.compile(r"\\([_*`|])"), r"\1"),
    (re.compile(r"\\ "), ""),  # the joint between a markup and its ending
    (re.compile(r"\s+"), " "),
    (re.compile(r" \(\)|(?: ?Read more in the User Guide\.)"), ""),  # what emptied markup leaves
]
# not after "e.g." and the like, nor after an initial
_SENTENCE_END = re.compile(
    r"(?<=[.!?])(?<!e\.g\.)(?<!i\.e\.)(?<!cf\.)(?<!vs\.)(?<!etc\.)(?<![ .][A-Z]\.)\s+(?=[A-Z])"
)
_LIST_ITEM = re.compile(r"^\s*(?:[-*+•|]\s|\(?\w{1,2}[.)]\s|[\w*, ]+\([^()]*\)\s*:)", re.MULTILINE)
_UNFINISHED = re.compile(  # leads to what was left out, or only points elsewhere
    r"[^.!?)\"]$|[^.!?][)\"]$|\b(?:in|of|see|by|from|and|is)\.$|https?:"
)
_FOREIGN = re.compile(  # a template, TeX, a table, "x: …"
    r"%\(\w+\)s|\{\w+\}|\\[A-Za-z]|::|\||^\w+(?:, \w+)*:\s"
)
_WORD = re.compile(r"[^\W\d_]{2,}")


def clean(text: str) -> str:
    """Strip reStructuredText and Markdown markup from a paragraph; one line comes back."""
    for pattern, replacement in _MARKUP:
        text = pattern.sub(replacement, text)
    return text.strip()


def split_docstring(docstring: str) -> tuple[str, str] | None:
    """Split a docstring into (summary sentence, description), both clean, or None without both.

    The description is what the opening paragraph says after its first sentence and the plain
    paragraphs that follow, up to the first section, list, formula or example.
    """
    docstring = _EXPLANATION.sub("", docstring.strip())
    section = _SECTION.search(docstring)
    first, *rest = re.split(r"\n\s*\n", docstring[: section.start() if section else None].strip())
    if not is_prose(first):
        return None
    summary, *prose = _SENTENCE_END.split(clean(first), maxsplit=1)
    for paragraph in rest:
        if not is_prose(paragraph):
            break
        prose.append(clean(paragraph))
    description = leading_sentences(" ".join(prose))
    return (summary, description) if description else None


def is_prose(paragraph: str) -> bool:
    """Tell running text from code blocks, lists, tables and formulas."""
    return not (
        paragraph.startswith((" ", "\t", "=", "<", "$", "\\", "```"))
        or _LIST_ITEM.search(paragraph)
        or ":math:" in paragraph
    )


def leading_sentences(text: str) -> str:
    """Keep whole sentences up to `MAX_WORDS` words, without those that lead to something else."""
    kept: list[str] = []
    count = 0
    for sentence in _SENTENCE_END.split(text):
        count += len(sentence.split())
        if count > MAX_WORDS:
            break
        if not _UNFINISHED.search(sentence):
            kept.append(sentence)
    return " ".join(kept)


def is_telling(summary: str, description: str) -> bool:
    """Tell whether both texts say something in words, and the second is not the first again."""
    words, told = _WORD.findall(summary.lower()), _WORD.findall(description.lower())
    return (
        MIN_SUMMARY_WORDS <= len(words) <= MAX_SUMMARY_WORDS
        and len(told) >= MIN_DESCRIPTION_WORDS
        and told[: len(words)] != words
        and all(
            text.isascii()
            and not _FOREIGN.search(text)
            # mostly words: not a signature, a formula or a table
            and sum(map(len, _WORD.findall(text))) > 0.7 * len(text.replace(" ", ""))
            for text in (summary, description)
        )
    )


# -------------------------------------------------------------------------------------- splitting


def key(text: str) -> str:
    """Return what two texts share when they differ in case and punctuation only."""
    return " ".join(_WORD.findall(text.lower()))


def distinct(found: Iterable[Entry], seen: Iterable[str] = ()) -> list[Entry]:
    """Keep the first entry of each summary and each description; none that is in `seen`."""
    taken = set(seen)
    kept = []
    for entry in found:
        keys = {key(entry.summary), key(entry.description)}
        if len(keys) == 2 and not keys & taken:
            taken |= keys
            kept.append(entry)
    return kept


def gather(train: Sequence[str], held_out: Sequence[str]) -> Corpus:
    """Collect the entries of whole packages, those in `held_out` never trained on.

    Held-out texts are made distinct first, so that every summary has one right description; a
    summary or description that occurs there too is dropped from training.
    """
    names = [*train, *held_out]
    folders = [package_folder(name) for name in names]
    workers = min(len(names), os.cpu_count() or 1)
    # spawned: the caller may hold threads (PyTorch's), which do not survive a fork
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        found = dict(zip(names, pool.map(entries, names, folders), strict=True))
    judged = distinct(e for name in held_out for e in found[name])
    texts = {key(text) for e in judged for text in (e.summary, e.description)}
    learned = distinct((e for name in train for e in found[name]), texts)
    return Corpus(train=learned, held_out=judged)
