"""What is left of embeddings that are cut to their first numbers, by recipe?

    python -m eval.quality.shortened --trial DIR --recipes small-sup,matryoshka \\
        --dims 384 192 96 48 --data-dir SENTEVAL --json OUT [--draws 10000]

Every finished seed of the recipes of a trial (`eval.quality.family`) is judged on the seven STS
tasks with embeddings of each length, and recipes are compared with the first at the same length.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from eval.ending import ending
from eval.provenance import write
from eval.quality.kept_runs import AVERAGE, Scores, judged, summary
from simcse_kit.encoder import SentenceEncoder
from simcse_kit.errors import InputError
from simcse_kit.evaluation.sts import SUITE, PairTask, load_tasks
from simcse_kit.training.runs.seed_folder import read_seed_folder


def seeds_of(trial: Path, recipe: str) -> list[Path]:
    """The folders of a recipe's finished seeds; InputError where there is none."""
    found = read_seed_folder(trial / recipe)
    if found is None or not found.runs:
        raise InputError(f"{trial}: no finished seed of the recipe {recipe} is there")
    return [found.of(seed) for seed in sorted(found.runs)]


def runs_at(
    dim: int, folders: Mapping[str, Sequence[Path]], suite: Sequence[PairTask]
) -> dict[str, list[Scores]]:
    """By recipe the scores of each seed, of embeddings of so many numbers."""

    def cut(folder: Path) -> SentenceEncoder:
        encoder = SentenceEncoder.from_pretrained(str(folder))
        encoder.truncate_dim = dim
        return encoder

    return {
        recipe: [judged(cut(folder), {AVERAGE: suite}) for folder in each]
        for recipe, each in folders.items()
    }


def claim(figures: Mapping[str, Any]) -> str:
    """The averages at each length, and the difference of each recipe to the first."""
    said = []
    for dim, told in figures["dims"].items():
        first = next(iter(told))
        beside = []
        for recipe, each in told.items():
            text = f"{recipe} {each[AVERAGE]['mean']:.2f}"
            compared = each[AVERAGE].get(f"above {first}")
            if compared is not None:
                low, high = compared["interval"]["low"], compared["interval"]["high"]
                text += f" ({compared['difference']:+.2f}, {low:+.2f} to {high:+.2f})"
            beside.append(text)
        said.append(f"{dim} numbers: {', '.join(beside)}")
    return f"Seven STS tasks. {'; '.join(said)}."


def parse(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--trial", type=Path, required=True, help="a trial's folder")
    parser.add_argument("--recipes", required=True, help="of the trial; the first: compared with")
    parser.add_argument("--dims", type=int, nargs="+", required=True)
    parser.add_argument("--data-dir", type=Path, required=True, help="in SentEval's layout")
    parser.add_argument("--draws", type=int, default=10_000)
    parser.add_argument("--json", type=Path, required=True)
    return parser.parse_args(words)


def run(options: argparse.Namespace, *, suite: Sequence[PairTask] = ()) -> dict[str, Any]:
    """Judge every seed at every length, and write the figures.

    Args:
        suite: in place of the seven tasks of ``--data-dir``.
    """
    names = options.recipes.split(",")
    folders = {name: seeds_of(options.trial, name) for name in names}
    suite = suite or load_tasks(options.data_dir, SUITE)
    told = {
        str(dim): summary(
            runs_at(dim, folders, suite), {AVERAGE: suite}, options.draws, against=names[:1]
        )
        for dim in options.dims
    }
    figures = {"seeds": {name: len(each) for name, each in folders.items()}, "dims": told}
    write(options.json, figures, claim(figures))
    return figures


if __name__ == "__main__":
    raise SystemExit(ending(lambda: print(claim(run(parse())))))
