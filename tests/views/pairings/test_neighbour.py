"""Neighbours of the same document, against a loop over documents."""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np
import pytest
from pydantic import ValidationError
from scipy import stats

from simcse_kit.errors import InputError
from simcse_kit.parts import Context, part_names, spec_of
from simcse_kit.views import Draws
from simcse_kit.views.pairings.neighbour import Neighbour

# documents mixed, of 5, 3, 2 and 1 sentences, by ids that are no running numbers
DOCUMENTS = np.array([4, 9, 4, 4, 2, 9, 7, 4, 2, 4, 9])
EACH = pytest.mark.parametrize(
    ("window", "direction"), [(w, d) for w in (1, 2, 3, 100) for d in ("next", "both")]
)


def pairing(documents: np.ndarray | None = DOCUMENTS, **settings: object) -> Neighbour:
    rows = 0 if documents is None else len(documents)
    return Neighbour(Context(rows=rows, documents=documents), **settings)


def neighbours(window: int, direction: str) -> dict[int, list[int]]:
    """Of every row, by looking through its document."""
    found = defaultdict(list)
    for row, document in enumerate(DOCUMENTS):
        same = [other for other, its in enumerate(DOCUMENTS) if its == document]
        for other in same:
            away = same.index(other) - same.index(row)
            if 0 < away <= window or (direction == "both" and 0 < -away <= window):
                found[row].append(other)
    return found


def drawn(rows: np.ndarray, epoch: int = 0, seed: int = 0) -> Draws:
    return Draws(seed, epoch, rows, 1 << 16)


@EACH
def test_every_neighbour_and_no_other_is_drawn_as_often(window: int, direction: str) -> None:
    paired, expected = pairing(window=window, direction=direction), neighbours(window, direction)
    rows = paired.rows()
    assert rows.tolist() == sorted(expected)
    seen: dict[int, Counter[int]] = defaultdict(Counter)
    for epoch in range(400):
        texts = paired(rows, drawn(rows, epoch))
        assert texts.shape == (len(rows), 2) and texts.dtype == np.int64
        assert (texts[:, 0] == rows).all()
        for row, positive in texts.tolist():
            seen[row][positive] += 1
    for row, near in expected.items():
        assert set(seen[row]) == set(near)
        if len(near) > 1:
            assert stats.chisquare([seen[row][one] for one in near]).pvalue > 1e-5


def test_a_row_has_the_same_neighbour_in_any_batch_and_after_a_resume() -> None:
    paired = pairing(window=3, direction="both")
    rows = paired.rows()
    whole = dict(paired(rows, drawn(rows)).tolist())
    some = rows[[5, 0, 3]]
    assert dict(paired(some, drawn(some)).tolist()) == {row: whole[row] for row in some.tolist()}
    assert any((paired(rows, drawn(rows, epoch)) != paired(rows, drawn(rows))).any()
               for epoch in (1, 2, 3))  # fmt: skip


def test_two_sentences_of_one_document() -> None:
    two = pairing(np.array([5, 5]))
    assert two.rows().tolist() == [0]
    assert two(np.array([0]), drawn(np.array([0]))).tolist() == [[0, 1]]
    both = pairing(np.array([5, 5]), direction="both")
    assert both.rows().tolist() == [0, 1]
    assert both(np.array([1, 0]), drawn(np.array([1, 0]))).tolist() == [[1, 0], [0, 1]]


def test_groups_are_documents_where_they_are_to_be() -> None:
    assert pairing().groups() is None
    groups = pairing(mask_document=True).groups()
    assert groups is not None
    same = groups[:, None] == groups
    assert (same == (DOCUMENTS[:, None] == DOCUMENTS)).all()


def test_what_the_log_says() -> None:
    assert pairing().told() == (
        "4 documents of 2.75 sentences on average; 7 of 11 sentences have a neighbour to be paired "
        "with, the others are no anchors; documents of one sentence, which are left out: 1"
    )
    assert "left out" not in pairing(np.array([0, 0, 1, 1])).told()


@pytest.mark.parametrize(
    ("documents", "settings", "said"),
    [
        (None, {}, r"nothing tells which document.* columns=\{'document': NAME\}, or put a blank"),
        (np.arange(3), {}, "each of the 3 documents holds one sentence"),
        (np.zeros(4, int), {"mask_document": True}, "all rows are of one document"),
    ],
)
def test_what_gives_no_pairs_is_refused(documents, settings, said) -> None:
    with pytest.raises(InputError, match=said):
        pairing(documents, **settings)


def test_the_command_line_is_told_its_option() -> None:
    with pytest.raises(InputError) as refused:
        pairing(None)
    assert "give --column document=NAME, or put" in refused.value.command_line


def test_settings() -> None:
    assert "neighbour" in part_names("pairing")
    assert spec_of("pairing", "neighbour").settings.model_dump() == {
        "window": 1, "direction": "next", "mask_document": False,
    }  # fmt: skip
    for wrong in ({"window": 0}, {"window": True}, {"direction": "previous"}, {"windows": 2}):
        with pytest.raises(ValidationError):
            pairing(**wrong)
