"""Where the shards of a corpus are made: options of ``embed``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from simcse_kit.errors import InputError

if TYPE_CHECKING:
    from simcse_kit.corpus import Engine


@dataclass(frozen=True)
class EngineOptions:
    """What makes the shards, and how many at a time."""

    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Processes, which share the threads or the GPUs; of Ray, shards at a time. "
            "Default: 1, or all that the cluster has room for.",
        ),
    ] = None
    engine: Annotated[
        Literal["local", "ray"],
        typer.Option(help="ray makes each shard as a task of Ray; needs simcse-kit[ray]."),
    ] = "local"
    ray_address: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            envvar="RAY_ADDRESS",
            help="Of the cluster; auto is this machine's. Default: a Ray of its own.",
        ),
    ] = None
    ray_cpus: Annotated[
        int | None, typer.Option(min=1, help="Threads of a shard, with --engine ray.")
    ] = None

    def keywords(self) -> dict[str, Any]:
        """For `embed_corpus`: its workers and engine; InputError where ray is not installed."""
        if self.engine == "local":
            if self.ray_cpus is not None:
                raise InputError("--ray-cpus is for --engine ray; leave it out, or give that too")
            return {"workers": self.workers or 1}
        from simcse_kit.corpus import RayTasks

        engine: Engine = RayTasks(self.ray_address, self.workers, self.ray_cpus)
        return {"engine": engine}
