"""What does a student keep of its teacher, and how much faster does it embed?

    python -m eval.quality.student --teacher DIR --data FILE --count 128000 --data-dir SENTEVAL \\
        --output-dir DIR --json OUT [--name all-MiniLM-L6-v2] [--layers 0 2 5 | --start DIR] \\
        [--set key=value …] [--rounds 7]

The recipe `distill` trains those layers of the teacher, or another encoder to start from, on the
teacher's own vectors of sentences without labels; STS-B dev chooses the step. Both are judged on
the seven STS tasks, with an interval of the share of the average that is kept, over other pairs;
then they embed the same sentences in turns, and the rates are divided by each other in every round.
A student that stands in --output-dir is not trained again.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from eval.ending import ending
from eval.provenance import write
from eval.quality.kept_runs import AVERAGE, QUIET, digest_of, figures_of, judged, same_runs
from eval.speed.report import spread
from eval.speed.turns import quiet
from simcse_kit.data import read_rows
from simcse_kit.encoder import SentenceEncoder
from simcse_kit.evaluation.plots import series
from simcse_kit.evaluation.statistics import percentile_interval
from simcse_kit.evaluation.sts import SUITE, PairTask, load_stsb, load_tasks
from simcse_kit.training import build_config, train
from simcse_kit.training.runs.folder import read_ended, read_history

#: Sentences that are embedded in a turn.
TIMED = 4000


def trained(options: argparse.Namespace, texts: Sequence[str], dev: PairTask) -> SentenceEncoder:
    """The student: from its folder, or trained."""
    given: dict[str, Any] = {"teachers": [options.teacher]}
    if options.start is None:
        given["student_layers"] = options.layers
    told = {**given, "settings": options.settings, "texts": digest_of(texts)}
    told |= {"start": options.start} if options.start else {}
    same_runs(options.output_dir, told)
    folder = folder_of(options)
    if read_ended(folder) is not None:
        return SentenceEncoder.from_pretrained(str(folder))
    config = build_config("distill", [*QUIET, *options.settings], given)
    rows = read_rows([{"text": text} for text in texts])
    again = folder.is_dir()
    start = options.start or options.teacher
    return train(start, rows, config, folder, eval_data=dev, overwrite=again).encoder


def folder_of(options: argparse.Namespace) -> Path:
    """Where the student is."""
    return Path(options.output_dir, "student")


def share_kept(
    teacher: SentenceEncoder, student: SentenceEncoder, suite: Sequence[PairTask], draws: int
) -> dict[str, Any]:
    """Averages of both, and the student's share of the teacher's with its interval, in per cent."""
    tasks = {AVERAGE: suite}
    both = figures_of([judged(each, tasks) for each in (teacher, student)], tasks, draws)[AVERAGE]
    shares = 100 * both.draws[:, 1] / both.draws[:, 0]
    averages = {"teacher": float(both.observed[0]), "student": float(both.observed[1])}
    kept = 100 * averages["student"] / averages["teacher"]
    interval = percentile_interval(shares)
    return {**averages, "kept": kept, "interval": [interval.low, interval.high]}


def rates(
    teacher: SentenceEncoder, student: SentenceEncoder, texts: Sequence[str], rounds: int
) -> dict[str, Any]:
    """Sentences a second of both in turns; the first round warms up and is not counted."""
    found: dict[str, list[float]] = {"teacher": [], "student": []}
    for _ in range(rounds + 1):
        for name, encoder in (("teacher", teacher), ("student", student)):
            start = time.perf_counter()
            encoder.encode(list(texts))
            found[name].append(len(texts) / (time.perf_counter() - start))
    counted = {name: each[1:] for name, each in found.items()}
    ratios = [b / a for a, b in zip(*counted.values(), strict=True)]
    medians = {name: float(np.median(each)) for name, each in counted.items()}
    return {"sentences a second": medians, "ratio": spread(ratios, "rounds")}


def curve(folder: Path) -> list[dict[str, float]]:
    """STS-B dev at each step that it was judged at."""
    steps, values = series(read_history(folder), "eval_spearman")
    return [{"step": step, "dev": value} for step, value in zip(steps, values, strict=True)]


def claim(figures: Mapping[str, Any]) -> str:
    """What is kept, and how much faster it is."""
    sts = figures["sts"]
    student = figures.get("start") or f"{len(figures['layers'])} layers of {figures['teacher']}"
    said = (
        f"A student of {figures['teacher']} that began as {student}, trained on"
        f" {figures['texts']:,} sentences without labels, has {sts['student']:.2f} of its teacher's"
        f" {sts['teacher']:.2f} in the STS average ({sts['kept']:.1f} %,"
        f" {sts['interval'][0]:.1f} to {sts['interval'][1]:.1f})"
    )
    if "speed" not in figures:
        return f"{said}."
    speed = figures["speed"]["ratio"]
    times = f"{speed['median']:.2f} times as fast ({speed['min']:.2f} to {speed['max']:.2f})"
    return f"{said} and embeds {times}."


def parse(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--teacher", required=True, help="the encoder whose layers it takes")
    parser.add_argument("--name", help="the teacher's in the figures; default: its folder's")
    parser.add_argument("--data", required=True, help="sentences, one a line")
    parser.add_argument("--count", type=int, default=128_000, help="so many of the first lines")
    own = parser.add_mutually_exclusive_group()
    own.add_argument("--layers", type=int, nargs="+", default=[0, 2, 5], help="of the teacher")
    own.add_argument("--start", help="an encoder to begin as, in place of the teacher's layers")
    parser.add_argument("--data-dir", type=Path, required=True, help="in SentEval's layout")
    parser.add_argument("--set", dest="settings", nargs="*", default=[])
    parser.add_argument("--rounds", type=int, default=7, help="turns of each to time; 0: none")
    parser.add_argument("--output-dir", type=Path, required=True, help="where the student stays")
    parser.add_argument("--draws", type=int, default=10_000)
    parser.add_argument("--json", type=Path, required=True)
    return parser.parse_args(words)


def run(
    options: argparse.Namespace, *, dev: PairTask | None = None, suite: Sequence[PairTask] = ()
) -> dict[str, Any]:
    """Train or load the student, judge and time both, and write the figures.

    Args:
        dev, suite: in place of STS-B dev and the seven tasks of ``--data-dir``.
    """
    quiet()
    texts = read_rows(options.data).columns["text"][: options.count]
    student = trained(options, texts, dev or load_stsb(options.data_dir, "dev"))
    teacher = SentenceEncoder.from_pretrained(options.teacher)
    suite = suite or load_tasks(options.data_dir, SUITE)
    figures = {
        "teacher": options.name or Path(options.teacher).name,
        **({"start": Path(options.start).name} if options.start else {"layers": options.layers}),
        "settings": options.settings,
        "texts": len(texts),
        "parameters": {
            name: sum(each.numel() for each in encoder.backbone.parameters())
            for name, encoder in (("teacher", teacher), ("student", student))
        },
        "curve": curve(folder_of(options)),
        "sts": share_kept(teacher, student, suite, options.draws),
    }
    if options.rounds:
        figures["speed"] = rates(teacher, student, texts[:TIMED], options.rounds)
    write(options.json, figures, claim(figures))
    return figures


if __name__ == "__main__":
    raise SystemExit(ending(lambda: print(claim(run(parse())))))
