"""What training earns on the STS suite, over several seeds.

    python -m eval.quality.train_sts --model DIR --data FILE --data-dir SENTEVAL --json OUT \\
        [--recipe NAME] [--set key=value …] [--seeds 1 2 3] [--select best|last]

Trains once a seed, scores the chosen step (best on STS-B dev) and the last step on the seven
tasks ("all" protocol), and prints mean ± standard deviation (n − 1) over the seeds beside the
untrained encoder.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest import mock

from eval.provenance import write
from simcse_kit.encoder import SentenceEncoder
from simcse_kit.evaluation.sts import STSResult, evaluate, load_stsb, load_tasks
from simcse_kit.training import build_config, train


def scores(result: STSResult) -> dict[str, float]:
    """Spearman of every task, their average, and the geometry."""
    row = {name: score.spearman for name, score in result.tasks.items()}
    row["average"] = result.average
    if result.geometry is not None:
        row["alignment"] = result.geometry.alignment
        row["uniformity"] = result.geometry.uniformity
    return row


def spread(rows: list[dict[str, float]]) -> dict[str, dict[str, float]]:
    """Mean and standard deviation (n − 1) of every column."""
    return {
        key: {
            "mean": statistics.mean(row[key] for row in rows),
            "sd": statistics.stdev(row[key] for row in rows) if len(rows) > 1 else 0.0,
        }
        for key in rows[0]
    }


def show(name: str, row: dict[str, Any]) -> None:
    """Print one line of the table."""
    cells = [
        f"{v['mean']:.2f}±{v['sd']:.2f}" if isinstance(v, dict) else f"{v:.2f}"
        for v in row.values()
    ]
    print(f"{name:8}" + "".join(f"{cell:>13}" for cell in cells), flush=True)


def claim(figures: dict[str, Any]) -> str:
    """What the figures of the result file say."""
    average = figures["summary"]["best"]["average"]
    seeds = figures["seeds"]
    config = figures.get("config") or figures["settings"]
    many = f" ± {average['sd']:.2f} (seeds {seeds[0]} to {seeds[-1]})"
    how = ["through Hugging Face's attention, padded"] if figures.get("padded") else []
    how += ["in fp32"] if config.get("bf16") is False else []
    window = config.get("group_window", 1)
    how += [f"rows grouped by length out of {window} batches"] if window > 1 else []
    return (
        f"{figures['model']} has an STS average of {figures['before']['average']:.2f} as it is, "
        f"and {average['mean']:.2f}{many if len(seeds) > 1 else f' (seed {seeds[0]})'} after "
        f"{config['max_steps']} steps of {config['per_device_train_batch_size']} rows of "
        f"{figures['data'].split('.')[0]}{''.join(', ' + one for one in how)}."
    )


def main() -> None:
    """Train and score once a seed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--data-dir", type=Path, required=True)
    parser.add_argument("--recipe")
    parser.add_argument("--set", dest="settings", nargs="*", default=[])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--padded", action="store_true", help="through Hugging Face's attention")
    parser.add_argument("--runs", type=Path, help="keep the runs here; default: thrown away")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()

    if options.padded:
        mock.patch(
            "simcse_kit.encoder.sentence_encoder.enable_packing", lambda backbone: False
        ).start()
    tasks, dev = load_tasks(options.data_dir), load_stsb(options.data_dir, "dev")
    pooling = build_config(options.recipe, options.settings).pooling
    before = scores(
        evaluate(SentenceEncoder.from_pretrained(options.model, pooling=pooling), tasks)
    )
    print(f"{'':8}" + "".join(f"{key:>13}" for key in before))
    show("before", before)
    found: dict[str, list[dict[str, float]]] = {"best": [], "last": []}
    seconds = []
    with tempfile.TemporaryDirectory() as scratch:
        runs = options.runs or Path(scratch)
        for seed in options.seeds:
            config = build_config(options.recipe, [*options.settings, f"seed={seed}"])
            start = time.perf_counter()
            result = train(
                options.model, options.data, config, runs / f"seed-{seed}", eval_data=dev
            )
            seconds.append(time.perf_counter() - start)
            row: dict[str, float] = {}
            for which, folder in (
                ("best", result.output_dir),
                ("last", result.output_dir / "last"),
            ):
                if which == "best" or result.best_step != result.steps:
                    row = scores(evaluate(SentenceEncoder.from_pretrained(folder), tasks))
                found[which].append({"seed": seed, "best_step": result.best_step or 0} | row)
                show(f"{which} {seed}", row)
    summary = {
        which: spread([{k: row[k] for k in before} for row in rows])
        for which, rows in found.items()
    }
    for which, means in summary.items():
        show(which, means)
    if options.json:
        figures = {
            "model": Path(options.model).name,
            "data": Path(options.data).name,
            "config": build_config(options.recipe, options.settings).model_dump(mode="json"),
            "padded": options.padded,
            "seeds": options.seeds,
            "before": before,
            "runs": found,
            "summary": summary,
            "training_seconds": seconds,
        }
        write(options.json, figures, claim(figures))


if __name__ == "__main__":
    main()
