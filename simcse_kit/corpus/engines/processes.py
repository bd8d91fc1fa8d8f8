"""Shards made in several processes of this machine."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import tempfile
import threading
import time
from collections.abc import Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from simcse_kit.corpus.engines.engine import pack, unpacked
from simcse_kit.corpus.manifest import Shard
from simcse_kit.corpus.shards import ShardSpec, embed_shard
from simcse_kit.data import disk_errors
from simcse_kit.errors import InputError

if TYPE_CHECKING:
    from simcse_kit.encoder import SentenceEncoder

_AHEAD = 2  # shards that wait for each worker

_encoder: SentenceEncoder | None = None  # a worker's own


@dataclass(frozen=True)
class Processes:
    """An engine: processes of this machine.

    Each has its share of this process's threads, or one of the GPUs.

    Attributes:
        workers: processes.
    """

    workers: int

    def embedded(self, encoder: SentenceEncoder, specs: Iterable[ShardSpec]) -> Iterator[Shard]:
        """See `Engine`."""
        import torch

        threads = max(1, torch.get_num_threads() // self.workers)
        context = multiprocessing.get_context("spawn")  # a fork would take torch's locks along
        counts = context.Array("i", [0, self.workers])  # those that began; those that lack a model
        # by a file: a process that dies at its start leaves who sends it more than a pipe holds
        # waiting forever; and it would keep what it was sent beside the model
        aside = tempfile.TemporaryDirectory(prefix="simcse-kit-")
        pickled = Path(aside.name, "model.pickle")
        pool = ProcessPoolExecutor(
            self.workers,
            mp_context=context,
            initializer=_begin,
            initargs=(pickled, threads, os.getpid(), counts),
        )
        try:
            with disk_errors(pickled), pickled.open("wb") as file:
                pack(encoder, file)
            yield from _in_turn(pool, specs, _AHEAD * self.workers)
        except BrokenProcessPool as error:
            if not counts[0]:
                raise InputError(
                    "no worker could begin: each runs the script again that asks for it, so the "
                    "script must do that below `if __name__ == '__main__':`; or memory was short"
                ) from error
            raise InputError(
                "a worker died, perhaps for want of memory; what is finished stays: run it again "
                "with fewer workers"
            ) from error
        except BaseException:  # what they are at is not finished, and is begun anew another time
            for process in list((pool._processes or {}).values()):
                process.terminate()
            raise
        finally:
            pool.shutdown(cancel_futures=True)
            aside.cleanup()


def _in_turn(pool: ProcessPoolExecutor, specs: Iterable[ShardSpec], most: int) -> Iterator[Shard]:
    waiting: set[Future[Shard]] = set()
    for spec in specs:
        waiting.add(pool.submit(_embed, spec))
        while len(waiting) >= most:
            done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
            yield from (each.result() for each in done)
    while waiting:
        done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
        yield from (each.result() for each in done)


def _begin(pickled: Path, threads: int, parent: int, counts: Any) -> None:
    """Make a process a worker: Ctrl-C is its parent's affair, and it does not outlive that."""
    global _encoder
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(parent, pickled.parent), daemon=True).start()
    with counts.get_lock():
        number, counts[0] = counts[0], counts[0] + 1
    with pickled.open("rb") as file:
        _encoder = unpacked(file, threads)
    with counts.get_lock():
        counts[1] -= 1
        if not counts[1]:  # now, for a run that is killed leaves what it has not removed
            shutil.rmtree(pickled.parent, ignore_errors=True)
    if _encoder.device.type == "cuda":
        import torch

        _encoder.to(f"cuda:{number % torch.cuda.device_count()}")


def _end_with(parent: int, aside: Path) -> None:
    while os.getppid() == parent:
        time.sleep(0.5)
    shutil.rmtree(aside, ignore_errors=True)  # which the parent can do no more
    os._exit(1)


def _embed(spec: ShardSpec) -> Shard:
    return embed_shard(spec, _encoder)
