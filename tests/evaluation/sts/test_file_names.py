"""What tasks from files are called."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from mini_senteval import MINI, BagOfWords, build_tree
from simcse_kit.errors import InputError
from simcse_kit.evaluation.sts import SUITE, evaluate, load_tasks
from simcse_kit.evaluation.sts.file_names import file_names, task_name
from simcse_kit.evaluation.sts.protocols import MTEB_SUITE, protocol_of
from simcse_kit.evaluation.sts.tasks import load_pair_files


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("runs/pairs.v2.csv", "pairs.v2"),
        ("pairs.tsv.gz", "pairs"),
        ("average.tsv", "average.tsv"),
        ("Avg..csv", "Avg..csv"),
        ("data/STSB.tsv", "STSB.tsv"),
        ("stsb.csv.gz", "stsb.csv.gz"),
        ("sickr-mteb.csv", "sickr-mteb.csv"),
        ("STS12", "STS12 (file)"),
    ],
)
def test_a_file_is_called_by_its_stem_but_never_as_what_was_checked(path: str, name: str) -> None:
    assert task_name(path) == name


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["en/test.tsv", "de/test.tsv", "mine.csv"], ["en/test", "de/test", "mine"]),
        (["a/x/test.tsv", "b/x/test.tsv"], ["a/x/test", "b/x/test"]),
        (["pairs.csv", "pairs.tsv", "pairs.tsv.gz"], ["pairs.csv", "pairs.tsv", "pairs.tsv.gz"]),
        (["STSB.tsv", "other/STSB.tsv"], None),
    ],
)
def test_files_of_one_stem_are_told_apart(paths: list[str], names: list[str] | None) -> None:
    found = file_names(paths)
    assert len(set(found)) == len(paths)
    assert names is None or found == names


def test_one_file_twice_is_refused(tmp_path: Path) -> None:
    for again in ("x.csv", "./x.csv", str(Path("x.csv").absolute())):
        with pytest.raises(InputError, match=r"x.csv and .*x.csv have one name, .* one file"):
            file_names(["x.csv", again])


def write(path: Path, n: int = 12) -> Path:
    path.parent.mkdir(exist_ok=True)
    rows = [f"a man {i}\ta dog {i * i}\t{i % 6}" for i in range(n)]
    path.write_text("\n".join(["sentence1\tsentence2\tscore", *rows]) + "\n")
    return path


def test_files_of_one_name_are_tasks_of_their_own(tmp_path: Path) -> None:
    paths = [write(tmp_path / side / "test.tsv", n) for side, n in (("en", 12), ("de", 14))]
    for tasks in (load_tasks(None, [str(path) for path in paths]), load_pair_files(paths)):
        assert [(task.name, len(task)) for task in tasks] == [("en/test", 12), ("de/test", 14)]


def test_a_file_called_average_or_stsb_replaces_nothing(tmp_path: Path) -> None:
    root = build_tree(tmp_path / "sts")
    paths = [str(write(tmp_path / name, 20)) for name in ("average.tsv", "STSB.tsv")]
    tasks = load_tasks(root, [*SUITE, *paths], counts=MINI)
    result = evaluate(BagOfWords(), tasks)
    assert [*result.tasks] == [*SUITE, "average.tsv", "STSB.tsv"]
    expected = np.mean([result.tasks[name].spearman for name in SUITE])
    assert result.average == pytest.approx(expected)
    assert result.average_over == SUITE


def test_with_both_sicks_the_average_is_of_the_named_protocol(tmp_path: Path) -> None:
    root = build_tree(tmp_path / "sts")
    tasks = load_tasks(root, [*SUITE, "SICKR-MTEB"], counts=MINI)
    by_default = evaluate(BagOfWords(), tasks)
    assert by_default.average_over == SUITE
    assert protocol_of(by_default.protocol).name == "senteval-all"
    mteb = evaluate(BagOfWords(), tasks, suite=MTEB_SUITE)
    assert mteb.average_over == MTEB_SUITE
    expected = np.mean([mteb.tasks[name].spearman for name in MTEB_SUITE])
    assert mteb.average == pytest.approx(expected) != by_default.average
    (mine,) = load_tasks(None, [str(write(tmp_path / "mine.tsv"))])
    seven = load_tasks(root, MTEB_SUITE, counts=MINI)
    beside = evaluate(BagOfWords(), [*seven, mine])
    assert beside.average_over == MTEB_SUITE  # not over mine
