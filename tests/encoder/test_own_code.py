"""Folders that bring code of their own: run where asked, and written so that they load again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from invoking import run, settings, succeed
from simcse_kit.encoder.sentence_encoder import SentenceEncoder
from simcse_kit.errors import InputError

MODELING = """
from transformers import BertModel
from .configuration_own import OwnConfig


class OwnModel(BertModel):
    config_class = OwnConfig

    def forward(self, *args, **kwargs):
        output = super().forward(*args, **kwargs)
        output.last_hidden_state = output.last_hidden_state * self.config.factor
        return output
"""
CONFIGURATION = """
from transformers import BertConfig


class OwnConfig(BertConfig):
    model_type = "own-bert"

    def __init__(self, factor=3.0, **kwargs):
        super().__init__(**kwargs)
        self.factor = factor
"""


@pytest.fixture(scope="module")
def own(tiny_encoder: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own") / "model"
    shutil.copytree(tiny_encoder("bert"), folder)
    (folder / "modeling_own.py").write_text(MODELING)
    (folder / "configuration_own.py").write_text(CONFIGURATION)
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "own-bert", "factor": 3.0, "architectures": ["OwnModel"]}
    config["auto_map"] = {
        "AutoConfig": "configuration_own.OwnConfig",
        "AutoModel": "modeling_own.OwnModel",
    }
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def load(folder: Path, **kwargs: Any) -> SentenceEncoder:
    return SentenceEncoder.from_pretrained(
        folder, default_pooling="mean", precision="fp32", device="cpu", **kwargs
    )


@pytest.mark.parametrize("layout", ["current", "legacy"])
def test_it_runs_where_asked_and_loads_again(own, tiny_encoder, tmp_path, layout):
    from sentence_transformers import SentenceTransformer

    with pytest.raises(InputError, match=r"trust_remote_code=True \(--trust-remote-code\)"):
        load(own)
    encoder = load(own, trust_remote_code=True)
    vector = encoder.encode("the dog eats")
    np.testing.assert_allclose(
        vector, 3 * load(tiny_encoder("bert")).encode("the dog eats"), atol=1e-5
    )
    encoder.save_pretrained(tmp_path / "saved", layout=layout)
    assert {"modeling_own.py", "configuration_own.py"} <= {
        path.name for path in (tmp_path / "saved").iterdir()
    }
    with pytest.raises(InputError, match="trust_remote_code=True"):
        load(tmp_path / "saved")
    again = load(tmp_path / "saved", trust_remote_code=True)
    theirs = SentenceTransformer(str(tmp_path / "saved"), device="cpu", trust_remote_code=True)
    for model in (again, theirs):
        np.testing.assert_allclose(model.encode("the dog eats"), vector, atol=1e-5)


def test_the_command_line_asks_for_it_and_training_keeps_it(own, tmp_path):
    (tmp_path / "texts.txt").write_text("\n".join(f"the dog eats {i}" for i in range(16)) + "\n")
    words = ("similarity", own, "a dog", "a cat", "--pooling", "mean")
    refused = run(*words)
    assert refused.exit_code == 2 and "--trust-remote-code" in refused.stderr
    assert succeed(*words, "--trust-remote-code") == succeed(
        "similarity", f"{own}@trust_remote_code=true,pooling=mean", "a dog", "a cat"
    )
    succeed(
        *("train", "--model", own, "--data", tmp_path / "texts.txt", "--trust-remote-code"),
        *("--output-dir", tmp_path / "run", *settings(cache_dir=tmp_path, max_steps=1)),
    )
    assert load(tmp_path / "run", trust_remote_code=True).encode("a dog").shape == (32,)
