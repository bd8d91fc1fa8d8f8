"""What is timed, on which sides, and what shows that both computed the same."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from eval.speed import onnx as speed_onnx
from eval.speed import ours as speed_ours
from eval.speed import peers as speed_peers
from eval.speed.turns import Setting, Side

Evidence = dict[str, Any]


@dataclass(frozen=True)
class Work:
    """Something both sides do.

    Attributes:
        ours: our side.
        peers: the other's sides by name; ``bf16`` computes in bf16, the others in fp32.
        precisions: of ours that are measured unless `--precision` chooses.
        agree: from our evidence, the peer's, that of the peer in fp32 and the two precisions:
            the figures of agreement, with a ``text`` and ``ok``.
        by_reference: whether `agree` needs the peer in fp32 even where the peer is another.
    """

    ours: Callable[[Setting], Side]
    peers: dict[str, Callable[[Setting], Side]]
    precisions: tuple[str, ...]
    agree: Callable[[Evidence, Evidence, Evidence, tuple[str, str]], Evidence]
    by_reference: bool = False


def agree_on_loss(
    ours: Evidence, peer: Evidence, reference: Evidence, precisions: tuple[str, str]
) -> Evidence:
    """The first batch's loss without dropout, on both sides."""
    difference = abs(ours["loss"] - peer["loss"])
    tolerance = 0.02 if "bf16" in precisions else 1e-4
    return {
        "ours_loss": ours["loss"],
        "peer_loss": peer["loss"],
        "tolerance": tolerance,
        "ok": difference <= tolerance,
        "text": f"loss {ours['loss']:.4f}, {difference:.0e} apart",
    }


def agree_on_embeddings(
    ours: Evidence, peer: Evidence, reference: Evidence, precisions: tuple[str, str]
) -> Evidence:
    """Cosines of the first embeddings, of ours and of the peer's, to the peer's in fp32."""
    expected = reference["embeddings"]
    cosines, theirs = (
        row_cosines(side["embeddings"][: len(expected)], expected) for side in (ours, peer)
    )
    tolerance = 0.99 if precisions[0] == "bf16" else 0.99999
    text = f"cosine {cosines.mean():.4f}, min {cosines.min():.4f}"
    if peer is not reference:
        text += f" (peer {theirs.mean():.4f}, {theirs.min():.4f})"
    return {
        "sentences": len(expected),
        "ours_mean_cosine": float(cosines.mean()),
        "ours_min_cosine": float(cosines.min()),
        "peer_mean_cosine": float(theirs.mean()),
        "peer_min_cosine": float(theirs.min()),
        "tolerance": tolerance,
        "ok": bool(cosines.min() >= tolerance),
        "text": text,
    }


def row_cosines(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Of the rows of two arrays, in float64: (N,)."""
    a, b = (rows.astype(np.float64) for rows in (a, b))
    a, b = (rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in (a, b))
    return np.asarray((a * b).sum(1))


def agree_on_scores(
    ours: Evidence, peer: Evidence, reference: Evidence, precisions: tuple[str, str]
) -> Evidence:
    """Spearman ×100 of every task."""
    apart = {name: abs(score - peer["spearman"][name]) for name, score in ours["spearman"].items()}
    worst = max(apart.values())
    # the peer's bf16 has its weights in bf16 too, which costs it more than ours loses
    # (fp32: nearly equal cosines may change places, which few pairs do in a trained space)
    tolerance = {"fp32": 0.1 if precisions[0] == "bf16" else 0.05, "bf16": 1.0}[precisions[1]]
    same_length = ours["max_length"] == peer["max_length"]
    text = f"Spearman at most {worst:.3f} apart"
    if not same_length:
        text += f", but cut to {ours['max_length']} and {peer['max_length']} tokens"
    return {
        "ours_spearman": ours["spearman"],
        "peer_spearman": peer["spearman"],
        "worst_difference": worst,
        "tolerance": tolerance,
        "ok": worst <= tolerance and same_length,
        "text": text,
    }


WORKS = {
    "train": Work(
        speed_ours.Train,
        {"default": speed_peers.Train, "bf16": speed_peers.Train},
        ("auto", "fp32"),
        agree_on_loss,
    ),
    "encode": Work(
        speed_ours.Encode,
        {
            "default": speed_peers.Encode,
            "bf16": speed_peers.Encode,
            "onnx": speed_onnx.Encode,
        },
        ("auto", "fp32"),
        agree_on_embeddings,
        by_reference=True,
    ),
    "sts": Work(
        speed_ours.Sts,
        {"default": speed_peers.Sts, "bf16": speed_peers.Sts},
        ("auto",),
        agree_on_scores,
    ),
}
