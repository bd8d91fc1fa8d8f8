"""What an engine is, and what each worker of one does first."""

from __future__ import annotations

import logging
import pickle
from collections.abc import Iterable, Iterator
from typing import IO, TYPE_CHECKING, Protocol

from simcse_kit.corpus.manifest import Shard
from simcse_kit.corpus.shards import ShardSpec

if TYPE_CHECKING:
    from simcse_kit.encoder import SentenceEncoder


class Engine(Protocol):
    """Makes shards somewhere: `simcse_kit.corpus.embed_shard`, mapped over specs.

    The run that calls it plans the shards and writes the manifest. A shard that is finished has
    left its record beside it, so an engine may run a spec again, or twice at a time.
    """

    def embedded(self, encoder: SentenceEncoder, specs: Iterable[ShardSpec]) -> Iterator[Shard]:
        """The shards of these specs, in any order, each as it is finished.

        Specs are planned as they are asked for, by reading the inputs: no more of them should be
        taken than keep the workers busy.

        Raises:
            InputError: as `embed_shard`, or the engine cannot go on. Its workers have ended then,
                as after Ctrl-C; what is finished stays.
        """
        ...


def unpacked(pickled: IO[bytes], threads: int) -> SentenceEncoder:
    """A worker's own encoder, which computes with so many threads, from where `pack` put it.

    It says nothing: what there is to say is said where the run was begun.
    """
    logging.getLogger("simcse_kit").setLevel(logging.ERROR)
    from simcse_kit.compute.threads import use_threads

    use_threads(threads)  # before torch is loaded, which is with the encoder
    encoder: SentenceEncoder = pickle.load(pickled)  # what the run itself packed
    return encoder


def pack(encoder: SentenceEncoder, into: IO[bytes]) -> None:
    """Put an encoder where `unpacked` takes it from."""
    pickle.dump(encoder, into)
