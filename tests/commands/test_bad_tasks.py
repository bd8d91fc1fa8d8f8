"""What can be wrong with a task or with what a model makes of it: one clear sentence each."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.torch import load_file, save_file
from typer.testing import CliRunner

from mini_senteval import MINI, BagOfWords, build_tree, toy_task
from simcse_kit.commands.cli import app
from simcse_kit.encoder.sentence_encoder import SentenceEncoder
from simcse_kit.errors import InputError
from simcse_kit.evaluation.sts.suite import evaluate, load_tasks
from simcse_kit.evaluation.sts.tasks import PUBLISHED

Make = Callable[[], Any]


class Returns(BagOfWords):
    """What a bag of words gives, changed."""

    def __init__(self, change: Callable[[np.ndarray], Any]) -> None:
        super().__init__()
        self.change = change

    def encode(self, sentences: list[str]) -> Any:
        return self.change(super().encode(sentences))


def with_nan(embeddings: np.ndarray) -> np.ndarray:
    embeddings[3, 0] = np.nan
    return embeddings


def two_scales(**more: Any) -> Any:
    gold = (0.0, 2.5, 5.0, 0.0, 0.5, 1.0)
    subsets = {"five": slice(0, 3), "one": slice(3, 6)}
    return toy_task(gold=gold, name="STS12", subsets=subsets, **more)


CASES: dict[str, tuple[Make, str]] = {
    "constant gold": (
        lambda: evaluate(BagOfWords(), [toy_task(gold=(3.0, 3.0, 3.0, 3.0))]),
        r"^Every gold score of toy is 3: constant scores have no correlation\.$",
    ),
    "NaN": (
        lambda: toy_task(gold=(1.0, float("nan"), 2.0)),
        r"^The gold score of pair 2 of toy \(memory\) is nan: every pair needs a finite number\.$",
    ),
    "one pair": (
        lambda: evaluate(BagOfWords(), [toy_task(gold=(3.0,))], geometry=toy_task()),
        r"^toy has 1 pair\(s\): a correlation needs at least 3\.$",
    ),
    "mixed scales": (
        lambda: evaluate(BagOfWords(), [two_scales()]),
        r"^The gold scores of STS12 \(memory\) are on two scales: those of five go up to 5, those"
        r' of one up to 1, and .* take "mean" or "wmean"\.$',
    ),
    "embeddings not finite": (
        lambda: evaluate(Returns(with_nan), [toy_task()]),
        r"^1 embedding\(s\) are not finite, the first that of '.*': a cosine needs a finite",
    ),
    "too few rows": (
        lambda: evaluate(Returns(lambda e: e[1:]), [toy_task()]),
        r"^encode\(\) of 10 sentences returned an array of shape \(9, 16\): \(10, D\) is expected",
    ),
    "one row for all": (
        lambda: evaluate(Returns(lambda e: e[0]), [toy_task()]),
        r"^encode\(\) of 10 sentences returned an array of shape \(16,\)",
    ),
    "all embeddings alike": (
        lambda: evaluate(Returns(np.ones_like), [toy_task()]),
        r"^The model gives every pair of toy the same cosine .*: its space has collapsed\.$",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_library_says_it_in_a_sentence(case: str) -> None:
    make, says = CASES[case]
    with pytest.raises(InputError, match=says) as raised:
        make()
    assert "\n" not in str(raised.value)


def test_a_missing_subset_is_named(tmp_path: Path) -> None:
    tree = build_tree(tmp_path)
    gone = tree / "STS" / "STS13-en-test" / "STS.input.OnWN.txt"
    gone.unlink()
    with pytest.raises(InputError, match=rf"^{gone} is missing: the SentEval data are incomplete"):
        load_tasks(tree, ["STS13"], counts=MINI)


def test_two_scales_are_no_matter_where_subsets_are_ranked_apart() -> None:
    for aggregation in ("mean", "wmean"):
        assert evaluate(BagOfWords(), [two_scales()], aggregation=aggregation).tasks["STS12"].n == 6


# ---- the command line ----------------------------------------------------------------------------

SCORED = "sentence1\tsentence2\tscore\n"
TASK_FILES = {
    "constant": SCORED + "a man\ta boy\t4\na dog\ta car\t4\na cat\ta dog\t4\n",
    "nan": SCORED + "a man\ta boy\t4\na dog\ta car\tnan\na cat\ta dog\t4\n",
    "one": SCORED + "a man\ta boy\t4\n",
}


@pytest.fixture(scope="module")
def folder(tiny_encoder: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sound model, a broken one, task files, and data whose subsets are on two scales."""
    root = tmp_path_factory.mktemp("bad")
    encoder = SentenceEncoder.from_pretrained(tiny_encoder("bert"), pooling="mean")
    encoder.save_pretrained(root / "model")
    shutil.copytree(root / "model", root / "broken")  # no broken model is saved
    weights = load_file(root / "broken" / "model.safetensors")
    next(iter(weights.values())).fill_(float("nan"))
    save_file(weights, root / "broken" / "model.safetensors", metadata={"format": "pt"})
    for name, content in TASK_FILES.items():
        (root / f"{name}.tsv").write_text(content)
    counts = {task: PUBLISHED[task] for task in ("STS13",)}
    for tree in ("scales", "holes"):
        build_tree(root / tree, counts)
    scores = root / "scales" / "STS" / "STS13-en-test" / "STS.gs.FNWN.txt"
    lines = [line and f"{float(line) / 5:.4f}" for line in scores.read_text().split("\n")]
    scores.write_text("\n".join(lines))
    (root / "holes" / "STS" / "STS13-en-test" / "STS.gs.headlines.txt").unlink()
    return root


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("model --tasks {}/constant.tsv", "Every gold score of constant is 4"),
        ("model --tasks {}/nan.tsv", "nan.tsv:3"),
        ("model --tasks {}/one.tsv", "one has 1 pair(s)"),
        ("model --tasks STS13 --data-dir {}/scales", "are on two scales: those of"),
        ("model --tasks STS13 --data-dir {}/holes", "STS.gs.headlines.txt is missing"),
        ("broken --tasks STS13 --data-dir {}/scales --protocol mean", "is not finite"),
    ],
)
def test_the_command_line_says_it_in_a_sentence(folder: Path, arguments: str, says: str) -> None:
    model, *rest = arguments.format(folder).split()
    result = CliRunner().invoke(app, ["evaluate", str(folder / model), *rest])
    assert result.exit_code == 2, result.output
    complaints = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(complaints) == 1 and says in complaints[0]
    assert result.stdout == "" and "Traceback" not in result.output


def test_a_wrong_row_count_is_a_sentence_on_the_command_line(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = SentenceEncoder.encode
    monkeypatch.setattr(SentenceEncoder, "encode", lambda *a, **k: whole(*a, **k)[:-1])
    arguments = ["evaluate", str(folder / "model"), "--tasks", "STS13", "--protocol", "mean"]
    result = CliRunner().invoke(app, [*arguments, "--data-dir", str(folder / "scales")])
    assert result.exit_code == 2
    assert "one row a sentence in the same order" in result.stderr
