"""Leakage: training rows that occur in evaluation sets, and evaluation sets that overlap.

What counts as the same sentence is in `hashes`: exact, folded, or sharing an 8-gram. A pair of an
evaluation set occurs in another one where the same two folded sentences are a pair there, in
either order and whatever the scores.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Unpack

import numpy as np
from tqdm.auto import tqdm

from simcse_kit.errors import InputError
from simcse_kit.evaluation.leakage.folding import folded_words
from simcse_kit.evaluation.leakage.hashes import (
    HashedSet,
    Hasher,
    Row,
    as_texts,
    exact_hashes,
    union,
)
from simcse_kit.evaluation.sts import SUBSET_TASKS

if TYPE_CHECKING:
    from simcse_kit.data import Reading

#: Sets that are looked at as one, too, where all their members are there.
GROUPS: Mapping[str, Sequence[str]] = {"STS12–16": SUBSET_TASKS}

_CHUNK = 16_384  # training rows at a time
_CHARACTERS = 1 << 23  # of those rows, roughly
_PREFILTER = 22  # bits
NumberedRow = tuple[int, tuple[str, ...]]


@dataclass(frozen=True)
class Example:
    """A training row that occurs in a set.

    Attributes:
        row: its number from 1: the line of a ``.txt`` file, else the row of the data.
        text: the text that matched.
        match: "exact", "folded" or "n-gram".
        shared: the words in common, for an n-gram.
    """

    row: int
    text: str
    match: str
    shared: str = ""


@dataclass(frozen=True)
class Leak:
    """What of the training data occurs in one set.

    Attributes:
        name: the set's.
        rows_exact, rows_folded, rows_gram: training rows with a text that occurs in the set, at
            each strength; what is found exactly is found folded, and by its n-grams if it has any.
        rows_pair: training rows that hold both sentences of a pair of the set; None where the
            set's rows are no pairs.
        sentences_hit, sentences: of the set's different folded sentences, those in the training
            data, and all.
        set_rows_hit, set_rows: of the set's rows, those all of whose sentences are in the
            training data (not necessarily in one row), and all.
        examples: the first few rows, whole sentences before n-grams.
    """

    name: str
    rows_exact: int
    rows_folded: int
    rows_gram: int
    rows_pair: int | None
    sentences_hit: int
    sentences: int
    set_rows_hit: int
    set_rows: int
    examples: tuple[Example, ...]


@dataclass(frozen=True)
class TrainingLeakage:
    """How `rows` training rows with `texts` texts from `source` occur in each set."""

    source: str
    rows: int
    texts: int
    words: int
    leaks: tuple[Leak, ...]


@dataclass(frozen=True)
class Overlap:
    """How much of the set `name` occurs in the set `other`.

    Attributes:
        rows, of_rows: its rows (pairs, with repetitions) that are rows there; None where the two
            sets have rows of different widths.
        sentences, of_sentences: its different folded sentences.
        grams, of_grams: its different n-grams.
        examples: the first few rows that are in both, where the texts are known.
    """

    name: str
    other: str
    rows: int | None
    of_rows: int
    sentences: int
    of_sentences: int
    grams: int
    of_grams: int
    examples: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class LeakageReport:
    """Both questions: training data in evaluation sets, and these in one another."""

    training: TrainingLeakage | None
    overlaps: tuple[Overlap, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain values, ready for `json.dumps`."""
        return asdict(self)


def check_leakage(
    sets: Sequence[HashedSet],
    training: Path | str | Iterable[Row] | None = None,
    *,
    columns: Mapping[str, str] | None = None,
    groups: Mapping[str, Sequence[str]] = GROUPS,
    examples: int = 3,
    show_progress: bool = False,
    **reading: Unpack[Reading],
) -> LeakageReport:
    """`training_leakage` and `overlaps` in one."""
    how: dict[str, Any] = {"examples": examples, "show_progress": show_progress, **reading}
    leaks = None if training is None else training_leakage(training, sets, columns=columns, **how)
    return LeakageReport(leaks, overlaps(sets, groups=groups, examples=examples))


# ---- training data -------------------------------------------------------------------------------


def training_leakage(
    training: Path | str | Iterable[Row],
    sets: Sequence[HashedSet],
    *,
    columns: Mapping[str, str] | None = None,
    examples: int = 3,
    show_progress: bool = False,
    **reading: Unpack[Reading],
) -> TrainingLeakage:
    """Which training rows occur in which of the sets.

    Args:
        training: a data file (``.txt`` is streamed, other formats are read as for training), or
            any iterable of texts or of rows of texts, which is gone through once.
        sets: the evaluation sets, hashed with one n.
        columns, reading: of a data file, as for `read_rows`.
        examples: rows to show, whole sentences and n-grams each.
        show_progress: a bar on stderr, where that is a terminal.

    Memory is that of a chunk of rows and of the sets, however many rows there are.

    Raises:
        InputError: no sets, two of one name, different n; no rows; what `read_rows` refuses.
    """
    _check(sets)
    source = str(training) if isinstance(training, str | Path) else "the given rows"
    search = _Search(sets, examples)
    rows = texts = 0
    with tqdm(unit=" rows", disable=None if show_progress else True) as bar:
        for chunk in _chunks(_numbered(training, columns, reading)):
            search(chunk)
            rows += len(chunk)
            texts += sum(len(row) for _, row in chunk)
            bar.update(len(chunk))
    if not rows:
        raise InputError(f"{source}: holds no rows to look for in the evaluation sets")
    return TrainingLeakage(source, rows, texts, sets[0].words, search.leaks())


def _check(sets: Sequence[HashedSet]) -> None:
    names = [one.name for one in sets]
    if not names:
        raise InputError("There is no evaluation set to look in: give at least one.")
    if len(set(names)) < len(names):
        raise InputError(f"Two sets have one name ({', '.join(names)}): name each differently.")
    if len({one.words for one in sets}) > 1:
        raise InputError(
            "The sets were hashed by n-grams of different lengths"
            f" ({', '.join(f'{one.name}: {one.words}' for one in sets)}): hash all with one."
        )


def _numbered(
    training: Path | str | Iterable[Row], columns: Mapping[str, str] | None, reading: Reading
) -> Iterator[NumberedRow]:
    """Rows with their numbers from 1; blank lines of a text file are numbered but left out."""
    from simcse_kit.data import at_home, data_suffix, is_input, read_rows, text_blocks

    if not isinstance(training, str | Path):
        for number, row in enumerate(map(as_texts, training), start=1):
            if not all(isinstance(text, str) for text in row):
                raise InputError(f"Training row {number} holds {row!r:.60}, which is no text.")
            yield number, row
        return
    path = at_home(training)
    is_text = reading.get("file_format") in (None, "txt") and data_suffix(path) == ".txt"
    as_a_table = columns or reading.get("header")  # which lines have none of: `read_rows` says so
    if as_a_table or not (is_text and is_input(path)):
        rows = read_rows(training, columns=columns, **reading)
        numbers = np.arange(len(rows)) if rows.numbers is None else rows.numbers
        texts = (tuple(filter(None, row)) for row in zip(*rows.columns.values(), strict=True))
        yield from zip((numbers + 1).tolist(), texts, strict=True)
        return
    for first, block in text_blocks(path):
        for number, line in enumerate(block.split("\n"), start=first):
            if text := line.strip():
                yield number, (text,)


def _chunks(rows: Iterator[NumberedRow]) -> Iterator[list[NumberedRow]]:
    """Some rows at a time, fewer where they are whole documents."""
    chunk: list[NumberedRow] = []
    characters = 0
    for row in rows:
        chunk.append(row)
        characters += sum(map(len, row[1]))
        if len(chunk) == _CHUNK or characters >= _CHARACTERS:
            yield chunk
            chunk, characters = [], 0
    if chunk:
        yield chunk


class _Index:
    """Which of many hashes are in which of S sets."""

    def __init__(self, sets: Sequence[np.ndarray]) -> None:
        self.keys = np.unique(np.concatenate(sets))
        self.member = np.stack([np.isin(self.keys, one) for one in sets], axis=1)  # (keys, S)
        # Nearly all that is looked up is in no set: a small table tells that without a search.
        self._maybe = np.zeros(1 << _PREFILTER, dtype=bool)
        self._maybe[self._slot(self.keys)] = True

    def find(self, hashes: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Where hashes are that some set has, and the places of those in `keys`."""
        candidates = np.flatnonzero(self._maybe[self._slot(hashes)])
        places = np.searchsorted(self.keys, hashes[candidates])
        places = np.minimum(places, len(self.keys) - 1)
        found = self.keys[places] == hashes[candidates] if len(self.keys) else places < 0
        return candidates[found], places[found]

    @staticmethod
    def _slot(hashes: np.ndarray) -> np.ndarray:
        slots: np.ndarray = (hashes >> np.uint64(64 - _PREFILTER)).astype(np.int64)
        return slots


class _Search:
    """Counts, chunk by chunk, what of the training data is in the sets."""

    def __init__(self, sets: Sequence[HashedSet], examples: int) -> None:
        self.sets, self.wanted = sets, examples
        self.hasher = Hasher(sets[0].words)
        self.folded = _Index([one.sentences for one in sets])
        self.exact = _Index([one.exact for one in sets])
        self.grams = _Index([one.grams for one in sets])
        self.seen = np.zeros(len(self.folded.keys), dtype=bool)
        self.rows = {kind: [0] * len(sets) for kind in ("exact", "folded", "gram", "pair")}
        self.whole: list[list[Example]] = [[] for _ in sets]
        self.parts: list[list[Example]] = [[] for _ in sets]

    def __call__(self, chunk: Sequence[NumberedRow]) -> None:
        texts = [text for _, row in chunk for text in row]
        widths = np.array([len(row) for _, row in chunk])
        row_of_text = np.repeat(np.arange(len(chunk)), widths)
        hashed = self.hasher(texts)

        whole, places = self.folded.find(hashed.folded)
        self.seen[places] = True
        # What is equal as it stands is equal folded, so only those few are compared again.
        exact, exact_places = self.exact.find(exact_hashes(texts[i] for i in whole))
        gram, gram_places = self.grams.find(hashed.grams)
        gram_text = hashed.text_of_gram[gram]

        for s, one in enumerate(self.sets):
            folded_texts = whole[self.folded.member[places, s]]
            exact_texts = whole[exact[self.exact.member[exact_places, s]]]
            inside = self.grams.member[gram_places, s]
            gram_texts, first = np.unique(gram_text[inside], return_index=True)
            rows = np.unique(row_of_text[folded_texts])
            self.rows["folded"][s] += len(rows)
            self.rows["exact"][s] += len(np.unique(row_of_text[exact_texts]))
            self.rows["gram"][s] += len(np.unique(row_of_text[gram_texts]))
            if one.rows.shape[1] == 2:
                ends = np.cumsum(widths)
                self.rows["pair"][s] += sum(
                    _holds_pair(hashed.folded[ends[row] - widths[row] : ends[row]], one)
                    for row in rows
                )

            equal = set(exact_texts.tolist())
            for i in folded_texts[: self.wanted - len(self.whole[s])].tolist():
                match = "exact" if i in equal else "folded"
                self.whole[s].append(Example(chunk[row_of_text[i]][0], texts[i], match))
            only = ~np.isin(gram_texts, folded_texts)
            found = zip(gram_texts[only], gram[inside][first[only]], strict=True)
            for i, g in islice(found, self.wanted - len(self.parts[s])):
                start = g - hashed.first_gram[i]
                shared = folded_words(texts[i])[start : start + self.hasher.words]
                number = chunk[row_of_text[i]][0]
                self.parts[s].append(Example(number, texts[i], "n-gram", " ".join(shared)))

    def leaks(self) -> tuple[Leak, ...]:
        """What was found, set by set."""
        found = self.folded.keys[self.seen]
        return tuple(
            Leak(
                name=one.name,
                rows_exact=self.rows["exact"][s],
                rows_folded=self.rows["folded"][s],
                rows_gram=self.rows["gram"][s],
                rows_pair=self.rows["pair"][s] if one.rows.shape[1] == 2 else None,
                sentences_hit=int(self.folded.member[self.seen, s].sum()),
                sentences=len(one.sentences),
                set_rows_hit=int(np.isin(one.rows, found).all(axis=1).sum()),
                set_rows=len(one),
                examples=tuple(self.whole[s] + self.parts[s]),
            )
            for s, one in enumerate(self.sets)
        )


def _holds_pair(texts: np.ndarray, pairs: HashedSet) -> bool:
    """Whether two of a row's folded texts (C,) are a pair of the set."""
    two = combinations(np.sort(texts), 2)
    return any(np.array(pair).tobytes() in pairs.row_keys for pair in two)


# ---- sets in one another -------------------------------------------------------------------------


def overlap(one: HashedSet, other: HashedSet, *, examples: int = 3) -> Overlap:
    """How much of `one` occurs in `other`."""
    in_other = None
    if one.rows.shape[1] == other.rows.shape[1]:
        in_other = [row.tobytes() in other.row_keys for row in one.rows]
    shown: list[tuple[str, ...]] = []
    if one.texts is not None and in_other is not None:
        both = (row for row, there in zip(one.texts, in_other, strict=True) if there)
        shown = list(islice(both, examples))
    return Overlap(
        name=one.name,
        other=other.name,
        rows=None if in_other is None else sum(in_other),
        of_rows=len(one),
        sentences=int(np.isin(one.sentences, other.sentences).sum()),
        of_sentences=len(one.sentences),
        grams=int(np.isin(one.grams, other.grams).sum()),
        of_grams=len(one.grams),
        examples=tuple(shown),
    )


def overlaps(
    sets: Sequence[HashedSet],
    *,
    groups: Mapping[str, Sequence[str]] = GROUPS,
    examples: int = 3,
) -> tuple[Overlap, ...]:
    """Every set in every other, and in each group of others whose members are all there.

    Raises InputError for no sets, two of one name, or different n.
    """
    _check(sets)
    by_name = {one.name: one for one in sets}
    targets = [(one, frozenset({one.name})) for one in sets]
    for name, members in groups.items():
        if set(members) <= by_name.keys():
            joined = union(name, [by_name[member] for member in members])
            targets.append((joined, frozenset(members)))
    return tuple(
        overlap(one, other, examples=examples)
        for one in sets
        for other, members in targets
        if one.name not in members
    )
