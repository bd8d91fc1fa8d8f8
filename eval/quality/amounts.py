"""How much text is enough? What variants give after one pass over 8,000 … 1,000,000 sentences.

    python -m eval.quality.amounts --model DIR --data FILE --data-dir SENTEVAL --pairs FILE … \\
        --variants FILE.yaml --only NAME … --sizes 8000 32000 128000 [--seeds 1 2 3] \\
        --output-dir DIR --json OUT [--png PICTURE] [--set key=value …]

Variants are those of `eval.quality.unlabelled`, and so is what they are judged by. Every run starts
from the same encoder, sees the first texts of the file once, the more of them in the more steps,
and has its rate fall to zero over its own steps; STS-B dev chooses the step (twelve are looked at,
and no fewer than one in 125). What is finished stays in --output-dir, and the same command goes on.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from itertools import cycle
from pathlib import Path
from typing import Any

from eval.ending import ending
from eval.provenance import write
from eval.quality.kept_runs import START, Scores, digest_of, kept_runs, same_runs, show, summary
from eval.quality.unlabelled import (
    CHOICE,
    DEV,
    MEANS,
    Variant,
    Work,
    add_sources,
    judge,
    judged_start,
    trained,
    work_of,
)
from simcse_kit.errors import InputError
from simcse_kit.evaluation.canvas import BLUE, GREEN, INK, ORANGE, bare, new_figure, save_picture
from simcse_kit.training import build_config

COLOURS = (BLUE, ORANGE, GREEN, INK)
#: Never fewer looks at the dev set than one in so many steps.
LOOKS_EVERY = 125


def of_size(name: str, size: int) -> str:
    """What the runs of a variant on so many texts are called."""
    return f"{name} on {size}"


def sized(variant: Variant, size: int, given: Sequence[str]) -> Variant:
    """The variant in one pass over so many texts."""
    config = build_config(variant.recipe, given, dict(variant.settings))
    batch = config.per_device_train_batch_size * config.gradient_accumulation_steps
    steps = max(1, size // batch)
    looks = {"max_steps": steps, "eval_steps": max(1, min(steps // 12, LOOKS_EVERY))}
    return variant.model_copy(update={"settings": {**variant.settings, **looks}})


def curves(figures: Mapping[str, Any], label: str) -> dict[str, list[dict[str, float]]]:
    """By variant, what each number of texts gives: size, mean, and an interval if seeds allow."""
    found: dict[str, list[dict[str, float]]] = {}
    for name in figures["only"]:
        for size in figures["sizes"]:
            told = figures["summary"][of_size(name, size)][label]
            start = figures["summary"][START][label]["mean"]
            point = {"size": size, "mean": told["mean"]}
            if "interval" in told:  # of the difference to the start, whose figure is one number
                point |= {end: start + told["interval"][i] for i, end in enumerate(("low", "high"))}
            found.setdefault(name, []).append(point)
    return found


def picture(figures: Mapping[str, Any], path: Path) -> Path:
    """Each variant's curve, for STS-B dev and for the mean of the three figures, as PNG."""
    figure = new_figure(8.4, 3.6)
    for number, label in enumerate((DEV, CHOICE), start=1):
        axis = figure.add_subplot(1, 2, number)
        bare(axis)
        drawn = curves(figures, label).items()
        for colour, (name, points) in zip(cycle(COLOURS), drawn, strict=False):
            sizes = [point["size"] for point in points]
            axis.plot(sizes, [point["mean"] for point in points], "o-", color=colour, label=name)
            sure = [point for point in points if "low" in point]
            axis.fill_between(
                [point["size"] for point in sure],
                [point["low"] for point in sure],
                [point["high"] for point in sure],
                color=colour,
                alpha=0.15,
                linewidth=0,
            )
        axis.set_xscale("log")
        axis.set_xlabel("sentences seen once", color=INK)
        axis.set_title("mean of three dev figures" if label == CHOICE else label, fontsize=10)
    axis.legend(frameon=False, fontsize=8)
    return save_picture(figure, path)


def claim(figures: Mapping[str, Any]) -> str:
    """What each number of texts gives."""
    said = []
    for name, points in curves(figures, DEV).items():
        each = ", ".join(f"{point['mean']:.2f} on {point['size']:,}" for point in points)
        said.append(f"{name}: {each}")
    return f"{DEV} of {figures['model']} after one pass over its first texts: {'; '.join(said)}."


def parse(words: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add_sources(parser)
    parser.add_argument("--only", nargs="+", required=True, help="variants of the file")
    parser.add_argument("--sizes", type=int, nargs="+", required=True, help="numbers of texts")
    parser.add_argument("--png", type=Path, help="draw the curves")
    options = parser.parse_args(words)
    options.count, options.suite, options.against = max(options.sizes), False, []
    return options


def run(options: argparse.Namespace, *, work: Work | None = None) -> dict[str, Any]:
    """Train and judge what is left, and write the figures of all runs.

    Args:
        work: in place of what is named.

    Raises:
        InputError: fewer texts than the largest size, or a variant needs other runs first, which
            would have to be made anew for each size.
    """
    work = work or work_of(options)
    taught = [name for name in options.only if work.variants[name].before.of]
    if taught:
        raise InputError(f"{', '.join(taught)}: a variant of other runs has no curve here")
    if len(work.texts) < options.count:
        raise InputError(f"{options.data} has {len(work.texts):,} texts, --sizes {options.count:,}")
    judged_by = {key: told for key, told in work.told().items() if key != "texts"}
    same_runs(options.output_dir, judged_by)  # the start's figures rest on it
    works: dict[str, Work] = {}
    for size in options.sizes:
        for name in options.only:
            label = of_size(name, size)
            variants = dict(work.variants) | {
                label: sized(work.variants[name], size, work.settings)
            }
            works[label] = replace(work, texts=work.texts[:size], variants=variants)
            same_runs(options.output_dir, works[label].told() | works[label].told_of(label), label)

    def make(label: str, seed: int, place: Path) -> Scores:
        return judge(trained(label, seed, place, works[label]), work)

    runs = kept_runs(
        list(works), options.seeds, partial(judged_start, work), make, options.output_dir
    )
    figures = {
        "model": Path(work.model).name,
        "only": options.only,
        "sizes": options.sizes,
        "texts": digest_of(work.texts),
        "seeds": options.seeds,
        "variants": {
            label: each.variants[label].model_dump(exclude_none=True)
            for label, each in works.items()
        },
        "summary": summary(runs, work.tasks, options.draws, means=MEANS),
    }
    if options.png is not None:
        picture(figures, options.png)
    write(options.json, figures, claim(figures))
    return figures


if __name__ == "__main__":
    raise SystemExit(ending(lambda: show(run(parse())["summary"])))
