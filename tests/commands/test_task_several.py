"""``task`` with several models, labels and a file of questions and answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from invoking import run, succeed
from simcse_kit.encoder.sentence_encoder import SentenceEncoder

WORDS = ["man", "dog", "car", "book", "train", "city", "guitar", "river", "boat", "horse"]


def refused(*arguments: object) -> str:
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (2, ""), result.output
    return result.stderr.strip().splitlines()[-1]


@pytest.fixture(scope="module")
def room(tiny_encoder: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three models, one of them broken by noise, and files for tasks."""
    root = tmp_path_factory.mktemp("several")
    torch.manual_seed(0)
    for name, noise in (("a", 0.0), ("b", 0.02), ("c", 3.0)):
        encoder = SentenceEncoder.from_pretrained(tiny_encoder("bert"), pooling="mean")
        for parameter in encoder.parameters():
            parameter.data += noise * torch.randn_like(parameter)
        encoder.save_pretrained(root / name)
    pairs = [(f"the {x} and the {y}", f"a {x} with a {y}") for x in WORDS for y in WORDS if x < y]
    rows = [f"{question},{answer}" for question, answer in [*pairs, pairs[0]]]
    (root / "qa.csv").write_text("\n".join(["question,reply", *rows]))
    rows = [
        f"the {WORDS[row % 3]} {WORDS[3 + row % 7]} {row},{'xyz'[row % 3]}" for row in range(60)
    ]
    (root / "topics.csv").write_text("\n".join(["text,label", *rows]))
    rows = [f"{one},{other},{row % 6}" for row, (one, other) in enumerate(pairs)]
    (root / "scored.csv").write_text("\n".join(["sentence1,sentence2,score", *rows]))
    return root


QA = ("--column", "document=reply", "--metrics", "recall@1,mrr")


def test_questions_and_answers_are_given_once(room: Path) -> None:
    command = ("task", "retrieval", room / "a", "--pairs", room / "qa.csv", *QA, "--draws", 200)
    found = json.loads(succeed(*command, "--json", "-"))
    assert found["task"] == "qa"
    sizes = [found["protocol"][key] for key in ("queries", "documents", "relevant")]
    assert sizes == [45, 45, 45]  # of 46 rows two are equal
    swapped = ("--column", "query=reply", "--column", "document=question")
    other = json.loads(succeed(*command[:5], *swapped, "--metrics", "mrr", "--json", "-"))
    assert other["figures"]["mrr"] != found["figures"]["mrr"]
    said = refused(*command[:5])
    assert said.endswith("has no column document or answer (it has question, reply); give --column"
                         " document=reply")  # fmt: skip
    assert "must be one of query, document" in refused(*command[:5], "--column", "query.text=reply")
    assert "or --pairs FILE" in refused("task", "retrieval", room / "a")
    assert "or --pairs FILE" in refused(*command, "--queries", room / "qa.csv")
    said = refused("task", "retrieval", room / "a", room, *command[3:])
    assert f"there is --pairs besides: give one of them; another model is --with {room}" in said


def test_several_models_stand_side_by_side_with_their_differences(
    room: Path, tmp_path: Path
) -> None:
    out = tmp_path / "scores.json"
    labels = [word for name in ("raw", "near", "far") for word in ("--label", name)]
    command = ("task", "retrieval", room / "a", "--with", room / "b", "--with", room / "c")
    command = (*command, "--pairs", room / "qa.csv", *QA, "--draws", 300, *labels)
    result = run(*command, "--json", out)
    assert result.exit_code == 0, result.stderr
    assert f"wrote {out}\n" in result.stderr
    found = json.loads(out.read_text())
    assert [each["label"] for each in found["models"]] == ["raw", "near", "far"]
    assert [each["model"] for each in found["models"]] == [str(room / name) for name in "abc"]
    values = {each["label"]: each["figures"]["recall@1"]["value"] for each in found["models"]}
    for one in found["comparison"]["differences"]:
        assert one["baseline"] == "raw"
        difference = values[one["model"]] - values["raw"]
        assert one["figures"]["recall@1"]["difference"] == pytest.approx(difference)
        assert f"{difference:+.2f}" in result.stdout
        side = f"{abs(difference):.2f} points" if abs(difference) > 1e-9 else "level with raw"
        assert f"{one['model']} is {side}" in result.stdout
    header = result.stdout.splitlines()[1].split()
    assert header == ["raw", "near", "far"]
    assert "corrected for 2 comparisons (Holm)" in result.stdout
    for each in found["models"]:  # what one model alone would give
        alone = json.loads(succeed(*command[:2], each["model"], *command[7:-6], "--json", "-"))
        assert alone["figures"] == each["figures"]
    pairwise = json.loads(succeed(*command, "--pairwise", "--json", "-"))["comparison"]
    pairs = [(one["model"], one["baseline"]) for one in pairwise["differences"]]
    assert pairs == [("near", "raw"), ("far", "raw"), ("far", "near")]
    markdown = succeed(*command, "--markdown")
    assert "| Model | recall@1 | mrr |" in markdown and "| near − raw |" in markdown
    assert "\n- near is " in markdown


@pytest.mark.parametrize(
    ("kind", "file", "options", "figure"),
    [
        ("classification", "topics.csv", ["--folds", 3, "--k", 3], "3-NN macro-F1"),
        ("few-shot", "topics.csv", ["--ways", 3, "--episodes", 20, "--shots", 2], "accuracy"),
        ("pairs", "scored.csv", ["--draws", 200], "scored"),
    ],
)
def test_every_kind_of_task_compares(
    room: Path, kind: str, file: str, options: list[object], figure: str
) -> None:
    command = ("task", kind, room / "a", room / file, "--with", room / "c", *options)
    found = json.loads(succeed(*command, "--json", "-"))
    first, second = (each["figures"][figure]["value"] for each in found["models"])
    (one,) = found["comparison"]["differences"]
    assert one["figures"][figure]["difference"] == pytest.approx(second - first)
    assert one["figures"][figure]["interval"]["low"] <= second - first


def test_clustering_says_that_it_tests_no_difference(room: Path) -> None:
    command = ("task", "clustering", room / "a", room / "topics.csv", "--with", room / "c")
    result = run(*command, "--seeds", 2)
    assert result.exit_code == 0 and "the differences are not tested" in result.stderr
    assert "v_measure" in result.stdout
    assert json.loads(succeed(*command, "--seeds", 2, "--json", "-"))["comparison"] is None


def test_mistakes_about_several_models(room: Path) -> None:
    command = ("task", "clustering", room / "a", room / "topics.csv")
    assert "is named twice" in refused(*command, "--with", room / "a")
    assert "2 labels for 1 models" in refused(*command, "--label", "x", "--label", "y")
    assert "name the others with --with" in refused(*command, "--pairwise")
    assert "does not exist" in refused(*command, "--with", room / "none")
    assert "did you mean 'mean'" in refused(*command, "--with", f"{room / 'b'}@pooling=maen")
    shown = succeed(*command, "--label", "mine", "--seeds", 2)
    assert "mine on topics: " in shown
