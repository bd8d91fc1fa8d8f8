"""Several views in turn, as one."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import Field, field_validator

from simcse_kit.errors import key_error
from simcse_kit.parts import Context, PartSettings, Spec, spec_of
from simcse_kit.views.cutoff import all_kept
from simcse_kit.views.view import Draws, View


class Compose(View):
    """Each view sees what the one before it made; each has chance of its own.

    A `span` has the same anchor on both sides where it stands at the same place on both.
    """

    class Settings(PartSettings):
        views: tuple[Spec, ...] = Field(
            (), description="Views in turn: names, or mappings of name and settings."
        )

        @field_validator("views", mode="before")
        @classmethod
        def _read(cls, value: object) -> tuple[Spec, ...]:
            if isinstance(value, str) or not isinstance(value, Sequence):
                raise key_error("views", f"views must be a list of views, not {value!r}")
            return tuple(
                spec_of("view", each, key=f"views.{place}") for place, each in enumerate(value)
            )

    @classmethod
    def check(cls, settings: Any) -> None:
        for spec in settings.views:
            spec.part.check(spec.settings)

    @classmethod
    def files(cls, settings: Any) -> Sequence[Path]:
        return [path for spec in settings.views for path in spec.part.files(spec.settings)]

    def __init__(self, context: Context | None = None, /, **settings: Any) -> None:
        super().__init__(context, **settings)
        self._views: list[View] = [spec.build(self.context) for spec in self.settings.views]

    def __call__(
        self, ids: np.ndarray, lengths: np.ndarray, draws: Draws
    ) -> tuple[np.ndarray, np.ndarray]:
        for place, view in enumerate(self._views):
            ids, lengths = view(ids, lengths, draws.nth(place))
        return ids, lengths

    @property
    def cuts(self) -> bool:
        return any(view.cuts for view in self._views)

    def kept_tokens(self, ids: np.ndarray, lengths: np.ndarray, draws: Draws) -> np.ndarray | None:
        """What all of them keep, of the texts as the last one left them."""
        return all_kept(
            view.kept_tokens(ids, lengths, draws.nth(place))
            for place, view in enumerate(self._views)
        )

    def kept_features(self, draws: Draws) -> np.ndarray | None:
        """What all of them keep."""
        return all_kept(
            view.kept_features(draws.nth(place)) for place, view in enumerate(self._views)
        )
