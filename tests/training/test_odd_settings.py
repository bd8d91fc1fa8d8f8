"""Whatever is given for whichever setting: it is taken for what it says, or refused in a line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from simcse_kit.errors import InputError
from simcse_kit.training import TrainConfig, build_config

ODD = [
    *("", "null", "~", "true", "no", "on", "None", "-1", "0", "1", "2", "7", "1.5", "-0.0", "1e-5"),
    *("1e400", "-1e400", "1e-400", ".nan", ".inf", "-.inf", "010", "0o17", "0x1f", "0b1", "1_000"),
    *("1:30", "9" * 40, "9" * 400, "9" * 5000, "[1]", "[]", "[[]]", "[a, b]", "{}", "{a: 1}"),
    *(
        "{1: 2}",
        "{a: 1, a: 2}",
        "{[a]: 1}",
        "a",
        "é",
        "🙂",
        "a=b",
        "a b",
        "'quoted'",
        '"',
        "2024-01-31",
    ),
    *("!!python/object:os.system x", "!!binary x", "!!set {a}", "&a b", "*a", "- 1", ">", "|", "%"),
    *("@x", "`x`", "? a", "<<: 1", "a: 1", "a\nb", "\x00", "\t1", "---\n1\n---\n2", "../..", "~/x"),
    *("${HOME}", "True", "FALSE", "1,5", "1 000", "3e", "+1", "١", "inf", "nan", "infinity"),
]


@pytest.mark.parametrize("key", TrainConfig.model_fields)
def test_any_value_is_taken_or_refused_in_a_line(key: str, tmp_path: Path) -> None:
    for text in ODD:
        try:
            config = build_config(None, [f"{key}={text}"])
        except InputError as error:
            said = str(error)
            assert said.startswith(f"--set {key}={text}") and len(said) > len(key) + len(text) + 9
            assert "\n" not in said.removeprefix(f"--set {key}={text}"), text
            continue
        _holds(config, key, text)
        try:
            config.model_copy(update={"use_cpu": True}).to_training_arguments(tmp_path)
        except InputError:
            continue


def _holds(config: TrainConfig, key: str, text: str) -> None:
    """A number is the number that is written, and true or false is what the word says."""
    value: Any = getattr(config, key)
    if isinstance(value, bool):
        assert value is (text.lower() in ("true", "on", "1", "+1")), text
    elif isinstance(value, (int, float)):
        assert value == float(text), text
        assert abs(value) < float("inf")


@pytest.mark.parametrize("text", ODD)
def test_any_text_is_a_recipe_or_refused_in_a_line(text: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as caught:
        build_config(str(path))
    assert str(caught.value).startswith(f"recipe {path}")
