"""Points in the plane and groups, against scikit-learn, an SVD in float64 and naive loops."""

from __future__ import annotations

import importlib.util
import sys
import types
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score, silhouette_score

from simcse_kit.errors import InputError
from simcse_kit.geometry.groups import by_cluster, by_label, central_rows, neighbours_alike
from simcse_kit.geometry.projection import check_method, draw, project, trustworthiness


def heaps(each: int = 20, dimension: int = 12, heaps: int = 3, seed: int = 0) -> np.ndarray:
    """Rows around a few directions."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(heaps, dimension))
    rows = np.repeat(centres, each, axis=0) + 0.15 * rng.normal(size=(heaps * each, dimension))
    return rows * rng.uniform(0.5, 3, size=(len(rows), 1))  # lengths must not matter


def unit(rows: np.ndarray) -> np.ndarray:
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


# -- the plane


@pytest.mark.parametrize("shape", [(3, 2), (7, 30), (60, 12)])
def test_pca_is_the_svd_of_centred_unit_rows(shape: tuple[int, int]) -> None:
    rows = np.random.default_rng(1).normal(size=shape) + 0.3
    plane = project(rows)
    centred = unit(rows) - unit(rows).mean(axis=0)
    left, values, axes = np.linalg.svd(centred, full_matrices=False)
    signs = np.sign([axis[np.abs(axis).argmax()] for axis in axes[:2]])
    np.testing.assert_allclose(plane.points, (left * values)[:, :2] * signs, atol=2e-6)
    np.testing.assert_allclose(plane.variance, (values**2 / (values**2).sum())[:2], atol=1e-6)
    assert plane.settings == {} and plane.method == "pca"


def naive_trustworthiness(rows: np.ndarray, points: np.ndarray, k: int) -> float:
    """Venna & Kaski (2001), equation 1, loop by loop."""
    n, lost = len(rows), 0
    for i in range(n):
        others = [j for j in range(n) if j != i]
        in_space = sorted(others, key=lambda j: np.linalg.norm(rows[i] - rows[j]))
        in_picture = sorted(others, key=lambda j: np.linalg.norm(points[i] - points[j]))
        lost += sum(max(0, in_space.index(j) + 1 - k) for j in in_picture[:k])
    return 1 - 2 * lost / (n * k * (2 * n - 3 * k - 1))


@pytest.mark.parametrize(("n", "k"), [(3, 1), (4, 1), (21, 10), (30, 10)])
def test_trustworthiness_is_the_definition(n: int, k: int) -> None:
    rng = np.random.default_rng(n)
    rows, points = rng.normal(size=(n, 6)), rng.normal(size=(n, 2))
    figure, neighbours, judged = trustworthiness(rows, points)
    assert (neighbours, judged) == (k, n)
    assert figure == pytest.approx(naive_trustworthiness(unit(rows), points, k))


def test_trustworthiness_is_measured_on_a_sample_of_many() -> None:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(2100, 2))
    figure, _, judged = trustworthiness(rows, unit(rows))
    assert judged == 2000 and figure > 0.999
    assert trustworthiness(rows, rng.normal(size=(2100, 2)))[0] == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize("n", [3, 60])
def test_tsne_keeps_heaps_together_and_is_the_same_twice(n: int) -> None:
    rows = heaps()[:n]
    plane, again = project(rows, "tsne", seed=3), project(rows, "tsne", seed=3)
    np.testing.assert_array_equal(plane.points, again.points)
    assert plane.points.shape == (n, 2) and np.isfinite(plane.points).all()
    assert plane.settings["perplexity"] == pytest.approx(max(1, (n - 1) / 3))
    if n == 60:
        heap = by_label([str(row // 20) for row in range(n)])
        assert neighbours_alike(plane.points, heap) > 0.99
        assert plane.trustworthiness > 0.9


def test_equal_rows_are_drawn() -> None:
    rows = np.repeat(np.eye(3)[:2], 3, axis=0)
    for method in ("pca", "tsne"):
        points = project(rows, method).points
        assert np.isfinite(points).all()
        assert len(np.unique(points.round(3), axis=0)) == 2


def test_umap_without_its_package_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "umap" else find(name)
    )
    with pytest.raises(InputError, match=r"pip install 'simcse-kit\[umap\]'"):
        project(heaps(), "umap")


def test_umap_is_seeded_and_starts_from_the_principal_plane(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What is asked of umap-learn, without it: it takes half a minute to compile itself."""
    asked: dict[str, Any] = {}

    class UMAP:
        def __init__(self, **settings: Any) -> None:
            asked.update(settings)

        def fit_transform(self, rows: np.ndarray) -> np.ndarray:
            np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-6)
            return np.asarray(asked["init"], dtype=np.float32)

    module = types.ModuleType("umap")
    module.UMAP = UMAP  # type: ignore[attr-defined]
    module.__spec__ = importlib.util.spec_from_loader("umap", None)
    monkeypatch.setitem(sys.modules, "umap", module)
    plane = project(heaps(each=4), "umap", seed=7)
    np.testing.assert_allclose(plane.points, project(heaps(each=4)).points, atol=1e-6)
    assert (asked["n_neighbors"], asked["random_state"], asked["n_jobs"]) == (11, 7, 1)
    assert plane.settings == {"n_neighbors": 11, "min_dist": 0.1}


@pytest.mark.slow
def test_umap_itself_keeps_heaps_together() -> None:
    pytest.importorskip("umap")
    plane = project(heaps(), "umap")
    np.testing.assert_array_equal(plane.points, project(heaps(), "umap").points)
    assert plane.trustworthiness > 0.85
    assert np.isfinite(project(heaps()[:3], "umap").points).all()


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (np.eye(4)[:2], "at least 3 embeddings, not 2"),
        (np.ones((4, 1)), "at least 2 dimensions"),
        (np.ones((5, 4)), "All 5 embeddings point the same way"),
        (np.full((4, 3), np.nan), "not finite"),
        (np.zeros((4, 3)), "no direction in row 0"),
        (np.zeros(4), "must be an array"),
    ],
)
def test_bad_embeddings_are_refused(rows: np.ndarray, words: str) -> None:
    with pytest.raises(InputError, match=words):
        project(rows)
    with pytest.raises(InputError, match=words):
        by_cluster(rows)


def test_unknown_methods_and_seeds_are_refused() -> None:
    with pytest.raises(InputError, match="must be pca, tsne, umap, not 'lda'"):
        check_method("lda")
    with pytest.raises(InputError, match="seed must be a whole number"):
        project(heaps(), seed=-1)


def test_a_draw_is_a_seeded_sample_in_order() -> None:
    np.testing.assert_array_equal(draw(4, 9, 0), np.arange(4))
    some = draw(1000, 50, 2)
    assert len(set(some)) == 50 and (np.diff(some) > 0).all() and some.max() < 1000
    np.testing.assert_array_equal(some, draw(1000, 50, 2))
    assert (some != draw(1000, 50, 3)).any()


# -- groups


def test_labels_become_groups_the_largest_first() -> None:
    groups = by_label(["b", "c", "a", "c", "c", "a", "b"])
    assert groups.names == ("c", "a", "b")
    assert groups.members.tolist() == [2, 0, 1, 0, 0, 1, 2]
    assert groups.sizes.tolist() == [3, 2, 2]
    # of the 42 ordered pairs, 6 + 2 + 2 are of one label
    assert groups.chance == pytest.approx(10 / 42)


def test_the_silhouette_finds_the_number_of_heaps() -> None:
    rows = heaps(heaps=4)
    groups = by_cluster(rows)
    assert groups.names == ("Cluster 1", "Cluster 2", "Cluster 3", "Cluster 4")
    assert groups.chosen and groups.kind == "cluster"
    assert adjusted_rand_score(np.repeat(range(4), 20), groups.members) == 1
    expected = silhouette_score(unit(rows), groups.members)
    assert groups.silhouette == pytest.approx(expected, abs=1e-5)
    np.testing.assert_array_equal(groups.members, by_cluster(rows).members)


def test_clusters_of_a_given_number_are_ordered_by_size() -> None:
    rows = np.concatenate([heaps()[:5], heaps()[20:40], heaps()[40:52]])
    groups = by_cluster(rows, 3)
    assert groups.sizes.tolist() == [20, 12, 5] and not groups.chosen
    assert by_cluster(np.eye(3)).sizes.tolist() == [2, 1]
    assert by_cluster(np.eye(3), 3).silhouette == 0


@pytest.mark.parametrize("count", [1, 0, 2.5, 7])
def test_a_number_of_clusters_that_cannot_be_is_refused(count: Any) -> None:
    with pytest.raises(InputError, match=r"number of clusters|cannot be made of 6 distinct"):
        by_cluster(np.eye(6), count)


def test_central_rows_are_nearest_to_the_mean_and_distinct() -> None:
    rows = np.array([[1, 0], [1, 0.1], [1, 0.1], [1, 0.9], [0, 1], [0.1, 1], [0.3, 1]])
    groups = by_label(["a"] * 4 + ["b"] * 3)
    central = central_rows(rows, groups, each=2)
    for group, found in enumerate(central):
        own = np.flatnonzero(groups.members == group)
        mean = unit(rows)[own].mean(axis=0)
        cosines = unit(rows)[own] @ mean
        assert found[0] == own[cosines.argmax()]
    assert central[0].tolist() == [1, 0]  # row 2 is row 1 again


def test_neighbours_alike_is_the_naive_share() -> None:
    rng = np.random.default_rng(5)
    rows = rng.normal(size=(40, 3))
    groups = by_label([str(label) for label in rng.integers(3, size=40)])
    shares = []
    for i in range(40):
        order = np.linalg.norm(rows - rows[i], axis=1).argsort()
        shares += [groups.members[j] == groups.members[i] for j in order if j != i][:10]
    assert neighbours_alike(rows, groups) == pytest.approx(np.mean(shares))
    copies = by_label(["a"] * 30 + ["b"] * 30)
    assert neighbours_alike(np.repeat(np.eye(2), 30, axis=0), copies) == 1
