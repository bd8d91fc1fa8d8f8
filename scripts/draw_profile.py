"""Draw one step of a run's profile as a trace viewer shows it: `docs/images/profile.png`.

simcse-kit train … --set profile=true
python scripts/draw_profile.py my-run/tensorboard/steps-8-12.pt.trace.json docs/images/profile.png
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
from matplotlib.patches import Patch

STEP = "training step"
# What a colour stands for, and how names begin that have it.
COLOURS = {
    "matrix products": ("#2f6fb0", ("aten::mm", "aten::addmm", "aten::bmm")),
    "attention": ("#d9822b", ("simcse_kit::attention", "aten::scaled_dot")),
    "norms, dropout, activations": (
        "#e9b872",
        ("simcse_kit::", "aten::native_layer", "aten::gelu"),
    ),
    "optimizer": ("#5b9a68", ("Optimizer", "aten::_fused_adamw_")),
    "the step, and what calls the rest": ("#cfd4dc", ("",)),
}
DEPTHS = 5
SHOWN = ("cpu_op", "user_annotation")


def ranges(trace: dict[str, Any]) -> list[dict[str, Any]]:
    """The longest recorded step and all within it, of the thread that ran it, outermost first."""
    events = [
        event
        for event in trace["traceEvents"]
        if event.get("ph") == "X" and event.get("cat") in SHOWN
    ]
    step = max((e for e in events if e["name"] == STEP), key=lambda event: event["dur"])
    start, end = step["ts"], step["ts"] + step["dur"]
    inside = [
        event
        for event in events
        if event["tid"] == step["tid"]
        and start <= event["ts"]
        and event["ts"] + event["dur"] <= end
    ]
    return sorted(inside, key=lambda event: (event["ts"], -event["dur"]))


def with_depth(events: list[dict[str, Any]]) -> list[tuple[dict[str, Any], int]]:
    """Each range, and in how many others it lies."""
    open_ends: list[float] = []
    placed = []
    for event in events:
        while open_ends and open_ends[-1] <= event["ts"]:
            open_ends.pop()
        placed.append((event, len(open_ends)))
        open_ends.append(event["ts"] + event["dur"])
    return placed


def main() -> None:
    """Draw the trace that is named on the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("trace", type=Path)
    parser.add_argument("picture", type=Path)
    given = parser.parse_args()
    placed = with_depth(ranges(json.loads(given.trace.read_text())))
    start, whole = placed[0][0]["ts"], placed[0][0]["dur"]
    depths = min(DEPTHS, 1 + max(depth for _, depth in placed))
    figure, axes = plt.subplots(figsize=(12, 0.55 * depths + 0.9), layout="constrained")
    for event, depth in placed:
        if depth >= depths or event["dur"] < whole / 4000:
            continue
        name = event["name"]
        colour = next(colour for colour, keys in COLOURS.values() if name.startswith(keys))
        left, width = (event["ts"] - start) / 1000, event["dur"] / 1000
        axes.barh(depth, width, 0.92, left, color=colour, edgecolor="white", linewidth=0.3)
        room = int(width / (whole / 1000) * 165)
        if room >= 8:
            text = name if len(name) <= room else name[: room - 1] + "…"
            axes.text(left + width / 2, depth, text, ha="center", va="center", fontsize=8)
    axes.set_ylim(depths - 0.5, -0.5)
    axes.set_xlim(0, whole / 1000)
    axes.set_yticks([])
    axes.set_xlabel("milliseconds in the step; below a range is what it calls")
    axes.spines[["left", "right", "top"]].set_visible(False)
    patches = [Patch(color=colour, label=label) for label, (colour, _) in COLOURS.items()]
    figure.legend(handles=patches, loc="outside upper center", ncols=len(patches), frameon=False)
    figure.savefig(given.picture, dpi=130)


if __name__ == "__main__":
    main()
