"""Loading from the hub, with a stand-in for what loads a dataset: nothing is downloaded."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mini_senteval import BagOfWords, scored_pair
from simcse_kit.errors import InputError
from simcse_kit.evaluation.sts import hub, sick_split
from simcse_kit.evaluation.sts.suite import PUBLISHED, evaluate, load_tasks


class Column(dict[str, list[Any]]):
    """What is used of a `datasets.Dataset`."""

    @property
    def column_names(self) -> list[str]:
        return list(self)


def fake_hub(monkeypatch: pytest.MonkeyPatch, load: Callable[..., Any]) -> None:
    monkeypatch.setattr(hub, "load_dataset", load)


def columns_of(pairs: list[tuple[str, str, float]]) -> Column:
    first, second, gold = (list(column) for column in zip(*pairs, strict=True))
    return Column(sentence1=first, sentence2=second, score=gold)


def test_the_hub_is_asked_at_pinned_revisions(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str, str]] = []

    def load(path: str, config: None, *, revision: str, split: str) -> Column:
        asked.append((path, revision, split))
        return columns_of([scored_pair(np.random.default_rng(len(asked))) for _ in range(12)])

    fake_hub(monkeypatch, load)
    names = [name for name in PUBLISHED if name != "SICKR"]
    tasks = load_tasks(None, names, counts={name: {"all": 12} for name in PUBLISHED})
    assert [task.name for task in tasks] == names
    assert all(len(revision) == 40 for _, revision, _ in asked)
    assert asked[0] == ("mteb/sts12-sts", "a0d554a64d88156834ff5ae9920b964011b16384", "test")
    assert dict(zip(names, (split for *_, split in asked), strict=True))["STSB-dev"] == "validation"
    assert tasks[0].source == "mteb/sts12-sts@a0d554a64d88156834ff5ae9920b964011b16384"
    assert tasks[0].subsets == {}
    with pytest.raises(InputError, match=r"12 rated pairs where 3,108 are expected"):
        load_tasks(None, ["STS12"])
    with pytest.raises(InputError, match=r"'wmean' is a mean over subsets.*--data-dir"):
        evaluate(BagOfWords(), tasks[:1], aggregation="wmean")


def test_an_unreachable_hub_is_one_sentence_of_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: Any, **__: Any) -> Any:
        raise ConnectionError("no route to host\nwith a long trace")

    fake_hub(monkeypatch, unreachable)
    with pytest.raises(InputError, match=r"STS12 could not be loaded.*ConnectionError.*--data-dir"):
        load_tasks(None)


def test_a_hub_dataset_with_other_columns_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_hub(monkeypatch, lambda *_, **__: Column(premise=[], sentence2=[], score=[]))
    with pytest.raises(InputError, match="no column sentence1"):
        load_tasks(None, ["STSB"])


def test_sick_test_pairs_are_found_in_the_pool_by_content(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    pool = [scored_pair(rng) for _ in range(40)]
    pool += pool[:3]  # SICK has pairs twice
    test = pool[25:]
    digest, bits = sick_split.describe_split(pool, test)

    shuffled = [pool[i] for i in rng.permutation(len(pool))]
    spaced = [(f" {a}  ", b, float(np.float32(gold))) for a, b, gold in shuffled]
    chosen = sick_split.test_rows(spaced, digest, bits)
    assert sorted(shuffled[i] for i in chosen) == sorted(test)

    monkeypatch.setattr(hub, "test_rows", lambda rows: sick_split.test_rows(rows, digest, bits))
    fake_hub(monkeypatch, lambda *_, **__: columns_of(spaced))
    (task,) = load_tasks(None, ["SICKR"], counts={"SICKR": {"test": len(test)}})
    assert sorted(task.gold) == sorted(np.float32([gold for *_, gold in test]).astype(float))

    edited = [("another sentence", *pool[0][1:]), *pool[1:]]
    with pytest.raises(InputError, match=r"cannot be told apart.*--data-dir.*SICKR-MTEB"):
        sick_split.test_rows(edited, digest, bits)


def test_the_shipped_split_marks_as_many_pairs_as_the_test_set_has() -> None:
    packed = np.frombuffer(base64.b85decode(sick_split.TEST_BITS), dtype=np.uint8)
    assert np.unpackbits(packed, count=9927).sum() == 4927
