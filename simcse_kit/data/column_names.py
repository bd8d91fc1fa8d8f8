"""What columns are called: by us, by others, and how a user says which is which."""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Mapping

from simcse_kit.errors import InputError

KNOWN = "text[,document]; text,label; anchor,positive[,negative…]; sentence1,sentence2[,score]"

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
#: Tells which document a text is of. Where there is no column text it may be a text itself.
DOCUMENT = "document"
#: Names a text, where an input is embedded. A file may have several: the first is it.
ID = "id"
#: Stands before a text, where a document is read. None is by its name: the user says which it is.
TITLE = "title"
# what others call these, and read by none of them alone: what is unsure is asked about
_JUDGED = {
    "similarity": "score",
    "similarityscore": "score",
    "relatedness": "score",
    "relatednessscore": "score",
    "gold": "score",
    "goldscore": "score",
    "goldlabel": "label",
    "isduplicate": "label",
    "duplicate": "label",
    "entailment": "label",
}
_GUESSES = {
    "query": "anchor",
    "question": "anchor",
    "title": "anchor",
    "premise": "anchor",
    "answer": "positive",
    "answers": "positive",
    "body": "positive",
    "abstract": "positive",
    "context": "positive",
    "document": "positive",
    "hypothesis": "positive",
    "passage": "positive",
    "response": "positive",
    "sentencea": "sentence1",
    "sentenceb": "sentence2",
    "question1": "sentence1",
    "question2": "sentence2",
    "text1": "sentence1",
    "text2": "sentence2",
    "content": "text",
    "review": "text",
    "topic": "label",
    "class": "label",
    "category": "label",
    "rating": "score",
}
_NEGATIVE = re.compile(r"(?:negative|hardneg|hardnegative)(\d*)")
_LIKE = {
    "negative": re.compile(r"(?:hard)?neg(?:ative)?s?(?:doc|document|passage|sentence|text)?s?\d*"),
    "positive": re.compile(r"pos(?:itive)?s?(?:doc|document|passage|sentence|text)?s?\d*"),
}
_NUMBERS = ("id", "ids", "idx", "index")  # ends of names of what is no text and no label


def ours(name: str) -> str | None:
    """Our name for a column called `name`, if it is one we know."""
    bare = _bare(name)
    if match := _NEGATIVE.fullmatch(bare):
        return negative(int(match[1] or 1))
    return MEANINGS.get(bare)


def beside_text(name: str) -> str | None:
    """Our name for a column called `name` that only goes beside a text."""
    return next((ours for ours in (DOCUMENT, ID) if _bare(name) == ours), None)


def close(name: str) -> str | None:
    """Our name that a column's is, or is so close to that it must not be passed over."""
    bare = _bare(name)
    if bare.endswith(_NUMBERS):
        return ours(name)
    like = next((ours for ours, form in _LIKE.items() if form.fullmatch(bare)), None)
    near = difflib.get_close_matches(bare, MEANINGS, n=1, cutoff=0.8)
    spelt = MEANINGS[near[0]] if near else None
    return ours(name) or like or _JUDGED.get(bare) or (None if bare in _GUESSES else spelt)


def guess(name: str) -> str | None:
    """What is probably meant by a name that we do not know."""
    return close(name) or _GUESSES.get(_bare(name))


def negative(number: int) -> str:
    """The name of the first negative, the second…"""
    return "negative" if number == 1 else f"negative_{number}"


def _bare(name: str) -> str:
    return re.sub(r"[\s_-]", "", name.lower())


def as_python(way: Mapping[str, str]) -> str:
    """``columns={'anchor': 'title'}``."""
    return f"columns={dict(way)}"


def as_options(way: Mapping[str, str]) -> str:
    """``--column anchor=title``."""
    return " ".join(f"--column {shlex.quote(f'{name}={theirs}')}" for name, theirs in way.items())


def map_them(problem: str, *ways: Mapping[str, str]) -> InputError:
    """A complaint that ends in how to say what columns mean, in Python and on the command line.

    Args:
        problem: the sentence up to there.
        ways: our names to the file's; each is one way to put it right.
    """
    return InputError(
        f"{problem} give {' or '.join(map(as_python, ways))}",
        command_line=f"{problem} give {' or '.join(map(as_options, ways))}",
    )
