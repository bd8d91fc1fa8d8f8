"""An encoder whose graph another library computes: what it then still does, and what it refuses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, Self, cast

import torch

from simcse_kit.compute import model_precision
from simcse_kit.encoder.around import AroundTexts
from simcse_kit.encoder.modules import Parts
from simcse_kit.errors import InputError

if TYPE_CHECKING:
    from simcse_kit.encoder.runtimes import Backend, Runtime
    from simcse_kit.encoder.sentence_encoder import SentenceEncoder


class Elsewhere(AroundTexts):
    """The part of `SentenceEncoder` that knows of it.

    Attributes:
        runtime: what computes pooled vectors in place of backbone and head, or None: they do. Their
            weights are then let go; shapes, names and configuration stay.
    """

    runtime: Runtime | None = None
    precision: Literal["fp32", "bf16"]
    packed: bool

    def _run_by(self, backend: Backend, hub: dict[str, Any], precision: str) -> None:
        """Have an export of the folder compute from now on; weights are let go.

        Args:
            hub: how the folder or hub id is read, its place under ``name``.

        Raises InputError where there is no such export, or one of another encoder.
        """
        from simcse_kit.encoder.runtimes import load_runtime

        runtime = load_runtime(cast("SentenceEncoder", self), backend, hub)
        self.precision = runtime.precision(precision)
        runtime.session(self.precision)  # a file that does not run is said now
        self.to("meta")
        self.packed, self.backbone.sees_padding = False, runtime.note.by_length
        self.runtime = runtime

    def _resolved(self, precision: str) -> Literal["fp32", "bf16"]:
        """What this encoder computes in where that is asked for."""
        if self.runtime is not None:
            computed: Literal["fp32", "bf16"] = self.runtime.precision(precision)
            return computed
        return model_precision(precision, self.backbone, self.name)

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return torch.device("cpu") if self.runtime is not None else self.backbone.device

    def parts(self) -> Parts:
        """What a folder of this encoder holds; InputError where its weights were let go."""
        self._need_weights("be saved, changed or exported")
        return super().parts()

    def train(self, mode: bool = True) -> Self:
        """As of a module; InputError where its weights were let go."""
        if mode:
            self._need_weights("be trained")
        return super().train(mode)

    def _apply(self, fn: Any, recurse: bool = True) -> Self:
        self._need_weights("be moved or change its type")
        return super()._apply(fn, recurse)

    def _need_weights(self, what: str) -> None:
        if self.runtime is not None:
            raise InputError(
                f"{self.name!r} is computed by {self.runtime.backend}, without its weights, and "
                f"cannot {what}; load it with backend='torch'"
            )
