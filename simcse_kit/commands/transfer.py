"""``simcse-kit evaluate --suite transfer``."""

from __future__ import annotations

from simcse_kit.commands.console import chatter_on_stderr
from simcse_kit.commands.options import ModelOptions, Output, STSOptions, listed
from simcse_kit.commands.task import show_result
from simcse_kit.errors import InputError


def evaluate_on_transfer(
    model: str, named: STSOptions, output: Output, loading: ModelOptions
) -> None:
    """Score a model on SentEval's transfer tasks, those of `named`."""
    if named.data_dir is None:
        raise InputError(
            "the transfer tasks are read from a folder: give SentEval's data/downstream, with MR/,"
            " CR/, SUBJ/, MPQA/, SST/, TREC/ and MRPC/ in it, as --data-dir"
        )
    output.check()
    with chatter_on_stderr():
        from simcse_kit.evaluation.labels import SUITE, evaluate_transfer, load_transfer

        tasks = load_transfer(named.data_dir, listed(named.tasks) or SUITE)
        result = evaluate_transfer(
            loading.load(model),
            tasks,
            encode_kwargs={"show_progress": True},
            name=model,
            show_progress=True,
        )
    show_result(result.figures(), result.to_json(), output)
