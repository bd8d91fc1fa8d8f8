"""Clustering against scikit-learn's own k-means and scores."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.cluster import MiniBatchKMeans
from sklearn.datasets import make_blobs
from sklearn.metrics import (
    adjusted_rand_score,
    homogeneity_completeness_v_measure,
    normalized_mutual_info_score,
)

from simcse_kit.errors import InputError
from simcse_kit.evaluation.labels.clustering import (
    LabelledTask,
    cluster_agreement,
    evaluate_clustering,
    load_labelled,
)


def blobs(spread: float = 1.0, n: int = 300) -> tuple[np.ndarray, list[str]]:
    points, kinds = make_blobs(n, 8, centers=5, cluster_std=spread, random_state=0)
    return points.astype(np.float32), [f"kind {k}" for k in kinds]


def test_each_seed_is_scikit_learns_run() -> None:
    points, labels = blobs(6.0)
    scores = cluster_agreement(points, labels, seeds=[3, 4])
    for row, seed in enumerate([3, 4]):
        kmeans = MiniBatchKMeans(5, batch_size=512, init="k-means++", n_init=1, random_state=seed)
        clusters = kmeans.fit_predict(points)
        v_measure = homogeneity_completeness_v_measure(labels, clusters)[2]
        assert scores["v_measure"][row] == pytest.approx(100 * v_measure)
        assert v_measure == pytest.approx(normalized_mutual_info_score(labels, clusters))
        assert scores["ari"][row] == pytest.approx(100 * adjusted_rand_score(labels, clusters))
    assert 10 < scores["v_measure"].mean() < 90


def test_separate_clusters_are_found_and_shuffled_labels_are_chance() -> None:
    points, labels = blobs(0.05)
    found = cluster_agreement(points, labels, seeds=range(5))
    assert max(found["v_measure"]) == pytest.approx(100.0)
    shuffled = list(np.random.default_rng(0).permutation(labels))
    chance = cluster_agreement(points, shuffled, seeds=range(5))
    assert abs(chance["ami"].mean()) < 3
    assert abs(chance["ari"].mean()) < 3


@pytest.mark.parametrize(
    ("points", "labels", "message"),
    [
        (np.ones((4, 2)), ["a"] * 4, "one label for all"),
        (np.ones((4, 2)), list("abcd"), "a label of its own for each"),
        (np.ones((4, 2)), list("abc"), "4 embeddings and 3 labels"),
        (np.full((4, 2), np.nan), list("aabb"), "not finite"),
    ],
)
def test_what_has_no_clusters_is_refused(
    points: np.ndarray, labels: list[str], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        cluster_agreement(points, labels)
    with pytest.raises(InputError, match="no seed"):
        cluster_agreement(np.ones((4, 2)), list("aabb"), seeds=[])


def test_texts_and_labels_from_a_file(tmp_path: Path) -> None:
    path = tmp_path / "topics.csv"
    path.write_text("headline,topic\none,x\ntwo,1\nthree,x\n")
    task = load_labelled(path, {"text": "headline", "label": "topic"})
    assert (task.name, task.texts, task.labels) == (
        "topics",
        ["one", "two", "three"],
        ["x", "1", "x"],
    )
    with pytest.raises(InputError, match="no header that names text"):
        load_labelled(path)


class Lookup:
    name = "lookup"

    def __init__(self, vectors: dict[str, np.ndarray]) -> None:
        self.vectors = vectors
        self.asked: list[str] = []

    def encode(self, texts: list[str], **_: Any) -> np.ndarray:
        self.asked += texts
        return np.stack([self.vectors[text] for text in texts])


def test_a_model_on_a_task_gives_mean_and_spread_and_repeats_itself() -> None:
    points, labels = blobs(4.0, 60)
    texts = [f"text {i}" for i in range(60)]
    model = Lookup(dict(zip(texts, points, strict=True)))
    task = LabelledTask("blobs", [*texts, texts[0]], [*labels, labels[0]], "made up")
    result = evaluate_clustering(model, task, seeds=[0, 1, 2])
    assert len(model.asked) == 60
    scores = cluster_agreement(points, labels, seeds=[0, 1, 2])  # a copy adds nothing
    assert result.protocol["repeated_texts"] == 1
    assert "1 texts repeat another of their label, and are left out" in result.summary
    for name in ("v_measure", "ami", "ari"):
        assert result.figures[name].value == pytest.approx(scores[name].mean())
        assert result.figures[name].sd == pytest.approx(scores[name].std(ddof=1))
    assert result.protocol["by_seed"]["ami"] == pytest.approx(scores["ami"].tolist())
    assert result.to_json() == evaluate_clustering(model, task, seeds=[0, 1, 2]).to_json()
    assert "sd" not in evaluate_clustering(model, task, seeds=[0]).to_json()["figures"]["ari"]
