"""A small report, from encoders of bags of words: quick to measure, and different on purpose."""

from __future__ import annotations

import functools
import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

from simcse_kit.evaluation.sts.protocols import PROTOCOLS
from simcse_kit.evaluation.sts.suite import PairTask
from simcse_kit.report.collect import Subject, collect
from simcse_kit.report.data import Report
from simcse_kit.report.runs import Run

EVIL = '<script>alert("1")</script> & | _x_ \\ `y`'
_WORDS = [
    *("man", "dog", "girl", "plays", "eats", "reads"),
    *("guitar", "apple", "book", "slowly", "loudly", "twice"),
]


class Bag:
    """A sum of random word vectors, with so much noise a text; counts what it embeds."""

    precision = "fp32"

    def __init__(self, noise: float) -> None:
        self.noise = noise
        self.calls: list[list[str]] = []

    def encode(self, texts: list[str], **_: Any) -> np.ndarray:
        self.calls.append(list(texts))
        return np.stack([self._one(text) for text in texts])

    def _one(self, text: str) -> np.ndarray:
        own = _normal(text)
        return sum((_normal(word) for word in text.split()), 0 * own) + self.noise * own


@functools.cache
def _normal(text: str) -> np.ndarray:
    return np.random.default_rng(zlib.crc32(text.encode())).normal(size=24).astype(np.float32)


def task(name: str, pairs: int = 60, seed: int = 0) -> PairTask:
    """Pairs whose gold score is the share of words they have in common, of 5."""
    rng = np.random.default_rng(seed)
    first, second, gold = [], [], []
    for number in range(pairs):
        words = list(rng.permutation(_WORDS)[:6])
        kept = int(rng.integers(0, 7))
        others = [word for word in rng.permutation(_WORDS) if word not in words]
        first.append(f"{' '.join(words)} {name}{number}" + " today" * (number % 3))
        second.append(" ".join(words[:kept] + others[: 6 - kept]) + f" {name}{number}")
        gold.append(5 * kept / 6)
    return PairTask(name, first, second, np.array(gold), {}, "test", f"/private/{name}.tsv")


HISTORY = [
    {"step": 0, "eval_spearman": 40.0, "eval_alignment": 0.4, "eval_uniformity": -1.5},
    {"step": 10, "loss": 2.0, "alignment": 0.3, "uniformity": -1.8},
    {"step": 20, "eval_spearman": 70.0, "eval_alignment": 0.3, "eval_uniformity": -2.5},
    {"step": 20, "loss": 1.0, "train_runtime": 75.0},
    {"step": 30, "eval_spearman": 60.0, "eval_alignment": 0.2, "eval_uniformity": -2.6},
]
RUN = Run({"seed": 1, "temperature": 0.05}, HISTORY, "/private/base", "texts.txt", {})


def small_report(models: int = 2, name: str = "better", **options: Any) -> Report:
    """A report of one to three models, the first the worst."""
    noises = {"worse": 4.0, name: 0.5, "middle": 1.0}
    makers: dict[str, Callable[[], Bag]] = {
        key: (lambda noise=noise: Bag(noise)) for key, noise in noises.items()
    }
    if models == 1:
        del makers["worse"]
    subjects = [
        Subject(key, make, RUN if key == name else None)
        for key, make in list(makers.items())[:models]
    ]
    settings: dict[str, Any] = {"named": PROTOCOLS["senteval-all"], "draws": 200}
    return collect(subjects, [task("A"), task("B", seed=1)], **(settings | options))
