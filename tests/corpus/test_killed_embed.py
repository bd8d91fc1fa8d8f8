"""A corpus whose run is killed at any moment, and gone on with, is that of a run left alone."""

from __future__ import annotations

import multiprocessing
import random
import time
from pathlib import Path
from typing import Any

import pytest

import embedding
from simcse_kit.corpus import EmbeddedCorpus
from simcse_kit.corpus.manifest import Manifest

ROWS = 16 * 12 + 5
#: What a fork has then, that it need not import; nothing of it starts threads.
PRELOADED = [
    *("embedding", "simcse_kit.corpus.embedding", "simcse_kit.encoder.sentence_encoder"),
    *("transformers.models.bert.modeling_bert", "pyarrow.parquet"),
]


def _start(model: str, texts: Path, folder: Path, how: dict[str, Any]) -> tuple[Any, Any]:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=embedding.go, args=(model, texts, folder, how, theirs))
    process.start()
    theirs.close()
    assert ours.recv() == "ready"
    return process, ours


def _files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if "lock" not in path.name}


def _is_whole(folder: Path) -> bool:
    manifest = Manifest.read(folder)
    return manifest is not None and manifest.rows is not None


def _compare(model: str, place: Path, how: dict[str, Any], kills: int, seed: int) -> None:
    texts, pick = place / "texts.csv", random.Random(seed)
    lines = [f"d{n},the {'red' if n % 3 else 'old'} dog {n % 60}" for n in range(ROWS)]
    texts.write_text("\n".join(["id,text", *lines]))
    process, _ = _start(model, texts, place / "whole", how)
    began = time.monotonic()
    process.join()
    seconds = time.monotonic() - began
    assert process.exitcode == 0
    done = run = 0
    while done < kills:
        folder, run = place / f"killed-{run}", run + 1
        while not _is_whole(folder):
            process, _ = _start(model, texts, folder, how)
            process.join(pick.uniform(0, seconds) if done < kills else None)
            if process.is_alive():
                process.kill()
                done += 1
            process.join()
        assert _files(folder) == _files(place / "whole")  # to the bit: manifest, shards, vectors
    corpus = EmbeddedCorpus(folder)
    corpus.check()
    assert corpus.ids() == [f"d{n}" for n in range(ROWS)]
    assert corpus.numbers().tolist() == list(range(ROWS))


def test_killed_twice(tiny_encoder, tmp_path):
    _compare(str(tiny_encoder("bert")), tmp_path, {"store": "npy", "texts": True}, 2, seed=0)


@pytest.mark.slow
@pytest.mark.parametrize("how", [{"store": "npy", "type": "int8"}, {"texts": True}, {"workers": 2}])
def test_killed_many_times(tiny_encoder, tmp_path, how):
    _compare(str(tiny_encoder("bert")), tmp_path, how, 12, seed=1)
