"""``embed --engine`` and ``--cache``: what they give, and what they refuse in a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from invoking import run, succeed

HOW = ("--pooling", "mean", "--precision", "fp32")


@pytest.fixture
def given(tiny_encoder, tmp_path) -> tuple[Path, Path]:
    texts = tmp_path / "texts.txt"
    texts.write_text("\n".join(f"the dog {number}" for number in range(30)))
    return tiny_encoder("bert"), texts


def _refused(*arguments: object) -> str:
    result = run("embed", *arguments, *HOW)
    assert (result.exit_code, result.stdout) == (2, ""), result.output
    assert result.stderr.count("error:") == 1 and "Traceback" not in result.stderr
    return " ".join(result.stderr.split())


def test_a_cache_is_shared_and_changes_nothing(given, tmp_path, monkeypatch):
    model, texts = given
    cache = ("--cache", tmp_path / "cache")
    for name, how in (("plain", ()), ("first", cache), ("again", cache)):
        succeed("embed", model, texts, "--output", tmp_path / f"{name}.npy", *HOW, *how)
    bits = {(tmp_path / f"{name}.npy").read_bytes() for name in ("plain", "first", "again")}
    assert len(bits) == 1

    from simcse_kit.encoder import SentenceEncoder

    def never(*args, **named):
        raise AssertionError("all of it is in the cache")

    monkeypatch.setattr(SentenceEncoder, "_fill", never)
    succeed("embed", model, texts, "--output", tmp_path / "folder", *HOW, *cache)


def test_what_is_refused(given, tmp_path, monkeypatch):
    model, texts = given
    what = (model, texts, "--output", tmp_path / "out")
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    assert "--ray-cpus is for --engine ray" in _refused(*what, "--ray-cpus", 2)
    assert "--cache-size much: write it" in _refused(*what, "--cache", "c", "--cache-size", "much")
    assert "megabyte" in _refused(*what, "--cache", "c", "--cache-size", "1")
    assert "no cache can be kept there" in _refused(*what, "--cache", texts)
    assert not (tmp_path / "out").exists()


def test_a_cluster_that_is_not_there(given, tmp_path):
    pytest.importorskip("ray", reason="ray is not installed: pip install 'simcse-kit[ray]'")
    what = (*given, "--output", tmp_path / "out", "--engine", "ray", "--ray-address")
    assert "no Ray cluster answers at 127.0.0.1:1" in _refused(*what, "127.0.0.1:1")
    assert "it is no HOST:PORT" in _refused(*what, "nonsense")
