"""An export in place of a backbone: a batch of tokens in, vectors before normalisation out."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from simcse_kit.compute import resolve_precision, token_blocks
from simcse_kit.encoder.metadata import model_file
from simcse_kit.encoder.runtimes.formats import MODEL_FILE, NOTE
from simcse_kit.encoder.runtimes.graph import RAW, inputs_of
from simcse_kit.encoder.runtimes.note import Note, Source, digest_of, read_note, told
from simcse_kit.encoder.runtimes.sessions import SESSIONS, Session
from simcse_kit.errors import InputError

if TYPE_CHECKING:
    from simcse_kit.compute import PackedBatch
    from simcse_kit.encoder.sentence_encoder import SentenceEncoder

#: What a format computes in, of an export without int8.
_PRECISIONS = {"onnx": ("fp32",), "openvino": ("fp32", "bf16")}


class Runtime:
    """The graph of a format, run on the CPU.

    It is pickled and copied as where its files lie, and begun anew on the other side.

    Args:
        model: file of the graph.
        name: of the model, for messages.
    """

    def __init__(self, model: Path, note: Note, name: str, *, pad_id: int, skips: bool) -> None:
        self.model, self.note, self.name = model, note, name
        self._pad_id, self._skips = pad_id, skips
        self._sessions: dict[str, Session] = {}

    #: Tokens of a batch: the states of more do not stay in the caches between two of its steps.
    batch_tokens = 1024

    @property
    def backend(self) -> str:
        """The format's name, which is its backend's."""
        return self.note.format

    @property
    def identity(self) -> str:
        """Of the numbers it computes with, 32 hex digits."""
        return self.note.files[self.model.name][:32]

    def precision(self, wanted: str) -> Any:
        """What it computes in where that is wanted: ``fp32``, ``bf16`` or ``int8``.

        Raises InputError for what it cannot.
        """
        chosen = resolve_precision(wanted, "cpu")
        if self.note.int8 is not None:
            if wanted != "auto":
                raise InputError(
                    f"{self.name!r} was exported for {self.backend} in int8, and does not compute "
                    f"in {chosen}; leave precision at auto, or take the backend torch"
                )
            return "int8"
        able = _PRECISIONS[self.backend]
        if chosen in able:
            return chosen
        if wanted == "auto":
            return able[0]
        raise InputError(
            f"{self.backend} computes {self.name!r} in {' or '.join(able)}, not in {chosen}; leave "
            "precision at auto, or take the backend torch or openvino"
        )

    def vectors(
        self, batch: PackedBatch, skip: int = 0, *, pooling: str, head: nn.Module | None
    ) -> Tensor:
        """What pooling and head give, float32 ``(sequences, width)``, in the caller's order.

        In bf16 under autocast, as layers of torch are.

        Args:
            skip: first tokens of each sequence that are not pooled.
            pooling, head: the encoder's own.

        Raises InputError for another pooling or head than the graph's.
        """
        if (pooling, told(head)) != (self.note.source.pooling, self.note.source.head):
            raise InputError(
                f"{self.name!r} was exported with pooling {self.note.source.pooling} and the head "
                "of its folder, which the graph keeps; set them in torch, and export it again"
            )
        session = self.session("bf16" if torch.is_autocast_enabled("cpu") else "fp32")
        rows = []
        for ids, mask in token_blocks(batch, self._pad_id, self.note.by_length):
            given = inputs_of(ids, mask, skip if self._skips else None)
            rows.append(torch.from_numpy(session.run(given, RAW)))
        return torch.cat(rows)[batch.order]

    def session(self, precision: str) -> Session:
        """The graph made ready in this precision, as `precision` gives it, once.

        Raises InputError where the library does not take the file.
        """
        precision = "bf16" if precision == "bf16" else "fp32"  # what is not int8 is in fp32
        if precision not in self._sessions:
            start = SESSIONS[self.backend]
            try:
                self._sessions[precision] = start(
                    str(self.model), precision, torch.get_num_threads()
                )
            except Exception as error:  # of another library, on what a file holds
                reason = " ".join(str(error).split())[:160]
                raise InputError(
                    f"model {self.name!r}: {self.backend} does not run its {self.model.name} "
                    f"({reason}); export it again with the packages that are installed"
                ) from error
        return self._sessions[precision]

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"_sessions": {}}


def load_runtime(encoder: SentenceEncoder, format: str, hub: dict[str, Any]) -> Runtime:
    """The export of a model's folder or hub id, whole, and of the encoder that was loaded from it.

    Args:
        hub: as of `metadata.model_file`, and the place under ``name``.

    Raises:
        InputError: there is none, or it is another's, or not as it was written.
    """
    name = hub["name"]
    found = model_file(name, f"{format}/{NOTE}", hub)
    again = f"simcse-kit export {name} --format {format}"
    if found is None:
        raise InputError(f"model {name!r} has no export for {format}; make it: {again}")
    note = read_note(found, name)
    if note.format != format or MODEL_FILE[format] not in note.files:
        raise InputError(f"model {name!r}: {found} is of no export for {format}; {again}")
    differs = note.source.differs(Source.of(encoder))
    if differs is not None:
        raise InputError(
            f"model {name!r}: its export for {format} is {differs}; export it again: {again}"
        )
    for file, digest in note.files.items():
        path = model_file(name, f"{format}/{file}", hub)
        if path is None or digest_of(path) != digest:
            raise InputError(
                f"model {name!r}: {format}/{file} is "
                f"{'not there' if path is None else 'not as it was written'}; export it again, or "
                "copy it again"
            )
    model = Path(found).with_name(MODEL_FILE[format])
    return Runtime(model, note, name, pad_id=encoder.pad_id, skips=not encoder.include_prompt)
