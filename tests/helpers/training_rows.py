"""Small rows, a dev set and settings to train on, and the weights that come of it."""

from __future__ import annotations

import numpy as np
import torch

from simcse_kit.data import Rows
from simcse_kit.encoder import SentenceEncoder
from simcse_kit.evaluation.sts import PairTask
from simcse_kit.training import TrainConfig

NOUNS = ["man", "woman", "dog", "cat", "horse", "bird", "child", "player", "doctor", "king"]
VERBS = ["plays", "runs", "eats", "sleeps", "reads", "writes"]


def sentences(count: int) -> list[str]:
    generator = np.random.default_rng(1)
    pick = generator.choice
    return [
        f"the {pick(NOUNS)} {pick(VERBS)} {'on the street ' * int(generator.integers(0, 3))}{i}"
        for i in range(count)
    ]


def text_rows(count: int = 32) -> Rows:
    return Rows("text", {"text": sentences(count)}, None, None, "texts", 0, 0)


def pair_rows(count: int = 8, negatives: bool = False) -> Rows:
    texts = sentences(3 * count)
    columns = {"anchor": texts[:count], "positive": texts[count : 2 * count]}
    if negatives:
        columns["negative"] = texts[2 * count :]
    return Rows("pairs", columns, None, None, "pairs", 0, 0)


def dev_task() -> PairTask:
    texts = sentences(24)
    gold = np.arange(12) % 6.0
    return PairTask("STSB-dev", texts[:12], texts[12:], gold, {}, "dev", "test")


def config(tmp_path, **settings) -> TrainConfig:
    base = {
        "pooling": "mean",
        "per_device_train_batch_size": 8,
        "learning_rate": 1e-3,
        "bf16": False,
        "report_to": [],
        "use_cpu": True,
        "cache_dir": tmp_path / "cache",
        "logging_steps": 1,
        "save_steps": 2,
        "save_total_limit": 2,
        "eval_steps": 2,
    }
    return TrainConfig(**(base | settings))


def weights(encoder: SentenceEncoder) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in encoder.named_parameters()}


def assert_same(left: dict[str, torch.Tensor], right: dict[str, torch.Tensor]) -> None:
    assert left.keys() == right.keys()
    for name, value in left.items():
        assert torch.equal(value, right[name]), name
