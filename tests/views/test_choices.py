"""What each view chooses: by hand, and how often against its formula."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError
from scipy import stats

from simcse_kit.errors import InputError, explain_settings
from simcse_kit.parts import Context, find_part, spec_of
from simcse_kit.views import Draws, View, Vocabulary

N = 4000  # texts in a statistical test; the seed is fixed, p-values of 1e-4 are allowed
BOUND = 1e-4


def view(name: str, vocabulary: Vocabulary, **settings: Any) -> View:
    built: View = find_part("view", name)(Context(vocabulary=vocabulary), **settings)
    return built


def text(words: int, *, specials: bool = True) -> list[int]:
    """Words 10, 12, 14, … of two tokens each (the second is 51), between 0 and 1."""
    inside = [token for word in range(words) for token in (10 + 2 * word, 51)]
    return [0, *inside, 1] if specials else inside


def many(row: list[int], side: int = 0) -> tuple[np.ndarray, np.ndarray, Draws]:
    return np.array(row * N), np.full(N, len(row)), Draws(5, 0, np.arange(N), side)


def rows(ids: np.ndarray, lengths: np.ndarray) -> list[list[int]]:
    return [row.tolist() for row in np.split(ids, np.cumsum(lengths)[:-1])]


def words(row: list[int]) -> tuple[int, ...]:
    """Which words of `text` a row has, 0, 1, …; each must be whole."""
    inside = [token for token in row if token > 2]
    assert inside[1::2] == [51] * (len(inside) // 2)
    return tuple((token - 10) // 2 for token in inside[::2])


def is_uniform(values: list[Any], size: int) -> bool:
    counts = list(Counter(values).values())
    assert len(counts) == size
    return bool(stats.chisquare(counts).pvalue > BOUND)


def agrees(values: list[int], probabilities: list[float]) -> bool:
    """Whether whole numbers are distributed so: ``probabilities[k]`` of k."""
    expected = np.array(probabilities) * len(values)
    found = np.bincount(values, minlength=len(expected))
    assert len(found) == len(expected)
    rare = expected < 5  # taken together, as the chi-square test asks
    found = np.append(found[~rare], found[rare].sum())
    expected = np.append(expected[~rare], expected[rare].sum())
    some = expected > 0
    return bool(stats.chisquare(found[some], expected[some]).pvalue > BOUND)


def test_deletion_leaves_whole_words_out_each_with_its_rate(plain: Vocabulary) -> None:
    found = [words(row) for row in rows(*view("deletion", plain, rate=0.3)(*many(text(5))))]
    kept = stats.binom(5, 0.7).pmf(range(6))
    kept[1] += kept[0]  # of none one stays
    assert agrees([len(row) for row in found], [0, *kept[1:]])
    assert is_uniform([row[0] for row in found if len(row) == 1], 5)
    assert all(list(row) == sorted(row) for row in found)


def test_deletion_of_nearly_all_words_leaves_one(plain: Vocabulary) -> None:
    found = [words(row) for row in rows(*view("deletion", plain, rate=0.99)(*many(text(3))))]
    assert {len(row) for row in found} == {1, 2}
    assert is_uniform([row[0] for row in found if len(row) == 1], 3)


@pytest.mark.parametrize("size", [1, 2, 7, 10])
def test_crop_keeps_a_run_of_words_from_anywhere(size: int, plain: Vocabulary) -> None:
    found = [words(row) for row in rows(*view("crop", plain, rate=0.25)(*many(text(size))))]
    assert all(row == tuple(range(row[0], row[0] + len(row))) for row in found)
    gone = [size - len(row) for row in found]
    low, more = divmod(0.25 * size, 1)
    if size == 1:  # the last word stays
        assert set(gone) == {0}
        return
    probabilities = [0.0] * int(low) + [1 - more, more]
    assert agrees(gone, probabilities if more else probabilities[:-1])
    for cut in set(gone) - {0}:
        assert is_uniform([row[0] for row in found if size - len(row) == cut], cut + 1)


@pytest.mark.parametrize("scattered", [False, True])
def test_reorder_shuffles_a_share_of_the_words(scattered: bool, plain: Vocabulary) -> None:
    shuffle = view("reorder", plain, rate=0.6, scattered=scattered)
    found = [words(row) for row in rows(*shuffle(*many(text(5))))]
    assert all(sorted(row) == list(range(5)) for row in found)
    # three of five words in any of six orders; which three: a run, or any
    runs = [(0, 1, 2), (1, 2, 3), (2, 3, 4)]
    chosen = list(itertools.combinations(range(5), 3)) if scattered else runs
    expected: Counter[tuple[int, ...]] = Counter()
    for places in chosen:
        for order in itertools.permutations(places):
            row = list(range(5))
            for place, word in zip(places, order, strict=True):
                row[place] = word
            expected[tuple(row)] += 1
    assert set(found) == set(expected)
    counts = Counter(found)
    scale = N / sum(expected.values())
    pairs = [(counts[row], expected[row] * scale) for row in expected]
    assert stats.chisquare(*zip(*pairs, strict=True)).pvalue > BOUND


def test_reorder_of_all_words_gives_every_order(plain: Vocabulary) -> None:
    found = [words(row) for row in rows(*view("reorder", plain, rate=1)(*many(text(4))))]
    assert is_uniform(found, 24)


def repeated(row: list[int]) -> list[int]:
    """Which tokens stand twice; the text has tokens that all differ."""
    return [token for token, next_token in itertools.pairwise(row) if token == next_token]


@pytest.mark.parametrize("length", [1, 2, 3, 4, 6, 7, 12, 30, 32])
def test_repetition_is_esimcses(length: int, plain: Vocabulary) -> None:
    row = [0, *range(10, 8 + length), 1][:length]
    new = rows(*view("repetition", plain)(*many(row)))
    bound = min(10, int(0.32 * length))
    found = [repeated(each) for each in new]
    assert all([token for token, _ in itertools.groupby(each)] == row for each in new)
    assert [len(each) - length for each in new] == [len(each) for each in found]
    counts = [len(each) for each in found]
    if bound <= 1:
        assert set(counts) == {0}
        return
    assert max(counts) == bound - 1
    assert is_uniform(counts, bound)
    assert not {0, 1} & {token for each in found for token in each}
    assert is_uniform([each[0] for each in found if len(each) == 1], length - 2)


def test_repetition_reaches_41_tokens_of_32_and_never_more_than_there_are_positions(
    plain: Vocabulary,
) -> None:
    from dataclasses import replace

    row = [0, *range(10, 40), 1]
    assert max(map(len, rows(*view("repetition", plain)(*many(row))))) == 41
    for room, longest in ((36, 36), (32, 32), (20, 32)):
        short = replace(plain, room=room)
        assert max(map(len, rows(*view("repetition", short)(*many(row))))) == longest


def test_span_mask_puts_one_mask_for_a_run_of_words(plain: Vocabulary) -> None:
    masked = view("span_mask", plain, words=2, shortest=4)
    found = Counter(tuple(row) for row in rows(*masked(*many(text(4)))))
    assert set(found) == {
        (0, 2, 14, 51, 16, 51, 1),
        (0, 10, 51, 2, 16, 51, 1),
        (0, 10, 51, 12, 51, 2, 1),
    }
    assert stats.chisquare(list(found.values())).pvalue > BOUND
    assert rows(*masked(*many(text(3)))) == [text(3)] * N


def test_span_masks_that_touch_are_one(plain: Vocabulary) -> None:
    masked = view("span_mask", plain, spans=2, shortest=3)
    found = {tuple(row) for row in rows(*masked(*many(text(3, specials=False))))}
    assert found == {(2, 14, 51), (2, 12, 51, 2), (10, 51, 2)}


def test_span_mask_leaves_what_it_would_cover(plain: Vocabulary) -> None:
    masked = view("span_mask", plain, spans=2, words=3, shortest=1)
    assert rows(*masked(*many(text(6)))) == [text(6)] * N
    assert all(2 in row for row in rows(*masked(*many(text(7)))))


def test_span_mask_needs_a_mask_token(plain: Vocabulary) -> None:
    from dataclasses import replace

    with pytest.raises(InputError, match="has no mask token; take another view"):
        view("span_mask", replace(plain, mask_id=None))


def spans(plain: Vocabulary, size: int, **settings: Any) -> list[tuple[int, int, int, int]]:
    """Start and end of the anchor, start and end of the positive, of texts of that many words."""
    return spans_of(view("span", plain, **settings), size)


def spans_of(cut: View, size: int = 15) -> list[tuple[int, int, int, int]]:
    both = []
    for side in (0, 1):
        found = [words(row) for row in rows(*cut(*many(text(size), side)))]
        assert all(each == tuple(range(each[0], each[-1] + 1)) for each in found)
        both.append([(each[0], each[-1] + 1) for each in found])
    return [(*anchor, *positive) for anchor, positive in zip(*both, strict=True)]


@pytest.mark.parametrize("positives", ["any", "subsumed"])
def test_span_lengths_are_of_beta_distributions(positives: str, plain: Vocabulary) -> None:
    found = spans(plain, 19, shortest=3, longest=13, positives=positives)
    edges = np.linspace(0, 1, 11)
    anchor = np.diff(stats.beta(4, 2).cdf(edges))
    assert agrees([end - start - 3 for start, end, _, _ in found], anchor.tolist())
    positive = np.diff(stats.beta(2, 4).cdf(edges)).tolist()
    if positives == "subsumed":  # bounded by the anchor: those of the same length
        found = [each for each in found if each[1] - each[0] == 11]
        positive = np.diff(stats.beta(2, 4).cdf(np.linspace(0, 1, 9))).tolist()
    assert agrees([end - start - 3 for _, _, start, end in found], positive)


def test_spans_lie_as_they_are_asked_to(plain: Vocabulary) -> None:
    settings = {"shortest": 2, "longest": 6}
    for start, end, first, last in spans(plain, 15, **settings):
        assert first <= end
        assert last >= start
    for start, end, first, last in spans(plain, 15, **settings, positives="subsumed"):
        assert start <= first < last <= end
    sides: Counter[bool] = Counter()
    for start, end, first, last in spans(plain, 15, **settings, positives="adjacent"):
        assert last == start or first == end
        sides[last == start] += 1
    assert min(sides.values()) > N / 3


def test_a_span_starts_anywhere_it_has_room(plain: Vocabulary) -> None:
    found = spans(plain, 15, shortest=6, longest=6)
    assert is_uniform([start for start, _, _, _ in found], 10)
    middle = [first for start, _, first, _ in found if start == 7]
    assert is_uniform(middle, 9)  # from 1, right before the anchor, to 9, where the text ends


@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("positives", ["any", "adjacent", "subsumed"])
def test_spans_of_texts_that_are_shorter_than_any(
    size: int, positives: str, plain: Vocabulary
) -> None:
    found = set(spans(plain, size, positives=positives))
    if positives != "adjacent" or size == 1:
        assert found == {(0, size, 0, size)}
    else:  # all of it, but for a place beside it
        assert all(last == start or first == end for start, end, first, last in found)


def test_a_span_too_short_for_its_longest_is_refused() -> None:
    with pytest.raises(ValidationError) as refused:
        find_part("view", "span").Settings(shortest=40, longest=30)
    said = "shortest (40 words) must not be above longest (30)"
    assert said in explain_settings(refused.value)


def test_composed_views_see_what_the_one_before_made(plain: Vocabulary) -> None:
    specs = [{"name": "crop", "rate": 0.5}, {"name": "repetition", "rate": 0.9}]
    composed = view("compose", plain, views=specs)
    ids, lengths, draws = many(text(6))
    by_hand = view("crop", plain, rate=0.5)(ids, lengths, draws.nth(0))
    by_hand = view("repetition", plain, rate=0.9)(*by_hand, draws.nth(1))
    assert rows(*composed(ids, lengths, draws)) == rows(*by_hand)


def test_the_same_view_twice_has_chance_of_its_own(plain: Vocabulary) -> None:
    """With the same chance, the second deletion would find nothing more to leave out."""
    twice = view("compose", plain, views=[{"name": "deletion", "rate": 0.3}] * 2)
    kept = [len(words(row)) for row in rows(*twice(*many(text(8))))]
    assert abs(np.mean(kept) - 8 * 0.49) < 0.15


def test_composed_spans_go_together(plain: Vocabulary) -> None:
    span = {"name": "span", "shortest": 3, "longest": 6, "positives": "subsumed"}
    views = [{"name": "deletion", "rate": 0}, span]
    for start, end, first, last in spans_of(view("compose", plain, views=views)):
        assert start <= first < last <= end


@pytest.mark.parametrize(
    ("views", "said"),
    [
        ("deletion", "views must be a list of views, not 'deletion'"),
        (["delete"], "unknown view 'delete'; did you mean 'deletion'?"),
        ([{"name": "crop", "share": 1}], "views.0 crop has no setting 'share'"),
        (["crop", {"name": "crop", "rate": 2}], "views.1.rate must be less than 1, not 2"),
    ],
)
def test_composed_views_that_are_none_are_refused(views: object, said: str) -> None:
    with pytest.raises(ValidationError) as refused:
        find_part("view", "compose").Settings(views=views)
    assert said in explain_settings(refused.value)


def test_composed_settings_are_written_and_read_again() -> None:
    spec = spec_of("view", {"name": "compose", "views": ["crop", {"name": "reorder", "rate": 1}]})
    written = spec.model_dump()
    assert written["views"][0] == {"name": "crop", "rate": 0.1}
    assert spec_of("view", written).model_dump() == written
