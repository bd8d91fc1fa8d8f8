"""What an export says of itself, in export.json beside it: of which weights, how, what it lost."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from simcse_kit.encoder.identity import network_of, weights_of
from simcse_kit.encoder.runtimes.formats import Format
from simcse_kit.errors import InputError

if TYPE_CHECKING:
    from torch import nn

    from simcse_kit.encoder.sentence_encoder import SentenceEncoder

Int8 = Literal["dynamic", "calibrated"]


class Source(BaseModel):
    """The part of an encoder that a graph holds: whatever of it changes, the graph is another's."""

    model_config = ConfigDict(strict=True)

    pooling: str
    head: str
    network: str
    weights: str

    @classmethod
    def of(cls, encoder: SentenceEncoder) -> Source:
        """Of an encoder with its weights at hand."""
        return cls(
            pooling=encoder.pooling,
            head=told(encoder.head),
            network=network_of(encoder),
            weights=weights_of(encoder),
        )

    def differs(self, other: Source) -> str | None:
        """What the other has that this has not, in words; None where they are one."""
        if self.pooling != other.pooling:
            return f"of pooling {self.pooling}, not {other.pooling}"
        if self.head != other.head:
            return "with another head"
        if (self.network, self.weights) != (other.network, other.weights):
            return "of other weights than the folder has now"
        return None


class Measured(BaseModel):
    """What an export lost against the encoder in torch, in fp32.

    Attributes:
        texts, source: on how many texts, and which.
        mean_cosine, min_cosine: of the embeddings of the two.
        largest_difference: of a number in a unit vector.
        sts, sts_torch: mean Spearman ×100 of the STS tasks, of the export and of the encoder in its
            own precision; None where they were not asked for.
    """

    model_config = ConfigDict(strict=True)

    texts: int
    source: str
    mean_cosine: float
    min_cosine: float
    largest_difference: float
    sts: float | None = None
    sts_torch: float | None = None


class Note(BaseModel):
    """export.json.

    Attributes:
        files: SHA-256 of every file of the export, by its name.
        by_length: whether only texts of equal length may share a batch.
        made_with: versions of the libraries that wrote it.
    """

    model_config = ConfigDict(strict=True)

    format: Format
    int8: Int8 | None
    by_length: bool
    source: Source
    files: dict[str, str]
    measured: Measured | None = None
    made_with: dict[str, str]

    @property
    def precision(self) -> str:
        """What its products are in, for tables."""
        return "fp32" if self.int8 is None else "int8"


def told(head: nn.Module | None) -> str:
    """A head in one line; ``None`` where there is none."""
    return " ".join(repr(head).split())


def read_note(path: str | Path, name: str) -> Note:
    """The note in this file, of the model of that name.

    Raises InputError for what is none, and for a file's name that leads out of the folder.
    """
    try:
        note = Note.model_validate_json(Path(path).read_bytes())
    except (OSError, ValidationError, ValueError) as error:
        raise InputError(
            f"model {name!r}: {Path(path).name} of its export cannot be read; export it again"
        ) from error
    for file in note.files:
        if Path(file).name != file or file in (".", "..") or "\\" in file:
            raise InputError(
                f"model {name!r}: export.json leads out of its folder ({file!r}); do not use it"
            )
    return note


def digest_of(path: str | Path) -> str:
    """SHA-256 of a file, in hex."""
    with open(path, "rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def as_json(note: Note) -> dict[str, Any]:
    """For export.json and --json."""
    return note.model_dump(mode="json")
