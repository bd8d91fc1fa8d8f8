"""What views know of tokens: which are special, where words begin, how they are spelt."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from simcse_kit.views import Vocabulary, vocabulary_of
from simcse_kit.views.units import Units
from tests.views.conftest import TEXTS, Written


class Listed:
    """A tokenizer that is a list of tokens, the first of which ends a text and is for unknown."""

    unk_token_id = eos_token_id = 0
    all_special_ids = (0,)

    def __init__(self, *tokens: str) -> None:
        self.tokens = ["<end>", *tokens]

    def get_vocab(self) -> dict[str, int]:
        return {token: number for number, token in enumerate(self.tokens)}

    def tokenize(self, text: str) -> list[str]:
        return ["▁" + text]


def words(vocabulary: Vocabulary, ids: list[int]) -> list[list[int]]:
    units = Units.of(np.array(ids), np.array([len(ids)]), vocabulary)
    return units.tokens(units.words)


def grouped(tokens: list[str], mark: str) -> list[list[str]]:
    """Words of the tokens 1, 2, … of a vocabulary that holds these, and enough with that mark."""
    vocabulary = vocabulary_of(Listed(*tokens, *(f"{mark}filler{n}" for n in range(20))), 32)
    found = words(vocabulary, [0, *range(1, len(tokens) + 1), 0])
    return [[tokens[number - 1] for number in word] for word in found]


@pytest.mark.parametrize("family", ["bert", "distilbert", "mpnet", "electra"])
def test_wordpieces_are_of_the_words_that_the_tokenizer_itself_tells(
    family: str, written: Callable[[str], Written]
) -> None:
    here = written(family)
    for text in [*TEXTS, "don't (go) to the 中国 well-known city!"]:
        encoding = here.tokenizer(text)
        expected: dict[int, list[int]] = {}
        for token, word in zip(encoding["input_ids"], encoding.word_ids(), strict=True):
            if word is not None:
                expected.setdefault(word, []).append(token)
        assert words(here.vocabulary, encoding["input_ids"]) == list(expected.values())


def test_words_by_hand(any_written: Written) -> None:
    ids, _ = any_written.ids("the (big) man, slowly.")
    found = words(any_written.vocabulary, ids.tolist())
    texts = any_written.vocabulary.texts(found)
    assert texts == ["the", "(", "big", ")", "man", ",", "slowly", "."]


@pytest.mark.parametrize(
    ("mark", "tokens", "expected"),
    [
        ("▁", ["▁un", "like", "ly", "▁big"], [["▁un", "like", "ly"], ["▁big"]]),
        ("▁", ["▁我", "爱", "北京", "love"], [["▁我"], ["爱"], ["北京"], ["love"]]),
        ("▁", ["▁", "(", "a", ")", "▁▁", "猫"], [["▁", "("], ["a"], [")"], ["▁▁", "猫"]]),
        # a vowel sign stays with its letter
        ("▁", ["▁ก", "\u0e31", "น", "ข"], [["▁ก", "\u0e31"], ["น"], ["ข"]]),
        ("▁", ["▁a", "<0xE4>", "<0xBD>", "<0xA0>"], [["▁a"], ["<0xE4>", "<0xBD>", "<0xA0>"]]),
        # 你 in two tokens, then 好 in one; é in two stays in its word
        ("Ġ", ["Ġä½", "ł", "å¥½", "Ġcaf", "Ã", "©"], [["Ġä½", "ł"], ["å¥½"], ["Ġcaf", "Ã", "©"]]),
        ("##", ["un", "##like", "か", "##な"], [["un", "##like"], ["か"], ["##な"]]),
        ("", ["big", "house"], [["big"], ["house"]]),
    ],
)  # fmt: skip
def test_where_words_begin(mark: str, tokens: list[str], expected: list[list[str]]) -> None:
    assert grouped(tokens, mark) == expected


@pytest.mark.parametrize("mark", ["</w>", "@@"])
def test_marks_at_the_end_of_tokens(mark: str) -> None:
    ended = mark == "</w>"
    tokens = ["un", "likely</w>", "big</w>"] if ended else ["un@@", "likely", "big"]
    vocabulary = vocabulary_of(Listed(*tokens, *(f"filler{n}{mark}" for n in range(20))), 32)
    assert words(vocabulary, [1, 2, 3, 0]) == [[1, 2], [3]]


def test_special_tokens_are_left_alone_and_the_unknown_word_is_a_word(any_written: Written) -> None:
    tokenizer, special = any_written.tokenizer, any_written.vocabulary.special
    expected = set(tokenizer.all_special_ids) - {tokenizer.unk_token_id}
    assert set(np.flatnonzero(special)) == expected
    assert any_written.vocabulary.mask_id == tokenizer.mask_token_id


def test_an_end_of_text_that_is_the_unknown_word_too_is_special() -> None:
    assert vocabulary_of(Listed("big"), 32).special.tolist() == [True, False]


def test_words_are_spelt_as_within_a_text_and_read_back(any_written: Written) -> None:
    vocabulary, tokenizer = any_written.vocabulary, any_written.tokenizer
    before = tokenizer("the", add_special_tokens=False)["input_ids"]
    said = ["happy", "zebras", "dog"]
    expected = [
        tokenizer(f"the {word}", add_special_tokens=False)["input_ids"][len(before) :]
        for word in said
    ]
    assert vocabulary.words(said) == expected
    assert vocabulary.texts(expected) == said
    assert vocabulary.words([]) == vocabulary.texts([]) == []


def test_what_tokens_cannot_say_is_none(bert: Written) -> None:
    unknown = bert.tokenizer.unk_token_id
    assert bert.vocabulary.words(["中", "dog"])[0] == []
    assert bert.vocabulary.texts([[unknown]]) == [""]


def test_half_a_character_is_no_text(written: Callable[[str], Written]) -> None:
    roberta = written("roberta")
    half = roberta.tokenizer("é", add_special_tokens=False)["input_ids"][:1]
    assert roberta.vocabulary.texts([half]) == [""]


def test_the_tokenizers_truncation_stays(any_written: Written) -> None:
    any_written.tokenizer(["a dog"], truncation=True, max_length=7)
    before = any_written.tokenizer.backend_tokenizer.truncation
    vocabulary = vocabulary_of(any_written.tokenizer, 32)
    assert len(vocabulary.words(["abcdefghijklmnopqrstuvwxyz"])[0]) > 7
    assert any_written.tokenizer.backend_tokenizer.truncation == before


def test_a_first_word_has_another_token_where_no_space_is_put_before_it() -> None:
    """GPT-2's way: " big" within a text, "big" at its beginning."""
    vocab = {token: number for number, token in enumerate(["<end>", "big", "Ġbig", "Ġ", "a"])}
    backend = Tokenizer(models.WordLevel(vocab, unk_token="<end>"))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    options: dict[str, Any] = {"unk_token": "<end>", "eos_token": "<end>"}
    vocabulary = vocabulary_of(PreTrainedTokenizerFast(tokenizer_object=backend, **options), 32)
    assert vocabulary.first.tolist() == [0, 1, 1, 3, 4]
    assert vocabulary.within.tolist() == [0, 2, 2, 3, 4]
    assert vocabulary.words(["big"]) == [[2]]
    assert vocabulary.opens.tolist() == [False, False, False, True, False]
