"""Settings of parts: dotted keys, short forms, bases of recipes."""

from __future__ import annotations

from pathlib import Path

import pytest

from simcse_kit.errors import InputError
from simcse_kit.training import TrainConfig, build_config
from simcse_kit.training.runs.resuming import differences
from simcse_kit.training.settings.dotted import flat, nested, overlaid

DEFAULTS = {"objective": "info_nce"}


def test_flat_and_nested_are_each_others_reverse():
    given = {
        "objective": {"name": "info_nce", "temperature": 0.1, "margin": 5},
        "keys": {"name": "momentum", "momentum": 0.9},
        "positive_view": "deletion",
        "max_steps": 3,
    }
    once = flat(given)
    assert once == {
        "objective": "info_nce",
        "objective.temperature": 0.1,
        "objective.margin": 5,
        "keys": "momentum",
        "keys.momentum": 0.9,
        "positive_view": "deletion",
        "max_steps": 3,
    }
    assert flat(nested(once, {})) == once


def test_short_forms_and_dotted_keys_say_the_same():
    ways = [
        build_config(None, ["temperature=0.1"]),
        build_config(None, ["objective.temperature=0.1"]),
        build_config(None, ["objective={name: info_nce, temperature: 0.1}"]),
        TrainConfig(temperature=0.1),
        TrainConfig(objective={"name": "info_nce", "temperature": 0.1}),
    ]
    assert {config.objective.temperature for config in ways} == {0.1}
    assert all(config.model_dump() == ways[0].model_dump() for config in ways)
    assert not differences({"temperature": 0.1}, ways[0].model_dump(mode="json"))


def test_another_part_takes_the_settings_of_the_one_before_with_it():
    below = {"temperature": 0.1, "objective.margin": 5, "max_steps": 3}
    assert overlaid(below, {"objective": "cosent"}, DEFAULTS) == {
        "objective": "cosent",
        "max_steps": 3,
    }
    same = overlaid(below, {"objective": "info_nce", "objective.margin": 7}, DEFAULTS)
    assert same["objective.temperature"] == 0.1 and same["objective.margin"] == 7


def test_a_base_stands_below_and_may_rest_on_another(tmp_path: Path):
    (tmp_path / "low.yaml").write_text("base: small-unsup\nlearning_rate: 1.0e-5\nmax_length: 20\n")
    (tmp_path / "high.yaml").write_text("base: low.yaml\nmax_length: 40\nobjective.margin: 5\n")
    config = build_config(str(tmp_path / "high.yaml"), ["learning_rate=2e-5"])
    assert (config.learning_rate, config.max_length, config.max_steps) == (2e-5, 40, 500)
    assert config.objective.margin == 5 and config.pooling == "mean"
    assert config.origin("max_steps") == f"recipe {tmp_path / 'high.yaml'}"
    assert config.origin("objective.margin") == f"recipe {tmp_path / 'high.yaml'}"
    assert config.origin("temperature") == config.origin("objective.temperature")
    assert config.origin("objective.decoupled") is None


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("base: mine.yaml\nmax_steps: 3\n", "rests on"),
        ("base: other.yaml\nmax_steps: 3\n", "other.yaml does not exist"),
        ("base: [small-unsup]\n", "base must be a recipe's name"),
        ("objective.temperature: 0\n", "objective.temperature must be greater than 0"),
        ("objective: infonce\n", "did you mean 'info_nce'?"),
        ("objective: {temperature: 0.1}\n", None),
        ("positive_view.rate: 0.2\n", "positive_view"),
        ("temperature: 0.1\nobjective.temperature: 0.2\n", "temperature"),
        ("objective: {name: info_nce, margn: 3}\n", "no setting 'margn'"),
        ("objective: 3\n", "objective must be the name of one"),
        ("auxiliaries: [{name: decorrelation, weight: -1}]\n", "weight must be a number"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, content: str, words: str | None):
    path = tmp_path / "mine.yaml"
    path.write_text(content)
    if words is None:
        assert build_config(str(path)).objective.temperature == 0.1
        return
    with pytest.raises(InputError) as error:
        build_config(str(path))
    assert words in str(error.value) and "\n" not in str(error.value)
