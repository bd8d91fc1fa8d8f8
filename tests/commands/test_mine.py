"""``simcse-kit mine``: what it writes and prints, and each mistake in one sentence."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

import invoking
import mining as pairs
from simcse_kit.data import read_rows
from simcse_kit.encoder import SentenceEncoder
from simcse_kit.evaluation.mining import blocks

run, succeed = partial(invoking.run, "mine"), partial(invoking.succeed, "mine")


@pytest.fixture(scope="module")
def folder(tiny_encoder: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model, pairs, a corpus, and files that are no pairs."""
    root = tmp_path_factory.mktemp("mine")
    SentenceEncoder.from_pretrained(tiny_encoder("bert"), pooling="mean").save_pretrained(
        root / "model"
    )
    rows = pairs.pair_rows()
    lines = [f"{a},{p}" for a, p in zip(*rows.columns.values(), strict=True)]
    (root / "pairs.csv").write_text("\n".join(["question,answer", *lines]))
    (root / "corpus.csv").write_text("\n".join(["body", *pairs.texts(9, 3)]))
    (root / "plain.txt").write_text("a man\na dog\n")
    (root / "scored.csv").write_text("sentence1,sentence2,score\na man,a dog,3\na cat,a dog,1\n")
    (root / "one.csv").write_text("anchor,positive\na man,a dog\na man,a dog\n")
    (root / "tabs.jsonl").write_text('{"anchor": "a\\tb", "positive": "c"}\n' * 2)
    return root


COLUMNS = ["--column", "anchor=question", "--column", "positive=answer"]


def test_pairs_get_negatives_that_train_reads(folder: Path, tmp_path: Path) -> None:
    output = tmp_path / "triplets.parquet"
    said = succeed(
        *(folder / "model", folder / "pairs.csv", *COLUMNS, "--output", output),
        *("--corpus", folder / "corpus.csv", "--corpus-column", "body"),
        *("--num-negatives", 2, "--rank-from", 1, "--rank-to", 12, "--max-score", 0.99),
    )
    rows = read_rows(output)
    assert list(rows.columns) == ["anchor", "positive", "negative", "negative_2"]
    assert f"{output}  {len(rows)} rows" in said
    assert "nearest passed over (1)" in said and "above the highest score (0.99)" in said
    assert "12 anchors, 29 candidates." in said
    texts = {*pairs.texts(9, 3), *pairs.pair_rows().columns["positive"]}
    assert {*rows.columns["negative"], *rows.columns["negative_2"]} <= texts
    trained = invoking.run(
        *("train", "--model", folder / "model", "--data", output, "--output-dir", tmp_path / "run"),
        *invoking.settings(max_steps=1),
    )
    assert trained.exit_code == 0, trained.stderr


def test_json_and_markdown_say_the_same(folder: Path, tmp_path: Path) -> None:
    asked = [folder / "model", folder / "pairs.csv", *COLUMNS, "--output", tmp_path / "rows.tsv"]
    asked += ["--guide", f"{folder / 'model'}@max_length=6", "--guide-margin", -0.05]
    found = json.loads(succeed(*asked, "--json", "-", "--output-format", "triplet"))
    assert found["taken_out"].keys() == {"guide", "not_needed"}
    assert found["protocol"]["guide"].endswith("model") and found["rows"] > found["pairs"]
    table = succeed(*asked, "--markdown", "--output-format", "triplet")
    assert f"| the guide's word (-0.05) | {found['taken_out']['guide']:,} |" in table
    assert f"| taken as negatives | {found['taken']:,} |" in table


def test_a_random_choice_is_its_seeds(folder: Path, tmp_path: Path) -> None:
    files = [tmp_path / f"{number}.csv" for number in range(3)]
    for seed, file in zip((1, 1, 2), files, strict=True):
        asked = [folder / "model", folder / "pairs.csv", *COLUMNS, "--output", file]
        succeed(*asked, "--sampling-strategy", "random", "--seed", seed)
    assert files[0].read_bytes() == files[1].read_bytes() != files[2].read_bytes()


def test_ctrl_c_says_what_is_kept_and_the_same_command_goes_on(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: Any) -> None:
        raise KeyboardInterrupt

    output = tmp_path / "rows.csv"
    asked = [folder / "model", folder / "pairs.csv", *COLUMNS, "--output", output]
    with monkeypatch.context() as patch:
        patch.setattr(blocks, "_mined", stop)
        result = run(*asked)
    assert result.exit_code == 130 and "Traceback" not in result.stderr
    assert f"{output}.mining keeps what is finished: the same command goes on" in result.stderr
    assert not output.exists() and (tmp_path / "rows.csv.mining").is_dir()
    succeed(*asked)
    assert output.is_file() and not (tmp_path / "rows.csv.mining").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("plain.txt", "text rows have no positives to mine negatives beside"),
        ("scored.csv", "scored rows have no positives to mine negatives beside"),
        ("one.csv", "every text is a positive of every anchor, or the anchor itself"),
        ("none.csv", "none.csv: no such file"),
        ("pairs.csv", "question"),
        ("pairs.csv {} --output {t}/no/rows.csv", "no does not exist; make the folder first"),
        ("pairs.csv {} --output {t}/rows.xlsx", "must end in .parquet, .jsonl, .csv or .tsv"),
        ("pairs.csv {} --output {t}", "must end in"),
        ("pairs.csv {} --output {f}/pairs.csv", "it is a file that is read too"),
        (
            "pairs.csv {} --corpus {f}/corpus.csv --corpus-column body --output {f}/corpus.csv",
            "it is a file that is read too",
        ),
        ("pairs.csv {} --output-format list --output {t}/rows.csv", "a .csv holds no lists"),
        ("tabs.jsonl --output {t}/rows.tsv --corpus {f}/plain.txt", r"cannot hold 'a\tb'"),
        ("pairs.csv {} --num-negatives 0", "--num-negatives is 0; it must be a whole number"),
        ("pairs.csv {} --num-negatives -2", "--num-negatives is -2; it must be a whole number"),
        ("pairs.csv {} --rank-from 8 --rank-to 8", "leave 0 ranks for 3 negatives"),
        ("pairs.csv {} --range-min 8 --range-max 10", "leave 2 ranks for 3 negatives"),
        ("pairs.csv {} --min-score 0.9 --max-score 0.1", "no score is between"),
        ("pairs.csv {} --relative-margin -0.05", "--relative-margin is -0.05; it must be 0 or"),
        ("pairs.csv {} --absolute-margin nan", "--absolute-margin is nan; it must be a finite"),
        ("pairs.csv {} --seed -1", "--seed is -1"),
        ("pairs.csv {} --max-score -0.99", "--max-score took out"),
        ("pairs.csv {} --guide-margin 0.1", "name the guide with --guide"),
        ("pairs.csv {} --guide {f}/nowhere", "nowhere"),
        ("pairs.csv {} --corpus-column body", "--corpus-column is of the columns of --corpus"),
        ("pairs.csv {} --corpus {f}/pairs.csv", "--corpus-column"),
        ("pairs.csv {} --corpus {f}/no.csv", "no.csv: no such file"),
        ("pairs.csv {} --index flat", "--index"),
        ("pairs.csv {} --json {t}/no/figures.json", "make the folder first"),
    ],
)
def test_a_mistake_is_said_in_a_sentence(
    folder: Path, tmp_path: Path, arguments: str, says: str
) -> None:
    named = arguments.replace("{}", " ".join(COLUMNS)).format(f=folder, t=tmp_path).split()
    if "--output" not in named:
        named += ["--output", str(tmp_path / "rows.csv")]
    before = (folder / "pairs.csv").read_bytes()
    result = run(folder / "model", folder / named[0], *named[1:])
    assert result.exit_code == 2, result.stderr
    said = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(said) == 1 and says in said[0], result.stderr
    assert not result.stdout and "Traceback" not in result.stderr
    assert not (tmp_path / "rows.csv").exists() and (folder / "pairs.csv").read_bytes() == before
