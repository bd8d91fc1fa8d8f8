"""What it takes to start training on more sentences than memory holds, and to start again.

    python -m eval.speed.store --model DIR --data SENTENCES.txt.gz [--json OUT]

For 10⁵, 10⁶, 10⁷ sentences (those of the file, repeated with a number behind them where they are
too few): rows, checks and token store as `train` makes them up to the first step, without a model;
the first time and the second, each in a process of its own. Peak memory is what no file backs,
watched every 20 ms; what the system holds of files besides, it may drop when it wants.
"""

from __future__ import annotations

import argparse
import gzip
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from itertools import chain, count, islice
from pathlib import Path
from typing import Any

from eval.provenance import write
from eval.speed.report import table
from simcse_kit.errors import InputError

SIZES = (100_000, 1_000_000, 10_000_000)


def sentences(data: Path) -> Iterator[str]:
    """The lines of a file without end; from the second time on each with a number behind it."""
    for again in count():
        opened = gzip.open if data.suffix == ".gz" else open
        with opened(data, "rt", encoding="utf-8") as file:
            lines = (line.strip() for line in file)
            found = (f"{line} {again}" if again else line for line in lines if line)
            if (first := next(found, None)) is None:
                raise InputError(f"{data}: holds no sentences")
            yield from chain([first], found)


class Watch:
    """The most MiB of memory of its own that this process has at any time."""

    def __init__(self) -> None:
        self.before = self.most = self._now()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self._thread.start()

    def _look(self) -> None:
        while not self._done.wait(0.02):
            self.most = max(self.most, self._now())

    def end(self) -> float:
        """What the work took beside what was there before it."""
        self._done.set()
        self._thread.join()
        return max(self.most, self._now()) - self.before

    @staticmethod
    def _now() -> float:
        status = Path("/proc/self/status").read_text()
        held = dict(line.split(":", 1) for line in status.splitlines())
        return (int(held["RssAnon"].split()[0]) + int(held["RssShmem"].split()[0])) / 1024


def start(data: Path, model: str, cache: Path, max_length: int) -> dict[str, float]:
    """One start, in this process: seconds of each part, and MiB in all."""
    from transformers import AutoTokenizer

    from simcse_kit.data import TokenStore
    from simcse_kit.training import TrainConfig, build_views
    from simcse_kit.training.rows.learnable import tell_cut
    from simcse_kit.training.rows.training_set import rows_of, training_sets

    tokenizer = AutoTokenizer.from_pretrained(model)
    own = {"cache_dir": cache, "max_length": max_length, "use_cpu": True}
    config = TrainConfig.model_validate(own)
    watch, clock = Watch(), time.perf_counter
    begun = clock()
    rows = rows_of(data, config)
    rows.content()
    read = clock()
    [each.checked() for each in training_sets(rows, config)]
    build_views(rows, config)
    checked = clock()
    store = TokenStore.build(rows.texts(), tokenizer, max_length, cache)
    tell_cut(rows.texts(), store, tokenizer, max_length, None)
    ended = clock()
    return {
        "sentences": len(rows),
        "tokens": len(store.ids),
        "rows_seconds": read - begun,
        "checks_seconds": checked - read,
        "tokens_seconds": ended - checked,
        "seconds": ended - begun,
        "peak_mib": watch.end(),
    }


def measured(options: argparse.Namespace, size: int, scratch: Path) -> list[dict[str, Any]]:
    """The first and the second start with so many sentences."""
    data, cache = scratch / f"{size}.txt", scratch / f"cache-{size}"
    with data.open("w", encoding="utf-8") as file:
        file.writelines(f"{text}\n" for text in islice(sentences(options.data), size))
    found = []
    for name in ("first", "second"):
        command = [sys.executable, "-m", "eval.speed.store", "--start", str(cache)]
        command += ["--data", str(data), "--model", options.model]
        command += ["--max-length", str(options.max_length)]
        told = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        found.append({"size": size, "start": name, **json.loads(told.stdout)})
        print(f"{size:,}, {name}: {found[-1]['seconds']:.1f} s", file=sys.stderr, flush=True)
    return found


def claim(rows: Sequence[dict[str, Any]]) -> str:
    """What the figures of the result file say."""
    said = [
        f"{row['size']:,} sentences take {row['seconds']:,.1f} s and {row['peak_mib']:,.0f} MiB at "
        f"the {row['start']} start"
        for row in rows
    ]
    return "; ".join(said) + "."


def main(given: Sequence[str] | None = None) -> int:
    """Run the command; 2 and one sentence for what cannot be measured."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", required=True, help="whose tokenizer")
    parser.add_argument("--data", type=Path, required=True, help="a sentence a line, .txt or .gz")
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--max-length", type=int, default=32, help="tokens of a sentence")
    parser.add_argument("--scratch", type=Path, help="where files and caches lie meanwhile")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--start", type=Path, metavar="CACHE", help=argparse.SUPPRESS)
    options = parser.parse_args(given)
    try:
        if options.start is not None:
            told = start(options.data, options.model, options.start, options.max_length)
            print(json.dumps(told))
            return 0
        if not Path("/proc/self/status").is_file():
            raise InputError("memory is read from /proc, which this system has not")
        rows: list[dict[str, Any]] = []
        with tempfile.TemporaryDirectory(dir=options.scratch) as scratch:
            for size in sorted(options.sizes):
                rows += measured(options, size, Path(scratch))
    except (InputError, OSError) as error:
        print(f"store.py: {error}", file=sys.stderr)
        return 2
    names = ("rows_seconds", "checks_seconds", "tokens_seconds", "seconds", "peak_mib")
    cells = [
        [f"{row['size']:,}", row["start"], *(f"{row[name]:,.1f}" for name in names)] for row in rows
    ]
    headings = ("sentences", "start", "rows s", "checks s", "tokens s", "all s", "peak MiB")
    print(table(cells, headings, markdown=False))
    if options.json:
        figures = {"model": Path(options.model).name, "max_length": options.max_length}
        write(options.json, figures | {"starts": rows}, claim(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
