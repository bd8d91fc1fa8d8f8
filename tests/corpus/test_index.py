"""Indexes in a folder against exact search: what is found, added, taken out, and refused."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from simcse_kit.corpus import VectorIndex, approximate, nearest
from simcse_kit.corpus.recall import Order
from simcse_kit.errors import InputError

faiss = pytest.importorskip("faiss")

GRAPH, CELLS = "HNSW16_SQ8", "IVF16,SQfp16"
KINDS = ["Flat", GRAPH, CELLS, "PCA8,Flat", "PQ8x4", "IVF8,PQ8x4"]


def unit(n: int, seed: int, d: int = 16) -> np.ndarray:
    rng = np.random.default_rng(seed)
    rows = rng.normal(size=(12, d))[rng.integers(0, 12, n)] + 0.5 * rng.normal(size=(n, d))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


VECTORS, QUERIES = np.split(unit(1520, 1), [1500])


def recall(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.mean([np.isin(e, f).mean() for e, f in zip(expected, found, strict=True)]))


@pytest.mark.parametrize("factory", KINDS)
def test_it_finds_what_exact_search_finds(factory: str, tmp_path: Path) -> None:
    index = VectorIndex.build(VECTORS, tmp_path / "index", factory=factory, model="m", state="s")
    again = VectorIndex.open(tmp_path / "index", VECTORS, model="m", state="s")
    rows, cosines = index.search(QUERIES, 10)
    assert np.array_equal(rows, again.search(QUERIES, 10)[0])
    expected, exact = nearest(QUERIES, VECTORS, 10)
    wanted = 1 if factory == "Flat" else 0.7 if "PCA" in factory else 0.9
    assert recall(rows, expected) >= wanted
    assert (np.diff(cosines, axis=1) <= 0).all()
    first = rows[:, 0] == expected[:, 0]
    assert cosines[first, 0] == pytest.approx(exact[first, 0], abs=1e-12)
    if factory == "Flat":
        assert rows.tolist() == expected.tolist() and index.manifest.recall == 1


@pytest.mark.parametrize("factory", [CELLS, GRAPH])
def test_the_recall_in_the_manifest_is_that_of_rows_outside(factory: str, tmp_path: Path) -> None:
    index = VectorIndex.build(VECTORS, tmp_path, factory=factory, recall=0.9)
    told = json.loads((tmp_path / "index.json").read_text())
    assert told["effort"] == index.manifest.effort in approximate.EFFORTS
    asked = np.unique(np.linspace(0, 1499, 256).round().astype(int))
    rest = np.setdiff1d(np.arange(1500), asked)
    found, _ = VectorIndex.build(VECTORS[rest], tmp_path / "rest", factory=factory).search(
        VECTORS[asked], 10, effort=told["effort"]
    )
    share = 0.0
    for row, places in zip(asked.tolist(), found.tolist(), strict=True):
        cosines = VECTORS[rest].astype(float) @ VECTORS[row].astype(float)
        share += len({*np.argsort(-cosines)[:10].tolist()} & {*places}) / 10 / len(asked)
    assert told["recall"] == pytest.approx(share, abs=0.05) and told["measured"] == 256
    strangers = recall(index.search(QUERIES, 10)[0], nearest(QUERIES, VECTORS, 10)[0])
    assert strangers >= 0.85


def test_what_is_refined_has_an_effort_too(tmp_path: Path) -> None:
    import gc

    index = VectorIndex.build(VECTORS, tmp_path, factory="IVF32,SQ8,RFlat", recall=0.95)
    assert (index.manifest.recall or 0) >= 0.95 and (index.manifest.effort or 0) >= 16
    gc.collect()
    expected, _ = nearest(QUERIES, VECTORS, 10)
    some = np.arange(0, 1500, 2)
    among, _ = nearest(QUERIES, VECTORS, 10, among=some)
    allowed = np.isin(np.arange(1500), some)
    for effort, least in ((32, 1.0), (512, 1.0)):
        assert recall(index.search(QUERIES, 10, effort=effort)[0], expected) >= least
        order = Order.of(1500)
        found = approximate.search(
            *(index._index, QUERIES, 40),
            effort=effort,
            allowed=approximate.Allowed(order.numbers(allowed)),
        )
        assert recall(order.rows(found), among) == 1
    assert recall(index.search(QUERIES, 10, effort=1)[0], expected) < 0.95


@pytest.mark.parametrize("factory", ["IVF32,SQ8", "HNSW4_SQ8", "IVF32,PQ8x4"])
def test_as_many_are_found_as_are_asked_for(
    factory: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("simcse_kit.corpus.index._SEARCHED_EXACTLY", 0)
    same = np.concatenate([np.repeat(VECTORS[:3], 300, axis=0), VECTORS[3:603]])
    index = VectorIndex.build(same, tmp_path, factory=factory)
    far = np.flatnonzero(same @ QUERIES[0] < 0)
    for k, among in ((1200, None), (100, far), (len(far) + 5, far)):
        rows, cosines = index.search(QUERIES, k, among=among, effort=16)
        there = min(k, len(same) if among is None else len(far))
        assert ((rows >= 0).sum(1) == there).all()
        assert all(len(np.unique(row[row >= 0])) == there for row in rows)
        assert (np.diff(cosines[:, :there], axis=1) <= 0).all()
        assert among is None or np.isin(rows[rows >= 0], far).all()
    few, _ = index.search(QUERIES, 1200, effort=1, fill=False)
    assert factory.startswith("HNSW") or (few < 0).any()


def test_effort_grows_until_the_recall_is_reached(tmp_path: Path) -> None:
    spread = np.random.default_rng(5).normal(size=(1500, 24)).astype(np.float32)
    spread /= np.linalg.norm(spread, axis=1, keepdims=True)
    low = VectorIndex.build(spread, tmp_path / "low", factory="IVF64,SQfp16", recall=0.3)
    high = VectorIndex.build(spread, tmp_path / "high", factory="IVF64,SQfp16", recall=1.0)
    assert (low.manifest.effort or 0) < (high.manifest.effort or 0)
    assert (low.manifest.recall or 0) < (high.manifest.recall or 0)


@pytest.mark.parametrize("factory", ["Flat", GRAPH, CELLS, "PQ8x4"])
def test_added_rows_are_found_and_removed_ones_are_not(factory: str, tmp_path: Path) -> None:
    index = VectorIndex.build(VECTORS[:1200], tmp_path, factory=factory)
    assert index.add(VECTORS[1200:1400]) == range(1200, 1400)
    assert index.add(VECTORS[1400:]) == range(1400, 1500)
    rows, _ = index.search(VECTORS[1450:], 1)
    assert (rows[:, 0] == np.arange(1450, 1500)).mean() > 0.7
    gone = np.arange(0, 1500, 3)
    assert index.remove(gone) == 500 and index.remove(gone[:5]) == 0 and len(index) == 1000
    for each in (index, VectorIndex.open(tmp_path, VECTORS[:1200])):
        rows, _ = each.search(QUERIES, 10)
        expected, _ = nearest(QUERIES, VECTORS, 10, among=np.setdiff1d(np.arange(1500), gone))
        assert not np.isin(rows, gone).any() and recall(rows, expected) >= 0.9
        assert (rows >= 0).all()
    assert len([*tmp_path.glob("vectors-*.faiss")]) == 1  # what no manifest names is taken away


@pytest.mark.parametrize("limit", [0, 10_000])
def test_a_filter_searches_some_rows(
    limit: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("simcse_kit.corpus.index._SEARCHED_EXACTLY", limit)
    index = VectorIndex.build(VECTORS, tmp_path, factory=GRAPH, recall=1.0)
    index.remove(np.array([4, 6]))
    some = np.arange(0, 1500, 2)
    rows, _ = index.search(QUERIES, 5, among=some)
    expected, _ = nearest(QUERIES, VECTORS, 5, among=np.setdiff1d(some, [4, 6]))
    assert np.isin(rows, some).all() and not np.isin(rows, [4, 6]).any()
    assert recall(rows, expected) >= 0.9


def test_more_than_there_are(tmp_path: Path) -> None:
    index = VectorIndex.build(VECTORS[:7], tmp_path)
    rows, cosines = index.search(QUERIES, 10)
    assert rows.shape == cosines.shape == (20, 7) and (np.sort(rows, axis=1) == range(7)).all()
    rows, cosines = index.search(QUERIES, 10, among=np.array([3, 5]))
    assert {*rows[0].tolist()} == {3, 5, -1} and np.isneginf(cosines[:, 2:]).all()


@pytest.mark.parametrize(
    ("count", "kind"), [(19_999, "Flat"), (20_000, "HNSW32_SQ8"), (9_000_000, "IVF12000,PQ48")]
)
def test_the_kind_is_chosen_by_the_number(count: int, kind: str) -> None:
    assert approximate.factory_for(count, 384) == kind
    assert faiss.index_factory(384, kind, faiss.METRIC_INNER_PRODUCT).d == 384


def test_a_map_is_indexed_in_blocks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(approximate, "_AT_A_TIME", 100)
    np.save(tmp_path / "rows.npy", VECTORS)
    rows = np.load(tmp_path / "rows.npy", mmap_mode="r")
    index = VectorIndex.build(rows, tmp_path / "index", factory="Flat")
    assert index.search(QUERIES, 5)[0].tolist() == nearest(QUERIES, VECTORS, 5)[0].tolist()


def test_another_process_has_added_meanwhile(tmp_path: Path) -> None:
    first = VectorIndex.build(VECTORS[:1000], tmp_path, factory="Flat")
    second = VectorIndex.open(tmp_path, VECTORS[:1000])
    first.add(VECTORS[1000:1100])
    assert second.add(VECTORS[1100:1200]) == range(1100, 1200)
    assert first.remove(np.array([1150])) == 1 and len(first) == 1199
    found, _ = VectorIndex.open(tmp_path, VECTORS[:1000]).search(VECTORS[1000:1200], 1)
    assert found[found[:, 0] == np.arange(1000, 1200)].size == 199


def test_two_at_once_are_refused(tmp_path: Path) -> None:
    from simcse_kit.corpus.run_lock import alone

    index = VectorIndex.build(VECTORS, tmp_path)
    with alone(tmp_path):
        for change in (
            lambda: index.add(VECTORS[:1]),
            lambda: index.remove(np.array([1])),
            lambda: VectorIndex.build(VECTORS, tmp_path, overwrite=True),
        ):
            with pytest.raises(InputError, match="another run writes there"):
                change()
    assert index.add(VECTORS[:1]) == range(1500, 1501)


def test_who_is_refused_leaves_the_folder_to_whom_has_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two begun together: the folder was not there yet as either looked."""

    @contextlib.contextmanager
    def taken(folder: Path) -> Iterator[None]:
        (folder / "vectors-0001.faiss").write_bytes(b"half of the other's")
        raise InputError("another run writes there")
        yield

    monkeypatch.setattr("simcse_kit.corpus.index.alone", taken)
    with pytest.raises(InputError, match="another run writes there"):
        VectorIndex.build(VECTORS, tmp_path / "index")
    assert [path.name for path in (tmp_path / "index").iterdir()] == ["vectors-0001.faiss"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_an_index_that_was_built_meanwhile_stays(
    overwrite: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from simcse_kit.corpus.run_lock import alone

    def after_another(folder: Path) -> Any:
        monkeypatch.setattr("simcse_kit.corpus.index.alone", alone)
        VectorIndex.build(VECTORS[:900], folder)
        monkeypatch.setattr("simcse_kit.corpus.index.measured", lambda *_: 1 / 0)
        return alone(folder)

    monkeypatch.setattr("simcse_kit.corpus.index.alone", after_another)
    with pytest.raises((InputError, ZeroDivisionError)):
        VectorIndex.build(VECTORS, tmp_path / "index", overwrite=overwrite)
    assert len(VectorIndex.open(tmp_path / "index", VECTORS[:900])) == 900


def test_what_fails_beside_faiss_is_no_fault_of_the_kind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr("simcse_kit.corpus.recall.nearest", full)
    with pytest.raises(torch.OutOfMemoryError, match="CUDA out of memory"):
        VectorIndex.build(VECTORS, tmp_path / "index", factory="Flat")
    assert not (tmp_path / "index").exists()


def test_rows_are_made_ready_once_for_many_searches(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("simcse_kit.corpus.index._SEARCHED_EXACTLY", 0)
    index = VectorIndex.build(VECTORS, tmp_path, factory="Flat")
    index.remove(np.array([4, 6]))
    left = np.setdiff1d(np.arange(1500), [4, 6])
    some = np.arange(0, 1500, 2)
    ready = index.among(some)
    assert ready.rows.tolist() == np.setdiff1d(some, [4, 6]).tolist()
    monkeypatch.setattr(Order, "numbers", lambda *_: pytest.fail("all rows are looked at"))
    for among, rows in ((ready, ready.rows), (None, left)):
        found, _ = index.search(QUERIES, 5, among=among)
        assert found.tolist() == nearest(QUERIES, VECTORS, 5, among=rows)[0].tolist()
    monkeypatch.undo()
    index.remove(np.array([8]))
    with pytest.raises(InputError, match="has changed since its rows were made ready"):
        index.search(QUERIES, 5, among=ready)


def test_the_vectors_of_an_index_may_be_a_tensor(tmp_path: Path) -> None:
    built = VectorIndex.build(torch.from_numpy(VECTORS), tmp_path)  # type: ignore[arg-type]
    opened = VectorIndex.open(tmp_path, torch.from_numpy(VECTORS))  # type: ignore[arg-type]
    expected, _ = nearest(QUERIES, VECTORS, 5)
    for index in (built, opened):
        assert index.search(QUERIES, 5)[0].tolist() == expected.tolist()
    with pytest.raises(InputError, match="the vectors are a list; give an array"):
        VectorIndex.open(tmp_path, VECTORS.tolist())


# ---- refused -------------------------------------------------------------------------------------


@pytest.fixture
def built(tmp_path: Path) -> Path:
    VectorIndex.build(VECTORS, tmp_path / "index", factory=CELLS, model="one", state="first")
    return tmp_path / "index"


def test_another_index_is_refused(built: Path) -> None:
    for vectors, how, said in [
        (VECTORS, {"model": "two"}, "another model"),
        (VECTORS, {"state": "second"}, "other vectors"),
        (VECTORS[:-1], {}, "other vectors than these 1,499"),
        (unit(1500, 1, d=12), {}, "16 dimensions, and these vectors have 12"),
    ]:
        with pytest.raises(InputError, match=said):
            VectorIndex.open(built, vectors, **how)
    with pytest.raises(InputError, match="holds an index"):
        VectorIndex.build(VECTORS, built)
    assert VectorIndex.build(VECTORS, built, factory="Flat", overwrite=True).manifest.recall == 1


def test_queries_and_rows_that_do_not_fit(built: Path) -> None:
    index = VectorIndex.open(built, VECTORS)
    with pytest.raises(InputError, match="16 dimensions"):
        index.search(unit(2, 3, d=8), 1)
    with pytest.raises(InputError, match="16 dimensions"):
        index.add(unit(2, 3, d=8))
    with pytest.raises(InputError, match="not finite"):
        index.add(np.full((1, 16), np.nan))
    for wrong in (3 * unit(2, 3), unit(2, 3) / 2):
        with pytest.raises(InputError, match="give unit vectors"):
            index.add(wrong)
        with pytest.raises(InputError, match="one of the queries has length"):
            index.search(wrong, 1)
    for k, effort in ((0, None), (-1, None), (1, 0), (1, -2)):
        with pytest.raises(InputError, match="1 or more"):
            index.search(unit(2, 3), k, effort=effort)
    one, _ = index.search(VECTORS[7], 1)  # a single vector
    assert one.tolist() == [[7]] and len(index) == 1500
    with pytest.raises(InputError, match="row 1500 is not in"):
        index.remove(np.array([3, 1500]))
    with pytest.raises(InputError, match="or a mask of the 1,500 rows"):
        index.remove(np.array([2.5]))
    assert index.remove(np.zeros(1500, bool)) == 0
    with pytest.raises(InputError, match="no row would be left"):
        index.remove(np.ones(1500, bool))
    assert index.add(np.empty((0, 16), np.float32)) == range(1500, 1500)


def test_ids_and_texts_that_do_not_fit_leave_the_index_whole(built: Path) -> None:
    index = VectorIndex.open(built, VECTORS)
    there = sorted(built.iterdir())
    for how in ({"ids": ["one"]}, {"texts": ["a", "b", "c"]}, {"ids": []}):
        with pytest.raises(InputError, match=r"for 2 vectors to add; give one each"):
            index.add(unit(2, 3), **how)
    assert sorted(built.iterdir()) == there
    assert index.add(unit(2, 3), ids=np.array(["one", "two"])) == range(1500, 1502)  # type: ignore[arg-type]
    index.add(unit(2, 4), ids=[7, 8], texts=np.array(["a", "b"]))  # type: ignore[list-item,arg-type]
    again = VectorIndex.open(built, VECTORS)
    assert again.added("ids") == ["one", "two", "7", "8"]
    assert again.added("texts") == [None, None, "a", "b"]


@pytest.mark.parametrize(
    "damage",
    ["cut", "bytes", "gone", "manifest", "no manifest", "elsewhere", "layout", "added", "removed"],
)
def test_a_damaged_index_is_one_sentence(built: Path, damage: str) -> None:
    index = VectorIndex.open(built, VECTORS)
    index.add(VECTORS[:3])
    index.remove(np.array([1]))
    (file,) = built.glob("vectors-*.faiss")
    manifest = built / "index.json"
    told = json.loads(manifest.read_text())
    if damage == "cut":
        file.write_bytes(file.read_bytes()[:-7])
    elif damage == "bytes":
        file.write_bytes(b"what?" + file.read_bytes()[5:])
    elif damage == "gone":
        file.unlink()
    elif damage == "manifest":
        manifest.write_text(manifest.read_text()[:40])
    elif damage == "no manifest":
        manifest.unlink()
    elif damage == "elsewhere":
        manifest.write_text(json.dumps(told | {"file": "../vectors.faiss"}))
    elif damage == "layout":
        manifest.write_text(json.dumps(told | {"layout": 9}))
    elif damage == "added":
        (built / told["added"][0][0]).write_bytes(b"\x93NUMPY")
    elif damage == "removed":
        np.save(built / told["removed"], np.array([1, 9999]))
    with pytest.raises(InputError, match=r"damaged|missing|holds no index|outside|another version"):
        VectorIndex.open(built, VECTORS)


def test_factories_that_do_not_go(tmp_path: Path) -> None:
    for factory, said in [
        ("Nonsense", "knows no index 'Nonsense'"),
        ("", "knows no index ''"),
        ("IVF4000,Flat", "learnt"),
        ("IVF0,Flat", "cannot use an index 'IVF0,Flat' here"),
        ("IDMap,Flat", "cannot use an index 'IDMap,Flat' here"),
        ("IVF8,Flat,IDMap", "cannot use"),
        ("NSG16,Flat", "does not support incremental addition"),
        ("HNSW0", "links no vectors; give HNSW2 or more"),
        ("HNSW1,Flat", "links no vectors"),
    ]:
        with pytest.raises(InputError, match=said):
            VectorIndex.build(VECTORS, tmp_path / "index", factory=factory)
        assert not (tmp_path / "index").exists()
    for vectors, recall_, said in [
        (3 * VECTORS, 0.9, "give unit vectors"),
        (np.concatenate([VECTORS, 3 * VECTORS]), 0.9, "give unit vectors"),
        (VECTORS[0], 0.9, r"the vectors are of shape \(16,\)"),
        (VECTORS, 97, "a share of the nearest, from 0 to 1"),
    ]:
        with pytest.raises(InputError, match=said):
            VectorIndex.build(vectors, tmp_path / "index", recall=recall_)
        assert not (tmp_path / "index").exists()
    with pytest.raises(InputError, match="no vectors"):
        VectorIndex.build(VECTORS[:0], tmp_path / "index")
    assert not (tmp_path / "index").exists()


def test_without_faiss_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(approximate.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'simcse-kit\[index\]'"):
        VectorIndex.build(VECTORS, tmp_path / "index")


def test_a_change_that_is_interrupted_has_not_been(
    built: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    index = VectorIndex.open(built, VECTORS)
    before, _ = index.search(QUERIES, 5)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("simcse_kit.corpus.index.keep", stop)
        with pytest.raises(KeyboardInterrupt):
            index.add(VECTORS[:3])
    again = VectorIndex.open(built, VECTORS)
    assert again.search(QUERIES, 5)[0].tolist() == before.tolist() and len(again) == 1500
    assert again.add(VECTORS[:3]) == range(1500, 1503)
