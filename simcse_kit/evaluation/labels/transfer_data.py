"""SentEval's transfer tasks as data: labelled sentences or pairs, and how they are split.

The files, encodings, tokens and the order of the examples are SentEval's (Conneau & Kiela 2018):
the order decides which example is in which fold, so folds drawn with SentEval's seed are its folds.
What is read is checked against the published numbers of examples.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from simcse_kit.errors import InputError
from simcse_kit.evaluation.senteval import check_count, find_root, read_lines, tab_separated

__all__ = ["PUBLISHED", "SUITE", "Counts", "TransferTask", "load_transfer"]

SUITE = ("MR", "CR", "SUBJ", "MPQA", "SST2", "TREC", "MRPC")

Counts = Mapping[str, Mapping[str, int]]
# Examples in each file of a task, as published; the first file of a binary task holds class 1.
PUBLISHED: Counts = {
    "MR": {"rt-polarity.pos": 5331, "rt-polarity.neg": 5331},
    "CR": {"custrev.pos": 2407, "custrev.neg": 1368},
    "SUBJ": {"subj.objective": 5000, "subj.subjective": 5000},
    "MPQA": {"mpqa.pos": 3312, "mpqa.neg": 7294},
    "SST2": {"sentiment-train": 67349, "sentiment-dev": 872, "sentiment-test": 1821},
    "TREC": {"train_5500.label": 5452, "TREC_10.label": 500},
    "MRPC": {"msr_paraphrase_train.txt": 4076, "msr_paraphrase_test.txt": 1725},
}
_FOLDER = {"SST2": "SST/binary"}  # of other tasks: their name
_TREC = ("ABBR", "DESC", "ENTY", "HUM", "LOC", "NUM")
# CR and MPQA have a few blank lines, which the published counts include. An empty text has no
# embedding with many encoders; SentEval's own examples give this in its place.
_EMPTY = "."

Example = tuple[list[str], list[str], int]  # tokens, tokens of the second sentence or [], class


@dataclass(frozen=True, eq=False)
class TransferTask:
    """Labelled sentences, or pairs of sentences, and the splits they come in.

    `labels` are classes from 0, int64 (N,); `sentence2` is None where an example is one sentence.
    `splits` are slices of the N examples: train, dev and test; or train and test; or {}, and then
    every example is tested once, in a fold.
    """

    name: str
    sentence1: list[str]
    sentence2: list[str] | None
    labels: np.ndarray
    splits: dict[str, slice]
    source: str

    def __len__(self) -> int:
        return len(self.labels)


def load_transfer(
    data_dir: Path | str, names: Sequence[str] = SUITE, *, counts: Counts = PUBLISHED
) -> list[TransferTask]:
    """The named tasks, in that order, their numbers of examples checked.

    Args:
        data_dir: the folder that holds SentEval's `MR/`, `CR/`, `SUBJ/`, `MPQA/`, `SST/`, `TREC/`
            and `MRPC/` (those that are named suffice), or a folder one above it.
        names: some of `SUITE`.
        counts: expected examples of each file of a task; other numbers than the published ones
            are for miniature data.

    Raises:
        InputError: unknown or repeated task, wrong folder, missing or broken file, and any
            number of examples other than the expected one.
    """
    if not names:
        raise InputError(f"No task was named: name some of {', '.join(SUITE)}.")
    canonical = [_canonical(name) for name in names]
    for name in canonical:
        if canonical.count(name) > 1:
            raise InputError(f"The task {name} was named twice: name each task once.")
    folders = [_FOLDER.get(name, name).split("/")[0] for name in SUITE]
    root = find_root(Path(data_dir), folders)
    return [_load(root, name, counts.get(name, PUBLISHED[name])) for name in canonical]


def _canonical(name: str) -> str:
    known = {key.lower(): key for key in SUITE}
    bare = "".join(c for c in name.lower() if c not in "-_ ")
    if bare in known:
        return known[bare]
    close = difflib.get_close_matches(bare, known, n=1)
    hint = f" Did you mean {known[close[0]]}?" if close else ""
    raise InputError(f"There is no transfer task {name!r}.{hint} Tasks: {', '.join(SUITE)}.")


def _load(root: Path, name: str, counts: Mapping[str, int]) -> TransferTask:
    parts: list[list[Example]] = []
    for place, (file, expected) in enumerate(counts.items()):
        path = root / _FOLDER.get(name, name) / file
        found = _READERS[name](path) if name in _READERS else _read_class(path, 1 - place)
        check_count(str(path), expected, len(found), "examples")
        parts.append(found)
    if name not in _READERS:  # two classes, split into folds
        return _task(name, [parts[0] + parts[1]], (), root)
    return _task(
        name, parts, ("train", "dev", "test") if len(parts) == 3 else ("train", "test"), root
    )


def _task(
    name: str, parts: list[list[Example]], splits: tuple[str, ...], root: Path
) -> TransferTask:
    examples: list[Example] = []
    slices: dict[str, slice] = {}
    for number, part in enumerate(parts):
        # SentEval's order, made to save padding: by numbers of tokens, then by class.
        part = sorted(part, key=lambda example: (len(example[0]), len(example[1]), example[2]))
        if splits:
            slices[splits[number]] = slice(len(examples), len(examples) + len(part))
        examples += part
    pairs = any(second for _, second, _ in examples)
    return TransferTask(
        name,
        [" ".join(first) or _EMPTY for first, _, _ in examples],
        [" ".join(second) or _EMPTY for _, second, _ in examples] if pairs else None,
        np.array([label for _, _, label in examples], dtype=np.int64),
        slices,
        str(root),
    )


def _read_class(path: Path, label: int) -> list[Example]:
    """A file of one class: a sentence a line."""
    return [(line.split(), [], label) for line in read_lines(path, "latin-1")]


def _read_trec(path: Path) -> list[Example]:
    """``CLASS:subclass question``: the six coarse classes are predicted."""
    examples: list[Example] = []
    for number, line in enumerate(read_lines(path, "latin-1"), start=1):
        label, colon, rest = line.strip().partition(":")
        if not colon or label not in _TREC:
            raise InputError(
                f"{path}:{number} does not begin with one of {', '.join(_TREC)} and a colon."
            )
        examples.append((rest.split()[1:], [], _TREC.index(label)))
    return examples


def _read_sst(path: Path) -> list[Example]:
    """A sentence and its class, 0 or 1, with a tab between them."""
    examples: list[Example] = []
    for number, line in enumerate(read_lines(path), start=1):
        text, label = tab_separated(line, path, number, (0, 1))
        examples.append((text.split(), [], _class(label, path, number)))
    return examples


def _read_mrpc(path: Path) -> list[Example]:
    """A header line, then class, two ids and two sentences, with tabs between them."""
    lines = read_lines(path)
    if not (lines and lines[0].startswith("Quality")):
        raise InputError(f"{path}:1 should be a header line that starts with 'Quality'.")
    examples: list[Example] = []
    for number, line in enumerate(lines[1:], start=2):
        label, first, second = tab_separated(line, path, number, (0, 3, 4))
        examples.append((first.split(), second.split(), _class(label, path, number)))
    return examples


def _class(text: str, path: Path, number: int) -> int:
    if text.strip() not in ("0", "1"):
        raise InputError(f"{path}:{number} has the class {text.strip()!r}, which is not 0 or 1.")
    return int(text)


_READERS: dict[str, Callable[[Path], list[Example]]] = {
    "SST2": _read_sst,
    "TREC": _read_trec,
    "MRPC": _read_mrpc,
}
