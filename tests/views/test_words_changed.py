"""Synonyms from a file, and slips of the pen."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from simcse_kit.errors import InputError
from simcse_kit.parts import Context, find_part
from simcse_kit.views import Draws, View
from simcse_kit.views.lexicon import read_lexicon
from tests.views.conftest import MAX_LENGTH, Written


def view(name: str, here: Written, **settings: Any) -> View:
    built: View = find_part("view", name)(Context(vocabulary=here.vocabulary), **settings)
    return built


def seen(changed: View, here: Written, text: str, times: int = 400) -> list[str]:
    ids, lengths = here.ids(*[text] * times)
    new = changed(ids, lengths, Draws(2, 0, np.arange(times), 0))
    return here.texts(*new)


def lexicon(folder: Path, text: str, name: str = "lexicon.tsv") -> Path:
    path = folder / name
    path.write_bytes(text.encode())
    return path


def test_synonyms_stand_in_place_of_whole_words(any_written: Written, tmp_path: Path) -> None:
    path = lexicon(tmp_path, "big\tlarge\tvery old\ncat\tdog\nhouses\tcars\n")
    changed = view("synonym", any_written, lexicon=path, rate=0.5)
    found = Counter(seen(changed, any_written, "the big cat house", 2000))
    expected = {
        f"the {big} {cat} house": share / 2
        for big, share in {"big": 0.5, "large": 0.25, "very old": 0.25}.items()
        for cat in ("cat", "dog")
    }
    assert set(found) == set(expected)
    counts = [(found[text], 2000 * p) for text, p in expected.items()]
    assert stats.chisquare(*zip(*counts, strict=True)).pvalue > 1e-4


def test_a_part_of_a_word_is_no_word(bert: Written, tmp_path: Path) -> None:
    changed = view("synonym", bert, lexicon=lexicon(tmp_path, "a\tone\nbi\tno\n"), rate=0.99)
    assert set(seen(changed, bert, "bigs abc")) == {"bigs abc"}


def test_words_are_found_whatever_their_case_and_keep_their_capitals(
    written: Callable[[str], Written], tmp_path: Path
) -> None:
    here = written("roberta")
    changed = view("synonym", here, lexicon=lexicon(tmp_path, "Happy\tglad\n"), rate=0.999)
    assert set(seen(changed, here, "Happy HAPPY happy haPPy", 50)) == {"Glad GLAD glad glad"}


def test_a_first_word_is_written_without_a_space_where_the_tokenizer_does_so(
    written: Callable[[str], Written], tmp_path: Path
) -> None:
    here = written("modernbert")
    changed = view("synonym", here, lexicon=lexicon(tmp_path, "dog\tman\n"), rate=0.999)
    new, _ = changed(*here.ids("dog dog"), Draws(2, 0, np.array([0]), 0))
    assert new.tolist() == here.ids("man man")[0].tolist()


def test_what_grows_is_cut_to_the_length_of_training(bert: Written, tmp_path: Path) -> None:
    path = lexicon(tmp_path, "dog\tabcdefghijkl mnopqrst\n")
    ids, lengths = bert.ids("dog " * 20, "dog cat")
    changed = view("synonym", bert, lexicon=path, rate=0.9)
    new, new_lengths = changed(ids, lengths, Draws(2, 0, np.arange(2), 0))
    assert new_lengths[0] == MAX_LENGTH
    assert new[:MAX_LENGTH][[0, -1]].tolist() == ids[[0, 21]].tolist()


def test_a_synonym_that_the_tokens_cannot_say_is_not_taken(bert: Written, tmp_path: Path) -> None:
    changed = view("synonym", bert, lexicon=lexicon(tmp_path, "dog\t犬\tcat\n"), rate=0.999)
    assert set(seen(changed, bert, "a dog")) == {"a cat"}


def test_entries_of_several_words_are_named(
    bert: Written, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    view("synonym", bert, lexicon=lexicon(tmp_path, "hot dog\tsausage\ndog\thound\n"))
    assert "1 of its 2 words are several words, such as 'hot dog'" in caplog.text


def test_synonyms_need_a_file(bert: Written) -> None:
    with pytest.raises(InputError, match="needs a file of words and synonyms; set its lexicon"):
        view("synonym", bert)


def test_both_kinds_of_files_say_the_same(tmp_path: Path) -> None:
    tabs = "\ufeffBig\t large \tgreat\r\n\nbig\tgreat\thuge\tbig\n"
    lines = (
        '{"word": "Big", "synonyms": ["large ", "great"]}\n\n'
        '{"word": "big", "synonyms": ["great", "huge", "big"]}\n'
    )
    expected = {"big": ["large", "great", "huge"]}
    assert read_lexicon(lexicon(tmp_path, tabs)) == expected
    assert read_lexicon(lexicon(tmp_path, lines, "lexicon.jsonl")) == expected


@pytest.mark.parametrize(
    ("text", "name", "said"),
    [
        ("big\tlarge\nsmall\n", "a.tsv", "a.tsv:2 has no synonym"),
        ("\n\n\tlarge\n", "a.tsv", "a.tsv:3 has no word"),
        ("\n", "a.tsv", "a.tsv has no entry"),
        ("big\tbig\n", "a.tsv", "a.tsv has no entry"),
        ('{"word": "big"}\n', "a.jsonl", "a.jsonl:1 is no entry of a lexicon"),
        ('{"word": "big", "synonyms": "large"}\n', "a.jsonl", "a.jsonl:1 is no entry"),
        ('{"word": "big", "synonyms": []}\n', "a.jsonl", "a.jsonl:1 has no synonym"),
        ('{"word": "big", "synonyms": [1]}\n', "a.jsonl", "a.jsonl:1 is no entry"),
        ("[]\n{", "a.jsonl", "a.jsonl:1 is no entry"),
    ],
)
def test_files_that_are_no_lexicon(tmp_path: Path, text: str, name: str, said: str) -> None:
    with pytest.raises(InputError) as refused:
        read_lexicon(lexicon(tmp_path, text, name))
    assert said in str(refused.value)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="No such file"):
        read_lexicon(tmp_path / "none.tsv")
    with pytest.raises(InputError, match="directory"):
        read_lexicon(tmp_path)
    latin = tmp_path / "latin.tsv"
    latin.write_bytes("big\tlarge\ngroß\tbig\n".encode("latin-1"))
    with pytest.raises(InputError, match=r"latin.tsv:2 is not UTF-8"):
        read_lexicon(latin)


def slips(word: str, alphabet: str) -> set[str]:
    """All words one slip away, and the word."""
    swaps = {word[:n] + word[n + 1] + word[n] + word[n + 2 :] for n in range(len(word) - 1)}
    fewer = {word[:n] + word[n + 1 :] for n in range(len(word))}
    more = {word[:n] + letter + word[n:] for n in range(len(word) + 1) for letter in alphabet}
    other = {word[:n] + letter + word[n + 1 :] for n in range(len(word)) for letter in alphabet}
    return swaps | fewer | more | other


def test_noise_is_one_slip_of_any_kind_in_a_word(any_written: Written) -> None:
    changed = view("character_noise", any_written, rate=0.999, alphabet="xy")
    found = seen(changed, any_written, "horse", 3000)
    assert set(found) - {"horse"} == slips("horse", "xy")
    kinds = Counter(len(text) for text in found if text != "horse")
    # a quarter is shorter, a quarter longer; swaps and wrong letters keep the length
    expected = np.array([0.25, 0.25, 0.5]) * kinds.total()
    assert stats.chisquare([kinds[4], kinds[6], kinds[5]], expected).pvalue > 1e-4


def test_noise_comes_with_its_rate_and_leaves_short_words_and_numbers(bert: Written) -> None:
    changed = view("character_noise", bert, rate=0.3, alphabet="x")
    found = [text.split() for text in seen(changed, bert, "a horse is 12345", 2000)]
    assert {(row[0], row[2], row[3]) for row in found} == {("a", "is", "12345")}
    share = np.mean([row[1] != "horse" for row in found])
    assert abs(share - 0.3) < 0.04


def test_noise_that_grows_is_cut(bert: Written) -> None:
    ids, lengths = bert.ids("story " * 40)
    changed = view("character_noise", bert, rate=0.9)
    new, new_lengths = changed(ids, lengths, Draws(0, 0, np.array([0]), 0))
    assert new_lengths.tolist() == [MAX_LENGTH]
    assert new[-1] == ids[-1]
