"""``--column``: one spelling in all commands, and complaints that say what to type."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from invoking import run, succeed
from simcse_kit.commands.column_mapping import column_mapping
from simcse_kit.encoder.sentence_encoder import SentenceEncoder
from simcse_kit.errors import InputError

TRIPLETS = [
    ("the man plays the guitar", "a man plays", "the red car"),
    ("a dog runs", "the dog runs on the road", "she reads a book"),
    ("she reads a book", "she reads", "a dog runs on the train"),
]


def refused(*arguments: object) -> str:
    result = run(*arguments)
    assert (result.exit_code, result.stdout) == (2, ""), result.output
    return result.stderr.strip().splitlines()[-1]


@pytest.fixture(scope="module")
def model(tiny_encoder: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("columns") / "model"
    SentenceEncoder.from_pretrained(tiny_encoder("bert"), pooling="mean").save_pretrained(folder)
    return folder


@pytest.fixture
def triplets(tmp_path: Path) -> Path:
    path = tmp_path / "nli.csv"
    path.write_text("\n".join(["sent0,sent1,hard_neg", *map(",".join, TRIPLETS)]))
    return path


def test_a_mapping_is_read_or_refused_in_one_sentence() -> None:
    assert column_mapping(["text=a=b"]) == {"text": "a=b"}
    assert column_mapping(["title", "label=topic"], bare="text") == {
        "text": "title",
        "label": "topic",
    }
    for given, says in [
        (["my title"], "OURS=THEIRS, for instance --column 'anchor=my title'"),
        (["=title"], "for instance --column anchor=title"),
        (["text="], "for instance --column anchor=text"),
        (["text=a", "text=b"], "text is a already"),
    ]:
        with pytest.raises(InputError, match=says):
            column_mapping(given)
    with pytest.raises(InputError, match=r"did you mean 'label'\?"):
        column_mapping(["lable=x"], ours=("text", "label"))
    with pytest.raises(InputError, match="text is a already"):
        column_mapping(["a", "text=b"], bare="text")


@pytest.mark.parametrize("name", ["sent0", "text=sent0", "anchor", "text=anchor"])
def test_embed_takes_a_column_by_the_files_name_and_by_ours(
    model: Path, triplets: Path, tmp_path: Path, name: str
) -> None:
    out = tmp_path / "e.npy"
    succeed("embed", model, triplets, "--output", out, "--column", name, "--precision", "fp32")
    encoder = SentenceEncoder.from_pretrained(model, precision="fp32")
    expected = encoder.encode([first for first, *_ in TRIPLETS])
    np.testing.assert_allclose(np.load(out), expected, atol=1e-6)


def test_embed_names_the_files_columns(model: Path, triplets: Path, tmp_path: Path) -> None:
    embed = ("embed", model, triplets, "--output", tmp_path / "e.npy")
    said = refused(*embed)
    assert said.endswith("(it has sent0, sent1, hard_neg); give --column text=sent0")
    assert "columns=" not in said
    said = refused(*embed, "--column", "sent")
    assert said.endswith("did you mean 'sent1'? give --column text=sent1")
    triplets.write_text("the man runs,a man runs\nthe dog runs,a dog runs\n")
    assert "the first row (the man runs, a man runs) is no header that names text" in refused(
        *embed
    )


def test_map_takes_the_label_or_the_text_alone(model: Path, tmp_path: Path) -> None:
    path, html = tmp_path / "topics.csv", tmp_path / "map.html"
    rows = [f"{first} {row},{'ab'[row % 2]}" for row in range(4) for first, *_ in TRIPLETS]
    path.write_text("\n".join(["text,topic", *rows]))
    mapped = ("map", model, path, "--html", html, "--json", "-")
    figures = json.loads(succeed(*mapped, "--column", "label=topic"))
    assert figures["grouped_by"] == "label"
    assert {group["name"] for group in figures["groups"]} == {"a", "b"}
    path.write_text("\n".join(["body,topic", *rows]))
    figures = json.loads(succeed(*mapped, "--column", "body", "--clusters", 2))
    assert figures["grouped_by"] == "cluster"
    assert refused(*mapped).endswith(
        "if it is data, give --no-header; if it is a header, give --column text=body"
    )
    path.write_text("\n".join(["sent0,sent1", *(",".join(row[:2]) for row in TRIPLETS)]))
    assert refused(*mapped).endswith("(it has sent0, sent1); give --column text=sent0")


def test_tasks_say_the_name_that_the_file_has(model: Path, tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("stars,text,topic\n5,the man runs,x\n4,a dog runs,y\n")
    for kind in ("classification", "clustering", "few-shot"):
        said = refused("task", kind, model, path)
        assert said.endswith("has no column for label (it has stars, text, topic); give --column"
                             " label=topic")  # fmt: skip
    path.write_text("stars,review,topic\n5,the man runs,x\n4,a dog runs,y\n")
    assert refused("task", "clustering", model, path).endswith(
        "give --column text=review --column label=topic"
    )
    path.write_text("sentence1,sentence2,is_duplicate\na man,a boy,1\na dog,a car,0\n")
    said = refused("task", "duplicates", model, path)
    assert said.endswith("give --column label=is_duplicate")
    path.write_text("links,rechts,note\nein Mann,ein Junge,1.5\nein Hund,ein Auto,0\n")
    said = refused("task", "pairs", model, path, "--column", "sentence1=links")
    assert said.endswith("give --column sentence2=rechts --column score=note")
    said = refused("evaluate", model, "--tasks", path)
    assert "--column sentence1=links --column sentence2=rechts --column score=note" in said


def test_evaluate_and_leakage_and_geometry_take_columns(
    model: Path, triplets: Path, tmp_path: Path
) -> None:
    scored = tmp_path / "scored.csv"
    rows = [f"{first},{second},{row}" for row, (first, second, _) in enumerate(TRIPLETS)]
    scored.write_text("\n".join(["links,rechts,note", *rows]))
    columns = ["sentence1=links", "sentence2=rechts", "score=note"]
    options = [word for name in columns for word in ("--column", name)]
    arguments = ("evaluate", model, "--tasks", scored, "--no-intervals", "--json", "-")
    assert json.loads(succeed(*arguments, *options))["tasks"]["scored"]["n"] == 3
    sets = ("leakage", "--train", triplets, "--hashes", triplets, "--json", "-")
    whole = json.loads(succeed(*sets))["training"]
    assert (whole["rows"], whole["texts"]) == (3, 9)
    one = json.loads(succeed(*sets, "--column", "text=hard_neg"))["training"]
    assert (one["rows"], one["texts"]) == (3, 3)
    assert "--column is of the columns of --train" in refused(
        "leakage", "--hashes", triplets, "--column", "text=hard_neg"
    )
    space = ("geometry", model, triplets, "--column", "text=sent1", "--draws", 100, "--json", "-")
    figures = json.loads(succeed(*space))["space"]["figures"]
    assert "alignment" not in figures and "uniformity" in figures
    assert "--column is of a FILE's" in refused("geometry", model, "--column", "text=a")
