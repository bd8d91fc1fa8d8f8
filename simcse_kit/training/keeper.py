"""The models a run keeps, their cards and pictures: the best step so far, and the last."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simcse_kit.encoder import SentenceEncoder
from simcse_kit.training.config import TrainConfig
from simcse_kit.training.dev import DevSet, scored_on
from simcse_kit.training.folder import LAST, note_best
from simcse_kit.training.in_force import on_the_card


@dataclass
class Keeper:
    """Writes the encoder, as it is at some step, into the run's folder.

    Attributes:
        folder: the run's; itself loads as the chosen model.
        encoder: the one that is trained.
        told: what the card says beside the settings: base model, data.
    """

    folder: Path
    encoder: SentenceEncoder
    config: TrainConfig
    dev: DevSet | None
    told: dict[str, object]

    def save_best(self, step: int, score: float) -> None:
        """The folder loads as the best model so far, at any moment of the run."""
        self._save(self.folder, step, judged=True)
        note_best(self.folder, step, score)

    def save_last(self, step: int, *, chosen: bool) -> None:
        """The last step, apart; and as the model where it is `chosen`: without a dev set."""
        self._save(self.folder / LAST, step)
        if chosen:
            self._save(self.folder, step)

    def _save(self, folder: Path, step: int, *, judged: bool = False) -> None:
        measured = None
        if judged and self.dev is not None:
            table = self.dev.table(self.folder.name)
            measured = f"On the dev set that the step was chosen on, which flatters it.\n\n{table}"
        told = on_the_card(self.config, self.encoder, {**self.told, "step": step})
        card = self.encoder.model_card(title=self.folder.name, measured=measured, training=told)
        self.encoder.save_pretrained(folder, layout=self.config.layout, card=card)

    def draw(self, chosen: SentenceEncoder, history: list[dict[str, Any]]) -> None:
        """The curve of the run; with a dev set also its cosines and the way through the plane."""
        from simcse_kit.evaluation import plots

        plots.training_curve(history, self.folder / "training_curve.png")
        if self.dev is None:
            return
        self.dev.draw(chosen, self.folder)
        scored = [entry for entry in scored_on(self.dev, history) if "eval_alignment" in entry]
        points = {
            f"step {entry['step']}": (
                entry["eval_alignment"],
                entry["eval_uniformity"],
                entry[self.dev.figure],
            )
            for entry in scored
        }
        if points:
            best = max(points, key=lambda name: points[name][2])
            ends = next(iter(points)), best, [*points][-1]  # every point, but no hundred labels
            plots.alignment_uniformity_plane(
                points,
                self.folder / "alignment_uniformity.png",
                score=f"{self.dev.name} ×100",
                labelled=ends,
            )
