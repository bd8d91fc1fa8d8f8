"""A miniature SentEval tree, and a model that needs no weights to be judged on it."""

from __future__ import annotations

import functools
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from simcse_kit.evaluation.sts.tasks import PUBLISHED, SUBSET_TASKS, Counts, PairTask

_VOCABULARY = """
man woman girl boy dog cat horse bird plays runs eats sleeps reads sings rides walks in on
the a red blue green black house car train plane boat street field kitchen guitar piano
"""
WORDS = _VOCABULARY.split()
# Every part of every task, a few pairs each, all different so that a mix-up shows.
MINI = {
    task: {part: 9 + 2 * number for number, part in enumerate(parts)}
    for task, parts in PUBLISHED.items()
}


class BagOfWords:
    """Sums of random word vectors, and a record of what it was asked to embed."""

    name = "bag-of-words"
    max_length = 32
    precision = "fp32"
    pooling = "sum"

    def __init__(self, dimension: int = 16) -> None:
        self.dimension = dimension
        self.calls: list[list[str]] = []

    def encode(self, sentences: list[str]) -> np.ndarray:
        self.calls.append(sentences)
        vectors = np.zeros((len(sentences), self.dimension), dtype=np.float32)
        for row, sentence in enumerate(sentences):
            for word in sentence.lower().split():
                vectors[row] += word_vector(word, self.dimension)
        return vectors


@functools.cache
def word_vector(word: str, dimension: int) -> np.ndarray:
    return np.random.default_rng(zlib.crc32(word.encode())).normal(size=dimension)


def sentence(rng: np.random.Generator) -> str:
    return " ".join(rng.choice(WORDS, size=rng.integers(4, 9)))


def scored_pair(rng: np.random.Generator) -> tuple[str, str, float]:
    """Two sentences that share some words, and the share as a gold score from 0 to 5."""
    words = sentence(rng).split()
    kept = int(rng.integers(0, len(words) + 1))
    other = words[:kept] + list(rng.choice(WORDS, size=len(words) - kept))
    return " ".join(words), " ".join(other), round(5 * kept / len(words), 3)


def build_tree(root: Path, counts: Counts = MINI, seed: int = 0) -> Path:
    """SentEval's `STS/` and `SICK/` below `root`, random text, unrated pairs in between."""
    rng = np.random.default_rng(seed)
    for task, parts in counts.items():
        for part, n in parts.items():
            pairs = [scored_pair(rng) for _ in range(n)]
            if task in SUBSET_TASKS:
                write_subset(root / "STS" / f"{task}-en-test", part, pairs, rng)
            elif task.startswith("STSB"):
                lines = [f"genre\tfile\tyear\t7\t{gold}\t{a}\t{b}" for a, b, gold in pairs]
                write(root / "STS" / "STSBenchmark" / f"sts-{part}.csv", lines)
            elif task == "SICKR-MTEB":
                lines = [f"{i}\t{a}\t{b}\t{gold}\tNEUTRAL" for i, (a, b, gold) in enumerate(pairs)]
                name = {"train": "train", "trial": "trial", "test": "test_annotated"}[part]
                header = "pair_ID\tsentence_A\tsentence_B\trelatedness_score\tentailment_judgment"
                write(root / "SICK" / f"SICK_{name}.txt", [header, *lines], newline="\r\n")
    return root


def write_subset(
    folder: Path, part: str, pairs: list[tuple[str, str, float]], rng: np.random.Generator
) -> None:
    inputs = [f"{a}\t{b}" for a, b, _ in pairs]
    scores = [f"{gold}" for _, _, gold in pairs]
    for place in sorted(rng.integers(0, len(pairs), size=3), reverse=True):
        inputs.insert(place, f"{sentence(rng)}\tnobody rated this pair")
        scores.insert(place, "")
    write(folder / f"STS.input.{part}.txt", inputs)
    write(folder / f"STS.gs.{part}.txt", scores)


def write(path: Path, lines: list[str], newline: str = "\n") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("".join(line + newline for line in lines).encode())


MINI["SICKR"] = {"test": MINI["SICKR-MTEB"]["test"]}  # the same file


def toy_task(gold: Any = (0.0, 1.0, 2.5, 4.5, 5.0), name: str = "toy", **more: Any) -> PairTask:
    first = [f"{word} {number}" for number, word in enumerate(WORDS[: len(gold)])]
    second = [f"{word} the {number}" for number, word in enumerate(WORDS[: len(gold)])]
    fields: dict[str, Any] = {"subsets": {}, "split": "test", "source": "memory", **more}
    return PairTask(name, first, second, np.array(gold), **fields)
