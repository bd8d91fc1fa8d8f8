"""A model's name becomes a folder, a hub id, or one sentence soon."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from hubs import answering, go_online, nobody, silent
from simcse_kit.encoder.naming import Place, find_model
from simcse_kit.encoder.sentence_encoder import SentenceEncoder
from simcse_kit.errors import InputError


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with models, one of them in ``runs``, and folders that are none."""
    for name in ("minilm", "runs/run1", "runs/run-12"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "config.json").write_text("{}")
    (tmp_path / "runs/run3").mkdir()
    (tmp_path / "sentences").mkdir()
    (tmp_path / "sentences/modules.json").write_text("[]")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("minilmm", "is no folder here and the hub is not asked (HF_HUB_OFFLINE is set); did you"
         " mean the folder 'minilm'?"),
        ("MiniLM", "did you mean the folder 'minilm'?"),
        ("runs/run2", "did you mean the folder 'runs/run-12' or 'runs/run1'?"),  # run3 is no model
        ("sentence", "did you mean the folder 'sentences'?"),
        ("run1", "did you mean the folder 'runs/run1'?"),
        ("nobody/nothing", "check the name and the network, or give a local folder"),
        ("./runs/run2", "'./runs/run2' does not exist; did you mean the folder 'runs/run-12' or"),
        ("~/minilm2", "does not exist; did you mean the folder '~/minilm'?"),
        ("a/b/c", "'a/b/c' does not exist; give a local folder or a hub id"),
        ("no such model", "'no such model' does not exist"),
        ("", "the name of the model is empty"),
        ("runs", "has no config.json; did you mean the folder 'runs/run-12' or 'runs/run1'?"),
        ("minilm/config.json", "is a file, not a model folder; give its folder 'minilm'"),
    ],
)  # fmt: skip
def test_what_is_not_there_is_one_sentence(here: Path, name: str, says: str) -> None:
    with pytest.raises(InputError) as error:
        find_model(name)
    assert says in str(error.value) and "\n" not in str(error.value)


def test_a_folder_comes_before_the_hub(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with answering(200, b'{"id": "a", "sha": "0"}') as (endpoint, asked):
        go_online(monkeypatch, endpoint)
        assert find_model("runs/run1") == Place("runs/run1")
        assert find_model("~/minilm") == Place(str(here / "minilm"))
        assert asked == []
        assert find_model("runs/run2") == Place("runs/run2")  # the hub has one
        assert len(asked) == 1
    with answering(404) as (endpoint, _):
        go_online(monkeypatch, endpoint)
        with pytest.raises(InputError, match=r"hub has no such model .*did you mean .*'minilm'"):
            find_model("minilmm")


@pytest.mark.parametrize("place", [nobody, silent])
def test_a_mistyped_model_fails_within_two_seconds(
    here: Path, monkeypatch: pytest.MonkeyPatch, place: Any
) -> None:
    with place() as endpoint:
        go_online(monkeypatch, endpoint)
        start = time.monotonic()
        with pytest.raises(
            InputError, match=r"cannot be reached .* did you mean the folder 'minil"
        ):
            SentenceEncoder.from_pretrained("minilmm", pooling="mean")
        assert time.monotonic() - start < 2


@pytest.mark.parametrize("place", [nobody, silent])
@pytest.mark.parametrize(
    "words",
    [
        ["similarity", "minilmm", "a", "b"],
        ["compare", "minilm", "minilmm", "--data-dir", "."],
        ["report", "minilmm", "--data-dir", ".", "--html", "x.html"],
        ["train", "--model", "minilmm", "--data", "x.txt", "--output-dir", "out"],
    ],
)
def test_commands_say_it_before_they_load_anything(
    here: Path, place: Any, words: list[str]
) -> None:
    with place() as endpoint:
        environment = os.environ | {"HF_ENDPOINT": endpoint, "HF_HUB_OFFLINE": "0"}
        code = (
            "import sys\n"
            "from simcse_kit.commands.cli import main\n"
            "try: main()\n"
            "finally: print(sorted({'torch', 'transformers', 'datasets'} & set(sys.modules)))"
        )
        start = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-c", code, *words],
            capture_output=True, text=True, check=False, env=environment, timeout=60,
        )  # fmt: skip
        took = time.monotonic() - start
    assert done.returncode == 2, done.stderr
    assert done.stderr.startswith("error: model 'minilmm' is no folder here and the hub cannot be")
    assert done.stderr.count("\n") == 1
    assert done.stdout == "[]\n"
    assert took < 15  # under 2 s where nothing else runs; it was eighty


def test_a_model_in_the_cache_loads_without_the_hub(
    tiny_encoder: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    local = SentenceEncoder.from_pretrained(tiny_encoder("bert"), pooling="mean", device="cpu")
    for name in ("plain", "saved"):
        home = tmp_path / f"models--me--{name}"
        (home / "refs").mkdir(parents=True)
        (home / "refs" / "main").write_text("f" * 40)
        if name == "plain":
            shutil.copytree(tiny_encoder("bert"), home / "snapshots" / ("f" * 40))
        else:
            local.save_pretrained(home / "snapshots" / ("f" * 40))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with nobody() as endpoint:
        go_online(monkeypatch, endpoint)
        assert find_model("me/plain") == Place("me/plain", local_only=True)
        with pytest.raises(InputError, match="me/other"):
            find_model("me/other")
        start = time.monotonic()
        plain = SentenceEncoder.from_pretrained("me/plain", pooling="mean", device="cpu")
        saved = SentenceEncoder.from_pretrained("me/saved", device="cpu")
        assert time.monotonic() - start < 20  # no retries: they took 24 s a file
    expected = local.encode("the dog eats")
    np.testing.assert_allclose(plain.encode("the dog eats"), expected, atol=1e-5)
    np.testing.assert_allclose(saved.encode("the dog eats"), expected, atol=1e-5)


def test_a_checkpoint_and_other_parts_of_a_model_lead_to_the_model(tmp_path: Path) -> None:
    (tmp_path / "modules.json").touch()
    for part in ("checkpoint-8", "1_Pooling"):
        (tmp_path / part).mkdir()
        with pytest.raises(InputError, match=f"the model it is a part of, '{tmp_path}'"):
            find_model(str(tmp_path / part))
