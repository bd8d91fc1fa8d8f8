"""The cosine of a pair is to be its grade."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Self

import numpy as np
from pydantic import Field, model_validator
from torch import Tensor
from torch.nn import functional as F

from simcse_kit.errors import InputError, key_error
from simcse_kit.objectives.cosines import full_precision, paired_cosines
from simcse_kit.objectives.objective import Embedded, Objective
from simcse_kit.parts import Float, PartSettings


@full_precision
def cosine_mse(left: Tensor, right: Tensor, scores: Tensor) -> Tensor:
    """``E (c − y)²``: the cosine is to be the score.

    Source: Reimers, Gurevych, Sentence-BERT (EMNLP 2019), section 3, regression objective.

    Args:
        left, right: ``(B, D)``, any scale.
        scores: ``(B,)`` in [−1, 1]; others ask for cosines that there are not.
    """
    return F.mse_loss(paired_cosines(left, right), scores)


class CosineMSE(Objective):
    """`cosine_mse` of graded pairs, whose grades `lowest` to `highest` stand for 0 to 1."""

    NEEDS = frozenset({"scores"})

    class Settings(PartSettings):
        lowest: Float = Field(0.0, description="The score whose pairs are to have the cosine 0.")
        highest: Float = Field(
            1.0, description="The score whose pairs are to have the cosine 1; 5 for STS-B."
        )

        @model_validator(mode="after")
        def _in_order(self) -> Self:
            if self.lowest >= self.highest:
                raise key_error(
                    "lowest",
                    f"lowest must be below highest, and {self.lowest:g} is not below "
                    f"{self.highest:g}",
                )
            return self

    @classmethod
    def check_data(cls, settings: Any, known: Mapping[str, np.ndarray]) -> None:
        """Raise InputError for scores that would ask for cosines outside [−1, 1]."""
        low, high, scores = settings.lowest, settings.highest, known["scores"]
        bad = scores[(scores > high) | (scores < 2 * low - high)]
        if len(bad):
            raise InputError(
                f"objective cosine_mse: a score of {bad[0].item():g} asks for a cosine outside "
                f"[-1, 1]; set objective.lowest and objective.highest (now {low:g} and {high:g}) "
                "to the ends of the data's scale"
            )

    def forward(self, batch: Embedded) -> Tensor:
        scores = batch.needed("scores")
        low, high = self.settings.lowest, self.settings.highest
        return cosine_mse(batch.anchors, batch.positives, (scores - low) / (high - low))
