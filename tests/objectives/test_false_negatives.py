"""Which candidates are no negatives: against a plain reading of the rows."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from simcse_kit.data.links import linked_texts
from simcse_kit.objectives import false_negatives
from simcse_kit.objectives.false_negatives import equal_text_mask, linked_text_mask


def called_positive(rows: list[tuple[int, ...]], anchor: int, text: int) -> bool:
    """Whether some row pairs the two texts, either way round."""
    return any({anchor, text} == {row[0], row[1]} for row in rows)


@pytest.mark.parametrize("negatives", [0, 2])
@pytest.mark.parametrize("seed", range(5))
def test_a_candidate_that_any_row_calls_a_positive_is_none(
    negatives: int, seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(false_negatives, "_AT_A_TIME", 40)  # a few anchors at a time
    pick = np.random.default_rng(seed)
    data = [tuple(int(t) for t in pick.integers(0, 12, 2 + negatives)) for _ in range(40)]
    table = np.array(data)
    links = torch.from_numpy(linked_texts(table[:, 0], table[:, 1], 12))
    batch = [data[i] for i in pick.permutation(40)[:9]]  # other rows link texts of these, too
    ids = torch.tensor(batch)
    mask = equal_text_mask(ids) | linked_text_mask(ids, links, 12)
    candidates = [row[1] for row in batch] + [text for row in batch for text in row[2:]]
    for i, row in enumerate(batch):
        for column, text in enumerate(candidates):
            wanted = text in row[:2] or called_positive(data, row[0], text)
            assert bool(mask[i, column]) == wanted, (row, text)


def test_places_without_a_hard_negative_hold_no_candidate() -> None:
    ids = torch.tensor([[0, 1, 2, -1], [3, 4, -1, -1], [5, 6, 1, 2]])
    mask = equal_text_mask(ids)
    expected = torch.eye(3, 9, dtype=torch.bool)  # the own positives; then two places a row
    expected[:, [4, 5, 6]] = True
    expected[0, 7] = True  # its own positive, given as a negative of another row
    assert torch.equal(mask, expected)


def test_texts_with_one_partner_need_no_entry() -> None:
    anchors, positives = np.array([0, 2, 4]), np.array([1, 3, 5])
    assert len(linked_texts(anchors, positives, 6)) == 0
    # one question, two answers: the question has several partners, each answer one
    links = linked_texts(np.array([0, 0, 3]), np.array([1, 2, 4]), 5)
    assert links.tolist() == [0 * 5 + 1, 0 * 5 + 2]
    # paired with itself and with another: in the first row that other is not the positive beside it
    assert linked_texts(np.array([0, 0]), np.array([0, 1]), 2).tolist() == [1]
    assert len(linked_texts(np.array([0]), np.array([0]), 1)) == 0
