"""The transfer tasks as they are read from a SentEval folder: whole, or refused by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mini_transfer import MINI, build_transfer
from simcse_kit.errors import InputError
from simcse_kit.evaluation.labels.transfer_data import PUBLISHED, SUITE, load_transfer


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_transfer(tmp_path_factory.mktemp("transfer"))


@pytest.fixture
def fresh(tmp_path: Path) -> Path:
    """A tree of one's own, to break."""
    return build_transfer(tmp_path / "data")


def test_the_published_counts_are_those_of_the_papers() -> None:
    assert {task: sum(files.values()) for task, files in PUBLISHED.items()} == {
        "MR": 10662,
        "CR": 3775,
        "SUBJ": 10000,
        "MPQA": 10606,
        "SST2": 67349 + 872 + 1821,
        "TREC": 5452 + 500,
        "MRPC": 4076 + 1725,
    }


def test_the_seven_are_read_whole_with_their_splits(tree: Path) -> None:
    tasks = load_transfer(tree, counts=MINI)
    assert [task.name for task in tasks] == list(SUITE)
    for task in tasks:
        sizes = list(MINI[task.name].values())
        assert len(task) == len(task.sentence1) == sum(sizes)
        assert (task.sentence2 is not None) == (task.name == "MRPC")
        if task.splits:
            assert [part.stop - part.start for part in task.splits.values()] == sizes
        else:  # the first file is class 1
            assert np.bincount(task.labels).tolist() == sizes[::-1]
    assert list(tasks[4].splits) == ["train", "dev", "test"]
    assert list(tasks[5].splits) == list(tasks[6].splits) == ["train", "test"]
    assert sorted(set(tasks[5].labels)) == [0, 1, 2, 3, 4, 5]
    assert tasks[0].sentence2 is None


def test_examples_stand_in_sentevals_order(tree: Path) -> None:
    """By number of tokens, then by class; equal ones as in the files, class 1 first."""
    (mr,) = load_transfer(tree, ["MR"], counts=MINI)
    files = [(tree / "MR" / name).read_text().splitlines() for name in MINI["MR"]]
    samples = [line.split() for lines in files for line in lines]
    labels = [1] * len(files[0]) + [0] * len(files[1])
    by_senteval = sorted(zip(samples, labels, strict=True), key=lambda z: (len(z[0]), z[1]))
    assert mr.sentence1 == [" ".join(tokens) for tokens, _ in by_senteval]
    assert mr.labels.tolist() == [label for _, label in by_senteval]


def test_pairs_are_ordered_within_their_split(tree: Path) -> None:
    (mrpc,) = load_transfer(tree, ["MRPC"], counts=MINI)
    assert mrpc.sentence2 is not None
    pairs = zip(mrpc.sentence1, mrpc.sentence2, mrpc.labels, strict=True)
    keys = [(len(a.split()), len(b.split()), label) for a, b, label in pairs]
    for part in mrpc.splits.values():
        assert keys[part] == sorted(keys[part])
    assert all(text.startswith('the "') for text in mrpc.sentence1)  # a quote mark is text


def test_strange_text_is_read_as_senteval_reads_it(fresh: Path) -> None:
    (fresh / "TREC" / "train_5500.label").write_bytes(
        b"LOC:other  What is the caf\xe9 :  that\xa0way ?\r\nABBR:exp What\x85now ?\n"
    )
    counts = {"TREC": {"train_5500.label": 2, "TREC_10.label": 30}}
    (trec,) = load_transfer(fresh, ["TREC"], counts=counts)
    assert trec.sentence1[:2] == ["What now ?", "What is the café : that way ?"]
    assert trec.labels[:2].tolist() == [0, 4]


def test_a_blank_line_counts_and_is_a_dot(fresh: Path) -> None:
    path = fresh / "CR" / "custrev.neg"
    path.write_text("\n" + path.read_text().split("\n", 1)[1])
    (cr,) = load_transfer(fresh, ["CR"], counts=MINI)
    assert (cr.sentence1[0], cr.labels[0]) == (".", 0)
    assert len(cr) == sum(MINI["CR"].values())


def test_the_folder_is_found_one_level_down_and_in_a_senteval_checkout(tmp_path: Path) -> None:
    for below in ("downstream", "data/downstream"):
        outer = tmp_path / below.replace("/", "-")
        build_transfer(outer / below, {"SST2": MINI["SST2"]})
        assert len(load_transfer(outer, ["sst-2"], counts=MINI)[0]) == 104


def test_a_wrong_folder_is_told_from_a_right_one(tree: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        load_transfer(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"with MR/, CR/.* and MRPC/ in it: give SentEval's"):
        load_transfer(tmp_path)
    with pytest.raises(InputError, match=f"give its parent, {tree}"):
        load_transfer(tree / "TREC")


def test_unknown_and_repeated_tasks_are_refused(tree: Path) -> None:
    with pytest.raises(InputError, match=r"no transfer task 'SST3'. Did you mean SST2\?"):
        load_transfer(tree, ["SST3"])
    with pytest.raises(InputError, match="SST2 was named twice"):
        load_transfer(tree, ["SST2", "sst-2"])
    with pytest.raises(InputError, match="No task was named"):
        load_transfer(tree, [])


def edit(name: str, change: Callable[[str], str]) -> Callable[[Path], None]:
    def apply(root: Path) -> None:
        (path,) = root.rglob(name)
        path.write_text(change(path.read_text()))

    return apply


@pytest.mark.parametrize(
    ("breakage", "task", "message"),
    [
        (
            lambda root: (root / "MR/rt-polarity.neg").unlink(),
            "MR",
            r"MR/rt-polarity\.neg is missing",
        ),
        (
            edit("subj.objective", lambda text: text[: len(text) // 2]),
            "SUBJ",
            r"subj\.objective holds 1\d examples where 25 are expected: the data are incomplete",
        ),
        (
            edit("sentiment-dev", lambda text: text + text),
            "SST2",
            r"sentiment-dev holds 40 examples where 20 are expected",
        ),
        (
            edit("sentiment-test", lambda text: text.replace("\t1", "\t3", 1)),
            "SST2",
            r"sentiment-test:2 has the class '3', which is not 0 or 1",
        ),
        (
            edit("sentiment-train", lambda text: "no tab\n" + text),
            "SST2",
            r"sentiment-train:1 has 1 tab-separated field\(s\) where at least 2",
        ),
        (
            edit("TREC_10.label", lambda text: "WHAT:ever is this ?\n" + text),
            "TREC",
            r"TREC_10\.label:1 does not begin with one of ABBR, DESC",
        ),
        (
            edit("msr_paraphrase_test.txt", lambda text: text.split("\n", 1)[1]),
            "MRPC",
            r"msr_paraphrase_test\.txt:1 should be a header line that starts with 'Quality'",
        ),
        (
            lambda root: (root / "MRPC/msr_paraphrase_train.txt").write_bytes(b"Quality\n\xff"),
            "MRPC",
            r"msr_paraphrase_train\.txt is not UTF-8 text \(byte 8\)",
        ),
    ],
)
def test_broken_data_are_named(
    fresh: Path, breakage: Callable[[Path], Any], task: str, message: str
) -> None:
    breakage(fresh)
    with pytest.raises(InputError, match=message):
        load_transfer(fresh, [task], counts=MINI)
