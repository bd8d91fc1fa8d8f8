"""Three methods where they belong: few-shot classes, clusters, documents.

    python -m eval.quality.homes --model DIR --trec TREC --output-dir DIR --json OUT \\
        [--only labels clusters documents] [--seeds 1 2 3] [--set key=value …]

STS asks none of what these three promise, so each is judged by its own question, beside plain
SimCSE that was trained from the same encoder on the same texts for as many steps:

- `supcon` (labels): TREC's questions of half of the fine classes; few-shot accuracy (5 ways, 5
  shots, nearest centroid) on the other half, none of which it has seen.
- `prototypes` (clusters): docstrings without labels; V-measure of k-means against the package that
  each text of held-out packages is of.
- `cpc` (documents): the sentences of docstrings in their order; a title, and a sentence from the
  middle, that are to find their own of the held-out packages' documents (MRR).

What is finished stays in --output-dir, and the same command goes on.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from eval.ending import ending
from eval.provenance import write
from eval.quality.held_out_documents import DEV_PACKAGES, searches, whole
from eval.quality.kept_runs import QUIET, START, Scores, kept_runs, same_runs, summary
from simcse_kit.data import Rows, read_rows
from simcse_kit.data.within_documents import document_of
from simcse_kit.encoder import SentenceEncoder
from simcse_kit.errors import InputError
from simcse_kit.evaluation.labels import LabelledTask, evaluate_clustering
from simcse_kit.evaluation.labels.few_shot import few_shot
from simcse_kit.evaluation.search import by_query
from simcse_kit.training import build_config, train

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts"))

from docstrings import gather  # scripts/ is no package: found by the line above
from quickstart import HELD_OUT_PACKAGES, TRAIN_PACKAGES

PLAIN = "plain"
#: Fine classes of TREC with fewer questions than an episode asks for are not judged on.
SHOTS, QUERIES, EPISODES = 5, 15, 600
CLUSTER_TEXTS = 4000


@dataclass(frozen=True)
class Home:
    """What a method is trained on, and how it is judged.

    Attributes:
        recipe: the method's. plain: rows of plain SimCSE, the same texts.
        figure: the first of those that `judge` gives.
    """

    recipe: str
    rows: Rows
    plain: Rows
    judge: Callable[[SentenceEncoder], Scores]
    figure: str


# ---- homes --------------------------------------------------------------------------------------


def labels(options: argparse.Namespace) -> Home:
    """Half of TREC's fine classes to learn from, the other half for episodes."""
    if options.trec is None:
        raise InputError("the home 'labels' needs --trec, SentEval's folder TREC")
    learnt, asked = halves(read_trec(options.trec / "train_5500.label"))
    texts, classes = zip(*asked, strict=True)
    numbers = np.unique(classes, return_inverse=True)[1]

    def judge(encoder: SentenceEncoder) -> Scores:
        vectors = encoder.encode(list(texts))
        episodes = few_shot(
            vectors, numbers, shots=SHOTS, queries=QUERIES, episodes=EPISODES, seed=0
        )
        return {"few-shot accuracy": episodes}

    rows = read_rows([{"text": text, "label": label} for text, label in learnt])
    plain = read_rows([{"text": text} for text, _ in learnt])
    return Home("supcon", rows, plain, judge, "few-shot accuracy")


def read_trec(path: Path) -> list[tuple[str, str]]:
    """Questions and their fine classes, each question once.

    Raises:
        InputError: the file is not there.
    """
    try:
        lines = path.read_text(encoding="latin-1").splitlines()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    found: dict[str, str] = {}
    for line in lines:
        label, _, text = line.partition(" ")
        found.setdefault(text.strip(), label)
    return list(found.items())


def halves(examples: Sequence[tuple[str, str]]) -> tuple[list[Any], list[Any]]:
    """Examples of the classes at even places of the alphabet, and of the odd ones.

    Of both only classes with enough examples for an episode.
    """
    names, counts = np.unique([label for _, label in examples], return_counts=True)
    large = [str(name) for name in names[counts >= SHOTS + QUERIES]]
    learnt, asked = set(large[::2]), set(large[1::2])
    return (
        [each for each in examples if each[1] in learnt],
        [each for each in examples if each[1] in asked],
    )


def clusters(options: argparse.Namespace) -> Home:
    """Docstrings of some packages to learn from, and of others to be told apart by package."""
    corpus = gather(TRAIN_PACKAGES, (*HELD_OUT_PACKAGES, *DEV_PACKAGES))
    every = max(1, len(corpus.held_out) // CLUSTER_TEXTS)
    asked = corpus.held_out[::every]
    task = LabelledTask(
        "packages", [each.description for each in asked], [each.package for each in asked], ""
    )

    def judge(encoder: SentenceEncoder) -> Scores:
        figures = evaluate_clustering(encoder, task).figures
        return {
            "V-measure": np.array([figures["v_measure"].value]),
            "AMI": np.array([figures["ami"].value]),
        }

    rows = read_rows([{"text": each.description} for each in corpus.train])
    return Home("prototypes", rows, rows, judge, "V-measure")


def documents(options: argparse.Namespace) -> Home:
    """Sentences of docstrings in their order, and documents of other packages to be found."""
    corpus = gather(TRAIN_PACKAGES, HELD_OUT_PACKAGES)
    sentences = [
        {"text": sentence, "document": str(number)}
        for number, entry in enumerate(corpus.train)
        for sentence in document_of(whole(entry)).sentences
    ]
    tasks = searches(list(map(whole, corpus.held_out)))

    def judge(encoder: SentenceEncoder) -> Scores:
        return {
            f"{name} mrr": by_query(
                encoder.encode(queries), encoder.encode(texts), own, metrics=("mrr",)
            )["mrr"]
            for name, (queries, texts, own) in tasks.items()
        }

    rows = read_rows(sentences)
    plain = read_rows([{"text": each["text"]} for each in sentences])
    return Home("cpc", rows, plain, judge, "middle mrr")


HOMES: dict[str, Callable[[argparse.Namespace], Home]] = {
    each.__name__: each for each in (labels, clusters, documents)
}


# ---- main ---------------------------------------------------------------------------------------


def figures_of_home(home: Home, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    """Train and judge what is left of a home, and sum up."""

    def start() -> Scores:
        return home.judge(SentenceEncoder.from_pretrained(options.model, pooling="mean"))

    def make(name: str, seed: int, place: Path) -> Scores:
        config = build_config(name, [*QUIET, *options.settings, f"seed={seed}"])
        rows = home.plain if name == PLAIN else home.rows
        made = train(options.model, rows, config, place, overwrite=place.is_dir())
        return home.judge(made.encoder)

    runs = kept_runs([PLAIN, home.recipe], options.seeds, start, make, folder)
    told = summary(runs, {}, options.draws, against=[PLAIN])
    return {"rows": len(home.rows), "figure": home.figure, "summary": told}


def claim(figures: Mapping[str, Any]) -> str:
    """What each method gives at home, and how much above plain SimCSE."""
    said = []
    for name, home in figures["homes"].items():
        told, label = home["summary"], home["figure"]
        method = next(each for each in told if each not in (START, PLAIN))
        start, plain, own = (told[each][label] for each in (START, PLAIN, method))
        compared = own.get(f"above {PLAIN}")
        sure = ""
        if compared is not None:
            interval = compared["interval"]
            sure = f" ({interval['low']:+.2f} to {interval['high']:+.2f} above plain)"
        said.append(
            f"{name}: {label} {start['mean']:.2f} as it is, {plain['mean']:.2f} plain,"
            f" {own['mean']:.2f} {method}{sure}"
        )
    return f"From {figures['model']}, seeds {figures['seeds']}: {'; '.join(said)}."


def parse(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="the encoder that all start from")
    parser.add_argument("--trec", type=Path, help="SentEval's folder TREC, of the home 'labels'")
    parser.add_argument("--only", nargs="+", choices=HOMES, default=list(HOMES))
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--set", dest="settings", nargs="*", default=[])
    parser.add_argument("--output-dir", type=Path, required=True, help="where runs stay")
    parser.add_argument("--draws", type=int, default=10_000)
    parser.add_argument("--json", type=Path, required=True)
    return parser.parse_args(words)


def run(options: argparse.Namespace, homes: Mapping[str, Home] | None = None) -> dict[str, Any]:
    """Train and judge what is left, and write the figures.

    Args:
        homes: in place of those that are named.
    """
    homes = homes or {name: HOMES[name](options) for name in options.only}
    told = {}
    for name, home in homes.items():
        folder = options.output_dir / name
        asked = {"model": options.model, "settings": options.settings, "rows": home.rows.content()}
        same_runs(folder, asked)
        told[name] = figures_of_home(home, folder, options)
    figures = {
        "model": Path(options.model).name,
        "seeds": options.seeds,
        "settings": options.settings,
        "homes": told,
    }
    write(options.json, figures, claim(figures))
    return figures


if __name__ == "__main__":
    raise SystemExit(ending(lambda: print(claim(run(parse())))))
