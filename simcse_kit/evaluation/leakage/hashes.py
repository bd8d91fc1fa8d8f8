"""Sets of texts as hashes: enough to find a text again, not to read it.

Two sentences are the same at one of three strengths:

- exact: equal but for runs of white space;
- folded: equal once case is folded (after Unicode NFKC) and everything but letters and digits is
  dropped (`folding`). "Don't!" is "do n't", so the tokenised and the raw release of a set agree. A
  text without any letter or digit stands for itself.
- n-gram: n words in a row (runs of letters and digits, folded) are the same; 8 by default. In
  scripts without blanks between words each character is one. Shorter sentences have none. Stock
  phrases are in unrelated texts too: a sign to look at, not a proof.

A text's hash is 8 bytes of BLAKE2b. An n-gram's is Σ P^(n−1−k)·h(word k) mod 2^64 with h the
words' hashes and an odd P, which numpy computes for a million sentences in seconds. By chance
about one text or n-gram in 10^13 matches a set of a million. Whoever has a text can tell whether
it is in a set, which is the purpose: hashes keep texts from being read, not from being guessed.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from itertools import chain
from pathlib import Path
from typing import Unpack

import numpy as np

from simcse_kit.data import Reading, at_home, check_can_write, replacing
from simcse_kit.errors import InputError
from simcse_kit.evaluation.leakage.folding import exact_text, folded_words
from simcse_kit.evaluation.sts import PairTask

WORDS = 8  # in a row: long enough that few phrases are so common

_FORMAT = "simcse_kit hashes 2"  # 1 dropped the vowel signs of Indic scripts
_MULTIPLIER = 0x9E3779B97F4A7C15  # odd: 2^64 divided by the golden ratio
_VOCABULARY = 1 << 20  # words whose hashes are kept: some 150 MB
Row = str | Sequence[str]


@dataclass(frozen=True, eq=False)
class HashedSet:
    """N rows of C texts each (2 for sentence pairs) as hashes.

    Attributes:
        name: what the set is called in reports.
        rows: uint64 (N, C), the folded texts, ascending within a row since order says nothing.
        exact: uint64 (E,), the different texts, exact, ascending.
        grams: uint64 (G,), the different n-grams, ascending.
        words: n.
        texts: the rows themselves where they are at hand; never written.
    """

    name: str
    rows: np.ndarray
    exact: np.ndarray
    grams: np.ndarray
    words: int
    texts: tuple[tuple[str, ...], ...] | None = field(default=None, repr=False)

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def sentences(self) -> np.ndarray:
        """The different folded texts, uint64 (S,), ascending."""
        return np.unique(self.rows)

    @cached_property
    def row_keys(self) -> frozenset[bytes]:
        """Every row as bytes, for looking one up."""
        return frozenset(row.tobytes() for row in self.rows)


@dataclass(frozen=True, eq=False)
class HashedTexts:
    """T texts as hashes.

    Attributes:
        folded: uint64 (T,).
        grams: uint64 (G,), of all texts end to end.
        text_of_gram: int64 (G,), the text each n-gram is in.
        first_gram: int64 (T,), where the n-grams of each text begin.
    """

    folded: np.ndarray
    grams: np.ndarray
    text_of_gram: np.ndarray
    first_gram: np.ndarray


class Hasher:
    """Hashes texts by the chunk; keeps the hashes of the words it has met."""

    def __init__(self, words: int = WORDS) -> None:
        if words < 2:
            raise InputError(f"An n-gram of {words} word(s) says nothing: take 2 words or more.")
        self.words = words
        self._hashes = _WordHashes()

    def __call__(self, texts: Sequence[str]) -> HashedTexts:
        """Hashes of T texts."""
        in_words = [folded_words(text) for text in texts]
        keys = [
            "".join(found) or exact_text(text) for found, text in zip(in_words, texts, strict=True)
        ]
        folded = np.fromiter(map(_hash, keys), dtype=np.uint64, count=len(keys))
        return HashedTexts(folded, *self._grams(in_words))

    def _grams(self, in_words: list[list[str]]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        lengths = np.fromiter(map(len, in_words), dtype=np.int64, count=len(in_words))
        counts = np.maximum(lengths - self.words + 1, 0)
        first = np.cumsum(counts) - counts
        if len(self._hashes) > _VOCABULARY:
            self._hashes.clear()
        of_each = map(self._hashes.__getitem__, chain.from_iterable(in_words))
        hashes = np.fromiter(of_each, dtype=np.uint64, count=int(lengths.sum()))
        text = np.repeat(np.arange(len(in_words)), counts)
        # n-gram g of the chunk begins at: the start of its text + its place among its n-grams
        start = (np.cumsum(lengths) - lengths - first)[text] + np.arange(len(text))
        grams = np.zeros(len(text), dtype=np.uint64)
        for k in range(self.words):
            grams = grams * np.uint64(_MULTIPLIER) + hashes[start + k]  # mod 2^64, as meant
        return grams, text, first


class _WordHashes(dict[str, int]):
    def __missing__(self, word: str) -> int:
        value = self[word] = _hash(word)
        return value


def exact_hashes(texts: Iterable[str]) -> np.ndarray:
    """Hashes of the texts as they are but for white space, uint64 (T,)."""
    return np.fromiter((_hash(exact_text(text)) for text in texts), dtype=np.uint64)


def _hash(text: str) -> int:
    # surrogates can come out of a JSON file, and have no UTF-8 of their own
    raw = text.encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(raw, digest_size=8).digest(), "big")


def as_texts(row: Row) -> tuple[str, ...]:
    """A row of texts from a text or several."""
    if isinstance(row, str) or not isinstance(row, Sequence):
        return (row,)
    return tuple(row)


def hash_set(name: str, rows: Iterable[Row], *, words: int = WORDS) -> HashedSet:
    """Hash the rows of an evaluation set: texts, or as many texts in each row.

    Raises InputError for no rows, rows of different widths, and what is no text or is blank.
    """
    texts = tuple(as_texts(row) for row in rows)
    if not texts:
        raise InputError(f"{name} holds no rows, so nothing can occur in it.")
    width = len(texts[0])
    for number, row in enumerate(texts, start=1):
        if len(row) != width or not width:
            raise InputError(
                f"Row {number} of {name} has {len(row)} texts where the first has {width}."
            )
        if not all(isinstance(text, str) and text.strip() for text in row):
            raise InputError(f"Row {number} of {name} holds a text that is blank or no text.")
    flat = [text for row in texts for text in row]
    hashed = Hasher(words)(flat)
    folded = np.sort(hashed.folded.reshape(len(texts), width), axis=1)
    grams = np.unique(hashed.grams)
    return HashedSet(name, folded, np.unique(exact_hashes(flat)), grams, words, texts)


def hash_task(task: PairTask, *, words: int = WORDS) -> HashedSet:
    """Hash the sentence pairs of an STS task."""
    return hash_set(task.name, zip(task.sentence1, task.sentence2, strict=True), words=words)


def hash_file(
    path: Path | str,
    *,
    name: str | None = None,
    words: int = WORDS,
    columns: Mapping[str, str] | None = None,
    **reading: Unpack[Reading],
) -> HashedSet:
    """An evaluation set from a file: hashes that `write_hashes` wrote, or any file of rows.

    Args:
        columns, reading: of a file of rows, as for `read_rows`.

    Raises InputError as `read_hashes` and `simcse_kit.data.rows.read_rows` do.
    """
    from simcse_kit.data import read_rows

    path = at_home(path)
    if path.suffix == ".safetensors":
        return read_hashes(path)
    rows = read_rows(path, columns=columns, **reading)
    stem = path.name.removesuffix(".gz").rsplit(".", 1)[0]
    parts = rows.columns.values()
    each: Iterable[Row] = zip(*parts, strict=True)
    if not all(map(all, parts)):  # lists of unequal length: each text for itself
        each = (text for text in rows.texts() if text)
    return hash_set(name or stem, each, words=words)


def union(name: str, sets: Sequence[HashedSet]) -> HashedSet:
    """Several sets as one, for what occurs in any of them."""
    if not sets:
        raise InputError(f"{name} is made of no sets: give at least one.")
    if len({(one.words, one.rows.shape[1]) for one in sets}) > 1:
        raise InputError(
            f"{name} would join sets of different widths or n-grams:"
            f" {', '.join(f'{s.name} ({s.rows.shape[1]}, {s.words})' for s in sets)}."
        )
    return HashedSet(
        name,
        np.concatenate([one.rows for one in sets]),
        np.unique(np.concatenate([one.exact for one in sets])),
        np.unique(np.concatenate([one.grams for one in sets])),
        sets[0].words,
    )


# ---- files ---------------------------------------------------------------------------------------


def write_hashes(hashed: HashedSet, path: Path | str) -> None:
    """Write a set without its texts, as safetensors: some 8 bytes a sentence and a word.

    Raises InputError where the file cannot be written or is not named ``.safetensors``.
    """
    from safetensors.numpy import save_file

    path = at_home(path)
    if path.suffix != ".safetensors":
        raise InputError(f"cannot write {path}: the name of a file of hashes ends in .safetensors")
    check_can_write(path)
    arrays = {"rows": hashed.rows, "exact": hashed.exact, "grams": hashed.grams}
    # The order of the rows would be a hint at which sentences go together with which scores.
    arrays["rows"] = arrays["rows"][np.lexsort(arrays["rows"].T[::-1])]
    metadata = {"format": _FORMAT, "name": hashed.name, "words": str(hashed.words)}
    with replacing(path) as aside:
        save_file({k: np.ascontiguousarray(v) for k, v in arrays.items()}, aside, metadata)


def read_hashes(path: Path | str) -> HashedSet:
    """Read what `write_hashes` wrote; nothing in such a file is ever executed.

    Raises InputError for what is missing, damaged or something else.
    """
    from safetensors import SafetensorError, safe_open

    path = at_home(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    try:
        with safe_open(path, framework="numpy") as stored:
            metadata = stored.metadata() or {}
            names = stored.keys()
            arrays = {name: stored.get_tensor(name) for name in names}
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path}: is no safetensors file, or damaged ({error})") from error
    found = metadata.get("format", "none")
    if found != _FORMAT:
        raise InputError(f"{path}: holds no hashes this version reads (format: {found[:40]})")
    shapes = {"rows": 2, "exact": 1, "grams": 1}
    fits = arrays.keys() == shapes.keys() and all(
        arrays[name].dtype == np.uint64 and arrays[name].ndim == shapes[name] for name in shapes
    )
    words = metadata.get("words", "")
    if not (fits and arrays["rows"].size and words.isdecimal() and int(words) > 1):
        raise InputError(f"{path}: its hashes are incomplete; write them again")
    return HashedSet(
        metadata.get("name") or path.stem,
        np.sort(arrays["rows"], axis=1),
        np.unique(arrays["exact"]),
        np.unique(arrays["grams"]),
        int(words),
    )
