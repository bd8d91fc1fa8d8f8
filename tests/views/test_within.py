"""A prompt stays whole, and a view makes of the text behind it what it makes of the text alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from simcse_kit.parts import Context, find_part
from simcse_kit.views import Draws, View, Within, frame_of
from tests.views.conftest import MAX_LENGTH, ROOM, TEXTS, Written

PROMPT = "one happy story : "
VIEWS = {
    "deletion": {"rate": 0.5},
    "crop": {"rate": 0.5},
    "reorder": {"rate": 1},
    "repetition": {"rate": 0.9},
    "span_mask": {"spans": 2, "shortest": 3},
    "character_noise": {"rate": 0.9},
    "token_cutoff": {"rate": 0.5},
    "compose": {"views": ["deletion", "token_cutoff"]},
}
MANY = [*TEXTS, "x", "one happy story", "one happy story : a dog"]
EACH = pytest.mark.parametrize("name", VIEWS)


def _pair(name: str, here: Written, prompt: str = PROMPT) -> tuple[View, Within]:
    """A view, and the same behind a prompt with as much room for the text."""
    frame = frame_of(lambda texts: here.tokenizer(texts)["input_ids"], prompt, here.vocabulary)
    wider = replace(here.vocabulary, max_length=MAX_LENGTH + frame.added, room=ROOM + frame.added)
    inner = frame.known_to(wider)
    assert (inner.max_length, inner.room) == (MAX_LENGTH, ROOM)
    alone, within = (
        find_part("view", name)(Context(vocabulary=inner), **VIEWS[name]) for _ in range(2)
    )
    return alone, Within(within, frame)


def _ids(here: Written, begin: str, more: int) -> tuple[np.ndarray, np.ndarray]:
    """The texts behind something of so many tokens."""
    texts = [begin + text for text in MANY]
    rows = here.tokenizer(texts, truncation=True, max_length=MAX_LENGTH + more)["input_ids"]
    return np.concatenate([np.array(row) for row in rows]), np.array([len(row) for row in rows])


def _rows(ids: np.ndarray, lengths: np.ndarray) -> list[list[int]]:
    return [row.tolist() for row in np.split(ids, np.cumsum(lengths)[:-1])]


@EACH
def test_the_text_is_changed_as_it_is_alone_and_its_prompt_is_not(
    name: str, any_written: Written
) -> None:
    alone, within = _pair(name, any_written)
    ordinary = any_written.tokenizer(PROMPT.strip(), add_special_tokens=False)["input_ids"]
    draws = Draws(3, 0, np.arange(len(MANY)), 1)
    # behind a prompt a first word has a space before it
    bare = _ids(any_written, " ", 0)
    behind = _ids(any_written, PROMPT, within.frame.added)
    wanted = [[first, *ordinary, *rest] for first, *rest in _rows(*alone(*bare, draws))]
    found = within(*behind, draws)
    assert _rows(*found) == wanted
    assert within.cuts == alone.cuts
    if alone.cuts:
        kept = _rows(within.kept_tokens(*found, draws), found[1])
        own = _rows(alone.kept_tokens(*alone(*bare, draws), draws), alone(*bare, draws)[1])
        assert kept == [[first, *[True] * len(ordinary), *rest] for first, *rest in own]
        assert not all(map(all, kept))


def test_what_is_cut_within_its_prompt_stays(written: Callable[[str], Written]) -> None:
    _, within = _pair("deletion", written("bert"), PROMPT * 20)
    behind = written("bert").ids(*(PROMPT * 20 + text for text in MANY))
    found = within(*behind, Draws(3, 0, np.arange(len(MANY)), 1))
    assert _rows(*found) == _rows(*behind)


def test_without_a_prompt_nothing_stands_around_a_text(any_written: Written) -> None:
    frame = frame_of(
        lambda texts: any_written.tokenizer(texts)["input_ids"], "", any_written.vocabulary
    )
    assert (len(frame.before), len(frame.after), frame.added) == (1, 1, 0)


def test_a_word_behind_a_prompt_keeps_its_space(written: Callable[[str], Written]) -> None:
    here = written("modernbert")  # writes the first word of a text without one
    _, within = _pair("reorder", here, "one happy story :")
    behind = here.ids(*(f"one happy story : {text}" for text in TEXTS[1:3]))
    found = here.texts(*within(*behind, Draws(3, 0, np.arange(2), 1)))
    for text, given in zip(found, TEXTS[1:3], strict=True):
        assert text.startswith("one happy story : ")
        assert sorted(text.split()) == sorted(["one", "happy", "story", ":", *given.split()])
