"""``simcse-kit temperature``: its figures by hand from the library, its files, and each mistake."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

import invoking
from conftest import WORDS
from pages import check_page
from simcse_kit.data import read_rows
from simcse_kit.encoder import SentenceEncoder, embed_as_in_training
from simcse_kit.evaluation import sweep_temperatures, temperature_reading
from simcse_kit.objectives import info_nce

run, succeed = partial(invoking.run, "temperature"), partial(invoking.succeed, "temperature")


@pytest.fixture(scope="module")
def folder(tiny_encoder: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("temperature")
    encoder = SentenceEncoder.from_pretrained(tiny_encoder("bert"), pooling="mean")
    encoder.save_pretrained(root / "model")
    rng = np.random.default_rng(0)
    texts = [" ".join(rng.choice(WORDS, size=5)) for _ in range(40)]
    (root / "texts.txt").write_text("\n".join([*texts[:35], texts[0]]))
    triples = [f"{texts[i]},{texts[i + 13]},{texts[i + 26]}" for i in range(10)]
    linked = [f"{texts[0]},{texts[39]},{texts[38]}"]  # of a text with two positives
    (root / "triples.csv").write_text("\n".join(["anchor,positive,negative", *triples, *linked]))
    (root / "equal.txt").write_text("a man\n" * 9)
    return root


def test_the_loss_of_twins_is_that_of_our_infonce_on_the_same_embeddings(folder: Path) -> None:
    found = json.loads(
        succeed(
            *(folder / "model", folder / "texts.txt", "--batch-size", 36, "--seed", 3),
            *("--temperatures", "1, 0.05", "--precision", "fp32", "--json", "-"),
        )
    )
    assert found["views"] == "dropout twins" and found["settings"]["dropout"] == [0.1]
    assert [each["temperature"] for each in found["at"]] == [0.05, 1]
    encoder = SentenceEncoder.from_pretrained(folder / "model", precision="fp32")
    texts = (folder / "texts.txt").read_text().splitlines()
    order = np.random.default_rng(3).permutation(36)
    ordered = [texts[row] for row in order]
    twins = torch.from_numpy(embed_as_in_training(encoder, ordered * 2, seed=3))
    assert not torch.equal(twins[:36], twins[36:]) and not encoder.training
    same = torch.tensor([[one == other for other in ordered] for one in ordered])
    for each in found["at"]:
        wanted = info_nce(
            twins[:36], twins[36:], temperature=each["temperature"], false_negatives=same
        )
        assert each["loss"]["value"] == pytest.approx(wanted.item(), rel=1e-4)
    assert found["negatives"] == pytest.approx((34 * 35 + 2 * 34) / 36)  # one text is there twice


def test_pairs_have_their_hard_negatives_and_linked_texts_are_none(folder: Path) -> None:
    encoder = SentenceEncoder.from_pretrained(folder / "model", precision="fp32")
    encoder.set_dropout(0)  # pairs need none
    rows = read_rows(folder / "triples.csv")
    found = sweep_temperatures(encoder, rows, [0.05], batch_size=11, batches=5)
    # 11 positives and 11 negatives, less the own positive; two rows share an anchor, whose two
    # positives are no negatives of either
    assert found.views == "pairs" and found.forces.batches == 1
    assert found.forces.negatives == pytest.approx(21 - 2 / 11)
    views = [torch.from_numpy(encoder.encode(column)) for column in rows.columns.values()]
    mask = torch.zeros(11, 22, dtype=torch.bool)
    mask[0, 10] = mask[10, 0] = True
    wanted = info_nce(*views, temperature=0.05, false_negatives=mask)
    assert found.forces.at[0].loss.value == pytest.approx(wanted.item(), rel=1e-4)


def test_table_picture_and_page_say_the_same(folder: Path, tmp_path: Path) -> None:
    asked = [folder / "model", folder / "texts.txt", "--batch-size", 8, "--batches", 4]
    files = ["--html", tmp_path / "page.html", "--plots", tmp_path / "plots"]
    table = succeed(*asked, *files, "--markdown")
    assert table == succeed(*asked, "--markdown")  # seeded
    assert table != succeed(*asked, "--markdown", "--seed", 1)
    rows = [line.split(" | ") for line in table.splitlines() if line.startswith("| τ")]
    assert [row[0] for row in rows] == [
        f"| τ = {tau}" for tau in ("0.01", "0.02", "0.05", "0.1", "0.2", "0.5", "1")
    ]
    hardest = [float(row[2].split("%")[0]) for row in rows]
    assert hardest == sorted(hardest, reverse=True) and rows[0][3] == "–"  # of 7, 5 % is one
    png = (tmp_path / "plots" / "temperature.png").read_bytes()
    assert png.startswith(b"\x89PNG") and len(png) > 10_000
    html = (tmp_path / "page.html").read_text(encoding="utf-8")
    outline = check_page(html)
    encoder = SentenceEncoder.from_pretrained(folder / "model")
    reading = temperature_reading(
        sweep_temperatures(encoder, read_rows(folder / "texts.txt"), batch_size=8, batches=4)
    )
    assert reading in outline.words and reading in table and str(tmp_path) not in html
    plain = succeed(*asked, "--temperatures", "0.05")
    assert "do not say which one trains best" in " ".join(plain.split())


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["texts.txt", "--temperatures", "0.05,x"], "'x' is no number; write them as"),
        (["texts.txt", "--temperatures", "0.05,0"], "positive number, not 0"),
        (["texts.txt"], "holds 36 rows, which make no batch of 64; give more rows, or a smaller"),
        (["texts.txt", "--batch-size", "1"], "--batch-size"),
        (["texts.txt", "--batch-size", "8", "--dropout", "0"], "a rate with --dropout"),
        (["texts.txt", "--dropout", "1"], "dropout 1.0 is no rate"),
        (["equal.txt", "--batch-size", "8"], "No anchor of these batches has a negative"),
        (["none.txt"], "no such file"),
        (["texts.txt", "--html", "texts.txt/a.html"], "cannot write"),
    ],
)
def test_a_mistake_is_one_sentence(
    folder: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    monkeypatch.chdir(folder)
    result = run("model", *arguments)
    assert result.exit_code == 2 and said in result.stderr, result.stderr
    assert result.stderr.count("error: ") == 1 and "Traceback" not in result.stderr
