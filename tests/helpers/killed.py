"""What test_killed starts, kills and starts again: a run in a process of its own."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from training_rows import config, dev_task, text_rows

STEPS = 9  # in two epochs, of which the second is begun


def go(encoder: str, folder: Path, pipe: Any) -> None:
    """Train in `folder`, or go on there; says over `pipe` when everything is loaded."""
    from simcse_kit.training.run import train
    from simcse_kit.training.runs.folder import can_go_on
    from simcse_kit.training.runs.keeper import Keeper

    Keeper.draw = lambda *_: None  # type: ignore[method-assign, assignment]
    settings = config(
        folder.parent,
        max_steps=STEPS,
        save_steps=1,
        learning_rate=3e-3,
        mlm_weight=0.1,
        early_stopping_patience=5,
    )
    resume = can_go_on(folder)
    train(
        encoder,
        text_rows(48),
        settings,
        folder,
        eval_data=dev_task(),
        resume=resume,
        overwrite=not resume,
        ready=lambda: pipe.send("ready"),
    )
