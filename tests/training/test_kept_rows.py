"""Training on a large file, whose rows stay on disk, is training on the rows in memory."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simcse_kit.data import Rows, kept_rows, read_rows, row_parts, tokens
from simcse_kit.data.kept_texts import KeptColumns
from simcse_kit.errors import InputError
from simcse_kit.training.rows.training_set import rows_of
from simcse_kit.training.run import train
from simcse_kit.training.runs.keeper import Keeper
from training_rows import assert_same, config, sentences, weights


@pytest.fixture(autouse=True)
def all_files_are_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kept_rows, "_LARGE", 0)
    monkeypatch.setattr(row_parts, "_PART", 7)
    monkeypatch.setattr(Keeper, "draw", lambda *_: None)  # seconds a run, tested elsewhere


def plain(path: Path) -> Path:
    some = sentences(40)
    some[9] = some[3]
    path.with_suffix(".txt").write_text("\n".join(some))
    return path.with_suffix(".txt")


def records(path: Path, *rows: dict[str, Any]) -> Path:
    path.with_suffix(".jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path.with_suffix(".jsonl")


def listed(path: Path) -> Path:
    """With documents, a text in two rows, and fewer negatives in some."""
    texts = sentences(120)
    rows = [
        {"anchor": a, "positive": [b, "the other"][: 1 + n % 2], "negative": [c, b][: n % 3]}
        for n, (a, b, c) in enumerate(zip(texts[:40], texts[40:80], texts[80:], strict=True))
    ]
    return records(path, *(row | {"document": n // 3} for n, row in enumerate(rows)))


def labelled(path: Path) -> Path:
    return records(path, *({"text": t, "label": n % 4} for n, t in enumerate(sentences(40))))


def scored(path: Path) -> Path:
    texts = sentences(80)
    pairs = enumerate(zip(texts[:40], texts[40:], strict=True))
    rows = [{"sentence1": a, "sentence2": b, "score": n % 5} for n, (a, b) in pairs]
    return records(path, *rows)


KINDS: list[tuple[Callable[[Path], Path], dict[str, Any]]] = [
    (plain, {"group_window": 2}),
    (plain, {"prompt": "say: ", "max_length": 8}),
    (listed, {"batch_sampler": "no_duplicates"}),
    (listed, {"prompt": "q: ", "document_prompt": "d: "}),
    (listed, {"eval_split": 6}),
    (labelled, {"objective": "supervised_contrastive", "batch_sampler": "group_by_label"}),
    (scored, {"objective": "cosent"}),
]


@pytest.mark.parametrize(("make", "settings"), KINDS)
def test_the_weights_are_the_same(make, settings, tiny_encoder, tmp_path):
    path, bert = make(tmp_path / "rows"), tiny_encoder("bert")
    own = config(tmp_path, max_steps=2, **settings)
    in_memory = read_rows(path)
    expected = train(bert, in_memory, own, tmp_path / "memory")
    assert isinstance(rows_of(path, own).columns, KeptColumns)
    found = train(bert, path, own, tmp_path / "kept")
    assert_same(weights(found.encoder), weights(expected.encoder))
    told, before = (
        json.loads((tmp_path / each / "run.json").read_text()) for each in ("kept", "memory")
    )
    assert told["content"] == before["content"] and told["rows"] == before["rows"]


def test_a_run_goes_on_from_either(tiny_encoder, tmp_path):
    path, bert = plain(tmp_path / "rows"), tiny_encoder("bert")
    for name in ("run", "other"):
        train(bert, read_rows(path), config(tmp_path, max_steps=2), tmp_path / name)
    longer = config(tmp_path, max_steps=4)
    kept = train(bert, path, longer, tmp_path / "run", resume=True)
    in_memory = train(bert, read_rows(path), longer, tmp_path / "other", resume=True)
    assert kept.steps == 4
    assert_same(weights(kept.encoder), weights(in_memory.encoder))
    path.write_text(path.read_text().replace("dog", "cat"))
    with pytest.raises(InputError, match="have changed since the run"):
        train(bert, path, config(tmp_path, max_steps=6), tmp_path / "run", resume=True)


def test_the_second_start_reads_and_tokenises_nothing(tiny_encoder, tmp_path, monkeypatch):
    path, bert = plain(tmp_path / "rows"), tiny_encoder("bert")
    first = train(bert, path, config(tmp_path, max_steps=2), tmp_path / "first")

    def not_again(*_: Any) -> Any:
        raise AssertionError("made again")

    monkeypatch.setattr(row_parts, "read_tables", not_again)
    monkeypatch.setattr(kept_rows, "read_rows", not_again)
    monkeypatch.setattr(tokens, "_write", not_again)
    second = train(bert, path, config(tmp_path, max_steps=2), tmp_path / "second")
    assert_same(weights(second.encoder), weights(first.encoder))


def test_files_of_the_settings_are_kept_too(tmp_path):
    from simcse_kit.training.rows.training_set import further_rows

    path = plain(tmp_path / "rows")
    own = config(tmp_path, datasets=[{"data": str(path)}])
    [rows] = further_rows(own)
    assert isinstance(rows.columns, KeptColumns) and rows.content() == read_rows(path).content()


def test_stores_of_kept_texts_are_those_of_lists(tiny_tokenizer, tmp_path, monkeypatch):
    monkeypatch.setattr(tokens, "_CHUNK", 4)
    path = listed(tmp_path / "rows")
    rows: Rows = rows_of(path, config(tmp_path))
    texts = rows.texts()
    for given in (texts, texts.behind("q: ", *["d: "] * 3)):  # type: ignore[attr-defined]
        kept = tokens.TokenStore.build(given, tiny_tokenizer, 9, tmp_path / "tokens")
        plain_store = tokens.TokenStore.build([*given], tiny_tokenizer, 9)
        np.testing.assert_array_equal(kept.ids, plain_store.ids)
        np.testing.assert_array_equal(kept.offsets, plain_store.offsets)
    assert [each.name[:7] for each in (tmp_path / "tokens").iterdir()] == ["tokens-"] * 2
