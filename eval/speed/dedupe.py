"""`near_duplicates` against semhash on the same texts and vectors, with planted paraphrases.

    python -m eval.speed.dedupe --model DIR --texts wiki.txt.gz --vectors wiki.npy
        --data-dir sts [--threshold 0.9] --json eval/results/dedupe.json

`vectors` are those of `texts` by `model`, of length 1. Pairs of STS-B's test set that people scored
4.8 or more of 5 are put among them as planted paraphrases, those of 1 or less as pairs that differ,
at places drawn at random. Each side gets the same vectors in a process of its own, whose time
and peak memory are told: embedding is neither's. It has found a pair when one of the two goes. A
row that goes without another at the threshold is wrong, which is judged by all cosines of some of
them in float64. semhash (0.5) compares texts of its own first, and searches by usearch.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from eval.provenance import write
from simcse_kit.compute import peak_memory
from simcse_kit.corpus import cosines_at, near_duplicates, nearest, unit
from simcse_kit.data import read_rows
from simcse_kit.encoder import SentenceEncoder
from simcse_kit.evaluation.sts import load_tasks

SIDES = ("ours", "semhash")
ALIKE, APART = 4.8, 1.0
JUDGED = 2000  # rows that go, of which it is asked whether they had to


def claim(figures: dict[str, Any]) -> str:
    """What the figures of the result file say."""
    ours, theirs = (figures[side] for side in SIDES)
    return (
        f"Of {figures['rows']:,} rows at a cosine of {figures['threshold']}, near_duplicates takes "
        f"out {ours['go']:,} in {ours['seconds']:.0f} s and {ours['peak_GB']:.1f} GB, semhash "
        f"{theirs['go']:,} in {theirs['seconds']:.0f} s and {theirs['peak_GB']:.1f} GB; of "
        f"{figures['reach']} planted pairs that reach the threshold they find {ours['found']} and "
        f"{theirs['found']}."
    )


class Known:
    """An encoder of semhash's that knows the vectors of its texts."""

    def __init__(self, texts: list[str], vectors: np.ndarray) -> None:
        self.rows = {text: row for row, text in enumerate(texts)}
        self.vectors = vectors

    def encode(self, inputs: Any, **_: Any) -> np.ndarray:
        """The vectors of these texts, (N, D)."""
        rows = np.array([self.rows[text] for text in inputs])
        found: np.ndarray = self.vectors[rows]
        return found


def side(name: str, folder: Path, threshold: float) -> dict[str, Any]:
    """The rows that go by one side, its seconds and its peak memory."""
    vectors = np.load(folder / "vectors.npy", mmap_mode="r")
    texts = json.loads((folder / "texts.json").read_text()) if name == "semhash" else []
    start = time.perf_counter()
    if name == "ours":
        goes = near_duplicates(vectors, threshold).goes
    else:
        from semhash import SemHash

        made = SemHash.from_records(records=texts, model=Known(texts, vectors))
        stays = {*made.self_deduplicate(threshold=threshold).selected}
        seen: set[str] = set()
        gone = []
        for row, text in enumerate(texts):
            if text not in stays or text in seen:
                gone.append(row)
            seen.add(text)
        goes = np.array(gone, dtype=np.int64)
    seconds = time.perf_counter() - start
    np.save(folder / f"{name}.npy", goes)
    return {"seconds": seconds, "peak_GB": peak_memory() / 1e9, "go": len(goes)}


def planted(options: argparse.Namespace, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Put texts and vectors into the folder; rows of pairs that are alike, and apart: (P, 2)."""
    texts = [*read_rows(options.texts, wanted=["text"]).columns["text"]]
    vectors = np.load(options.vectors, mmap_mode="r")
    (task,) = load_tasks(options.data_dir, ["STSB"])
    gold = np.asarray(task.gold)
    some = np.flatnonzero((gold >= ALIKE) | (gold <= APART))
    more = [each[row] for row in some.tolist() for each in (task.sentence1, task.sentence2)]
    encoder = SentenceEncoder.from_pretrained(options.model)
    added = encoder.encode(more, normalize=True)
    order = np.random.default_rng(0).permutation(len(texts) + len(more))
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    texts += more
    (folder / "texts.json").write_text(json.dumps([texts[row] for row in order.tolist()]))
    shape = (len(order), vectors.shape[1])
    out = np.lib.format.open_memmap(folder / "vectors.npy", "w+", np.float32, shape)
    for start in range(0, len(order), 65_536):
        rows = order[start : start + 65_536]
        late = rows >= len(vectors)
        block = vectors[np.where(late, 0, rows)]
        block[late] = added[rows[late] - len(vectors)]
        out[start : start + len(rows)] = unit(block)
    out.flush()
    pairs = place[len(vectors) :].reshape(-1, 2)
    return pairs[gold[some] >= ALIKE], pairs[gold[some] <= APART]


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name in ("model", "texts", "vectors", "data-dir"):
        parser.add_argument(f"--{name}", type=Path)
    parser.add_argument("--threshold", type=float, default=0.9)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.side:
        print(json.dumps(side(options.side, options.folder, options.threshold)))
        return 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        alike, apart = planted(options, folder)
        vectors = np.load(folder / "vectors.npy", mmap_mode="r")
        reach = cosines_at(vectors[alike[:, 0]], vectors, alike[:, 1:])[:, 0] >= options.threshold
        figures: dict[str, Any] = {
            "rows": len(vectors),
            "threshold": options.threshold,
            "planted": len(alike),
            "reach": int(reach.sum()),
            "apart": len(apart),
        }
        for each in SIDES:
            asked = [sys.executable, "-m", "eval.speed.dedupe", "--side", each]
            asked += ["--folder", name, "--threshold", str(options.threshold)]
            figures[each] = json.loads(subprocess.check_output(asked))
            goes = np.load(folder / f"{each}.npy")
            figures[each] |= {
                "found": int(np.isin(alike[reach], goes).any(axis=1).sum()),
                "apart_gone": int(np.isin(apart, goes).any(axis=1).sum()),
                "wrong": _wrong(vectors, goes, options.threshold),
            }
    print(json.dumps(figures, indent=2))
    if options.json:
        write(options.json, figures, claim(figures))
    return 0


def _wrong(vectors: np.ndarray, goes: np.ndarray, threshold: float) -> float:
    """The share of the rows that go which have no other row at the threshold."""
    if not len(goes):
        return 0.0
    some = goes[np.unique(np.linspace(0, len(goes) - 1, JUDGED).round().astype(np.int64))]
    _, cosines = nearest(np.array(vectors[some]), vectors, 2)
    return float((cosines[:, 1] < threshold - 1e-6).mean())


if __name__ == "__main__":
    sys.exit(main())
