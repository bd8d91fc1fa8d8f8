"""Everything a report says, as values; `collect` measures them, the renderings show them."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from simcse_kit.evaluation.leakage import LeakageReport
from simcse_kit.evaluation.sts import (
    Protocol,
    Published,
    STSComparison,
    STSIntervals,
    STSResult,
    protocol,
)
from simcse_kit.report.examples import Misjudged, Neighbourhoods

if TYPE_CHECKING:
    from simcse_kit.geometry import Reference, Space
    from simcse_kit.report.runs import Run


@dataclass(frozen=True, eq=False)
class Bands:
    """The cosines of a task's pairs, by band of gold score.

    Attributes:
        edges: of the bands, ascending (B + 1,); the last band holds its upper edge.
        cosines: of each band's pairs.
        separation: probability that a pair of the highest band has a higher cosine than one of
            the lowest (the area under the ROC curve), or None where one of the two is empty.
    """

    task: str
    split: str
    edges: tuple[float, ...]
    cosines: tuple[np.ndarray, ...]
    separation: float | None

    def median(self, band: int) -> float | None:
        """Of the cosines of a band, None where it has no pair."""
        return float(np.median(self.cosines[band])) if len(self.cosines[band]) else None

    def to_json(self) -> dict[str, Any]:
        """Each band by its quartiles; plain values."""
        bands = [
            {
                "from": low,
                "to": high,
                "pairs": len(inside),
                "quartiles": np.quantile(inside, [0.25, 0.5, 0.75]).tolist() if len(inside) else [],
            }
            for low, high, inside in zip(self.edges[:-1], self.edges[1:], self.cosines, strict=True)
        ]
        return {
            "task": self.task,
            "split": self.split,
            "separation": self.separation,
            "bands": bands,
        }


@dataclass(frozen=True, eq=False)
class ModelReport:
    """One model: its results with their intervals, its space, and how it was made."""

    name: str
    result: STSResult
    intervals: STSIntervals
    space: Space
    bands: Bands
    run: Run | None

    def to_json(self) -> dict[str, Any]:
        """Plain values, ready for `json.dumps`."""
        return {
            "name": self.name,
            "sts": self.result.to_json(),
            "intervals": self.intervals.to_json(),
            "geometry": self.space.to_json(),
            "bands": self.bands.to_json(),
            "run": self.run.to_json() if self.run else None,
        }


@dataclass(frozen=True, eq=False)
class Report:
    """What was found, before it is put into words and pictures.

    Attributes:
        models: in order; the first is the one the others are compared with.
        comparison: None for one model.
        published: rows of the same protocol to stand beside the measured ones.
        references: what the spaces stand beside.
        misjudged: for each model but the first (or for the only one) the pairs it ranks most too
            high, and most too low.
        made: command, date, hardware, versions, seconds.
        remark: of the report's author, for its readers; "" for none.
    """

    models: tuple[ModelReport, ...]
    comparison: STSComparison | None
    published: tuple[Published, ...]
    references: tuple[Reference, ...]
    neighbours: Neighbourhoods | None
    misjudged: dict[str, tuple[tuple[Misjudged, ...], tuple[Misjudged, ...]]]
    leakage: LeakageReport
    made: dict[str, Any]
    remark: str = ""

    @property
    def results(self) -> dict[str, STSResult]:
        """By the models' names."""
        return {model.name: model.result for model in self.models}

    @property
    def intervals(self) -> dict[str, STSIntervals]:
        """By the models' names."""
        return {model.name: model.intervals for model in self.models}

    @property
    def protocol(self) -> Protocol:
        """That of every figure here."""
        return protocol(self.models[0].result.protocol["name"])

    @property
    def pairs(self) -> int:
        """Scored pairs of the tasks of the average, those in several as often as they occur."""
        result = self.models[0].result
        return sum(score.n for task, score in result.tasks.items() if task in result.average_over)

    def beside(self, name: str) -> list[str]:
        """The first model, and the one of this name where it is another."""
        return list(dict.fromkeys([self.models[0].name, name]))

    def to_json(self) -> dict[str, Any]:
        """Plain values, ready for `json.dumps`; `made` alone differs from run to run."""
        return {
            "models": [model.to_json() for model in self.models],
            "comparison": self.comparison.to_json() if self.comparison else None,
            "published": [row.to_json() for row in self.published],
            "references": [asdict(one) for one in self.references],
            "neighbours": asdict(self.neighbours) if self.neighbours else None,
            "misjudged": {
                name: {
                    "too_high": [asdict(pair) for pair in high],
                    "too_low": [asdict(pair) for pair in low],
                }
                for name, (high, low) in self.misjudged.items()
            },
            "leakage": self.leakage.to_json(),
            "made": self.made,
            "remark": self.remark,
        }
