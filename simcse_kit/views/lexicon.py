"""A file of words and their synonyms."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from simcse_kit.errors import InputError


def read_lexicon(path: str | Path) -> dict[str, list[str]]:
    """Words, case-folded, and the synonyms of each, in the file's order and without the word.

    A line an entry: ``word<TAB>synonym<TAB>synonym…``; or, in ``.jsonl``, an object
    ``{"word": "big", "synonyms": ["large", "great"]}``. UTF-8; blank lines are skipped, and lines
    of the same word are joined.

    Raises:
        InputError: the file cannot be read, has a line that is no entry (with its number), or
            has no entry at all.
    """
    path = Path(os.path.expanduser(path))  # Path.expanduser raises where there is no home
    try:
        lines = path.read_bytes().removeprefix(b"\xef\xbb\xbf").splitlines()
    except OSError as error:
        raise InputError(
            f"lexicon {path}: {error.strerror or error}; give a file of words and their synonyms"
        ) from error
    entry = _json_entry if path.suffix.lower() in (".jsonl", ".ndjson") else _tab_entry
    lexicon: dict[str, list[str]] = {}
    for place, line in _numbered(path, lines):
        word, synonyms = entry(place, line)
        known = lexicon.setdefault(word.casefold(), [])
        known += [each for each in synonyms if each not in known and each != word]
    if not any(lexicon.values()):
        raise InputError(f"lexicon {path} has no entry; write word<TAB>synonym, a line an entry")
    return lexicon


def _numbered(path: Path, lines: list[bytes]) -> Iterator[tuple[str, str]]:
    """The lines that are not blank, and where each stands."""
    for number, line in enumerate(lines, 1):
        try:
            text = line.decode()
        except UnicodeDecodeError:
            raise InputError(
                f"{path}:{number} is not UTF-8; save the lexicon in that encoding"
            ) from None
        if text.strip():
            yield f"{path}:{number}", text


def _tab_entry(place: str, line: str) -> tuple[str, list[str]]:
    word, *synonyms = (cell.strip() for cell in line.split("\t"))
    return _checked(place, word, [each for each in synonyms if each])


def _json_entry(place: str, line: str) -> tuple[str, list[str]]:
    try:
        entry: Any = json.loads(line)
    except ValueError:
        entry = None
    word = entry.get("word") if isinstance(entry, dict) else None
    synonyms = entry.get("synonyms") if isinstance(entry, dict) else None
    if (
        not isinstance(word, str)
        or not isinstance(synonyms, list)
        or not all(isinstance(each, str) for each in synonyms)
    ):
        raise InputError(
            f'{place} is no entry of a lexicon; write {{"word": "big", "synonyms": ["large"]}}'
        )
    return _checked(place, word.strip(), [text for each in synonyms if (text := each.strip())])


def _checked(place: str, word: str, synonyms: list[str]) -> tuple[str, list[str]]:
    if not word or not synonyms:
        what = "synonym" if word else "word"
        raise InputError(f"{place} has no {what}; write word<TAB>synonym, or leave the line out")
    return word, synonyms
