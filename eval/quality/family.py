"""Which methods of the family help? A trial over many recipes, from one small encoder.

    python -m eval.quality.family --model DIR --data FILE --data-dir SENTEVAL --output-dir DIR \\
        --recipes plain,esimcse,… --json OUT [--picture PNG] [--set key=value …] [--seeds 3] \\
        [--drop-after 2] [--drop-below 1.0] [--draws 10000]

A thin caller of `simcse_kit.training.train_trial`: each recipe with each seed from the same encoder
on the same rows; STS-B dev chooses the step and compares the recipes, the seven tasks' average,
alignment, uniformity, effective rank, speed and memory stand beside. Recipes that these rows cannot
train are left out and named. The trial stays in `--output-dir`: begun again, it goes on.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from eval.ending import ending
from eval.provenance import write
from simcse_kit.evaluation import alignment_uniformity_plane
from simcse_kit.evaluation.sts import SUITE, PairTask, load_stsb, load_tasks
from simcse_kit.report import trial_choice, trial_markdown, trial_page
from simcse_kit.training import PAGE, Drop, TrialResult, build_config, train_trial

# What every run here shares, whatever the recipe: no trackers.
QUIET = ("report_to=none",)


def claim(result: TrialResult) -> str:
    """What the figures say: the choice, of what, and how far the seeds of one recipe lie apart."""
    spreads = [each.dev.sd for each in result.recipes if each.dev and each.dev.sd is not None]
    luck = f" Seeds of one recipe differ by {max(spreads):.2f} (sd) at most." if spreads else ""
    return (
        f"Of {len(result.recipes)} recipes from {result.model} on {result.rows:,} rows of"
        f" {result.data}, {result.seeds} seed(s): {trial_choice(result)}{luck}"
    )


def picture(result: TrialResult, path: Path) -> None:
    """The plane of alignment and uniformity, coloured by the dev figure."""
    points = {
        each.name: (each.alignment, each.uniformity, each.dev.mean)
        for each in result.recipes
        if each.dev and each.alignment is not None and each.uniformity is not None
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    alignment_uniformity_plane(points, path, score=f"{result.figure} ×100")


def run(
    options: argparse.Namespace, *, dev: PairTask | None = None, suite: Sequence[PairTask] = ()
) -> TrialResult:
    """The trial, begun or gone on with, and its files.

    Args:
        dev, suite: in place of STS-B dev and the seven tasks of ``--data-dir``.
    """
    given = [*QUIET, *options.settings]
    recipes = {Path(each).stem: build_config(each, given) for each in options.recipes.split(",")}
    folder = options.output_dir
    result = train_trial(
        options.model,
        options.data,
        recipes,
        folder,
        seeds=options.seeds,
        eval_data=dev or load_stsb(options.data_dir, "dev"),
        suite=suite or load_tasks(options.data_dir, SUITE),
        drop=None if options.drop_after is None else Drop(options.drop_after, options.drop_below),
        skip_unfit=True,
        resume=(folder / "trial.json").is_file(),
        draws=options.draws,
    )
    (folder / PAGE).write_text(trial_page(result), encoding="utf-8")
    write(options.json, result.to_json(), claim(result))
    if options.picture is not None:
        picture(result, options.picture)
    return result


def parse(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", required=True, help="the encoder that all start from")
    parser.add_argument("--data", required=True, help="the rows that all are trained on")
    parser.add_argument("--data-dir", type=Path, required=True, help="in SentEval's layout")
    parser.add_argument("--output-dir", type=Path, required=True, help="the trial's folder")
    parser.add_argument("--recipes", required=True, help="names and YAML files; the first: plain")
    parser.add_argument("--set", dest="settings", nargs="*", default=[])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--drop-after", type=int)
    parser.add_argument("--drop-below", type=float, default=1.0)
    parser.add_argument("--draws", type=int, default=10_000)
    parser.add_argument("--json", type=Path, required=True)
    parser.add_argument("--picture", type=Path)
    return parser.parse_args(words)


def show() -> None:
    """Run the trial and print its table."""
    result = run(parse())
    print(trial_markdown(result))
    print(trial_choice(result))


if __name__ == "__main__":
    raise SystemExit(ending(show))
