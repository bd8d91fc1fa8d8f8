"""``simcse-kit report``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from simcse_kit.commands.column_mapping import column_called, column_mapping
from simcse_kit.commands.console import chatter_on_stderr, check_outputs, note, write_json
from simcse_kit.commands.grouping import grouped
from simcse_kit.commands.models import by_label, runs_of_model, split_model
from simcse_kit.commands.options import (
    Json,
    Labels,
    ModelOptions,
    Resampling,
    STSOptions,
    known_models,
)
from simcse_kit.data import check_can_write, replacing
from simcse_kit.errors import InputError

if TYPE_CHECKING:
    from simcse_kit.report import Run, Subject

_POOL = 20_000  # sentences that neighbours are looked for in


@grouped
def report(
    models: Annotated[
        list[str],
        typer.Argument(
            help="Models or runs' folders; the others are compared with the first.",
            callback=known_models,
        ),
    ],
    html: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the report as a web page.")
    ] = None,
    markdown: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write it as Markdown.")
    ] = None,
    latex: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the table of scores for a paper.")
    ] = None,
    json_file: Json = None,
    labels: Labels = None,
    base: Annotated[
        bool, typer.Option(help="Compare a single run with the model it began as.")
    ] = True,
    *,
    sts: STSOptions,
    train_data: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Training data to look for in the tasks' sentences."),
    ] = None,
    train_columns: Annotated[
        list[str] | None,
        typer.Option("--train-column", metavar="OURS=THEIRS", help="The columns of these data."),
    ] = None,
    sentences: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Texts to look for neighbours in. Default: the tasks'."),
    ] = None,
    sentence_columns: Annotated[
        list[str] | None,
        typer.Option("--sentence-column", metavar="OURS=THEIRS", help="And of these texts."),
    ] = None,
    remark: Annotated[
        str, typer.Option(metavar="TEXT", help="A remark of yours, at the top of the report.")
    ] = "",
    examples: Annotated[
        int, typer.Option(min=0, max=50, help="Sentences with neighbours, and worst pairs of each.")
    ] = 3,
    resampling: Resampling,
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1)] = 0,
    loading: ModelOptions,
) -> None:
    """Report on one model, or on several, on a page of one file.

    Scores with their intervals, geometry, training, neighbours, worst pairs and leakage.
    """
    _check_files(html, markdown, latex, json_file)
    with chatter_on_stderr():
        from simcse_kit.report import collect, lead, verdict

        subjects = _subjects(models, labels, base, loading)
        tasks, protocol = sts.read()
        with column_called("--train-column"):
            found = collect(
                subjects,
                tasks,
                named=protocol,
                training=train_data,
                training_columns=column_mapping(train_columns),
                **_pool(sentences, sentence_columns, seed),
                remark=remark,
                examples=examples,
                **resampling.given(),
                seed=seed,
            )
        for file, make in ((html, _html), (markdown, _markdown), (latex, _latex)):
            if file is not None:
                text = make(found)
                with replacing(file) as aside:
                    aside.write_text(text, encoding="utf-8")
                note(f"wrote {file}")
        choice, words = lead(found).choice, verdict(found).text()
    if json_file is not None:
        write_json({"choice": choice, "verdict": words, **found.to_json()}, json_file)
    if json_file != "-":
        typer.echo(f"{choice}\n\n{words}")


def _html(found: Any) -> str:
    from simcse_kit.report import html

    return html(found)


def _markdown(found: Any) -> str:
    from simcse_kit.report import markdown

    return markdown(found)


def _latex(found: Any) -> str:
    from simcse_kit.report import latex

    return latex(found)


def _check_files(
    html: Path | None, markdown: Path | None, latex: Path | None, json_file: str | None
) -> None:
    files = [file for file in (html, markdown, latex) if file is not None]
    if json_file is not None and json_file != "-":
        files.append(Path(json_file))
    if not files and json_file is None:
        raise InputError("a report needs a file to go to; give --html FILE (or --markdown, --json)")
    for file in files:
        check_can_write(file)
    check_outputs(json_file, None)


# ---- models --------------------------------------------------------------------------------------


def _subjects(
    models: Sequence[str], labels: Sequence[str] | None, base: bool, loading: ModelOptions
) -> list[Subject]:
    from simcse_kit.report import Subject, read_run

    named = by_label(models, labels, _names(models))
    for model in models:
        if len(runs_of_model(model)) > 1:
            raise InputError(
                f"{model} holds several seeds, and a report is of single models; name a seed's own"
                " folder, such as seed-1 in it"
            )
    runs = [read_run(split_model(model)[0]) for model in models]
    alone = len(models) == 1
    subjects = [
        Subject(name, partial(loading.load, model, alone=alone), run)
        for (name, model), run in zip(named.items(), runs, strict=True)
    ]
    if len(subjects) == 1 and runs[0] is not None and base:
        before = _before(runs[0], models[0], subjects[0].name, loading)
        return [before, *subjects] if before is not None else subjects
    return subjects


def _names(models: Sequence[str]) -> list[str]:
    """The shortest ends of the paths that are all different; a hub id stays whole."""
    parts = []
    for model in models:
        name, _ = split_model(model)
        *above, last = Path(name).absolute().parts if Path(name).exists() else (name,)
        parts.append((*above, last + model[len(name) :]))
    for length in range(1, max(map(len, parts)) + 1):
        names = ["/".join(part[-length:]) for part in parts]
        if len(set(names)) == len(names):
            return names
    return list(models)


def _before(run: Run, model: str, name: str, loading: ModelOptions) -> Subject | None:
    """The model a run began as, where it can be had; what is done is said."""
    from simcse_kit.report import Subject

    if run.base is None:
        note(f"{model} does not say what it began as; name that model first to compare with it")
        return None
    as_begun: dict[str, Any] = {
        "pooling": loading.pooling or run.config.get("pooling"),
        "head": loading.head or run.config.get("model_head"),
        "trust_remote_code": loading.trust_remote_code or bool(run.config.get("trust_remote_code")),
    }
    if loading.prompt is None and loading.prompt_name is None:
        as_begun |= {key: run.config.get(key) for key in ("prompt", "prompt_name")}
    try:
        encoder = replace(loading, **as_begun).load(run.base)
    except InputError as error:
        note(f"{model} is not compared with {run.base}, which it began as: {error}")
        return None
    short = Path(run.base).name or run.base
    label = short if short != name else f"{short} before"
    note(f"{model} is compared with {run.base}, which it began as (--no-base: alone)")
    return Subject(label, lambda: encoder)


def _pool(file: Path | None, columns: list[str] | None, seed: int) -> dict[str, Any]:
    """The texts of a file to look for neighbours in, each once; of many, some drawn at random."""
    if file is None:
        return {}
    import numpy as np

    from simcse_kit.data import read_rows

    with column_called("--sentence-column"):
        rows = read_rows(file, columns=column_mapping(columns))
    texts = list(dict.fromkeys(filter(None, rows.texts())))
    source = file.name
    if len(texts) > _POOL:
        chosen = np.random.default_rng(seed).choice(len(texts), _POOL, replace=False)
        source = f"{_POOL:,} of the {len(texts):,} of {file.name}"
        note(f"neighbours are looked for in {source}, drawn at random (seed {seed})")
        texts = [texts[row] for row in np.sort(chosen)]
    return {"sentences": texts, "source": source}
