"""Models with settings of their own, and several by labels."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from invoking import run, succeed
from simcse_kit.commands.models import by_label, split_model
from simcse_kit.commands.options import ModelOptions
from simcse_kit.commands.training_options import TrainingOptions
from simcse_kit.encoder.sentence_encoder import SentenceEncoder
from simcse_kit.errors import InputError


def test_settings_stand_behind_the_name(tmp_path: Path) -> None:
    assert split_model("run@pooling=cls,max-length=64") == (
        "run",
        {"pooling": "cls", "max_length": "64"},
    )
    for whole in ("run", "owner/name", "a@b", "a=b@c"):
        assert split_model(whole) == (whole, {})
    odd = tmp_path / "a@x=1"
    odd.mkdir()
    assert split_model(str(odd)) == (str(odd), {})
    with pytest.raises(InputError, match=r"did you mean 'pooling'\?"):
        split_model("run@poolin=cls")
    with pytest.raises(InputError, match="give pooling once and a value"):
        split_model("run@pooling=cls,pooling=mean")
    with pytest.raises(InputError, match="give head once and a value"):
        split_model("run@head=")


def test_a_models_own_settings_go_before_the_options() -> None:
    options = ModelOptions(pooling="mean", max_length=32)
    assert options.with_own("m", {"pooling": "cls", "head": "none"}) == ModelOptions(
        pooling="cls", head="none", max_length=32
    )
    with pytest.raises(InputError, match=r"^m: pooling must be one of .*did you mean 'cls'"):
        options.with_own("m", {"pooling": "clss"})
    with pytest.raises(InputError, match=r"^m: max_length must be a whole number, not 'x'"):
        options.with_own("m", {"max_length": "x"})


@pytest.mark.parametrize(
    ("behind", "said"),
    [
        ("precision=bf16", r"^m@precision=bf16: of a training, precision is .* --set bf16=false"),
        ("max_length=64", "of a training, max_length is a setting, as in --set max_length=64"),
        ("backend=onnx", "^m@backend=onnx: training computes with torch; leave backend out"),
    ],
)
def test_a_training_takes_no_settings_behind_the_name_that_are_not_its_own(
    behind: str, said: str
) -> None:
    config = TrainingOptions().config("plain", "m@pooling=mean,head=keep")
    assert (config.pooling, config.model_head) == ("mean", "keep")
    with pytest.raises(InputError, match=said):
        TrainingOptions().config("plain", f"m@{behind}")


def test_labels_are_one_a_model() -> None:
    assert by_label(["a", "b"], None) == {"a": "a", "b": "b"}
    assert by_label(["a", "b"], ["old", "new"]) == {"old": "a", "new": "b"}
    assert by_label(["x/a", "x/b"], [], ["a", "b"]) == {"a": "x/a", "b": "x/b"}
    with pytest.raises(InputError, match="the model a is named twice"):
        by_label(["a", "b", "a"], None)
    with pytest.raises(InputError, match="1 labels for 2 models"):
        by_label(["a", "b"], ["x"])
    with pytest.raises(InputError, match="two models have one label"):
        by_label(["a", "b"], ["x", "x"])


@pytest.fixture(scope="module")
def room(tiny_encoder: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A plain checkpoint, two models that know their pooling, and scored pairs."""
    root = tmp_path_factory.mktemp("models")
    (root / "plain").symlink_to(tiny_encoder("bert"))
    torch.manual_seed(0)
    for name, pooling in (("first", "cls"), ("second", "max")):
        encoder = SentenceEncoder.from_pretrained(tiny_encoder("bert"), pooling=pooling)
        for parameter in encoder.parameters():
            parameter.data += 0.05 * torch.randn_like(parameter)
        encoder.save_pretrained(root / name)
    words = "the man plays guitar dog runs she reads book on train red car city old small"
    rows = [f"{words[i % 7 :]},{words[i % 5 :]},{i % 6}" for i in range(30)]
    (root / "pairs.csv").write_text("\n".join(["sentence1,sentence2,score", *rows]))
    return root


def test_pooling_of_several_is_for_those_that_have_none(room: Path) -> None:
    models = [room / name for name in ("plain", "first", "second")]
    arguments = ("--tasks", room / "pairs.csv", "--draws", 200, "--json", "-")
    result = run("compare", *models, *arguments, "--pooling", "mean")
    assert result.exit_code == 0, result.stderr
    found = json.loads(result.stdout)
    assert [each["protocol"]["pooling"] for each in found["models"]] == ["mean", "cls", "max"]
    assert f"first keeps its own pooling, cls; {models[1]}@pooling=mean would" in result.stderr
    forced = (models[0], f"{models[1]}@pooling=mean", models[2])
    found = json.loads(succeed("compare", *forced, *arguments, "--pooling", "max"))
    assert [each["protocol"]["pooling"] for each in found["models"]] == ["max", "mean", "max"]
    assert "choose a pooling" in run("compare", *models, *arguments).stderr
    one = json.loads(succeed("evaluate", models[1], *arguments, "--pooling", "mean"))
    own = json.loads(succeed("evaluate", f"{models[1]}@pooling=mean", *arguments))
    assert one["tasks"] == own["tasks"] and own["protocol"]["pooling"] == "mean"
    said = run("evaluate", f"{models[1]}@pooling=clss", *arguments).stderr
    assert "did you mean 'cls'" in said


def test_compare_by_labels_and_all_pairs(room: Path) -> None:
    models = [f"{room / 'plain'}@pooling=mean", room / "first", room / "second"]
    labels = [word for name in ("raw", "one", "two") for word in ("--label", name)]
    arguments = ("compare", *models, *labels, "--tasks", room / "pairs.csv", "--draws", 200)
    found = json.loads(succeed(*arguments, "--baseline", "one", "--json", "-"))
    assert [(each["label"], each["model"]) for each in found["models"]] == [
        ("raw", str(models[0])), ("one", str(models[1])), ("two", str(models[2])),
    ]  # fmt: skip
    assert found["comparison"]["baseline"] == "one"
    assert list(found["comparison"]["differences"]) == ["raw", "two"]
    same = json.loads(succeed(*arguments, "--baseline", models[1], "--json", "-"))
    assert same["comparison"] == found["comparison"]

    pairs = json.loads(succeed(*arguments, "--pairwise", "--json", "-"))
    scores = {each["label"]: each["tasks"]["pairs"]["spearman"] for each in pairs["models"]}
    seen, alone, adjusted = [], [], []
    for one in pairs["pairwise"]:
        assert one["family"] == 3
        for name, figures in one["differences"].items():
            seen.append((one["baseline"], name))
            difference = scores[name] - scores[one["baseline"]]
            assert figures["pairs"]["difference"] == pytest.approx(difference)
            alone.append(figures["pairs"]["p_value"])
            adjusted.append(figures["pairs"]["p_adjusted"])
    assert seen == [("raw", "one"), ("raw", "two"), ("one", "two")]
    ordered = sorted(range(3), key=alone.__getitem__)
    stepped = [min(1.0, alone[place] * (3 - rank)) for rank, place in enumerate(ordered)]
    expected = [max(stepped[: rank + 1]) for rank in range(3)]
    assert [adjusted[place] for place in ordered] == pytest.approx(expected)
    shown = succeed(*arguments, "--pairwise")
    assert "two is " in shown and "points" in shown and "corrected for 3 comparisons" in shown
    said = run(*arguments, "--pairwise", "--baseline", "one")
    assert said.exit_code == 2 and "give one" in said.stderr


def test_a_folder_under_home_may_have_such_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "run@lr=1").mkdir()
    assert split_model("~/run@lr=1") == ("~/run@lr=1", {})


def test_one_model_by_two_paths_is_counted_once(
    room: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(room)
    arguments = ("--tasks", "pairs.csv", "--draws", 200)
    for again in ("./first", "first/", str(room / "first"), "second/../first"):
        said = run("compare", "first", again, *arguments).stderr
        assert f"first and {again} are one model, named twice; name each once" in said
    both = ("first@pooling=cls,max_length=9", "./first@max_length=9,pooling=cls")
    assert "are one model" in run("compare", *both, *arguments).stderr
    assert run("compare", "first", "./first@pooling=mean", *arguments).exit_code == 0
