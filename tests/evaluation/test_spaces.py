"""Which sentences a geometry is of, how long they are, and figures that cannot be measured."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from simcse_kit.errors import InputError
from simcse_kit.evaluation import layer_cells, length_in_words, space_notes
from simcse_kit.evaluation.spaces import Sentences
from simcse_kit.geometry import measure_space


@pytest.mark.parametrize(
    ("text", "length"),
    [
        ("A man plays -- well, a guitar!", 7),  # as ever, what stands between white space
        ("él no está aquí", 4),
        ("वह एक किताब पढ़ रही है", 6),  # vowel signs do not split words
        ("他在弹吉他", 5),
        ("彼はギターを弾く。", 8),
        ("ที่นี่", 2),  # two letters, each with marks
        ("我有 iPhone 手机", 5),
        ("…", 1),
        ("", 1),
    ],
)
def test_lengths_are_in_words_or_characters_where_no_blanks_part_words(
    text: str, length: int
) -> None:
    assert length_in_words(text) == length


def space(texts: list[str], **options: Any) -> tuple[Sentences, Any]:
    sentences = Sentences(texts, None, None, "made up")
    x = np.random.default_rng(0).normal(size=(len(texts), 8))
    return sentences, measure_space(x, **(sentences.options() | options))


def test_length_bias_of_equally_long_sentences_is_left_out_and_the_others_stand() -> None:
    alike = ["猫在桌子上", "狗在房子里", "他在弹吉他"] * 8
    sentences, found = space([f"{text}{chr(0x4E00 + n)}" for n, text in enumerate(alike)])
    assert "length_bias" not in found.figures and "uniformity" in found.figures
    assert found.to_json()["missing"] == found.missing
    notes = space_notes(found, sentences, "a model")
    assert any(note.startswith("Length bias is left out: Every length is 6") for note in notes)
    _, other = space([f"猫{'在' * (n % 5)}桌{chr(0x4E00 + n)}" for n in range(24)])
    assert "length_bias" in other.figures and not other.missing
    cells = layer_cells([found, other], [])
    assert (
        cells.header[-1] != "" and cells.rows[0][1][cells.header.index("Length bias")].figure == "–"
    )


def test_alignment_without_a_close_pair_is_left_out_unless_a_threshold_was_given() -> None:
    x = np.random.default_rng(0).normal(size=(24, 8))
    pairs, gold = np.arange(24).reshape(12, 2), np.linspace(0, 0.7, 12)
    found = measure_space(x, pairs=pairs, gold=gold, batch=16)
    assert "alignment" not in found.figures
    assert "No pair has a gold score above 0.8" in found.missing["alignment"]
    with pytest.raises(InputError, match=r"No pair has a gold score above 0.9"):
        measure_space(x, pairs=pairs, gold=gold, batch=16, threshold=0.9)
    sentences = Sentences([str(n) for n in range(24)], pairs, gold, "made up")
    notes = space_notes(found, sentences, "a model")
    assert [note for note in notes if note.startswith("Alignment is")] == [
        f"Alignment is left out: {found.missing['alignment']}"
    ]
