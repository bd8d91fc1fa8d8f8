"""Every runtime of one encoder in one table: sentences a second, and what it loses on STS.

    python -m eval.speed.runtimes --model DIR --data SENTENCES.txt.gz --data-dir SENTEVAL [--json F]

Ours in bf16 and fp32, the same `encode` over ONNX Runtime and OpenVINO in each of their precisions,
and sentence-transformers as it comes and in bf16: each in a process of its own, all on the same
sentences. A round is a turn of each, in one order and then the other; ratios are to ours within a
round, and the first round, in which each is scored on STS, warms up and is not counted. A round
from which the host took more than ``--most-stolen`` of the processors' time is taken again.
"""

from __future__ import annotations

import argparse
import functools
import statistics
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from eval.provenance import write
from eval.speed import peers
from eval.speed.compare import pooling_of, settings_of
from eval.speed.host import Stolen
from eval.speed.ours import CHECKED, load, read_sentences, sts_tasks
from eval.speed.report import rate, spread, table
from eval.speed.turns import Gate, Setting, Side, Turn, Worker, quiet
from eval.speed.works import row_cosines
from simcse_kit.encoder import SentenceEncoder, export, missing_packages
from simcse_kit.errors import InputError

HEADINGS = ("runtime", "in", "per s", "of ours", "min–max", "STS", "lost", "cosine", "MiB")
_CALIBRATED_ON = 300  # sentences, which are not among those that are timed


class Ours:
    """`SentenceEncoder.encode`, whatever computes."""

    def __init__(
        self, setting: Setting, *, backend: Any = "torch", precision: Any = "auto"
    ) -> None:
        self.sentences = read_sentences(setting.data, setting.sentences)
        self.tasks = sts_tasks(setting)
        self.encoder = SentenceEncoder.from_pretrained(
            setting.model,
            pooling=setting.pooling if backend == "torch" else None,
            max_length=setting.encode_length,
            backend=backend,
            precision=precision,
            device="cpu",
        )
        self.evidence: dict[str, Any] = {"precision": self.encoder.precision}

    def take_turns(self, gate: Gate) -> None:
        """STS in the first, then the same sentences every turn."""
        from simcse_kit.evaluation.sts import evaluate

        while True:
            gate.wait()
            if gate.turn == 0:
                self.evidence["sts"] = evaluate(self.encoder, self.tasks).average
            start = gate.clock()
            embeddings = self.encoder.encode(self.sentences)
            gate.done(Turn(gate.clock() - start, len(self.sentences)))
            self.evidence["embeddings"] = embeddings[:CHECKED]


class Theirs(peers.Encode):
    """`SentenceTransformer.encode`, and one evaluator a task of STS."""

    def __init__(self, setting: Setting) -> None:
        super().__init__(setting)
        self.tasks = sts_tasks(setting)
        self.evidence["precision"] = setting.precision

    def take_turns(self, gate: Gate) -> None:
        """STS before the first, which is not counted."""
        from sentence_transformers.sentence_transformer.evaluation import (
            EmbeddingSimilarityEvaluator,
        )

        scores = []
        for task in self.tasks:
            evaluator = EmbeddingSimilarityEvaluator(
                task.sentence1, task.sentence2, task.gold.tolist(), write_csv=False
            )
            scores.append(100 * float(evaluator(self.model)["spearman_cosine"]))
        self.evidence["sts"] = float(np.mean(scores))
        super().take_turns(gate)


@dataclass(frozen=True)
class Contender:
    """A row of the table.

    Attributes:
        format, int8: of the export that it runs; None: it runs the model's own folder.
        make: its side.
        precision: of a side of sentence-transformers.
    """

    name: str
    make: Callable[[Setting], Side]
    format: Any = None
    int8: Any = None
    precision: str = "fp32"


def _ours(backend: str = "torch", precision: str = "auto") -> Callable[[Setting], Side]:
    return functools.partial(Ours, backend=backend, precision=precision)


#: Ours comes first: the ratios are to it.
CONTENDERS = (
    Contender("ours", _ours()),
    Contender("ours, fp32", _ours(precision="fp32")),
    Contender("ONNX Runtime", _ours("onnx"), "onnx"),
    Contender("ONNX Runtime, int8", _ours("onnx"), "onnx", "dynamic"),
    Contender("OpenVINO, fp32", _ours("openvino", "fp32"), "openvino"),
    Contender("OpenVINO", _ours("openvino"), "openvino"),
    Contender("OpenVINO, int8", _ours("openvino"), "openvino", "dynamic"),
    Contender("OpenVINO, int8 calibrated", _ours("openvino"), "openvino", "calibrated"),
    Contender("sentence-transformers", Theirs),
    Contender("sentence-transformers, bf16", Theirs, precision="bf16"),
)
REFERENCE = "sentence-transformers"  # what losses are against


def who_runs(names: Sequence[str] | None) -> tuple[list[Contender], list[str]]:
    """The contenders that were named, or all that can run here, and why the others do not.

    Ours and sentence-transformers' default are always among them.
    """
    running, left_out = [], []
    for each in CONTENDERS:
        always = each.name in (CONTENDERS[0].name, REFERENCE)
        if names and each.name not in names and not always:
            continue
        missing = (
            missing_packages(each.format, to_write=True, int8=each.int8 is not None)
            if each.format
            else []
        )
        if missing:
            left_out.append(f"{each.name} is not timed: pip install {' '.join(missing)}")
        else:
            running.append(each)
    return running, left_out


def export_all(
    contenders: Sequence[Contender], setting: Setting, scratch: Path
) -> dict[str, dict[str, Any]]:
    """The folder of every export that is run, and what it lost, by contender."""
    made: dict[tuple[Any, Any], dict[str, Any]] = {}
    encoder = load(replace(setting, precision="fp32"))
    for each in contenders:
        kind = each.format, each.int8
        if each.format is None or kind in made:
            continue
        print(f"exporting for {each.name} …", file=sys.stderr, flush=True)
        fixed_from: list[str] = []
        if each.int8 == "calibrated":
            more = read_sentences(setting.data, setting.sentences + _CALIBRATED_ON)
            fixed_from = more[setting.sentences :]
        made[kind] = export(
            encoder,
            scratch / "-".join(map(str, kind)),
            format=each.format,
            int8=each.int8,
            calibration=fixed_from,
            tolerance=1.0,  # what it loses is to be told, whatever it is
        ).figures()
    return {
        each.name: made[each.format, each.int8] for each in contenders if each.format is not None
    }


def measure(
    contenders: Sequence[Contender],
    setting: Setting,
    rounds: int,
    most_stolen: float,
    alone: bool,
    scratch: Path,
) -> dict[str, Any]:
    """Rounds of turns, and a row for each contender."""
    exports = export_all(contenders, setting, scratch)
    turns: list[dict[str, Turn]] = []
    again: list[float] = []
    with ExitStack() as stack:
        sides: dict[str, Worker] = {}
        for each in contenders:
            folder = exports[each.name]["folder"] if each.name in exports else setting.model
            own = replace(setting, model=folder, precision=each.precision)
            sides[each.name] = stack.enter_context(Worker(each.make, own, alone=alone))
            sides[each.name].ready()  # one after the other
        while len(turns) <= rounds:
            host = Stolen()
            order = list(sides) if len(turns) % 2 else [*reversed(sides)]
            taken = {name: sides[name].turn() for name in order}
            stolen = host.share()
            print(f"round {len(turns)}: the host took {stolen:.0%}", file=sys.stderr, flush=True)
            if turns and stolen > most_stolen and len(again) < rounds:
                again.append(stolen)
                continue
            turns.append(taken)
        ends = {name: side.finish() for name, side in sides.items()}
    rows = summarise(contenders, turns[1:], ends)
    for row in rows:
        if row["runtime"] in exports:
            row["export"] = exports[row["runtime"]]["measured"]
    return {"rows": rows, "not_counted": again, "threads": setting.threads}


def summarise(
    contenders: Sequence[Contender],
    rounds: Sequence[dict[str, Turn]],
    ends: dict[str, tuple[dict[str, Any], Any]],
) -> list[dict[str, Any]]:
    """Rates, ratios to the first contender, and differences to the reference."""
    reference, _ = ends[REFERENCE]
    rows = []
    for each in contenders:
        evidence, memory = ends[each.name]
        ratios = [rate(one[each.name]) / rate(one[contenders[0].name]) for one in rounds]
        cosines = row_cosines(evidence["embeddings"], reference["embeddings"])
        rows.append(
            {
                "runtime": each.name,
                "precision": evidence["precision"],
                "sentences_per_second": statistics.median(rate(one[each.name]) for one in rounds),
                "seconds": [one[each.name].seconds for one in rounds],
                "ratio": spread(ratios, "rounds"),
                "sts": evidence["sts"],
                "sts_lost": reference["sts"] - evidence["sts"],
                "mean_cosine": float(cosines.mean()),
                "min_cosine": float(cosines.min()),
                **({} if memory is None else {"peak_mib": memory.peak}),
            }
        )
    return rows


def cells(row: dict[str, Any]) -> list[str]:
    """One row as `HEADINGS` has it."""
    ratio = row["ratio"]
    return [
        row["runtime"],
        row["precision"],
        f"{row['sentences_per_second']:,.0f}",
        f"{ratio['median']:.2f}×",
        f"{ratio['min']:.2f}–{ratio['max']:.2f}",
        f"{row['sts']:.2f}",
        f"{row['sts_lost']:+.2f}",
        f"{row['mean_cosine']:.4f}",
        f"{row['peak_mib']:,.0f}" if "peak_mib" in row else "–",
    ]


def claim(rows: Sequence[dict[str, Any]]) -> str:
    """What the table says, in one sentence a row of another than ours."""
    ours, *others = rows
    said = [
        f"{row['runtime']} has {row['ratio']['median']:.2f} times the rate of ours in "
        f"{ours['precision']} and loses {row['sts_lost']:.2f} points of STS."
        for row in others
    ]
    return " ".join(said)


def arguments() -> argparse.ArgumentParser:
    """What the command takes."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--model", required=True, help="folder or hub id of the encoder")
    parser.add_argument("--data", type=Path, required=True, help="sentences, .txt or .txt.gz")
    parser.add_argument("--data-dir", type=Path, required=True, help="SentEval folder, for STS")
    parser.add_argument("--only", nargs="+", choices=[each.name for each in CONTENDERS])
    parser.add_argument("--rounds", type=int, default=5, help="counted rounds")
    parser.add_argument("--sentences", type=int, default=4000, help="to encode")
    parser.add_argument("--encode-length", type=int, default=128, help="tokens of a sentence")
    parser.add_argument("--peer-batch", type=int, default=32, help="of the peer's encode")
    parser.add_argument("--threads", type=int, help="of the CPU (default: torch's own choice)")
    parser.add_argument("--most-stolen", type=float, default=0.03, help="of a counted round's time")
    parser.add_argument("--one-process", action="store_true", help="sides as threads, to try it")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--markdown", action="store_true", help="the table as Markdown")
    return parser


def main(given: Sequence[str] | None = None) -> int:
    """Run the command; 2 and one sentence for what cannot be measured."""
    options = arguments().parse_args(given)
    try:
        for name in ("rounds", "sentences", "encode_length", "peer_batch"):
            if getattr(options, name) < 1:
                raise InputError(f"--{name.replace('_', '-')} must be 1 or more")
        quiet()
        if options.threads is not None:
            import torch

            torch.set_num_threads(options.threads)
        setting = Setting(
            model=options.model,
            data=options.data,
            data_dir=options.data_dir,
            pooling=pooling_of(options.model),
            threads=options.threads,
            encode_length=options.encode_length,
            sentences=options.sentences,
            peer_batch=options.peer_batch,
        )
        contenders, left_out = who_runs(options.only)
        for reason in left_out:
            print(reason, file=sys.stderr)
        with tempfile.TemporaryDirectory() as scratch:
            figures = measure(
                contenders,
                setting,
                options.rounds,
                options.most_stolen,
                not options.one_process,
                Path(scratch),
            )
    except InputError as error:
        print(f"runtimes.py: {error}", file=sys.stderr)
        return 2
    print(table([cells(row) for row in figures["rows"]], HEADINGS, options.markdown))
    if options.json:
        found = {"settings": settings_of(options), "not_run": left_out, **figures}
        write(options.json, found, claim(figures["rows"]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
