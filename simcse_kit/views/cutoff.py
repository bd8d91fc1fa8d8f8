"""What a cut-off is: a view that sets part of a text's embeddings to zero; its tokens stay.

It acts between the embedding layer and the encoder. So all it gives is which embeddings are kept;
the pass over the batch carries it out (`simcse_kit.compute.packing`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from simcse_kit.views.view import Draws, View


@dataclass(frozen=True)
class Side:
    """The texts of one side as its view left them, and what it keeps of their embeddings.

    Attributes:
        ids: end to end, of `lengths` ``(B,)``.
        kept_tokens: bool ``(sum(lengths),)``; None: all.
        kept_features: bool ``(B, E)``; None: all.
    """

    ids: np.ndarray
    lengths: np.ndarray
    kept_tokens: np.ndarray | None = None
    kept_features: np.ndarray | None = None

    @classmethod
    def viewed(cls, view: View | None, ids: np.ndarray, lengths: np.ndarray, draws: Draws) -> Side:
        """What a view makes of a side's texts; None: nothing."""
        if view is None:
            return cls(ids, lengths)
        ids, lengths = view(ids, lengths, draws)
        return cls(ids, lengths, view.kept_tokens(ids, lengths, draws), view.kept_features(draws))


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
    """What is kept of the embeddings of all texts, one side after the other.

    Returns:
        keywords of `simcse_kit.compute.PackedBatch.from_flat` for those texts: ``kept_tokens``
        bool ``(all tokens,)`` and ``kept_features`` bool ``(all texts, E)``, None where no view
        cuts any.
    """
    tokens = [side.kept_tokens for side in sides]
    features = [side.kept_features for side in sides]
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
