"""The sampler that keeps linked rows apart: every row once an epoch, no relatives in a batch."""

from __future__ import annotations

import time

import numpy as np
import pytest

from simcse_kit.training.rows.linked_rows import NoDuplicates


def relatives(texts: np.ndarray, one: int, other: int) -> bool:
    """Whether a text of one row is a text of the other, or some row's partner of its anchor."""

    def reach(row: int) -> set[int]:
        anchor = texts[row, 0]
        near = {t for r in texts[:, :2].tolist() if anchor in r for t in r}
        return near | set(texts[row].tolist())

    return bool(reach(one) & set(texts[other].tolist()) or reach(other) & set(texts[one].tolist()))


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("width", [2, 3])
def test_no_relatives_meet_and_every_row_comes_once(seed: int, width: int) -> None:
    pick = np.random.default_rng(seed)
    texts = pick.integers(0, 150, (90, width))
    sampler = NoDuplicates(texts, 6, seed)
    epochs = []
    for epoch in range(2):
        sampler.set_epoch(epoch)
        order = list(sampler)
        assert sorted(order) == list(range(90)) and list(sampler) == order
        epochs.append(order)
        batches = [order[at : at + 6] for at in range(0, 90, 6)]
        mixed = [
            number
            for number, batch in enumerate(batches)
            if any(relatives(texts, a, b) for i, a in enumerate(batch) for b in batch[:i])
        ]
        # only what was left over may be mixed, and only at the end
        assert mixed == list(range(15))[15 - len(mixed) :]
        assert len(mixed) <= 5
    assert epochs[0] != epochs[1]


def test_two_questions_with_many_answers_cannot_be_kept_apart() -> None:
    texts = np.array([[row % 2, 2 + row] for row in range(20)])
    order = list(NoDuplicates(texts, 4, 0))
    assert sorted(order) == list(range(20))
    assert {texts[row, 0] for row in order[:2]} == {0, 1}


def test_rows_that_cannot_be_kept_apart_are_said_once(caplog: pytest.LogCaptureFixture) -> None:
    negative = 1000  # of all rows but ten
    texts = np.array([[2 * row, 2 * row + 1, negative if row < 50 else -1] for row in range(60)])
    sampler = NoDuplicates(texts, 4, 0)
    for epoch in range(2):
        sampler.set_epoch(epoch)
        assert sorted(sampler) == list(range(60))
    [record] = caplog.records
    mixed = int(record.getMessage().split(": ")[1].split()[0])
    assert 40 <= mixed < 50
    assert "of 60 rows share texts" in record.getMessage()
    assert record.getMessage().endswith("the commonest text stands in 50 rows")
    caplog.clear()
    list(NoDuplicates(np.arange(120).reshape(60, 2), 4, 0))
    assert not caplog.records


def test_rows_that_lack_a_negative_are_no_relatives() -> None:
    texts = np.array([[2 * row, 2 * row + 1, -1] for row in range(12)])
    order = list(NoDuplicates(texts, 4, 0))
    assert order == np.random.default_rng((0, 0)).permutation(12).tolist()


def test_one_text_in_half_of_many_rows_takes_no_square_of_them() -> None:
    count = 30_000
    texts = np.stack([np.arange(count), count + np.arange(count)], axis=1)
    texts[::2, 0] = 0
    start = time.perf_counter()
    assert len(list(NoDuplicates(texts, 64, 0))) == count
    assert time.perf_counter() - start < 20
