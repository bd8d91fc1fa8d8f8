"""The models a run keeps, their cards and pictures: the best step so far, and the last."""

from __future__ import annotations

import contextlib
import filecmp
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from simcse_kit.data import disk_errors, replacing
from simcse_kit.encoder import SentenceEncoder
from simcse_kit.training.dev import DevSet, scored_on
from simcse_kit.training.runs import overwriting
from simcse_kit.training.runs.folder import LAST, note_best
from simcse_kit.training.runs.in_force import on_the_card
from simcse_kit.training.settings.config import TrainConfig

_COMING = ".coming"  # a model on its way into the folder
_WHOLE = "whole.json"  # written last: that it is whole, and of which step


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
        self._choose(step, score)

    def save_last(self, step: int, *, chosen: bool) -> None:
        """The last step, apart; and as the model where it is `chosen`: without a dev set.

        Weights that are those of the chosen model are linked to it and take no further room.
        """
        if chosen:
            self._choose(step, None)
        coming, last = self.folder / _COMING, self.folder / LAST
        self._save_aside(step)
        _link_equal(coming, self.folder)
        shutil.rmtree(last, ignore_errors=True)
        os.rename(coming, last)
        overwriting.drop(self.folder)

    def _choose(self, step: int, score: float | None) -> None:
        """Save aside, then move: a kill leaves the former model, or one that `settle` finds."""
        self._save_aside(step, judged=score is not None)
        with replacing(self.folder / _COMING / _WHOLE) as aside:
            aside.write_text(json.dumps({"step": step, "score": score}), encoding="utf-8")
        self.settle()

    def settle(self) -> None:
        """Move a model that was saved whole into its place, and note of which step it is.

        What a kill cut off here is done when the run goes on.
        """
        coming = self.folder / _COMING
        try:
            told = json.loads((coming / _WHOLE).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            shutil.rmtree(coming, ignore_errors=True)
            return
        for path in sorted(coming.rglob("*")):
            target = self.folder / path.relative_to(coming)
            if path.is_dir():
                target.mkdir(exist_ok=True)
            elif path.name != _WHOLE:
                os.replace(path, target)
        if told["score"] is not None:
            note_best(self.folder, told["step"], told["score"])
        shutil.rmtree(coming)
        if told["step"]:  # that of step 0 is not this run's doing
            overwriting.drop(self.folder)

    def _save_aside(self, step: int, *, judged: bool = False) -> None:
        """The model, in a folder beside; nothing of it where it cannot be written whole."""
        measured, coming = None, self.folder / _COMING
        if judged and self.dev is not None:
            table = self.dev.table(self.folder.name)
            measured = f"On the dev set that the step was chosen on, which flatters it.\n\n{table}"
        told = on_the_card(self.config, self.encoder, {**self.told, "step": step})
        card = self.encoder.model_card(title=self.folder.name, measured=measured, training=told)
        shutil.rmtree(coming, ignore_errors=True)
        try:
            with disk_errors(self.folder):
                self.encoder.save_pretrained(
                    coming,
                    layout=self.config.layout,
                    card=card,
                    merge_adapters=self.config.merge_adapters,
                )
        except BaseException:
            shutil.rmtree(coming, ignore_errors=True)
            raise

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


def _link_equal(folder: Path, chosen: Path) -> None:
    """Have weights in a folder that equal the chosen model's be the same file, where links go."""
    for path in folder.rglob("*.safetensors"):
        twin, link = chosen / path.relative_to(folder), path.with_name(f".{path.name}.link")
        if not twin.is_file() or twin.samefile(path) or not filecmp.cmp(path, twin, shallow=False):
            continue
        with contextlib.suppress(OSError):
            os.link(twin, link)
            os.replace(link, path)
