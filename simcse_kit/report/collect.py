"""A report's values, measured: from models and tasks to `Report`.

Each model is loaded, embeds all sentences in one call, and is let go: STS, geometry and
neighbours are read off the same embeddings.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from simcse_kit.errors import InputError
from simcse_kit.evaluation import Encoder, as_array, distinct, embed, length_in_words, short
from simcse_kit.evaluation.leakage import LeakageReport
from simcse_kit.evaluation.sts import (
    PairTask,
    Protocol,
    STSResult,
    compare_results,
    intervals,
    nearest_encoder,
    published,
)
from simcse_kit.evaluation.sts import evaluate as judge
from simcse_kit.report.data import Bands, ModelReport, Report
from simcse_kit.report.examples import misjudged, neighbourhoods

if TYPE_CHECKING:
    from simcse_kit.geometry import Reference, Space
    from simcse_kit.report.runs import Run

logger = logging.getLogger(__name__)

_NEGATIVES, _NEIGHBOURS = 64, 10  # of the geometry, where there are sentences enough


@dataclass(frozen=True)
class Subject:
    """A model to report on: what to call it, how to load it, and the run that made it."""

    name: str
    load: Callable[[], Encoder]
    run: Run | None = None


def collect(
    subjects: Sequence[Subject],
    tasks: Sequence[PairTask],
    *,
    named: Protocol,
    training: Path | str | None = None,
    training_columns: Mapping[str, str] | None = None,
    sentences: Sequence[str] | None = None,
    source: str = "the sentences of the tasks",
    remark: str = "",
    examples: int = 3,
    draws: int = 10_000,
    clustered: bool | None = None,
    seed: int = 0,
    program: str = "simcse-kit",
) -> Report:
    """Measure everything, one model in memory at a time.

    Args:
        subjects: the models; the first is the one the others are compared with.
        named: the protocol of the figures.
        training: training data to look for in the tasks' sentences.
        training_columns: our names to those of its columns, as for `read_rows`.
        sentences: what neighbours are looked for in, and what to call it (`source`); default:
            the sentences of the tasks.
        remark: of the report's author, for its readers: what they have to know of the models.
        examples: how many sentences with neighbours, and misjudged pairs of each kind, to show.
        draws, clustered, seed: of the intervals (see `sts_intervals.intervals`).
        program: what the command is called in `made`.

    Raises:
        InputError: no models or two of one name, and as `evaluate`, `measure_space` and
            `training_leakage` do.
    """
    from simcse_kit.evaluation import provenance

    names = [subject.name for subject in subjects]
    if not names or len(set(names)) < len(names):
        raise InputError(f"A report is of models with different names, not of {names}.")
    clock = _Clock()
    leakage = _leakage(
        tasks, training, training_columns
    )  # first, for it finds mistakes in the files
    clock.lap("leakage")
    pool = list(sentences) if sentences is not None else _texts(tasks)
    measured: list[_Measured] = []
    for subject in subjects:
        measured.append(_measure(subject, tasks, named, pool))
        clock.lap(f"embed and judge {subject.name}")

    results = {one.result.model: one.result for one in measured}
    comparison, sure = None, {}
    options: dict[str, Any] = {"draws": draws, "clustered": clustered, "seed": seed}
    if len(results) > 1:
        comparison = compare_results({n: [r] for n, r in results.items()}, tasks, **options)
        sure = comparison.intervals
    else:
        sure = {name: intervals(result, tasks, **options) for name, result in results.items()}
    clock.lap("intervals and comparisons")

    models = tuple(
        ModelReport(
            subject.name,
            one.result,
            sure[subject.name],
            _space(one, tasks, seed),
            _bands(one.result, tasks),
            subject.run,
        )
        for subject, one in zip(subjects, measured, strict=True)
    )
    beside = _references(models)
    clock.lap("geometry")
    near = neighbourhoods(
        pool, {one.result.model: one.pool for one in measured}, source, shown=examples, seed=seed
    )
    cosines = {name: result.cosines for name, result in results.items()}
    worst = {name: misjudged(tasks, cosines, name, each=examples) for name in names[1:] or names}
    clock.lap("neighbours and misjudged pairs")
    kinds = {one.encoder for one in measured}
    known = {task.name for task in tasks}
    rows = [row for row in published(named.name) if row.encoder in kinds and known & {*row.scores}]
    made = provenance(program) | {"seed": seed, "seconds": clock.seconds}
    return Report(
        models, comparison, tuple(rows), beside, near, worst, leakage, made, remark.strip()
    )


class _Clock:
    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        now = time.perf_counter()
        self.seconds[name], self._last = round(now - self._last, 2), now
        logger.info("%s: %.1f s", name, self.seconds[name])


@dataclass(frozen=True, eq=False)
class _Measured:
    """A model's result, its embeddings by text, those of the pool, and what encoder it is like."""

    result: STSResult
    rows: Mapping[str, int]
    embeddings: np.ndarray
    pool: np.ndarray
    encoder: str


class _Once:
    """An encoder that keeps what it embeds."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self.rows: dict[str, int] = {}
        self.embeddings = np.zeros((0, 0), dtype=np.float32)

    def __getattr__(self, name: str) -> Any:  # precision, pooling… as the encoder has them
        return getattr(self._encoder, name)

    def encode(self, texts: list[str], **kwargs: Any) -> np.ndarray:
        self.rows = distinct(texts)
        self.embeddings = as_array(self._encoder.encode(texts, **kwargs))
        return self.embeddings


def _measure(
    subject: Subject, tasks: Sequence[PairTask], named: Protocol, pool: Sequence[str]
) -> _Measured:
    encoder = subject.load()
    once = _Once(encoder)
    options = {"show_progress": True} if hasattr(encoder, "backbone") else {}
    result = judge(
        once,
        tasks,
        aggregation=named.aggregation,
        suite=named.suite,
        encode_kwargs=options,
        name=subject.name,
    )
    sources = {task: short(source) for task, source in result.protocol["sources"].items()}
    result = replace(result, protocol=result.protocol | {"sources": sources, "name": named.name})
    settings = getattr(getattr(encoder, "backbone", None), "config", None)
    family, width = getattr(settings, "model_type", ""), getattr(settings, "hidden_size", 0)
    kind = nearest_encoder(family, width)
    if all(text in once.rows for text in pool):
        near = once.embeddings[[once.rows[text] for text in pool]]
    else:
        near = embed(encoder, list(pool), options)
    return _Measured(result, once.rows, once.embeddings, near, kind)


def _texts(tasks: Sequence[PairTask]) -> list[str]:
    return list(distinct(text for task in tasks for text in (*task.sentence1, *task.sentence2)))


def _geometry_task(result: STSResult, tasks: Sequence[PairTask]) -> PairTask:
    named = {task.name: task for task in tasks}
    return named[result.geometry.task] if result.geometry else tasks[0]


def _space(one: _Measured, tasks: Sequence[PairTask], seed: int) -> Space:
    """The geometry of the sentences that the alignment and uniformity of the table are of."""
    from simcse_kit.geometry import measure_space

    task = _geometry_task(one.result, tasks)
    texts = _texts([task])
    numbers = {text: number for number, text in enumerate(texts)}
    of_pairs: dict[str, Any] = {}
    if one.result.geometry is not None:
        both = zip(task.sentence1, task.sentence2, strict=True)
        of_pairs = {
            "pairs": np.array([[numbers[text] for text in pair] for pair in both]),
            "gold": task.gold,
            "threshold": one.result.geometry.threshold,
        }
    lengths = np.array([length_in_words(text) for text in texts], dtype=float)
    return measure_space(
        one.embeddings[[one.rows[text] for text in texts]],
        lengths=lengths,
        batch=min(_NEGATIVES, len(texts)),
        k=min(_NEIGHBOURS, len(texts) - 1),
        seed=seed,
        **of_pairs,
    )


def _references(models: Sequence[ModelReport]) -> tuple[Reference, ...]:
    """What the spaces stand beside; the even sphere where all have the same dimension."""
    from simcse_kit.geometry import MEASURED, references

    sentences = f"{models[0].bands.task} ({models[0].bands.split})"
    if len({model.space.dimension for model in models}) > 1:
        return MEASURED.get(sentences, ())
    return references(models[0].space, sentences)


def _bands(result: STSResult, tasks: Sequence[PairTask]) -> Bands:
    from simcse_kit.geometry import band_edges

    task = _geometry_task(result, tasks)
    cosines, edges = result.cosines[task.name], band_edges(task.gold)
    band = np.clip(np.searchsorted(edges, task.gold, side="right") - 1, 0, len(edges) - 2)
    inside = [cosines[band == number] for number in range(len(edges) - 1)]
    split = result.protocol["splits"][task.name]
    return Bands(
        task.name, split, tuple(edges.tolist()), tuple(inside), _separation(inside[0], inside[-1])
    )


def _separation(low: np.ndarray, high: np.ndarray) -> float | None:
    """P(cosine of `high` > cosine of `low`), ties counted half: Mann and Whitney's U / nm."""
    from scipy.stats import rankdata

    if not (len(low) and len(high)):
        return None
    ranks = rankdata(np.concatenate([high, low]))[: len(high)]
    least = len(high) * (len(high) + 1) / 2
    return float((ranks.sum() - least) / (len(high) * len(low)))


def _leakage(
    tasks: Sequence[PairTask], training: Path | str | None, columns: Mapping[str, str] | None
) -> LeakageReport:
    from simcse_kit.evaluation.leakage import check_leakage, hash_task

    found = check_leakage(
        [hash_task(task) for task in tasks], training, columns=columns, examples=1
    )
    if found.training is None:
        return found
    return replace(found, training=replace(found.training, source=short(found.training.source)))
