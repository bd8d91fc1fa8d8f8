"""``simcse-kit map``: what it prints and writes, and each mistake in one sentence."""

from __future__ import annotations

import importlib.util
import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

import invoking
from pages import check_page
from simcse_kit.encoder.sentence_encoder import SentenceEncoder

WORDS = "the man plays guitar dog runs she reads book on train red car city old small"


run, succeed = partial(invoking.run, "map"), partial(invoking.succeed, "map")


@pytest.fixture(scope="module")
def model(tiny_encoder: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("map") / "tiny-model"
    SentenceEncoder.from_pretrained(tiny_encoder("bert"), pooling="mean").save_pretrained(folder)
    return folder


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    path = tmp_path / "labelled.csv"
    rows = [f"{WORDS[i % 9 : i % 9 + 20]} {i},{'odd' if i % 2 else 'even'}" for i in range(30)]
    path.write_text("\n".join(["text,label", *rows]))
    return path


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    path = tmp_path / "plain.txt"
    path.write_text("\n".join(f"{WORDS[i % 9 : i % 9 + 20]} {i}" for i in range(30)))
    return path


def test_labels_colour_the_map_and_nothing_changes_the_second_time(
    model: Path, labelled: Path, tmp_path: Path
) -> None:
    html, again = tmp_path / "map.html", tmp_path / "again.html"
    line = succeed(model, labelled, "--html", html)
    assert line.startswith(f"{html}  30 texts in 2 labels by pca; trustworthiness 0.")
    assert line.count("\n") == 1 and "of the variance on two axes" in line
    outline = check_page(html.read_text(encoding="utf-8"))
    assert "tiny-model" in outline.words and "labelled.csv" in outline.words
    assert str(tmp_path) not in html.read_text(encoding="utf-8")
    succeed(model, labelled, "--html", again)
    assert html.read_bytes() == again.read_bytes()


def test_clusters_colour_plain_texts_and_labelled_ones_when_asked(
    model: Path, plain: Path, labelled: Path, tmp_path: Path
) -> None:
    html = tmp_path / "map.html"
    by_tsne = succeed(model, plain, "--html", html, "--clusters", 3, "--method", "tsne")
    assert "in 3 clusters by tsne" in by_tsne and "variance" not in by_tsne
    assert "of the variance" not in check_page(html.read_text(encoding="utf-8")).words
    asked = [model, labelled, "--html", html, "--color", "cluster", "--json", "-"]
    figures = json.loads(succeed(*asked))
    assert figures["grouped_by"] == "cluster" and figures["method"] == "pca"
    assert sum(group["texts"] for group in figures["groups"]) == 30


def test_columns_are_mapped_and_a_sample_is_drawn(model: Path, tmp_path: Path) -> None:
    path, html = tmp_path / "rows.csv", tmp_path / "map.html"
    path.write_text(
        "title,topic\n" + "\n".join(f"a {word},t{i % 3}" for i, word in enumerate(WORDS.split()))
    )
    columns = ["--column", "text=title", "--column", "label=topic"]
    result = run(model, path, "--html", html, *columns, "--max-points", 10, "--seed", 4)
    assert result.exit_code == 0, result.stderr
    assert f"10 of {len(WORDS.split())} texts are drawn" in result.stderr
    page = html.read_text(encoding="utf-8")
    assert f"10 texts, drawn from {len(WORDS.split())} with seed 4" in page
    data = json.loads(re.search(r'application/json"[^>]*>(.*?)</script', page)[1])
    assert len(data["texts"]) == 10 and set(data["names"]) == {"t0", "t1", "t2"}


def test_mistakes_are_one_sentence_and_nothing_is_written(
    model: Path, plain: Path, labelled: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    two, pairs, equal = tmp_path / "two.txt", tmp_path / "pairs.csv", tmp_path / "equal.txt"
    two.write_text("the man\na dog\n")
    pairs.write_text("anchor,positive\nthe man,a man\na dog,the dog\nshe,he\n")
    equal.write_text("the man\n" * 4)
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *a: None if name == "umap" else find(name, *a)
    )
    html = tmp_path / "map.html"
    for arguments, words in [
        ([two], "holds 2 texts; a map needs at least 3"),
        (
            [pairs],
            "no column for text (it has anchor, positive); give --column text=anchor",
        ),
        ([equal], "All 4 embeddings point the same way"),
        ([plain, "--color", "label"], "has no labels to colour by"),
        ([labelled, "--clusters", 3], "add --color cluster"),
        ([plain, "--clusters", 31], "31 clusters cannot be made of 30 distinct embeddings"),
        ([plain, "--clusters", 1], "greater than or equal to 2"),
        ([plain, "--max-points", 2], "greater than or equal to 3"),
        ([plain, "--method", "umap"], "pip install 'simcse-kit[umap]'"),
        ([plain, "--method", "lda"], "'lda'"),
        ([plain, "--column", "title"], "no column 'title' (it has text); give --column text=text"),
        ([tmp_path / "none.txt"], "no such file"),
    ]:
        result = run(model, *arguments, "--html", html)
        assert result.exit_code == 2, (arguments, result.stderr)
        assert words in result.stderr and "Traceback" not in result.stderr
        assert result.stderr.strip().splitlines()[-1].startswith("error: ")
        assert not html.exists()
    result = run(model, plain, "--html", tmp_path / "no" / "map.html")
    assert result.exit_code == 2 and "make the folder first" in result.stderr
