"""``simcse-kit train``: its own options, and what it prints at the end."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from invoking import run, settings, succeed
from simcse_kit.encoder.sentence_encoder import SentenceEncoder
from simcse_kit.training.runs import keeper

Tiny = Callable[[str], Path]
ROWS = [f"what is number {i},it is the man number {i}" for i in range(40)]


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keeper.Keeper, "draw", lambda *_: None)


@pytest.fixture
def common(tiny_encoder: Tiny, tmp_path: Path) -> list[Any]:
    data = tmp_path / "qa.csv"
    data.write_text("\n".join(["anchor,positive", *ROWS]))
    return ["train", "--model", tiny_encoder("bert"), "--data", data]


def without(key: str, **changes: object) -> list[str]:
    """The tests' settings without one of them."""
    words = settings(**changes)
    place = next(i for i, word in enumerate(words) if word.startswith(f"{key}="))
    return words[: place - 1] + words[place + 1 :]


def test_held_out_pairs_choose_the_step(
    common: list[Any], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    output = tmp_path / "run"
    common += ["--output-dir", output, "--eval-split", 0.2, "--pooling", "mean"]
    common += without("pooling", cache_dir=tmp_path / "tokens")
    done = run(*common)
    assert done.exit_code == 0, done.stderr
    model, best, *beside, following = done.stdout.splitlines()
    assert model == f"model  {output}"
    assert best.startswith("best   step ") and ": held-out pairs recall@1 " in best
    assert any("checkpoint-4 serves --resume alone and may go (" in line for line in beside)
    assert following.startswith(f"next   simcse-kit evaluate {output}  # the STS sets of the hub")
    assert "held-out pairs recall@1, 8 pairs" in caplog.text
    assert "--pooling: pooling" in caplog.text and "eval_split 0.2" in caplog.text
    assert "step 4 of 4: loss " in caplog.text and "distinct sentences" not in caplog.text
    config = yaml.safe_load((output / "train_config.yaml").read_text())
    assert config["eval_split"] == 0.2 and config["pooling"] == "mean"
    assert SentenceEncoder.from_pretrained(output).pooling == "mean"

    again = run(*common, "--resume")
    assert again.exit_code == 0 and "nothing is trained" in caplog.text
    assert again.stdout == done.stdout


@pytest.mark.parametrize(
    ("more", "says"),
    [
        (["--eval-split", 1.5], "--eval-split 1.5: eval_split must be a share"),
        (["--eval-split", 0], "--eval-split 0.0: eval_split"),
        (["--pooling", "cls", "--set", "pooling=mean"], "--set pooling=mean and --pooling cls"),
        (["--eval-split", 0.1, "--set", "eval_split=9"], "both set eval_split; give one"),
        (["--set", "pooling=mean", "--eval-split", 0.5, "--eval-data", "{dev}"], "give one"),
    ],
)
def test_settings_that_contradict_are_refused(
    common: list[Any], tmp_path: Path, more: list[Any], says: str
) -> None:
    dev = tmp_path / "dev.tsv"
    rows = [f"a man {i}\ta boy {i}\t{i % 6}" for i in range(12)]
    dev.write_text("\n".join(["sentence1\tsentence2\tscore", *rows]))
    given = [str(word).format(dev=dev) for word in more]
    refused = run(*common, "--output-dir", tmp_path / "run", *given)
    assert refused.exit_code == 2 and says in refused.stderr
    assert not (tmp_path / "run").exists()


def test_what_comes_next_names_the_dev_data(common: list[Any], tmp_path: Path) -> None:
    dev = tmp_path / "my dev.tsv"
    rows = [f"a man {i}\ta boy {'runs' if i % 2 else ''} {i}\t{i % 6}" for i in range(12)]
    dev.write_text("\n".join(["sentence1\tsentence2\tscore", *rows]))
    shown = succeed(
        *common, "--output-dir", tmp_path / "run", "--eval-data", dev,
        *settings(cache_dir=tmp_path / "tokens", max_steps=1),
    )  # fmt: skip
    assert shown.splitlines()[-1] == (
        f"next   simcse-kit evaluate {tmp_path / 'run'} --tasks '{dev}'"
    )


def test_a_recipe_in_the_folder_to_be_emptied_is_refused(common: list[Any], tmp_path: Path) -> None:
    output = tmp_path / "run"
    words = ["--output-dir", output, *settings(cache_dir=tmp_path / "tokens", max_steps=1)]
    succeed(*common, *words)
    refused = run(*common, *words, "--recipe", output / "train_config.yaml", "--overwrite")
    assert refused.exit_code == 2
    assert "recipe" in refused.stderr and "which --overwrite empties" in refused.stderr
    assert (output / "model.safetensors").is_file()
    model = ["train", "--model", output, *common[3:], *words]
    assert "is the model that training starts from" in run(*model, "--overwrite").stderr
    assert (output / "model.safetensors").is_file()
