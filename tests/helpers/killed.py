"""What test_killed starts, kills and starts again: a run in a process of its own."""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Any

from training_rows import config, dev_task, text_rows

STEPS = 9  # in two epochs, of which the second is begun

_KEYS = {"name": "momentum", "momentum": 0.8, "queue_length": 20, "predictor": True}
_PROTOTYPES = {"name": "prototypes", "clusters": [2, 3], "refresh_every": 2, "sample": 30}
_LEARNED = {"name": "info_nce", "learn_temperature": True}
#: What has state of its own, beside the encoder's.
METHODS: dict[str, dict[str, Any]] = {
    "masked LM": {},
    "queue": {"keys": {**_KEYS, "positives": "momentum"}},
    "average": {"ema_decay": 0.8, "projection": {"name": "mlp", "norm": "batch"}},
    "temperature": {"objective": _LEARNED, "positive_dropout": 0.2},
    "prototypes": {"auxiliaries": [_PROTOTYPES, {"name": "swapped", "prototypes": 4}]},
    "teachers": {"auxiliaries": [{"name": "similarity_kl", "shuffle": 0.2}]},
}
METHODS["all"] = {key: value for each in METHODS.values() for key, value in each.items()}
METHODS["all"] |= {
    "keys": _KEYS,  # which embed the positives too, with dropout of their own
    "auxiliaries": [*METHODS["prototypes"]["auxiliaries"], *METHODS["teachers"]["auxiliaries"]],
    "anchor_view": "deletion",
    "mini_batch_size": 3,
}


def go(encoder: str, folder: Path, method: str, pipe: Any) -> None:
    """Train in `folder`, or go on there; says over `pipe` when everything is loaded, or where a
    teacher is to embed the texts before that."""
    from simcse_kit.data import KeptMatrix
    from simcse_kit.encoder import teachers
    from simcse_kit.training.run import train
    from simcse_kit.training.runs.folder import can_go_on
    from simcse_kit.training.runs.keeper import Keeper

    Keeper.draw = lambda *_: None  # type: ignore[method-assign, assignment]
    own: dict[str, Any] = {"mlm_weight": 0.1} | METHODS[method]
    if "similarity_kl" in str(own):
        own["teachers"] = [{"model": encoder, "pooling": "mean"}]
        teachers.KeptMatrix = partial(KeptMatrix, block=6)  # type: ignore[misc, assignment]
        narrowed = teachers._narrowed

        def slowly(*args: Any) -> Any:
            time.sleep(0.1)
            return narrowed(*args)

        teachers._narrowed = slowly
        pipe.send("ready")
    settings = config(
        folder.parent,
        max_steps=STEPS,
        save_steps=1,
        learning_rate=3e-3,
        early_stopping_patience=5,
        **own,
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
