"""What a run is judged on while it trains: scored pairs, or pairs held out of its own rows."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from simcse_kit.compute import logger_level
from simcse_kit.data import Rows, for_markdown
from simcse_kit.encoder import SentenceEncoder
from simcse_kit.evaluation import distinct, embed, plots
from simcse_kit.evaluation.search import Relevance, by_query
from simcse_kit.evaluation.statistics import (
    Figure,
    PairScores,
    bootstrap,
    mean_estimates,
    resample_together,
)
from simcse_kit.evaluation.sts import (
    PairTask,
    STSResult,
    evaluate,
    intervals,
    markdown_table,
    numbered_sentences,
)
from simcse_kit.geometry import alignment, uniformity
from simcse_kit.training.rows.held_out import hold_out
from simcse_kit.training.settings.config import TrainConfig

_DRAWS = 2_000  # for the interval on a card, which is written with every new best step
_FOR_UNIFORMITY = 5_000  # texts, of which every pair is looked at
_HELD_OUT_METRICS = ("recall@1", "mrr")


class DevSet(Protocol):
    """Judges an encoder; the step with the highest key figure is chosen.

    Attributes:
        name: what the key figure is and of what, for instance "STSB-dev Spearman".
        figure: the key figure's name in the history, beginning with ``eval_``.
    """

    @property
    def name(self) -> str: ...
    @property
    def figure(self) -> str: ...
    @property
    def key(self) -> str:
        """Equal for sets that score alike: of the same texts, judged the same."""

    def __len__(self) -> int:
        """Pairs."""

    @property
    def texts(self) -> Collection[str]:
        """The different texts of the pairs."""

    @property
    def items(self) -> np.ndarray:
        """What the last score makes of each pair, float64 (N,)."""

    def score(self, encoder: SentenceEncoder) -> dict[str, float]:
        """Figures of the encoder as it is, `figure` among them; InputError where there is none."""

    def together(self, items: np.ndarray, *, draws: int) -> Figure:
        """The key figure of M encoders by their `items` (M, N), on the same resamples of pairs."""

    def table(self, model: str) -> str:
        """The last scores as Markdown, with their intervals."""

    def draw(self, encoder: SentenceEncoder, folder: Path) -> None:
        """Pictures of this encoder on the set."""


@dataclass
class ScoredPairs:
    """Pairs with gold scores: Spearman ×100, as in STS."""

    task: PairTask
    figure: str = field(default="eval_spearman", init=False)
    _judged: STSResult | None = field(default=None, init=False)

    @property
    def name(self) -> str:
        name, split = self.task.name, self.task.split
        return f"{name} Spearman" if name.endswith(f"-{split}") else f"{name} {split} Spearman"

    @property
    def key(self) -> str:
        task = self.task
        return _digest(self.name, *task.sentence1, *task.sentence2, *task.gold.tolist())

    def __len__(self) -> int:
        return len(self.task)

    @property
    def texts(self) -> Collection[str]:
        return distinct([*self.task.sentence1, *self.task.sentence2])

    @property
    def items(self) -> np.ndarray:
        """Cosines."""
        assert self._judged is not None
        return self._judged.cosines[self.task.name]

    def together(self, items: np.ndarray, *, draws: int) -> Figure:
        return resampled([self.task], {self.task.name: items}, draws=draws)

    def score(self, encoder: SentenceEncoder) -> dict[str, float]:
        """Spearman ×100; alignment and uniformity, where some pair's score is high enough."""
        again = self._judged is not None
        with _quiet(warnings=not again):  # what is to be said of the set is said once
            result = self._judged = evaluate(encoder, [self.task])
        figures = {self.figure: result.tasks[self.task.name].spearman}
        if result.geometry is not None:  # None where no pair scores above alignment's threshold
            figures["eval_alignment"] = result.geometry.alignment
            figures["eval_uniformity"] = result.geometry.uniformity
        return figures

    def table(self, model: str) -> str:
        assert self._judged is not None
        sure = intervals(self._judged, [self.task], draws=_DRAWS)
        return markdown_table({model: self._judged}, {model: sure}).strip()

    def draw(self, encoder: SentenceEncoder, folder: Path) -> None:
        with _quiet():
            cosines = evaluate(encoder, [self.task]).cosines[self.task.name]
        picture = folder / f"cosines_{self.task.name}.png"
        plots.cosine_densities(cosines, self.task.gold, picture, self.task.name)


class HeldOutPairs:
    """Pairs of the training data that are not trained on: does each anchor find its positive?

    Every anchor is compared with all positives and hard negatives held out but its own text: where
    a positive is an anchor elsewhere, each would else find itself. Its figures are recall@1 and
    the mean reciprocal rank, ×100, as in `simcse_kit.evaluation.search`.
    """

    figure = "eval_recall@1"

    def __init__(self, rows: Rows, document_prompt: str | None = None) -> None:
        """`document_prompt`: put before what anchors are compared with; None: as before them."""
        self.document_prompt = document_prompt
        anchors, positives, *negatives = rows.columns.values()
        queries = distinct(anchors)
        corpus = distinct(text for column in (positives, *negatives) for text in column if text)
        pairs = {(queries[a], corpus[p]) for a, p in zip(anchors, positives, strict=True)}
        query, document = np.array(sorted(pairs), dtype=np.int64).T
        self.relevance = Relevance(query, document, np.ones(len(query)))
        self.texts = distinct([*queries, *corpus])
        self.queries = np.array([self.texts[text] for text in queries])
        self.corpus = np.array([self.texts[text] for text in corpus])
        self.itself = np.array([corpus.get(text, -1) for text in queries])
        self.pairs = len(rows)
        self._values: dict[str, np.ndarray] = {}

    @property
    def name(self) -> str:
        return "held-out pairs recall@1"

    @property
    def key(self) -> str:
        found = self.relevance
        before = [] if self.document_prompt is None else [self.document_prompt]
        return _digest(
            self.name, *before, *self.texts, *found.query.tolist(), *found.document.tolist()
        )

    def __len__(self) -> int:
        return self.pairs

    @property
    def items(self) -> np.ndarray:
        """Recall@1 ×100 of each anchor."""
        return self._values["recall@1"]

    def together(self, items: np.ndarray, *, draws: int) -> Figure:
        count = items.shape[1]
        models = [partial(_mean_of, values) for values in items]
        return resample_together(models, count, draws=draws)["mean"]

    def score(self, encoder: SentenceEncoder) -> dict[str, float]:
        """Recall@1 and MRR ×100, alignment of the pairs and uniformity of their texts."""
        with _quiet():
            embeddings = documents = embed(encoder, list(self.texts))
            if self.document_prompt is not None:
                documents = embed(encoder, list(self.texts), {"prompt": self.document_prompt})
        queries, corpus = embeddings[self.queries], documents[self.corpus]
        self._values = by_query(
            queries, corpus, self.relevance, metrics=_HELD_OUT_METRICS, itself=self.itself
        )
        figures = {f"eval_{name}": float(each.mean()) for name, each in self._values.items()}
        pairs = queries[self.relevance.query], corpus[self.relevance.document]
        figures["eval_alignment"] = alignment(*pairs)
        figures["eval_uniformity"] = uniformity(embeddings[:_FOR_UNIFORMITY])
        return figures

    def table(self, model: str) -> str:
        sure = mean_estimates(self._values, draws=_DRAWS, seed=0, bounded=True)
        cells = [
            f"{each.value:.2f} ({each.interval.low:.1f} to {each.interval.high:.1f})"
            for each in sure.values()
        ]
        return (
            f"| | {' | '.join(sure)} |\n|---|{'---:|' * len(sure)}\n"
            f"| {for_markdown(model)} | {' | '.join(cells)} |\n\n"
            f"×100 with 95 % interval: {len(self.queries):,} anchors, each among"
            f" {len(self.corpus):,} texts, of {self.pairs:,} pairs held out of the training data."
        )

    def draw(self, encoder: SentenceEncoder, folder: Path) -> None:
        """Nothing: there are no gold scores to draw cosines by."""


def _mean_of(values: np.ndarray, counts: np.ndarray) -> dict[str, np.ndarray]:
    return {"mean": counts @ values / len(values)}


def resampled(
    tasks: Sequence[PairTask], cosines: Mapping[str, np.ndarray], *, draws: int
) -> Figure:
    """The Spearman ×100 of M models, the mean over the tasks, on the same resamples of pairs.

    Each task is one correlation over all its pairs; pairs that share a sentence are taken together.

    Args:
        cosines: of each task (M, N), a row a model.
    """
    numbers: dict[str, int] = {}
    samples = {
        task.name: PairScores(task.gold, cosines[task.name], numbered_sentences(task, numbers))
        for task in tasks
    }
    return bootstrap(samples, draws=draws).figure([*samples])


def _quiet(*, warnings: bool = False) -> AbstractContextManager[None]:
    """Without what evaluation says of every call: training has a line an evaluation."""
    level = logging.WARNING if warnings else logging.ERROR
    return logger_level("simcse_kit.evaluation").held(level)


def _digest(*parts: object) -> str:
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]


def scored_on(dev: DevSet, history: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The entries of a history that hold the dev set's key figure."""
    return [entry for entry in history if dev.figure in entry]


def judged_on(
    rows: Rows, eval_data: PairTask | None, config: TrainConfig
) -> tuple[Rows, DevSet | None]:
    """The rows to train on, and the dev set: the given one, or what is held out of the rows."""
    if config.eval_split is None:
        return rows, None if eval_data is None else ScoredPairs(eval_data)
    rows, held_out = hold_out(rows, config.eval_split, config.eval_split_seed)
    return rows, HeldOutPairs(held_out, config.document_prompt)
