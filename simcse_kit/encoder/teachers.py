"""Teachers: what other encoders make of the texts that are trained on, computed once and kept."""

from __future__ import annotations

import gc
import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import Field, ValidationError
from tqdm.auto import tqdm

from simcse_kit.compute import Precision
from simcse_kit.data import KeptMatrix, add_texts, at_home, text_numbers
from simcse_kit.encoder.identity import embeddings_of, weights_of
from simcse_kit.encoder.pooling import Pooling
from simcse_kit.encoder.prompts import prompt_text
from simcse_kit.encoder.sentence_encoder import SentenceEncoder
from simcse_kit.errors import InputError, TextError, explain_settings, key_error
from simcse_kit.parts import Int, PartSettings

logger = logging.getLogger(__name__)

_LAYOUT = 1  # raise when what is kept changes
_AT_A_TIME = 65_536  # rows of a file that are looked through


class Teacher(PartSettings):
    """An encoder, or a file of vectors, that a student is to follow."""

    model: str = Field(
        "",
        description="A folder, a hub id, or a file of vectors FILE.npy, a row for each text of the "
        "data (of several columns one column under the other).",
    )
    pooling: Pooling | None = Field(None, description="As of the model that is trained.")
    head: Literal["none", "keep"] | None = Field(
        None,
        description="keep takes the pooler of a SimCSE checkpoint as its head, none drops its "
        "folder's dense layers. None: what the folder has.",
    )
    template: str | None = Field(
        None, description="Put around every text that it reads. None: as its folder says."
    )
    prompt: str | None = Field(None, description="Put before every text that it reads.")
    prompt_name: str | None = Field(None, description="The same, by its name in the folder.")
    document_prompt: str | None = Field(
        None,
        description="Put before positives and negatives instead. None: as before anchors.",
    )
    normalize: bool | None = Field(
        None, description="Vectors of unit length. None: as its folder says."
    )
    max_length: Annotated[Int, Field(ge=3)] | None = Field(
        None, description="Tokens of a text that it reads. None: as its folder says."
    )
    precision: Precision = Field("auto", description="auto, bf16 or fp32, as of encode.")
    storage: Literal["fp16", "fp32"] = Field(
        "fp16",
        description="How its vectors are kept. fp16 moves cosines far less than computing in bf16 "
        "does, in half the room.",
    )
    revision: str | None = Field(None, description="Branch, tag or commit on the hub.")
    trust_remote_code: bool = Field(False, description="Run the code that its folder brings.")

    @property
    def is_file(self) -> bool:
        """Whether it is a file of vectors."""
        return self.model.endswith(".npy")


def teacher_of(value: Any, key: str = "teachers") -> Teacher:
    """Read a teacher: its name, or a mapping of ``model`` and settings.

    Raises:
        pydantic_core.PydanticCustomError: what there is cannot be one.
    """
    if isinstance(value, Teacher):
        return value
    if isinstance(value, str | Path):
        value = {"model": str(value)}
    if not isinstance(value, Mapping) or not isinstance(value.get("model"), str):
        raise key_error(
            key, f"{key} must be names, or {{model: NAME, SETTING: VALUE}}, not {value!r}"
        )
    for name in value:
        if name not in Teacher.model_fields:
            known = ", ".join(Teacher.model_fields)
            raise key_error(key, f"{key} has no setting {name!r}; settings of a model: {known}")
    try:
        teacher = Teacher(**value)
    except ValidationError as error:
        raise key_error(key, f"{key}: {explain_settings(error)}") from None
    if not teacher.model:
        raise key_error(key, f"{key}: a name is empty; give a folder, a hub id or FILE.npy")
    bare, _, behind = teacher.model.partition("@")
    if "=" in behind and not at_home(teacher.model).exists():
        settings = behind.replace("=", ": ").replace(",", ", ")
        raise key_error(
            key,
            f"{key}: {teacher.model} has settings behind @, which only a command's own model has; "
            f"write {{model: {bare}, {settings}}}",
        )
    if teacher.is_file and (others := sorted(teacher.model_fields_set - {"model"})):
        raise key_error(
            key, f"{key}: {teacher.model} holds vectors, of which {others[0]} can say nothing"
        )
    return teacher


@dataclass(frozen=True)
class _Said:
    """What one teacher says: row ``places[n]`` (None: row ``n``) is its vector of text ``n``.

    `key` is equal for equal weights, or equal files.
    """

    matrix: np.ndarray
    places: np.ndarray | None
    key: str

    def of(self, numbers: np.ndarray) -> np.ndarray:
        rows = np.maximum(numbers, 0)
        found = self.matrix[rows if self.places is None else self.places[rows]].astype(np.float32)
        found[numbers < 0] = 0
        return found


class TeacherVectors:
    """The vectors of every teacher for the texts of some data.

    Attributes:
        numbers: int64 ``(N,)``, of each text that was given: equal for equal texts, -1 for none
            (`simcse_kit.data.text_numbers`); another one for an anchor and for an equal document
            where a teacher reads these behind a prompt of their own.
        widths: T of each teacher.
        keys: of each teacher, equal for equal weights or, of files, equal vectors.
    """

    def __init__(
        self,
        teachers: Sequence[Teacher],
        texts: Sequence[str],
        *,
        anchors: int | None = None,
        cache_dir: Path | None = None,
        device: str | torch.device | None = None,
        show_progress: bool = False,
    ) -> None:
        """Load the teachers one after another, have them embed what is not kept, let them go.

        Args:
            teachers: of whom each is held in memory only while it embeds.
            texts: N, without prompts; equal ones are embedded once.
            anchors: of so many, the first, a teacher reads what its prompt makes, of the others
                what its `document_prompt` does, if it has one; None: of all.
            cache_dir: where vectors are kept, by texts and model; None: in memory.
            device: default CUDA where there is one, else CPU.
            show_progress: a bar on stderr, when that is a terminal.

        Raises:
            InputError: a teacher cannot be read, a file is not of these texts, a vector is not
                finite, the folder cannot be written.
        """
        self.numbers = text_numbers(texts)
        if anchors is not None and any(each.document_prompt is not None for each in teachers):
            self.numbers = _by_side(self.numbers, anchors)
        firsts = _firsts(self.numbers)
        queries = int((firsts < (len(texts) if anchors is None else anchors)).sum())
        self._said = []
        for teacher in teachers:
            if teacher.is_file:
                self._said.append(_from_file(teacher, len(texts), firsts))
                continue
            distinct = [texts[each] for each in firsts]
            try:
                said = _embedded(teacher, distinct, queries, cache_dir, device, show_progress)
            except TextError as error:
                raise error.at(int(firsts[error.number])) from error
            self._said.append(said)
            _free()
        self.widths = tuple(each.matrix.shape[1] for each in self._said)
        self.keys = tuple(each.key for each in self._said)

    def gather(self, numbers: np.ndarray) -> tuple[np.ndarray, ...]:
        """Of each teacher float32 ``(…, T)`` for text numbers ``(…)``; zeros for those below 0."""
        return tuple(each.of(np.asarray(numbers)) for each in self._said)


def _by_side(numbers: np.ndarray, anchors: int) -> np.ndarray:
    """Numbers from 0 without a gap that differ for texts before and behind; -1 stays."""
    apart = numbers.copy()
    behind = apart[anchors:]
    behind[behind >= 0] += numbers.max(initial=-1) + 1
    kept, dense = np.unique(apart, return_inverse=True)
    return dense - int((kept < 0).sum())


def _firsts(numbers: np.ndarray) -> np.ndarray:
    """Where each text number stands first, int64 ``(M,)``."""
    found, places = np.unique(numbers, return_index=True)
    return places[found >= 0]


def _from_file(teacher: Teacher, texts: int, firsts: np.ndarray) -> _Said:
    path = at_home(teacher.model)
    try:
        matrix = np.load(path, mmap_mode="r")
    except FileNotFoundError:
        raise InputError(f"teacher {teacher.model}: no such file; check the path") from None
    except (OSError, ValueError, EOFError) as error:
        raise InputError(
            f"teacher {teacher.model}: cannot be read as an array of numbers ({error}); write it "
            "with numpy.save, or simcse-kit embed"
        ) from error
    shape, kind = matrix.shape, matrix.dtype
    if matrix.ndim != 2 or 0 in shape[1:] or kind.kind != "f":
        raise InputError(
            f"teacher {teacher.model}: holds {kind} of shape {shape}; it must hold vectors, "
            f"floating-point numbers of shape ({texts}, width)"
        )
    if len(matrix) != texts:
        raise InputError(
            f"teacher {teacher.model}: holds {len(matrix):,} vectors, and the data {texts:,} "
            "texts; it must hold one for each, of several columns one column under the other"
        )
    digest = hashlib.sha256(f"{kind} {shape}".encode())
    for start in range(0, texts, _AT_A_TIME):
        some = np.ascontiguousarray(matrix[start : start + _AT_A_TIME])
        digest.update(some.data)
        finite = np.isfinite(some).all(1)
        if not finite.all():
            row = start + int(np.argmin(finite))
            raise InputError(
                f"teacher {teacher.model}: vector {row} is not finite; embed that text again"
            )
    return _Said(np.asarray(matrix), firsts, digest.hexdigest()[:32])


def _embedded(
    teacher: Teacher,
    texts: list[str],
    queries: int,
    cache_dir: Path | None,
    device: str | torch.device | None,
    show_progress: bool,
) -> _Said:
    """Its vectors of distinct texts, the first of them `queries`, read-only ``(M, T)``."""
    encoder = SentenceEncoder.from_pretrained(
        teacher.model,
        pooling=teacher.pooling,
        head=teacher.head,
        max_length=teacher.max_length,
        device=device,
        precision=teacher.precision,
        revision=teacher.revision,
        trust_remote_code=teacher.trust_remote_code,
    )
    if teacher.template is not None:
        encoder.use_template(teacher.template)
    prompt = prompt_text(
        encoder.prompts, encoder.default_prompt, teacher.prompt, teacher.prompt_name
    )
    document = prompt if teacher.document_prompt is None else teacher.document_prompt
    normalize = encoder.normalize if teacher.normalize is None else teacher.normalize
    dtype = np.float16 if teacher.storage == "fp16" else np.float32
    with tqdm(
        total=len(texts),
        unit=" texts",
        desc=f"teacher {encoder.name}",
        disable=None if show_progress else True,
    ) as bar:

        def rows(start: int, end: int) -> np.ndarray:
            bar.update(start - bar.n)
            middle = min(max(start, queries), end)
            sides = [(start, middle, prompt)] if middle > start else []
            sides += [(middle, end, document)] if end > middle or not sides else []
            parts = [embedded(*side) for side in sides]
            found = parts[0] if len(parts) == 1 else np.concatenate(parts)
            bar.update(end - start)
            return _narrowed(found, dtype, teacher)

        def embedded(start: int, end: int, prompt: str) -> np.ndarray:
            try:
                return encoder.encode(texts[start:end], prompt=prompt, normalize=normalize)
            except TextError as error:
                raise error.at(start + error.number) from error

        key = weights_of(encoder)  # as they are stored, before a machine computes in them
        means = embeddings_of(encoder, prompt, normalize)
        if document != prompt and queries < len(texts):
            means += f" {queries} {embeddings_of(encoder, document, normalize)}"
        shape = len(texts), encoder.dimension
        return _Said(_kept(means, shape, dtype, texts, cache_dir, rows), None, key)


def _kept(
    means: str,
    shape: tuple[int, int],
    dtype: Any,
    texts: list[str],
    cache_dir: Path | None,
    rows: Callable[[int, int], np.ndarray],
) -> np.ndarray:
    if cache_dir is None:
        return rows(0, len(texts))
    digest = hashlib.sha256(f"{_LAYOUT} {np.dtype(dtype)} ".encode())
    digest.update(means.encode())
    add_texts(digest, texts)
    folder = at_home(cache_dir) / f"teacher-{digest.hexdigest()[:32]}"
    return KeptMatrix(folder, shape, dtype).get(rows)


def _narrowed(vectors: np.ndarray, dtype: Any, teacher: Teacher) -> np.ndarray:
    with np.errstate(over="ignore"):
        narrow = vectors.astype(dtype)
    if not np.isfinite(narrow).all():
        raise InputError(
            f"teacher {teacher.model}: its vectors are too long for fp16; set storage: fp32, or "
            "normalize: true"
        )
    return narrow


def _free() -> None:
    """Give the memory of a teacher that is done back."""
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
