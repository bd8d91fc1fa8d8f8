"""What a recipe cannot do without, in words: read off its parts, whichever they are."""

from __future__ import annotations

from simcse_kit.training.settings.config import TrainConfig
from simcse_kit.training.settings.methods import parts_of

#: What `Embedded` calls what a batch has, and what that takes of the user.
_WORDS = {
    "negatives": "hard negatives",
    "queue": "a queue of earlier keys",
    "labels": "labels",
    "scores": "scored pairs",
    "teachers": "a teacher",
    "guide": "a guide model",
    "documents": "documents",
}


def needs_of(config: TrainConfig) -> tuple[str, ...]:
    """What the parts of a recipe declare to need, in words; () where rows of texts will do."""
    needs = {need for _, spec in parts_of(config) for need in spec.part.needs(spec.settings)}
    known = [words for name, words in _WORDS.items() if name in needs]
    return (*known, *sorted(name.replace("_", " ") for name in needs - _WORDS.keys()))
