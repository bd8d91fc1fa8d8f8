"""What a model made of one task: figures with how sure they are, as JSON and as tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from simcse_kit.data import for_markdown, one_line
from simcse_kit.evaluation import statistics
from simcse_kit.evaluation.statistics import (
    Interval,
    alike,
    are_shared,
    resample_together,
    shared_covariance,
)

if TYPE_CHECKING:
    from rich.table import Table


@dataclass(frozen=True)
class Figure:
    """A figure; its interval over other items, or its standard deviation over seeds, if any."""

    value: float
    interval: Interval | None = None
    sd: float | None = None


class Tested(Protocol):
    """What a model was tested on, item by item, so that it can be compared with others.

    `untested` says why some figure is not compared, if so.
    """

    @property
    def untested(self) -> str: ...

    def together(
        self, models: Sequence[Any], *, draws: int, seed: int
    ) -> Mapping[str, statistics.Figure]:
        """Each figure of the models, their `Tested` given, on the same resamples of the items."""


@dataclass(frozen=True, eq=False)
class Items:
    """N items, and a model's figures ×100 where each is drawn a number of times.

    `over` {figure: n} is how many independent items a figure is over, as a share of so many would
    be: by default all. `sentences` (N, 2) are those of pairs, of which some may be in several; by
    how much each pair moves each figure are then the `shares` {figure: (N,)}.
    """

    count: int
    figures: statistics.Resampled
    over: Mapping[str, float] = field(default_factory=dict)
    shares: Mapping[str, np.ndarray] = field(default_factory=dict)
    sentences: np.ndarray | None = None
    untested: str = ""

    def together(
        self, models: Sequence[Items], *, draws: int, seed: int
    ) -> Mapping[str, statistics.Figure]:
        figures = [model.figures for model in models]
        resampled = resample_together(figures, self.count, draws=draws, seed=seed)
        found = {
            name: replace(
                figure,
                items=min(m.over.get(name, m.count) for m in models),
                freedom=max(1, self.count - 1),
            )
            for name, figure in resampled.items()
        }
        if self.sentences is None or not are_shared(self.sentences):
            return found
        together = alike(self.sentences)
        for name, figure in found.items():
            shares = np.stack([model.shares[name] for model in models])
            sharing = shared_covariance(shares, self.sentences, "the pairs")
            found[name] = replace(
                figure, independent=shares @ shares.T, sharing=sharing, alike=together
            )
        return found


def means(values: Mapping[str, np.ndarray]) -> Items:
    """Items whose figures are means of a value of each: {name: (N,)}, ×100."""
    count = len(next(iter(values.values())))
    return Items(count, lambda counts: {n: counts @ each / count for n, each in values.items()})


@dataclass(frozen=True)
class TaskResult:
    """A model's figures on a task, by name, and the protocol they are measured by.

    Figures are ×100 but thresholds, which are cosines. `summary` says in a sentence what they are
    over. `tested` is there where items can be resampled, and models so be compared.
    """

    model: str
    task: str
    figures: Mapping[str, Figure]
    protocol: Mapping[str, Any]
    summary: str
    tested: Tested | None = field(default=None, compare=False, repr=False)

    def to_json(self) -> dict[str, Any]:
        """Plain values, ready for `json.dumps`."""
        figures = {name: asdict(figure) for name, figure in self.figures.items()}
        known = {
            name: {key: value for key, value in figure.items() if value is not None}
            for name, figure in figures.items()
        }
        return {
            "model": self.model,
            "task": self.task,
            "figures": known,
            "protocol": dict(self.protocol),
        }


def table(result: TaskResult) -> Table:
    """A rich table: a row a figure. `caption` says what they are."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    header, *rows = _cells(result)
    for number, name in enumerate(header):
        drawn.add_column(
            escape(one_line(name)), justify="right" if number else "left", no_wrap=True
        )
    for row in rows:
        drawn.add_row(*(escape(one_line(cell)) for cell in row))
    return drawn


def caption(result: TaskResult) -> str:
    """What the figures are of, and over what."""
    return f"{result.model} on {result.task}: {result.summary}"


def markdown(result: TaskResult) -> str:
    """The same as GitHub Markdown, the caption in a line below."""
    header, *rows = ([for_markdown(cell) for cell in row] for row in _cells(result))
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    drawn = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"{drawn}\n\n{for_markdown(caption(result))}\n"


def _cells(result: TaskResult) -> Iterator[list[str]]:
    """The header, and a row a figure, without the columns that nothing is in."""
    levels = {f.interval.level for f in result.figures.values() if f.interval}
    spread = any(figure.sd is not None for figure in result.figures.values())
    percent = f"{100 * max(levels):g} % interval" if levels else ""
    yield ["figure", "value", *([percent] if levels else []), *(["sd"] if spread else [])]
    for name, figure in result.figures.items():
        row = [name, shown(name, figure.value)]
        if levels:
            ends = figure.interval
            row.append(f"{ends.low:.2f} to {ends.high:.2f}" if ends else "")
        if spread:
            row.append("" if figure.sd is None else f"{figure.sd:.2f}")
        yield row


def shown(name: str, value: float) -> str:
    """A figure as a reader wants it."""
    return f"{value:.4f}" if "threshold" in name else f"{value:.2f}"
