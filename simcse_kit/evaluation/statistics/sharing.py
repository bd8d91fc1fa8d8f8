"""How uncertain a figure is where its pairs share sentences. Arrays only.

To first order the error of a figure is the sum of its pairs' shares, so its variance is a sum over
pairs of pairs: the equal ones where pairs are independent, and also those with a sentence in common
where they are not. The latter is the dyadic cluster-robust variance of Aronow, Samii & Assenova
(2015, Political Analysis 23:564–577), after Cameron, Gelbach & Miller (2011). With few sentences it
is too small, and its normal quantile too short; so it is divided by what is left of its expectation
under a model of sentence effects (`centring`, the bias reduction of Bell & McCaffrey 2002, Survey
Methodology 28:169–181), and taken times the square of Student's quantile of G − 1 degrees of
freedom over the normal one (Cameron & Miller 2015, "A practitioner's guide to cluster-robust
inference"), G being how many sentences of equal weight the pairs are as good as. With G / (G − 1)
for the first a test errs in 6 of 100 where 30 sentences make all pairs, and in 11 where one is in a
quarter of them; with the degrees of freedom of that model too (Satterthwaite's), in 3 to 4.

Why not resample connected components? Chains join what has nothing in common: one component of
161 of STS14's 3,750 pairs ("the act of …") then makes four fifths of the variance. And resampling
sentences on both sides (the pigeonhole bootstrap, Owen 2007) triples the variance of pairs that
share nothing.
"""

from __future__ import annotations

import logging

import numpy as np

from simcse_kit.errors import InputError

logger = logging.getLogger(__name__)

# With fewer equal clusters than about this, no correction makes up for it (Cameron & Miller 2015).
_FEWEST_SENTENCES = 20


def are_shared(sentences: np.ndarray) -> bool:
    """Whether any sentence is in two of the pairs (N, 2), or a pair is of one sentence twice."""
    return len(np.unique(sentences)) < sentences.size


def shared_covariance(
    shares: np.ndarray, sentences: np.ndarray, name: str, *, strict: bool = False
) -> np.ndarray:
    """Covariance (M, M) of M figures whose errors are sums of `shares` (M, N) over the pairs.

    `sentences` (N, 2) numbers each pair's two. Where few sentences are in most of the pairs, which
    no covariance can be told from, N pairs of G equal sentences count as the G / 2 pairs that
    these would make if none were shared: more would be a guess. A log line says so, calling them
    `name`; with `strict` it is an InputError.
    """
    covariance = sharing_covariance(shares, sentences)
    if not are_shared(sentences):
        return covariance
    occurrences = np.unique(sentences, return_counts=True)[1]
    equal = float(occurrences.sum() ** 2 / (occurrences**2).sum())
    if equal < min(_FEWEST_SENTENCES, len(sentences)):
        few = (
            f"One sentence of {name} is in {occurrences.max():,} of {len(sentences):,} pairs, as if"
            f" {equal:.0f} sentences made all of them"
        )
        if strict:
            raise InputError(
                f"{few}: too few to judge by; take more sentences, or the pairs for independent,"
                " and say so."
            )
        logger.warning("%s: intervals and tests take them for %.0f pairs", few, equal / 2)
        covariance = shares @ shares.T * (sentences.size / equal)
        left = 1 - 1 / equal
    else:
        left = centring(sentences)
    return covariance * (student(equal - 1) ** 2 / left)


def student(freedom: float) -> float:
    """By how much Student's quantile of 97.5 % is further out than the normal one."""
    from scipy.stats import norm, t

    return float(t.ppf(0.975, freedom) / norm.ppf(0.975))


def sharing_covariance(shares: np.ndarray, sentences: np.ndarray) -> np.ndarray:
    """Σ shares_i shares_jᵀ over all pairs i, j (also i = j) with a sentence in common: (M, M).

    Summed by sentence, two pairs with both in common count twice, so these are taken off once.
    """
    first, second = np.sort(sentences, axis=1).T
    two = first != second
    ends = np.append(first, second[two])
    by_sentence = _sums(np.append(shares, shares[:, two], axis=1), ends)
    _, pairs = np.unique(np.stack([first, second])[:, two], axis=1, return_inverse=True)
    by_pair = _sums(shares[:, two], pairs.reshape(-1))
    covariance: np.ndarray = by_sentence @ by_sentence.T - by_pair @ by_pair.T
    return covariance


def centring(sentences: np.ndarray) -> float:
    """What is left of the expectation of `sharing_covariance` since shares add up to 0: (0, 1).

    Where a pair's error is the sum of independent effects of its two `sentences` (N, 2), and its
    share is that less the mean over all pairs. With Z (N, G) telling which sentences a pair is of,
    C (N, N) which pairs share one, and M = I − 11ᵀ/N, it is tr(Zᵀ M C M Z) over 1ᵀZZᵀ1. Not for
    pairs that are all of one sentence, of which it leaves 0.
    """
    pairs = len(sentences)
    numbers = np.unique(sentences, return_inverse=True)[1].reshape(-1, 2)
    first, second = np.sort(numbers, axis=1).T
    two = first != second
    degrees = np.bincount(np.append(first, second[two])).astype(float)
    ends = degrees[first] + two * degrees[second]  # ZZᵀ1
    _, which, sizes = np.unique(
        first * len(degrees) + second, return_inverse=True, return_counts=True
    )
    twice = two * sizes[which]  # both ends in common: counted twice in ZZᵀ, once in C
    whole = float(degrees @ degrees)
    crossed, every = float((ends - twice) @ ends), whole - float(twice.sum())
    return 1 - 2 * crossed / (pairs * whole) + every / pairs**2


def design_effect(
    independent: float, sharing: float, items: float | None = None, alike: float = 1.0
) -> float:
    """How many times a variance grows where pairs that share a sentence are taken together: ≥ 1.

    `independent` and `sharing` are the variances apart and together. Those of a share ×100 of so
    many `items` do not tell how alike such pairs are where few of them are wrong, and nothing where
    none is: one error more counts that all pairs with a sentence in common, `alike` of them, make.
    """
    unseen = 0.0 if items is None else 1e4 / items**2
    if independent + unseen <= 0:
        return 1.0
    return max(1.0, (sharing + unseen * alike) / (independent + unseen))


def alike(sentences: np.ndarray) -> float:
    """With how many of the pairs (N, 2) a pair has a sentence in common on average, itself too.

    As many pairs tell as much as one where all that share a sentence come out the same: the most
    that sharing can do to a variance.
    """
    return float(sharing_covariance(np.ones((1, len(sentences))), sentences)[0, 0]) / len(sentences)


def _sums(values: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Sums of the columns of `values` (M, N) by their label (N,): (M, K)."""
    numbers, places = np.unique(labels, return_inverse=True)
    return np.stack([np.bincount(places, row, minlength=len(numbers)) for row in values])
