"""How the cost grows: time and peak memory against the number of sentences, and of imports.

    python -m eval.speed.growth --model DIR --data SENTENCES.txt.gz [--json OUT] [--plot OUT.png]

`encode` for 10³, 10⁴, 10⁵ sentences (10⁶ with ``--encode-sizes``), `geometry.uniformity` for as
many embeddings; every size in a process of its own, so that its peak memory is its own. Then the
wall time of ``import simcse_kit``, ``import torch`` and ``simcse-kit --help``, medians.
"""

from __future__ import annotations

import argparse
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from eval.provenance import write
from eval.speed.ours import load, read_sentences
from eval.speed.report import table
from eval.speed.turns import Gate, Setting, Side, Turn, Worker, quiet
from simcse_kit.errors import InputError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Width of the embeddings whose uniformity is measured: MiniLM's.
DIMENSION = 384
SIZES = (1_000, 10_000, 100_000)


class Encode:
    """One call of `encode` of all sentences, after a short one."""

    def __init__(self, setting: Setting) -> None:
        self.sentences = read_sentences(setting.data, setting.sentences)
        self.encoder = load(setting, max_length=setting.encode_length)
        self.encoder.encode(self.sentences[:256])  # kernels are chosen, threads started
        self.evidence: dict[str, Any] = {"output_mib": 0.0}

    def take_turns(self, gate: Gate) -> None:
        """The first alone is of interest: later ones find memory that is already theirs."""
        while True:
            gate.wait()
            start = gate.clock()
            embeddings = self.encoder.encode(self.sentences)
            gate.done(Turn(gate.clock() - start, len(self.sentences)))
            self.evidence["output_mib"] = embeddings.nbytes / 2**20


class Uniformity:
    """`geometry.uniformity` of random unit vectors."""

    def __init__(self, setting: Setting) -> None:
        from simcse_kit.geometry import normalize, uniformity

        shape = setting.sentences, DIMENSION
        drawn = np.random.default_rng(setting.seed).standard_normal(shape, dtype=np.float32)
        self.embeddings = normalize(drawn)
        uniformity(self.embeddings[:256])
        self.evidence: dict[str, Any] = {"output_mib": 0.0}

    def take_turns(self, gate: Gate) -> None:
        """The same embeddings every turn."""
        from simcse_kit.geometry import uniformity

        while True:
            gate.wait()
            start = gate.clock()
            self.evidence["uniformity"] = uniformity(self.embeddings)
            gate.done(Turn(gate.clock() - start, len(self.embeddings)))


def grow(
    name: str, make: Callable[[Setting], Side], setting: Setting, sizes: Sequence[int]
) -> list[dict[str, float]]:
    """Seconds and MiB of every size; ``working_mib`` is beyond the input and the output."""
    rows: list[dict[str, float]] = []
    for size in sizes:
        with Worker(make, replace(setting, sentences=size)) as worker:
            worker.ready()
            turn = worker.turn()
            evidence, memory = worker.finish()
        assert memory is not None
        working = memory.peak - memory.before - evidence["output_mib"]
        rows.append(
            {
                "size": size,
                "seconds": turn.seconds,
                "peak_mib": memory.peak,
                "before_mib": memory.before,
                "output_mib": evidence["output_mib"],
                "working_mib": max(working, 0.0),
            }
        )
        print(f"{name} of {size:,}: {turn.seconds:.2f} s", file=sys.stderr, flush=True)
    return rows


def exponent(rows: Sequence[dict[str, float]], key: str) -> float | None:
    """Slope between the two largest sizes in the log-log plot: 1 is linear, 2 quadratic."""
    if len(rows) < 2:
        return None
    (a, b), (c, d) = ((row["size"], row[key]) for row in rows[-2:])
    return math.log(d / b) / math.log(c / a) if b > 0 and d > 0 and a != c else None


def import_costs(repeats: int) -> dict[str, float]:
    """Median wall seconds of a fresh interpreter that does nothing else."""
    script = Path(sys.executable).with_name("simcse-kit")
    commands = {
        "python alone": [sys.executable, "-c", "pass"],
        "import simcse_kit": [sys.executable, "-c", "import simcse_kit"],
        "import torch": [sys.executable, "-c", "import torch"],
        "from simcse_kit import SentenceEncoder": [
            sys.executable,
            "-c",
            "from simcse_kit import SentenceEncoder",
        ],
        "simcse-kit --help": [str(script), "--help"],
    }
    if not script.is_file():
        raise InputError(f"{script} is not there; install the package in this environment")
    found = {}
    for name, command in commands.items():
        times = []
        for _ in range(repeats + 1):  # the first reads the files from the disk
            start = time.perf_counter()
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
            times.append(time.perf_counter() - start)
        found[name] = statistics.median(times[1:])
    return found


def draw(growth: dict[str, list[dict[str, float]]], path: Path) -> None:
    """Time and memory against size, both axes logarithmic, with a line of slope 1."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.8), layout="constrained")
    labels = {"encode": "encode, sentences", "uniformity": "uniformity, embeddings"}
    for name, rows in growth.items():
        sizes = [row["size"] for row in rows]
        axes[0].plot(sizes, [row["seconds"] for row in rows], "o-", label=labels[name])
        # below a MiB it is noise, and zero has no place on this axis
        memory = [max(row["working_mib"], 1.0) for row in rows]
        axes[1].plot(sizes, memory, "o-", label=labels[name])
    _guide(axes[0], growth)
    for axis, title in zip(
        axes, ("time (s)", "peak memory beyond input and output (MiB)"), strict=True
    ):
        axis.set(xscale="log", yscale="log", xlabel="how many", title=title)
        axis.grid(True, which="major", alpha=0.3)
        axis.legend(fontsize="small")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    pyplot.close(figure)
    print(f"written to {path}", file=sys.stderr)


def _guide(axis: Axes, growth: dict[str, list[dict[str, float]]]) -> None:
    """Linear and quadratic growth through each curve's last point, for the eye."""
    for name, power in (("encode", 1), ("uniformity", 2)):
        if len(rows := growth.get(name, [])) > 1:
            last = rows[-1]
            ends = [rows[0]["size"], last["size"]]
            line = [last["seconds"] * (size / last["size"]) ** power for size in ends]
            axis.plot(ends, line, ":", color="grey", linewidth=1, label=f"slope {power}")


def report(growth: dict[str, list[dict[str, float]]], imports: dict[str, float]) -> None:
    """Print what was measured."""
    for name, rows in growth.items():
        lines = [
            [
                f"{row['size']:,.0f}",
                f"{row['seconds']:.2f}",
                f"{row['size'] / row['seconds']:,.0f}",
                f"{row['peak_mib']:,.0f}",
                f"{row['output_mib']:,.0f}",
                f"{row['working_mib']:,.0f}",
            ]
            for row in rows
        ]
        headings = (name, "seconds", "a second", "peak MiB", "output MiB", "working MiB")
        print(table(lines, headings, markdown=False))
        slope = exponent(rows, "seconds")
        if slope is not None:
            print(f"time grows with size to the power {slope:.2f} between the largest two")
        print()
    for name, seconds in imports.items():
        print(f"{name:40} {seconds:.2f} s")


def arguments() -> argparse.ArgumentParser:
    """What the command takes."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    what = ("encode", "uniformity", "imports")
    parser.add_argument("--what", nargs="+", choices=what, default=what)
    parser.add_argument("--model", help="encoder, for encode")
    parser.add_argument("--data", type=Path, help="sentences, one a line, .txt or .txt.gz")
    parser.add_argument("--encode-sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--uniformity-sizes", type=int, nargs="+", default=SIZES)
    parser.add_argument("--max-length", type=int, default=128, help="tokens of a sentence")
    parser.add_argument("--precision", choices=["auto", "fp32", "bf16"], default="auto")
    parser.add_argument("--device", default="cpu", help="of encode; default cpu")
    parser.add_argument("--threads", type=int, help="of the CPU (default: torch's own choice)")
    parser.add_argument("--repeats", type=int, default=5, help="of each import")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--plot", type=Path, help="draw the curves here (.png)")
    return parser


def run(options: argparse.Namespace) -> None:
    """Measure, print, write."""
    quiet()
    for name in ("encode_sizes", "uniformity_sizes"):
        if min(getattr(options, name)) < 2:
            raise InputError(f"--{name.replace('_', '-')} takes sizes of 2 or more")
    if options.repeats < 1:
        raise InputError(f"--repeats must be 1 or more, not {options.repeats}")
    if "encode" in options.what and options.model is None:
        raise InputError("encode needs --model, or leave it out with --what uniformity imports")
    from simcse_kit.compute import resolve_precision

    plain = options.model is None or not Path(options.model, "modules.json").is_file()
    setting = Setting(
        model=options.model or "",
        data=options.data,
        pooling="mean" if plain else None,
        precision=resolve_precision(options.precision, options.device),
        device=options.device,
        threads=options.threads,
        encode_length=options.max_length,
    )
    growth = {}
    if "encode" in options.what:
        growth["encode"] = grow("encode", Encode, setting, sorted(options.encode_sizes))
    if "uniformity" in options.what:
        # it works where its array is: a numpy array on the CPU
        on_cpu = Setting(model="", threads=options.threads)
        sizes = sorted(options.uniformity_sizes)
        growth["uniformity"] = grow("uniformity", Uniformity, on_cpu, sizes)
    imports = import_costs(options.repeats) if "imports" in options.what else {}
    report(growth, imports)
    if options.plot and growth:
        draw(growth, options.plot)
    if options.json:
        figures = {
            "model": Path(setting.model).name,
            "precision": setting.precision,
            "device": setting.device,
            "max_length": setting.encode_length,
            "embedding_dimension_of_uniformity": DIMENSION,
            "growth": growth,
            "time_exponents": {name: exponent(rows, "seconds") for name, rows in growth.items()},
            "import_seconds": imports,
        }
        write(options.json, figures, claim(figures))


def claim(figures: dict[str, Any]) -> str:
    """What the figures of the result file say."""
    last = {name: rows[-1] for name, rows in figures["growth"].items() if rows}
    said = [
        f"{name} of {row['size']:,} takes {row['seconds']:,.0f} s and {row['working_mib']:,.0f} "
        "MiB beyond input and output"
        for name, row in last.items()
    ]
    said += [
        f"`{name}` takes {value:.2f} s"
        for name, value in figures["import_seconds"].items()
        if "simcse" in name
    ]
    return "; ".join(said) + "."


def main(given: Sequence[str] | None = None) -> int:
    """Run the command; 2 and one sentence for what cannot be measured."""
    try:
        run(arguments().parse_args(given))
    except InputError as error:
        print(f"growth.py: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
