"""Graded relatedness: the STS protocol on any files of scored pairs, in any language."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from simcse_kit.evaluation import statistics
from simcse_kit.evaluation.embedding import Encoder, model_settings
from simcse_kit.evaluation.sts.intervals import intervals, resample
from simcse_kit.evaluation.sts.suite import STSResult, evaluate
from simcse_kit.evaluation.sts.tasks import PairTask
from simcse_kit.evaluation.task_result import Figure, TaskResult


@dataclass(frozen=True, eq=False)
class _Pairs:
    """The pairs of the tasks, and a model's cosines of them."""

    result: STSResult
    tasks: Sequence[PairTask]
    untested: str = ""

    def together(
        self, models: Sequence[_Pairs], *, draws: int, seed: int
    ) -> Mapping[str, statistics.Figure]:
        results = [model.result for model in models]
        resampled = resample(results, self.tasks, draws=draws, seed=seed)
        found = {task.name: resampled.figure([task.name]) for task in self.tasks}
        if len(self.tasks) > 1:
            found["average"] = resampled.figure()
        return found


def evaluate_graded(
    model: Encoder,
    tasks: Sequence[PairTask],
    *,
    draws: int = 10_000,
    seed: int = 0,
    encode_kwargs: Mapping[str, Any] | None = None,
    name: str | None = None,
) -> TaskResult:
    """Spearman ×100 of cosines with the scores of each task, and its mean over several.

    The scores' scale does not matter, so every set may have its own.

    Args:
        draws, seed: of the bootstrap over pairs.
        encode_kwargs: passed on to `model.encode`.
        name: what to call the model; its own `name` by default.

    Raises:
        InputError: as `sts.evaluate`.
    """
    result = evaluate(model, tasks, encode_kwargs=encode_kwargs, name=name)
    sure = intervals(result, tasks, draws=draws, seed=seed)
    figures = {
        task: Figure(score.spearman, sure.tasks.get(task)) for task, score in result.tasks.items()
    }
    if len(tasks) > 1:
        figures["average"] = Figure(result.average, sure.average)
    n = sum(len(task) for task in tasks)
    missing = {task: why for task, why in sure.missing.items() if task in figures}
    together = ", those that share a sentence taken together" if sure.clustered else ""
    return TaskResult(
        model=result.model,
        task=", ".join(task.name for task in tasks),
        figures=figures,
        protocol={
            "similarity": "cosine",
            "figure": "Spearman ×100 with the scores",
            "pairs": {task: score.n for task, score in result.tasks.items()},
            "pearson": {task: score.pearson for task, score in result.tasks.items()},
            "interval": f"percentile bootstrap over pairs{together}, {draws} draws, seed {seed}",
            "intervals_missing": missing,
            "sources": result.protocol["sources"],
        }
        | model_settings(model, encode_kwargs),
        summary=" ".join(
            [
                f"Spearman ×100 of cosines with the scores of {n:,} pairs"
                f" (intervals over other pairs{together}).",
                *(f"No interval on {task}: {why}" for task, why in missing.items()),
            ]
        ),
        tested=_Pairs(result, tasks),
    )
