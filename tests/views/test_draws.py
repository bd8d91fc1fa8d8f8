"""Where a view's chance comes from: the seed, the epoch, the row and the side, and nothing else."""

from __future__ import annotations

import numpy as np

from simcse_kit.views import Draws

ROWS = np.array([7, 3, 11])


def test_a_row_draws_alike_in_any_batch() -> None:
    counts = np.array([2, 0, 4])
    together = Draws(1, 0, ROWS, 1).per_token(counts, 5)
    alone = [Draws(1, 0, ROWS[[n]], 1).per_token(counts[[n]], 5) for n in range(3)]
    assert together.tolist() == np.concatenate(alone).tolist()
    nth = Draws(1, 0, ROWS, 1).nth(2).per_row()
    assert nth[1] == Draws(1, 0, ROWS[[1]], 1).nth(2).per_row()[0]


def test_seed_epoch_row_side_stream_and_turn_all_count() -> None:
    draws = [Draws(seed, epoch, np.arange(50), side) for seed, epoch, side in
             [(1, 0, 0), (2, 0, 0), (1, 1, 0), (1, 0, 1), (1, 0, 2)]]  # fmt: skip
    found = [each.per_row() for each in draws]
    found += [draws[0].per_row(1), draws[0].nth(0).per_row(), draws[0].nth(1).per_row()]
    found += [draws[0].shared.per_row(), draws[0].nth(0).shared.per_row()]
    assert len(np.unique(np.concatenate(found))) == 50 * len(found)


def test_sides_share_draws_alone_and_in_turn() -> None:
    anchors, positives = Draws(1, 0, ROWS, 0), Draws(1, 0, ROWS, 1)
    assert anchors.shared.per_row().tolist() == positives.shared.per_row().tolist()
    assert anchors.nth(3).shared.per_row().tolist() == positives.nth(3).shared.per_row().tolist()
    assert anchors.shared.nth(3).per_row().tolist() == anchors.nth(3).shared.per_row().tolist()


def test_draws_are_uniform() -> None:
    drawn = Draws(0, 0, np.arange(2000), 0).per_token(np.full(2000, 10))
    assert drawn.min() >= 0
    assert drawn.max() < 1
    counts, _ = np.histogram(drawn, 20, (0, 1))
    assert np.square(counts - 1000).sum() / 1000 < 45  # chi-square of 19: p of 0.0007
    table = drawn.reshape(2000, 10)
    assert abs(np.corrcoef(table, rowvar=False)[0, 1:]).max() < 0.08
    assert abs(np.corrcoef(table[:-1, 0], table[1:, 0])[0, 1]) < 0.08
