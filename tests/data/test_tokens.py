"""The token store: equal to the tokenizer's own call, and reused exactly while that holds."""

from __future__ import annotations

import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import simcse_kit.data.tokens
from simcse_kit.data.tokens import TokenStore
from simcse_kit.errors import InputError

TEXTS = [
    "The dog runs.",
    "",
    "A woman plays the guitar in the kitchen and a man sings an old song",
    "zebra 42? naïve 猫 😀",
    "The dog runs.",
    "  spaces \t and\nlines ",
]
FAMILIES = ["bert", "roberta", "xlm-roberta", "mpnet", "modernbert"]


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simcse_kit.data.tokens, "_CHUNK", 4)


@pytest.mark.parametrize("cached", [False, True])
@pytest.mark.parametrize("family", FAMILIES)
def test_store_is_what_the_tokenizer_says(
    family: str, cached: bool, tiny_encoder: Callable[[str], Path], tmp_path: Path
) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_encoder(family))
    expected = [tokenizer(text, truncation=True, max_length=9)["input_ids"] for text in TEXTS]
    store = TokenStore.build(TEXTS, tokenizer, 9, tmp_path if cached else None)
    assert [store[i].tolist() for i in range(len(TEXTS))] == expected
    assert store.ids.dtype == np.int32 and store.offsets.dtype == np.int64
    assert store.lengths.tolist() == [len(ids) for ids in expected]
    assert len(store) == len(TEXTS) and max(store.lengths) == 9
    assert store[-1].tolist() == expected[-1]
    with pytest.raises(IndexError, match="sequence 6 of 6"):
        store[6]


def test_gather_puts_rows_end_to_end(tiny_tokenizer: Any) -> None:
    store = TokenStore.build(TEXTS, tiny_tokenizer, 12)
    rows = np.array([4, 0, 0, 5, 1])
    ids, lengths = store.gather(rows)
    assert ids.tolist() == [token for row in rows for token in store[row]]
    assert lengths.tolist() == [len(store[row]) for row in rows]
    assert ids.dtype == lengths.dtype == np.int64
    ids, lengths = store.gather(np.array([], dtype=int))
    assert ids.shape == lengths.shape == (0,)


def test_no_texts_no_tokens(tiny_tokenizer: Any, tmp_path: Path) -> None:
    for cache in (None, tmp_path):
        store = TokenStore.build([], tiny_tokenizer, 12, cache)
        assert (len(store), store.ids.shape, store.offsets.tolist()) == (0, (0,), [0])


class Watched:
    """A tokenizer that counts how often it is called."""

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.calls = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.tokenizer, name)

    def __call__(self, *args: Any, **options: Any) -> Any:
        self.calls += 1
        return self.tokenizer(*args, **options)


def is_mapped(array: np.ndarray) -> bool:
    while array is not None and not isinstance(array, np.memmap):
        array = array.base  # type: ignore[assignment]
    return array is not None


def test_a_second_build_maps_the_first(tiny_tokenizer: Any, tmp_path: Path) -> None:
    watched = Watched(tiny_tokenizer)
    first = TokenStore.build(TEXTS, watched, 8, tmp_path / "new" / "folder")
    # what another call leaves in the tokenizer's backend is no part of the key
    tiny_tokenizer(TEXTS, padding="max_length", truncation=True, max_length=5)
    calls = watched.calls
    second = TokenStore.build(tuple(TEXTS), watched, 8, tmp_path / "new" / "folder")
    assert watched.calls == calls > 0
    assert is_mapped(second.ids) and is_mapped(second.offsets) and not second.ids.flags.writeable
    np.testing.assert_array_equal(first.ids, second.ids)
    assert len(list((tmp_path / "new" / "folder").iterdir())) == 1
    copy = pickle.loads(pickle.dumps(second))  # as a spawned data loader gets it
    np.testing.assert_array_equal(copy.gather(np.arange(6))[0], first.ids)


def test_another_text_tokenizer_or_length_is_another_store(
    tiny_encoder: Callable[[str], Path], tmp_path: Path
) -> None:
    from transformers import AutoTokenizer

    bert = AutoTokenizer.from_pretrained(tiny_encoder("bert"))
    cut_left = AutoTokenizer.from_pretrained(tiny_encoder("bert"), truncation_side="left")
    more = AutoTokenizer.from_pretrained(tiny_encoder("bert"))
    more.add_tokens(["guitar in"])
    mpnet = AutoTokenizer.from_pretrained(tiny_encoder("mpnet"))
    variants: list[tuple[list[str], Any, int]] = [
        (["ab", "c"], bert, 8),
        (["ab", "c"], bert, 9),
        (["a", "bc"], bert, 8),
        (["abc"], bert, 8),
        (["c", "ab"], bert, 8),
        (["ab", "c", ""], bert, 8),
        (["ab", "c"], cut_left, 8),
        (["ab", "c"], more, 8),
        (["ab", "c"], mpnet, 8),
    ]
    for made, (texts, tokenizer, length) in enumerate(variants, 1):
        store = TokenStore.build(texts, tokenizer, length, tmp_path)
        assert len(list(tmp_path.iterdir())) == made
        assert [ids.tolist() for ids in store] == tokenizer(texts)["input_ids"]


def cut(path: Path) -> None:
    os.truncate(path / "ids.i32", 8)


def flip(path: Path) -> None:
    data = bytearray((path / "ids.i32").read_bytes())
    data[5] ^= 1
    (path / "ids.i32").write_bytes(data)


def drop_offsets(path: Path) -> None:
    (path / "offsets.i64").unlink()


def spoil_meta(path: Path) -> None:
    (path / "meta.json").write_text('{"crc32": ')


def foreign_meta(path: Path) -> None:
    (path / "meta.json").write_text(json.dumps([1, 2]))


def empty_ids(path: Path) -> None:
    os.truncate(path / "ids.i32", 0)


@pytest.mark.parametrize(
    "damage",
    [cut, flip, drop_offsets, spoil_meta, foreign_meta, empty_ids],
    ids=lambda f: f.__name__,
)
def test_a_damaged_store_is_built_again(
    damage: Callable[[Path], None], tiny_tokenizer: Any, tmp_path: Path
) -> None:
    good = TokenStore.build(TEXTS, tiny_tokenizer, 8, tmp_path).ids.tolist()
    (folder,) = tmp_path.iterdir()
    damage(folder)
    assert TokenStore.build(TEXTS, tiny_tokenizer, 8, tmp_path).ids.tolist() == good
    assert list(tmp_path.iterdir()) == [folder]
    watched = Watched(tiny_tokenizer)
    TokenStore.build(TEXTS, watched, 8, tmp_path)
    assert watched.calls == 0


def test_an_interrupted_build_leaves_nothing(tiny_tokenizer: Any, tmp_path: Path) -> None:
    class Interrupted(Watched):
        backend_tokenizer = None  # so that every chunk goes through the call

        def __call__(self, *args: Any, **options: Any) -> Any:
            if self.calls:
                raise KeyboardInterrupt
            return super().__call__(*args, **options)

    interrupted = Interrupted(tiny_tokenizer)
    with pytest.raises(KeyboardInterrupt):
        TokenStore.build(TEXTS, interrupted, 8, tmp_path)
    assert interrupted.calls == 1 and list(tmp_path.iterdir()) == []


def test_another_process_may_be_first(
    tiny_tokenizer: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = simcse_kit.data.tokens._write

    def overtaken(chunks: Any, folder: Path) -> None:
        monkeypatch.setattr(simcse_kit.data.tokens, "_write", write)
        TokenStore.build(TEXTS, tiny_tokenizer, 8, tmp_path)
        write(chunks, folder)

    monkeypatch.setattr(simcse_kit.data.tokens, "_write", overtaken)
    store = TokenStore.build(TEXTS, tiny_tokenizer, 8, tmp_path)
    assert len(store) == len(TEXTS) and len(list(tmp_path.iterdir())) == 1


def test_tokenizers_without_a_rust_backend(tiny_tokenizer: Any, tmp_path: Path) -> None:
    class Plain(Watched):
        backend_tokenizer = None

    store = TokenStore.build(TEXTS, Plain(tiny_tokenizer), 8, tmp_path)
    again = Plain(tiny_tokenizer)
    assert TokenStore.build(TEXTS, again, 8, tmp_path).ids.tolist() == store.ids.tolist()
    assert again.calls == 0
    fast = TokenStore.build(TEXTS, tiny_tokenizer, 8)
    np.testing.assert_array_equal(store.ids, fast.ids)


@pytest.mark.parametrize(
    ("texts", "length", "message"),
    [
        (["a", None], 8, "text 1 is None, not a string"),
        (["a", "b", float("nan")], 8, "text 2 is nan, not a string"),
        (["a"] * 6 + ["half \ud83d"], 8, r"text 6 holds half of a character \('\\ud83d'\)"),
        (["a"], 2, "max_length 2 leaves no room for text beside the 2 special tokens .*at least 3"),
    ],
)
@pytest.mark.parametrize("cached", [False, True])
def test_what_cannot_be_tokenised_is_named(
    texts: list[Any], length: int, message: str, cached: bool, tiny_tokenizer: Any, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        TokenStore.build(texts, tiny_tokenizer, length, tmp_path if cached else None)
    assert list(tmp_path.iterdir()) == []


def test_a_cache_that_cannot_be_written_is_named(tiny_tokenizer: Any, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"cannot be stored in .*; choose another cache_dir"):
        TokenStore.build(TEXTS, tiny_tokenizer, 8, tmp_path / "file")


def test_no_bar_without_a_terminal(tiny_tokenizer: Any, capsys: pytest.CaptureFixture[str]) -> None:
    TokenStore.build(TEXTS, tiny_tokenizer, 8, show_progress=True)
    assert capsys.readouterr() == ("", "")
