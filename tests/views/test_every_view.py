"""What is true of every view on token ids, with every kind of tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from simcse_kit.parts import Context, find_part
from simcse_kit.views import Draws, View
from tests.views.conftest import TEXTS, Written

#: Each with settings that change most texts, and settings that change none.
VIEWS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "deletion": ({"rate": 0.4}, {"rate": 0}),
    "crop": ({"rate": 0.4}, {"rate": 0}),
    "reorder": ({"rate": 0.8}, {"rate": 0}),
    "repetition": ({}, {"rate": 0}),
    "span_mask": ({"spans": 2, "shortest": 3}, {"spans": 0}),
    "synonym": ({"rate": 0.9}, {"rate": 0}),
    "character_noise": ({"rate": 0.5}, {"rate": 0}),
    "span": ({"shortest": 2}, {"shortest": 50}),
    "compose": ({"views": ["deletion", {"name": "reorder", "rate": 1}]}, {"views": []}),
}
#: Texts of words, and of one word, of special tokens alone, of one token.
MANY = [*TEXTS * 3, "x", "", "unheardof", "(the man) big-city, well . . ."]
EACH = pytest.mark.parametrize("name", VIEWS)


@pytest.fixture
def lexicon(tmp_path: Path) -> Path:
    path = tmp_path / "lexicon.tsv"
    path.write_text("the\tthis\tthat\na\tone\nbig\tlarge\tfat\nhappy\tglad\nis\twas\tbe\n")
    return path


def built(name: str, here: Written, lexicon: Path, change: bool = True) -> View:
    settings = dict(VIEWS[name][0 if change else 1])
    if name == "synonym":
        settings["lexicon"] = lexicon
    view: View = find_part("view", name)(Context(vocabulary=here.vocabulary), **settings)
    return view


def drawn(rows: int, epoch: int = 0, side: int = 1, seed: int = 3) -> Draws:
    return Draws(seed, epoch, np.arange(rows), side)


@EACH
def test_texts_stay_texts(name: str, any_written: Written, lexicon: Path) -> None:
    ids, lengths = any_written.ids(*MANY)
    # and the same texts without their special tokens, as of a tokenizer that has none
    special = any_written.vocabulary.special[ids]
    text = np.repeat(np.arange(len(lengths)), lengths)
    bare, bare_lengths = ids[~special], np.bincount(text[~special], minlength=len(lengths))
    empty = bare_lengths == 0
    for given, given_lengths in ((ids, lengths), (bare, bare_lengths[~empty])):
        view, rows = built(name, any_written, lexicon), len(given_lengths)
        for epoch in range(5):
            new, new_lengths = view(given, given_lengths, drawn(rows, epoch))
            assert new.dtype == given.dtype
            assert new_lengths.dtype == np.int64
            assert new_lengths.sum() == len(new)
            assert new_lengths.min() >= 1
            assert len(new_lengths) == rows
            was = np.split(given, np.cumsum(given_lengths)[:-1])
            now = np.split(new, np.cumsum(new_lengths)[:-1])
            for before, after in zip(was, now, strict=True):
                _holds(any_written, before, after)


def _holds(here: Written, before: np.ndarray, after: np.ndarray) -> None:
    """What a view must leave of a text."""
    special, mask = here.vocabulary.special, here.vocabulary.mask_id
    is_special = special[before]
    assert before[is_special].tolist() == [
        token for token in after.tolist() if special[token] and token != mask
    ]
    assert special[after[[0, -1]]].tolist() == is_special[[0, -1]].tolist() or mask in after
    assert (~special[after]).any() == (~is_special).any()
    assert len(after) <= here.vocabulary.room  # type: ignore[operator]


@EACH
def test_texts_change_as_the_settings_ask(name: str, any_written: Written, lexicon: Path) -> None:
    ids, lengths = any_written.ids(*MANY)
    still = built(name, any_written, lexicon, change=False)(ids, lengths, drawn(len(lengths)))
    assert still[0].tolist() == ids.tolist()
    assert still[1].tolist() == lengths.tolist()
    changed = built(name, any_written, lexicon)(ids, lengths, drawn(len(lengths)))
    was, now = any_written.texts(ids, lengths), any_written.texts(*changed)
    assert sum(before != after for before, after in zip(was, now, strict=True)) >= len(was) / 3


@EACH
def test_chance_is_of_the_row_alone(name: str, any_written: Written, lexicon: Path) -> None:
    """The same draws give the same view in another batch; another side or epoch gives another."""
    ids, lengths = any_written.ids(*MANY)
    rows = np.arange(len(lengths))
    view = built(name, any_written, lexicon)
    new, new_lengths = view(ids, lengths, drawn(len(rows)))
    again = built(name, any_written, lexicon)(ids, lengths, drawn(len(rows)))
    assert again[0].tolist() == new.tolist()
    alone = [
        view(text, np.array([len(text)]), Draws(3, 0, rows[[row]], 1))[0]
        for row, text in enumerate(np.split(ids, np.cumsum(lengths)[:-1]))
    ]
    assert np.concatenate(alone).tolist() == new.tolist()
    assert [len(text) for text in alone] == new_lengths.tolist()
    for other in (drawn(len(rows), epoch=1), drawn(len(rows), side=2), drawn(len(rows), seed=4)):
        assert view(ids, lengths, other)[0].tolist() != new.tolist()


@EACH
def test_the_texts_given_stay_as_they_are(name: str, bert: Written, lexicon: Path) -> None:
    ids, lengths = bert.ids(*MANY)
    ids.setflags(write=False)
    lengths.setflags(write=False)
    built(name, bert, lexicon)(ids, lengths, drawn(len(lengths)))


@EACH
def test_no_text_is_no_trouble(name: str, bert: Written, lexicon: Path) -> None:
    nothing = np.empty(0, dtype=np.int64)
    new, lengths = built(name, bert, lexicon)(nothing, nothing, drawn(0))
    assert len(new) == len(lengths) == 0


@EACH
def test_int32_stays_int32(name: str, bert: Written, lexicon: Path) -> None:
    ids, lengths = bert.ids(*MANY)
    new, _ = built(name, bert, lexicon)(ids.astype(np.int32), lengths, drawn(len(lengths)))
    assert new.dtype == np.int32


@pytest.mark.parametrize("name", [name for name in VIEWS if "rate" in VIEWS[name][1]])
@pytest.mark.parametrize("rate", [-0.1, 1.5, float("nan"), True, "many"])
def test_a_rate_that_is_none_is_refused(name: str, rate: object) -> None:
    with pytest.raises(ValidationError, match="rate"):
        find_part("view", name).Settings(rate=rate)
