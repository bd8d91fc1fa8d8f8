"""Clusters against a naive loop and sentence-transformers' pairs; what stays; what goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simcse_kit.corpus import PairFinder, VectorIndex, dedupe, near_duplicates, nearest
from simcse_kit.corpus.recall import Order
from simcse_kit.errors import InputError


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def planted(groups: int = 30, most: int = 5, alone: int = 200, d: int = 32) -> np.ndarray:
    """Groups of near rows, equal ones among them, and rows that are near to none; shuffled."""
    rng = np.random.default_rng(3)
    rows = [rng.normal(size=(alone, d))]
    for _ in range(groups):
        centre = rng.normal(size=(1, d))
        near = centre + 0.15 * rng.normal(size=(rng.integers(1, most), d))
        rows += [near, near[:1]]
    found = unit(np.concatenate(rows))
    return found[rng.permutation(len(found))]


def naive(vectors: np.ndarray, threshold: float) -> tuple[list[tuple[int, int]], list[int]]:
    """All pairs i < j that reach the threshold, and the first row of the cluster of each."""
    exact = vectors.astype(np.float64)
    pairs = [
        (i, j)
        for i in range(len(exact))
        for j in range(i + 1, len(exact))
        if float(exact[i] @ exact[j]) >= threshold
    ]
    label = list(range(len(exact)))
    changed = True
    while changed:
        changed = False
        for i, j in pairs:
            low = min(label[i], label[j])
            if label[i] != low or label[j] != low:
                label[i] = label[j] = low
                changed = True
    return pairs, label


VECTORS = planted()


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("block", [7, 64, 8192])
def test_pairs_are_those_of_the_naive_loop(block: int, precision: str) -> None:
    rows = np.arange(len(VECTORS))
    for threshold in (0.005, 0.5, 0.9):
        finder = PairFinder(VECTORS, threshold, rows, block=block, precision=precision)
        found = {
            (int(i), int(j))
            for left in finder.starts
            for near in finder.block_pairs(left)
            for i, j in zip(near.first, near.second, strict=True)
        }
        assert found == {*naive(VECTORS, threshold)[0]}


def test_a_cosine_that_bf16_cannot_tell_from_the_threshold_is_told_by_float64() -> None:
    angles = np.linspace(0.44, 0.46, 400)  # cosines about 0.9 that differ by 2e-5
    rows = np.concatenate([[[1.0, 0.0]], np.stack([np.cos(angles), np.sin(angles)], axis=1)])
    vectors = rows.astype(np.float32)
    finder = PairFinder(vectors, 0.9, np.arange(401), precision="bf16")
    reached = vectors.astype(np.float64) @ vectors[0].astype(np.float64) >= 0.9
    found = [near.second[near.first == 0] for near in finder.block_pairs(0)]
    assert 0 < reached[1:].sum() < 400
    assert np.concatenate(found).tolist() == (1 + np.flatnonzero(reached[1:])).tolist()


@pytest.mark.parametrize("threshold", [0.3, 0.9, 0.97, 1.0])
def test_clusters_are_the_connected_components(threshold: float) -> None:
    found = near_duplicates(VECTORS, threshold, block=50)
    pairs, label = naive(VECTORS, threshold)
    if threshold < 1:  # equal rows are linked by their bits, whatever their product rounds to
        assert found.kept.tolist() == label and found.pairs == len(pairs)
    assert found.exact and len(found.stays) + len(found.goes) == len(VECTORS)
    members = {head: [head, *rows.tolist()] for head, rows in found.clusters()}
    sizes = [len(rows) for rows in members.values()]
    assert sizes == sorted(sizes, reverse=True) and sum(sizes) - len(sizes) == len(found.goes)
    for head, rows in members.items():
        cosines = VECTORS[rows].astype(np.float64) @ VECTORS[head].astype(np.float64)
        assert found.cosine[rows[1:]] == pytest.approx(cosines[1:])
        assert (np.diff(cosines[1:]) <= 1e-12).all()


def test_pairs_are_those_of_sentence_transformers() -> None:
    from sentence_transformers.util import paraphrase_mining_embeddings
    from torch import from_numpy

    theirs = paraphrase_mining_embeddings(from_numpy(VECTORS), top_k=len(VECTORS))
    wanted = {(i, j) for score, i, j in theirs if score >= 0.9}
    assert wanted == {*naive(VECTORS, 0.9)[0]}
    assert near_duplicates(VECTORS, 0.9).pairs == len(wanted)


def test_communities_of_sentence_transformers_lie_within_the_clusters() -> None:
    from sentence_transformers.util import community_detection
    from torch import from_numpy

    found = near_duplicates(VECTORS, 0.9)
    theirs = community_detection(from_numpy(VECTORS), threshold=0.9, min_community_size=2)
    assert len(theirs) > 10
    for community in theirs:
        assert len({*found.kept[community].tolist()}) == 1


def test_which_row_stays() -> None:
    # a chain: the middle one is near to both ends, which are further apart than the threshold
    angles = np.array([0.0, 0.3, 0.15, 2.0])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    kept = {
        keep: near_duplicates(vectors, 0.98, keep=keep, lengths=[3, 9, 3, 1]).kept.tolist()
        for keep in ("first", "longest", "central")
    }
    assert kept == {"first": [0, 0, 0, 3], "longest": [1, 1, 1, 3], "central": [2, 2, 2, 3]}
    assert near_duplicates(vectors, 0.98).cosine[1] == pytest.approx(np.cos(0.3))


def test_of_several_the_first_stays() -> None:
    vectors = np.tile(unit(np.random.default_rng(0).normal(size=(2, 8))), (5, 1))
    for keep in ("first", "longest", "central"):
        found = near_duplicates(vectors, 0.99, keep=keep, lengths=[4] * 10)  # type: ignore[arg-type]
        assert found.kept.tolist() == [0, 1] * 5 and found.pairs == 20
    assert [rows.tolist() for _, rows in found.clusters()] == [[2, 4, 6, 8], [3, 5, 7, 9]]


def test_of_equal_rows_the_first_is_central_however_their_products_round(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    exact = dedupe._centrality

    def rounded(vectors: Any, rows: np.ndarray) -> np.ndarray:  # by place, as BLAS does
        return exact(vectors, rows) + 1e-14 * np.arange(len(rows))

    monkeypatch.setattr(dedupe, "_centrality", rounded)
    angles = np.array([0.3, 0.0, 0.15, 2.0, 0.15, 0.15, 0.0])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    found = near_duplicates(vectors, 0.98, keep="central")
    assert found.kept.tolist() == [2, 2, 2, 3, 2, 2, 2]


def test_an_index_finds_the_clusters(tmp_path: Path) -> None:
    pytest.importorskip("faiss")
    index = VectorIndex.build(VECTORS, tmp_path / "index", factory="Flat")
    found, exact = near_duplicates(VECTORS, 0.9, index=index), near_duplicates(VECTORS, 0.9)
    assert found.kept.tolist() == exact.kept.tolist() and not found.exact


@pytest.mark.parametrize("exactly", [0, 20_000])
def test_copies_do_not_crowd_out_the_neighbours_that_an_index_finds(
    exactly: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("faiss")
    monkeypatch.setattr("simcse_kit.corpus.index._SEARCHED_EXACTLY", exactly)
    near = unit(VECTORS[:1] + 0.01 * np.random.default_rng(4).normal(size=(2, 32)))
    vectors = np.concatenate([np.repeat(near, 40, axis=0), VECTORS[1:]])
    index = VectorIndex.build(vectors, tmp_path / "index", factory="Flat")
    found, exact = near_duplicates(vectors, 0.9, index=index), near_duplicates(vectors, 0.9)
    assert found.kept.tolist() == exact.kept.tolist() and found.pairs == exact.pairs
    assert found.kept[79] == 0


def test_of_many_rows_with_copies_the_index_is_told_once_which_it_may_find(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("faiss")
    monkeypatch.setattr("simcse_kit.corpus.index._SEARCHED_EXACTLY", 0)
    rows = unit(np.random.default_rng(5).normal(size=(9000, 8)))
    vectors = np.concatenate([rows, rows[:9]])
    index = VectorIndex.build(vectors, tmp_path / "index", factory="Flat")
    numbers, asked = Order.numbers, []

    def watched(self: Order, allowed: np.ndarray) -> np.ndarray:
        asked.append(int(allowed.sum()))
        return numbers(self, allowed)

    monkeypatch.setattr(Order, "numbers", watched)
    found = near_duplicates(vectors, 0.99999, index=index)
    assert found.goes.tolist()[-9:] == [*range(9000, 9009)] and asked == [9000]


def test_rows_of_one_hash_that_differ_are_not_equal(monkeypatch: pytest.MonkeyPatch) -> None:
    class Zeros:
        def integers(self, low: int, high: int, size: int, dtype: Any) -> np.ndarray:
            return np.full(size, 0, dtype)

    expected = dedupe._equal(VECTORS)
    assert len(np.unique(expected)) < len(VECTORS)
    monkeypatch.setattr(dedupe.np.random, "default_rng", lambda seed: Zeros())
    found = dedupe._equal(np.concatenate([VECTORS[:1], np.roll(VECTORS[:1], 1, axis=1)]))
    assert found.tolist() == [0, 1]


@pytest.mark.parametrize("stop", [1, 3])
def test_interrupted_it_goes_on(
    stop: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    expected = near_duplicates(VECTORS, 0.9, block=50)
    asked: list[int] = []
    whole = PairFinder.block_pairs

    def some(self: PairFinder, left: int) -> Any:
        asked.append(left)
        if len(asked) == stop + 1:
            raise KeyboardInterrupt
        return whole(self, left)

    monkeypatch.setattr(PairFinder, "block_pairs", some)
    with pytest.raises(KeyboardInterrupt):
        near_duplicates(VECTORS, 0.9, block=50, state=tmp_path / "state")
    other = near_duplicates(VECTORS, 0.3, block=50, state=tmp_path / "other")
    assert other.pairs > expected.pairs and not (tmp_path / "other").exists()
    with caplog.at_level("INFO"):
        found = near_duplicates(VECTORS, 0.9, block=50, state=tmp_path / "state")
    assert f"goes on after {50 * stop} rows" in caplog.text
    assert asked.count(0) == 2 and asked.count(50 * stop) == 3  # stopped, other, went on
    assert found.kept.tolist() == expected.kept.tolist() and found.pairs == expected.pairs
    assert not (tmp_path / "state").exists()


def test_what_is_done_stays_until_it_is_let_go(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    state = tmp_path / "state"
    expected = near_duplicates(VECTORS, 0.9, block=50, state=state, keep_state=True)
    with monkeypatch.context() as patch:  # it is not compared again, whichever row is to stay
        patch.setattr(PairFinder, "block_pairs", lambda self, left: pytest.fail("compared"))
        again = near_duplicates(VECTORS, 0.9, block=50, state=state, keep_state=True)
        near_duplicates(VECTORS, 0.9, keep="central", block=50, state=state, keep_state=True)
    assert again.kept.tolist() == expected.kept.tolist() and again.pairs == expected.pairs
    with monkeypatch.context() as patch, pytest.raises(MemoryError):  # what fails after it
        patch.setattr(dedupe, "cosines_of", lambda *_: (_ for _ in ()).throw(MemoryError))
        near_duplicates(VECTORS, 0.9, block=50, state=state)
    assert (state / "links.npz").exists()
    dedupe.forget(state)
    dedupe.forget(state)
    assert not state.exists()


@pytest.mark.parametrize("damage", ["no archive", "cut", "bytes"])
def test_a_damaged_state_is_begun_again(
    damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected, file = near_duplicates(VECTORS, 0.9, block=50), tmp_path / "state" / "links.npz"
    whole = PairFinder.block_pairs

    def stopped(self: PairFinder, left: int) -> Any:
        if left == 100:
            raise KeyboardInterrupt
        return whole(self, left)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(PairFinder, "block_pairs", stopped)
        near_duplicates(VECTORS, 0.9, block=50, state=file.parent)
    kept = file.read_bytes()
    middle = kept.index(b"parent.npy") + 200
    wrong = {
        "no archive": b"PK nothing",
        "cut": kept[: len(kept) // 2],
        "bytes": kept[:middle]
        + bytes(255 - byte for byte in kept[middle : middle + 9])
        + kept[middle + 9 :],
    }
    file.write_bytes(wrong[damage])
    found = near_duplicates(VECTORS, 0.9, block=50, state=file.parent)
    assert found.kept.tolist() == expected.kept.tolist() and found.pairs == expected.pairs


def test_what_cannot_be() -> None:
    with pytest.raises(InputError, match="no vectors"):
        near_duplicates(VECTORS[:0])
    for threshold in (0.0, 1.1, float("nan")):
        with pytest.raises(InputError, match="give a cosine above 0"):
            near_duplicates(VECTORS, threshold)
    for wrong, said in (
        (3 * VECTORS, "length 3; give unit vectors"),
        (np.full((2, 4), np.nan, np.float32), "not finite"),
        (VECTORS[0], r"of shape \(32,\); give an array"),
        (VECTORS.tolist(), "are a list; give an array"),
    ):
        with pytest.raises(InputError, match=said):
            near_duplicates(wrong)
    with pytest.raises(InputError, match="lengths"):
        near_duplicates(VECTORS, keep="longest", lengths=[1])
    with pytest.raises(InputError, match="choose first, longest"):
        near_duplicates(VECTORS, keep="best")  # type: ignore[arg-type]
    one = near_duplicates(VECTORS[:1])
    assert one.kept.tolist() == [0] and one.pairs == 0 and [*one.clusters()] == []


def test_the_nearest_of_each_reach_no_threshold_where_no_pair_does() -> None:
    rows, cosines = nearest(VECTORS, VECTORS, 2)
    alone = cosines[:, 1] < 0.9
    assert (near_duplicates(VECTORS, 0.9).kept[alone] == np.flatnonzero(alone)).all()
    assert rows.shape == (len(VECTORS), 2)
