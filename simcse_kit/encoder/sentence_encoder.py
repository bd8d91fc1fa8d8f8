"""SentenceEncoder: backbone, pooling and head; texts in, one embedding a text out."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Never, Self

import numpy as np
import torch
from torch import Tensor, nn

from simcse_kit.compute import (
    PackedBatch,
    Precision,
    dropout_rates,
    enable_packing,
    forget_recorders,
    forget_weights,
    held_weights,
    keep_buffers,
    make_recordable,
    model_precision,
    set_dropout,
    token_batches,
    use_early_end,
    use_fast_layers,
    use_token_types,
    use_whole_layers,
    watch_padding,
)
from simcse_kit.compute.kernels import kernels
from simcse_kit.data import tokenised
from simcse_kit.encoder.elsewhere import Elsewhere
from simcse_kit.encoder.evaluating import evaluating
from simcse_kit.encoder.given_texts import Asked, as_texts, no_others
from simcse_kit.encoder.limits import Vocabulary, position_limit
from simcse_kit.encoder.loading_settings import check_dropout, place_to_compute
from simcse_kit.encoder.modules import Parts
from simcse_kit.encoder.persistence import load_parts, place_of
from simcse_kit.encoder.pooling import POOLINGS, NoPooling, check_pooling, pool
from simcse_kit.encoder.progress import Bar, Progress, bar_of
from simcse_kit.encoder.prompts import (
    document_prompt,
    prompt_text,
    query_prompt,
    with_name,
)
from simcse_kit.encoder.similarity import similarities
from simcse_kit.encoder.templates import check_masked
from simcse_kit.errors import InputError, TextError

if TYPE_CHECKING:
    from simcse_kit.encoder.runtimes import Backend

logger = logging.getLogger(__name__)

#: Sentences tokenised, sorted and embedded at a time: bounds memory beyond the output.
_CHUNK = 32_768

#: Batches whose embeddings wait on a CUDA device before the CPU takes them over.
_IN_FLIGHT = 32

#: Texts in one call from which on waiting for the compiler (once on a machine) pays on a CPU.
_WORTH_COMPILING = 20_000


def _settle(waiting: list[tuple[np.ndarray, Tensor]], out: np.ndarray) -> None:
    """Write the embeddings that wait on the device to their rows."""
    for places, embeddings in waiting:
        out[places] = embeddings.cpu().numpy()
    waiting.clear()


def _check_finite(out: np.ndarray, start: int, end: int) -> None:
    for bad in np.flatnonzero(~np.isfinite(out[start:end]).all(axis=1)).tolist():
        raise TextError(start + bad, "the embedding of text {} is not finite; the model is broken")


class SentenceEncoder(Elsewhere):
    """A Hugging Face encoder that gives one embedding a text.

    Attributes:
        backbone: the transformers model, without a pooler.
        tokenizer: its tokenizer, with the template that is put around texts, if any.
        pooling: one of `simcse_kit.encoder.pooling.POOLINGS`.
        head: what changes the pooled vector, or None: linear layer and activation (SimCSE's), or
            the modules of a folder.
        normalize: whether `encode` gives unit vectors unless told otherwise.
        truncate_dim: leading numbers of an embedding that are kept, or None for all.
        similarity_fn_name: what `similarity` compares by: cosine, dot, euclidean or manhattan.
        prompts, default_prompt: texts put before texts, by name; and the name of the one put
            before each that `encode` is not told otherwise of, or None.
        max_length: tokens a text is cut to, special tokens included.
        precision: ``fp32`` or ``bf16``, what `encode` computes in; of some exports ``int8``.
        name: where it came from, for tables and cards.
        packed: whether batches run without padding (see `simcse_kit.compute.packing`).
        runtime: the export that computes in place of backbone and head, or None.
    """

    def __init__(self, parts: Parts, *, name: str = "", precision: str = "auto") -> None:
        super().__init__()
        if not isinstance(parts, Parts):
            raise InputError(
                f"an encoder is made of its parts, not of {parts!r:.60}; a folder or hub id is"
                " loaded by SentenceEncoder.from_pretrained"
            )
        self.backbone = parts.backbone
        self.tokenizer = parts.tokenizer
        self._mask_id: int | None = self.tokenizer.mask_token_id  # to ask breaks a compiled graph
        self.pooling = check_pooling(parts.pooling or "")
        self.head = parts.head
        self.normalize = parts.normalize
        self.truncate_dim = parts.truncate_dim
        self.similarity_fn_name = parts.similarity_fn_name
        self.prompts = dict(parts.prompts)
        self.default_prompt = parts.default_prompt
        self.include_prompt = parts.include_prompt
        self.own_code = parts.own_code
        self.name = name
        self.packed = enable_packing(self.backbone)
        use_token_types(self.backbone, self.tokenizer)
        if not self.packed and watch_padding(self.backbone):
            logger.info(
                "padding changes what %s computes: texts of equal length run together", name
            )
        use_fast_layers(self.backbone)
        use_early_end(self.backbone)
        use_whole_layers(self.backbone)
        limit = position_limit(self.backbone)
        tokenizer_limit = getattr(self.tokenizer, "model_max_length", None)
        bounds = [bound for bound in (limit, tokenizer_limit, 1 << 20) if bound]
        self.max_length: int = min(bounds) if parts.max_length is None else parts.max_length
        self.check_max_length(self.max_length)
        self.precision = model_precision(precision, self.backbone, name)
        self.vocabulary = Vocabulary(self.tokenizer, self.backbone, name)

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | Path,
        *,
        pooling: str | None = None,
        default_pooling: str | None = None,
        head: str | None = None,
        max_length: int | None = None,
        backend: Backend = "torch",
        device: str | torch.device | None = None,
        precision: Precision = "auto",
        dropout: float | None = None,
        revision: str | None = None,
        trust_remote_code: bool = False,
        token: str | bool | None = None,
    ) -> SentenceEncoder:
        """Load a hub id, a Hugging Face folder or a sentence-transformers folder.

        Args:
            pooling: needed for a plain checkpoint, which has no pooling of its own; overrides
                a sentence-transformers folder's.
            default_pooling: for a plain checkpoint alone; a model's own pooling stands.
            head: ``none`` drops a folder's dense layer; ``keep`` takes a plain checkpoint's
                pooler weights as the head (released supervised SimCSE models). Default: what
                the folder has.
            max_length: tokens a text is cut to; default: the folder's, else the model's limit.
            backend: what computes: ``onnx`` and ``openvino`` run the folder's export
                (`simcse_kit.encoder.export`) on the CPU, for `encode` and what stands on it.
            device: default CUDA where there is one, else CPU.
            precision: ``auto`` is bf16 where the hardware is native to it, else fp32.
            dropout: overrides every dropout rate of the backbone.
            revision, trust_remote_code, token: as in transformers.

        Raises:
            InputError: the model cannot be read, a plain checkpoint came without a pooling, there
                is no such device, or no export, or one of another encoder.
        """
        name = str(name_or_path)
        if head not in (None, "none", "keep"):
            raise InputError(f"unknown head {head!r}; choose none or keep")
        for given in (pooling, default_pooling):
            if given is not None:
                check_pooling(given)
        where = place_to_compute(backend, device, precision, dropout)
        parts = load_parts(
            name, head=head, revision=revision, trust_remote_code=trust_remote_code, token=token
        )
        if parts.pooling is None:
            pooling = pooling or default_pooling
        if pooling is None and parts.pooling is None:
            others = [other for other in POOLINGS if other != "mean"]
            raise NoPooling(
                f"model {name!r} is a plain checkpoint with no pooling file; choose a pooling: "
                f"--pooling mean, in Python pooling='mean' (or {', '.join(others)})"
            )
        if parts.pooling is None:
            logger.info("%s has no pooling file: pooling %s, as chosen", name, pooling)
        elif pooling not in (None, parts.pooling):
            logger.warning("%s pools by %s, and is given %s instead", name, parts.pooling, pooling)
        parts.pooling = pooling or parts.pooling
        if head == "none":
            parts.head = None
        if parts.head is not None and parts.pooling == "cls_before_pooler":
            raise InputError("pooling cls_before_pooler takes no head; use cls, or head='none'")
        parts.max_length = max_length if max_length is not None else parts.max_length
        encoder = cls(parts, name=name, precision="fp32")
        if dropout is not None:
            encoder.set_dropout(dropout)
        if backend != "torch":
            found, hub = place_of(name, revision, trust_remote_code, token)
            encoder._run_by(backend, {**hub, "name": found}, precision)
        else:
            encoder.to(where)
            encoder.precision = model_precision(precision, encoder.backbone, name)
        return encoder.eval()

    def __getstate__(self) -> dict[str, Any]:
        """For `pickle`, `copy` and processes that are given an encoder."""
        forget_recorders(self)
        return self.__dict__

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        make_recordable(self.backbone)

    def train(self, mode: bool = True) -> Self:
        """As any module's. What `encode` keeps of the weights is dropped before they change."""
        if mode:
            forget_weights(self)
        return super().train(mode)

    @property
    def pad_id(self) -> int:
        """The token that rows are filled up with."""
        return self.backbone.config.pad_token_id or 0

    def check_max_length(self, max_length: int) -> None:
        """Raises `InputError` where a text could not be cut to so many tokens."""
        limit = position_limit(self.backbone)
        if max_length < 3:
            raise InputError(f"max_length {max_length} leaves no room for a token; use 3 or more")
        if limit is not None and max_length > limit:
            raise InputError(
                f"max_length {max_length} is over the {limit} tokens {self.name!r} has positions "
                f"for; use at most {limit}"
            )

    def dropout_rates(self) -> set[float]:
        """Every dropout rate in the backbone."""
        return dropout_rates(self.backbone)

    def set_dropout(self, rate: float) -> None:
        """Give every dropout in the backbone, its attention's included, the same rate."""
        check_dropout(rate)
        set_dropout(self.backbone, rate)

    def forward(self, batch: PackedBatch, skip: int = 0) -> Tensor:
        """Embeddings ``(sequences, dimension)`` of a packed batch, in the caller's order.

        Args:
            skip: first tokens of each sequence that are not pooled (see `include_prompt`).
        """
        if self.runtime is not None:
            embeddings = self.runtime.vectors(batch, skip, pooling=self.pooling, head=self.head)
        else:
            embeddings = pool(self.backbone, batch, self.pooling, skip, self._mask_id)
            if self.head is not None:
                embeddings = self.head(embeddings)
        if self.truncate_dim is None:
            return embeddings
        if self.normalize:
            embeddings = nn.functional.normalize(embeddings, dim=-1)
        return embeddings[:, : self.truncate_dim]

    def encode(
        self,
        texts: str | Iterable[str],
        *,
        normalize: bool | None = None,
        precision: Precision | None = None,
        batch_tokens: int | None = None,
        prompt: str | None = None,
        prompt_name: str | None = None,
        show_progress: Progress = False,
        out: np.ndarray | None = None,
        **others: Never,
    ) -> np.ndarray:
        """Embed a string, or any iterable of strings in order. Each embedding is its text's alone.

        Args:
            normalize: unit vectors; default: as the model's folder says, which is before
                `truncate_dim` cuts them.
            precision: overrides the encoder's own.
            batch_tokens: tokens a batch; default fits the device.
            prompt, prompt_name: text put before each text, or the name of the folder's; the
                default is the folder's default prompt, as in sentence-transformers.
            show_progress: a bar on stderr, when that is a terminal; or a bar of tqdm to move on.
            out: float32 array ``(N, dimension)`` to fill, for instance a memory map.

        Returns:
            float32 ``(N, dimension)``, or ``(dimension,)`` for a single string.

        Raises:
            InputError: an entry is not a string, a number in the embeddings is not finite, or a
                setting of another name (a type checker says that first).
        """
        no_others(others)
        rows = as_texts(texts)
        prefix = prompt_text(self.prompts, self.default_prompt, prompt, prompt_name)
        if out is None:
            out = np.empty((len(rows), self.dimension), dtype=np.float32)
        elif out.shape != (len(rows), self.dimension):
            raise InputError(f"out has shape {out.shape}, not {(len(rows), self.dimension)}")
        given = precision or self.precision
        chosen = given if given == self.precision else self._resolved(given)
        own = self.normalize and self.truncate_dim is None  # else `forward` did it
        how = Asked(prefix, own if normalize is None else normalize, chosen, batch_tokens)
        with bar_of(show_progress, len(rows)) as bar:
            self._fill(out, rows, how, bar)
        return out[0] if isinstance(texts, str) else out

    def _fill(self, out: np.ndarray, rows: Sequence[str], how: Asked, bar: Bar) -> None:
        """Embed these texts into `out` ``(N, dimension)``, and move the bar on."""
        skip = 0 if self.include_prompt else self._tokens_of(how.prefix)
        if self.device.type == "cpu":
            keep_buffers()
            if len(rows) >= _WORTH_COMPILING and self.runtime is None:
                kernels()
        with self._inference(how.precision):
            for start, store in tokenised(
                rows, self.tokenizer, self.max_length, prefix=how.prefix, chunk=_CHUNK
            ):
                self.vocabulary.check(store, start)
                if self.pooling == "mask":
                    check_masked(store, self.tokenizer, start)
                waiting: list[tuple[np.ndarray, Tensor]] = []
                for places in self._batches(store.lengths, how.batch_tokens):
                    batch = PackedBatch.from_flat(*store.gather(places))
                    waiting.append((places, self._embed(batch, how.normalize, skip)))
                    if self.device.type != "cuda" or len(waiting) == _IN_FLIGHT:
                        _settle(waiting, out[start:])
                    bar.update(len(places))
                _settle(waiting, out[start:])
                _check_finite(out, start, start + len(store))

    def encode_query(self, texts: str | Sequence[str], **settings: Any) -> np.ndarray:
        """`encode`, with the prompt named ``query`` where the model has one."""
        return self.encode(texts, **with_name(settings, query_prompt(self.prompts)))

    def encode_document(self, texts: str | Sequence[str], **settings: Any) -> np.ndarray:
        """`encode`, with the prompt named ``document``, ``passage`` or ``corpus``, if any is."""
        return self.encode(texts, **with_name(settings, document_prompt(self.prompts)))

    def similarity(
        self, texts: str | Sequence[str], others: str | Sequence[str] | None = None
    ) -> np.ndarray:
        """``(len(texts), len(others))``; without `others` of the texts among themselves.

        Cosines, or what `similarity_fn_name` says: dot products, or distances with a minus before
        them (euclidean, manhattan), as `SentenceTransformer.similarity` gives.
        """
        name = self.similarity_fn_name
        unit = True if name == "cosine" else None
        left = self.encode([texts] if isinstance(texts, str) else texts, normalize=unit)
        right = left
        if others is not None:
            right = self.encode([others] if isinstance(others, str) else others, normalize=unit)
        return similarities(left, right, name)

    def _embed(self, batch: PackedBatch, unit: bool, skip: int) -> Tensor:
        if self.device.type == "cuda":  # the copy does not hold up the batches before it
            batch = batch.laid_out(self.pad_id).pin_memory().to(self.device, non_blocking=True)
        embeddings: Tensor = (self(batch, skip) if skip else self(batch)).float()
        return nn.functional.normalize(embeddings, dim=-1) if unit else embeddings

    def _batches(self, lengths: np.ndarray, batch_tokens: int | None) -> list[np.ndarray]:
        on_gpu = self.device.type == "cuda"
        usual = 8_192 if self.runtime is None else self.runtime.batch_tokens
        tokens = batch_tokens or (65_536 if on_gpu else usual)
        # on a GPU attention and pooling may pad what runs packed elsewhere
        pads = on_gpu or not (self.packed or self.backbone.sees_padding)
        return token_batches(lengths, tokens, padded=pads)

    @contextlib.contextmanager
    def _inference(self, precision: str) -> Iterator[None]:
        """Eval mode without gradients, in this precision; the training flag is put back."""
        # weights in fp16 (`.half()`) compute in fp16: torch has no norm of bf16 with them
        bf16 = precision == "bf16" and self.backbone.dtype != torch.float16
        with (
            evaluating(self),
            torch.inference_mode(),
            torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=bf16),
            held_weights(self),
        ):
            yield
