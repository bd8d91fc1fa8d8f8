"""Long texts in training without dropout: attention's two ways, by time and by what they keep.

    python -m eval.speed.long_texts --json eval/results/speed-long-texts.json

A layer of BERT's shape runs forward and backward over sequences of one length, once with the
compiled kernel, which keeps its weights, and once with torch's, which computes them anew; in turns,
the fastest of each. What is kept for the way back is counted tensor by tensor. The length from
which training takes torch's way (`simcse_kit.compute.attention`) is chosen by these figures.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import BertConfig, BertModel

import simcse_kit.compute.attention as attention
from eval.provenance import write
from simcse_kit.compute import (
    PackedBatch,
    enable_packing,
    hidden_states,
    use_fast_layers,
    use_whole_layers,
)

LENGTHS = (256, 512, 768, 1024, 2048, 4096)
TOKENS = 4096
TURNS = 5
WAYS = {"kernel": 1 << 30, "torch": 1}


def layer(dropout: float) -> Any:
    """BERT-base with one layer, prepared as an encoder's backbone is."""
    torch.manual_seed(0)
    config = BertConfig(
        num_hidden_layers=1,
        max_position_embeddings=max(LENGTHS),
        hidden_dropout_prob=dropout,
        attention_probs_dropout_prob=dropout,
    )
    model = BertModel(config, add_pooling_layer=False).train()
    enable_packing(model)
    use_fast_layers(model)
    use_whole_layers(model)
    return model


def step(model: Any, batch: PackedBatch, bf16: bool) -> tuple[float, float]:
    """Seconds of a step forward and backward, and the MiB that are kept between the two."""
    kept: dict[int, int] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    model.zero_grad()
    start = time.perf_counter()
    with (
        torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor),
        torch.autocast("cpu", dtype=torch.bfloat16, enabled=bf16),
    ):
        (states,) = hidden_states(model, batch)
    states.float().square().mean().backward()
    seconds = time.perf_counter() - start
    own = {each.untyped_storage().data_ptr() for each in model.parameters()}
    return seconds, sum(size for place, size in kept.items() if place not in own) / 2**20


def measure() -> list[dict[str, Any]]:
    """A row a precision and length."""
    rows = []
    chosen = attention._LONG
    for bf16 in (True, False):
        for length in LENGTHS:
            ids = torch.randint(1000, 20_000, (max(1, TOKENS // length), length))
            batch = PackedBatch.from_sequences(ids.tolist())
            model = layer(0.0)
            found: dict[str, list[tuple[float, float]]] = {way: [] for way in WAYS}
            for turn in range(TURNS + 1):
                for way, limit in WAYS.items():
                    attention._LONG = limit
                    done = step(model, batch, bf16)
                    if turn:  # the first makes what is kept
                        found[way].append(done)
            attention._LONG = chosen
            row: dict[str, Any] = {"precision": "bf16" if bf16 else "fp32", "length": length}
            row["sequences"] = len(ids)
            for way, steps in found.items():
                row[way] = {
                    "milliseconds": round(1e3 * min(each for each, _ in steps), 1),
                    "kept_mib": round(steps[0][1], 1),
                }
            rows.append(row)
            print(row, file=sys.stderr)
    return rows


def sentence(rows: list[dict[str, Any]]) -> str:
    """The outcome at the greatest length, in words."""
    row = max(rows, key=lambda each: (each["length"], each["precision"] == "bf16"))
    ours, theirs = row["kernel"], row["torch"]
    return (
        f"Without dropout a BERT-base layer over a text of {row['length']:,} tokens "
        f"({row['precision']}) keeps {theirs['kept_mib']:,.0f} MiB and takes "
        f"{theirs['milliseconds']:,.0f} ms with torch's attention, {ours['kept_mib']:,.0f} MiB and "
        f"{ours['milliseconds']:,.0f} ms with the compiled kernel; training takes torch's from "
        f"{attention._LONG:,} tokens on."
    )


def main() -> None:
    """Measure, and write the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--json", type=Path, required=True)
    given = parser.parse_args()
    rows = measure()
    settings = {"tokens": TOKENS, "turns": TURNS, "threads": torch.get_num_threads()}
    write(given.json, {"settings": settings, "rows": rows}, sentence(rows))


if __name__ == "__main__":
    main()
