"""What columns are called: by us, by others, and how a user says which is which."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping

from simcse_kit.errors import InputError

KNOWN = "text; text,label; anchor,positive[,negative…]; sentence1,sentence2[,score]"

# what a name in a file, lower-case and without punctuation, means to us
MEANINGS = {
    "text": "text",
    "sentence": "text",
    "label": "label",
    "anchor": "anchor",
    "sent0": "anchor",
    "positive": "positive",
    "sent1": "positive",
    "sentence1": "sentence1",
    "sentence2": "sentence2",
    "score": "score",
}
# what others may mean by a name: good for advice, too unsure to read a file by
_GUESSES = {
    "query": "anchor",
    "question": "anchor",
    "answer": "positive",
    "document": "positive",
    "passage": "positive",
    "topic": "label",
    "class": "label",
    "category": "label",
}
_NEGATIVE = re.compile(r"(?:negative|hardneg|hardnegative)(\d*)")


def ours(name: str) -> str | None:
    """Our name for a column called `name`, if it is one we know."""
    bare = _bare(name)
    if match := _NEGATIVE.fullmatch(bare):
        return negative(int(match[1] or 1))
    return MEANINGS.get(bare)


def guess(name: str) -> str | None:
    """What is probably meant by a name that we do not know."""
    return ours(name) or _GUESSES.get(_bare(name))


def negative(number: int) -> str:
    """The name of the first negative, the second…"""
    return "negative" if number == 1 else f"negative_{number}"


def _bare(name: str) -> str:
    return re.sub(r"[\s_-]", "", name.lower())


def map_them(problem: str, *ways: Mapping[str, str]) -> InputError:
    """A complaint that ends in how to say what columns mean, in Python and on the command line.

    Args:
        problem: the sentence up to there.
        ways: our names to the file's; each is one way to put it right.
    """
    python = " or ".join(f"columns={dict(way)}" for way in ways)
    options = [
        " ".join(f"--column {shlex.quote(f'{name}={theirs}')}" for name, theirs in way.items())
        for way in ways
    ]
    return InputError(
        f"{problem} give {python}", command_line=f"{problem} give {' or '.join(options)}"
    )
