"""Prototypes: the formula by loops, and clusters of the data that are found anew."""

from __future__ import annotations

import logging
import math

import numpy as np
import pytest
import safetensors.torch
import scipy.stats
import torch
from pydantic import ValidationError
from pydantic_core import PydanticCustomError
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score
from torch.nn import functional as F

from simcse_kit.errors import InputError
from simcse_kit.objectives import Embedded, concentrations, prototype_contrast
from simcse_kit.objectives.clusters import even_share, find_clusters, has_collapsed
from simcse_kit.parts import Context, spec_of


def texts(rows=6, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, 4, generator=generator, dtype=torch.float64)


def test_prototype_contrast_equals_the_formula():
    ours, loop = texts().requires_grad_(), texts().requires_grad_()
    centres, own = texts(3, seed=1), torch.tensor([0, 2, 1, 1, 0, 2])
    phi = torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64)
    loss = prototype_contrast(2 * ours, centres, own, concentration=phi)
    terms = []
    for i in range(6):
        cosine = F.cosine_similarity(loop[i][None], centres)
        weights = (cosine / phi).exp()
        terms.append(-(weights[own[i]] / weights.sum()).log())
    expected = torch.stack(terms).mean()
    torch.testing.assert_close(loss, expected)
    loss.backward()
    expected.backward()
    torch.testing.assert_close(ours.grad, loop.grad)
    same = prototype_contrast(texts(), torch.ones(3, 4, dtype=torch.float64), own)
    assert same.item() == pytest.approx(math.log(3), abs=1e-6)


def test_tight_clusters_have_the_smaller_concentration():
    own = torch.tensor([0] * 5 + [1] * 5 + [2])
    distances = torch.tensor([0.1] * 5 + [1.0] * 5 + [0.0])
    phi = concentrations(distances, own, 4, temperature=0.2)
    by_hand = np.array([0.5 / (5 * math.log(15)), 5.0 / (5 * math.log(15))])
    by_hand = by_hand[[0, 1, 1, 1]]  # one text, and none: nothing is known of them
    by_hand = by_hand.clip(*np.percentile(by_hand, [10, 90]))
    assert phi.tolist() == pytest.approx((0.2 * by_hand / by_hand.mean()).tolist(), rel=1e-5)
    nothing = concentrations(torch.zeros(2), torch.tensor([0, 1]), 3, temperature=0.2)
    assert nothing.tolist() == pytest.approx([0.2] * 3)


# ---- clusters of the data ------------------------------------------------------------------------


def blobs(clusters=5, each=40, width=8, seed=0):
    """Rows around `clusters` directions, of any length, and which direction each is of."""
    draw = np.random.default_rng(seed)
    centres = np.eye(width)[:clusters]
    own = np.repeat(np.arange(clusters), each)
    rows = centres[own] + 0.1 * draw.standard_normal((len(own), width))
    order = draw.permutation(len(own))
    return (rows * draw.uniform(0.5, 9, (len(own), 1)))[order].astype(np.float32), own[order]


def test_clusters_are_those_of_scikit_learn_on_unit_vectors():
    rows, own = blobs()
    found = find_clusters(rows, 5, seed=3)
    assert adjusted_rand_score(own, found.own) == 1
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    theirs = KMeans(5, n_init=1, max_iter=20, random_state=3).fit(unit)
    assert adjusted_rand_score(theirs.labels_, found.own) == 1
    centres = theirs.cluster_centers_
    expected = centres / np.linalg.norm(centres, axis=1, keepdims=True)
    np.testing.assert_allclose(found.centroids[found.own], expected[theirs.labels_], atol=1e-5)
    apart = np.linalg.norm(unit - expected[theirs.labels_], axis=1)
    np.testing.assert_allclose(found.distances, apart, atol=1e-3)
    again = find_clusters(rows, 5, seed=3)
    np.testing.assert_array_equal(again.centroids, found.centroids)


def test_many_distances_are_computed_in_batches(monkeypatch):
    monkeypatch.setattr("simcse_kit.objectives.clusters._WHOLE", 10)
    rows, own = blobs(clusters=3, each=60)
    assert adjusted_rand_score(own, find_clusters(rows, 3, seed=0).own) == 1


@pytest.mark.parametrize("rows", [np.ones((6, 3)), np.zeros((6, 3)), np.eye(3)[[0, 0, 0, 1, 1, 2]]])
def test_no_cluster_is_empty_whatever_the_rows(rows):
    for clusters in (2, 5, 6):
        found = find_clusters(rows.astype(np.float32), clusters, seed=0)
        assert np.bincount(found.own, minlength=clusters).min() >= 1
        assert np.isfinite(found.centroids).all() and np.isfinite(found.distances).all()


def test_what_cannot_be_clustered_is_said():
    with pytest.raises(InputError, match="5 clusters cannot be made of 3 rows"):
        find_clusters(np.eye(3), 5, seed=0)
    with pytest.raises(InputError, match="not finite"):
        find_clusters(np.array([[1.0, np.nan], [0, 1]]), 2, seed=0)


def test_how_evenly_clusters_are_used():
    assert even_share(np.full(4, 0.25)) == pytest.approx(1)
    assert even_share(np.array([1.0, 0, 0])) == 0
    assert even_share(np.array([0.5, 0.5, 0, 0])) == pytest.approx(0.5)
    assert has_collapsed(np.array([0.6, 0.1, 0.1, 0.2]))
    assert not has_collapsed(np.array([0.4, 0.2, 0.2, 0.2]))
    assert not has_collapsed(np.array([0.9, 0.1]))  # of two, one may have most
    assert has_collapsed(np.array([1.0, 0.0]))


# ---- the part ------------------------------------------------------------------------------------


def part(rows=200, width=8, seed=0, steps=0, **given):
    given = {"clusters": [3, 5], "temperature": 0.2, "sample": 200} | given
    spec = spec_of("objective", {"name": "prototypes", **given})
    return spec.build(Context(width=width, rows=rows, seed=seed, steps=steps))


def by_cluster(built, x, y):
    """The loss by a loop, from k-means as scikit-learn runs it."""
    terms = []
    for place in (slice(0, 3), slice(3, 8)):
        centres, phi = built.centroids[place], built.concentration[place]
        for side in (x, y):
            for i in range(len(side)):
                middle = F.normalize(x[i], dim=-1) + F.normalize(y[i], dim=-1)
                own = F.cosine_similarity(middle[None], centres).argmax()
                weights = (F.cosine_similarity(side[i][None], centres) / phi).exp()
                terms.append(-(weights[own] / weights.sum()).log())
    return torch.stack(terms).mean()


def test_the_part_contrasts_both_views_at_every_granularity():
    rows, _ = blobs()
    built = part().double()
    assert built.REFRESHES and (built.refresh_every, built.sample) == (500, 200)
    built.refresh(rows, np.arange(200))
    built.begin_step(0, 10)
    x, y = (torch.from_numpy(rows[at : at + 6]).double().requires_grad_() for at in (0, 6))
    expected = by_cluster(built, x, y)
    loss = built(Embedded(x, y))
    torch.testing.assert_close(loss, expected)
    found, wanted = (torch.autograd.grad(each, [x, y]) for each in (loss, expected))
    torch.testing.assert_close(found, wanted)
    assert built.concentration[:3].mean().item() == pytest.approx(0.2)
    shares = [built.shares[place].numpy() for place in (slice(0, 3), slice(3, 8))]
    assert built.told() == {
        "largest_cluster": shares[0].max(),
        "cluster_evenness": pytest.approx(scipy.stats.entropy(shares[0]) / math.log(3)),
    }
    with torch.autocast("cpu", dtype=torch.bfloat16):
        half = built.float()(Embedded(x.bfloat16(), y.bfloat16()))
    assert half.dtype == torch.float32 and half.item() == pytest.approx(loss.item(), rel=0.02)
    assert torch.isfinite(
        built(Embedded(x.float()[:, :4], y.float()[:, :4]))
    )  # Matryoshka's leading numbers


def test_a_checkpoint_carries_the_clusters(tmp_path):
    rows, _ = blobs()
    whole, resumed = part(), part()
    whole.refresh(rows, np.arange(200))
    safetensors.torch.save_model(whole, str(tmp_path / "part"))
    safetensors.torch.load_model(resumed, str(tmp_path / "part"), strict=True)
    resumed.begin_step(7, 10)
    x = torch.from_numpy(rows[:4])
    assert torch.equal(whole(Embedded(x, 2 * x)), resumed(Embedded(x, 2 * x)))
    other = part(seed=1)
    other.refresh(rows, np.arange(200))
    assert not torch.equal(other.centroids, whole.centroids)


def test_a_trainer_that_shows_no_data_is_told():
    with pytest.raises(RuntimeError, match="refresh has to be called"):
        part().begin_step(0, 10)


def test_before_the_first_refresh_it_adds_nothing():
    built = part(first_refresh=3)
    x = torch.randn(4, 8, requires_grad=True)
    for step in range(3):
        built.begin_step(step, 10)
        loss = built(Embedded(x, x))
        (gradient,) = torch.autograd.grad(loss, [x])
        assert loss == 0 and not gradient.any() and built.told() == {}
    with pytest.raises(RuntimeError, match="refresh has to be called"):
        built.begin_step(3, 10)
    built.refresh(blobs()[0], np.arange(200))
    built.begin_step(3, 10)
    assert built(Embedded(x, x)) > 0 and built.told()
    with pytest.raises(InputError, match="first_refresh 3 is never reached in 3 steps"):
        part(steps=3, first_refresh=3)


def test_a_collapsed_space_is_told_once(caplog):
    built = part()
    rows = np.ones((200, 8), dtype=np.float32)
    rows[:3] = np.eye(8)[:3]
    with caplog.at_level(logging.WARNING):
        built.refresh(rows, np.arange(200))
        built.refresh(rows, np.arange(200))
    [record] = caplog.records
    assert "one of 3 clusters has 9" in record.getMessage()
    caplog.clear()
    part().refresh(blobs()[0], np.arange(200))
    assert not caplog.records


def test_clusters_that_cannot_be_are_refused_with_the_reason():
    with pytest.raises(InputError, match="clusters 5 is more than the 4 rows"):
        part(rows=4)
    for given, said in [
        ({"clusters": [1, 5]}, "2 or more"),
        ({"sample": 4}, "sample 4 is fewer texts than 5 clusters"),
        ({"clusters": []}, "clusters"),
        ({"refresh_every": 0}, "refresh_every"),
    ]:
        with pytest.raises((PydanticCustomError, ValidationError), match=said):
            part(**given)
