"""Figures of speed as rows, a table for the terminal and one for the README."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from typing import Any

from eval.speed.turns import Memory, Turn

HEADINGS = (
    "work",
    "against",
    "ours /s",
    "peer /s",
    "ratio",
    "min–max",
    "MFU",
    "peer's",
    "MiB",
    "peer's",
    "agreement",
)
Pair = tuple[Turn, Turn]
WORK_NAMES = {"train": "Training", "encode": "`encode`", "sts": "The STS suite"}


def rate(turn: Turn) -> float:
    """Sentences a second."""
    return turn.sentences / turn.seconds


def spread(ratios: Sequence[float], each: str = "pairs") -> dict[str, Any]:
    """Median, least and most of some ratios, and all of them under the name `each`."""
    return {
        "median": statistics.median(ratios),
        "min": min(ratios),
        "max": max(ratios),
        each: ratios,
    }


def summarise(
    pairs: Sequence[Pair],
    memories: tuple[Memory | None, Memory | None],
    flops_a_sentence: float | None,
) -> dict[str, Any]:
    """Rates of both sides, and the ratio of every pair with its median, min and max."""
    ratios = [rate(ours) / rate(peer) for ours, peer in pairs]
    figures: dict[str, Any] = {"ratio": spread(ratios)}
    for number, (side, memory) in enumerate(zip(("ours", "peer"), memories, strict=True)):
        turns = [pair[number] for pair in pairs]
        speed = statistics.median(rate(turn) for turn in turns)
        figures[side] = {
            "sentences_per_second": speed,
            "seconds": [turn.seconds for turn in turns],
            "sentences_a_turn": turns[0].sentences,
        }
        for note in turns[0].notes:
            figures[side][note] = statistics.median(turn.notes[note] for turn in turns)
        if flops_a_sentence is not None:
            figures[side]["real_flops_per_second"] = speed * flops_a_sentence
        if memory is not None:
            figures[side]["peak_mib"] = memory.peak
            figures[side]["mib_before"] = memory.before
    return figures


def add_mfu(row: dict[str, Any], rates: dict[str, float]) -> None:
    """Share of the measured matrix rate at each side's precision, in a row of `summarise`."""
    for side in ("ours", "peer"):
        flops = row[side].get("real_flops_per_second")
        if flops is not None and row[side]["precision"] in rates:
            row[side]["mfu"] = flops / rates[row[side]["precision"]]


def cells(row: dict[str, Any]) -> list[str]:
    """One row as `HEADINGS` has it."""
    ours, peer, ratio = row["ours"], row["peer"], row["ratio"]

    def share(side: dict[str, Any]) -> str:
        return f"{side['mfu']:.0%}" if "mfu" in side else "–"

    def memory(side: dict[str, Any]) -> str:
        return f"{side['peak_mib']:,.0f}" if "peak_mib" in side else "–"

    return [
        f"{row['work']}, {ours['precision']}",
        row["against"],
        f"{ours['sentences_per_second']:,.0f}",
        f"{peer['sentences_per_second']:,.0f}",
        f"{ratio['median']:.2f}×",
        f"{ratio['min']:.2f}–{ratio['max']:.2f}",
        share(ours),
        share(peer),
        memory(ours),
        memory(peer),
        row["agreement"]["text"],
    ]


def table(rows: Sequence[Sequence[str]], headings: Sequence[str], markdown: bool) -> str:
    """Rows of cells under their headings, aligned, or as Markdown."""
    if markdown:
        rule = ["---", "---", *["---:"] * (len(headings) - 3), "---"]
        return "\n".join("| " + " | ".join(line) + " |" for line in (headings, rule, *rows))
    lines = [headings, *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(headings))]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if i < 2 or i == len(headings) - 1 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(line, widths, strict=True))
        ).rstrip()
        for line in lines
    )


def claim(rows: Sequence[dict[str, Any]], settings: dict[str, Any]) -> str:
    """What rows of `eval.speed.compare` say, one sentence a work."""
    said = []
    for work in dict.fromkeys(row["work"] for row in rows):
        against = [
            f"{row['ratio']['median']:.1f} times the rate of {peer_name(row)}"
            for row in rows
            if row["work"] == work
        ]
        precision = next(row["ours"]["precision"] for row in rows if row["work"] == work)
        shape = f" of {settings['shape']}'s shape" if settings["shape"] else ""
        chosen = "".join(f", {one}" for one in settings["overrides"])
        said.append(f"{WORK_NAMES[work]}{shape} in {precision}{chosen} has {', '.join(against)}.")
    return " ".join(said)


def peer_name(row: dict[str, Any]) -> str:
    """The other side of a row in words."""
    if row["against"] == "onnx":
        return f"an ONNX Runtime session ({row['peer']['precision']})"
    return f"sentence-transformers in {row['peer']['precision']}"


def machine_line(rates: dict[str, float], threads: int, device: str) -> str:
    """The machine's measured rates, in one sentence."""
    measured = ", ".join(f"{name} {flops / 1e9:,.0f} GFLOP/s" for name, flops in rates.items())
    return f"Matrix products on {device}, {threads} thread{'s' if threads > 1 else ''}: {measured}."
