"""Peak memory of a training step of a large batch by GradCache, against that of a small one."""

from __future__ import annotations

import sys
from dataclasses import replace
from typing import Any

from eval.speed.ours import Train
from eval.speed.report import rate
from eval.speed.turns import Setting, Worker
from simcse_kit.errors import InputError


def measure(setting: Setting, large: int, rows_at_a_time: int) -> dict[str, Any]:
    """One step of each, after one that allocates the optimizer's state, each in its own process.

    `setting` has the small batch. On the CPU the peak is of the process, libraries and all;
    ``net`` is without what was in use before training.
    """
    small = replace(setting, turns=1, steps=1, warmup_steps=1)
    cached = replace(
        small,
        batch_size=large,
        overrides=(*setting.overrides, f"mini_batch_size={rows_at_a_time}"),
    )
    found: dict[str, dict[str, float]] = {}
    for name, each in (("small", small), ("large", cached)):
        with Worker(Train, each) as worker:
            worker.ready()
            turn = worker.turn()
            _, memory = worker.finish()
        if memory is None:
            raise InputError("memory is measured in a process of its own only")
        found[name] = {
            "batch": each.batch_size,
            "peak_mib": memory.peak,
            "net_mib": memory.peak - memory.before,
            "sentences_per_second": rate(turn),
        }
        print(f"gradcache, batch {each.batch_size}: {memory.peak:,.0f} MiB", file=sys.stderr)
    return {
        "precision": setting.precision,
        "rows_at_a_time": rows_at_a_time,
        **found,
        "ratio": found["large"]["peak_mib"] / found["small"]["peak_mib"],
        "net_ratio": found["large"]["net_mib"] / max(found["small"]["net_mib"], 1e-9),
    }


def sentence(figures: dict[str, Any]) -> str:
    """The outcome in words."""
    small, large = figures["small"], figures["large"]
    return (
        f"A training step of batch {large['batch']:,.0f} by GradCache ({figures['precision']}, "
        f"{figures['rows_at_a_time']} rows at a time) needs {large['peak_mib']:,.0f} MiB, "
        f"{figures['ratio']:.2f}× the {small['peak_mib']:,.0f} MiB of batch "
        f"{small['batch']:,.0f} ({figures['net_ratio']:.2f}× without what is in use before "
        f"training), at {large['sentences_per_second']:,.0f} sentences/s against "
        f"{small['sentences_per_second']:,.0f}."
    )
