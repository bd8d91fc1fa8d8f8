"""How long one sentence takes: `encode`, warm, and from the shell to the first similarity.

    python -m eval.speed.latency --model DIR --json eval/results/latency.json

Both libraries load the same folder in one process and embed the same text in turns, a call each, so
that a busy machine slows both; a ratio is the median of the ratios of calls that lay side by side.
Ours in fp32 and in bf16 stands against sentence-transformers as it is by default (fp32) and with
weights in bf16. From the shell, each command is a process of its own, in turns too, and beside them
one that does nothing but ``import torch``.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from eval.provenance import write
from eval.speed.turns import quiet
from eval.speed.works import row_cosines

LENGTHS = (8, 32, 128)  # tokens, special ones included
PAIRS = (("bf16", "theirs, bf16"), ("bf16", "theirs, default"), ("fp32", "theirs, default"))
WARMUP = 15
WORDS = "the man is playing music while some people watch him in large green park near old river"
TEXTS = ("A man is playing a guitar.", "Someone makes music.")
THEIRS = (
    "import sys; from sentence_transformers import SentenceTransformer as Model;"
    "model = Model(sys.argv[1], device='cpu'); a, b = model.encode(sys.argv[2:]);"
    "print(float(model.similarity(a, b)))"
)

Encode = Callable[[str], np.ndarray]


def sides(model: str) -> dict[str, Encode]:
    """A call of each side."""
    import torch
    from sentence_transformers import SentenceTransformer

    from simcse_kit import SentenceEncoder

    found: dict[str, Encode] = {}
    for precision in ("bf16", "fp32"):
        ours = SentenceEncoder.from_pretrained(model, device="cpu", precision=precision)
        found[precision] = ours.encode
    for name, given in (("bf16", {"dtype": torch.bfloat16}), ("default", {})):
        theirs = SentenceTransformer(model, device="cpu", model_kwargs=given)
        found[f"theirs, {name}"] = partial(theirs.encode, show_progress_bar=False)
    return found


def text_of(tokens: int, model: str) -> str:
    """A text of so many tokens; raises ValueError where the tokenizer cuts its words up."""
    from transformers import AutoTokenizer

    words = WORDS.split()
    text = " ".join(words[place % len(words)] for place in range(tokens - 2))
    found = len(AutoTokenizer.from_pretrained(model)(text)["input_ids"])
    if found != tokens:
        raise ValueError(f"the text has {found} tokens and not {tokens}: take other words")
    return text


def timed(encode: Encode, text: str) -> float:
    """Milliseconds of a call."""
    start = time.perf_counter()
    encode(text)
    return 1000 * (time.perf_counter() - start)


def calls(by_name: dict[str, Encode], model: str, repeats: int) -> dict[str, Any]:
    """Per length: p50 and p99 of every side, and the median ratios of neighbours."""
    figures = {}
    for tokens in LENGTHS:
        text = text_of(tokens, model)
        for _ in range(WARMUP):
            vectors = {name: encode(text) for name, encode in by_name.items()}
        rounds = [[timed(each, text) for each in by_name.values()] for _ in range(repeats)]
        taken = dict(zip(by_name, np.array(rounds).T, strict=True))
        figures[str(tokens)] = {
            "milliseconds": {
                name: {"p50": median(times), "p99": rounded(np.percentile(times, 99))}
                for name, times in taken.items()
            },
            "ratio": {
                f"{ours} / {peer}": median(taken[ours] / taken[peer]) for ours, peer in PAIRS
            },
            "least_cosine": rounded(
                min(
                    row_cosines(vectors[name][None], vectors["theirs, default"][None])[0]
                    for name in by_name
                ),
                6,
            ),
        }
    return figures


def shell(model: str, repeats: int) -> dict[str, Any]:
    """Seconds from the shell to the first similarity, and of ``import torch`` alone."""
    ours = str(Path(sys.executable).with_name("simcse-kit"))
    commands = {
        "simcse-kit similarity": [ours, "similarity", model, *TEXTS],
        "sentence-transformers": [sys.executable, "-c", THEIRS, model, *TEXTS],
        "import torch": [sys.executable, "-c", "import torch"],
    }
    taken: dict[str, list[float]] = {name: [] for name in commands}
    for turn in range(repeats + 1):
        for name, command in commands.items():
            start = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            if turn:  # the first reads the files from the disk
                taken[name].append(time.perf_counter() - start)
    mine, *peers = (np.array(times) for times in taken.values())
    return {
        "seconds": {name: median(np.array(times)) for name, times in taken.items()},
        "ratio": {
            f"simcse-kit similarity / {name}": median(mine / times)
            for name, times in zip(list(commands)[1:], peers, strict=True)
        },
    }


def median(values: np.ndarray) -> float:
    """To three digits."""
    return rounded(np.median(values))


def rounded(value: Any, digits: int = 3) -> float:
    """As JSON has numbers."""
    return round(float(value), digits)


def main() -> None:
    """Measure, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", required=True, help="a folder of sentence-transformers")
    parser.add_argument("--repeats", type=int, default=200, help="calls a length and side")
    parser.add_argument("--starts", type=int, default=7, help="processes a command; 0: none")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--machine", default="a machine that ran nothing else", help="its state")
    parser.add_argument("--json", type=Path, required=True)
    settings = parser.parse_args()
    quiet()
    os.environ |= {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": str(max(settings.threads))}
    figures: dict[str, Any] = {"machine": settings.machine}
    if settings.starts:
        figures["shell"] = shell(settings.model, settings.starts)
    import torch

    by_name = sides(settings.model)
    for threads in settings.threads:
        torch.set_num_threads(threads)
        found = calls(by_name, settings.model, settings.repeats)
        figures[f"encode, {threads} thread{'s' if threads > 1 else ''}"] = found
    claim = (
        "encode of one text of 8, 32 and 128 tokens, and the time from the shell to the first "
        f"similarity, against sentence-transformers, in turns, on {settings.machine}"
    )
    write(settings.json, figures, claim)


if __name__ == "__main__":
    main()
