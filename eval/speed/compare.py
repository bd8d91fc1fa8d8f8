"""How fast are training and embedding, against sentence-transformers and against the machine?

    python -m eval.speed.compare --model DIR --data SENTENCES.txt.gz [--work train] [--json OUT]

Ours and the peer's take turns in one run (ours, peer, ours, peer, …) on the same sentences, with
the same encoder, batch and length; the first pair warms up and is not counted. Shown are sentences
a second (medians), the ratio (median, min and max over the pairs), the FLOPs of real tokens as a
share of the matrix rate measured beside each pair (MFU), each side's peak memory (of its process,
or of the GPU), and whether both computed the same: exit code 1 where they did not.

On a shared host a virtual machine is at times not run. A pair from which the host took more than
``--most-stolen`` of the processors' time is taken again, at most as often as there are pairs, and
stands in the figures as one that was not counted.
"""

from __future__ import annotations

import argparse
import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from eval.provenance import write
from eval.speed import gradcache as speed_gradcache
from eval.speed import onnx as speed_onnx
from eval.speed.host import Stolen
from eval.speed.machine import MatrixRate
from eval.speed.ours import CHECKED
from eval.speed.report import (
    HEADINGS,
    Pair,
    add_mfu,
    cells,
    claim,
    machine_line,
    rate,
    summarise,
    table,
)
from eval.speed.turns import Setting, Worker, quiet
from eval.speed.works import WORKS, Evidence
from simcse_kit.errors import InputError

Rates = dict[str, float]

PEERS = sorted({peer for work in WORKS.values() for peer in work.peers})
#: BERT-base (12 × 768), and MPNet as small as MiniLM (6 × 384), which runs padded.
SHAPES = ("bert-base", "mpnet-small")
COUNTS = (
    "pairs",
    "batch_size",
    "steps",
    "threads",
    "sentences",
    "peer_batch",
    "large_batch",
    "mini_batch_size",
)


@dataclass(frozen=True)
class Comparison:
    """One row of the table: a work, our precision and a peer."""

    name: str
    peer: str
    setting: Setting

    def label(self) -> str:
        """For progress and errors."""
        return f"{self.name}, {self.setting.precision}, against {self.peer}"


def comparisons(
    names: Sequence[str], setting: Setting, precision: str | None, peers: Sequence[str] | None
) -> tuple[list[Comparison], list[str]]:
    """The rows asked for, and why some are not run.

    Unless peers are named, ours in fp32 meets only the default one, which is in fp32 too.
    """
    from simcse_kit.compute import resolve_precision

    found: dict[Comparison, None] = {}
    left_out: dict[str, None] = {}
    for name in names:
        for wanted in (precision,) if precision else WORKS[name].precisions:
            ours = resolve_precision(wanted, setting.device)
            for peer in WORKS[name].peers:
                chosen = peer in peers if peers else peer == "default" or wanted != "fp32"
                if not peers and peer == "bf16" and ours == "fp32":
                    chosen = False  # auto, where nothing multiplies bf16 natively
                reason = speed_onnx.why_not(setting.device) if peer == "onnx" else None
                if chosen and reason is not None:
                    if peers:
                        raise InputError(reason)
                    left_out[reason] = None
                elif chosen:
                    found[Comparison(name, peer, replace(setting, precision=ours))] = None
    return list(found), list(left_out)


@cache
def reference(name: str, setting: Setting, alone: bool) -> Evidence:
    """What the default peer, in fp32, gives for the sentences that are checked."""
    few = replace(setting, precision="fp32", sentences=min(setting.sentences, CHECKED))
    with Worker(WORKS[name].peers["default"], few, alone=alone) as peer:
        peer.ready()
        peer.turn()
        return peer.finish()[0]


def alternate(
    comparison: Comparison, pairs: int, most_stolen: float, alone: bool, machine: Worker
) -> tuple[dict[str, Any], list[Rates]]:
    """Let both sides and the machine's matrix rate take turns, and compare what they did."""
    work = WORKS[comparison.name]
    precision = "bf16" if comparison.peer == "bf16" else "fp32"
    sides = (
        (work.ours, comparison.setting),
        (work.peers[comparison.peer], replace(comparison.setting, precision=precision)),
    )
    taken: list[Pair] = []
    rates: list[Rates] = []
    shares: list[float] = []
    not_counted: list[dict[str, float]] = []
    with ExitStack() as stack:
        # one after the other: ours times its tokenising while it is built, and as threads of one
        # process they would both set torch's default type
        ours = stack.enter_context(Worker(*sides[0], alone=alone))
        ours.ready()
        peer = stack.enter_context(Worker(*sides[1], alone=alone))
        peer.ready()
        while len(taken) <= pairs:
            host = Stolen()
            pair, stolen = (ours.turn(), peer.turn()), host.share()
            beside = machine.turn().notes
            speeds = [rate(turn) for turn in pair]
            again = bool(taken) and stolen > most_stolen and len(not_counted) < pairs
            print(
                f"{comparison.label()}: {f'pair {len(taken)}' if taken else 'warm-up'}: "
                f"{speeds[0]:,.1f} and {speeds[1]:,.1f} sentences/s, {speeds[0] / speeds[1]:.2f}×"
                + (f"; not counted, the host took {stolen:.0%}" if again else ""),
                file=sys.stderr,
                flush=True,
            )
            if again:
                not_counted.append({"ratio": speeds[0] / speeds[1], "stolen": stolen})
                continue
            taken.append(pair)
            rates.append(beside)
            shares.append(stolen)
        (our_evidence, our_memory), (their_evidence, their_memory) = ours.finish(), peer.finish()
    flops = our_evidence.get("flops_a_sentence")
    row: dict[str, Any] = {"work": comparison.name, "against": comparison.peer}
    row |= summarise(taken[1:], (our_memory, their_memory), flops)
    row |= {"stolen": shares[1:], "not_counted": not_counted}
    row["ours"]["precision"] = comparison.setting.precision
    row["peer"]["precision"] = precision
    precisions = (comparison.setting.precision, precision)
    expected = their_evidence
    if work.by_reference and comparison.peer != "default":
        expected = reference(comparison.name, replace(comparison.setting, precision="fp32"), alone)
    row["agreement"] = work.agree(our_evidence, their_evidence, expected, precisions)
    row["facts"] = {key: v for key, v in our_evidence.items() if isinstance(v, bool | float | int)}
    add_mfu(row, middle(rates[1:]))
    return row, rates[1:]


def middle(rates: Sequence[Rates]) -> Rates:
    """The median rate at each precision."""
    return {name: statistics.median(each[name] for each in rates) for name in rates[0]}


def measure(
    rows: Sequence[Comparison], pairs: int, most_stolen: float, alone: bool
) -> dict[str, Any]:
    """Every comparison; the machine's rate is taken beside every pair of turns, where it counts."""
    setting = rows[0].setting
    needed = {row.setting.precision for row in rows} | {"fp32"}  # which the default peers are in
    needed |= {"bf16" for row in rows if row.peer == "bf16"}
    load = os.getloadavg()[0]
    with Worker(MatrixRate, replace(setting, rates=tuple(sorted(needed))), alone=alone) as machine:
        machine.ready()
        compared = [alternate(row, pairs, most_stolen, alone, machine) for row in rows]
        evidence, _ = machine.finish()
    rates = middle([each for _, beside in compared for each in beside])
    return {
        "matrix_flops_per_second": rates,
        "threads": evidence["threads"],
        "device": setting.device,
        "load_average_before": load,  # 0 where the machine was alone with this
        "processes": "one a side" if alone else "one for all",
        "rows": [row for row, _ in compared],
    }


def random_model(shape: str, tokenizer_of: str, folder: Path) -> str:
    """One of `SHAPES` with random weights, and the tokenizer of another model."""
    import torch
    from transformers import AutoTokenizer, BertConfig, BertModel, MPNetConfig, MPNetModel

    tokenizer = AutoTokenizer.from_pretrained(tokenizer_of)
    ids = {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id}
    torch.manual_seed(1)
    # without a pooler, which neither side uses
    if shape == "bert-base":
        model = BertModel(BertConfig(**ids), add_pooling_layer=False)
    else:
        sizes = {"hidden_size": 384, "num_hidden_layers": 6, "intermediate_size": 1536}
        model = MPNetModel(MPNetConfig(**ids, **sizes), add_pooling_layer=False)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return str(folder)


def pooling_of(model: str) -> str | None:
    """The pooling to ask for: the folder's own where it has one, else mean, as the peer's is."""
    return None if Path(model, "modules.json").is_file() else "mean"


def arguments() -> argparse.ArgumentParser:
    """What the command takes."""
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0],
        formatter_class=argparse.ArgumentDefaultsHelpFormatter,
    )
    parser.add_argument("--model", required=True, help="folder or hub id of the encoder")
    works = [*WORKS, "gradcache"]
    parser.add_argument("--work", nargs="+", choices=works, default=works, help="what to measure")
    parser.add_argument("--peers", nargs="+", choices=PEERS, help="only against these")
    parser.add_argument("--precision", choices=["auto", "fp32", "bf16"], help="only ours in this")
    parser.add_argument("--pairs", type=int, default=5, help="counted pairs of turns")
    parser.add_argument("--data", type=Path, help="sentences, one a line, .txt or .txt.gz")
    parser.add_argument("--pooling", choices=["mean", "cls"], help="default: the folder's, or mean")
    parser.add_argument("--shape", choices=SHAPES, help="random weights of this shape")
    encoding = parser.add_argument_group("encode and sts")
    encoding.add_argument("--sentences", type=int, default=4000, help="to encode")
    encoding.add_argument("--encode-length", type=int, default=128, help="tokens of a sentence")
    encoding.add_argument("--peer-batch", type=int, default=32, help="of the peer's encode")
    encoding.add_argument("--data-dir", type=Path, help="SentEval folder of the STS suite")
    training = parser.add_argument_group("train and gradcache")
    training.add_argument("--batch-size", type=int, default=64)
    training.add_argument("--max-length", type=int, default=32, help="tokens of a sentence")
    training.add_argument("--steps", type=int, default=8, help="optimizer steps a turn")
    training.add_argument("--warmup-steps", type=int, default=2, help="before the first turn")
    training.add_argument("--learning-rate", type=float, default=3e-5)
    training.add_argument("--set", dest="overrides", nargs="*", default=[], metavar="KEY=VALUE")
    training.add_argument(
        "--order",
        choices=["file", "own"],
        default="file",
        help="batches in the file's order on both sides, or as each side samples by itself",
    )
    training.add_argument("--large-batch", type=int, default=4096, help="of gradcache")
    training.add_argument("--mini-batch-size", type=int, default=64, help="rows it encodes at once")
    machine = parser.add_argument_group("machine")
    machine.add_argument("--device", help="cpu or cuda (default: cuda where there is one)")
    machine.add_argument("--threads", type=int, help="of the CPU (default: torch's own choice)")
    machine.add_argument("--matrix-sizes", type=int, nargs="+", help="default: fits the device")
    machine.add_argument(
        "--most-stolen",
        type=float,
        default=0.03,
        help="share of the time that the host may take from a counted pair",
    )
    machine.add_argument(
        "--one-process",
        action="store_true",
        help="both sides as threads of one process: starts sooner, measures no memory",
    )
    output = parser.add_argument_group("output")
    output.add_argument("--json", type=Path, help="write the figures here")
    output.add_argument("--markdown", action="store_true", help="the table as Markdown")
    return parser


def check(options: argparse.Namespace) -> None:
    """Raises `InputError` for what argparse cannot refuse by itself."""
    for name in COUNTS:
        value = getattr(options, name)
        if value is not None and value < 1:
            raise InputError(f"--{name.replace('_', '-')} must be 1 or more, not {value}")
    if not 0 <= options.most_stolen <= 1:
        raise InputError(f"--most-stolen must be from 0 to 1, not {options.most_stolen}")
    if options.warmup_steps < 0:
        raise InputError(f"--warmup-steps must be 0 or more, not {options.warmup_steps}")
    for name in options.work:
        if name in WORKS and options.peers and not set(options.peers) & set(WORKS[name].peers):
            raise InputError(f"--work {name} has no peer {' or '.join(options.peers)}")


def claim_of(figures: dict[str, Any]) -> str:
    """What the figures of the result file say."""
    said = claim(figures.get("rows", []), figures["settings"])
    if "gradcache" in figures:
        said += " " + speed_gradcache.sentence(figures["gradcache"])
    return said.strip()


def run(options: argparse.Namespace, scratch: Path) -> int:
    """Measure, print, write; the exit code."""
    import torch

    from simcse_kit.compute import resolve_precision

    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    if options.threads is not None:
        torch.set_num_threads(options.threads)
    model = options.model
    if options.shape is not None:
        model = random_model(options.shape, model, scratch / options.shape)
    sizes = options.matrix_sizes or ((8192,) if device.startswith("cuda") else (1024, 2048))
    setting = Setting(
        model=model,
        data=options.data,
        data_dir=options.data_dir,
        pooling=options.pooling or pooling_of(model),
        device=device,
        threads=options.threads,
        batch_size=options.batch_size,
        max_length=options.max_length,
        encode_length=options.encode_length,
        sentences=options.sentences,
        peer_batch=options.peer_batch,
        steps=options.steps,
        warmup_steps=options.warmup_steps,
        turns=1 + 2 * options.pairs,  # each can be taken again
        learning_rate=options.learning_rate,
        file_order=options.order == "file",
        overrides=tuple(options.overrides),
        sizes=tuple(sizes),
    )
    timed = [name for name in options.work if name in WORKS]
    rows, left_out = comparisons(timed, setting, options.precision, options.peers)
    for reason in left_out:
        print(reason, file=sys.stderr)
    figures: dict[str, Any] = {"settings": settings_of(options), "not_run": left_out}
    if rows:
        figures |= measure(rows, options.pairs, options.most_stolen, alone=not options.one_process)
        print(machine_line(figures["matrix_flops_per_second"], figures["threads"], device) + "\n")
        print(table([cells(row) for row in figures["rows"]], HEADINGS, options.markdown))
    if "gradcache" in options.work:
        precision = resolve_precision(options.precision or "auto", device)
        figures["gradcache"] = speed_gradcache.measure(
            replace(setting, precision=precision), options.large_batch, options.mini_batch_size
        )
        print(f"\n{speed_gradcache.sentence(figures['gradcache'])}")
    if options.json:
        write(options.json, figures, claim_of(figures))
    return int(not all(row["agreement"]["ok"] for row in figures.get("rows", [])))


def settings_of(options: argparse.Namespace) -> dict[str, Any]:
    """The options that the figures depend on, without paths of this machine."""
    kept = {key: value for key, value in vars(options).items() if key not in ("json", "markdown")}
    named = {
        key: Path(kept[key]).name
        for key in ("model", "data", "data_dir")
        if kept.get(key) is not None
    }
    return kept | named


def main(given: Sequence[str] | None = None) -> int:
    """Run the command; 2 and one sentence for what cannot be measured."""
    options = arguments().parse_args(given)
    try:
        check(options)  # before the imports, which take seconds
        quiet()
        with tempfile.TemporaryDirectory() as scratch:
            return run(options, Path(scratch))
    except InputError as error:
        print(f"speed.py: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
