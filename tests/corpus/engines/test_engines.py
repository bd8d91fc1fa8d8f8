"""Wherever shards are made, the corpus is the same to the bit."""

from __future__ import annotations

import importlib.util
import logging
import multiprocessing
import os
import pickle
import shutil
import subprocess
import sys
from concurrent import futures
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from simcse_kit.corpus import EmbeddedCorpus, RayTasks, embed_corpus, embed_shard
from simcse_kit.corpus.engines import processes, ray_tasks
from simcse_kit.corpus.engines.engine import pack, unpacked
from simcse_kit.errors import InputError

ROWS, SHARD_ROWS = 53, 8


@pytest.fixture
def texts(tmp_path) -> Path:
    path = tmp_path / "texts.txt"
    path.write_text("\n".join(f"the {'red' if n % 3 else 'old'} dog {n % 40}" for n in range(ROWS)))
    return path


@pytest.fixture
def encoder(tiny_encoder):
    from simcse_kit.encoder import SentenceEncoder

    return SentenceEncoder.from_pretrained(tiny_encoder("bert"), pooling="mean", precision="fp32")


def _files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if "lock" not in path.name}


class Elsewhere:
    """An engine that pickles what it is given, takes the last shard first, and may fail."""

    def __init__(self, fails_at: int | None = None) -> None:
        self.fails_at = fails_at
        self.numbers: list[int] = []

    def embedded(self, encoder, specs):
        for spec in reversed([*specs]):
            if spec.number == self.fails_at:
                raise InputError("the cluster is gone")
            self.numbers.append(spec.number)
            yield pickle.loads(pickle.dumps(embed_shard(pickle.loads(pickle.dumps(spec)))))


def _specs(encoder, texts: Path, folder: Path):
    found = []

    class Kept:
        def embedded(self, encoder, specs):
            found.extend(specs)
            return iter(())

    embed_corpus(encoder, texts, folder, shard_rows=SHARD_ROWS, engine=Kept())
    return found


def test_an_engine_of_ones_own_makes_the_same_corpus(encoder, texts, tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    embed_corpus(encoder, texts, one, shard_rows=SHARD_ROWS)
    engine = Elsewhere()
    done = embed_corpus(encoder, texts, other, shard_rows=SHARD_ROWS, engine=engine)
    assert engine.numbers == [6, 5, 4, 3, 2, 1, 0]
    assert (done.rows, done.made) == (ROWS, 7)
    assert _files(one) == _files(other)


def test_what_an_engine_finished_stays_when_it_fails(encoder, texts, tmp_path):
    folder = tmp_path / "corpus"
    how = {"shard_rows": SHARD_ROWS}
    with pytest.raises(InputError, match="the cluster is gone"):
        embed_corpus(encoder, texts, folder, engine=Elsewhere(fails_at=3), **how)
    engine = Elsewhere()
    done = embed_corpus(encoder, texts, folder, engine=engine, **how)
    assert engine.numbers == [3, 2, 1, 0]
    assert (done.rows, done.found) == (ROWS, 3)
    EmbeddedCorpus(folder).check()


def test_without_ray_it_is_said_how_to_get_it(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install 'simcse-kit\[ray\]'"):
        RayTasks()


@pytest.mark.parametrize("address", ["nonsense", "127.0.0.1:1", "ray://127.0.0.1:1", "h:99999"])
def test_a_cluster_that_does_not_answer_is_said_at_once(address):
    with pytest.raises((OSError, ValueError)):
        ray_tasks._check_answers(address)


def test_a_failed_task_is_one_sentence():
    class TaskError(Exception):
        cause: Exception

    told = TaskError("a traceback\nof many lines")
    told.cause = InputError("texts.txt: has changed")
    assert ray_tasks._in_a_sentence(told) is told.cause
    told.cause = ValueError("no such thing.\nmore")
    said = str(ray_tasks._in_a_sentence(told))
    assert "ValueError: no such thing)" in said and "\n" not in said
    assert "TaskError: a traceback)" in str(ray_tasks._in_a_sentence(Died("a traceback\nmore")))


class Died(Exception):
    pass


Died.__name__ = "TaskError"


# ---- the engines themselves ----------------------------------------------------------------------


@pytest.fixture
def whole(encoder, texts, tmp_path) -> dict[str, bytes]:
    embed_corpus(encoder, texts, tmp_path / "whole", shard_rows=SHARD_ROWS)
    return _files(tmp_path / "whole")


@pytest.mark.slow
def test_ray_with_two_workers(encoder, texts, tmp_path, whole, monkeypatch):
    pytest.importorskip("ray", reason="ray is not installed: pip install 'simcse-kit[ray]'")
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    engine, folder = RayTasks(workers=2, cpus=1), tmp_path / "ray"
    embed_corpus(encoder, texts, folder, shard_rows=SHARD_ROWS, engine=engine)
    assert _files(folder) == whole

    specs = _specs(encoder, texts, tmp_path / "planned")
    wrong = [replace(spec, rows=spec.rows + 1000) for spec in specs[-1:]]
    with pytest.raises(InputError, match=r"texts.txt: has changed since") as caught:
        [*engine.embedded(encoder, specs[:2] + wrong)]
    assert type(caught.value) is InputError and "\n" not in str(caught.value)


def test_parts_of_a_job_array(encoder, texts, tmp_path, whole):
    folder = tmp_path / "parts"
    for number in (1, 0):
        embed_corpus(encoder, texts, folder, shard_rows=SHARD_ROWS, part=(number, 2))
    assert _files(folder) == whole


@pytest.mark.slow
def test_spark_on_this_machine(encoder, texts, tmp_path, whole, monkeypatch):
    pyspark = pytest.importorskip("pyspark", reason="pyspark is not installed")
    if shutil.which("java") is None:
        pytest.skip("Spark needs java, which is not installed")
    for name in ("PYSPARK_PYTHON", "PYSPARK_DRIVER_PYTHON"):
        monkeypatch.setenv(name, sys.executable)
    conf = pyspark.SparkConf().setMaster("local[2]").set("spark.ui.enabled", "false")
    context = pyspark.SparkContext(conf=conf)
    try:

        class Spark:  # as docs/engines.md has it
            def embedded(self, encoder, specs):
                shards = context.parallelize([*specs], 2).mapPartitions(_made)
                return shards.toLocalIterator()

        embed_corpus(encoder, texts, tmp_path / "spark", shard_rows=SHARD_ROWS, engine=Spark())
    finally:
        context.stop()
    assert _files(tmp_path / "spark") == whole


def _made(specs):
    from simcse_kit.corpus import embed_shard

    return map(embed_shard, specs)


# ---- processes -----------------------------------------------------------------------------------


def test_what_a_worker_is_sent_fits_into_a_pipe(encoder, texts, tmp_path, monkeypatch):
    """One that dies before it reads more leaves who sends it waiting (their issue 1127)."""
    sent: list[Any] = []

    class Watched(futures.ProcessPoolExecutor):
        def submit(self, *_, **__):
            given = self._initargs
            sent.append((len(pickle.dumps(given[:-1])), given[0]))
            with given[0].open("rb") as file:
                sent.append(unpacked(file, torch.get_num_threads()))
            raise BrokenProcessPool

    monkeypatch.setattr(processes, "ProcessPoolExecutor", Watched)
    level = logging.getLogger("simcse_kit").level
    with pytest.raises(InputError, match="no worker could begin"):
        embed_corpus(encoder, texts, tmp_path / "corpus", shard_rows=SHARD_ROWS, workers=2)
    logging.getLogger("simcse_kit").setLevel(level)  # a worker is quiet
    (size, file), again = sent
    assert size < 4096 and not file.parent.exists()
    np.testing.assert_array_equal(again.encode(["dog"]), encoder.encode(["dog"]))


def test_the_last_worker_to_have_the_model_removes_its_file(encoder, tmp_path, monkeypatch):
    """A run that is killed would leave it."""
    monkeypatch.setattr(processes.signal, "signal", lambda *_: None)  # Ctrl-C stays this process's
    monkeypatch.setattr(processes, "_end_with", lambda *_: None)
    monkeypatch.setattr(processes, "_encoder", None)
    monkeypatch.setattr(logging.getLogger("simcse_kit"), "level", logging.NOTSET)
    (tmp_path / "aside").mkdir()
    file = tmp_path / "aside/model"
    counts = multiprocessing.get_context("spawn").Array("i", [0, 2])
    with file.open("wb") as opened:
        pack(encoder, opened)
    for there in (True, False):
        processes._begin(file, torch.get_num_threads(), 0, counts)
        assert file.exists() == file.parent.exists() == there
    assert [*counts] == [2, 0]
    np.testing.assert_array_equal(processes._encoder.encode(["dog"]), encoder.encode(["dog"]))


def test_a_worker_whose_run_was_killed_removes_what_that_left(tmp_path, monkeypatch):
    ended: list[int] = []
    monkeypatch.setattr(processes.os, "_exit", ended.append)
    (tmp_path / "aside").mkdir()
    (tmp_path / "aside/model").touch()
    processes._end_with(os.getppid() + 1, tmp_path / "aside")  # no parent of ours any more
    assert ended == [1] and not (tmp_path / "aside").exists()


@pytest.mark.parametrize(
    ("began", "said"),
    [
        (0, r"no worker could begin: .* below `if __name__ == '__main__':`; or memory was short"),
        (1, "a worker died, perhaps for want of memory; what is finished stays: run it again"),
    ],
)
def test_workers_that_die_say_what_can_be_done(encoder, texts, tmp_path, monkeypatch, began, said):
    class Dying(futures.ProcessPoolExecutor):
        def submit(self, *_, **__):
            self._initargs[-1][0] = began
            raise BrokenProcessPool("died")

    monkeypatch.setattr(processes, "ProcessPoolExecutor", Dying)
    with pytest.raises(InputError, match=said):
        embed_corpus(encoder, texts, tmp_path / "corpus", shard_rows=SHARD_ROWS, workers=2)


@pytest.mark.slow
def test_a_script_that_runs_again_in_its_workers_is_told_so(texts, tmp_path, tiny_encoder):
    script = tmp_path / "script.py"
    script.write_text(
        "from simcse_kit import SentenceEncoder\n"
        "from simcse_kit.corpus import embed_corpus\n"
        f"model, texts, out = {[*map(str, (tiny_encoder('bert'), texts, tmp_path / 'out'))]}\n"
        "encoder = SentenceEncoder.from_pretrained(model, pooling='mean')\n"
        "embed_corpus(encoder, texts, out, workers=2)\n"
    )
    done = subprocess.run(
        [sys.executable, script], check=False, capture_output=True, text=True, timeout=120
    )
    assert done.returncode and "InputError: no worker could begin" in done.stderr
