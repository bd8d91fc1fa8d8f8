"""Settings: each says what it is for, and knows where it was given."""

from __future__ import annotations

from pathlib import Path

import pytest

from simcse_kit.errors import InputError
from simcse_kit.training.settings.config import TrainConfig, build_config


def test_every_setting_says_what_it_is_for() -> None:
    for name, field in TrainConfig.model_fields.items():
        assert field.description and field.description.rstrip().endswith("."), name
        assert len(field.description) > 15 and not field.description.startswith(name), name


def test_a_setting_knows_where_it_was_given(tmp_path: Path) -> None:
    recipe = tmp_path / "mine.yaml"
    recipe.write_text("learning_rate: 1e-4\ntemperature: 0.05\nseed: 3\n")
    options = {"pooling": "mean", "eval_split": None}
    config = build_config(str(recipe), ["seed=7"], options)
    assert config.origin("learning_rate") == f"recipe {recipe}"
    assert config.origin("temperature") == f"recipe {recipe}", "though it is the default's value"
    assert config.origin("seed") == "--set seed=7" and config.seed == 7
    assert config.origin("pooling") == "--pooling mean"
    assert config.origin("eval_split") is None and config.origin("max_length") is None
    assert TrainConfig(seed=3).origin("seed") == ""
    assert config.for_length(100).origin("seed") == "--set seed=7"


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("eval_split=1.5", "a share of the rows below 1, or a whole number of rows, not 1.5"),
        ("eval_split=0", "greater than 0"),
        ("eval_split=some", "eval_split must be a number"),
        ("normalize=perhaps", "normalize must be true or false"),
        ("eval_split_seed=-1", "eval_split_seed"),
    ],
)
def test_what_is_no_setting_is_refused(override: str, words: str) -> None:
    with pytest.raises(InputError, match=f"--set {override}: .*{words}"):
        build_config(None, [override])
