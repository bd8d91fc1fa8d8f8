"""A trial under way: which runs there are to be, which there are, and which are spared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from simcse_kit.errors import InputError
from simcse_kit.training.runs.seed_folder import SeedFolder
from simcse_kit.training.trials.folder import TrialFolder, kept_items
from simcse_kit.training.trials.run import Job


@dataclass(frozen=True)
class Drop:
    """When a recipe gets no further seeds: each of its first `after` is more than `below` points
    below the first recipe's of the same number.
    """

    after: int
    below: float

    def __post_init__(self) -> None:
        if self.after < 1 or not 0 <= self.below < float("inf"):
            raise InputError(
                f"a recipe is dropped after 1 seed or more, and 0 points or more below the first;"
                f" not after {self.after} and {self.below:g} points"
            )

    def __str__(self) -> str:
        return (
            f"a recipe whose first {self.after} seed(s) are each more than {self.below:g} points"
            " below the first recipe's gets no further ones"
        )


@dataclass
class Plan:
    """A trial under way: its folder, and what there is of each recipe.

    Attributes:
        jobs: by recipe: a run of it, but for its seed and folder.
        seeds: by recipe: its finished runs.
    """

    state: TrialFolder
    jobs: dict[str, Job]
    numbers: Sequence[int]
    drop: Drop | None
    keys: dict[str, str]
    seeds: dict[str, SeedFolder] = field(default_factory=dict)

    @property
    def first(self) -> str:
        return next(iter(self.jobs))

    def items(self, recipe: str, seed: int) -> dict[str, np.ndarray]:
        """What a finished run makes of each pair; {} where it is to be run, or judged, again."""
        return kept_items(self.seeds[recipe], seed, self.keys)

    def dropped(self, recipe: str) -> str | None:
        """Why a recipe gets no further seeds by the rule, or None."""
        if self.drop is None or recipe == self.first:
            return None
        numbers = self.numbers[: self.drop.after]
        own, base = (self.seeds[name].runs for name in (recipe, self.first))
        if not all(seed in own and seed in base for seed in numbers):
            return None
        gaps = [base[s]["figures"]["score"] - own[s]["figures"]["score"] for s in numbers]
        if min(gaps) <= self.drop.below:
            return None
        said = ", ".join(f"{-gap:+.2f}" for gap in gaps)
        return (
            f"dropped after {len(gaps)} of {len(self.numbers)} seeds, each more than"
            f" {self.drop.below:g} points below {self.first} ({said})"
        )
