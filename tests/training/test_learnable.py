"""Rows that teach nothing are refused or said before training; so are texts that are cut."""

from __future__ import annotations

import json
import logging

import numpy as np
import pytest
import torch

from simcse_kit.data import Rows, TokenStore, read_rows
from simcse_kit.errors import InputError
from simcse_kit.objectives import equal_text_mask, linked_text_mask
from simcse_kit.training import TrainConfig
from simcse_kit.training.loading import load_to_train
from simcse_kit.training.model.building import build_model
from simcse_kit.training.rows.learnable import check_negatives, taken_out, tell_cut
from simcse_kit.training.rows.views import build_views, link_rows
from simcse_kit.training.run import train
from training_rows import config, sentences


def pairs(*rows: tuple[str, ...]) -> Rows:
    names = ("anchor", "positive", "negative")
    columns = dict(zip(names, map(list, zip(*rows, strict=True)), strict=False))
    return Rows("pairs", columns, None, None, "pairs.csv", 0, 0)


def texts(*given: str) -> Rows:
    return Rows("text", {"text": list(given)}, None, None, "a.txt", 0, 0)


# rows, settings, what is said
REFUSED = {
    "one row": (texts("a"), {}, "a.txt: holds one row"),
    "no text": (texts("", ""), {}, "a.txt, row 1: '' is the text of all 2 rows"),
    "one text": (texts(*["a b"] * 9), {}, "a.txt, row 1: 'a b' is the text of all 9 rows"),
    "one text, unmasked": (
        texts(*["a"] * 9), {"mask_equal_texts": False}, "is the text of all 9 rows",
    ),
    "one answer": (pairs(*[(f"q{i}", "a") for i in range(9)]), {}, "'a' is the text of all 9 rows"),
    "one question": (
        pairs(*[("q", f"a{i}") for i in range(9)]), {},
        "pairs.csv, row 1: every text of pairs.csv is a positive of every anchor",
    ),
    "two texts, paired both ways": (pairs(("a", "b"), ("b", "a")), {}, "no negatives are left"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_rows_without_a_negative_are_refused(tiny_encoder, tmp_path, case):
    rows, settings, said = REFUSED[case]
    with pytest.raises(InputError) as error:
        train(str(tiny_encoder("bert")), rows, config(tmp_path, **settings), tmp_path / "run")
    assert said in str(error.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("head", "way"),
    [("text,label", "text=text"), ("sentence1,sentence2,score", "anchor=sentence1")],
)
def test_rows_of_another_kind_are_told_how_to_train(tiny_encoder, tmp_path, head, way):
    path = tmp_path / "a.csv"
    path.write_text(head + "\n" + "a b,c d,1\n"[4 * (head[0] == "t") :])
    with pytest.raises(InputError, match=f"give --column {way}") as error:
        try:
            train(str(tiny_encoder("bert")), path, config(tmp_path), tmp_path / "run")
        except InputError as said:
            raise InputError(said.command_line) from said
    assert "set one that does, for instance objective=" in str(error.value)


def test_the_line_is_named(tiny_encoder, tmp_path):
    path = tmp_path / "a.txt"
    path.write_text("\n" + "the same sentence\n" * 16)
    with pytest.raises(InputError, match=r"a\.txt:2: 'the same sentence' is the text of all 16 r"):
        train(str(tiny_encoder("bert")), path, config(tmp_path), tmp_path / "run")


SAID = {
    "mostly one text": (
        texts("x", *["a b"] * 8, "y"), {},
        "a.txt, row 2: 66 % of the candidates in a batch are no negatives of an anchor, for their "
        "texts are equal or positives of it; 'a b' alone stands in 8 rows",
    ),
    "an anchor of all": (
        pairs(("q", "a"), ("q", "b"), ("r", "b")), {},
        "pairs.csv, row 1: 2 rows teach nothing, for all texts are positives of their anchor",
    ),
    "hard negatives are left": (pairs(("q", "a", "n"), ("q", "b", "m")), {}, ""),
    "unmasked": (
        pairs(("q", "a"), ("q", "b")), {"mask_equal_texts": False},
        "pairs.csv: 1 text has several positives (2 pairs), each of which counts as a negative "
        "beside another (mask_equal_texts=false)",
    ),
    "unmasked and unlinked": (texts("a", "a", "b"), {"mask_equal_texts": False}, ""),
    "a common hard negative": (
        pairs(("q", "a", "n"), ("q", "b", "n"), ("r", "b", "n"), ("q", "r", "q")), {},
        "pairs.csv, row 2: 59 % of the candidates in a batch are no negatives of an anchor, for "
        "their texts are equal or positives of it; 'b' alone stands in 2 rows",
    ),
    "half": (texts("a", "a", "b", "b"), {}, ""),
}  # fmt: skip


@pytest.mark.parametrize("case", SAID)
def test_few_negatives_are_said(tmp_path, caplog, case):
    rows, settings, said = SAID[case]
    check_negatives(rows, config(tmp_path, **settings))
    heard = [
        text for text in map(logging.LogRecord.getMessage, caplog.records) if "own" not in text
    ]
    assert heard == [said] * bool(said)


@pytest.mark.parametrize("seed", range(3))
def test_what_is_taken_out_is_what_the_masks_take_out(tiny_encoder, tmp_path, seed):
    """Of one batch of all rows, by the masks of training themselves."""
    pick = np.random.default_rng(seed)
    words = sentences(9)
    rows = pairs(*[tuple(words[i] for i in pick.integers(0, 9, 3)) for _ in range(12)])
    settings = config(tmp_path)
    model = build_model(load_to_train(tiny_encoder("bert"), settings), settings)
    views, numbers = build_views(rows, settings)
    goal = model.goals[0]
    link_rows(goal, rows, numbers)
    ids = torch.from_numpy(numbers[views(np.arange(12))])
    mask = equal_text_mask(ids) | linked_text_mask(ids, goal.links, goal.texts)
    found = taken_out(numbers[:12], numbers[12:24], numbers[12:])
    np.testing.assert_allclose(found, mask.double().mean(1).numpy())


def test_anchors_that_are_their_own_positives_need_dropout(tiny_encoder, tmp_path, caplog):
    words = sentences(8)
    rows = pairs(*zip(words, words, strict=True))
    with pytest.raises(InputError, match=r"row 1: the anchor is its own positive, here and in ev"):
        train(str(tiny_encoder("bert")), rows, config(tmp_path, dropout=0.0), tmp_path / "run")
    rows.columns["positive"][3:] = sentences(20)[8:13]
    settings = config(tmp_path, dropout=0.0, max_steps=1, collapse="off")
    train(str(tiny_encoder("bert")), rows, settings, tmp_path / "run")
    assert "pairs.csv, row 1: the anchor is its own positive" in caplog.text
    assert "in 3 of 8 rows" in caplog.text


@pytest.mark.parametrize("limit", [None, 30])
def test_the_share_that_is_cut_is_that_of_the_texts_lengths(tiny_tokenizer, caplog, limit):
    caplog.set_level(logging.INFO, "simcse_kit")
    pick = np.random.default_rng(0)
    given = [" ".join(["dog"] * int(pick.integers(1, 60))) for _ in range(300)] + [""]
    lengths = np.array([len(ids) for ids in tiny_tokenizer(given)["input_ids"]][:-1])
    for cut in (64, 40, 16):
        caplog.clear()
        store = TokenStore.build(given, tiny_tokenizer, cut)
        tell_cut(given, store, tiny_tokenizer, cut, limit)
        [record] = caplog.records
        share = f"{100 * (lengths > cut).mean():.0f} % of the texts are cut at {cut} tokens"
        said = record.getMessage()
        if cut == 64:
            assert said == "no text is cut: all have 64 tokens (max_length) or fewer"
        elif cut == 40:
            assert (record.levelname, said) == ("INFO", f"{share} (max_length)")
        else:
            best = limit or -(-int(np.quantile(lengths, 0.95, method="inverted_cdf")) // 16) * 16
            left = f"{100 * (lengths <= best).mean():.0f} %"
            assert record.levelname == "WARNING" and said == (
                f"{share} (max_length); max_length={best} leaves {left} of them whole"
            )


def test_a_length_that_the_encoder_cannot_take_is_not_named(tiny_tokenizer, caplog):
    given = ["dog " * 60] * 3 + ["dog"]
    tell_cut(given, TokenStore.build(given, tiny_tokenizer, 16), tiny_tokenizer, 16, 16)
    [record] = caplog.records
    assert record.levelname == "WARNING" and record.getMessage() == (
        "75 % of the texts are cut at 16 tokens (max_length), and the encoder takes no more; "
        "split them, or take another"
    )


def test_of_many_long_texts_some_are_looked_at(tiny_tokenizer, caplog, monkeypatch):
    monkeypatch.setattr("simcse_kit.training.rows.learnable._SAMPLE", 200)
    pick = np.random.default_rng(0)
    given = [" ".join(["dog"] * int(pick.integers(1, 60))) for _ in range(3000)]
    store = TokenStore.build(given, tiny_tokenizer, 16)
    tell_cut(given, store, tiny_tokenizer, 16, None)
    [record] = caplog.records
    assert record.getMessage().startswith("about 7")  # 45 of 59
    assert "max_length=64 leaves 100 %" in record.getMessage()


def test_a_run_says_how_much_is_cut(tiny_encoder, tmp_path, caplog):
    caplog.set_level(logging.INFO, "simcse_kit")
    path = tmp_path / "a.jsonl"
    long = [{"query": f"{text} " * 3, "pos": [text], "neg": []} for text in sentences(8)]
    path.write_text("\n".join(map(json.dumps, long)))
    train(
        str(tiny_encoder("bert")),
        read_rows(path),
        config(tmp_path, max_length=12, max_steps=1),
        tmp_path / "run",
    )
    assert "of the texts are cut at 12 tokens (max_length)" in caplog.text


def test_hard_negatives_that_are_positives_are_said(caplog):
    columns = {
        "anchor": ["a", "b", "c"],
        "positive": ["x", "y", "z"],
        "negative": ["x", "", "q"],
        "negative_2": ["r", "b", "s"],
    }
    rows = Rows("pairs", columns, None, None, "rows.jsonl", 0, 0, lines=np.array([4, 5, 6]))
    with caplog.at_level("WARNING"):
        check_negatives(rows, TrainConfig())
    assert "rows.jsonl:4: 2 rows have a hard negative that is their own anchor" in caplog.text
    caplog.clear()
    columns["negative"], columns["negative_2"] = ["u", "", "q"], ["r", "v", "x"]
    check_negatives(rows, TrainConfig())
    assert "own anchor" not in caplog.text
