"""What came of mining: how many candidates each rule took out, and how hard the negatives are."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from simcse_kit.errors import InputError
from simcse_kit.evaluation.mining.blocks import TAKEN, Arrays, Plan
from simcse_kit.evaluation.mining.rules import Rules, as_options
from simcse_kit.evaluation.mining.written import OutputFormat
from simcse_kit.evaluation.tables import Cell, Cells

_QUANTILES = {"min": 0.0, "25%": 0.25, "median": 0.5, "75%": 0.75, "max": 1.0}

#: What is said of each rule; the name is that of `Rules`.
_SAID = {
    "absolute_margin": "closer than the absolute margin",
    "relative_margin": "closer than the relative margin",
    "max_score": "above the highest score",
    "min_score": "below the lowest score",
    "guide": "the guide's word",
    "range_min": "nearest passed over",
    "not_needed": "left, not needed",
}


class NoNegatives(InputError):
    """No row would be written, for no anchor has so many negatives as a row must have.

    Attributes:
        source: the rows. problem: what there is of them, by names of `Rules`.
        rule: that which took most candidates out; None: there are too few.
    """

    def __init__(self, source: str, problem: str, rule: str | None, advice: str) -> None:
        said = f"{problem}; {advice}"
        super().__init__(f"{source}: {said}", command_line=f"{source}: {as_options(said)}")
        self.source, self.problem, self.rule, self.advice = source, problem, rule, advice

    def __reduce__(self) -> tuple[type[NoNegatives], tuple[str, str, str | None, str]]:
        """For other processes: an exception is made anew of its message alone."""
        return NoNegatives, (self.source, self.problem, self.rule, self.advice)


@dataclass(frozen=True)
class Mined:
    """What was mined.

    Attributes:
        anchors, candidates, pairs: different ones.
        repeated: rows whose pair stands in an earlier row.
        own, linked: candidates that were none for an anchor: its own text, or linked with it by a
            row. They are in no other count.
        looked_at: the nearest candidates of all anchors, at most `range_max` of each.
        taken_out: of these, how many each rule took of what those before it left; the last are
            those that were left and not needed.
        taken: negatives, all anchors together.
        short, without: anchors with fewer negatives than asked, and those of them with none.
        rows: written. pairs_left_out: pairs that no row was written for.
        scores: mean and quantiles of the cosines of pairs, of negatives, and of how far the
            negatives of a pair are below it.
        protocol: data, models and settings.
    """

    anchors: int
    candidates: int
    pairs: int
    repeated: int
    own: int
    linked: int
    looked_at: int
    taken_out: dict[str, int]
    taken: int
    short: int
    without: int
    rows: int
    pairs_left_out: int
    scores: dict[str, dict[str, float]]
    protocol: dict[str, Any]

    def to_json(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)


@dataclass
class Tally:
    """Blocks counted together."""

    plan: Plan
    looked_at: int = 0
    taken_out: dict[str, int] = field(default_factory=dict)
    _negatives: list[np.ndarray] = field(default_factory=list)  # float32 (n, num_negatives)
    _positives: list[np.ndarray] = field(default_factory=list)  # float32 (p,)

    def add(self, arrays: Arrays) -> None:
        """Count a block's arrays, in their order."""
        self.looked_at += int(arrays["looked_at"])
        for name, count in arrays.items():
            if name.startswith(TAKEN):
                rule = name.removeprefix(TAKEN)
                self.taken_out[rule] = self.taken_out.get(rule, 0) + int(count)
        self._negatives.append(arrays["scores"].astype(np.float32))
        self._positives.append(arrays["positives"].astype(np.float32))

    def check(self, source: str, output_format: OutputFormat) -> None:
        """Raise `NoNegatives` where no pair would be written."""
        least = _least(output_format, self.plan.rules)
        most = max(int(np.isfinite(each).sum(axis=1).max()) for each in self._negatives)
        if most >= least:
            return
        said = f"no anchor has {least} negatives, the most is {most}" if most else "no negatives"
        name, out = max(self.taken_out.items(), key=lambda one: one[1])
        rule = {"guide": "guide_margin"}.get(name, name) if out else None
        if rule is not None:
            said += f": {rule} took out {out:,} of {self.looked_at:,} candidates"
            advice = "loosen it, raise range_max"
        else:
            said += f": there are only {len(self.plan.pool.candidates):,} candidates"
            advice = "give a corpus"
        advice += ", or write triplets" if most else ""
        raise NoNegatives(source, said, rule, advice)

    def mined(self, rows: int, output_format: OutputFormat, protocol: dict[str, Any]) -> Mined:
        """All of it."""
        pool, asked = self.plan.pool, self.plan.rules.num_negatives
        negatives, positives = np.concatenate(self._negatives), np.concatenate(self._positives)
        there = np.isfinite(negatives)
        counts = there.sum(axis=1)
        least = _least(output_format, self.plan.rules)
        below = positives[:, None] - negatives[pool.anchor]
        scores = {
            "positive": positives,
            "negative": negatives[there],
            "difference": below[np.isfinite(below)],
        }
        return Mined(
            anchors=len(pool.anchors),
            candidates=len(pool.candidates),
            pairs=len(pool.anchor),
            repeated=pool.repeated,
            own=pool.own,
            linked=pool.linked,
            looked_at=self.looked_at,
            taken_out=self.taken_out,
            taken=int(there.sum()),
            short=int((counts < asked).sum()),
            without=int((counts == 0).sum()),
            rows=rows,
            pairs_left_out=int((counts[pool.anchor] < least).sum()),
            scores={name: _summary(each) for name, each in scores.items()},
            protocol=protocol,
        )


def _least(output_format: OutputFormat, rules: Rules) -> int:
    """How many negatives an anchor's pairs are written with at least."""
    return rules.num_negatives if output_format == "n-tuple" else 1


def _summary(values: np.ndarray) -> dict[str, float]:
    quantiles = np.quantile(values, list(_QUANTILES.values())).tolist()
    mean = {"mean": float(values.mean(dtype=np.float64))}
    return mean | dict(zip(_QUANTILES, quantiles, strict=True))


def outcome_cells(mined: Mined) -> list[tuple[str, Cells]]:
    """Two tables with their titles: what became of the candidates, and the scores."""
    rules = mined.protocol["rules"]
    counts = [("looked at", mined.looked_at)]
    for name, count in mined.taken_out.items():
        setting = rules.get({"guide": "guide_margin"}.get(name, name))
        counts.append((_SAID[name] + ("" if setting is None else f" ({setting:g})"), count))
    counts.append(("taken as negatives", mined.taken))
    share = [
        (said, [Cell(f"{count:,}"), Cell(f"{count / max(1, mined.looked_at):.1%}")])
        for said, count in counts
    ]
    scores = [
        (name, [Cell(f"{value:.4f}") for value in each.values()])
        for name, each in mined.scores.items()
    ]
    header = ["mean", *_QUANTILES]
    return [
        ("Candidates", Cells(["number", "share"], share, [], [], corner="Nearest candidates")),
        ("Cosines", Cells(header, scores, [], [], corner="")),
    ]


def outcome_sentences(mined: Mined) -> list[str]:
    """What else is to be known, a sentence each."""
    protocol = mined.protocol
    asked = protocol["rules"]["num_negatives"]
    repeated = f" ({mined.repeated:,} rows repeat one)" if mined.repeated else ""
    said = [
        f"{mined.rows:,} rows of {mined.pairs:,} different pairs{repeated}: {mined.anchors:,}"
        f" anchors, {mined.candidates:,} candidates.",
        f"Never candidates: {mined.linked:,} texts linked with their anchor by a row, and"
        f" {mined.own:,} that are the anchor itself.",
    ]
    if mined.short:
        said.append(
            f"{mined.short:,} of {mined.anchors:,} anchors got fewer than {asked} negatives,"
            f" {mined.without:,} of them none; {mined.pairs_left_out:,} pairs are left out."
        )
    if protocol["index_recall"] is not None:
        said.append(
            f"The index found {protocol['index_recall']:.1%} of the nearest candidates (exact"
            " search beside it for some of the anchors)."
        )
    return said
