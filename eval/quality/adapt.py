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
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from eval.ending import ending
from eval.provenance import write
from eval.quality.held_out_documents import Domain, domain_of, searches
from eval.quality.kept_runs import (
    AVERAGE,
    QUIET,
    START,
    Judged,
    Scores,
    digest_of,
    judged,
    kept_runs,
    same_runs,
    show,
    summary,
)
from simcse_kit.data import USUAL, read_rows
from simcse_kit.encoder import SentenceEncoder
from simcse_kit.errors import InputError
from simcse_kit.evaluation.search import by_query
from simcse_kit.evaluation.sts import SUITE, PairTask, load_tasks
from simcse_kit.training import General, Making, adapt, build_config, train
from simcse_kit.training.adapting import NEAREST

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

from quickstart import bundled_model  # scripts/ is no package: found by the line above

METRICS = ("recall@1", "mrr")


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


def judge(encoder: SentenceEncoder, domain: Domain, tasks: Judged) -> Scores:
    """What an encoder scores: a value a query of each search, ×100, and a cosine a pair."""
    scores: Scores = {}
    for name, (queries, texts, own) in searches(domain.held_out).items():
        vectors = encoder.encode(queries), encoder.encode(texts)
        values = by_query(*vectors, own, metrics=METRICS)
        scores |= {f"{name} {metric}": values[metric] for metric in METRICS}
    return scores | judged(encoder, tasks)


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


# ---- figures ------------------------------------------------------------------------------------


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
    tasks = {AVERAGE: suite}
    folder = options.output_dir / options.domain
    asked = {
        "settings": list(options.settings),
        "model": options.model,
        "general": str(options.general) if options.general else None,
        "documents": digest_of(domain.documents),
        "held_out": digest_of(domain.held_out),
    }
    same_runs(folder, asked)

    def start() -> Scores:
        encoder = SentenceEncoder.from_pretrained(options.model or bundled_model())
        return judge(encoder, domain, tasks)

    def make(name: str, seed: int, place: Path) -> Scores:
        return judge(trained(VARIANTS[name], domain, seed, place, options), domain, tasks)

    runs = kept_runs(options.variants, options.seeds, start, make, folder)
    figures = {
        "model": Path(options.model).name if options.model else "all-MiniLM-L6-v2",
        "domain": options.domain,
        "documents": len(domain.documents),
        "held_out": len(domain.held_out),
        "seeds": options.seeds,
        "settings": options.settings,
        "summary": summary(runs, tasks, options.draws, against=["given"]),
    }
    write(options.json, figures, claim(figures))
    return figures


if __name__ == "__main__":
    raise SystemExit(ending(lambda: show(run(parse())["summary"])))
