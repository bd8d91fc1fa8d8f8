"""The command line: what each command prints and writes, and where it prints it."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from invoking import run, settings, succeed
from simcse_kit.corpus import one_file
from simcse_kit.encoder.sentence_encoder import SentenceEncoder
from simcse_kit.errors import InputError
from simcse_kit.training.settings.recipe_files import recipe_names, recipe_text

TEXTS = ["the man plays the guitar", "a dog runs", "she reads a book on the train", "the red car"]


@pytest.fixture(scope="module")
def model(tiny_encoder: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sentence-transformers folder: it says how it pools."""
    folder = tmp_path_factory.mktemp("cli") / "model"
    SentenceEncoder.from_pretrained(tiny_encoder("bert"), pooling="mean").save_pretrained(folder)
    return folder


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    path = tmp_path / "texts.txt"
    path.write_text("\n".join(f"{text} {i}" for i in range(8) for text in TEXTS))
    return path


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Scored pairs: the more words shared, the higher the score."""
    rows = ["sentence1\tsentence2\tscore"]
    for number in range(12):
        same, other = ["the", "man", "sees", "a", "dog"], ["she", "sells", "an", "old", "boat"]
        changed = same[: number % 6] + other[number % 6 :]
        rows.append(f"{' '.join(same)} {number}\t{' '.join(changed)}\t{number % 6}")
    path = tmp_path / "pairs.tsv"
    path.write_text("\n".join(rows))
    return path


# -- the frame


def test_help_and_version_import_nothing_heavy() -> None:
    code = (
        "import sys; from typer.testing import CliRunner; from simcse_kit.commands.cli import app;"
        "r = CliRunner().invoke(app, ['--help']); assert r.exit_code == 0;"
        "assert not {'torch', 'transformers', 'numpy', 'rich', 'datasets'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_help_names_every_command_and_none_prints_help() -> None:
    shown = succeed("--help")
    for command in ("train", "evaluate", "compare", "embed", "similarity", "recipes"):
        assert command in shown
        assert "Usage" in succeed(command, "--help")
    assert succeed() == shown
    assert "temperature" in succeed("train", "--help")
    assert succeed("--version").startswith("simcse-kit ")


@pytest.mark.parametrize("group", [[], ["task"]])
def test_help_cuts_no_line_short_in_a_terminal_of_80_columns(group: list[str]) -> None:
    shown = succeed(*group, "-h")
    assert shown == succeed(*group, "--help")
    commands = shown.split("Commands:")[1].splitlines()
    assert len(commands) > 5 and max(map(len, shown.splitlines())) <= 80
    assert not [line for line in commands if line.endswith("...")]


def test_the_package_is_run_as_a_module_too() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "simcse_kit", "--version"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == succeed("--version")


def test_a_process_of_its_own_keeps_stdout_clean(model: Path, texts: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "simcse_kit.commands.cli", "similarity", model, "a man", "a dog"],
        capture_output=True,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0
    assert -1 <= float(done.stdout) <= 1
    assert done.stderr == ""


def test_recipes() -> None:
    listed = succeed("recipes").splitlines()
    assert [line.split()[0] for line in listed] == recipe_names()
    assert succeed("recipes", "sup-bert-base") == recipe_text("sup-bert-base")


# -- errors and interruptions


def test_debug_shows_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIMCSE_KIT_DEBUG", "1")
    assert isinstance(run("recipes", "none-such").exception, InputError)


def test_a_bug_of_ours_is_called_one(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any) -> None:
        raise TypeError("unsupported\noperand")

    monkeypatch.setattr("simcse_kit.commands.recipes.recipe_text", broken)
    result = run("recipes", "sup-bert-base")
    assert result.exit_code == 1
    assert result.stderr.startswith("error: a bug in simcse-kit: TypeError: unsupported operand\n")


def test_libraries_errors_become_sentences(monkeypatch: pytest.MonkeyPatch) -> None:
    from huggingface_hub.errors import OfflineModeIsEnabled
    from safetensors import SafetensorError
    from torch import OutOfMemoryError

    for error, words in [
        (OfflineModeIsEnabled("no\nnetwork"), "check the name, the network"),
        (SafetensorError("header too small"), "weights cannot be read or written (header too"),
        (OutOfMemoryError("CUDA"), "per_device_train_batch_size"),
        (PermissionError(13, "Permission denied", "/x/y"), "/x/y: Permission denied"),
        (OSError("disk on fire\nindeed"), "error: disk on fire\n"),
    ]:

        def broken(*_: Any, error: Exception = error) -> None:
            raise error

        monkeypatch.setattr("simcse_kit.commands.recipes.recipe_text", broken)
        result = run("recipes", "sup-bert-base")
        assert result.exit_code == 2
        assert words in result.stderr
        assert result.stderr.startswith("error: ") and result.stderr.count("\n") == 1


def test_what_transformers_refuses_later_is_a_sentence_too(monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import TrainingArguments

    monkeypatch.setattr(
        "simcse_kit.commands.recipes.recipe_text",
        lambda _: TrainingArguments("x", logging_strategy="sometimes", use_cpu=True),
    )
    result = run("recipes", "sup-bert-base")
    assert result.exit_code == 2
    assert "error: transformers refuses these settings: sometimes" in result.stderr


@pytest.mark.parametrize(
    ("left", "words"),
    [
        ("run/checkpoint-2", "--output-dir run --resume"),
        ("run", "--output-dir run --overwrite"),
        (".", "--output-dir run\n"),
    ],
)
def test_an_interrupted_training_says_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, left: str, words: str
) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("simcse_kit.training.train", interrupted)
    monkeypatch.chdir(tmp_path)
    (tmp_path / left).mkdir(parents=True, exist_ok=True)
    (tmp_path / "m").mkdir()
    arguments = ["train", "--model", "m", "--data", "my texts.txt", "--output-dir", "run"]
    monkeypatch.setattr(sys, "argv", ["simcse-kit", *arguments])
    result = run(*arguments)
    assert result.exit_code == 130
    assert result.stderr.count("\n") == 1
    assert words in result.stderr and "'my texts.txt'" in result.stderr


def test_columns_are_mapped_for_training() -> None:
    """``--column`` is read before anything else is looked at."""
    from simcse_kit.commands.column_mapping import column_mapping

    assert column_mapping(["anchor=title", "positive=body text"]) == {
        "anchor": "title",
        "positive": "body text",
    }
    assert column_mapping([]) is None
    with pytest.raises(InputError, match="OURS=THEIRS, for instance --column anchor=anchor"):
        column_mapping(["anchor"])


# -- embedding


def test_similarity_of_two_is_a_number_and_of_three_a_matrix(model: Path) -> None:
    encoder = SentenceEncoder.from_pretrained(model)
    expected = encoder.similarity(TEXTS, TEXTS)
    assert float(succeed("similarity", model, *TEXTS[:2])) == pytest.approx(
        expected[0, 1], abs=1e-4
    )
    texts = [*TEXTS[:3], "the red\tcar\nand the very old boat on the river in the city"]
    rows = [line.split("\t") for line in succeed("similarity", model, *texts).splitlines()]
    labels = [label for label, *_ in rows]
    assert labels == [*TEXTS[:3], "the red car and the very old boat on th…"]
    matrix = np.array([row[1:] for row in rows], dtype=float)
    np.testing.assert_allclose(matrix, encoder.similarity(texts, texts), atol=1e-4)


def test_embed_writes_npy_in_the_order_of_the_file(
    model: Path, texts: Path, tmp_path: Path
) -> None:
    output = tmp_path / "e.npy"
    said = succeed("embed", model, texts, "--output", output, "--precision", "fp32")
    assert said == f"{output}  32 x 32 float32\n"
    expected = SentenceEncoder.from_pretrained(model, precision="fp32").encode(
        texts.read_text().splitlines()
    )
    found = np.load(output)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_embed_writes_parquet_with_the_texts_beside(
    model: Path, texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    monkeypatch.setattr(one_file, "ROW_GROUP", 10)
    output = tmp_path / "e.parquet"
    succeed("embed", model, texts, "--output", output, "--precision", "fp32")
    table = pq.read_table(output)
    assert table.column("text").to_pylist() == texts.read_text().splitlines()
    assert table.schema.field("embedding").type == pa.list_(pa.float32(), 32)
    assert pq.ParquetFile(output).num_row_groups == 4
    succeed("embed", model, texts, "--output", tmp_path / "e.npy", "--precision", "fp32")
    vectors = np.stack(table.column("embedding").to_numpy())
    np.testing.assert_array_equal(vectors, np.load(tmp_path / "e.npy"))
    assert sorted(p.name for p in tmp_path.iterdir()) == ["e.npy", "e.parquet", "texts.txt"]


def test_embed_reads_a_column_of_any_format(model: Path, tmp_path: Path) -> None:
    lines = [json.dumps({"id": i, "title": text}) for i, text in enumerate(TEXTS)]
    source = tmp_path / "titles.jsonl.gz"
    source.write_bytes(gzip.compress("\n".join(lines).encode()))
    output = tmp_path / "e.npy"
    succeed("embed", model, source, "--output", output, "--column", "title")
    assert np.load(output).shape == (4, 32)


def test_a_failing_embed_leaves_the_old_file_and_nothing_else(
    model: Path, texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise InputError("the model is broken")

    monkeypatch.setattr(SentenceEncoder, "encode", broken)
    for name in ("e.npy", "e.parquet"):
        (tmp_path / name).write_text("old")
        result = run("embed", model, texts, "--output", tmp_path / name)
        said = "error: shard 0, from row 0: the model is broken\n"
        assert (result.exit_code, result.stderr) == (2, said)
        assert (tmp_path / name).read_text() == "old"
    assert len(list(tmp_path.iterdir())) == 3


# -- judging


def test_evaluate_prints_a_table_and_writes_figures_and_pictures(
    model: Path, pairs: Path, tmp_path: Path
) -> None:
    out, plots = tmp_path / "scores.json", tmp_path / "new" / "plots"
    table = succeed("evaluate", model, "--tasks", pairs, "--json", out, "--plots", plots)
    figures = json.loads(out.read_text())
    assert figures["model"] == str(model)
    assert set(figures["tasks"]["pairs"]) == {"spearman", "pearson", "n", "subsets"}
    assert figures["tasks"]["pairs"]["n"] == 12
    assert {"alignment", "uniformity"} <= set(figures["geometry"])
    assert figures["protocol"]["aggregation"] == "all"
    assert f"{figures['tasks']['pairs']['spearman']:.2f}" in table
    assert [p.name for p in plots.iterdir()] == ["cosines_pairs.png"]


def test_evaluate_can_give_json_or_markdown_alone(model: Path, pairs: Path) -> None:
    figures = json.loads(succeed("evaluate", model, "--tasks", pairs, "--json", "-"))
    assert figures["average"] == figures["tasks"]["pairs"]["spearman"]
    markdown = succeed("evaluate", model, "--tasks", pairs, "--markdown")
    assert markdown.startswith("| Model | pairs |")


def test_evaluate_takes_pooling_length_and_precision(
    tiny_encoder: Callable[[str], Path], pairs: Path
) -> None:
    options = ["--pooling", "max", "--max-length", 16, "--precision", "fp32", "--json", "-"]
    shown = succeed("evaluate", tiny_encoder("bert"), "--tasks", pairs, *options)
    protocol = json.loads(shown)["protocol"]
    found = [protocol[key] for key in ("pooling", "max_length", "precision")]
    assert found == ["max", 16, "fp32"]


def test_compare_puts_models_in_one_table_and_one_picture(
    model: Path, tiny_encoder: Callable[[str], Path], pairs: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    SentenceEncoder.from_pretrained(tiny_encoder("roberta"), pooling="cls").save_pretrained(other)
    out = tmp_path / "scores.json"
    table = succeed(
        "compare", model, other, "--tasks", pairs, "--json", out, "--plots", tmp_path / "plots"
    )
    assert str(model) in table and str(other) in table
    scored = json.loads(out.read_text())["models"]
    assert [figures["model"] for figures in scored] == [str(model), str(other)]
    assert (tmp_path / "plots" / "alignment_uniformity.png").stat().st_size > 1000


# -- training


def test_train_evaluate_and_resume(
    tiny_encoder: Callable[[str], Path], texts: Path, pairs: Path, tmp_path: Path
) -> None:
    output, plots = tmp_path / "run", tmp_path / "plots"
    common = ["--model", tiny_encoder("bert"), "--data", texts, "--eval-data", pairs]
    common += ["--output-dir", output, *settings(cache_dir=tmp_path / "tokens")]
    shown = succeed("train", *common, "--plots", plots)
    assert shown.startswith(f"model  {output}\nbest   step ")
    assert "pairs file Spearman" in shown and f"next   simcse-kit evaluate {output}" in shown
    assert "{" not in shown  # the Trainer prints its log as dicts
    assert {p.name for p in plots.iterdir()} == {"training_curve.png", "cosines_pairs.png"}
    for folder in (output, output / "last"):
        assert "pairs" in succeed("evaluate", folder, "--tasks", pairs)

    again = run("train", *common)
    assert again.exit_code == 2 and "not empty" in again.stderr
    longer = ["max_steps=6" if word == "max_steps=4" else word for word in common]
    further = succeed("train", *longer, "--resume")
    assert "of 6" in further


def test_train_on_pairs_with_a_recipe(tiny_encoder: Callable[[str], Path], tmp_path: Path) -> None:
    data = tmp_path / "triplets.csv"
    rows = [f"{TEXTS[i % 4]} {i},{TEXTS[i % 4]} {i} too,{TEXTS[(i + 1) % 4]}" for i in range(16)]
    data.write_text("\n".join(["sent0,sent1,hard_neg", *rows]))
    output = tmp_path / "run"
    shown = succeed(
        "train", "--model", tiny_encoder("bert"), "--data", data, "--output-dir", output,
        "--recipe", "sup-bert-base", *settings(pooling="cls", cache_dir=tmp_path / "tokens"),
    )  # fmt: skip
    assert "there was no dev set" in shown
    assert SentenceEncoder.from_pretrained(output).head is not None
