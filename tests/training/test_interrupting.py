"""SIGINT, SIGTERM and SIGHUP end a run after its step, with a checkpoint and the way to go on."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time

import pytest

import signalled
from invoking import run, settings, succeed
from simcse_kit.training.run import train
from simcse_kit.training.runs.interrupting import GracefulInterrupt, Interrupted, raising
from simcse_kit.training.runs.keeper import Keeper
from training_rows import assert_same, config, dev_task, sentences, text_rows, weights

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch):
    """They take seconds a run and are tested elsewhere."""
    monkeypatch.setattr(Keeper, "draw", lambda *_: None)


@pytest.fixture
def at_step(monkeypatch):
    """``at_step(3, SIGTERM)``: the signals come while the third step is made."""

    step_end = GracefulInterrupt.on_step_end

    def set_up(step, *numbers):
        def on_step_end(self, args, state, control, **kwargs):
            if state.global_step == step:
                for number in numbers:
                    signal.raise_signal(number)
            return step_end(self, args, state, control, **kwargs)

        monkeypatch.setattr(GracefulInterrupt, "on_step_end", on_step_end)

    return set_up


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_saves_the_step_and_the_run_goes_on(tiny_encoder, tmp_path, at_step, number):
    own, data, before = config(tmp_path, max_steps=6, save_steps=100), text_rows(64), _handlers()
    whole = train(tiny_encoder("bert"), data, own, tmp_path / "whole")
    at_step(3, number)
    with pytest.raises(KeyboardInterrupt, match="saved step 3") as found:
        train(tiny_encoder("bert"), data, own, tmp_path / "run")
    assert found.value.number == number
    assert _handlers() == before, "the signals mean what they meant"
    at_step(99)
    resumed = train(tiny_encoder("bert"), data, own, tmp_path / "run", resume=True)
    assert_same(weights(whole.encoder), weights(resumed.encoder))


def test_a_signal_in_an_evaluation_ends_the_run_with_that_step(tiny_encoder, tmp_path, monkeypatch):
    def score(self, encoder):
        scored.append(1)
        if len(scored) == 2:  # the first is of step 0
            signal.raise_signal(signal.SIGTERM)
        return {"eval_spearman": float(len(scored))}

    scored: list[int] = []
    monkeypatch.setattr("simcse_kit.training.dev.ScoredPairs.score", score)
    monkeypatch.setattr("simcse_kit.training.dev.ScoredPairs.table", lambda *_: "")
    own = config(tmp_path, max_steps=6, save_steps=100)
    given = tiny_encoder("bert"), text_rows(64), own, tmp_path / "run"
    with pytest.raises(KeyboardInterrupt, match="saved step 2"):
        train(*given, eval_data=dev_task())
    whole = train(*given[:3], tmp_path / "whole", eval_data=dev_task())
    resumed = train(*given, eval_data=dev_task(), resume=True)
    assert_same(weights(whole.encoder), weights(resumed.encoder))


def _handlers():
    return [signal.getsignal(number) for number in SIGNALS]


@pytest.mark.parametrize("number", SIGNALS[1:])
def test_a_second_signal_ends_at_once(tiny_encoder, tmp_path, at_step, number):
    at_step(3, number, number)
    own = config(tmp_path, max_steps=6, save_steps=2)
    with raising(), pytest.raises(Interrupted, match=f"ended by {number.name}"):
        train(tiny_encoder("bert"), text_rows(64), own, tmp_path / "run")
    left = [path.name for path in (tmp_path / "run").glob("*checkpoint*")]
    assert left == ["checkpoint-2"], "not of the third step, and nothing half-written"


def test_what_is_ignored_stays_ignored(tiny_encoder, tmp_path, at_step):
    """nohup ignores SIGHUP."""
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        at_step(1, signal.SIGHUP)
        with raising():
            assert (
                train(
                    tiny_encoder("bert"),
                    text_rows(),
                    config(tmp_path, max_steps=2),
                    tmp_path / "run",
                ).steps
                == 2
            )
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.parametrize("seeds", [(), ("--seeds", 2)])
@pytest.mark.parametrize("number", SIGNALS)
def test_the_command_says_how_to_go_on(
    tiny_encoder, tmp_path, at_step, monkeypatch, caplog, number, seeds
):
    (tmp_path / "texts.txt").write_text("\n".join(sentences(40)))
    words = ["train", "--model", tiny_encoder("bert"), "--data", tmp_path / "texts.txt", *seeds]
    words += ["--output-dir", tmp_path / "run", *settings(cache_dir=tmp_path / "cache")]
    monkeypatch.setattr("sys.argv", ["simcse-kit", *map(str, words)])
    at_step(3, number)
    result = run(*words)
    assert result.exit_code == 128 + number
    assert f"interrupted ({number.name}): finishing this step" in caplog.text
    assert "go on" in result.stderr and f"--output-dir {tmp_path / 'run'}" in result.stderr
    assert result.stderr.rstrip().endswith(" --resume") and not result.stdout
    at_step(99)
    assert "last   step 4" in succeed(*words, "--resume") or seeds


def test_an_old_run_that_stays_is_not_said_to_go_on(tiny_encoder, tmp_path, at_step, monkeypatch):
    (tmp_path / "texts.txt").write_text("\n".join(sentences(40)))
    words = ["train", "--model", tiny_encoder("bert"), "--data", tmp_path / "texts.txt"]
    words += ["--output-dir", tmp_path / "run", *settings(cache_dir=tmp_path / "cache")]
    succeed(*words)
    words.append("--overwrite")
    monkeypatch.setattr("sys.argv", ["simcse-kit", *map(str, words)])
    at_step(1, signal.SIGTERM, signal.SIGTERM)
    result = run(*words)
    assert result.exit_code == 143 and (tmp_path / "run" / "checkpoint-4").is_dir()
    assert "the old run is still there; to replace it: simcse-kit train" in result.stderr
    assert result.stderr.rstrip().endswith(" --overwrite")


def test_a_signal_before_the_first_step_ends_the_command_too(tiny_encoder, tmp_path, monkeypatch):
    def interrupted(*_, **__):
        signal.raise_signal(signal.SIGTERM)

    monkeypatch.setattr("simcse_kit.training.train", interrupted)
    (tmp_path / "t.txt").write_text("\n".join(sentences(9)))
    words = ["train", "--model", tiny_encoder("bert"), "--data", tmp_path / "t.txt"]
    words += ["--output-dir", tmp_path / "r"]
    monkeypatch.setattr("sys.argv", ["simcse-kit", *map(str, words)])
    result = run(*words)
    assert result.exit_code == 143
    assert "interrupted before the first checkpoint; start again with" in result.stderr


@pytest.mark.slow
@pytest.mark.parametrize("number", SIGNALS)
def test_a_process_on_a_terminal_ends_with_a_checkpoint(tiny_encoder, tmp_path, number):
    """Where the terminal is closed, nothing can be said any more."""
    (tmp_path / "texts.txt").write_text("\n".join(sentences(4000)))
    words = ["train", "--model", tiny_encoder("bert"), "--data", tmp_path / "texts.txt"]
    words += ["--output-dir", tmp_path / "run"]
    words += settings(cache_dir=tmp_path / "cache", max_steps=100_000, save_steps=100_000)
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "simcse_kit.commands.cli", *map(str, words)],
        stdout=subprocess.DEVNULL,
        stderr=theirs,
        stdin=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    history, until = tmp_path / "run" / "history.jsonl", time.monotonic() + 120
    while not history.is_file():
        assert time.monotonic() < until and process.poll() is None, os.read(ours, 4000)
        time.sleep(0.1)
        os.set_blocking(ours, False)
    if number == signal.SIGHUP:
        os.close(ours)
    process.send_signal(number)
    assert process.wait(60) == 128 + number
    (saved,) = (tmp_path / "run").glob("*checkpoint*")
    assert saved.name.startswith("checkpoint-")


@pytest.mark.slow
@pytest.mark.parametrize("number", SIGNALS)
@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_a_signal_to_all_processes_of_a_job_ends_with_a_checkpoint(
    tiny_encoder, tmp_path, number, context
):
    """Clusters and terminals send it to the workers that gather batches too."""
    process = subprocess.Popen(
        [sys.executable, signalled.__file__, tiny_encoder("bert"), tmp_path / "run", context],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    os.killpg(process.pid, number)
    told, complaints = process.communicate(timeout=60)
    assert told.startswith("saved step"), complaints
    assert complaints.count("finishing this step") <= 1
    with pytest.raises(ProcessLookupError):  # no worker is left
        for _ in range(100):
            os.killpg(process.pid, 0)
            time.sleep(0.1)


@pytest.mark.slow
@pytest.mark.parametrize("number", SIGNALS)
def test_two_ranks_end_after_the_same_step(tiny_encoder, tmp_path, number):
    """The signal goes to the launcher, which passes it on, and has an exit code of its own."""
    (tmp_path / "texts.txt").write_text("\n".join(sentences(4000)))
    words = ["train", "--model", tiny_encoder("bert"), "--data", tmp_path / "texts.txt"]
    words += ["--output-dir", tmp_path / "run"]
    words += settings(cache_dir=tmp_path / "cache", max_steps=100_000, save_steps=100_000)
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2"]
    process = subprocess.Popen(
        [*torchrun, "--standalone", "-m", "simcse_kit.commands.cli", *map(str, words)],
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        start_new_session=True,
    )
    history, until = tmp_path / "run" / "history.jsonl", time.monotonic() + 120
    while not history.is_file():
        assert time.monotonic() < until and process.poll() is None
        time.sleep(0.1)
    process.send_signal(number)
    _, said = process.communicate(timeout=60)
    (saved,) = (tmp_path / "run").glob("*checkpoint*")
    assert {"rng_state_0.pth", "rng_state_1.pth"} <= {path.name for path in saved.iterdir()}
    assert said.count(f"interrupted ({number.name}): finishing this step") == 1
    go_on = (
        "go on from the last checkpoint with: torchrun --nproc_per_node 2 --no-python simcse-kit"
    )
    assert said.count(go_on) == 1
