"""What a folder of embeddings says of itself: model, settings, inputs and its shards."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from simcse_kit.corpus.numbers import NumberType
from simcse_kit.data import Place, write_json
from simcse_kit.errors import InputError
from simcse_kit.version import __version__

if TYPE_CHECKING:
    from simcse_kit.encoder import SentenceEncoder

NAME = "manifest.json"
_FORMAT = 1

#: ``parquet``: vectors beside their rows in each shard. ``npy``: all in one ``vectors.npy``.
Store = Literal["parquet", "npy"]


@dataclass(frozen=True)
class EmbeddedBy:
    """The encoder that made the vectors, and what it was given.

    Attributes:
        name: as it was loaded: a folder, or a hub id.
        fingerprint: of all that a vector depends on (`encoder.embeddings_of`).
        prompt: put before each text.
        normalized: whether the vectors were of length 1 before their numbers were kept.
        pooling, max_length, precision, head, backend: to load it so again.
        template: around each text, "" for none; None in folders of earlier versions, for unknown.
    """

    name: str
    fingerprint: str
    prompt: str
    normalized: bool
    pooling: str
    max_length: int
    precision: str
    head: str | None = None
    backend: str = "torch"
    template: str | None = None

    @classmethod
    def of(
        cls, encoder: SentenceEncoder, *, prompt: str, normalized: bool, head: str | None = None
    ) -> EmbeddedBy:
        """An encoder as it stands."""
        from simcse_kit.encoder import embeddings_of

        name = encoder.name
        return cls(
            str(Path(name).absolute()) if Path(name).is_dir() else name,
            embeddings_of(encoder, prompt, normalized),
            prompt,
            normalized,
            encoder.pooling,
            encoder.max_length,
            encoder.precision,
            head,
            "torch" if encoder.runtime is None else encoder.runtime.backend,
            _template(encoder),
        )

    def settings(self) -> dict[str, Any]:
        """As keywords for `SentenceEncoder.from_pretrained`, which makes it so again."""
        return {
            "pooling": self.pooling,
            "max_length": self.max_length,
            # an export of int8 has no other precision to choose
            "precision": "auto" if self.precision == "int8" else self.precision,
            "head": self.head,
            "backend": self.backend,
        }

    def load(self, *, trust_remote_code: bool = False) -> SentenceEncoder:
        """The same encoder, loaded by its name. InputError where that is not the same any more."""
        from simcse_kit.encoder import SentenceEncoder, embeddings_of

        encoder = SentenceEncoder.from_pretrained(
            self.name, **self.settings(), trust_remote_code=trust_remote_code
        )
        if self.template is not None and self.template != _template(encoder):
            encoder.use_template(self.template)
        if embeddings_of(encoder, self.prompt, self.normalized) != self.fingerprint:
            raise InputError(
                f"{self.name}: is not the model any more that the vectors are of: its weights or "
                "settings have changed"
            )
        return encoder


def _template(encoder: SentenceEncoder) -> str:
    """What stands around its texts, so that it is read as the same tokens again; "" for nothing."""
    from simcse_kit.encoder import template_of

    found = template_of(encoder.tokenizer)
    if found is None:
        return ""
    before, after = (
        encoder.tokenizer.decode([*ids], clean_up_tokenization_spaces=False)
        for ids in (found.before, found.after)
    )
    return f"{before}{{}}{after}"


@dataclass(frozen=True)
class Layout:
    """How the vectors are kept.

    Attributes:
        dimension: numbers of a vector.
        type: what they are kept as.
        store: where.
        shard_rows: rows of every shard but the last.
        texts: whether the texts stand beside them.
    """

    dimension: int
    type: NumberType = "fp32"
    store: Store = "parquet"
    shard_rows: int = 65_536
    texts: bool = False


@dataclass(frozen=True)
class Shard:
    """One finished shard.

    Attributes:
        number: from 0.
        rows: of it.
        start: where its first row stands among the inputs.
        next: where the next shard's does; None after the last.
        digest: SHA-256 of its file.
        vectors_digest: SHA-256 of its part of ``vectors.npy``.
    """

    number: int
    rows: int
    start: Place
    next: Place | None
    digest: str
    vectors_digest: str | None = None

    @classmethod
    def read(cls, told: dict[str, Any]) -> Shard:
        """From what `asdict` made of one."""
        places = {key: told[key] and Place(**told[key]) for key in ("start", "next")}
        return cls(**{**told, **places})


@dataclass(frozen=True)
class Manifest:
    """All of it.

    Attributes:
        model, layout: what every vector depends on, and how it is kept.
        inputs: of each its name, and what shows that it is not what it was.
        reading: how they were read: keywords of `TextStream`.
        rows: of the corpus; None while it is being embedded.
        shards: those that are finished; only what is whole lists them.
    """

    model: EmbeddedBy
    layout: Layout
    inputs: list[dict[str, Any]]
    reading: dict[str, Any]
    rows: int | None = None
    shards: list[Shard] = field(default_factory=list)

    def write(self, folder: Path) -> None:
        """Put it into the folder, whole or not at all."""
        told = {"format": _FORMAT, "simcse_kit": __version__, **asdict(self)}
        write_json(folder / NAME, told)

    @classmethod
    def read(cls, folder: Path) -> Manifest | None:
        """That of a folder; None where there is none. InputError where it cannot be read."""
        path = folder / NAME
        try:
            told = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise InputError(_damaged(path)) from error
        if not isinstance(told, dict) or told.pop("format", None) != _FORMAT:
            raise InputError(_damaged(path))
        told.pop("simcse_kit", None)
        try:
            return cls(
                **{
                    **told,
                    "model": EmbeddedBy(**told["model"]),
                    "layout": Layout(**told["layout"]),
                    "shards": [Shard.read(each) for each in told["shards"]],
                }
            )
        except (KeyError, TypeError) as error:
            raise InputError(_damaged(path)) from error

    def check_same(self, wanted: Manifest, folder: Path, *, in_parts: bool = False) -> None:
        """Raise InputError, by name, where the folder holds what is not wanted of it.

        Args:
            in_parts: others may write there too, so that no run begins anew by itself.
        """
        for what in (_other_model, _other_layout, _other_inputs):
            if found := what(self, wanted):
                emptied = "remove the folder before all parts begin"
                here = emptied if in_parts else "overwrite=True to begin anew"
                typed = emptied if in_parts else "--overwrite to begin anew"
                raise InputError(
                    f"{folder} {found}; give another output, or {here}",
                    command_line=f"{folder} {found}; give another --output, or {typed}",
                )


def _other_model(kept: Manifest, wanted: Manifest) -> str | None:
    its, ours = kept.model, wanted.model
    if its.fingerprint == ours.fingerprint:
        return None
    if its.prompt != ours.prompt:
        return f"holds embeddings with the prompt {its.prompt!r}, not {ours.prompt!r}"
    for name in ("precision", "max_length", "pooling", "normalized"):
        here, there = getattr(its, name), getattr(ours, name)
        if here != there and its.name == ours.name:
            return f"holds embeddings with {name} {here}, not {there}"
    if its.name == ours.name:
        return f"holds embeddings by {its.name} as it was: its weights or settings have changed"
    return f"holds embeddings by the model {its.name}, not by {ours.name}"


def _other_layout(kept: Manifest, wanted: Manifest) -> str | None:
    its, ours = asdict(kept.layout) | kept.reading, asdict(wanted.layout) | wanted.reading
    ours.pop("skip_bad_rows")  # what is finished has let pass what it met
    if its["blank"] == "error":  # what is finished met no blank rows
        ours.pop("blank")
    for name, value in ours.items():
        if its.get(name) != value:
            return f"was begun with {name.replace('_', ' ')} {its.get(name)}, not {value}"
    return None


def _other_inputs(kept: Manifest, wanted: Manifest) -> str | None:
    its, ours = ([each["name"] for each in one.inputs] for one in (kept, wanted))
    if its != ours:
        said = [f"without {name}" for name in ours if name not in its][:1]
        said += [f"with {name}" for name in its if name not in ours][:1]
        if said:
            return f"was begun {' and '.join(said)}"
        return "was begun with the same inputs in another order"
    for before, now in zip(kept.inputs, wanted.inputs, strict=True):
        if before != now:
            return f"was begun before {now['name']} changed"
    return None


def _damaged(path: Path) -> str:
    return f"{path}: is no manifest of embeddings that this version reads; embed again"
