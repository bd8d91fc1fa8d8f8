"""A miniature of SentEval's transfer tasks, whose classes show in the words."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from mini_senteval import WORDS, write
from simcse_kit.evaluation.labels.transfer_data import Counts

MINI: Counts = {
    "MR": {"rt-polarity.pos": 24, "rt-polarity.neg": 24},
    "CR": {"custrev.pos": 30, "custrev.neg": 21},
    "SUBJ": {"subj.objective": 25, "subj.subjective": 25},
    "MPQA": {"mpqa.pos": 20, "mpqa.neg": 32},
    "SST2": {"sentiment-train": 60, "sentiment-dev": 20, "sentiment-test": 24},
    "TREC": {"train_5500.label": 90, "TREC_10.label": 30},
    "MRPC": {"msr_paraphrase_train.txt": 60, "msr_paraphrase_test.txt": 26},
}
TREC_CLASSES = ("ABBR", "DESC", "ENTY", "HUM", "LOC", "NUM")


def text(rng: np.random.Generator, label: int, classes: int = 2) -> str:
    """Words of which nine in ten are of the class's own part of the vocabulary."""
    own = WORDS[label::classes]
    size = int(rng.integers(4, 10))
    return " ".join(rng.choice(own if rng.random() < 0.9 else WORDS) for _ in range(size))


def build_transfer(root: Path, counts: Counts = MINI, seed: int = 0) -> Path:
    """`MR/` … `MRPC/` below `root`."""
    rng = np.random.default_rng(seed)
    makers: dict[str, Callable[[int], str]] = {
        "SST2": lambda row: f"{text(rng, row % 2)}\t{row % 2}",
        "TREC": lambda row: f"{TREC_CLASSES[row % 6]}:kind {text(rng, row % 6, 6)} ?",
        "MRPC": lambda row: _pair(rng, row),
    }
    for task, files in counts.items():
        for place, (name, size) in enumerate(files.items()):
            folder = root / ("SST/binary" if task == "SST2" else task)
            if task in makers:
                lines = [makers[task](row) for row in range(size)]
            else:
                lines = [text(rng, 1 - place) + " " for _ in range(size)]
            if task == "MRPC":
                lines.insert(0, "\ufeffQuality\t#1 ID\t#2 ID\t#1 String\t#2 String")
            write(folder / name, lines)
    return root


def _pair(rng: np.random.Generator, row: int) -> str:
    """A paraphrase shares most of its words, another pair few."""
    label = int(row % 3 > 0)
    words = [str(word) for word in rng.choice(WORDS, size=8)]
    kept = int(rng.integers(4, 8) if label else rng.integers(0, 5))
    other = words[:kept] + [str(word) for word in rng.choice(WORDS, size=8 - kept)]
    return f'{label}\t{row}\t{row}\tthe " {" ".join(words)}\t{" ".join(other)}'
