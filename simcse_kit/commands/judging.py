"""Models, or the seeds of a recipe, on STS tasks: what ``evaluate`` and ``compare`` both do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from simcse_kit.commands.options import ModelOptions

if TYPE_CHECKING:
    from simcse_kit.evaluation.sts import PairTask, Protocol, Published, STSResult


@dataclass(frozen=True)
class Judged:
    """The results of a model, or of a recipe's seeds, and what kinds of encoders they are."""

    results: list[STSResult]
    encoders: set[str]


def judge(
    runs: Sequence[str],
    tasks: Sequence[PairTask],
    protocol: Protocol,
    loading: ModelOptions,
    *,
    alone: bool = True,
) -> Judged:
    """Score each of the runs on the tasks, one model in memory at a time.

    `alone`: whether they are all of the command's models (`ModelOptions.load`).
    """
    from simcse_kit.evaluation.sts import evaluate, nearest_encoder

    results, encoders = [], set()
    for run in runs:
        encoder = loading.load(run, alone=alone)
        result = evaluate(
            encoder,
            tasks,
            aggregation=protocol.aggregation,
            suite=protocol.suite,
            encode_kwargs={"show_progress": True},
            name=run,
        )
        results.append(replace(result, protocol=result.protocol | {"name": protocol.name}))
        settings = encoder.backbone.config
        encoders.add(nearest_encoder(settings.model_type, settings.hidden_size))
    return Judged(results, encoders)


def published_beside(
    protocol: Protocol,
    encoders: set[str],
    wanted: Literal["near", "all", "none"],
    tasks: Sequence[PairTask],
) -> list[Published]:
    """The published figures to show beside those of such encoders, of any of these tasks."""
    from simcse_kit.evaluation.sts import published

    if wanted == "none":
        return []
    known = {task.name for task in tasks}
    whole = known >= {*protocol.suite}  # of some rows only the average was published
    rows = [row for row in published(protocol.name) if whole or known & row.scores.keys()]
    return [row for row in rows if wanted == "all" or row.encoder in encoders]
