"""SentenceEncoder: backbone, pooling and head; texts in, one embedding a text out."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from simcse_kit.compute import (
    PackedBatch,
    Precision,
    dropout_rates,
    enable_packing,
    held_weights,
    keep_buffers,
    resolve_precision,
    set_dropout,
    token_batches,
    use_early_end,
    use_fast_layers,
    use_whole_layers,
)
from simcse_kit.compute.kernels import kernels
from simcse_kit.data import tokenised
from simcse_kit.encoder.persistence import Parts, load_parts, position_limit
from simcse_kit.encoder.pooling import POOLINGS, check_pooling, pool
from simcse_kit.encoder.saving import Saving
from simcse_kit.errors import InputError

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
    finite = np.isfinite(out[start:end])
    if not finite.all():
        bad = start + int(np.flatnonzero(~finite.all(axis=1))[0])
        raise InputError(f"the embedding of text {bad} is not finite; the model is broken")


class SentenceEncoder(Saving):
    """A Hugging Face encoder that gives one embedding a text.

    Attributes:
        backbone: the transformers model, without a pooler.
        tokenizer: its tokenizer.
        pooling: one of `simcse_kit.encoder.pooling.POOLINGS`.
        head: linear layer and activation kept at inference, or None.
        normalize: whether `encode` gives unit vectors unless told otherwise.
        max_length: tokens a text is cut to, special tokens included.
        precision: ``fp32`` or ``bf16``, what `encode` computes in.
        name: where it came from, for tables and cards.
        packed: whether batches run without padding (see `simcse_kit.compute.packing`).
    """

    def __init__(self, parts: Parts, *, name: str, precision: str = "auto") -> None:
        super().__init__()
        self.backbone = parts.backbone
        self.tokenizer = parts.tokenizer
        self.pooling = check_pooling(parts.pooling or "")
        self.head = parts.head
        self.normalize = parts.normalize
        self.prompts = parts.prompts
        self.default_prompt = parts.default_prompt
        self.name = name
        self.packed = enable_packing(self.backbone)
        use_fast_layers(self.backbone)
        use_early_end(self.backbone)
        use_whole_layers(self.backbone)
        limit = position_limit(self.backbone)
        tokenizer_limit = getattr(self.tokenizer, "model_max_length", None)
        bounds = [bound for bound in (limit, tokenizer_limit, 1 << 20) if bound]
        self.max_length: int = parts.max_length or min(bounds)
        self.check_max_length(self.max_length)
        self.precision = resolve_precision(precision, self.device)

    @classmethod
    def from_pretrained(
        cls,
        name_or_path: str | Path,
        *,
        pooling: str | None = None,
        default_pooling: str | None = None,
        head: str | None = None,
        max_length: int | None = None,
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
            device: default CUDA where there is one, else CPU.
            precision: ``auto`` is bf16 where the hardware is native to it, else fp32.
            dropout: overrides every dropout rate of the backbone.
            revision, trust_remote_code, token: as in transformers.

        Raises:
            InputError: the model cannot be read, or a plain checkpoint came without a pooling.
        """
        name = str(name_or_path)
        if head not in (None, "none", "keep"):
            raise InputError(f"unknown head {head!r}; choose none or keep")
        for given in (pooling, default_pooling):
            if given is not None:
                check_pooling(given)
        parts = load_parts(
            name, head=head, revision=revision, trust_remote_code=trust_remote_code, token=token
        )
        if parts.pooling is None:
            pooling = pooling or default_pooling
        if pooling is None and parts.pooling is None:
            others = [other for other in POOLINGS if other != "mean"]
            raise InputError(
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
        encoder.to(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        encoder.precision = resolve_precision(precision, encoder.device)
        return encoder.eval()

    @property
    def device(self) -> torch.device:
        return self.backbone.device

    @property
    def pad_id(self) -> int:
        """The token that rows are filled up with."""
        return self.backbone.config.pad_token_id or 0

    @property
    def dimension(self) -> int:
        """Length of an embedding."""
        if self.head is not None:
            return self.head.linear.out_features
        return self.backbone.config.hidden_size

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
        if not 0 <= rate < 1:
            raise InputError(f"dropout {rate} is no rate; use 0 or more and less than 1")
        set_dropout(self.backbone, rate)

    def forward(self, batch: PackedBatch) -> Tensor:
        """Embeddings ``(sequences, dimension)`` of a packed batch, in the caller's order."""
        pooled = pool(self.backbone, batch, self.pooling)
        return pooled if self.head is None else self.head(pooled)

    def encode(
        self,
        texts: str | Sequence[str],
        *,
        normalize: bool | None = None,
        precision: Precision | None = None,
        batch_tokens: int | None = None,
        prompt: str | None = None,
        prompt_name: str | None = None,
        show_progress: bool = False,
        out: np.ndarray | None = None,
    ) -> np.ndarray:
        """Embed texts. The result does not depend on what else is in the call.

        Args:
            normalize: unit vectors; default: as the model's folder says.
            precision: overrides the encoder's own.
            batch_tokens: tokens a batch; default fits the device.
            prompt, prompt_name: text put before each text, or the name of the folder's; the
                default is the folder's default prompt, as in sentence-transformers.
            show_progress: a bar on stderr, when that is a terminal.
            out: float32 array ``(N, dimension)`` to fill, for instance a memory map.

        Returns:
            float32 ``(N, dimension)``, or ``(dimension,)`` for a single string.

        Raises:
            InputError: an entry is not a string, or a number in the embeddings is not finite.
        """
        single = isinstance(texts, str)
        rows: Sequence[str] = [texts] if isinstance(texts, str) else texts
        prefix = self._prompt(prompt, prompt_name)
        if out is None:
            out = np.empty((len(rows), self.dimension), dtype=np.float32)
        elif out.shape != (len(rows), self.dimension):
            raise InputError(f"out has shape {out.shape}, not {(len(rows), self.dimension)}")
        chosen = resolve_precision(precision or self.precision, self.device)
        unit = self.normalize if normalize is None else normalize
        if self.device.type == "cpu":
            keep_buffers()
            if len(rows) >= _WORTH_COMPILING:
                kernels()
        bar = tqdm(
            total=len(rows), unit="sentence", desc="embed", disable=None if show_progress else True
        )
        with self._inference(chosen), bar:
            for start, store in tokenised(
                rows, self.tokenizer, self.max_length, prefix=prefix, chunk=_CHUNK
            ):
                waiting: list[tuple[np.ndarray, Tensor]] = []
                for places in self._batches(store.lengths, batch_tokens):
                    batch = PackedBatch.from_flat(*store.gather(places))
                    waiting.append((places, self._embed(batch, unit)))
                    if self.device.type != "cuda" or len(waiting) == _IN_FLIGHT:
                        _settle(waiting, out[start:])
                    bar.update(len(places))
                _settle(waiting, out[start:])
                _check_finite(out, start, start + len(store))
        return out[0] if single else out

    def similarity(
        self, texts: str | Sequence[str], others: str | Sequence[str] | None = None
    ) -> np.ndarray:
        """Cosines ``(len(texts), len(others))``; without `others` of the texts among themselves."""
        left = self.encode([texts] if isinstance(texts, str) else texts, normalize=True)
        if others is None:
            right = left
        else:
            right = self.encode([others] if isinstance(others, str) else others, normalize=True)
        return left @ right.T

    def _embed(self, batch: PackedBatch, unit: bool) -> Tensor:
        if self.device.type == "cuda":  # the copy does not hold up the batches before it
            batch = batch.laid_out(self.pad_id).pin_memory().to(self.device, non_blocking=True)
        embeddings: Tensor = self(batch).float()
        return nn.functional.normalize(embeddings, dim=-1) if unit else embeddings

    def _prompt(self, prompt: str | None, prompt_name: str | None) -> str:
        if prompt is not None:
            return prompt
        name = prompt_name or self.default_prompt
        if name is None:
            return ""
        if name not in self.prompts:
            known = ", ".join(self.prompts) or "none"
            raise InputError(f"no prompt named {name!r}; the model's prompts: {known}")
        return self.prompts[name]

    def _batches(self, lengths: np.ndarray, batch_tokens: int | None) -> list[np.ndarray]:
        on_gpu = self.device.type == "cuda"
        tokens = batch_tokens or (65_536 if on_gpu else 8_192)
        # on a GPU attention and pooling may pad what runs packed elsewhere
        return token_batches(lengths, tokens, padded=on_gpu or not self.packed)

    @contextlib.contextmanager
    def _inference(self, precision: str) -> Iterator[None]:
        """Eval mode without gradients, in this precision; the training flag is put back."""
        training = self.training
        self.eval()
        try:
            with (
                torch.inference_mode(),
                torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=precision == "bf16"),
                held_weights(),
            ):
                yield
        finally:
            self.train(training)
