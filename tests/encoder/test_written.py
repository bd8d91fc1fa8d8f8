"""What a written folder says and who may read it."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from simcse_kit.data.atomic import replacing
from simcse_kit.data.tokens import TokenStore
from simcse_kit.encoder.sentence_encoder import SentenceEncoder


@pytest.mark.parametrize("layout", ["current", "legacy"])
@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_every_file_is_for_whom_the_umask_says(tiny_encoder, tmp_path, layout, umask):
    encoder = SentenceEncoder.from_pretrained(tiny_encoder("bert"), pooling="mean")
    before = os.umask(umask)
    try:
        encoder.save_pretrained(tmp_path / "model", layout=layout)
    finally:
        os.umask(before)
    files = [path for path in (tmp_path / "model").rglob("*") if path.is_file()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o666 & ~umask}
    assert any(path.name == "model.safetensors" for path in files)


def test_a_replaced_file_is_too_and_a_failure_leaves_nothing(tmp_path: Path) -> None:
    def private(path: Path) -> None:  # as safetensors writes
        os.close(os.open(path.with_suffix(".tmp"), os.O_CREAT | os.O_WRONLY, 0o600))
        os.replace(path.with_suffix(".tmp"), path)

    before = os.umask(0o022)
    try:
        with replacing(tmp_path / "file") as aside:
            private(aside)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o644
    with pytest.raises(RuntimeError), replacing(tmp_path / "other"):
        raise RuntimeError
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_the_tokenizer_cuts_where_the_folder_says(tiny_encoder, tmp_path):
    """Other runtimes read tokenizer.json alone; training cut its texts at another length."""
    encoder = SentenceEncoder.from_pretrained(tiny_encoder("bert"), pooling="mean", max_length=24)
    TokenStore.build(["a man"], encoder.tokenizer, 5)
    encoder.save_pretrained(tmp_path)
    text = "the man plays " * 30
    alone = Tokenizer.from_file(str(tmp_path / "tokenizer.json"))
    assert len(alone.encode(text).ids) == 24
    assert json.loads((tmp_path / "tokenizer_config.json").read_text())["model_max_length"] == 24
    assert SentenceEncoder.from_pretrained(tmp_path).max_length == 24
