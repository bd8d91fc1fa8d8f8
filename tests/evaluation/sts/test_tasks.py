"""The STS tasks as they are read from a folder and from files: whole, or refused by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mini_senteval import MINI, BagOfWords, build_tree, scored_pair, write
from simcse_kit.errors import InputError
from simcse_kit.evaluation.sts.suite import evaluate
from simcse_kit.evaluation.sts.tasks import PUBLISHED, SUITE, PairTask, load_stsb, load_tasks


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tree(tmp_path_factory.mktemp("senteval"))


@pytest.fixture
def suite(tree: Path) -> list[PairTask]:
    return load_tasks(tree, counts=MINI)


@pytest.fixture
def fresh(tmp_path: Path) -> Path:
    """A tree of one's own, to break."""
    return build_tree(tmp_path / "data")


def test_the_published_counts_are_those_of_the_papers() -> None:
    totals = {task: sum(parts.values()) for task, parts in PUBLISHED.items()}
    assert totals == {
        "STS12": 3108,
        "STS13": 1500,
        "STS14": 3750,
        "STS15": 3000,
        "STS16": 1186,
        "STSB": 1379,
        "STSB-dev": 1500,
        "STSB-train": 5749,
        "SICKR": 4927,
        "SICKR-MTEB": 9927,
    }


def test_the_suite_is_read_whole_and_unrated_pairs_are_skipped(suite: list[PairTask]) -> None:
    assert [task.name for task in suite] == list(SUITE)
    for task in suite:
        assert len(task) == sum(MINI[task.name].values())
        assert task.split == "test"
        assert not any("nobody rated" in text for text in task.sentence2)
    sizes = {name: part.stop - part.start for name, part in suite[0].subsets.items()}
    assert sizes == MINI["STS12"]
    assert suite[-1].subsets == {}


def test_sick_is_its_test_part_and_the_mteb_variant_the_whole_pool(tree: Path) -> None:
    test, pool = load_tasks(tree, ["sick-r", "SICKR_MTEB"], counts=MINI)
    assert (test.name, pool.name, pool.split) == ("SICKR", "SICKR-MTEB", "train+trial+test")
    assert len(pool) == sum(MINI["SICKR-MTEB"].values())
    assert pool.sentence1[-len(test) :] == test.sentence1


@pytest.mark.parametrize("split", ["train", "dev", "test"])
def test_stsb_has_three_splits(tree: Path, split: Any) -> None:
    task = load_stsb(tree, split, counts=MINI)
    assert task.split == split
    assert task.name == ("STSB" if split == "test" else f"STSB-{split}")
    with pytest.raises(InputError, match="train, dev and test"):
        load_stsb(tree, "valid", counts=MINI)  # type: ignore[arg-type]


def test_the_folder_is_found_one_level_down_and_in_a_senteval_checkout(tmp_path: Path) -> None:
    for below in ("downstream", "data/downstream"):
        outer = tmp_path / below.replace("/", "-")
        build_tree(outer / below)
        assert len(load_tasks(outer, ["STSB"], counts=MINI)[0]) == MINI["STSB"]["test"]


def test_strange_text_is_read_as_senteval_reads_it(fresh: Path) -> None:
    path = fresh / "STS" / "STSBenchmark" / "sts-dev.csv"
    lines = [
        'g\tf\ty\t1\t5.0\t"Quoted, "" so\tan  open " quote',  # quotes are text, spaces collapse
        "g\tf\ty\t2\t1.0\ta line\x85separator inside\tand b\u2028another\tan extra column",
        "g\tf\ty\t3\t2.5\tä\u00a0ö\tü",
    ]
    path.write_bytes("\ufeff".encode() + "\n".join(lines).encode())
    task = load_stsb(fresh, "dev", counts={"STSB-dev": {"dev": 3}})
    assert task.sentence1 == ['"Quoted, "" so', "a line separator inside", "ä ö"]
    assert task.sentence2 == ['an open " quote', "and b another", "ü"]
    assert task.gold.tolist() == [5.0, 1.0, 2.5]


def broken(name: str, edit: Callable[[str], str]) -> Callable[[Path], None]:
    def apply(root: Path) -> None:
        (path,) = root.rglob(name)
        path.write_text(edit(path.read_text()))

    return apply


@pytest.mark.parametrize(
    ("breakage", "task", "message"),
    [
        (
            lambda root: (root / "STS/STS12-en-test/STS.gs.MSRvid.txt").unlink(),
            "STS12",
            r"STS\.gs\.MSRvid\.txt is missing",
        ),
        (
            broken("sts-test.csv", lambda text: text[: text.rindex("genre")]),
            "STSB",
            r"sts-test\.csv holds 8 rated pairs where 9 are expected",
        ),
        (
            broken("STS.gs.belief.txt", lambda text: text + "3.0\n"),
            "STS15",
            r"belief\.txt has 16 lines and STS\.gs\.belief\.txt 17",
        ),
        (
            broken("STS.gs.FNWN.txt", lambda text: "nan\n" + text.split("\n", 1)[1]),
            "STS13",
            r"STS\.gs\.FNWN\.txt:1 has the score 'nan'",
        ),
        (
            broken("sts-test.csv", lambda text: text.replace("\t7\t", "\t7\thigh", 1)),
            "STSB",
            r"sts-test\.csv:1 has the score 'high",
        ),
        (
            broken("sts-test.csv", lambda text: "one\ttwo\n" + text.split("\n", 1)[1]),
            "STSB",
            r"sts-test\.csv:1 has 2 tab-separated field\(s\) where at least 7",
        ),
        (
            broken("sts-test.csv", lambda text: "a\tb\tc\td\t1.0\tx\t \n" + text.split("\n", 1)[1]),
            "STSB",
            r"sts-test\.csv:1 has an empty sentence",
        ),
        (
            broken("SICK_test_annotated.txt", lambda text: text.split("\n", 1)[1]),
            "SICKR",
            "header line that starts with 'pair_ID'",
        ),
        (
            lambda root: (root / "SICK/SICK_test_annotated.txt").write_bytes(b"pair_ID\t\xff\n"),
            "SICKR",
            r"SICK_test_annotated\.txt is not UTF-8 text \(byte 8\)",
        ),
    ],
)
def test_broken_data_are_named(
    fresh: Path, breakage: Callable[[Path], Any], task: str, message: str
) -> None:
    breakage(fresh)
    with pytest.raises(InputError, match=message):
        load_tasks(fresh, [task], counts=MINI)


def test_a_wrong_folder_is_told_from_a_right_one(tree: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        load_tasks(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"holds no SentEval data.*downstream"):
        load_tasks(tmp_path)
    with pytest.raises(InputError, match=f"give its parent, {tree}"):
        load_tasks(tree / "STS")
    for name in ("raw", "tokenised"):
        build_tree(tmp_path / name, {"STSB": MINI["STSB"]})
    with pytest.raises(InputError, match=r"in raw and in tokenised"):
        load_tasks(tmp_path)


def test_unknown_and_repeated_tasks_are_refused(tree: Path) -> None:
    with pytest.raises(InputError, match=r"no STS task and no file 'STS17'. Did you mean STS1"):
        load_tasks(tree, ["STS17"])
    with pytest.raises(InputError, match="STSB was named twice"):
        load_tasks(tree, ["STSB", "sts-b"], counts=MINI)
    with pytest.raises(InputError, match="No task was named"):
        load_tasks(tree, [])


def test_any_file_of_scored_pairs_is_a_task(tmp_path: Path, tree: Path) -> None:
    rows = [scored_pair(np.random.default_rng(i)) for i in range(12)]
    path = tmp_path / "my.pairs.tsv"
    write(path, ["sentence1\tsentence2\tscore", *(f"{a}\t{b}\t{g}" for a, b, g in rows)])
    stsb, mine = load_tasks(tree, ["STSB", str(path)], counts=MINI)
    assert (stsb.name, mine.name, mine.split) == ("STSB", "my.pairs", "file")
    assert list(zip(mine.sentence1, mine.sentence2, mine.gold, strict=True)) == rows
    (alone,) = load_tasks(None, [str(path)])  # needs neither a folder nor the hub
    assert evaluate(BagOfWords(), [alone]).tasks["my.pairs"].n == 12

    write(path, ["sentence1\tsentence2", *(f"{a}\t{b}" for a, b, _ in rows)])
    with pytest.raises(InputError, match=r"my\.pairs\.tsv: has no column for score"):
        load_tasks(None, [str(path)])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"gold": [1.0, float("nan"), 2.0]}, r"gold score of pair 2 of toy \(memory\) is nan"),
        ({"gold": [1.0, 2.0]}, "2 scores: every pair needs all three"),
        ({"sentence1": [], "sentence2": [], "gold": []}, "holds no pairs"),
    ],
)
def test_a_task_is_whole_or_not_at_all(fields: dict[str, Any], message: str) -> None:
    whole: dict[str, Any] = {"sentence1": ["a"] * 3, "sentence2": ["b"] * 3, "gold": [1.0, 2, 3]}
    with pytest.raises(InputError, match=message):
        PairTask("toy", **(whole | fields), subsets={}, split="test", source="memory")
