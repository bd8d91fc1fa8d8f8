"""``simcse-kit evaluate --suite transfer``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from simcse_kit.commands.console import chatter_on_stderr, check_outputs
from simcse_kit.commands.options import load_encoder
from simcse_kit.commands.task import show_result
from simcse_kit.errors import InputError


def evaluate_on_transfer(
    model: str,
    data_dir: Path | None,
    tasks: str | None,
    json_file: str | None,
    markdown: bool,
    load: dict[str, Any],
) -> None:
    """Score a model on SentEval's transfer tasks; `load` are options for `load_encoder`."""
    if data_dir is None:
        raise InputError(
            "the transfer tasks are read from a folder: give SentEval's data/downstream, with MR/,"
            " CR/, SUBJ/, MPQA/, SST/, TREC/ and MRPC/ in it, as --data-dir"
        )
    check_outputs(json_file, None)
    with chatter_on_stderr():
        from simcse_kit.evaluation.labels import SUITE, evaluate_transfer, load_transfer

        named = SUITE if tasks is None else [name.strip() for name in tasks.split(",")]
        chosen = load_transfer(data_dir, named)
        result = evaluate_transfer(
            load_encoder(model, **load),
            chosen,
            encode_kwargs={"show_progress": True},
            name=model,
            show_progress=True,
        )
    show_result(result.figures(), result.to_json(), json_file, markdown)
