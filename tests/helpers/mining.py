"""Pairs to mine among, and a run of mining that ends itself by force."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

import numpy as np

from simcse_kit.data import Rows, read_rows
from simcse_kit.evaluation.mining import Rules

WORDS = [
    "the",
    "man",
    "woman",
    "plays",
    "guitar",
    "dog",
    "runs",
    "she",
    "reads",
    "book",
    "on",
    "train",
    "red",
    "car",
    "city",
    "old",
    "small",
]
#: Blocks that are finished before the end by force.
FINISHED = 2


def texts(count: int, seed: int) -> list[str]:
    """Different texts of these words."""
    draw = np.random.default_rng(seed)
    found: dict[str, None] = {}
    while len(found) < count:
        found[" ".join(draw.choice(WORDS, draw.integers(3, 9)))] = None
    return list(found)


def pair_rows(anchors: int = 12, positives: int = 20) -> Rows:
    """A row a positive; most anchors have several, and some pairs stand there twice."""
    asked, answers = texts(anchors, 0), [f"{text} city" for text in texts(positives, 1)]
    pairs = [(asked[i % anchors], answers[i % positives]) for i in range(2 * positives + 3)]
    return read_rows([{"anchor": a, "positive": p} for a, p in pairs])


def mine(model: Any, output: Path, rules: Rules | None = None, **how: Any) -> Any:
    """Mine in small blocks."""
    from simcse_kit.encoder import SentenceEncoder
    from simcse_kit.evaluation.mining import mine_hard_negatives

    encoder = model
    if isinstance(model, str | Path):
        encoder = SentenceEncoder.from_pretrained(model, pooling="mean", precision="fp32")
    how = {"rows": pair_rows(), "block": 3} | how
    return mine_hard_negatives(encoder, how.pop("rows"), output, rules, **how)


def main(model: str, output: str) -> None:
    """Be killed in the block after those that are finished."""
    from simcse_kit.evaluation.mining import blocks

    computed, calls = blocks._mined, iter(range(FINISHED))

    def mined(*args: Any) -> Any:
        if next(calls, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)
        return computed(*args)

    blocks._mined = mined
    mine(model, Path(output))


if __name__ == "__main__":
    main(*sys.argv[1:])
