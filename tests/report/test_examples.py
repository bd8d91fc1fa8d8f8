"""Neighbours and misjudged pairs against plain loops."""

from __future__ import annotations

import numpy as np
from scipy.stats import rankdata

from reporting import Bag, task
from simcse_kit.evaluation.sts.suite import PairTask, evaluate
from simcse_kit.report.examples import misjudged, neighbourhoods


def _texts() -> list[str]:
    one = task("A")
    return list(dict.fromkeys(one.sentence1 + one.sentence2))


def test_neighbours_are_the_nearest_by_cosine():
    texts = _texts()
    rows = {"first": Bag(3.0).encode(texts), "second": Bag(0.1).encode(texts)}
    found = neighbourhoods(texts, rows, "texts", shown=4, nearest=3, k=5, seed=3)
    assert found is not None and len(found.shown) == 4 and found.queries == len(texts)
    near = {}
    for name, embeddings in rows.items():
        unit = embeddings.astype(np.float64)
        unit /= np.linalg.norm(unit, axis=1, keepdims=True)
        cosines = unit @ unit.T - 9 * np.eye(len(texts))
        near[name] = [list(np.argsort(-row)) for row in cosines]
    for one in found.shown:
        query = texts.index(one.text)
        for name in rows:
            expected = [texts[n] for n in near[name][query][:3]]
            assert [neighbour.text for neighbour in one.nearest[name]] == expected
    kept = [
        len(set(a[:5]) & set(b[:5])) for a, b in zip(near["first"], near["second"], strict=True)
    ]
    assert found.kept == {"second": np.mean(kept)}


def test_the_same_words_written_otherwise_are_no_neighbour():
    texts = ["a man plays the guitar", "A man plays the guitar !", *_texts()[:20]]
    found = neighbourhoods(texts, {"m": Bag(0.0).encode(texts)}, "x", shown=len(texts), k=3)
    assert found is not None
    for one in found.shown:
        listed = [neighbour.text.casefold().strip(" !") for neighbour in one.nearest["m"]]
        assert one.text.casefold().strip(" !") not in listed and len(set(listed)) == len(listed)


def test_too_few_texts_have_no_neighbours():
    assert neighbourhoods(["a", "b"], {"m": np.eye(2)}, "x") is None


def test_misjudged_pairs_are_the_largest_differences_of_rank():
    tasks = [task("A"), task("B", seed=1)]
    cosines = {"one": evaluate(Bag(2.0), tasks).cosines, "two": evaluate(Bag(0.5), tasks).cosines}
    off = []
    for one in tasks:
        n = len(one)
        difference = rankdata(cosines["two"][one.name]) - rankdata(one.gold)
        off += [(100 * d / n, s) for d, s in zip(difference, one.sentence1, strict=True)]
    off.sort()
    high, low = misjudged(tasks, cosines, "two", each=4)
    assert [pair.sentence1 for pair in low] == [text for _, text in off[:4]]
    assert [pair.sentence1 for pair in high] == [text for _, text in off[::-1][:4]]
    assert [round(pair.off("two"), 6) for pair in low] == [round(d, 6) for d, _ in off[:4]]
    assert set(high[0].rank) == {"one", "two"}


def test_a_pair_in_two_tasks_is_listed_once_and_perfect_ranks_list_none():
    one = task("A")
    again = PairTask("again", one.sentence2, one.sentence1, one.gold, {}, "test", "x")
    cosines = {"m": evaluate(Bag(2.0), [one, again]).cosines}
    high, _ = misjudged([one, again], cosines, "m", each=10)
    assert len({frozenset((p.sentence1, p.sentence2)) for p in high}) == len(high) == 10
    assert misjudged([one], {"m": {"A": one.gold}}, "m") == ((), ())
