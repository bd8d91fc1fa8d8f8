"""What a cut-off is: a view that sets part of a text's embeddings to zero; its tokens stay.

It acts between the embedding layer and the encoder. So all it gives is which embeddings are kept;
the pass over the batch carries it out (`simcse_kit.compute.packing`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np

from simcse_kit.views.view import Draws, View


class Side(NamedTuple):
    """The texts of one side as its view left them: ``ids`` end to end, ``lengths`` ``(B,)``."""

    view: View | None
    ids: np.ndarray
    lengths: np.ndarray
    draws: Draws


class Cutoff(View):
    """Part of the embeddings becomes zero: `kept_tokens` are rows, `kept_features` columns.

    `context.width` is E, the width of the embedding layer's output
    (`simcse_kit.compute.use_cutoff`).
    """

    IS_BASE = True

    def __call__(
        self, ids: np.ndarray, lengths: np.ndarray, draws: Draws
    ) -> tuple[np.ndarray, np.ndarray]:
        """The texts as they are."""
        return ids, lengths

    @property
    def cuts(self) -> bool:
        return True


def all_kept(parts: Iterable[np.ndarray | None]) -> np.ndarray | None:
    """What several cut-offs keep of the same; None where none cuts any."""
    cut = [part for part in parts if part is not None]
    return np.logical_and.reduce(cut) if cut else None


def cut_off(sides: Sequence[Side]) -> dict[str, np.ndarray | None]:
    """What the sides' views keep of the embeddings of all texts, one side after the other.

    Returns:
        keywords of `simcse_kit.compute.PackedBatch.from_flat` for those texts: ``kept_tokens``
        bool ``(all tokens,)`` and ``kept_features`` bool ``(all texts, E)``, None where no view
        cuts any.
    """
    tokens: list[np.ndarray | None] = []
    features: list[np.ndarray | None] = []
    for view, ids, lengths, draws in sides:
        tokens.append(None if view is None else view.kept_tokens(ids, lengths, draws))
        features.append(None if view is None else view.kept_features(draws))
    return {
        "kept_tokens": _joined(tokens, [(len(side.ids),) for side in sides]),
        "kept_features": _joined(features, [(len(side.lengths),) for side in sides]),
    }


def _joined(
    parts: Sequence[np.ndarray | None], shapes: Sequence[tuple[int, ...]]
) -> np.ndarray | None:
    """Sides end to end, all True where nothing is cut; None where no side cuts any."""
    cut = next((part for part in parts if part is not None), None)
    if cut is None:
        return None
    return np.concatenate(
        [
            np.ones(shape + cut.shape[1:], dtype=bool) if part is None else part
            for part, shape in zip(parts, shapes, strict=True)
        ]
    )
