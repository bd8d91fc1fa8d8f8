"""Texts, tokenised once: flat ids and offsets, memory-mapped, reused while nothing has changed."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import secrets
import shutil
import threading
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from tqdm import tqdm

from simcse_kit.data.alone import alone
from simcse_kit.data.digests import add_texts, crc32_of
from simcse_kit.data.home import at_home
from simcse_kit.data.kept_texts import JoinedTexts
from simcse_kit.errors import InputError, TextError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_LAYOUT = 2  # raise when what the files hold changes: older stores are then built again
_CHUNK = 8192

#: A tokenizer keeps its truncation as state, which no two threads may set at once.
_tokenising = threading.RLock()

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class TokenStore:
    """N token sequences end to end, special tokens included, cut to the length asked for.

    Sequence ``i`` is ``ids[offsets[i]:offsets[i + 1]]``.
    """

    ids: np.ndarray  # int32 (total_tokens,)
    offsets: np.ndarray  # int64 (N + 1,)

    @classmethod
    def build(
        cls,
        texts: Sequence[str],
        tokenizer: PreTrainedTokenizerBase,
        max_length: int,
        cache_dir: Path | None = None,
        show_progress: bool = False,
    ) -> TokenStore:
        """Tokenise N texts, or map the store that an earlier call left in ``cache_dir``.

        A store is one folder there, named by a hash of the texts, the tokenizer's own
        serialisation and ``max_length``. It appears whole or not at all; a damaged one is built
        again. Without ``cache_dir`` the arrays stay in memory.

        Args:
            texts: N texts; duplicates and empty texts are kept. Those of rows that are kept on
                disk are read chunk by chunk, and known without reading them.
            tokenizer: any Hugging Face tokenizer. As after every call of it, its truncation
                stays set to ``max_length``.
            max_length: tokens a sequence may have, special ones included.
            show_progress: a bar on stderr, when that is a terminal.

        Raises:
            InputError: a text that is no string or cannot be encoded, no room beside the special
                tokens, a cache folder that cannot be written.
        """
        _check_room(tokenizer, max_length)
        if not isinstance(texts, JoinedTexts):
            _check(texts)
        with _tokenising:
            return cls._built(texts, tokenizer, max_length, cache_dir, show_progress)

    @classmethod
    def _built(
        cls,
        texts: Sequence[str],
        tokenizer: Any,
        max_length: int,
        cache_dir: Path | None,
        show_progress: bool,
    ) -> TokenStore:
        chunks = _tokenised(texts, tokenizer, max_length, show_progress)
        if cache_dir is None:
            return cls(*_gathered(chunks))
        folder = at_home(cache_dir) / f"tokens-{_key(texts, tokenizer, max_length)}"
        store = cls._open(folder)
        if store is not None:
            logger.info("tokens reused from %s", folder)
            return store
        try:
            if not isinstance(texts, JoinedTexts):
                aside = folder.with_name(f".{folder.name}.{os.getpid()}-{secrets.token_hex(4)}")
                return cls._made(chunks, aside, folder)
            with alone(folder) as aside:  # so many that another process had better wait
                shutil.rmtree(aside, ignore_errors=True)  # of one that was killed
                return cls._open(folder) or cls._made(chunks, aside, folder)
        except OSError as error:
            raise InputError(
                f"the tokens cannot be stored in {cache_dir} ({error.strerror or error}); "
                f"choose another cache_dir"
            ) from error

    @classmethod
    def _made(
        cls, chunks: Iterator[tuple[np.ndarray, np.ndarray]], aside: Path, folder: Path
    ) -> TokenStore:
        try:
            aside.mkdir(parents=True)
            _write(chunks, aside)
            return cls._install(aside, folder)
        finally:
            shutil.rmtree(aside, ignore_errors=True)

    @classmethod
    def _open(cls, folder: Path) -> TokenStore | None:
        """The store in a folder, or None when there is none that is whole."""
        try:
            meta = json.loads((folder / "meta.json").read_text())
            ids = _mapped(folder / "ids.i32", np.int32)
            offsets = _mapped(folder / "offsets.i64", np.int64)
            files = folder / "ids.i32", folder / "offsets.i64"
            whole = meta["crc32"] == [crc32_of(path) for path in files]
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError):
            whole = False
        if not whole:
            logger.warning("%s is damaged: the texts are tokenised again", folder)
            return None
        return cls(ids, offsets)

    @classmethod
    def _install(cls, aside: Path, folder: Path) -> TokenStore:
        """Move a finished store to its place, unless another process (a rank) was first."""
        try:
            os.rename(aside, folder)
        except OSError:
            store = cls._open(folder)
            if store is not None:
                return store
            shutil.rmtree(folder)  # the damaged one
            os.rename(aside, folder)
        store = cls._open(folder)
        if store is None:
            raise OSError(f"{folder} does not read back as it was written")
        return store

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, index: int) -> np.ndarray:
        """The ids of one sequence, int32 (length,), a view of the store."""
        if not -len(self) <= index < len(self):
            raise IndexError(f"sequence {index} of {len(self)}")
        index %= len(self)
        return self.ids[self.offsets[index] : self.offsets[index + 1]]

    @property
    def lengths(self) -> np.ndarray:
        """Tokens of every sequence, int64 (N,)."""
        return np.diff(self.offsets)

    def gather(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The sequences ``rows`` (B,), end to end in that order.

        Returns:
            Their ids, int64 (sum of lengths,), and their lengths, int64 (B,).
        """
        rows = np.asarray(rows, dtype=np.int64)
        starts = np.asarray(self.offsets[rows])
        lengths = np.asarray(self.offsets[rows + 1]) - starts
        ends = np.cumsum(lengths)
        total = int(ends[-1]) if len(ends) else 0
        # position in the store of each token: its place in the answer, moved to its own sequence
        places = np.arange(total) + np.repeat(starts - (ends - lengths), lengths)
        return self.ids[places].astype(np.int64), lengths


def _renew_lock() -> None:
    """A process that forks while a thread tokenises would find the lock taken for good."""
    global _tokenising
    _tokenising = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_lock)


def _check_room(tokenizer: Any, max_length: int) -> None:
    special = tokenizer.num_special_tokens_to_add()
    if max_length <= special:
        raise InputError(
            f"max_length {max_length} leaves no room for text beside the {special} special tokens "
            f"of the tokenizer; set at least {special + 1}"
        )


def _check(texts: Sequence[str]) -> None:
    for number, text in enumerate(texts):
        if not isinstance(text, str):
            shown = f"{text!r:.40}"
            raise TextError(number, f"text {{}} is {shown}, not a string; remove or replace it")


def _tokenised(
    texts: Sequence[str], tokenizer: Any, max_length: int, show_progress: bool
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Per chunk of texts: ids int32 end to end, and lengths int64."""
    options = {"truncation": True, "max_length": max_length}
    options |= {"return_attention_mask": False, "return_token_type_ids": False}
    fast: Any = None
    # disable=None: no bar where stderr is no terminal
    with tqdm(
        total=len(texts), desc="tokenising", unit=" texts", disable=None if show_progress else True
    ) as bar:
        for start in range(0, len(texts), _CHUNK):
            chunk = list(texts[start : start + _CHUNK])
            try:
                if start == 0:
                    # The tokenizer's own call sets its backend up (truncation, special tokens);
                    # the backend alone, without offsets and Python wrapping, is a third faster.
                    sequences = tokenizer(chunk, **options)["input_ids"]
                    if len(texts) > len(chunk):  # for one chunk there is nothing to be gained
                        fast = _backend_that_agrees(tokenizer, chunk, sequences)
                elif fast is not None:
                    sequences = [encoding.ids for encoding in fast.encode_batch_fast(chunk)]
                else:
                    sequences = tokenizer(chunk, **options)["input_ids"]
            except (UnicodeEncodeError, TypeError):
                _name_unencodable(chunk, start)
                raise
            sequences = _none_empty(sequences, tokenizer, start)
            lengths = np.fromiter(map(len, sequences), np.int64, len(sequences))
            ids = np.fromiter(chain.from_iterable(sequences), np.int32, int(lengths.sum()))
            yield ids, lengths
            bar.update(len(chunk))


def _none_empty(sequences: list[list[int]], tokenizer: Any, start: int) -> list[list[int]]:
    """Sequences of which each has a token.

    Some decoders' tokenizers add none of their own. What has no token has no embedding, so an
    empty text is then the token that begins or ends one.
    """
    if all(sequences):
        return sequences
    names = ("bos_token_id", "eos_token_id", "cls_token_id", "sep_token_id", "pad_token_id")
    known = [token for name in names if (token := getattr(tokenizer, name, None)) is not None]
    if not known:
        number = start + next(place for place, ids in enumerate(sequences) if not ids)
        raise TextError(
            number,
            "text {} is empty, and the tokenizer has no token that could stand for it; leave the "
            "text out or put something there",
        )
    return [ids or known[:1] for ids in sequences]


def _backend_that_agrees(tokenizer: Any, texts: list[str], expected: list[list[int]]) -> Any:
    """The tokenizer's Rust backend, if it gives the same ids on its own."""
    backend: Any = getattr(tokenizer, "backend_tokenizer", None)
    if not hasattr(backend, "encode_batch_fast"):
        return None
    probe = backend.encode_batch_fast(texts[:64])
    return backend if [encoding.ids for encoding in probe] == expected[:64] else None


def _name_unencodable(chunk: list[str], start: int) -> None:
    """Raise for the text that holds half of a surrogate pair, if one does."""
    for number, text in enumerate(chunk, start):
        try:
            text.encode()
        except UnicodeEncodeError as error:
            half = repr(text[error.start])
            raise TextError(
                number,
                f"text {{}} holds half of a character ({half}), which has no UTF-8; repair it "
                "where the text was decoded",
            ) from error


def _gathered(chunks: Iterator[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    ids = [np.empty(0, np.int32)]
    lengths = [np.zeros(1, np.int64)]
    for chunk_ids, chunk_lengths in chunks:
        ids.append(chunk_ids)
        lengths.append(chunk_lengths)
    return np.concatenate(ids), np.cumsum(np.concatenate(lengths))


def _key(texts: Sequence[str], tokenizer: Any, max_length: int) -> str:
    """What the ids depend on, as 32 hex digits of SHA-256."""
    digest = hashlib.sha256(f"{_LAYOUT} {max_length} {len(texts)}\n".encode())
    digest.update(_serialised(tokenizer))
    if isinstance(texts, JoinedTexts):
        digest.update(texts.identity.encode())
    else:
        add_texts(digest, texts)
    return digest.hexdigest()[:32]


def _serialised(tokenizer: Any) -> bytes:
    """All of a tokenizer that decides its ids."""
    import tokenizers

    backend: Any = getattr(tokenizer, "backend_tokenizer", None)
    state: list[Any] = [tokenizers.__version__]
    if hasattr(backend, "to_str"):
        parts = json.loads(backend.to_str())
        # What the last call left there, whatever it was; max_length is hashed on its own.
        state += [parts | {"truncation": None, "padding": None}]
    else:
        state += [type(tokenizer).__name__, tokenizer.get_vocab(), tokenizer.init_kwargs]
    settings = [tokenizer.truncation_side, getattr(tokenizer, "split_special_tokens", False)]
    return json.dumps([state, settings], sort_keys=True, default=str).encode()


def _write(chunks: Iterator[tuple[np.ndarray, np.ndarray]], folder: Path) -> None:
    texts, end = 0, np.zeros(1, np.int64)
    crc, crc_of_offsets = 0, zlib.crc32(end.data)
    with (folder / "ids.i32").open("wb") as ids, (folder / "offsets.i64").open("wb") as offsets:
        offsets.write(end.data)
        for chunk_ids, chunk_lengths in chunks:
            ids.write(chunk_ids.data)
            crc = zlib.crc32(chunk_ids.data, crc)
            ends = end + np.cumsum(chunk_lengths)
            offsets.write(ends.data)
            crc_of_offsets = zlib.crc32(ends.data, crc_of_offsets)
            texts, end = texts + len(ends), ends[-1:]
    meta = {"texts": texts, "tokens": int(end[0]), "crc32": [crc, crc_of_offsets]}
    (folder / "meta.json").write_text(json.dumps(meta))


def _mapped(path: Path, dtype: type[np.integer]) -> np.ndarray:
    """A plain read-only array over the file (`np.memmap` itself is slow to index)."""
    if path.stat().st_size == 0:  # cannot be mapped
        return np.empty(0, dtype)
    return np.asarray(np.memmap(path, dtype, "r"))
