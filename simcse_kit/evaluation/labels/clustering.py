"""Clustering: do the clusters that k-means finds in a space agree with labels?

K-means as MTEB's clustering tasks run it (mteb 2, `AbsTaskClustering`): scikit-learn's
MiniBatchKMeans with as many clusters as labels, batches of 512 and one k-means++ start, on the
embeddings as the model gives them. MTEB runs it on ten samples of at most 16,384 texts, drawn with
replacement, with one seed; here it is run on all the texts, with ten seeds.

The V-measure (Rosenberg & Hirschberg 2007, β = 1; the same as NMI with the arithmetic mean) is
MTEB's main score. Unlike the other two it is not corrected for chance, and grows with the number of
labels: the adjusted mutual information (Vinh et al. 2010) and the adjusted Rand index (Hubert &
Arabie 1985) are 0 for random clusters.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Unpack

import numpy as np

from simcse_kit.data import Reading, read_rows
from simcse_kit.errors import InputError
from simcse_kit.evaluation.embedding import Encoder, distinct, embed, model_name, model_settings
from simcse_kit.evaluation.labels.repeats import same_texts
from simcse_kit.evaluation.task_result import Figure, TaskResult
from simcse_kit.geometry import finite_rows

_BATCH = 512


@dataclass(frozen=True, eq=False)
class LabelledTask:
    """N texts, each with a label."""

    name: str
    texts: list[str]
    labels: list[str]
    source: str


def load_labelled(
    path: Path | str, columns: Mapping[str, str] | None = None, **reading: Unpack[Reading]
) -> LabelledTask:
    """Texts and labels from a file with the columns text and label, or with others by mapping.

    Raises InputError as `read_rows` where these two are wanted.
    """
    rows = read_rows(path, columns=columns, wanted=("text", "label"), **reading)
    assert rows.labels is not None  # they were wanted
    name, texts = Path(path).name.split(".")[0], [*rows.columns["text"]]
    return LabelledTask(name, texts, [*rows.labels], str(path))


def cluster_agreement(
    embeddings: Any, labels: Sequence[str], *, seeds: Sequence[int] = tuple(range(10))
) -> dict[str, np.ndarray]:
    """V-measure, adjusted mutual information and adjusted Rand index ×100 of each seed.

    Args:
        embeddings: (N, D); their lengths count, as in MTEB.
        labels: N of them, of at least two kinds.
        seeds: of k-means, a run each.

    Returns:
        {"v_measure": (S,), "ami": (S,), "ari": (S,)}.

    Raises:
        InputError: one label for all, a label of its own for each, or sizes that differ.
    """
    from sklearn.cluster import MiniBatchKMeans
    from sklearn.metrics import adjusted_mutual_info_score, adjusted_rand_score, v_measure_score

    rows = finite_rows(embeddings, "embeddings").cpu().numpy()
    kinds = _kinds(labels, len(rows))
    if not seeds:
        raise InputError("There is no seed to run k-means with: give at least one.")
    measures = {
        "v_measure": v_measure_score,
        "ami": adjusted_mutual_info_score,
        "ari": adjusted_rand_score,
    }
    scores: dict[str, list[float]] = {name: [] for name in measures}
    for seed in seeds:
        kmeans = MiniBatchKMeans(
            kinds, batch_size=_BATCH, init="k-means++", n_init=1, random_state=seed
        )
        clusters = kmeans.fit_predict(rows)
        for name, measure in measures.items():
            scores[name].append(100 * float(measure(labels, clusters)))
    return {name: np.array(values) for name, values in scores.items()}


def _kinds(labels: Sequence[str], n: int) -> int:
    """The number of different labels, 2 to N − 1."""
    if len(labels) != n:
        raise InputError(f"{n} embeddings and {len(labels)} labels: every text needs one.")
    kinds = len(set(labels))
    if kinds < 2 or kinds == n:
        found = "one label for all" if kinds < 2 else "a label of its own for each"
        raise InputError(
            f"The {n:,} texts have {found}: there are no clusters to find; check the label column."
        )
    return kinds


def evaluate_clustering(
    model: Encoder,
    task: LabelledTask,
    *,
    seeds: Sequence[int] = tuple(range(10)),
    encode_kwargs: Mapping[str, Any] | None = None,
    name: str | None = None,
) -> TaskResult:
    """Cluster the texts of a task, each once: means over k-means' seeds and standard deviations.

    Args:
        seeds: of k-means, a run each.
        encode_kwargs: passed on to `model.encode`.
        name: what to call the model; its own `name` by default.

    Raises:
        InputError: as `embed` and `cluster_agreement`.
    """
    # Copies of a text are in one cluster whatever the space; of two labels, they are two examples.
    first: dict[tuple[int, str], int] = {}
    for row, pair in enumerate(zip(same_texts(task.texts).tolist(), task.labels, strict=True)):
        first.setdefault(pair, row)
    rows = list(first.values())
    texts, labels = ([column[row] for row in rows] for column in (task.texts, task.labels))
    again = len(task.texts) - len(texts)
    said = f" {again:,} texts repeat another of their label, and are left out." if again else ""
    kinds = _kinds(labels, len(texts))
    places = distinct(texts)
    embeddings = embed(model, list(places), encode_kwargs)[[places[text] for text in texts]]
    scores = cluster_agreement(embeddings, labels, seeds=seeds)
    return TaskResult(
        model=name or model_name(model),
        task=task.name,
        figures={
            figure: Figure(
                float(values.mean()), sd=float(values.std(ddof=1)) if len(values) > 1 else None
            )
            for figure, values in scores.items()
        },
        protocol={
            "clustering": f"MiniBatchKMeans, batches of {_BATCH}, one k-means++ start, as in MTEB",
            "sample": "all texts, where MTEB draws ten samples",
            "texts": len(texts),
            "repeated_texts": again,
            "labels": kinds,
            "seeds": list(seeds),
            "by_seed": {figure: values.tolist() for figure, values in scores.items()},
            "source": task.source,
        }
        | model_settings(model, encode_kwargs),
        summary=(
            f"×100, k-means on {len(texts):,} texts with {kinds:,} labels, mean and standard"
            f" deviation over {len(seeds)} seeds.{said}"
        ),
    )
