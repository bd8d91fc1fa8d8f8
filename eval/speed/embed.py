"""A million sentences embedded, killed and gone on with; and the rate of `embed` against `encode`.

    python -m eval.speed.embed --model DIR --data SENTENCES.txt.gz [--rows 1000000] [--kills 10]
        [--pairs 5] [--json OUT]

Every `embed` is a process of its own, as a user starts it. The corpus of the run that was killed is
compared file by file with that of one left alone. Memory is the peak of a whole run
(`peak_memory`) for all rows and for 100,000. The pairs take turns in one process: the same
sentences by `encode` and by `embed_corpus`, the second with all that it writes.
"""

from __future__ import annotations

import argparse
import random
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from eval.provenance import write
from eval.speed.ours import read_sentences

CLAIM = (
    "A corpus whose run is killed again and again and gone on with is that of a run left alone, to "
    "the bit; memory does not grow with the rows; embed keeps encode's rate."
)
SMALL = 100_000
_PAIR = 16_384  # sentences of one turn

_CODE = """
import sys
from simcse_kit.commands.cli import main
sys.argv = ["simcse-kit", *sys.argv[1:]]
try:
    main()
finally:
    from simcse_kit.compute import peak_memory
    print("peak", peak_memory(), file=sys.stderr)
"""


def embedding(model: str, texts: Path, folder: Path, options: Sequence[str]) -> Any:
    """A process that embeds, begun."""
    words = ["embed", model, str(texts), "--output", str(folder), *options]
    return subprocess.Popen(
        [sys.executable, "-c", _CODE, *words], stderr=subprocess.PIPE, stdout=subprocess.DEVNULL
    )


def finished(process: Any) -> float:
    """Its peak memory in MiB, when it is done."""
    said = process.communicate()[1].decode()
    if process.returncode:
        raise SystemExit(said)
    return int(re.findall(r"^peak (\d+)$", said, re.MULTILINE)[-1]) / 2**20


def killed(start: Any, seconds: float, kills: int, folder: Path, seed: int) -> list[float]:
    """Kill so often, at random moments on the way, then let it finish; the moments, in seconds."""
    pick, moments = random.Random(seed), list[float]()
    while len(moments) < kills:
        process = start(folder)
        moment = pick.uniform(0, seconds / kills)
        try:
            process.wait(moment)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            moments.append(moment)
            continue
        raise SystemExit(f"it was done after {len(moments)} kills; more rows are needed")
    finished(start(folder))
    return moments


def same(one: Path, other: Path) -> bool:
    """Whether two folders hold the same files, to the bit."""
    names = [
        sorted(path.name for path in folder.iterdir() if not path.name.startswith(".lock"))
        for folder in (one, other)
    ]
    return names[0] == names[1] and all(
        (one / name).read_bytes() == (other / name).read_bytes() for name in names[0]
    )


def pairs(model: str, sentences: list[str], count: int, place: Path) -> list[float]:
    """Rate of `embed_corpus` divided by that of `encode`, turn by turn."""
    from simcse_kit import SentenceEncoder
    from simcse_kit.corpus import embed_corpus

    encoder = SentenceEncoder.from_pretrained(model)
    texts, some = place / "pairs.txt", sentences[: 4 * _PAIR]
    texts.write_text("\n".join(some) + "\n", encoding="utf-8")
    encoder.encode(some[:_PAIR])
    ratios = []
    for _ in range(count):
        begun = time.perf_counter()
        encoder.encode(some)
        between = time.perf_counter()
        embed_corpus(encoder, texts, place / "pair", overwrite=True)
        ratios.append((between - begun) / (time.perf_counter() - between))
    return ratios


def main() -> None:
    """Measure, and write the figures."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--store", default="parquet")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    place = Path(tempfile.mkdtemp(prefix="embed-"))
    try:
        figures = measure(given, place)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    print(figures)
    if given.json is not None:
        write(given.json, figures, CLAIM)


def measure(given: argparse.Namespace, place: Path) -> dict[str, Any]:
    """All figures of one run of the script."""
    sentences = read_sentences(given.data, given.rows)
    ratios = pairs(given.model, sentences, given.pairs, place)
    texts = {}
    for size in (min(SMALL, given.rows), given.rows):
        texts[size] = place / f"{size}.txt"
        texts[size].write_text("\n".join(sentences[:size]) + "\n", encoding="utf-8")
    options = ["--store", given.store]
    memory, seconds = {}, {}
    for size, path in texts.items():
        begun = time.perf_counter()
        memory[size] = finished(embedding(given.model, path, place / str(size), options))
        seconds[size] = time.perf_counter() - begun

    def start(folder: Path) -> Any:
        return embedding(given.model, texts[given.rows], folder, options)

    moments = killed(start, seconds[given.rows], given.kills, place / "killed", given.seed)
    return {
        "rows": given.rows,
        "store": given.store,
        "kills": moments,
        "same_to_the_bit": same(place / "killed", place / str(given.rows)),
        "peak_mib": {str(size): each for size, each in memory.items()},
        "memory_ratio": memory[given.rows] / memory[min(texts)],
        "seconds": {str(size): each for size, each in seconds.items()},
        "rate_of_encode": {"median": statistics.median(ratios), "pairs": ratios},
    }


if __name__ == "__main__":
    main()
