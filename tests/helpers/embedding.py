"""A corpus that is embedded in a process of its own, which tests kill."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

SHARD_ROWS = 16


def go(model: str, texts: Path, folder: Path, how: dict[str, Any], pipe: Any) -> None:
    """Embed, or go on; says over `pipe` when the model is loaded. Slow at every step."""
    import torch

    from simcse_kit.corpus import embed_corpus, shard_files, shards
    from simcse_kit.encoder import SentenceEncoder

    torch.set_num_threads(1)

    def slowly(work: Any) -> Any:
        def wrapped(*args: Any, **named: Any) -> Any:
            time.sleep(0.01)
            done = work(*args, **named)
            time.sleep(0.01)
            return done

        return wrapped

    for room, name in ((shards, "write_shard"), (shards, "record"), (shard_files, "_sha256")):
        setattr(room, name, slowly(getattr(room, name)))
    put = shard_files.OneFile.put
    shard_files.OneFile.put = slowly(put)  # type: ignore[method-assign]
    encoder = SentenceEncoder.from_pretrained(model, pooling="mean", precision="fp32", device="cpu")
    pipe.send("ready")
    embed_corpus(encoder, texts, folder, shard_rows=SHARD_ROWS, **how)
    pipe.send("done")
