"""Judge an encoder on STS tasks under the SimCSE/SentEval protocol.

Cosines of the two embeddings of each pair against gold scores, by rank; no regressor is trained.
Aggregation over the subsets of STS12–16: "all" is one correlation over the concatenated pairs
(SimCSE, SBERT), "mean" the plain mean over the subsets, "wmean" weighted by their sizes. The
three differ by points, so the protocol stands beside every number.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal, get_args

import numpy as np

from simcse_kit.errors import InputError
from simcse_kit.evaluation.embedding import (
    Encoder,
    distinct,
    embed,
    model_name,
    model_settings,
    pair_cosines,
    say_by_cosine,
)
from simcse_kit.evaluation.sts.protocols import MTEB_SUITE, protocol_of
from simcse_kit.evaluation.sts.tasks import (
    PUBLISHED,
    SUBSET_TASKS,
    SUITE,
    Counts,
    PairTask,
    load_stsb,
    load_tasks,
)
from simcse_kit.geometry import alignment, close_above, scale_of, uniformity

__all__ = [
    "PUBLISHED",
    "SUITE",
    "Aggregation",
    "Counts",
    "Geometry",
    "PairTask",
    "STSResult",
    "Score",
    "TaskScore",
    "evaluate",
    "load_stsb",
    "load_tasks",
]

logger = logging.getLogger(__name__)

Aggregation = Literal["all", "mean", "wmean"]
# Highest gold scores of two subsets that differ by this factor are of two scales. Those of STS12–16
# go from 4 to 5; a scale of 0 to 1, or to 100, among scales of 0 to 5 differs by 5 or 20.
_OTHER_SCALE = 4
# Embeddings that are equal but for a few float32 roundings have cosines this close together, and
# ranks of rounding errors would pass for a score. (A cosine falls with the square of a difference.)
_CONSTANT = 1e-9


@dataclass(frozen=True)
class Score:
    """Correlations ×100 over `n` pairs."""

    spearman: float
    pearson: float
    n: int


@dataclass(frozen=True)
class TaskScore(Score):
    """A task's score, and that of each of its subsets ({} where they are unknown)."""

    subsets: dict[str, Score]


@dataclass(frozen=True)
class Geometry:
    """Alignment of the close pairs and uniformity of the sentences of one task.

    `pairs` is the number of pairs with gold > `threshold` on the scale of its scores, `sentences`
    that of distinct sentences. Values for another split, threshold or number of sentences are not
    comparable.
    """

    alignment: float
    uniformity: float
    task: str
    split: str
    threshold: float
    pairs: int
    sentences: int
    scale: tuple[float, float] = (0.0, 5.0)


@dataclass(frozen=True, eq=False)
class STSResult:
    """What `evaluate` measured. All scores ×100.

    `average` is the mean Spearman over `average_over`: the protocol's seven tasks where they were
    asked for, else every task that was. `cosines` holds each task's cosines (N,), for plots and
    intervals.
    """

    model: str
    tasks: dict[str, TaskScore]
    average: float
    average_over: tuple[str, ...]
    geometry: Geometry | None
    protocol: dict[str, Any]
    cosines: dict[str, np.ndarray]

    def to_json(self) -> dict[str, Any]:
        """Plain values, ready for `json.dumps`; `cosines` stay out."""
        return {
            "model": self.model,
            "tasks": {name: asdict(score) for name, score in self.tasks.items()},
            "average": self.average,
            "geometry": asdict(self.geometry) if self.geometry else None,
            "protocol": self.protocol,
        }


def evaluate(
    model: Encoder,
    tasks: Sequence[PairTask],
    *,
    aggregation: Aggregation = "all",
    geometry: PairTask | None = None,
    alignment_threshold: float | None = None,
    suite: Sequence[str] | None = None,
    encode_kwargs: Mapping[str, Any] | None = None,
    name: str | None = None,
) -> STSResult:
    """Score `model` on `tasks`, and the geometry of its space on one of them.

    Every distinct sentence is embedded once, in a single call of `model.encode`.

    Args:
        model: any object with `encode(list[str]) -> array (N, D)`.
        aggregation: over the subsets of STS12–16; tasks without subsets are one correlation
            under all three. "mean" and "wmean" need data with subset labels.
        geometry: the task alignment and uniformity are measured on. None: STS-B test where it
            is among `tasks`, else the first task that has a pair above the threshold.
        alignment_threshold: alignment is over pairs with gold strictly above it; by default four
            fifths of the scale (`geometry.close_above`), 4 where it goes to 5.
        suite: the tasks of the average where all of them are among `tasks`, and others beside them
            do not count; by default the seven with SICKR, or else with SICKR-MTEB.
        encode_kwargs: passed on to `model.encode`.
        name: what to call the model in the result; its own `name` by default.

    Raises:
        InputError: constant gold or cosines (no Spearman), subsets on different scales ranked
            as one ("all"), non-finite or zero embeddings, a wrong number of rows from `encode`,
            no pair above the threshold.
    """
    _check_request(tasks, aggregation)
    if geometry is None:
        geometry = _geometry_task(tasks, alignment_threshold)
    judged = [*tasks] if geometry is None or geometry in tasks else [*tasks, geometry]
    row = distinct(text for task in judged for text in (*task.sentence1, *task.sentence2))
    say_by_cosine(model)
    embeddings = embed(model, list(row), encode_kwargs)

    cosines = {task.name: _cosines(task, row, embeddings) for task in tasks}
    scores = {task.name: _score(task, cosines[task.name], aggregation) for task in tasks}
    suites = (SUITE, MTEB_SUITE) if suite is None else (tuple(suite),)
    over = next((one for one in suites if set(one) <= scores.keys()), tuple(scores))
    return STSResult(
        model=name or model_name(model),
        tasks=scores,
        average=float(np.mean([scores[task].spearman for task in over])),
        average_over=over,
        geometry=_geometry(geometry, row, embeddings, alignment_threshold) if geometry else None,
        protocol=_protocol(model, tasks, aggregation, over, dict(encode_kwargs or {})),
        cosines=cosines,
    )


def _check_request(tasks: Sequence[PairTask], aggregation: str) -> None:
    if aggregation not in get_args(Aggregation):
        raise InputError(f"The aggregation is all, mean or wmean, not {aggregation!r}.")
    names = [task.name for task in tasks]
    if not names:
        raise InputError("There is no task to evaluate on: give at least one.")
    if len(set(names)) < len(names):
        raise InputError(f"Two tasks have one name ({', '.join(names)}): name each differently.")
    for task in tasks:
        if aggregation != "all" and task.name in SUBSET_TASKS and not task.subsets:
            raise InputError(
                f"{aggregation!r} is a mean over subsets, and {task.name} from {task.source} has"
                ' no subset labels: give a SentEval folder with --data-dir, or take "all".'
            )
        if aggregation == "all":
            _check_scales(task)


def _check_scales(task: PairTask) -> None:
    """Refuse to rank scores of two scales as one. Scales up to 5 and up to 10 look alike here."""
    highest = {name: float(task.gold[part].max()) for name, part in task.subsets.items()}
    if not highest:
        return
    low, high = min(highest, key=highest.__getitem__), max(highest, key=highest.__getitem__)
    if 0 < _OTHER_SCALE * highest[low] <= highest[high]:
        raise InputError(
            f"The gold scores of {task.name} ({task.source}) are on two scales: those of {high} go"
            f" up to {highest[high]:g}, those of {low} up to {highest[low]:g}, and one correlation"
            ' over both ranks the scales; rescale one of them, or take "mean" or "wmean".'
        )


def _geometry_task(tasks: Sequence[PairTask], threshold: float | None) -> PairTask | None:
    stsb_first = sorted(tasks, key=lambda task: task.name != "STSB")
    for task in stsb_first:
        if (task.gold > (close_above(task.gold) if threshold is None else threshold)).any():
            return task
    above = "four fifths of its scale" if threshold is None else f"{threshold:g}"
    logger.warning("no pair has a gold score above %s: geometry is not measured", above)
    return None


def _cosines(task: PairTask, row: Mapping[str, int], embeddings: np.ndarray) -> np.ndarray:
    """Cosine of each pair of the task (N,), float64."""
    sides = [[row[text] for text in texts] for texts in (task.sentence1, task.sentence2)]
    return pair_cosines(*(embeddings[side] for side in sides))


def _score(task: PairTask, cosines: np.ndarray, aggregation: str) -> TaskScore:
    subsets = {
        name: _correlate(cosines[part], task.gold[part], f"{task.name} {name}")
        for name, part in task.subsets.items()
    }
    if aggregation == "all" or not subsets:
        whole = _correlate(cosines, task.gold, task.name)
        return TaskScore(**asdict(whole), subsets=subsets)
    weights = [score.n if aggregation == "wmean" else 1 for score in subsets.values()]
    spearman = np.average([score.spearman for score in subsets.values()], weights=weights)
    pearson = np.average([score.pearson for score in subsets.values()], weights=weights)
    return TaskScore(float(spearman), float(pearson), len(task), subsets)


def _correlate(cosines: np.ndarray, gold: np.ndarray, where: str) -> Score:
    """Spearman (ties by mean rank) and Pearson, ×100; InputError where there is none."""
    from scipy.stats import pearsonr, spearmanr

    if len(gold) < 3:
        raise InputError(f"{where} has {len(gold)} pair(s): a correlation needs at least 3.")
    if np.ptp(gold) == 0:
        raise InputError(
            f"Every gold score of {where} is {gold[0]:g}: constant scores have no correlation."
        )
    if np.ptp(cosines) < _CONSTANT:
        raise InputError(
            f"The model gives every pair of {where} the same cosine ({cosines[0]:.6f}), which has"
            " no correlation with anything: its space has collapsed."
        )
    spearman, pearson = spearmanr(cosines, gold).statistic, pearsonr(cosines, gold).statistic
    return Score(100 * float(spearman), 100 * float(pearson), len(gold))


def _geometry(
    task: PairTask, row: Mapping[str, int], embeddings: np.ndarray, threshold: float | None
) -> Geometry:
    threshold = close_above(task.gold) if threshold is None else threshold
    close = np.flatnonzero(task.gold > threshold)
    if not len(close):
        raise InputError(
            f"{task.name} has no pair with a gold score above {threshold:g} (the highest is"
            f" {task.gold.max():g}), so alignment is over nothing: lower the threshold."
        )
    # Of the task's own sentences, each once: a repeated one is a pair at distance zero.
    own = distinct([*task.sentence1, *task.sentence2])
    return Geometry(
        alignment=alignment(
            embeddings[[row[task.sentence1[i]] for i in close]],
            embeddings[[row[task.sentence2[i]] for i in close]],
        ),
        uniformity=uniformity(embeddings[[row[text] for text in own]]),
        task=task.name,
        split=task.split,
        threshold=threshold,
        pairs=len(close),
        sentences=len(own),
        scale=scale_of(task.gold),
    )


def _protocol(
    model: Any,
    tasks: Sequence[PairTask],
    aggregation: str,
    over: tuple[str, ...],
    encode_kwargs: Mapping[str, Any],
) -> dict[str, Any]:
    """What a reader needs to compare the numbers: how, on what, and with which settings."""
    protocol: dict[str, Any] = {
        "scale": "correlations x 100, from -100 to 100",
        "similarity": "cosine",
        "aggregation": aggregation,
        "average_over": list(over),
        "splits": {task.name: task.split for task in tasks},
        "sources": {task.name: task.source for task in tasks},
        "text": _casing(tasks),
    }
    protocol["name"] = protocol_of(protocol).name
    return protocol | model_settings(model, encode_kwargs)


def _casing(tasks: Sequence[PairTask]) -> str:
    """SentEval's preprocessing lower-cases and tokenises; MTEB's data keep the original text."""
    # SICK keeps its capitals in both, so it says nothing.
    named = [task for task in tasks if not task.name.startswith("SICK")]
    letters = "".join(text for task in named for text in task.sentence1 + task.sentence2)
    if letters == letters.upper():  # nothing, or a script without case
        return "as in the source"
    return "lower-cased" if letters == letters.lower() else "original case"
