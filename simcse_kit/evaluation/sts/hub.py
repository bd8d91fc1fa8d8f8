"""STS pairs from the Hugging Face hub, at pinned revisions.

The datasets and revisions are those of MTEB: the original text, the rated pairs only, and no
subset labels. The revisions are MTEB's own pins, so a later edit of a dataset changes no score.
"""

from __future__ import annotations

import logging
from typing import Any

from simcse_kit.data import load_dataset
from simcse_kit.errors import InputError
from simcse_kit.evaluation.sts.sick_split import test_rows

logger = logging.getLogger(__name__)

_STSB = ("mteb/stsbenchmark-sts", "b0fddb56ed78048fa8b90373c8a3cfc37b684831")
_SICK = ("mteb/sickr-sts", "20a6d6f312dd54037fe07a32d58e5e168867909d")
# Task: dataset, revision, split of that dataset.
SOURCES: dict[str, tuple[str, str, str]] = {
    "STS12": ("mteb/sts12-sts", "a0d554a64d88156834ff5ae9920b964011b16384", "test"),
    "STS13": ("mteb/sts13-sts", "7e90230a92c190f1bf69ae9002b8cea547a64cca", "test"),
    "STS14": ("mteb/sts14-sts", "6031580fec1f6af667f0bd2da0a551cf4f0b2375", "test"),
    "STS15": ("mteb/sts15-sts", "ae752c7c21bf194d8b67fd573edf7ae58183cbe3", "test"),
    "STS16": ("mteb/sts16-sts", "4d8694f8f0e0100860b497b999b3dbed754a0513", "test"),
    "STSB": (*_STSB, "test"),
    "STSB-dev": (*_STSB, "validation"),
    "STSB-train": (*_STSB, "train"),
    "SICKR": (*_SICK, "test"),
    "SICKR-MTEB": (*_SICK, "test"),
}


def load_pairs(task: str) -> tuple[list[tuple[str, str, float]], str]:
    """The pairs of `task` (sentence 1, sentence 2, gold score) and their dataset@revision.

    "SICKR" is the 4,927 test pairs out of the pool of 9,927, found by their content. Raises
    InputError where the hub cannot be reached or serves something else.
    """
    path, revision, split = SOURCES[task]
    rows = _load(task, path, revision, split)
    missing = {"sentence1", "sentence2", "score"} - set(rows.column_names)
    if missing:
        raise InputError(
            f"{path}@{revision} has no column {', '.join(sorted(missing))}:"
            " give a local SentEval folder with --data-dir."
        )
    scores = [float(score) for score in rows["score"]]
    pairs = list(zip(rows["sentence1"], rows["sentence2"], scores, strict=True))
    if task == "SICKR":
        pairs = [pairs[i] for i in test_rows(pairs)]
    return pairs, f"{path}@{revision}"


def _load(task: str, path: str, revision: str, split: str) -> Any:
    logger.info("loading %s from %s@%s", task, path, revision)
    try:
        return load_dataset(path, None, split=split, revision=revision)
    except InputError as error:
        reason = str(error)
    except Exception as error:  # datasets, huggingface_hub, httpx and fsspec each raise their own
        reason = type(error).__name__
    raise InputError(
        f"{task} could not be loaded from the hub ({path}@{revision[:8]}): {reason}; "
        "check the network, or give a local SentEval folder with --data-dir"
    )
