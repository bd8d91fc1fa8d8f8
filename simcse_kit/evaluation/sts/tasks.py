"""The STS tasks as data: sentence pairs with gold scores, and where they come from.

A local SentEval folder, the hub at pinned revisions, or any file of scored pairs. What is read
is checked against the published numbers of pairs, so a truncated download is an error here and
not a strange score later.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Unpack

import numpy as np

from simcse_kit.errors import InputError
from simcse_kit.evaluation.senteval import check_count, find_root, read_lines, tab_separated
from simcse_kit.evaluation.sts.file_names import file_names, task_name

if TYPE_CHECKING:
    from simcse_kit.data import Reading

SUITE = ("STS12", "STS13", "STS14", "STS15", "STS16", "STSB", "SICKR")
SUBSET_TASKS = SUITE[:5]

Counts = Mapping[str, Mapping[str, int]]
# Rated pairs of each part of a task, as published: the subsets of STS12–16 in SentEval's order
# (STS13's SMT is licensed apart, and SentEval leaves it out), the splits of the others.
PUBLISHED: Counts = {
    "STS12": {
        "MSRpar": 750,
        "MSRvid": 750,
        "SMTeuroparl": 459,
        "surprise.OnWN": 750,
        "surprise.SMTnews": 399,
    },
    "STS13": {"FNWN": 189, "headlines": 750, "OnWN": 561},
    "STS14": {
        "deft-forum": 450,
        "deft-news": 300,
        "headlines": 750,
        "images": 750,
        "OnWN": 750,
        "tweet-news": 750,
    },
    "STS15": {
        "answers-forums": 375,
        "answers-students": 750,
        "belief": 375,
        "headlines": 750,
        "images": 750,
    },
    "STS16": {
        "answer-answer": 254,
        "headlines": 249,
        "plagiarism": 230,
        "postediting": 244,
        "question-question": 209,
    },
    "STSB": {"test": 1379},
    "STSB-dev": {"dev": 1500},
    "STSB-train": {"train": 5749},
    "SICKR": {"test": 4927},
    "SICKR-MTEB": {"train": 4500, "trial": 500, "test": 4927},
}
_SICK_FILES = {
    "train": "SICK_train.txt",
    "trial": "SICK_trial.txt",
    "test": "SICK_test_annotated.txt",
}
_SPLITS = {"STSB-dev": "dev", "STSB-train": "train", "SICKR-MTEB": "train+trial+test"}
Pair = tuple[str, str, float]


@dataclass(frozen=True, eq=False)
class PairTask:
    """Sentence pairs with gold scores: what a model's cosines are correlated with.

    `gold` is float64 (N,), finite; `subsets` are slices of the N pairs, {} when unknown. Raises
    InputError for columns that do not match and for scores that are not numbers.
    """

    name: str
    sentence1: list[str]
    sentence2: list[str]
    gold: np.ndarray
    subsets: dict[str, slice]
    split: str
    source: str

    def __post_init__(self) -> None:
        object.__setattr__(self, "gold", np.asarray(self.gold, dtype=np.float64))
        sizes = len(self.sentence1), len(self.sentence2), len(self.gold)
        if len(set(sizes)) > 1:
            raise InputError(
                f"{self.name} ({self.source}) has {sizes[0]} first sentences, {sizes[1]} second"
                f" ones and {sizes[2]} scores: every pair needs all three."
            )
        if not sizes[0]:
            raise InputError(f"{self.name} ({self.source}) holds no pairs.")
        if not np.isfinite(self.gold).all():
            row = int(np.flatnonzero(~np.isfinite(self.gold))[0])
            raise InputError(
                f"The gold score of pair {row + 1} of {self.name} ({self.source}) is"
                f" {self.gold[row]}: every pair needs a finite number."
            )

    def __len__(self) -> int:
        return len(self.gold)


def load_tasks(
    data_dir: Path | str | None = None,
    names: Sequence[str] = SUITE,
    *,
    columns: Mapping[str, str] | None = None,
    counts: Counts = PUBLISHED,
    **reading: Unpack[Reading],
) -> list[PairTask]:
    """The named tasks, in that order, their numbers of pairs checked.

    Args:
        data_dir: the folder that holds SentEval's `STS/` and `SICK/`, or a folder one above it;
            None loads from the hub at pinned revisions.
        names: "STS12" … "STS16", "STSB", "SICKR" (4,927 test pairs, as SentEval and SimCSE
            score it), "SICKR-MTEB" (all 9,927), "STSB-dev", "STSB-train", or the path of a file
            of scored pairs, which becomes a task of its stem's name (`file_names`).
        columns, reading: of such files, as for `load_pair_file`.
        counts: expected pairs of each part of a task; other numbers than the published ones
            are for miniature data.

    Raises:
        InputError: unknown or repeated task, wrong folder, missing or broken file, and any
            number of pairs other than the expected one.
    """
    if not names:
        raise InputError(f"No task was named: name some of {', '.join(PUBLISHED)}.")
    canonical = [_canonical(name) for name in names]
    root = None
    if data_dir is not None and any(name in PUBLISHED for name in canonical):
        root = find_root(Path(data_dir), ("STS", "SICK"), content="STS1?-en-test")
    files = [name for name in canonical if name not in PUBLISHED]
    pairs = iter(load_pair_files(files, columns, **reading))
    tasks: list[PairTask] = []
    for name in canonical:
        if name not in PUBLISHED:
            task = next(pairs)
        elif root is not None:
            task = _from_folder(root, name, counts.get(name, PUBLISHED[name]))
        else:
            task = _from_hub(name, counts.get(name, PUBLISHED[name]))
        if task.name in (other.name for other in tasks):
            raise InputError(f"The task {task.name} was named twice: name each task once.")
        tasks.append(task)
    return tasks


def load_stsb(
    data_dir: Path | str | None,
    split: Literal["train", "dev", "test"],
    *,
    counts: Counts = PUBLISHED,
) -> PairTask:
    """One split of STS-B. Models are selected on dev; test is for the final table."""
    if split not in ("train", "dev", "test"):
        raise InputError(f"STS-B has the splits train, dev and test, not {split!r}.")
    name = "STSB" if split == "test" else f"STSB-{split}"
    return load_tasks(data_dir, [name], counts=counts)[0]


def load_pair_file(
    path: Path | str, columns: Mapping[str, str] | None = None, **reading: Unpack[Reading]
) -> PairTask:
    """A task of the file's stem's name from a file of scored pairs, in any language.

    Args:
        columns: our names (sentence1, sentence2, score) to the file's, where they are others.
        reading: as for `read_rows`.

    Raises InputError as `read_rows` where these three are wanted.
    """
    from simcse_kit.data import read_rows

    wanted = ("sentence1", "sentence2", "score")
    rows = read_rows(path, columns=columns, wanted=wanted, **reading)
    assert rows.scores is not None  # they were wanted
    first, second = [*rows.columns["sentence1"]], [*rows.columns["sentence2"]]
    return PairTask(task_name(path), first, second, rows.scores, {}, "file", str(path))


def load_pair_files(
    paths: Sequence[Path | str],
    columns: Mapping[str, str] | None = None,
    **reading: Unpack[Reading],
) -> list[PairTask]:
    """A task from each of the files (`load_pair_file`), called by what tells them apart."""
    return [
        replace(load_pair_file(path, columns, **reading), name=name)
        for path, name in zip(paths, file_names(paths), strict=True)
    ]


def _canonical(name: str) -> str:
    """The name as `PUBLISHED` has it, or the path of an existing file as it is."""
    known = {_bare(key): key for key in PUBLISHED}
    known |= {"STSBENCHMARK": "STSB", "STSBTEST": "STSB", "SICKRELATEDNESS": "SICKR"}
    if _bare(name) in known:
        return known[_bare(name)]
    from simcse_kit.data import at_home, is_input

    if is_input(at_home(name)):
        return name
    close = difflib.get_close_matches(_bare(name), known, n=1)
    hint = f" Did you mean {known[close[0]]}?" if close else ""
    raise InputError(
        f"There is no STS task and no file {name!r}.{hint} Tasks: {', '.join(PUBLISHED)},"
        " or the path of a file of scored pairs."
    )


def _bare(name: str) -> str:
    return "".join(c for c in name.upper() if c not in "-_ ")


def _task(
    name: str, pairs: list[Pair], source: str, subsets: dict[str, slice] | None = None
) -> PairTask:
    """White space split and joined by single spaces, as SentEval reads its sentences."""
    first = [" ".join(sentence.split()) for sentence, _, _ in pairs]
    second = [" ".join(sentence.split()) for _, sentence, _ in pairs]
    gold = np.array([score for _, _, score in pairs])
    return PairTask(name, first, second, gold, subsets or {}, _SPLITS.get(name, "test"), source)


def _from_hub(name: str, counts: Mapping[str, int]) -> PairTask:
    from simcse_kit.evaluation.sts.hub import load_pairs

    pairs, source = load_pairs(name)
    check_count(f"{name} ({source})", sum(counts.values()), len(pairs), "rated pairs")
    return _task(name, pairs, source)


def _from_folder(root: Path, name: str, counts: Mapping[str, int]) -> PairTask:
    pairs: list[Pair] = []
    subsets: dict[str, slice] = {}
    for part, expected in counts.items():
        if name in SUBSET_TASKS:
            path = root / "STS" / f"{name}-en-test" / f"STS.input.{part}.txt"
            found = _read_subset(path, path.with_name(f"STS.gs.{part}.txt"))
            subsets[part] = slice(len(pairs), len(pairs) + len(found))
        elif name.startswith("STSB"):
            path = root / "STS" / "STSBenchmark" / f"sts-{part}.csv"
            found = _read_columns(path, columns=(5, 6, 4))
        else:
            path = root / "SICK" / _SICK_FILES[part]
            found = _read_columns(path, columns=(1, 2, 3), header="pair_ID")
        check_count(str(path), expected, len(found), "rated pairs")
        pairs += found
    return _task(name, pairs, str(root), subsets)


def _read_subset(inputs: Path, scores: Path) -> list[Pair]:
    """One subset of STS12–16: tab-separated sentences, and a file of scores line by line."""
    sentences, ratings = read_lines(inputs), read_lines(scores)
    if len(sentences) != len(ratings):
        raise InputError(
            f"{inputs} has {len(sentences)} lines and {scores.name} {len(ratings)}: each pair"
            " needs its score line, blank where the pair is unrated."
        )
    pairs = []
    for number, (line, rating) in enumerate(zip(sentences, ratings, strict=True), start=1):
        if rating.strip():  # a blank line is a pair that nobody rated
            first, second = tab_separated(line, inputs, number, (0, 1))
            pairs.append((first, second, _score(rating, scores, number)))
    return pairs


def _read_columns(
    path: Path, columns: tuple[int, int, int], header: str | None = None
) -> list[Pair]:
    """Tab-separated rows without quoting: quote marks in STS-B and SICK are plain text."""
    lines = read_lines(path)
    if header is not None and not (lines and lines[0].startswith(header)):
        raise InputError(f"{path}:1 should be a header line that starts with {header!r}.")
    pairs = []
    for number, line in enumerate(lines, start=1):
        if number > 1 or header is None:
            first, second, score = tab_separated(line, path, number, columns)
            pairs.append((first, second, _score(score, path, number)))
    return pairs


def _score(text: str, path: Path, number: int) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f"{path}:{number} has the score {text.strip()!r}, which is no number.")
    return value
