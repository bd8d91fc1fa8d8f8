"""Leakage found by hashes against plain comparison of texts, and through files."""

import dataclasses
import gzip
import json
import random
import re
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from conftest import WORDS
from simcse_kit.errors import InputError
from simcse_kit.evaluation.leakage.folding import folded_words
from simcse_kit.evaluation.leakage.hashes import (
    Hasher,
    hash_file,
    hash_set,
    hash_task,
    read_hashes,
    union,
    write_hashes,
)
from simcse_kit.evaluation.leakage.search import check_leakage, overlap, overlaps, training_leakage
from simcse_kit.evaluation.leakage.tables import markdown
from simcse_kit.evaluation.sts.tasks import PairTask

PAIRS = [
    ("The cat doesn't sit on the mat.", "A cat is sitting outside, on a red mat!"),
    ("One two three four five six seven eight nine.", "Eight words are needed."),
    ("A man plays the guitar.", "A woman plays the piano."),
]


# ---- what is the same ----------------------------------------------------------------------------


def naive_key(text: str) -> str:
    return re.sub(r"[\W_]+", "", text.casefold())


def naive_grams(text: str, n: int) -> set[tuple[str, ...]]:
    words = re.findall(r"[^\W_]+", text.casefold())
    return {tuple(words[i : i + n]) for i in range(len(words) - n + 1)}


def corpus(n: int, seed: int) -> list[str]:
    """Sentences of few words, so that much is shared; some with case and punctuation changed."""
    draw = random.Random(seed)
    texts = []
    for _ in range(n):
        text = " ".join(draw.choices(WORDS[:6], k=draw.randint(1, 14)))
        texts.append(draw.choice([text, text.upper(), text + ".", text.replace(" ", ", ", 1)]))
    return texts


@pytest.mark.parametrize("n", [2, 4, 8])
def test_training_rows_are_those_of_a_plain_comparison(n: int) -> None:
    inside, training = corpus(60, 1), corpus(300, 2)
    training += inside[:5] + [text.title() + " !" for text in inside[5:10]]
    leak = training_leakage(training, [hash_set("set", inside, words=n)]).leaks[0]
    keys = {naive_key(text) for text in inside}
    grams = set().union(*(naive_grams(text, n) for text in inside))
    assert leak.rows_exact == sum(text in set(inside) for text in training)
    assert leak.rows_folded == sum(naive_key(text) in keys for text in training)
    assert leak.rows_gram == sum(bool(naive_grams(text, n) & grams) for text in training)
    assert 0 < leak.rows_exact < leak.rows_folded and leak.rows_gram
    assert leak.sentences == len(keys)
    assert leak.sentences_hit == len(keys & {naive_key(text) for text in training})
    assert (leak.rows_pair, leak.set_rows) == (None, 60)


def test_chunks_and_several_sets_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    sets = [hash_set(str(seed), corpus(40, seed), words=3) for seed in range(4)]
    training = corpus(200, 9)
    whole = training_leakage(training, sets).leaks
    alone = tuple(training_leakage(training, [one]).leaks[0] for one in sets)
    assert whole == alone
    monkeypatch.setattr("simcse_kit.evaluation.leakage.search._CHUNK", 7)
    monkeypatch.setattr("simcse_kit.evaluation.leakage.hashes._VOCABULARY", 3)
    assert training_leakage(iter(training), sets).leaks == whole


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("I don't know.", "i do n't know"),
        ("“Straße”  Nr. 5", "STRASSE nr 5"),
        ("ﬁne", "FINE"),
        ("snake_case", "snake case"),
    ],
)
def test_folding(one: str, other: str) -> None:
    hashes = Hasher()([one, other])
    assert hashes.folded[0] == hashes.folded[1]


def test_texts_without_letters_stand_for_themselves() -> None:
    hashes = Hasher()(["!!!", "???", "!!!", "👍"]).folded
    assert hashes[0] == hashes[2]
    assert len(set(hashes.tolist())) == 3


def test_n_grams_do_not_cross_texts_and_know_the_order() -> None:
    hasher = Hasher(3)
    split = hasher(["a b", "c d e f", "", "c d e"])
    assert split.text_of_gram.tolist() == [1, 1, 3]
    assert split.first_gram.tolist() == [0, 0, 2, 2]
    assert split.grams[0] == split.grams[2] != split.grams[1]
    orders = hasher(["a b c", "a c b", "b a c", "b c a", "c a b", "c b a"]).grams
    assert len(set(orders.tolist())) == 6
    assert folded_words("It's 3.5 km") == ["it", "s", "3", "5", "km"]


# ---- pairs ---------------------------------------------------------------------------------------


def test_a_pair_occurs_in_either_order_and_only_as_a_pair() -> None:
    one = hash_set("one", PAIRS)
    swapped = hash_set("swapped", [(b.upper(), a) for a, b in PAIRS[:2]])
    mixed = hash_set("mixed", [(PAIRS[0][0], PAIRS[1][1]), (PAIRS[0][1], PAIRS[1][0])])
    found = overlap(one, swapped)
    assert (found.rows, found.of_rows) == (2, 3)
    assert (found.sentences, found.of_sentences) == (4, 6)
    assert found.examples == tuple(PAIRS[:2])
    assert overlap(one, mixed).rows == 0
    assert overlap(one, mixed).sentences == 4
    assert overlap(swapped, one).rows == 2
    assert overlap(hash_set("texts", [PAIRS[0][0]]), one).rows is None


def test_repeated_rows_count_each_time() -> None:
    twice = hash_set("twice", [PAIRS[0], PAIRS[0][::-1], PAIRS[2]])
    found = overlap(twice, hash_set("one", PAIRS[:1]))
    assert (found.rows, found.of_rows, found.sentences) == (2, 3, 2)


def test_rows_of_several_texts() -> None:
    """An anchor with a positive and a hard negative, as in supervised training."""
    (a, b), (c, _), (e, f) = PAIRS
    training = [(a, "new", b), (a, c, e), ("new", "newer", "newest"), (f.upper(), e, e)]
    report = training_leakage(training, [hash_set("pairs", PAIRS)])
    (leak,) = report.leaks
    assert (report.rows, report.texts) == (4, 12)
    assert (leak.rows_folded, leak.rows_exact) == (3, 3)
    assert leak.rows_pair == 2  # the first and the last hold both sentences of a pair
    assert (leak.sentences_hit, leak.set_rows_hit) == (5, 2)


def test_groups_are_looked_at_as_one() -> None:
    first, second = hash_set("A", PAIRS[:1]), hash_set("B", PAIRS[1:2])
    third = hash_set("C", PAIRS)
    found = overlaps([first, second, third], groups={"A+B": ("A", "B"), "none": ("A", "X")})
    by_name = {(one.name, one.other): one.rows for one in found}
    assert by_name[("C", "A+B")] == 2
    assert ("A", "A+B") not in by_name and ("C", "none") not in by_name
    assert len(found) == 7


def test_an_sts_task_becomes_its_pairs() -> None:
    first, second = zip(*PAIRS, strict=True)
    task = PairTask("T", list(first), list(second), np.arange(3.0), {}, "test", "here")
    assert (hash_task(task).rows == hash_set("T", PAIRS).rows).all()


# ---- examples ------------------------------------------------------------------------------------


def test_examples_are_the_first_rows_and_say_what_matched() -> None:
    training = [
        "Nothing of the kind.",
        "And one two three four five six seven eight, she counted.",
        "a man plays the guitar",
        "A man plays the guitar.",
        "A man plays the guitar!",
    ]
    (leak,) = training_leakage(training, [hash_set("pairs", PAIRS)], examples=2).leaks
    assert [(e.row, e.match, e.shared) for e in leak.examples] == [
        (3, "folded", ""),
        (4, "exact", ""),
        (2, "n-gram", "one two three four five six seven eight"),
    ]
    assert leak.examples[2].text == training[1]


# ---- files ---------------------------------------------------------------------------------------


def test_text_files_are_streamed_with_their_line_numbers(tmp_path: Path) -> None:
    path = tmp_path / "train.txt.gz"
    path.write_bytes(gzip.compress("nothing\n\n  a MAN plays the guitar \n".encode("utf-8-sig")))
    report = training_leakage(path, [hash_set("pairs", PAIRS)])
    assert (report.rows, report.source) == (2, str(path))
    assert [(e.row, e.text) for e in report.leaks[0].examples] == [(3, "a MAN plays the guitar")]


def test_a_text_file_has_no_header_and_no_columns(tmp_path: Path) -> None:
    path = tmp_path / "wiki.txt"
    path.write_text("a man\n")
    with pytest.raises(InputError, match="has no header"):
        training_leakage(path, [hash_set("set", PAIRS)], header=True)
    with pytest.raises(InputError, match="has no column 'body'"):
        training_leakage(path, [hash_set("set", PAIRS)], columns={"text": "body"})


def test_lists_of_unequal_length_are_searched_text_by_text(tmp_path: Path) -> None:
    path = tmp_path / "lists.jsonl"
    path.write_text(
        '{"query": "one dog", "pos": ["a cat", "the bird"], "neg": ["two cows"]}\n'
        '{"query": "no horse", "pos": ["a fox"], "neg": []}\n'
    )
    held = hash_file(path)
    assert len(held) == 3 + 3 + 2  # two positives, each with the negative; no place without one
    texts = {text for row in held.texts or () for text in row}
    assert texts == {"one dog", "a cat", "the bird", "two cows", "no horse", "a fox"}
    (leak,) = training_leakage(path, [hash_set("set", [("two cows", "one dog"), ("x", "y")])]).leaks
    assert (leak.rows_exact, leak.rows_pair) == (2, 2)
    assert training_leakage(path, [held]).texts == 3 + 3 + 2


def test_tables_are_read_as_for_training(tmp_path: Path) -> None:
    path = tmp_path / "train.csv"
    path.write_text('anchor,positive\n"A man plays the guitar.","A woman plays the piano."\nx,y\n')
    (leak,) = training_leakage(str(path), [hash_set("pairs", PAIRS)]).leaks
    assert (leak.rows_exact, leak.rows_pair) == (1, 1)
    held = hash_file(path)
    assert (held.name, len(held), held.texts is not None) == ("train", 2, True)


def test_a_file_of_hashes_finds_the_same_without_the_texts(tmp_path: Path) -> None:
    path, one = tmp_path / "hashes.safetensors", hash_set("Ünseen", PAIRS, words=4)
    write_hashes(one, path)
    for back in (read_hashes(path), hash_file(path)):
        assert (back.name, back.words, back.texts) == ("Ünseen", 4, None)
        assert back.row_keys == one.row_keys
        assert (back.exact == one.exact).all() and (back.grams == one.grams).all()
        training = [*corpus(50, 0), "A MAN plays the guitar."]
        assert training_leakage(training, [back]) == training_leakage(training, [one])
        assert overlap(back, one).rows == 3 and overlap(back, one).examples == ()
    raw = path.read_bytes()
    assert not any(word in raw for word in (b"guitar", b"GUITAR", b"piano", b"woman"))


def test_files_that_are_no_hashes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.safetensors"
    with pytest.raises(InputError, match="no such file"):
        read_hashes(path)
    path.write_bytes(b"not at all")
    with pytest.raises(InputError, match="no safetensors file, or damaged"):
        read_hashes(path)
    save_file({"weight": np.ones(3)}, path)
    with pytest.raises(InputError, match="holds no hashes this version reads"):
        read_hashes(path)
    marked = {"format": "simcse_kit hashes 2", "words": "8", "name": "x"}
    good = {"rows": np.ones((1, 2)), "exact": np.ones(1), "grams": np.ones(1)}
    save_file(good, path, marked)  # float64, not uint64
    with pytest.raises(InputError, match="incomplete"):
        read_hashes(path)
    with pytest.raises(InputError, match=r"ends in \.safetensors"):
        write_hashes(hash_set("s", PAIRS), tmp_path / "x.pkl")
    with pytest.raises(InputError, match="does not exist"):
        write_hashes(hash_set("s", PAIRS), tmp_path / "no" / "x.safetensors")


# ---- the report ----------------------------------------------------------------------------------


def test_the_markdown_report_shows_tables_and_plain_texts() -> None:
    nasty = "<script>alert(1)</script> | a *bold* [link](x)"
    one = hash_set("one", [*PAIRS, (nasty, "x")])
    other = hash_set("other", [PAIRS[0][::-1], (nasty, "x")])
    report = check_leakage([one, other], ["A man plays the guitar!", nasty])
    text = markdown(report)
    assert "| one | 1 | 2 | 1 | 0 | 2 of 8 | 0 of 4 |" in text
    assert "| one |  | 50.0 % |" in text and "| other | 100.0 % |  |" in text
    assert "- one, row 1, folded: A man plays the guitar!" in text
    assert "<script>" not in text and r"\| a \*bold\* \[link\](x)" in text
    assert json.loads(json.dumps(report.to_json()))["training"]["rows"] == 2
    with pytest.raises(dataclasses.FrozenInstanceError):
        report.training = None  # type: ignore[misc]
    alone = markdown(check_leakage([one]))
    assert alone == ""
    widths = [len(line.split(" | ")) for line in text.splitlines() if line.startswith("| ")]
    assert set(widths) == {7, 3}


def test_long_texts_are_cut() -> None:
    long = "word " * 100
    text = markdown(check_leakage([hash_set("one", [long])], [long]))
    assert max(map(len, text.splitlines())) < 500 and "…" in text


# ---- what is refused -----------------------------------------------------------------------------


def test_bad_sets_and_rows_are_refused_in_one_sentence(tmp_path: Path) -> None:
    good = hash_set("s", PAIRS)
    with pytest.raises(InputError, match="holds no rows, so nothing can occur"):
        hash_set("s", [])
    with pytest.raises(InputError, match="Row 2 of s has 1 texts where the first has 2"):
        hash_set("s", [PAIRS[0], ("x",)])
    with pytest.raises(InputError, match="Row 1 of s holds a text that is blank"):
        hash_set("s", [("a", " ")])
    with pytest.raises(InputError, match="n-gram of 1 word"):
        hash_set("s", PAIRS, words=1)
    with pytest.raises(InputError, match="no evaluation set"):
        training_leakage(["a"], [])
    with pytest.raises(InputError, match="Two sets have one name"):
        overlaps([good, good])
    with pytest.raises(InputError, match=r"different lengths \(s: 8, t: 4\)"):
        overlaps([good, hash_set("t", PAIRS, words=4)])
    with pytest.raises(InputError, match="different widths"):
        union("u", [good, hash_set("t", ["a"])])
    with pytest.raises(InputError, match="made of no sets"):
        union("u", [])
    with pytest.raises(InputError, match="holds no rows to look for"):
        training_leakage([], [good])
    with pytest.raises(InputError, match="Training row 2 holds"):
        training_leakage(["a", 3], [good])  # type: ignore[list-item]
    with pytest.raises(InputError, match="no such file"):
        training_leakage(tmp_path / "missing.txt", [good])
    (tmp_path / "blank.txt").write_text("\n\n")
    with pytest.raises(InputError, match=r"blank\.txt: holds no rows"):
        training_leakage(tmp_path / "blank.txt", [good])
