"""Batches of several rows a label: hand-made lists, and what holds for every list."""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simcse_kit.data import Rows
from simcse_kit.errors import InputError
from simcse_kit.training.rows.by_label import ByLabel, check_labels, tell_one_label_batches


def batches(labels, batch_size, k, seed=0, epoch=0):
    """The batches' rows, and how many rows each label has in each."""
    numbers = np.unique(labels, return_inverse=True)[1]
    sampler = ByLabel(numbers, batch_size, k, seed)
    sampler.set_epoch(epoch)
    order = list(sampler)
    assert len(sampler) == len(order)
    cut = [order[at : at + batch_size] for at in range(0, len(order), batch_size)]
    return cut, [Counter(labels[row] for row in batch) for batch in cut]


def test_every_batch_has_as_many_labels_as_fit_with_k_rows_each():
    labels = [row % 20 for row in range(240)]  # 20 labels of 12 rows
    cut, counts = batches(labels, 16, 4)
    assert all(sorted(each.values()) == [4, 4, 4, 4] for each in counts)
    for batch in cut:  # side by side, so that ranks have whole groups
        groups = [{labels[row] for row in batch[at : at + 4]} for at in range(0, 16, 4)]
        assert all(len(group) == 1 for group in groups)


def test_labels_meet_others_in_other_epochs():
    labels = [row % 20 for row in range(240)]
    met = [
        {frozenset(each) for each in batches(labels, 16, 4, epoch=epoch)[1]} for epoch in range(3)
    ]
    assert len(met[0]) > 3 and met[0] != met[1] != met[2]


def test_small_labels_are_taken_whole_and_stand_beside_large_ones():
    labels = ["large"] * 24 + ["three"] * 3 + ["two"] * 2 + ["one"] + ["pair"] * 2
    for seed in range(5):
        _, counts = batches(labels, 8, 4, seed)
        assert all(sum(each.values()) == 8 for each in counts)
        for label, rows in [("three", 3), ("two", 2), ("one", 1), ("pair", 2)]:
            assert [each[label] for each in counts if label in each] == [rows]
        assert [each["large"] for each in counts].count(4) >= 2


def test_few_labels_are_spread_evenly_over_the_batches():
    labels = ["a"] * 48 + ["b"] * 16
    _, counts = batches(labels, 16, 4)
    assert all(each == {"a": 12, "b": 4} for each in counts)


def test_a_last_batch_holds_what_is_left():
    labels = [row % 5 for row in range(23)]  # 5, 5, 5, 4, 4
    cut, counts = batches(labels, 8, 2)
    assert [len(batch) for batch in cut] == [8, 8, 7]
    assert all(len(each) >= 3 for each in counts[:-1])
    cut, _ = batches(labels, 64, 2)
    assert [len(batch) for batch in cut] == [23]


def test_no_rows_are_left_out_of_every_epoch():
    """Training leaves out what fills no batch; a rare label would stand there again and again."""
    for sizes in ([20, 2], [40, 3, 2], [21, 1]):
        labels = np.repeat(np.arange(len(sizes)), sizes).tolist()
        whole = len(labels) // 8
        epochs = [batches(labels, 8, 4, epoch=epoch)[0] for epoch in range(30)]
        seen = Counter(row for cut in epochs for batch in cut[:whole] for row in batch)
        assert len(seen) == len(labels)
        assert all(n > 8 for row, n in seen.items() if labels[row])


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.integers(1, 30), min_size=1, max_size=40),
    st.integers(1, 6),
    st.integers(2, 5),
    st.integers(0, 5),
)
def test_every_row_comes_once_and_labels_are_kept_apart(sizes, labels_a_batch, k, epoch):
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(sizes)), sizes)).tolist()
    batch_size = labels_a_batch * k
    cut, counts = batches(labels, batch_size, k, seed=3, epoch=epoch)
    rows = [row for batch in cut for row in batch]
    assert sorted(rows) == list(range(len(labels)))
    assert batches(labels, batch_size, k, seed=3, epoch=epoch)[0] == cut
    assert all(len(batch) == batch_size for batch in cut[:-1])
    full_batches = len(labels) // batch_size
    for label, size in enumerate(sizes):
        groups = size // k  # at most one more would be of what is left
        in_whole = [each[label] // k for each in counts]
        # dealt evenly: never two more groups in one full batch than the share of all
        assert max(in_whole) <= -(-groups // max(1, full_batches)) + 1
    # small labels are whole, but for one a batch that may be cut to fill it
    small = [label for label, size in enumerate(sizes) if size < k]
    cuts = sum(sum(each[label] > 0 for each in counts) - 1 for label in small)
    assert cuts <= len(cut)


@pytest.mark.parametrize("k", [2, 4])
def test_groups_of_k_meet_only_groups_of_other_labels(k):
    draw = np.random.default_rng(1)
    sizes = k * draw.integers(1, 6, 60)
    labels = np.repeat(np.arange(60), sizes)
    labels = labels[: len(labels) // (8 * k) * 8 * k].tolist()
    for seed in range(3):
        _, counts = batches(labels, 8 * k, k, seed)
        cut_label = labels[-1]  # of which the list may hold no multiple of k
        for each in counts:
            assert all(n == k for label, n in each.items() if label != cut_label)


def test_many_labels_of_few_rows_take_no_square_of_them():
    labels = np.random.default_rng(0).integers(0, 20_000, 60_000)
    order = list(ByLabel(labels, 64, 4, seed=0))
    same = [labels[a] == labels[b] for a, b in pairwise(order)]
    assert sorted(order) == list(range(60_000))
    assert np.mean(same) > 0.5  # alone, no two neighbours would be of one label


def test_batches_that_hold_no_whole_groups_are_refused():
    with pytest.raises(ValueError, match="batches of 10 do not hold groups of 4"):
        ByLabel(np.zeros(8, dtype=np.int64), 10, 4, 0)


# ---- what is checked before training -------------------------------------------------------------


def rows(labels, kind="labelled"):
    texts = [f"text {row}" for row in range(len(labels or "abc"))]
    return Rows(kind, {"text": texts}, labels, None, "rows.tsv", 0, 0)


@pytest.mark.parametrize(
    ("given", "batch", "k", "said"),
    [
        (rows(None, "text"), 8, 4, "text rows have none; give the columns text and label"),
        (rows(["a", "a", "a"]), 8, 4, "'a' is the label of all 3 rows"),
        (rows(["a", "b", "c"]), 8, 4, "of 3 labels 0 have two rows or more"),
        (rows(["a", "a", "b", "c"]), 8, None, "of 3 labels 1 have two rows or more"),
        (
            replace(rows(["a", "a", "b", "b"]), columns={"text": ["same"] * 4}),
            8,
            None,
            "'same' is the text of all 4 rows",
        ),
        (rows(["a", "a", "b", "b"]), 10, 4, "10 rows is no multiple of samples_per_label 4"),
        (rows(["a", "a", "b", "b"]), 4, 4, "fills a batch of 4 rows with one label"),
    ],
)
def test_labels_that_teach_nothing_are_refused(given, batch, k, said):
    with pytest.raises(InputError, match=said) as refused:
        check_labels(given, batch, k)
    assert "\n" not in str(refused.value)


def test_batches_of_one_label_are_told(caplog):
    with caplog.at_level(logging.WARNING):
        tell_one_label_batches(ByLabel(np.repeat([0, 1], [36, 12]), 16, 4, 0), "rows.tsv")
    assert not caplog.records
    tell_one_label_batches(ByLabel(np.repeat([0, 1], [60, 4]), 16, 4, 0), "rows.tsv")
    assert "rows.tsv: 3 of 4 batches of an epoch hold one label alone" in caplog.text


def test_many_rows_that_are_alone_are_told(caplog):
    with caplog.at_level(logging.WARNING):
        check_labels(rows(["a", "a", "b", "b", "c", "d"]), 4, 2)
    assert "2 of 6 rows are the only one of their label" in caplog.text
    caplog.clear()
    check_labels(rows(["a", "a", "b", "b"]), 4, 2)
    assert not caplog.records
