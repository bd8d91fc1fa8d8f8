"""Which settings suit the encoder and the data at hand? A recipe's settings, tried and judged.

    python -m eval.quality.recipes --json OUT [--recipe NAME] [--model DIR] \\
        [--rows pairs|texts|cut|FILE] [--count N] [--set key=value …] [--grid key=a,b …] \\
        [--seeds 1 2 3] [--data-dir SENTEVAL]

Trains every point of the grid once a seed, from the same encoder on the same rows, and judges the
last step. Without `--data-dir` the judge is the quickstart's: each summary line of a held-out
package is to find its own description, here among every second one of networkx and every third of
sympy. Settings are chosen by the MRR of networkx; sympy is what is reported, with the interval of
its change over other queries. With it the judge is STS-B dev, and nothing else is reported.

`--rows cut` is what texts alone give: every description of two sentences or more, its first
sentence against the rest. `--count` draws so many rows, other ones with every seed.
"""

from __future__ import annotations

import argparse
import itertools
import random
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from eval.provenance import write
from simcse_kit.data import Rows, read_rows
from simcse_kit.encoder import SentenceEncoder
from simcse_kit.evaluation.search import by_query
from simcse_kit.evaluation.statistics import mean_estimates
from simcse_kit.evaluation.sts import evaluate, load_stsb
from simcse_kit.training import TrainConfig, build_config, train

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

from docstrings import Corpus, Entry, gather  # scripts/ is no package: found by the line above
from quickstart import HELD_OUT_PACKAGES, TRAIN_PACKAGES, bundled_model, write_texts

CHOSEN_ON, REPORTED = HELD_OUT_PACKAGES
METRICS = ("recall@1", "mrr")
CHOICE = f"{CHOSEN_ON} mrr"
# What every run here shares, whatever the recipe: no dev set, no trackers, no checkpoints.
QUIET = ("report_to=none", "save_steps=100000", "logging_steps=10")
_SENTENCE_END = re.compile(r"(?<=[.!?])\s+(?=[A-Z])")

Scores = dict[str, np.ndarray]  # figure: a value a query, or one value


# ---- judges -------------------------------------------------------------------------------------


def docstring_judge(entries: Sequence[Entry]) -> Callable[[SentenceEncoder], Scores]:
    """Each summary against the descriptions of all: recall@1 and reciprocal rank a query, ×100."""
    own = {
        name: np.array([entry.package == name for entry in entries]) for name in HELD_OUT_PACKAGES
    }

    def judge(encoder: SentenceEncoder) -> Scores:
        queries = encoder.encode([entry.summary for entry in entries])
        corpus = encoder.encode([entry.description for entry in entries])
        values = by_query(queries, corpus, np.arange(len(entries)), metrics=METRICS)
        return {
            f"{package} {metric}": values[metric][rows]
            for package, rows in own.items()
            for metric in METRICS
        }

    return judge


def sts_judge(data_dir: Path) -> Callable[[SentenceEncoder], Scores]:
    """STS-B dev: Spearman ×100, alignment and uniformity."""
    dev = load_stsb(data_dir, "dev")

    def judge(encoder: SentenceEncoder) -> Scores:
        result = evaluate(encoder, [dev])
        figures = {"STSB-dev": result.tasks[dev.name].spearman}
        if result.geometry is not None:
            figures["alignment"] = result.geometry.alignment
            figures["uniformity"] = result.geometry.uniformity
        return {name: np.array([value]) for name, value in figures.items()}

    return judge


def held_out(corpus: Corpus) -> list[Entry]:
    """Every second entry of the package that settings are chosen on, every third of the other."""
    chosen_on = [entry for entry in corpus.held_out if entry.package == CHOSEN_ON]
    reported = [entry for entry in corpus.held_out if entry.package == REPORTED]
    return chosen_on[::2] + reported[::3]


# ---- rows ---------------------------------------------------------------------------------------


def cut(corpus: Corpus) -> Rows:
    """Pairs made of texts alone: a description's first sentence, and what comes after it."""
    halves = [_SENTENCE_END.split(entry.description, maxsplit=1) for entry in corpus.train]
    pairs = [half for half in halves if len(half) == 2]
    columns = {"anchor": [first for first, _ in pairs], "positive": [rest for _, rest in pairs]}
    return Rows("pairs", columns, None, None, "cut", duplicates=0, blank=0)


def drawn(rows: Rows, count: int | None, seed: int) -> Rows:
    """So many rows of all, other ones with every seed."""
    if count is None:
        return rows
    kept = sorted(random.Random(seed).sample(range(len(rows)), count))
    columns = {name: [texts[row] for row in kept] for name, texts in rows.columns.items()}
    return replace(rows, columns=columns)


# ---- runs ---------------------------------------------------------------------------------------


def points(grid: Sequence[str]) -> Iterator[list[str]]:
    """Every combination of ``key=a,b`` as a list of ``key=value``."""
    axes = []
    for axis in grid:
        key, _, values = axis.partition("=")
        axes.append([f"{key}={value}" for value in values.split(",")])
    yield from map(list, itertools.product(*axes))


def summarise(before: Scores, runs: Sequence[Scores]) -> dict[str, Any]:
    """Each figure over the seeds; of a figure of queries, how sure its change is over others."""
    summary = {}
    for name, old in before.items():
        means = [float(run[name].mean()) for run in runs]
        found: dict[str, Any] = {"mean": statistics.mean(means)}
        found["change"] = found["mean"] - float(old.mean())
        if len(means) > 1:
            found["sd"] = statistics.stdev(means)
        if len(old) > 1:
            change = np.mean([run[name] for run in runs], axis=0) - old
            interval = mean_estimates({name: change})[name].interval
            found["change_interval"] = [interval.low, interval.high]
        summary[name] = found
    return summary


def means(scores: Scores) -> dict[str, float]:
    """Each figure, over its queries."""
    return {name: float(values.mean()) for name, values in scores.items()}


def parse() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", help="default: the bundled all-MiniLM-L6-v2")
    parser.add_argument(
        "--rows", default="pairs", help="pairs, texts, cut: of docstrings; or a file"
    )
    parser.add_argument("--count", type=int, help="train on so many rows, drawn by the seed")
    parser.add_argument("--recipe")
    parser.add_argument("--set", dest="settings", nargs="*", default=[])
    parser.add_argument("--grid", nargs="*", default=[])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--data-dir", type=Path, help="judge on STS-B dev, in SentEval's layout")
    parser.add_argument("--json", type=Path, required=True)
    return parser.parse_args()


def load_rows(name: str, corpus: Corpus | None, scratch: Path) -> Rows:
    """What is trained on, before any draw."""
    if corpus is None or name not in ("pairs", "texts", "cut"):
        return read_rows(name)
    return cut(corpus) if name == "cut" else read_rows(write_texts(corpus, scratch)[name])


def main() -> None:
    """Train and judge every point with every seed; the file is written anew after each run."""
    options = parse()
    model = options.model or str(bundled_model())
    corpus = None
    if options.data_dir is None or options.rows in ("pairs", "texts", "cut"):
        corpus = gather(TRAIN_PACKAGES, HELD_OUT_PACKAGES)
    if options.data_dir is not None:
        judge = sts_judge(options.data_dir)
    else:
        assert corpus is not None
        judge = docstring_judge(held_out(corpus))
    given = [*QUIET, *options.settings]
    base = build_config(options.recipe, given)
    before = judge(SentenceEncoder.from_pretrained(model, pooling=base.pooling))
    print("before", {name: round(value, 2) for name, value in means(before).items()}, flush=True)
    figures: dict[str, Any] = {
        "model": Path(model).name if options.model else "all-MiniLM-L6-v2",
        "rows": Path(options.rows).name,
        "recipe": options.recipe and yaml.safe_load(yaml.safe_dump(changed(base))),
        "before": means(before),
        "summary": {},
        "runs": [],
    }
    with tempfile.TemporaryDirectory() as scratch:
        rows = load_rows(options.rows, corpus, Path(scratch))
        figures["trained_on"] = options.count or len(rows)
        for point in points(options.grid):
            scored = []
            for seed in options.seeds:
                config = build_config(options.recipe, [*given, *point, f"seed={seed}"])
                start = time.perf_counter()
                result = train(
                    model, drawn(rows, options.count, seed), config, Path(scratch, "run"),
                    overwrite=True,
                )  # fmt: skip
                seconds = time.perf_counter() - start
                scored.append(judge(result.encoder))
                figures["runs"].append(
                    {"settings": point, "seed": seed, "steps": result.steps, "seconds": seconds}
                    | means(scored[-1])
                )
                figures["summary"][" ".join(point) or "as given"] = summarise(before, scored)
                write(options.json, figures, claim(figures))
                shown = {name: round(value, 2) for name, value in means(scored[-1]).items()}
                print(*point, f"seed {seed}: {seconds:.0f} s", shown, flush=True)


def claim(figures: dict[str, Any]) -> str:
    """The best settings, by the figure that settings are chosen on, and what they reach."""
    key = CHOICE if CHOICE in figures["before"] else "STSB-dev"
    tried = figures["summary"]
    best = max(tried, key=lambda point: tried[point][key]["mean"])
    sd = tried[best][key].get("sd")
    return (
        f"{key} of {figures['model']} is {figures['before'][key]:.2f} as it is and "
        f"{tried[best][key]['mean']:.2f}{'' if sd is None else f' ± {sd:.2f}'} after training on "
        f"{figures['trained_on']:,} rows ({figures['rows']}) with {best}"
        f"{'' if len(tried) == 1 else f', the best of {len(tried)} settings'}."
    )


def changed(config: TrainConfig) -> dict[str, Any]:
    """The settings that were given, by a recipe or on the command line."""
    return config.model_dump(mode="json", exclude_unset=True)


if __name__ == "__main__":
    main()
