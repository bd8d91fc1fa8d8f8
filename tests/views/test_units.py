"""Texts taken apart into words and put together again."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from simcse_kit.views import Vocabulary
from simcse_kit.views.units import Units, cut, lowest, share
from tests.views.conftest import TEXTS, Written


def random_texts(
    rng: np.random.Generator, vocabulary: Vocabulary, rows: int = 40
) -> tuple[np.ndarray, np.ndarray]:
    """Texts of all shapes: with special tokens in the middle, of one token, of specials alone."""
    lengths = rng.integers(1, 12, rows)
    return rng.integers(0, len(vocabulary.special), lengths.sum()), lengths


def naive_units(
    ids: np.ndarray, lengths: np.ndarray, vocabulary: Vocabulary
) -> list[list[list[int]]]:
    """Per text its units, each a list of tokens."""
    texts = []
    for text in np.split(ids, np.cumsum(lengths)[:-1]):
        units: list[list[int]] = []
        for place, token in enumerate(text.tolist()):
            goes_on = place > 0 and not vocabulary.special[token] and vocabulary.continues[token]
            if goes_on and not vocabulary.special[text[place - 1]]:
                units[-1].append(token)
            else:
                units.append([token])
        texts.append(units)
    return texts


def test_units_are_those_of_a_loop(plain: Vocabulary) -> None:
    ids, lengths = random_texts(np.random.default_rng(0), plain)
    units = Units.of(ids, lengths, plain)
    expected = naive_units(ids, lengths, plain)
    assert units.tokens(np.arange(len(units.starts))) == [
        unit for text in expected for unit in text
    ]
    assert units.text.tolist() == [row for row, text in enumerate(expected) for _ in text]
    counts = [sum(not plain.special[unit[0]] for unit in text) for text in expected]
    assert units.counts.tolist() == counts
    assert units.places.tolist() == [place for count in counts for place in range(count)]


def test_all_units_in_order_are_the_texts(any_written: Written) -> None:
    ids, lengths = any_written.ids(*TEXTS, "", "x", "(the man) big-city, well . . .")
    units = Units.of(ids, lengths, any_written.vocabulary)
    joined, joined_lengths = units.joined(np.arange(len(units.starts)))
    assert joined.tolist() == ids.tolist()
    assert joined_lengths.tolist() == lengths.tolist()


def test_words_have_one_number_where_their_tokens_are_equal(plain: Vocabulary) -> None:
    ids, lengths = random_texts(np.random.default_rng(1), plain, rows=400)
    units = Units.of(ids, lengths, plain)
    tokens = [tuple(word) for word in units.tokens(units.words)]
    numbers: dict[tuple[int, ...], int] = {}
    for word, number in zip(tokens, units.spellings.tolist(), strict=True):
        assert numbers.setdefault(word, number) == number
    assert len(set(numbers.values())) == len(set(tokens)) > 100
    assert len({(51, 53), (53, 51)} & set(tokens)) < 3  # order counts, below by itself
    both = Units.of(np.array([60, 51, 53, 60, 53, 51]), np.array([3, 3]), plain).spellings
    assert both[0] != both[1]


def test_the_lowest_of_each_group_are_those_of_a_loop() -> None:
    rng = np.random.default_rng(2)
    counts = np.array([3, 0, 5, 1, 0])
    draws, many = rng.random(9), np.array([2, 1, 0, 4, 0])
    expected = []
    for group, number in zip(np.split(draws, np.cumsum(counts)[:-1]), many, strict=True):
        taken = sorted(range(len(group)), key=lambda place, group=group: group[place])[:number]
        expected += [place in taken for place in range(len(group))]
    assert lowest(draws, counts, many).tolist() == expected


def test_a_share_is_right_on_average() -> None:
    draws = np.random.default_rng(3).random(20_000)
    found = share(0.1, np.full(20_000, 7), draws)
    assert set(found) == {0, 1}
    assert abs(found.mean() - 0.7) < 0.015


def test_cutting_takes_the_last_words_and_leaves_one(plain: Vocabulary) -> None:
    ids = np.array([0, 10, 12, 14, 1, 0, 10, 1, 0, 1, 0, 20, 2, 22, 24, 1])
    lengths = np.array([5, 3, 2, 6])
    limits = np.array([4, 1, 1, 5])
    new, new_lengths = cut(ids, lengths, limits, plain)
    assert new.tolist() == [0, 10, 12, 1, 0, 10, 1, 0, 1, 0, 20, 2, 22, 1]
    assert new_lengths.tolist() == [4, 3, 2, 5]


def test_a_moved_word_is_written_as_its_place_asks_for(written: Callable[[str], Written]) -> None:
    """ModernBERT writes no space before a first word: what moves is written as in a text."""
    here = written("modernbert")
    ids, lengths = here.ids("a b", "h s")
    order = np.array([0, 2, 1, 3, 4, 6, 5, 7])
    swapped = Units.of(ids, lengths, here.vocabulary).joined(order)
    expected = here.ids("b a", "s h")
    assert here.texts(*swapped) == ["b a", "s h"]
    assert swapped[0].tolist() == expected[0].tolist()
    left_out = Units.of(ids, lengths, here.vocabulary).kept(np.array([False, True] * 2))
    assert left_out[0].tolist() == here.ids("b", "s")[0].tolist()


def test_new_words_stand_in_place_of_old_ones(plain: Vocabulary) -> None:
    ids, lengths = np.array([0, 60, 51, 62, 1, 0, 64, 1]), np.array([5, 3])
    units = Units.of(ids, lengths, plain)
    new = units.with_tokens(units.words[[0, 2]], [np.array([70]), np.array([72, 55, 57])])
    joined, joined_lengths = new.joined(np.arange(len(units.starts)))
    assert joined.tolist() == [0, 70, 62, 1, 0, 72, 55, 57, 1]
    assert joined_lengths.tolist() == [4, 5]
