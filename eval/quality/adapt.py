"""Does `simcse-kit adapt` make a good encoder better on documents, and which part of it does?

    python -m eval.quality.adapt --data-dir SENTEVAL --output-dir DIR \\
        --json eval/results/adapt.json [--domain docstrings | manuals | dev] \\
        [--variants all title …] [--seeds 1 2 3 4 5] [--general FILE] [--set key=value …]

all-MiniLM-L6-v2 is adapted to whole documents: the docstrings of the quickstart's packages, or the
manual pages of this machine (`scripts/manuals.py`). Judged on documents of packages, or families
of pages, that are held out whole, twice: the first sentence (a title, a summary) is to find the
rest of its own document among all of them (`title`), and a sentence from the middle the document
that it was taken out of (`middle`); and on the seven STS tasks. `--domain dev` is for choosing
settings: the same training, judged on `DEV_PACKAGES`, of which nothing is reported.

Every variant with every seed is trained and judged once; what is finished stays in --output-dir,
and the same command goes on. Differences to the encoder as it was, and to the given pairs, have
intervals over other seeds and other queries (`summarise_seeds`, `compare_recipes`).
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from eval.provenance import write
from eval.quality.held_out_documents import Domain, domain_of, searches
from simcse_kit.data import USUAL, read_rows, replacing, write_json
from simcse_kit.encoder import SentenceEncoder
from simcse_kit.errors import InputError
from simcse_kit.evaluation.search import by_query
from simcse_kit.evaluation.statistics import (
    Figure,
    PairScores,
    bootstrap,
    compare_recipes,
    resample_together,
    summarise_seeds,
)
from simcse_kit.evaluation.sts import SUITE, PairTask, evaluate, load_tasks
from simcse_kit.evaluation.sts.intervals import numbered_sentences
from simcse_kit.training import General, Making, adapt, build_config, train
from simcse_kit.training.adapting import NEAREST

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

from quickstart import bundled_model  # scripts/ is no package: found by the line above

START = "as it is"
METRICS = ("recall@1", "mrr")
QUIET = ("report_to=none", "save_steps=100000", "logging_steps=20")
AVERAGE = "STS average"

Scores = dict[str, np.ndarray]  # a figure's values, one a query; of STS a cosine a pair


@dataclass(frozen=True)
class Variant:
    """One way to adapt: which pairs, whether hard negatives, what else stays as it was.

    Attributes:
        ways: of `make_pairs`; () is the pairs that are given, where the domain has some.
        negatives: mine one hard negative a pair.
        kept: train with the recipe's term that follows the encoder as it was.
        general: hold it on general texts too.
    """

    ways: tuple[str, ...] = USUAL
    negatives: bool = True
    kept: bool = True
    general: bool = False


ALONE = {
    way: Variant((way,), negatives=False, kept=False)
    for way in ("title", "crop", "cloze", "keywords", "sentences")
}
VARIANTS: dict[str, Variant] = {
    "given": Variant((), negatives=False, kept=False),
    **ALONE,
    "pairs": Variant(negatives=False, kept=False),
    "pairs+negatives": Variant(kept=False),
    "pairs+kept": Variant(negatives=False),
    "all": Variant(),
    "all+general": Variant(general=True),
}


# ---- runs ---------------------------------------------------------------------------------------


def judge(encoder: SentenceEncoder, domain: Domain, suite: Sequence[PairTask]) -> Scores:
    """What an encoder scores: a value a query of each search, ×100, and a cosine a pair."""
    scores: Scores = {}
    for name, (queries, texts, own) in searches(domain.held_out).items():
        vectors = encoder.encode(queries), encoder.encode(texts)
        values = by_query(*vectors, own, metrics=METRICS)
        scores |= {f"{name} {metric}": values[metric] for metric in METRICS}
    if suite:
        result = evaluate(encoder, list(suite))
        scores |= {f"STS {task}": cosines for task, cosines in result.cosines.items()}
        scores[AVERAGE] = np.array([result.average])
    return scores


def trained(
    variant: Variant, domain: Domain, seed: int, folder: Path, options: argparse.Namespace
) -> SentenceEncoder:
    """The encoder of a variant and a seed; gone on with where it was stopped."""
    given = [*QUIET, *options.settings, f"seed={seed}"]
    if not variant.kept:
        given.append("auxiliaries=[]")
    config = build_config("adapt", given)
    model = options.model or bundled_model()
    if not variant.ways:
        if domain.given is None:
            raise InputError("this domain has no given pairs: leave the variant 'given' out")
        return train(model, domain.given, config, folder, overwrite=folder.is_dir()).encoder
    general = General(str(options.general)) if variant.general else None
    adapted = adapt(
        model,
        read_rows([{"text": text} for text in domain.documents]),
        config,
        folder,
        making=Making(variant.ways),
        rules=replace(NEAREST, num_negatives=1) if variant.negatives else None,
        general=general,
        resume=(folder / "adapt.json").is_file(),
    )
    return adapted.result.encoder


def scored(name: str, seed: int, make: Callable[[Path], Scores], folder: Path) -> Scores:
    """The scores of a run, from its file where it is finished; then its models go."""
    file = folder / f"{name}-{seed}.npz"
    if file.is_file():
        with np.load(file, allow_pickle=False) as stored:
            return dict(stored)
    scores = make(folder / f"{name}-{seed}")
    with replacing(file) as aside, aside.open("wb") as handle:
        np.savez_compressed(handle, allow_pickle=False, **scores)
    shutil.rmtree(folder / f"{name}-{seed}", ignore_errors=True)
    print(name, f"seed {seed}", shown(scores), file=sys.stderr, flush=True)
    return scores


def shown(scores: Scores) -> dict[str, float]:
    """Each figure that is a mean over its values."""
    return {
        name: round(float(values.mean()), 3)
        for name, values in scores.items()
        if not name.startswith("STS ") or name == AVERAGE
    }


# ---- figures ------------------------------------------------------------------------------------


def above(figure: Figure) -> Figure:
    """The figure of all models but the first, less that of the first."""
    models = len(figure.observed)
    less = np.hstack([-np.ones((models - 1, 1)), np.eye(models - 1)])

    def both(covariance: np.ndarray | None) -> np.ndarray | None:
        return None if covariance is None else less @ covariance @ less.T

    return Figure(
        less @ figure.observed,
        figure.draws @ less.T,
        both(figure.independent),
        both(figure.sharing),
    )


def figures_of(runs: Sequence[Scores], suite: Sequence[PairTask], draws: int) -> dict[str, Figure]:
    """By figure, what models score on the same resamples of queries, and of pairs."""
    names = [name for name in runs[0] if not name.startswith("STS")]
    found = {}
    for name in names:
        values = [run[name] for run in runs]
        means = [_mean_of(each) for each in values]
        found[name] = resample_together(means, len(values[0]), draws=draws)["mean"]
    if suite:
        found[AVERAGE] = _sts(runs, suite, draws)
    return found


def _mean_of(values: np.ndarray) -> Callable[[np.ndarray], Mapping[str, np.ndarray]]:
    return lambda counts: {"mean": counts @ values / len(values)}


def _sts(runs: Sequence[Scores], suite: Sequence[PairTask], draws: int) -> Figure:
    """The average over the tasks, from the cosines that were kept."""
    numbers: dict[str, int] = {}
    samples = {
        task.name: PairScores(
            task.gold,
            np.stack([run[f"STS {task.name}"] for run in runs]),
            numbered_sentences(task, numbers),
        )
        for task in suite
    }
    return bootstrap(samples, draws=draws).figure()


def summary(
    runs: Mapping[str, Sequence[Scores]], suite: Sequence[PairTask], draws: int
) -> dict[str, Any]:
    """Of each variant: means, sd over seeds, differences to the start and to the given pairs."""
    order = [START, *(name for name in runs if name != START)]
    every = [run for name in order for run in runs[name]]
    rows, first = {}, 0
    for name in order:
        rows[name] = range(first, first + len(runs[name]))
        first += len(runs[name])
    told: dict[str, Any] = {name: {} for name in order}
    for label, figure in figures_of(every, suite, draws).items():
        told[START][label] = {"mean": float(figure.observed[0])}
        difference = above(figure)
        for name in order[1:]:
            own = [row - 1 for row in rows[name]]
            told[name][label] = _told(figure, difference, rows[name], own)
            if "given" in rows and name != "given" and min(len(own), len(rows["given"])) > 1:
                compared = compare_recipes(figure, rows[name], rows["given"])
                told[name][label]["above given"] = asdict(compared)
    return told


def _told(figure: Figure, difference: Figure, rows: range, own: list[int]) -> dict[str, Any]:
    observed = figure.observed[list(rows)]
    told: dict[str, Any] = {"mean": float(observed.mean()), "seeds": len(own)}
    told["above start"] = float(difference.observed[own].mean())
    if len(own) > 1:
        sure = summarise_seeds(difference, own)
        told |= {"sd": sure.sd, "interval": [sure.interval.low, sure.interval.high]}
    return told


def claim(figures: Mapping[str, Any]) -> str:
    """What the figures say of the recipe, and of what it is compared with."""
    said = []
    for name, told in figures["summary"].items():
        if name == START:
            continue
        parts = [f"{label} {_signed(told[label])}" for label in told if "mrr" not in label]
        said.append(f"{name}: {', '.join(parts)}")
    start = figures["summary"][START]["title recall@1"]["mean"]
    return (
        f"Adapted to {figures['documents']:,} documents ({figures['domain']}) and judged on "
        f"{figures['held_out']:,} held-out ones, {figures['model']} (title recall@1 {start:.2f}) "
        f"changes by: {'; '.join(said)}."
    )


def _signed(told: Mapping[str, Any]) -> str:
    interval = told.get("interval")
    sure = "" if interval is None else f" ({interval[0]:+.2f} to {interval[1]:+.2f})"
    return f"{told['above start']:+.2f}{sure}"


# ---- main ---------------------------------------------------------------------------------------


def parse(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--domain", choices=("docstrings", "manuals", "dev"), default="docstrings")
    parser.add_argument("--model", help="default: the bundled all-MiniLM-L6-v2")
    parser.add_argument("--variants", nargs="+", choices=VARIANTS, default=["given", "all"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3, 4, 5])
    parser.add_argument("--general", type=Path, help="sentences, of the variant all+general")
    parser.add_argument("--set", dest="settings", nargs="*", default=[])
    parser.add_argument("--data-dir", type=Path, help="the STS sets in SentEval's layout")
    parser.add_argument("--output-dir", type=Path, required=True, help="where runs stay")
    parser.add_argument("--draws", type=int, default=10_000)
    parser.add_argument("--json", type=Path, required=True)
    options = parser.parse_args(words)
    if options.general is None and any(VARIANTS[name].general for name in options.variants):
        parser.error("the variant all+general needs --general FILE")
    return options


def run(
    options: argparse.Namespace, *, domain: Domain | None = None, suite: Sequence[PairTask] = ()
) -> dict[str, Any]:
    """Train and judge what is left, and write the figures of all runs.

    Args:
        domain, suite: in place of those that are named.
    """
    domain = domain or domain_of(options.domain)
    if options.data_dir is not None and not suite:
        suite = load_tasks(options.data_dir, SUITE)
    folder = options.output_dir / options.domain
    folder.mkdir(parents=True, exist_ok=True)
    _same(folder, options, domain)

    def start(_: Path) -> Scores:
        encoder = SentenceEncoder.from_pretrained(options.model or bundled_model())
        return judge(encoder, domain, suite)

    runs: dict[str, list[Scores]] = {START: [scored("start", 0, start, folder)]}
    for seed in options.seeds:
        for name in options.variants:
            variant = VARIANTS[name]

            def make(place: Path, variant: Variant = variant, seed: int = seed) -> Scores:
                return judge(trained(variant, domain, seed, place, options), domain, suite)

            runs.setdefault(name, []).append(scored(name, seed, make, folder))
    figures = {
        "model": Path(options.model).name if options.model else "all-MiniLM-L6-v2",
        "domain": options.domain,
        "documents": len(domain.documents),
        "held_out": len(domain.held_out),
        "seeds": options.seeds,
        "settings": options.settings,
        "summary": summary(runs, suite, options.draws),
    }
    write(options.json, figures, claim(figures))
    return figures


def _same(folder: Path, options: argparse.Namespace, domain: Domain) -> None:
    """Refuse to mix runs of other documents or settings into one folder."""
    told = {
        "settings": list(options.settings),
        "model": options.model,
        "general": str(options.general) if options.general else None,
        "documents": len(domain.documents),
        "held_out": len(domain.held_out),
    }
    file = folder / "asked.json"
    if file.is_file() and json.loads(file.read_text()) != told:
        raise InputError(f"{folder} holds runs of other settings or documents; give another folder")
    write_json(file, told)


def main() -> int:
    """Run; a mistake is one sentence on stderr and 2."""
    try:
        figures = run(parse())
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for name, told in figures["summary"].items():
        print(f"{name:18}", {label: round(each["mean"], 2) for label, each in told.items()})
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
