"""Whitening against scikit-learn and the definition, and where there is nothing to whiten."""

from __future__ import annotations

import sys

import numpy as np
import pytest
from sklearn.decomposition import PCA

from simcse_kit.errors import InputError
from simcse_kit.geometry import whitening


def rows(count: int = 60, width: int = 8, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(count, width)) * np.linspace(3, 0.2, width) @ rng.normal(size=(width,) * 2)
    return (x + 5 * rng.normal(size=width)).astype(np.float32)


@pytest.mark.parametrize("k", [None, 1, 5, 8])
def test_it_is_scikit_learns_whitened_pca(k: int | None) -> None:
    x = rows()
    found = whitening(x, k)
    pca = PCA(k or 8, whiten=True, svd_solver="full").fit(x.astype(np.float64))
    signs = np.sign(pca.components_[np.arange(k or 8), np.abs(pca.components_).argmax(axis=1)])
    np.testing.assert_allclose(found(x), pca.transform(x) * signs, atol=1e-5)
    np.testing.assert_allclose(found.variances, pca.explained_variance_, rtol=1e-6)
    assert found.kept == pytest.approx(pca.explained_variance_ratio_.sum(), rel=1e-6)
    assert (found.rank, found.rows) == (8, 60)


def test_the_rows_have_mean_0_variance_1_and_no_correlation_in_any_number_of_blocks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    x = rows()
    whole = whitening(x)
    np.testing.assert_allclose(np.cov(whole(x).T), np.eye(8), atol=1e-9)
    np.testing.assert_allclose(whole(x).mean(axis=0), 0, atol=1e-9)
    monkeypatch.setattr(sys.modules[whitening.__module__], "_BLOCK", 7)
    np.testing.assert_allclose(whitening(x)(x), whole(x), atol=1e-8)


def test_directions_without_variance_are_dropped() -> None:
    x = rows(width=6)
    x = np.concatenate([x, x[:, :2] - 3 * x[:, 2:4], np.full((60, 1), 7, np.float32)], axis=1)
    found = whitening(x)
    assert found.rank == 6 and found.weight.shape == (9, 6) and found.kept == 1
    np.testing.assert_allclose(np.cov(found(x).T), np.eye(6), atol=1e-8)
    with pytest.raises(InputError, match="vary in 6 directions, fewer than the 7"):
        whitening(x, 7)
    # a layer norm makes rows whose numbers sum to 0, in float32
    centred = rows(width=6) - rows(width=6).mean(axis=1, keepdims=True)
    assert whitening(centred).rank == 5


def test_few_rows_have_few_directions() -> None:
    x = rows(count=4)
    assert whitening(x).rank == 3
    with pytest.raises(InputError, match="4 embeddings of 8 dimensions vary in 3 directions"):
        whitening(x, 4)
    assert np.abs(whitening(x[:2])(x[:2])) == pytest.approx(np.full((2, 1), 2**-0.5))


@pytest.mark.parametrize(
    ("x", "k", "said"),
    [
        (np.ones((5, 3)), None, "5 embeddings are all equal"),
        (np.zeros((5, 3)), 1, "all equal"),
        (rows(), 9, "8 dimensions cannot be whitened to 9"),
        (rows(), 0, "dimensions must be a whole number of at least 1"),
        (rows()[:1], None, "at least 2 are needed"),
        (np.array([[1.0, np.nan], [1, 2]]), None, "not finite: row 0"),
    ],
)
def test_what_cannot_be_whitened_is_said(x: np.ndarray, k: int | None, said: str) -> None:
    with pytest.raises(InputError, match=said):
        whitening(x, k)
