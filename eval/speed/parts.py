"""What does each part of a method cost? Training steps with it and without it, in turns.

    python -m eval.speed.parts --model DIR --data SENTENCES.txt.gz --json OUT [--pairs 5] \\
        [--precision bf16] [--only "queue of 4,096" …]

Plain SimCSE and each part's side take turns in one run on the same sentences, with the same
encoder, batch and length; the first round warms up and is not counted. A part's cost is the time of
its turn over that of the turn without it in the same round: of all, the median.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from eval.provenance import write
from eval.speed.ours import Train
from eval.speed.report import spread
from eval.speed.turns import Setting, Turn, Worker, quiet
from simcse_kit.compute import resolve_precision

PLAIN = "plain"
MOMENTUM = "keys={{name: momentum, queue_length: {queue}, positives: {positives}}}"


@dataclass(frozen=True)
class Part:
    """Settings beside plain ones, and the side whose time theirs is divided by."""

    settings: tuple[str, ...]
    over: str = PLAIN


PARTS: Mapping[str, Part] = {
    PLAIN: Part(()),
    "word deletion": Part(("anchor_view=deletion", "positive_view=deletion")),
    "subword repetition": Part(("positive_view=repetition",)),
    "crop": Part(("positive_view=crop",)),
    "reorder": Part(("positive_view=reorder",)),
    "span mask": Part(("positive_view=span_mask",)),
    "character noise": Part(("positive_view=character_noise",)),
    "token cut-off": Part(("positive_view=token_cutoff",)),
    "feature cut-off": Part(("positive_view=feature_cutoff",)),
    "all 2B - 1 negatives": Part(("objective.negatives=all",)),
    "learnt temperature": Part(("objective.learn_temperature=true",)),
    "decorrelation": Part(("auxiliaries=[{name: decorrelation, weight: 0.1}]",)),
    "prototypes that are learnt": Part(("auxiliaries=[{name: swapped, weight: 0.5}]",)),
    "moving average": Part(("ema_decay=0.99",)),
    "momentum encoder": Part((MOMENTUM.format(queue=64, positives="momentum"),)),
    "momentum encoder for negatives alone": Part(
        (MOMENTUM.format(queue=160, positives="encoder"),),
    ),
    "queue of 4,096": Part(
        (MOMENTUM.format(queue=4096, positives="momentum"),), over="momentum encoder"
    ),
}


def rounds(sides: Mapping[str, Part], setting: Setting, pairs: int) -> dict[str, list[Turn]]:
    """The turns of every side, but for the first one, each side in a process of its own."""
    turns: dict[str, list[Turn]] = {name: [] for name in sides}
    with ExitStack() as stack:
        workers = {}
        for name, part in sides.items():
            own = replace(setting, overrides=(*setting.overrides, *part.settings))
            workers[name] = stack.enter_context(Worker(Train, own))
            workers[name].ready()
        for number in range(pairs + 1):
            for name, worker in workers.items():
                turn = worker.turn()
                if number:
                    turns[name].append(turn)
            print(f"round {number} of {pairs}", file=sys.stderr, flush=True)
        for worker in workers.values():
            worker.finish()
    return turns


def costs(sides: Mapping[str, Part], turns: Mapping[str, Sequence[Turn]]) -> list[dict[str, Any]]:
    """A row a part: its time as a multiple of what it is compared with, over the rounds."""
    rows = []
    for name, part in sides.items():
        if name == part.over:
            continue
        pairs = zip(turns[name], turns[part.over], strict=True)
        ratios = [own.seconds / other.seconds for own, other in pairs]
        rows.append(
            {
                "part": name,
                "settings": list(part.settings),
                "over": part.over,
                "cost": spread(ratios, "rounds"),
            }
        )
    return rows


def claim(rows: Sequence[dict[str, Any]], precision: str) -> str:
    """The outcome in words."""
    said = [
        f"{row['part']} {row['cost']['median']:.2f}×"
        + ("" if row["over"] == PLAIN else f" (of the {row['over']})")
        for row in rows
    ]
    return f"A training step in {precision} takes, of a plain one's time: {', '.join(said)}."


def chosen(names: Sequence[str] | None) -> dict[str, Part]:
    """The parts that were named, and what they are compared with; all of them by default."""
    if not names:
        return dict(PARTS)
    wanted = {PLAIN, *names, *(PARTS[name].over for name in names)}
    return {name: part for name, part in PARTS.items() if name in wanted}


def main(words: Sequence[str] | None = None) -> None:
    """Measure, and write the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--precision", choices=["auto", "fp32", "bf16"], default="auto")
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--steps", type=int, default=8, help="of a turn")
    parser.add_argument("--only", nargs="+", choices=[name for name in PARTS if name != PLAIN])
    parser.add_argument("--json", type=Path, required=True)
    given = parser.parse_args(words)
    quiet()
    sides = chosen(given.only)
    setting = Setting(
        given.model,
        data=given.data,
        precision=resolve_precision(given.precision, "cpu"),
        steps=given.steps,
        turns=given.pairs + 1,
    )
    rows = costs(sides, rounds(sides, setting, given.pairs))
    settings = {
        "model": Path(given.model).name,
        "precision": setting.precision,
        "batch_size": setting.batch_size,
        "max_length": setting.max_length,
        "steps": setting.steps,
        "threads": torch.get_num_threads(),
    }
    said = claim(rows, setting.precision)
    write(given.json, {"settings": settings, "rows": rows}, said)
    print(said)


if __name__ == "__main__":
    main()
