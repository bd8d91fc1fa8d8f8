"""A cache changes no bit of what `encode` gives, stays within its bound, and stops no work."""

from __future__ import annotations

import logging
import pickle
import sqlite3
import threading

import numpy as np
import pytest

from simcse_kit.encoder import CachedEncoder, SentenceEncoder, VectorCache, vector_cache
from simcse_kit.errors import InputError, TextError

TEXTS = [f"the {'red' if n % 3 else 'old'} dog {n}" for n in range(40)]


@pytest.fixture
def encoder(tiny_encoder):
    return SentenceEncoder.from_pretrained(tiny_encoder("bert"), pooling="mean", precision="fp32")


@pytest.fixture
def computed(monkeypatch) -> list[str]:
    """The texts that the encoder itself computed."""
    asked: list[str] = []
    plain = SentenceEncoder._fill

    def fill(self, out, rows, how, bar):
        asked.extend(rows)
        plain(self, out, rows, how, bar)

    monkeypatch.setattr(SentenceEncoder, "_fill", fill)
    return asked


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_bits_are_those_without(encoder, tmp_path, precision, computed):
    expected = encoder.encode(TEXTS, precision=precision)
    computed.clear()
    cached = CachedEncoder.of(encoder, VectorCache(tmp_path))
    some = cached.encode(TEXTS[::3] * 2, precision=precision)
    assert computed == TEXTS[::3]
    np.testing.assert_array_equal(some, np.tile(expected[::3], (2, 1)))
    np.testing.assert_array_equal(cached.encode(TEXTS, precision=precision), expected)
    assert sorted(computed) == sorted(TEXTS)
    out = np.empty_like(expected)
    assert pickle.loads(pickle.dumps(cached)).encode(TEXTS, precision=precision, out=out) is out
    np.testing.assert_array_equal(out, expected)
    np.testing.assert_array_equal(cached.encode(TEXTS[7], precision=precision), expected[7])
    assert len(computed) == len(TEXTS)
    assert cached.encode([]).shape == (0, encoder.dimension)


def test_what_a_vector_depends_on_is_of_the_key(encoder, tmp_path):
    cached = CachedEncoder.of(encoder, VectorCache(tmp_path))
    ways = [{}, {"normalize": True}, {"normalize": False}, {"prompt": "a "}, {"precision": "bf16"}]
    for how in ways:
        found = cached.encode(TEXTS, **how)
        np.testing.assert_array_equal(found, encoder.encode(TEXTS, **how))
    cached.max_length = encoder.max_length = 4
    np.testing.assert_array_equal(cached.encode(TEXTS), encoder.encode(TEXTS))
    weight = next(encoder.backbone.parameters())
    weight.data.mul_(1.5)
    np.testing.assert_array_equal(cached.encode(TEXTS), encoder.encode(TEXTS))


def test_errors_name_the_text_among_all(encoder, tmp_path):
    cached = CachedEncoder.of(encoder, VectorCache(tmp_path))
    cached.encode(TEXTS[:3])
    for texts in ([*TEXTS, 7], 7, {"a"}):
        with pytest.raises(InputError) as ours:
            cached.encode(texts)
        with pytest.raises(InputError) as plain:
            encoder.encode(texts)
        assert str(ours.value) == str(plain.value)


def test_to_name_a_text_nothing_is_embedded_again(encoder, tmp_path, computed, monkeypatch):
    monkeypatch.setattr("simcse_kit.encoder.cached._AT_A_TIME", 8)
    cached = CachedEncoder.of(encoder, VectorCache(tmp_path))
    texts = [*TEXTS[:8], *TEXTS[2:5], "half of a character: \ud800", *TEXTS[:3]]
    with pytest.raises(TextError, match=r"^text 11 holds half of a character") as caught:
        cached.encode(texts)
    assert caught.value.number == 11
    assert computed == [*TEXTS[:8], texts[11]]  # the others of its block lie in the cache
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    monkeypatch.setattr("simcse_kit.encoder.sentence_encoder._CHUNK", 4)
    with pytest.raises(TextError, match=r"^text 11 holds half"):
        encoder.encode(texts)
    computed.clear()
    with pytest.raises(TextError, match="text 9 is a NoneType, not a string"):
        cached.encode([*TEXTS[:9], None])
    assert TEXTS[0] not in computed


def test_what_is_asked_wrongly_is_said_as_without_a_cache(encoder, tmp_path):
    cached = CachedEncoder.of(encoder, VectorCache(tmp_path))
    with pytest.raises(InputError, match="out has shape"):
        cached.encode(TEXTS, out=np.empty((1, 1), np.float32))
    with pytest.raises(InputError, match="batch_size"):
        cached.encode(TEXTS, batch_size=3)


# ---- the store -----------------------------------------------------------------------------------


def _rows(first: int, count: int, width: int = 256) -> tuple[list[bytes], np.ndarray]:
    keys = [(first + number).to_bytes(16, "big") for number in range(count)]
    return keys, np.random.default_rng(first).normal(size=(count, width)).astype(np.float32)


def _found(cache: VectorCache, keys: list[bytes]) -> tuple[np.ndarray, np.ndarray]:
    out = np.zeros((len(keys), 256), np.float32)
    return cache.get(keys, out), out


def test_the_least_recently_used_go_first_and_the_bound_holds(tmp_path, monkeypatch):
    clock = [1000]
    monkeypatch.setattr(vector_cache.time, "time", lambda: clock[0])
    cache = VectorCache(tmp_path, 2 << 20)
    for number in range(6):  # each a quarter of the bound
        clock[0] += 1000
        cache.put(*_rows(number * 500, 500))
        assert _found(cache, _rows(0, 500)[0])[0].all()  # the first is used again and again
    assert not _found(cache, _rows(500, 500)[0])[0].any()
    keys, vectors = _rows(2500, 500)
    found, out = _found(cache, keys)
    assert found.all()
    np.testing.assert_array_equal(out, vectors)
    file = tmp_path / "vectors-0.sqlite"
    assert file.stat().st_size <= (2 << 20) + 600 * 1024  # and what was being put
    cache.close()
    smaller = VectorCache(tmp_path, 1 << 20)
    smaller.put(*_rows(9000, 1))
    smaller.close()
    assert file.stat().st_size <= 1 << 20


def test_several_at_a_time(tmp_path):
    keys, vectors = _rows(0, 2000)

    def put(start: int) -> None:
        cache = VectorCache(tmp_path)
        for first in range(start, start + 800, 100):  # they overlap
            cache.put(keys[first : first + 100], vectors[first : first + 100])
        cache.close()

    threads = [threading.Thread(target=put, args=(start,)) for start in (0, 400, 800, 1200)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    found, out = _found(VectorCache(tmp_path), keys)
    assert found.all()
    np.testing.assert_array_equal(out, vectors)


def test_threads_share_one_cache(tmp_path, caplog):
    cache, (keys, vectors) = VectorCache(tmp_path), _rows(0, 1000)

    def work(start: int) -> None:
        for first in range(start, start + 400, 20):
            cache.put(keys[first : first + 20], vectors[first : first + 20])
            _found(cache, keys)

    threads = [threading.Thread(target=work, args=(start,)) for start in (0, 200, 400, 600)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert not caplog.text
    again = pickle.loads(pickle.dumps(cache))
    cache.close()
    found, out = _found(again, keys)
    assert found.all() and (tmp_path / "vectors-0.sqlite").exists()
    np.testing.assert_array_equal(out, vectors)


def test_an_error_that_is_no_damage_leaves_the_file(tmp_path, caplog):
    cache, (keys, vectors) = VectorCache(tmp_path), _rows(0, 10)
    cache.put(keys, vectors)
    cache._base().execute("BEGIN")  # "cannot start a transaction within a transaction"
    cache.put(*_rows(10, 10))
    assert "the cache is not used" in caplog.text
    cache.close()
    assert _found(VectorCache(tmp_path), keys)[0].all()


@pytest.mark.parametrize("garbage", [b"no database" * 500, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_damaged_file_is_made_anew_and_said(tmp_path, caplog, garbage):
    (tmp_path / "vectors-0.sqlite").write_bytes(garbage)
    cache, (keys, vectors) = VectorCache(tmp_path), _rows(0, 10)
    assert not _found(cache, keys)[0].any()
    assert "vectors-0.sqlite is damaged: the cache begins anew" in caplog.text
    cache.put(keys, vectors)
    cache.close()
    assert _found(VectorCache(tmp_path), keys)[0].all()
    assert not (tmp_path / "vectors-0.sqlite").exists()


def test_a_damaged_vector_is_not_given(tmp_path, caplog):
    cache, (keys, vectors) = VectorCache(tmp_path), _rows(0, 10)
    cache.put(keys, vectors)
    cache.close()
    with sqlite3.connect(tmp_path / "vectors-0.sqlite") as base:
        base.execute("UPDATE vectors SET vector = zeroblob(1024) WHERE id = 4")
    base.close()
    found, _ = _found(cache, keys)
    assert found.sum() == 9 and "1 vectors of the cache are damaged" in caplog.text
    cache.put(keys, vectors)
    assert _found(cache, keys)[0].all()


def test_a_cache_that_cannot_be_written_stops_nothing(encoder, tmp_path, caplog, monkeypatch):
    def full(*args, **named):
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr(vector_cache, "_put", full)
    cached = CachedEncoder.of(encoder, VectorCache(tmp_path))
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            np.testing.assert_array_equal(cached.encode(TEXTS), encoder.encode(TEXTS))
    assert caplog.text.count("the cache is not used (database or disk is full)") == 1


def test_bad_places_and_sizes(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="no cache can be kept there"):
        VectorCache(tmp_path / "file")
    with pytest.raises(InputError, match="give 1048576 or more"):
        VectorCache(tmp_path, 10)
