"""How far does text without labels take an encoder, and which part of a recipe takes it there?

    python -m eval.quality.unlabelled --model DIR --data FILE --count 32000 --data-dir SENTEVAL \\
        --pairs FILE … --variants FILE.yaml [--only NAME …] [--seeds 1 2 3] --output-dir DIR \\
        --json OUT [--suite] [--against NAME …] [--set key=value …]

A file of variants says of each name the recipe, what is set in it, and whether it learns from
teachers, or is the mean of the weights of runs: these are variants themselves, trained from the
same start on the same text with seeds of their own. Every variant with every seed starts from the
same encoder and sees the first `--count` lines; STS-B dev chooses the step. Variants are chosen by
`CHOICE`, the mean of three figures of different kinds, none of which shares a text with the seven
tasks: STS-B dev (Spearman), titles of docstrings that are to find their own text (MRR,
`DEV_PACKAGES`), and paraphrases that are to find each other (MRR, in each file of `--pairs` for
itself). `--suite` scores the seven tasks besides: once, for what was chosen. What is finished stays
in --output-dir, and the same command goes on.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from eval.ending import ending
from eval.provenance import write
from eval.quality.held_out_documents import domain_of, searches
from eval.quality.kept_runs import (
    AVERAGE,
    QUIET,
    Judged,
    Scores,
    digest_of,
    judged,
    kept_runs,
    same_runs,
    show,
    summary,
)
from simcse_kit.data import read_rows
from simcse_kit.encoder import SentenceEncoder, averaged
from simcse_kit.errors import InputError
from simcse_kit.evaluation.search import by_query
from simcse_kit.evaluation.sts import SUITE, PairTask, load_stsb, load_tasks
from simcse_kit.training import build_config, train
from simcse_kit.training.settings.recipe_files import SettingsLoader

DEV = "STS-B dev"
TITLES, PARAPHRASES = "docstrings mrr", "paraphrases mrr"
CHOICE = "choice"
MEANS = {CHOICE: (DEV, TITLES, PARAPHRASES)}
#: So many of the first pairs of each file are searched.
PAIRS = 2000
#: Teachers of a run with seed s have the seeds 1000·s, 1000·s + 1, …: no run has those itself.
TEACHER_SEEDS = 1000

#: Queries, the texts that are searched, and the number of each query's own text.
Search = tuple[list[str], list[str], np.ndarray]


class Runs(BaseModel):
    """Variants to learn from or to take the mean of, and how many seeds of each."""

    model_config = ConfigDict(extra="forbid")

    of: list[str]
    each: int = 4


class Variant(BaseModel):
    """One way to train: a recipe, changes to it, and teachers of its own seeds; or a mean of runs.

    A mean is of the weights of finished runs (`simcse_kit.encoder.averaged`): nothing is trained
    after them.
    """

    model_config = ConfigDict(extra="forbid")

    recipe: str = "small-unsup"
    settings: dict[str, Any] = {}
    teachers: Runs | None = None
    mean: Runs | None = None

    @model_validator(mode="after")
    def _a_mean_is_not_trained(self) -> Variant:
        if self.mean is not None and (self.settings or self.teachers):
            raise ValueError("a mean is of finished runs: it takes no settings and no teachers")
        return self

    @property
    def before(self) -> Runs:
        """The runs that it needs first."""
        return self.teachers or self.mean or Runs(of=[])


@dataclass(frozen=True)
class Work:
    """What all runs share.

    Attributes:
        searched: by figure, the searches (queries, texts, own) whose queries it is the mean over.
    """

    model: str
    texts: Sequence[str]
    variants: Mapping[str, Variant]
    settings: Sequence[str]
    dev: PairTask
    searched: Mapping[str, Sequence[Search]]
    suite: Sequence[PairTask]

    @property
    def tasks(self) -> Judged:
        """The figures that are Spearman correlations."""
        return {DEV: [self.dev], AVERAGE: self.suite}

    def told(self) -> dict[str, Any]:
        """What every figure rests on."""
        searches = [search for each in self.searched.values() for search in each]
        return {
            "model": self.model,
            "settings": self.settings,
            "texts": digest_of(self.texts),
            "dev": digest_of(self.dev.sentence1, self.dev.sentence2),
            "searched": digest_of(*(texts for search in searches for texts in search[:2])),
        }

    def told_of(self, name: str) -> dict[str, Any]:
        """What the figures of a variant rest on: itself, and the runs before it."""
        variant = self.variants[name]
        return variant.model_dump() | {"before": {of: self.told_of(of) for of in variant.before.of}}


# ---- what is read -------------------------------------------------------------------------------


def variants_of(path: Path) -> dict[str, Variant]:
    """The variants of a file, teachers before their students.

    Raises:
        InputError: a setting that is not known, a teacher that is not in the file.
    """
    found: dict[str, Variant] = {}
    try:
        read = yaml.load(path.read_text(encoding="utf-8"), SettingsLoader)
    except (OSError, yaml.YAMLError) as error:
        raise InputError(f"{path}: {error}") from None
    if not isinstance(read, dict):
        raise InputError(f"{path}: write a variant a key, and under it recipe, settings, teachers")
    for name, told in read.items():
        try:
            variant = Variant.model_validate(told or {})
        except ValidationError as error:
            first = error.errors()[0]
            raise InputError(f"{path}: {name}: {first['loc']}: {first['msg']}") from None
        for other in variant.before.of:
            if other not in found:
                raise InputError(f"{path}: {name}: no variant {other} stands before it")
            if found[other].mean is not None:
                raise InputError(f"{path}: {name}: {other} is a mean; name the runs it is of")
        found[name] = variant
    return found


def paraphrases(path: Path) -> Search:
    """Texts, their paraphrases among all of the file's first, and whose is whose."""
    columns = read_rows(path).columns
    if "positive" not in columns:
        raise InputError(f"{path}: --pairs needs two columns, a text and its paraphrase")
    texts, theirs = columns["anchor"][:PAIRS], columns["positive"][:PAIRS]
    return list(texts), list(theirs), np.arange(len(texts))


# ---- runs ---------------------------------------------------------------------------------------


def judge(encoder: SentenceEncoder, work: Work) -> Scores:
    """A value a query of each search, ×100, and the cosines of every pair."""
    scores: Scores = {}
    for name, tasks in work.searched.items():
        values = [
            by_query(encoder.encode(queries), encoder.encode(texts), own, metrics=("mrr",))["mrr"]
            for queries, texts, own in tasks
        ]
        scores[name] = np.concatenate(values)
    return scores | judged(encoder, work.tasks)


def judged_start(work: Work) -> Scores:
    """What the encoder scores that all start from."""
    return judge(SentenceEncoder.from_pretrained(work.model, pooling="mean"), work)


def trained(name: str, seed: int, folder: Path, work: Work) -> SentenceEncoder:
    """The encoder of a variant and a seed; runs that it needs and lacks are made first."""
    variant = work.variants[name]
    settings = dict(variant.settings)
    runs = [
        str(teacher(of, TEACHER_SEEDS * seed + number, folder.parent, work))
        for of in variant.before.of
        for number in range(variant.before.each)
    ]
    if variant.mean is not None:
        return averaged([SentenceEncoder.from_pretrained(each) for each in runs])
    if variant.teachers is not None:
        settings["teachers"] = runs
    given = [*QUIET, *work.settings, f"seed={seed}"]
    config = build_config(variant.recipe, given, settings)
    rows = read_rows([{"text": text} for text in work.texts])
    return train(
        work.model, rows, config, folder, eval_data=work.dev, overwrite=folder.is_dir()
    ).encoder


def teacher(name: str, seed: int, folder: Path, work: Work) -> Path:
    """The folder of a teacher, kept for all that learn from it or are the mean of it."""
    made = folder / "teachers" / f"{name}-{seed}"
    same_runs(made.parent, work.told_of(name), name)
    if not (made / "done").is_file():
        trained(name, seed, made, work)
        (made / "done").touch()
    return made


# ---- figures ------------------------------------------------------------------------------------


def claim(figures: Mapping[str, Any]) -> str:
    """What each variant scores, and how much above those it is compared with."""
    said = []
    for name, told in figures["summary"].items():
        label = AVERAGE if AVERAGE in told else CHOICE
        beside = [
            f"{compared['difference']:+.2f} ({compared['interval']['low']:+.2f} to"
            f" {compared['interval']['high']:+.2f}) {key}"
            for key, compared in told[label].items()
            if key.startswith("above ") and isinstance(compared, dict)
        ]
        said.append(f"{name} {label} {told[label]['mean']:.2f}{', ' * bool(beside)}")
        said[-1] += ", ".join(beside)
    return (
        f"From {figures['model']} on {figures['texts']:,} texts without labels,"
        f" seeds {figures['seeds']}: {'; '.join(said)}."
    )


# ---- main ---------------------------------------------------------------------------------------


def add_sources(parser: argparse.ArgumentParser) -> None:
    """What is trained from, on, and judged by, as `work_of` reads it; and where it all goes."""
    parser.add_argument("--model", required=True, help="the encoder that all start from")
    parser.add_argument("--data", required=True, help="sentences, one a line")
    parser.add_argument("--data-dir", type=Path, required=True, help="in SentEval's layout")
    parser.add_argument("--pairs", type=Path, nargs="+", required=True, help="paraphrases")
    parser.add_argument("--variants", type=Path, required=True, help="a YAML file")
    parser.add_argument("--seeds", type=int, nargs="+", default=[1])
    parser.add_argument("--set", dest="settings", nargs="*", default=[])
    parser.add_argument("--output-dir", type=Path, required=True, help="where runs stay")
    parser.add_argument("--draws", type=int, default=10_000)
    parser.add_argument("--json", type=Path, required=True)


def parse(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_sources(parser)
    parser.add_argument("--count", type=int, default=32_000, help="so many of the first lines")
    parser.add_argument("--only", nargs="+", help="of its variants; default: all")
    parser.add_argument("--suite", action="store_true", help="score the seven tasks besides")
    parser.add_argument("--against", nargs="*", default=[], help="variants to be compared with")
    return parser.parse_args(words)


def work_of(options: argparse.Namespace) -> Work:
    """Everything that is named on the command line, read."""
    variants = variants_of(options.variants)
    unknown = sorted({*(options.only or []), *options.against} - set(variants))
    if unknown:
        raise InputError(f"{options.variants} has no variant {', '.join(unknown)}")
    title, _ = searches(domain_of("dev").held_out).values()
    return Work(
        options.model,
        read_rows(options.data).columns["text"][: options.count],
        variants,
        options.settings,
        load_stsb(options.data_dir, "dev"),
        {TITLES: [title], PARAPHRASES: list(map(paraphrases, options.pairs))},
        load_tasks(options.data_dir, SUITE) if options.suite else (),
    )


def run(options: argparse.Namespace, *, work: Work | None = None) -> dict[str, Any]:
    """Train and judge what is left, and write the figures of all runs.

    Args:
        work: in place of what is named.
    """
    work = work or work_of(options)
    folder = options.output_dir / ("suite" if work.suite else "choice")
    same_runs(folder, work.told())
    names = options.only or list(work.variants)
    for name in names:
        same_runs(folder, work.told_of(name), name)

    def make(name: str, seed: int, place: Path) -> Scores:
        return judge(trained(name, seed, place, work), work)

    runs = kept_runs(names, options.seeds, partial(judged_start, work), make, folder)
    figures = {
        "model": Path(work.model).name,
        "texts": len(work.texts),
        "seeds": options.seeds,
        "variants": {name: work.variants[name].model_dump(exclude_none=True) for name in names},
        "summary": summary(runs, work.tasks, options.draws, against=options.against, means=MEANS),
    }
    write(options.json, figures, claim(figures))
    return figures


if __name__ == "__main__":
    raise SystemExit(ending(lambda: show(run(parse())["summary"])))
