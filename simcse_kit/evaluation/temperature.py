"""A sweep of the temperature on rows of one's own: where the force of InfoNCE lies on them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from tqdm.auto import tqdm

from simcse_kit.data import Rows, linked_texts, text_numbers
from simcse_kit.encoder import SentenceEncoder, embed_as_in_training
from simcse_kit.errors import InputError
from simcse_kit.evaluation.provenance import short
from simcse_kit.evaluation.tables import Cell, Cells
from simcse_kit.geometry import BANDS, Force, Forces, Mean, forces, whole_number
from simcse_kit.objectives import equal_text_mask, linked_text_mask

#: What is swept unless told otherwise.
TEMPERATURES = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
#: What the bands of hardness are called.
BAND_NAMES = {
    "hardest": "hardest",
    "to_5_percent": "≤5%",
    "to_20_percent": "≤20%",
    "rest": "rest",
}
_ALIKE = 1e-6  # a spread of cosines that is rounding alone
_Batch = tuple[np.ndarray, np.ndarray, torch.Tensor]


@dataclass(frozen=True)
class TemperatureSweep:
    """What was found, and what it is of.

    Attributes:
        model, source: their names.
        views: "dropout twins" of texts, or given "pairs".
        rows: that were drawn, and of how many.
        settings: of the encoder and the draw, by name.
    """

    model: str
    source: str
    views: str
    rows: tuple[int, int]
    settings: dict[str, Any]
    forces: Forces

    def to_json(self) -> dict[str, Any]:
        """Plain values, ready for `json.dumps`."""
        return {
            "model": self.model,
            "source": self.source,
            "views": self.views,
            "rows": self.rows[0],
            "rows_in_source": self.rows[1],
            "settings": self.settings,
            **self.forces.to_json(),
        }


def sweep_temperatures(
    encoder: SentenceEncoder,
    rows: Rows,
    temperatures: Sequence[float] = TEMPERATURES,
    *,
    batch_size: int = 64,
    batches: int = 16,
    seed: int = 0,
    show_progress: bool = False,
) -> TemperatureSweep:
    """`geometry.forces` in batches as a first step of training sees them.

    Pairs stand with their positives and hard negatives, other rows with a second pass of
    themselves; both with the encoder's dropout. What training would not take for a negative, equal
    texts and those that a row links, is none.

    Args:
        rows: of any kind; every text of scored pairs is one of its own.
        batch_size: B rows a batch.
        batches: disjoint ones at most; fewer where there are fewer rows.
        seed: of the rows drawn, and of dropout.

    Raises:
        InputError: fewer rows than a batch, texts as twins with an encoder that has no dropout, or
            as `geometry.forces`.
    """
    size = whole_number(batch_size, "batch_size", 2)
    columns, numbers = _views(rows)
    count, twins = len(columns[0]), rows.kind != "pairs"
    rates = sorted(encoder.dropout_rates())
    if twins and not any(rates):
        raise InputError(
            f"{encoder.name} has no dropout, so that twins of a text are equal; give pairs, or a "
            "rate",
            command_line=f"{encoder.name} has no dropout, so that twins of a text are equal; give "
            "pairs, or a rate with --dropout",
        )
    if count < size:
        raise InputError(
            f"{rows.source} holds {count} rows, which make no batch of {size}; give more rows, or "
            "a smaller batch_size",
            command_line=f"{rows.source} holds {count} rows, which make no batch of {size}; give "
            "more rows, or a smaller --batch-size",
        )
    most = min(whole_number(batches, "batches"), count // size)
    drawn = np.random.default_rng(seed).permutation(count)[: most * size].reshape(most, size)
    bar = tqdm(drawn, unit="batch", desc="embed", disable=None if show_progress else True)
    found = forces(_embedded(encoder, columns, numbers, bar, seed, not twins), temperatures)
    settings = {
        "batch_size": size,
        "batches": most,
        "seed": seed,
        "dropout": rates,
        "pooling": encoder.pooling,
        "precision": encoder.precision,
        "max_length": encoder.max_length,
    }
    views = "dropout twins" if twins else "pairs"
    return TemperatureSweep(encoder.name, rows.source, views, (most * size, count), settings, found)


def _views(rows: Rows) -> tuple[list[Sequence[str]], np.ndarray]:
    """The columns that stand side by side, and the number of each text, int64 (N, V)."""
    columns = list(rows.columns.values()) if rows.kind == "pairs" else [rows.texts()] * 2
    numbers = text_numbers([text for column in columns for text in column])
    return columns, numbers.reshape(len(columns), -1).T


def _embedded(
    encoder: SentenceEncoder,
    columns: Sequence[Sequence[str]],
    numbers: np.ndarray,
    batches: Any,
    seed: int,
    linked: bool,
) -> Iterator[_Batch]:
    """Of each batch the anchors, the candidates in `objectives.info_nce`'s order, and the mask."""
    texts = int(numbers.max()) + 1
    links = linked_texts(numbers[:, 0], numbers[:, 1], texts) if linked else np.empty(0, np.int64)
    for place, chosen in enumerate(batches):
        given = [column[row] for column in columns for row in chosen]
        embeddings = embed_as_in_training(encoder, given, seed=seed + place)
        views = embeddings.reshape(len(columns), len(chosen), -1)
        text_ids = torch.from_numpy(np.ascontiguousarray(numbers[chosen]))
        mask = equal_text_mask(text_ids)
        if len(links):
            mask |= linked_text_mask(text_ids, torch.from_numpy(links), texts)
        negatives = views[2:].swapaxes(0, 1).reshape(-1, views.shape[-1])  # of row 0, of row 1, …
        yield views[0], np.concatenate([views[1], negatives]), mask


# ---- in words -----------------------------------------------------------------------------------


def temperature_cells(found: TemperatureSweep, *, with_intervals: bool = True) -> Cells:
    """A row a temperature; the notes say what the figures are and are of."""
    header = ["Effective negatives", *(f"Force: {name}" for name in BAND_NAMES.values())]
    header += [
        "p of positive",
        "1\u00a0−\u00a0p",
        "(1\u00a0−\u00a0p)/τ",
        "Effective anchors",
        "Loss",
    ]
    rows = [
        (f"τ = {force.temperature:g}", _row(force, found.forces.even, with_intervals))
        for force in found.forces.at
    ]
    return Cells(header, rows, [], temperature_notes(found), corner="Temperature")


def _row(force: Force, even: dict[str, float], with_intervals: bool) -> list[Cell]:
    def number(mean: Mean, shown: str) -> Cell:
        below = ""
        if with_intervals and mean.interval is not None:
            below = " to ".join(_shown(end, shown) for end in mean.interval)
        return Cell(_shown(mean.value, shown), below)

    shares = [number(force.shares[band], ".1%") if even[band] > 0 else Cell("–") for band in BANDS]
    return [
        number(force.effective_negatives, ".1f"),
        *shares,
        number(force.positive, ".3f"),
        number(force.saturation, ".3f"),
        number(force.pull, ".2f"),
        number(force.effective_anchors, ".1f"),
        number(force.loss, ".3f"),
    ]


def _shown(value: float, form: str) -> str:
    """As `form` says, or another way what it would make zero of."""
    said = f"{value:{form}}"
    if value == 0 or said.strip("0.%"):
        return said
    return f"<{said[:-2]}1%" if form.endswith("%") else f"{value:.1e}"


def temperature_reading(found: TemperatureSweep) -> str:
    """What the smallest and the largest temperature do, in a sentence."""
    f = found.forces
    even = f"{f.even['hardest']:.1%}"
    if f.cosines["spread"] < _ALIKE:
        return (
            f"All of an anchor's {f.negatives:.4g} negatives are equally hard, so each has the same"
            f" force, {even}, at any temperature."
        )
    told = [
        f"at τ = {force.temperature:g} as {force.effective_negatives.value:.1f} equal ones, with"
        f" {force.shares['hardest'].value:.1%} of the force on the hardest"
        for force in (*f.at[:1], *f.at[1:][-1:])
    ]
    return f"An anchor's {f.negatives:.4g} negatives count {'; '.join(told)} (evenly: {even})."


def temperature_notes(found: TemperatureSweep) -> list[str]:
    """What the figures mean, what they are of, and what they do not tell."""
    f, s = found.forces, found.settings
    rates = ", ".join(f"{rate:g}" for rate in s["dropout"]) or "none"
    alone = f"; {f.alone:,} anchors have none and are left out" if f.alone else ""
    cosines = ", ".join(
        f"{name} {f.cosines[key]:.3f}"
        for key, name in (("positive", "the positive's"), ("hardest", "the hardest negative's"))
    )
    return [
        temperature_reading(found),
        f"{short(found.model)} on {found.views} of {short(found.source)}: {f.batches} batches of"
        f" {s['batch_size']} rows, {found.rows[0]:,} of {found.rows[1]:,} (seed {s['seed']}),"
        f" dropout {rates}; equal and linked texts are no negatives{alone}. Mean cosines:"
        f" {cosines}, all negatives' {f.cosines['negatives']:.3f} ± {f.cosines['spread']:.3f}.",
        "Force: shares of the gradient on an anchor's negatives, p_ij/τ each, by hardness: the"
        " nearest negative, what else is of the nearest 5% and 20%, and all others. Effective"
        " negatives and anchors: exp of the entropy of these shares, and of the anchors' shares of"
        " a batch's 1 − p, where p is what the softmax gives the positive; (1 − p)/τ is the whole"
        " force on an anchor.",
        "What means the same as the anchor, and is not known to, is among the hardest negatives,"
        " where a small τ pushes most. Figures are of this model before it is trained at any of"
        " these temperatures, and do not say which one trains best; simcse-kit trial does.",
    ]
