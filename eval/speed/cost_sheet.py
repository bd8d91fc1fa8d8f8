"""What embedding a corpus takes, from rates that were measured: hours, nodes, bytes.

    python -m eval.speed.cost_sheet eval/results/speed-encode.json --sentences 1e9 --nodes 1 10 100

Of every file of `eval.speed.compare` that is given, the rate of `encode` stands beside the machine
it was measured on. A sheet is that rate multiplied out, under `ASSUMPTIONS`, and nothing else.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ASSUMPTIONS = (
    "sentences as long as the measured ones: time goes with tokens, not with sentences",
    "every node is a machine like the measured one, with nothing else on it",
    "nodes do not wait for each other or for the disk: shards are apart, and vectors are small",
    "no node is lost: a shard that is begun again costs its own time once more",
)
#: Bytes of a vector of D numbers.
BYTES = {
    "fp32": lambda width: 4 * width,
    "fp16": lambda width: 2 * width,
    "int8": lambda width: width + 4,
    "binary": lambda width: -(-width // 8),
}


@dataclass(frozen=True)
class Rate:
    """A measured rate.

    Attributes:
        per_second: sentences.
        threads: of the machine that were used.
        source: the file.
        settings: model, precision and data.
    """

    per_second: float
    threads: int
    source: str
    settings: str


def rate_of(path: Path) -> Rate:
    """The rate of `encode` in a file of `eval.speed.compare`; ValueError where there is none."""
    told = json.loads(path.read_text(encoding="utf-8"))
    for row in told.get("rows", []):
        if row["work"] == "encode":
            ours, settings = row["ours"], told["settings"]
            said = f"{settings['model']}, {ours['precision']}, {settings['data']}"
            return Rate(ours["sentences_per_second"], told["threads"], path.name, said)
    raise ValueError(f"{path}: holds no rate of encode; write one with eval.speed.compare")


def hours(sentences: float, rate: Rate, nodes: int) -> float:
    """``sentences / (rate × nodes × 3600)``."""
    return sentences / (rate.per_second * nodes * 3600)


def sheet(
    rates: Sequence[Rate], sentences: float, nodes: Sequence[int], width: int
) -> dict[str, Any]:
    """All of it, as a value."""
    return {
        "sentences": sentences,
        "dimension": width,
        "assumptions": list(ASSUMPTIONS),
        "bytes": {kind: int(sentences * of(width)) for kind, of in BYTES.items()},
        "machines": [
            {
                "source": rate.source,
                "measured": rate.settings,
                "sentences_per_second": rate.per_second,
                "threads": rate.threads,
                "thread_hours": hours(sentences, rate, 1) * rate.threads,
                "hours": {str(count): hours(sentences, rate, count) for count in nodes},
            }
            for rate in rates
        ],
    }


def main() -> None:
    """Print it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--sentences", type=float, default=1e9)
    parser.add_argument("--nodes", type=int, nargs="+", default=[1, 10, 100])
    parser.add_argument("--dimension", type=int, default=384)
    given = parser.parse_args()
    try:
        rates = [rate_of(path) for path in given.files]
    except (OSError, ValueError) as error:
        parser.error(str(error))
    print(json.dumps(sheet(rates, given.sentences, given.nodes, given.dimension), indent=2))


if __name__ == "__main__":
    main()
