"""What a run's folder tells, and the report command from a folder to its files."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

import invoking
from pages import check_page
from simcse_kit.encoder.sentence_encoder import SentenceEncoder
from simcse_kit.errors import InputError
from simcse_kit.evaluation.sts.suite import load_tasks
from simcse_kit.report.runs import read_run
from simcse_kit.training.run import train
from simcse_kit.training.settings.config import TrainConfig

WORDS = ["man", "dog", "girl", "plays", "eats", "reads", "guitar", "piano", "book"]


@pytest.fixture(scope="module")
def place(tiny_encoder: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a base model, a run from it, pairs and texts."""
    root = tmp_path_factory.mktemp("report")
    SentenceEncoder.from_pretrained(tiny_encoder("bert"), pooling="mean").save_pretrained(
        root / "base"
    )
    rows = [
        f"a {WORDS[i % 9]} {WORDS[(i + k) % 9]} the {WORDS[(2 * i) % 9]}\t"
        f"the {WORDS[i % 9]} {WORDS[(3 * i) % 9]} {'today' * (i % 2)} here\t{(i * k) % 6}"
        for i in range(20)
        for k in (1, 2)
    ]
    (root / "pairs.tsv").write_text("sentence1\tsentence2\tscore\n" + "\n".join(rows))
    texts = [f"the {a} {b} a {c}" for a in WORDS for b in WORDS[:3] for c in WORDS[:2]]
    (root / "texts.txt").write_text("\n".join(texts))
    config = TrainConfig(
        max_steps=2,
        per_device_train_batch_size=8,
        eval_steps=1,
        logging_steps=1,
        report_to="none",
        use_cpu=True,
        cache_dir=root / "cache",
    )
    dev = load_tasks(None, [str(root / "pairs.tsv")])[0]
    train(root / "base", root / "texts.txt", config, root / "run", eval_data=dev)
    return root


def test_a_run_says_how_it_was_made(place):
    run = read_run(place / "run")
    assert run is not None
    assert run.base == str(place / "base") and run.data == "texts.txt"
    assert run.config["max_steps"] == 2 and run.best is not None and run.seconds is not None
    assert {"command", "date", "hardware", "versions"} <= set(run.made)
    assert run.to_json()["base"] == "base"
    assert [entry["step"] for entry in run.history if "eval_spearman" in entry] == [0, 1, 2]


def test_a_folder_that_is_no_run(place, tmp_path):
    assert read_run(place / "base") is None
    assert read_run("owner/name") is None


def test_an_older_run_says_less(place, tmp_path):
    (tmp_path / "train_config.yaml").write_text("seed: 1\n")
    run = read_run(tmp_path)
    assert run is not None and run.history == [] and run.base is None and run.best is None


def test_what_is_no_number_is_not_drawn(tmp_path):
    (tmp_path / "train_config.yaml").write_text("seed: 1\ncache_dir: /home/me/cache\n")
    rows = ['{"step": 1, "loss": NaN, "eval_spearman": null}', '{"step": 2, "loss": 1.5}', "{}"]
    (tmp_path / "history.jsonl").write_text("\n".join(rows))
    (tmp_path / "run.json").write_text('{"model": 3, "made": []}')
    run = read_run(tmp_path)
    assert run is not None and run.history == [{"step": 1}, {"step": 2, "loss": 1.5}]
    assert run.base is None and run.made == {} and run.config["cache_dir"] == "cache"


@pytest.mark.parametrize(
    ("file", "text", "complaint"),
    [
        ("train_config.yaml", "- a\n", "no settings"),
        ("train_config.yaml", "a: [\n", "cannot be read"),
        ("history.jsonl", '{"step": 1}\nnonsense\n', "history.jsonl cannot be read"),
        ("run.json", "[1]", "something else than JSON objects"),
    ],
)
def test_damaged_files_are_named(tmp_path, file, text, complaint):
    (tmp_path / "train_config.yaml").write_text("seed: 1\n")
    (tmp_path / file).write_text(text)
    with pytest.raises(InputError, match=complaint):
        read_run(tmp_path)


# ---- the command ---------------------------------------------------------------------------------


run = partial(invoking.run, "report")


def _options(place: Path) -> list[object]:
    return ["--tasks", place / "pairs.tsv", "--draws", 100]


def test_a_run_is_compared_with_the_model_it_began_as(place, tmp_path):
    names = {form: tmp_path / f"out.{form}" for form in ("html", "markdown", "latex", "json")}
    files = [word for form, name in names.items() for word in (f"--{form}", name)]
    result = run(
        place / "run", *files, *_options(place), "--train-data", place / "texts.txt",
        "--remark", "Both are <small>.",
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    assert "which it began as" in result.stderr
    for name in names.values():
        assert f"wrote {name}" in result.stderr
    choice, _, verdict = result.stdout.strip().split("\n")
    assert "run" in choice and "than base" in verdict
    words = check_page(names["html"].read_text()).words
    assert "run against base" in words and str(place) not in names["html"].read_text()
    figures = json.loads(names["json"].read_text())
    assert [model["name"] for model in figures["models"]] == ["base", "run"]
    assert figures["models"][1]["run"]["base"] == "base"
    assert figures["leakage"]["training"]["rows"] == 54
    assert str(place) not in json.dumps(figures)
    assert names["markdown"].read_text().startswith("# run against base")
    assert figures["choice"] == choice and figures["verdict"] == verdict
    assert "Both are <small>." in words and figures["remark"] == "Both are <small>."
    assert r"\toprule" in names["latex"].read_text()


def test_alone_with_its_own_sentences_and_json_on_stdout(place):
    result = run(
        place / "run", "--no-base", "--json", "-", *_options(place), "--label", "mine",
        "--sentences", place / "texts.txt", "--examples", 1,
    )  # fmt: skip
    assert result.exit_code == 0, result.stderr
    figures = json.loads(result.stdout)
    assert [model["name"] for model in figures["models"]] == ["mine"]
    assert figures["comparison"] is None
    assert figures["neighbours"]["source"] == "texts.txt" and figures["neighbours"]["pool"] == 54
    assert len(figures["neighbours"]["shown"]) == 1


def test_a_base_that_is_gone_is_said(place, tmp_path):
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(place / "run", copy, ignore=shutil.ignore_patterns("checkpoint*", "last"))
    (copy / "run.json").write_text(json.dumps({"model": str(tmp_path / "gone")}))
    result = run(copy, "--json", "-", *_options(place))
    assert result.exit_code == 0, result.stderr
    assert "is not compared with" in result.stderr
    assert len(json.loads(result.stdout)["models"]) == 1
    (copy / "run.json").unlink()
    result = run(copy, "--json", "-", *_options(place))
    assert "does not say what it began as" in result.stderr


def test_models_of_one_name_are_told_apart(place, tmp_path):
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "base").symlink_to(place / "base")
    models = (place / "base", tmp_path / "other" / "base")
    result = run(*models, "--json", "-", *_options(place))
    assert result.exit_code == 0, result.stderr
    names = [model["name"] for model in json.loads(result.stdout)["models"]]
    assert len(set(names)) == 2 and names[1] == "other/base"


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "needs a file to go to"),
        (["--html", "missing/out.html"], "missing does not exist"),
        (["--html", "x", "--markdown", "x"], "--html and --markdown are both x"),
        (["--html", "out.html", "--label", "a", "--label", "b"], "2 labels for 1 models"),
        (["--html", "out.html", "--tasks", "NOPE"], "no STS task"),
        (["--html", "out.html", "--train-data", "gone.txt"], "gone.txt"),
        (["--html", "out.html", "--sentences", "gone.txt"], "gone.txt"),
    ],
)
def test_mistakes_are_told_before_the_work(place, tmp_path, monkeypatch, arguments, complaint):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(SentenceEncoder, "encode", lambda *_, **__: pytest.fail("work was done"))
    result = run(place / "base", *_options(place), *arguments)
    assert result.exit_code == 2 and complaint in result.stderr, result.stderr
    assert "Traceback" not in result.output and not (tmp_path / "out.html").exists()


def test_the_same_model_twice(place):
    result = run(place / "base", place / "base", "--json", "-", *_options(place))
    assert result.exit_code == 2 and "named twice" in result.stderr
