"""Whatever a method is made of and wherever it is killed, resumed it ends as if it had not been."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from resumed_runs import check_resumed
from simcse_kit.data import Rows
from training_rows import config, dev_task, pair_rows, sentences, text_rows

FEW, MANY = range(2), range(2, 40)


def rows_of(kind: str, count: int) -> Rows:
    if kind == "text":
        return replace(text_rows(count), documents=np.arange(count) // 3)
    if kind == "labelled":
        labels = [str(row % 3) for row in range(count)]
        return Rows("labelled", {"text": sentences(count)}, labels, None, "labels", 0, 0)
    pairs = pair_rows(count)
    if kind == "scored":
        columns = dict(zip(("sentence1", "sentence2"), pairs.columns.values(), strict=True))
        return Rows("scored", columns, None, np.arange(count) % 6.0, "scores", 0, 0)
    return pairs


def drawn(seed: int) -> tuple[str, dict[str, Any]]:
    """The kind of rows, and a method."""
    pick = np.random.default_rng(seed)

    def one(*values: Any) -> Any:
        return values[int(pick.integers(len(values)))]

    kind = one("text", "text", "labelled", "scored", "pairs")
    contrast = {
        "name": "info_nce",
        "negatives": one("positives", "all"),
        "decoupled": one(True, False),
        "mixed": one(0.0, 0.2),
        "gaussian": one(0, 5),
        **one({}, {"learn_temperature": True}, {"final_temperature": 0.1}),
    }
    objectives = {
        "labelled": ["label_info_nce", "supervised_contrastive", "soft_nearest_neighbours"],
        "scored": ["cosent", "angle", "pearson"],
    }
    views = ("deletion", "crop", "repetition", "token_cutoff", "feature_cutoff", None)
    method: dict[str, Any] = {
        "objective": one(*objectives.get(kind, [contrast, contrast, "align_uniform"])),
        "auxiliaries": one(
            [],
            [{"name": "decorrelation", "weight": 0.1}],
            [{"name": "prototypes", "clusters": [2, 3], "refresh_every": 2, "weight": 0.5}],
            [{"name": "swapped", "prototypes": 4, "weight": 0.5}],
        ),
        "anchor_view": one(*views),
        "positive_view": one(*views),
        "projection": one("tanh", "mlp", {"name": "mlp", "norm": "batch", "width": 16}),
        "ema_decay": one(None, 0.8),
        "mini_batch_size": one(None, 2),
        "gradient_accumulation_steps": one(1, 2),
        "dataloader_num_workers": one(0, 0, 1),
        "bf16": one(True, False),
    }
    keys = {"name": "momentum", "momentum": 0.8, "queue_length": int(pick.integers(1, 20))}
    keys |= {"positives": one("encoder", "momentum"), "predictor": one(True, False)}
    method["keys"] = one(None, keys)
    method["negatives"] = one(None, "noise")
    added = [method["objective"], *method["auxiliaries"]]
    if not any(
        isinstance(each, dict) and each["name"] in ("info_nce", "swapped") for each in added
    ):
        keys["positives"], method["negatives"] = "momentum", None  # nothing looks at a queue
    if kind == "text":
        method["pairing"] = one(None, None, {"name": "neighbour", "direction": "both"})
    if kind == "labelled":
        method |= one({}, {"batch_sampler": "group_by_label", "samples_per_label": 2})
    if method["keys"] is None or keys["positives"] == "encoder":
        method["positive_dropout"] = one(None, 0.3)
    method |= one({}, {"pooling": "mask", "template": 'so "{}" is [MASK].'})
    return kind, method


@pytest.mark.parametrize(
    "seed", [*FEW, *(pytest.param(seed, marks=pytest.mark.slow) for seed in MANY)]
)
def test_resumed_equals_whole(seed, tiny_encoder, tmp_path, monkeypatch):
    kind, method = drawn(seed)
    settings = config(tmp_path, **method, per_device_train_batch_size=4, max_steps=7, save_steps=2)
    rows = rows_of(kind, 12 if kind != "scored" else 14)
    at = 3 + seed % 4
    model = tiny_encoder("bert" if seed % 3 else "mpnet")
    check_resumed(model, rows, settings, tmp_path, monkeypatch, at, dev_task())
