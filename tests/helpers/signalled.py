"""What test_interrupting starts and sends a signal: a run with loaders, in processes of its own."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from training_rows import config, text_rows


def main(encoder: str, folder: str, context: str) -> None:
    """Train until a signal comes; says on stdout when it is under way, and how it ended."""
    from transformers import TrainerCallback

    from simcse_kit.training.run import train
    from simcse_kit.training.trainer import OwnDropout

    class Tell(TrainerCallback):
        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            if state.global_step == 2:
                print("ready", flush=True)

    OwnDropout.on_step_end = Tell.on_step_end  # type: ignore[method-assign]
    workers = {"dataloader_num_workers": 2, "dataloader_multiprocessing_context": context}
    settings = config(Path(folder).parent, max_steps=100_000, save_steps=100_000, **workers)
    try:
        train(encoder, text_rows(4000), settings, folder)
    except KeyboardInterrupt as end:
        print(end, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
