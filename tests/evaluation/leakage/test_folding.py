"""Texts of any script: the same where a reader sees the same, different where he does not."""

from __future__ import annotations

import pytest

from simcse_kit.evaluation.leakage.folding import folded_words
from simcse_kit.evaluation.leakage.hashes import Hasher, hash_set
from simcse_kit.evaluation.leakage.search import training_leakage


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("वह किताब पढ़ती है।", ["वह", "किताब", "पढ़ती", "है"]),  # vowel signs belong to their letter
        ("今天的天气 OK9！", ["今", "天", "的", "天", "气", "ok9"]),
        ("ラーメンabcは", ["ラ", "ー", "メ", "ン", "abc", "は"]),
        ("ที่นี่", ["ที่", "นี่"]),
        ("co\u00adop\u200bera\u200dtion é", ["cooperation", "é"]),  # what is not seen
        ("e\u0301te\u0301", ["été"]),  # decomposed, as macOS writes file names
        ("Straße ΑΣ", ["strasse", "ας".replace("ς", "σ")]),
        ("snake_case it's", ["snake", "case", "it", "s"]),
    ],
)
def test_words_of_scripts(text: str, words: list[str]) -> None:
    assert folded_words(text) == words


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("वह पढ़ता है", "वह पढ़ती है", False),  # he, she
        ("काम", "कम", False),  # work, less
        ("今天的天气很好。", "今天的天气很好", True),
        ("zero\u200bwidth", "zerowidth", True),
        ("ＡＢＣ１", "abc1", True),
    ],
)
def test_equal_folded_is_equal_to_a_reader(one: str, other: str, same: bool) -> None:
    first, second = Hasher()([one, other]).folded
    assert (first == second) == same


def test_chinese_sentences_share_eight_characters_in_a_row() -> None:
    judged = hash_set("dev", ["他说今天的天气真的非常好我们出去吧", "火车六点出发"])
    report = training_leakage(["大家都说今天的天气真的非常好啊", "猫在睡觉"], [judged])
    assert report.leaks[0].rows_gram == 1
    assert report.leaks[0].rows_folded == 0


def test_hindi_rows_that_differ_in_vowel_signs_do_not_leak() -> None:
    judged = hash_set("dev", ["वह किताब पढ़ता है"])
    report = training_leakage(["वह किताब पढ़ती है", "वह किताब पढ़ता है!"], [judged])
    assert report.leaks[0].rows_folded == 1
