"""What a mistyped path probably meant."""

from __future__ import annotations

from pathlib import Path

import pytest

from simcse_kit.data.nearby import nearby


def test_near_names_are_spelled_as_the_path_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("minilm", "MiniLMM", "other", "minilm.txt"):
        (tmp_path / "models" / name).mkdir(parents=True)
    assert nearby("models/minilmm", Path.is_dir) == [
        "models/MiniLMM",  # the same but for upper and lower case
        "models/minilm",
        "models/minilm.txt",
    ]
    assert nearby("models/minilmm/", Path.is_dir, most=1) == ["models/MiniLMM"]
    assert nearby("~/model", Path.is_dir) == ["~/models"]
    assert nearby(tmp_path / "model", Path.is_dir) == [str(tmp_path / "models")]
    assert nearby("model", lambda place: place.name != "models") == []
    assert nearby("models/zebra", Path.is_dir) == []
    assert nearby("nowhere/model", Path.is_dir) == []
