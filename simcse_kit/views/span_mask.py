"""Span mask: a run of words becomes one mask token (Mirror-BERT)."""

from __future__ import annotations

from typing import Any

import numpy as np
from pydantic import Field

from simcse_kit.errors import InputError
from simcse_kit.parts import Context, Int, PartSettings
from simcse_kit.views.units import Units
from simcse_kit.views.view import Draws, View


class SpanMask(View):
    """`spans` runs of `words` words are each replaced by one mask token.

    All places are as likely; runs that overlap or touch become one. A text of fewer than
    `shortest` words, or of no more than the spans may cover, stays as it is.

    Source: Liu et al.: Mirror-BERT (EMNLP 2021), random span masking: five characters of a text
    of at least thirty, about one word of six. Theirs may cut words in two; this one does not.

    Raises:
        InputError: the tokenizer has no mask token.
    """

    MASKS = True

    class Settings(PartSettings):
        spans: Int = Field(1, ge=0, description="Runs of words that are masked in a text.")
        words: Int = Field(1, ge=1, description="Words of a run.")
        shortest: Int = Field(6, ge=1, description="Texts of fewer words stay as they are.")

    def __init__(self, context: Context | None = None, /, **settings: Any) -> None:
        super().__init__(context, **settings)
        if self.context.vocabulary is not None and self.vocabulary.mask_id is None:
            raise InputError(
                "view span_mask: the tokenizer of this model has no mask token; take another view, "
                "such as deletion"
            )

    def __call__(
        self, ids: np.ndarray, lengths: np.ndarray, draws: Draws
    ) -> tuple[np.ndarray, np.ndarray]:
        units = Units.of(ids, lengths, self.vocabulary)
        masked = self._masked(units, draws.per_token(units.counts))
        # of neighbours that are masked the first becomes the mask, the others go
        follows = np.append(False, masked[:-1] & (np.diff(units.words) == 1)) & (units.places > 0)
        masks = units.words[masked & ~follows]
        mask = np.array([self.vocabulary.mask_id])
        return units.with_tokens(masks, [mask] * len(masks)).kept(~(masked & follows))

    def _masked(self, units: Units, uniform: np.ndarray) -> np.ndarray:
        """bool ``(W,)``: words that one of the spans covers."""
        size, spans = self.settings.words, self.settings.spans
        enough = (units.counts >= self.settings.shortest) & (units.counts > spans * size)
        # a span starts where all of it has room
        fits = units.places <= units.per_word(units.counts - size)
        uniform = np.where(fits, uniform, 2.0)
        starts = np.flatnonzero(units.lowest(uniform, np.where(enough, spans, 0)))
        masked = np.zeros(len(units.words), dtype=bool)
        masked[(starts[:, None] + np.arange(size)).ravel()] = True
        return masked
