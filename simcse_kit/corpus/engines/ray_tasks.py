"""Shards made as tasks of Ray: on this machine, or on a cluster."""

from __future__ import annotations

import importlib.util
import io
import os
import re
import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from simcse_kit.corpus.engines.engine import pack, unpacked
from simcse_kit.corpus.manifest import Shard
from simcse_kit.corpus.shards import ShardSpec, embed_shard
from simcse_kit.errors import InputError

if TYPE_CHECKING:
    from simcse_kit.encoder import SentenceEncoder

_AHEAD = 2  # shards that wait for each that is being made
_LOCAL = "local"
_PATIENCE = 10  # seconds that a cluster may take to answer

_encoder: tuple[str, SentenceEncoder] | None = None  # a worker's own, by its fingerprint


@dataclass(frozen=True)
class RayTasks:
    """An engine: each shard is a task of Ray, which places it and runs it again if its node dies.

    The nodes have the package, and see the inputs and the output by the same names.

    Attributes:
        address: of the cluster: ``HOST:PORT``, ``ray://HOST:PORT``, ``auto`` for the one that this
            machine belongs to. None: that of the variable RAY_ADDRESS, else a Ray of this run's
            own, on this machine.
        workers: shards made at a time, at most. None: as many as there is room for; on this
            machine one.
        cpus: threads of each. None: 1 on a cluster; on this machine its share.
    """

    address: str | None = None
    workers: int | None = None
    cpus: int | None = None

    def __post_init__(self) -> None:
        if importlib.util.find_spec("ray") is None:
            needs = "needs the package ray, which is not installed: pip install 'simcse-kit[ray]'"
            raise InputError(
                f"RayTasks {needs}", command_line=f"--engine ray {needs}, or leave it out"
            )
        for name in ("workers", "cpus"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name} is {value}; it must be 1 or more")

    def embedded(self, encoder: SentenceEncoder, specs: Iterable[ShardSpec]) -> Iterator[Shard]:
        """See `Engine`."""
        import ray

        with self._connected() as is_local:
            cpus = self.cpus or (self._share() if is_local else 1)
            task = ray.remote(_embed).options(
                num_cpus=cpus,
                num_gpus=1 if encoder.device.type == "cuda" else 0,
                max_retries=3,  # where a node or a process dies; what a task raises stands
            )
            pickled = io.BytesIO()
            pack(encoder, pickled)
            model = [ray.put(pickled.getvalue())]  # in a list: a worker fetches it once, if it must
            waiting: list[Any] = []
            try:
                for spec in specs:
                    waiting.append(task.remote(spec, model, cpus))
                    while len(waiting) >= self._most(ray, cpus):
                        yield from _some(ray, waiting)
                while waiting:
                    yield from _some(ray, waiting)
            except ray.exceptions.RayError as error:
                raise _in_a_sentence(error) from error
            finally:
                for each in waiting:
                    ray.cancel(each, force=True)

    def _share(self) -> int:
        import torch

        return max(1, torch.get_num_threads() // (self.workers or 1))

    def _most(self, ray: Any, cpus: int) -> int:
        """Tasks handed over at a time. A cluster may grow meanwhile, so it is asked each time."""
        if self.workers is not None:
            return self.workers
        return _AHEAD * max(1, int(ray.cluster_resources().get("CPU", 0)) // cpus)

    @contextmanager
    def _connected(self) -> Iterator[bool]:
        """A connection with Ray, and whether it runs here, for this run alone."""
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        import ray

        if ray.is_initialized():  # by who calls us, whose it stays
            yield False
            return
        address = self.address or os.environ.get("RAY_ADDRESS") or _LOCAL
        how: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
        if address == _LOCAL:
            workers = self.workers or 1
            how |= {"num_cpus": workers * (self.cpus or self._share()), "include_dashboard": False}
        try:
            _check_answers(address)
            ray.init(address, **how)
        except (OSError, RuntimeError, ValueError) as error:
            raise InputError(
                f"no Ray cluster answers at {address} ({_first_line(error)}); check the address, "
                "or start one with: ray start --head"
            ) from error
        try:
            yield address == _LOCAL
        finally:
            ray.shutdown()


def _check_answers(address: str) -> None:
    """Raise OSError or ValueError where nothing listens: Ray itself would wait for minutes."""
    if address in (_LOCAL, "auto"):
        return
    found = re.fullmatch(r"(?:ray://)?(?P<host>\[[^]]+\]|[^:/\s]+):(?P<port>\d{1,5})", address)
    if found is None:
        raise ValueError("it is no HOST:PORT, ray://HOST:PORT or auto")
    place = found["host"].strip("[]"), int(found["port"])
    try:
        socket.create_connection(place, timeout=_PATIENCE).close()
    except OverflowError as error:
        raise ValueError("there is no such port") from error


def _some(ray: Any, waiting: list[Any]) -> Iterator[Shard]:
    """Wait for the next that are finished, take them from the list, give what they made."""
    done, left = ray.wait(waiting, num_returns=1)
    waiting[:] = left
    for each in done:
        yield ray.get(each)


def _in_a_sentence(error: Exception) -> InputError:
    """What a user is told where a task, or Ray, failed."""
    cause = getattr(error, "cause", None)
    if isinstance(cause, InputError):
        return cause
    if cause is not None:
        return InputError(
            f"a task of Ray failed ({type(cause).__name__}: {_first_line(cause)}); what is "
            "finished stays: check that its node has this version of simcse-kit, the inputs and "
            "the output"
        )
    return InputError(
        f"Ray gave up ({type(error).__name__}: {_first_line(error)}); what is finished stays: run "
        "it again, with fewer workers if memory was short"
    )


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".:") if lines else type(error).__name__


def _embed(spec: ShardSpec, model: list[Any], cpus: int) -> Shard:
    """A task. Its process keeps the encoder for the next."""
    global _encoder
    wanted = spec.manifest.model.fingerprint
    if _encoder is None or _encoder[0] != wanted:
        import ray

        _encoder = wanted, unpacked(io.BytesIO(ray.get(model[0])), cpus)
    return embed_shard(spec, _encoder[1])
