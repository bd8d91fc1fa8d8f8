"""``simcse-kit embed`` into folders: what it says, and what it refuses in a sentence."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from invoking import run, succeed
from simcse_kit.corpus import EmbeddedCorpus
from simcse_kit.encoder import SentenceEncoder

TEXTS = [f"the dog {n}" for n in range(20)]


@pytest.fixture(scope="module")
def model(tiny_encoder: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("embed") / "model"
    SentenceEncoder.from_pretrained(tiny_encoder("bert"), pooling="mean").save_pretrained(folder)
    return folder


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    path = tmp_path / "texts.txt"
    path.write_text("\n".join(TEXTS))
    return path


def refused(*arguments: object) -> str:
    result = run("embed", *arguments)
    assert (result.exit_code, result.stdout) == (2, ""), result.output
    assert result.stderr.count("error:") == 1 and "Traceback" not in result.stderr
    return result.stderr.strip().splitlines()[-1]


def test_many_inputs_into_a_folder(model: Path, tmp_path: Path) -> None:
    for number in range(3):
        part = "\n".join(json.dumps({"id": f"{number}-{n}", "body": TEXTS[n]}) for n in range(5))
        packed = pa.compress(part.encode(), codec="zstd", asbytes=True)
        (tmp_path / f"part-{number}.jsonl.zst").write_bytes(packed)
    (tmp_path / "more.csv").write_text("body,n\nthe cat,1\n")
    words = ["embed", model, tmp_path / "part-*.zst", tmp_path / "more.csv", "--column", "body"]
    words += ["--output", tmp_path / "out", "--texts", "--type", "int8", "--dim", 8]
    assert succeed(*words, "--precision", "fp32") == f"{tmp_path / 'out'}  16 x 8 int8\n"
    corpus = EmbeddedCorpus(tmp_path / "out")
    assert corpus.texts() == [*TEXTS[:5] * 3, "the cat"]
    assert corpus.ids([0, 14, 15]) == ["0-0", "2-4", ""]
    whole = SentenceEncoder.from_pretrained(model, precision="fp32").encode(corpus.texts())
    np.testing.assert_allclose(corpus.vectors[:], whole[:, :8], atol=0.03)


def test_parts_and_json(model: Path, texts: Path, tmp_path: Path) -> None:
    words = [
        "embed",
        model,
        texts,
        "--output",
        tmp_path / "out",
        "--shard-rows",
        8,
        "--store",
        "npy",
    ]
    said = succeed(*words, "--shard", "0/2")
    assert said == f"{tmp_path / 'out'}  2 shards made, 0 found; others are missing\n"
    told = json.loads(succeed(*words, "--shard", "1/2", "--json", "-"))
    assert told == {
        "output": str(tmp_path / "out"),
        "rows": 20,
        "dimension": 32,
        "type": "fp32",
        "shards_made": 1,
        "shards_found": 2,
    }
    assert np.load(tmp_path / "out" / "vectors.npy").shape == (20, 32)
    assert succeed(*words) == f"{tmp_path / 'out'}  20 x 32 float32\n"


def test_one_file_of_half_the_bytes(model: Path, texts: Path, tmp_path: Path) -> None:
    output = tmp_path / "e.npy"
    said = succeed("embed", model, texts, "--output", output, "--type", "fp16", "--shard-rows", 7)
    assert said == f"{output}  20 x 32 float16\n"
    assert np.load(output).dtype == np.float16
    assert sorted(path.name for path in tmp_path.iterdir()) == ["e.npy", "texts.txt"]


def test_one_file_is_gone_on_with_or_begun_anew(
    model: Path, texts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output, encode, calls = tmp_path / "e.npy", SentenceEncoder.encode, [0]

    def failing(self: SentenceEncoder, *given: object, **how: object) -> np.ndarray:
        calls[0] += 1
        if calls[0] == 3:
            raise KeyboardInterrupt
        return encode(self, *given, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(SentenceEncoder, "encode", failing)
    words = ["embed", model, texts, "--output", output, "--shard-rows", 5, "--precision", "fp32"]
    stopped = run(*words)
    assert stopped.exit_code == 130 and not output.exists()
    assert "what is finished stays: the same command goes on with it" in stopped.stderr
    succeed(*words)
    assert calls == [5]  # the shard that failed, and the one after it
    whole = SentenceEncoder.from_pretrained(model, precision="fp32").encode(TEXTS)
    np.testing.assert_allclose(np.load(output), whole, atol=1e-6)
    calls[0] = 1
    assert run(*words).exit_code == 130
    succeed(*words[:-4], "--precision", "fp32")  # other shards: what was there counts no more
    np.testing.assert_allclose(np.load(output), whole, atol=1e-6)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["e.npy", "texts.txt"]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--output", "out", "--dim", "33"], "--dim 33: .* makes vectors of 32 numbers; give 1"),
        (["--output", "out", "--shard", "2/2"], "--shard 2/2: write it as I/N, for instance 0/4"),
        (["--output", "out", "--shard", "x"], "--shard x: write it as I/N"),
        (["--output", "e.npy", "--shard", "0/2"], "--shard is for a folder, and e.npy is one file"),
        (["--output", "e.npy", "--texts"], "--texts is for a folder"),
        (["--output", "e.npy", "--type", "int8"], "int8 needs more than one array; give a folder"),
        (["--output", "out", "--shard", "0/2", "--overwrite"], "--overwrite would take away what"),
        (["--output", "out", "none.txt"], "none.txt: no such file"),
        (["--output", "out", "none-*.txt"], "none-.*: no file matches this pattern"),
        (["--output", "texts.txt"], "cannot write texts.txt: it is a file that is read too"),
        (["--output", "texts.txt/out"], "cannot make the folder .*texts.txt/out: .* is a file"),
        (["--output", "none/e.npy"], "cannot write none/e.npy: none does not exist"),
    ],
)
def test_what_is_refused(
    model: Path,
    texts: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    said: str,
) -> None:
    import re

    monkeypatch.chdir(tmp_path)
    assert re.search(said, refused(model, texts, *options))
    names = {path.name for path in tmp_path.iterdir()} - {"out"}
    assert names == {"texts.txt"}


def test_folders_of_others(model: Path, texts: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    succeed("embed", model, texts, "--output", out, "--precision", "fp32")
    words = (model, texts, "--output", out, "--precision", "fp32")
    assert "was begun with type fp32, not fp16; give another --output, or --overwrite" in refused(
        *words, "--type", "fp16"
    )
    assert "with precision fp32, not bf16" in refused(*words[:-1], "bf16")
    assert "the prompt '', not 'query: '" in refused(*words, "--prompt", "query: ")
    texts.write_text("\n".join([*TEXTS, "more"]))
    assert "was begun before" in refused(*words)
    assert succeed("embed", *words, "--overwrite") == f"{out}  21 x 32 float32\n"


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission(model: Path, texts: Path, tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=stat.S_IRUSR | stat.S_IXUSR)
    assert "no permission to write in" in refused(model, texts, "--output", tmp_path / "closed/out")


@pytest.mark.slow
def test_a_second_run_and_ctrl_c(model: Path, tmp_path: Path) -> None:
    """Two real processes on one output, and what Ctrl-C leaves, with workers too."""
    import signal

    path, out = tmp_path / "many.txt", tmp_path / "out"
    path.write_text("\n".join(f"the dog {n} and the cat {n * n}" for n in range(200_000)))
    command = [sys.executable, "-m", "simcse_kit", "embed", str(model), str(path)]
    command += ["--output", str(out), "--shard-rows", "2000", "--workers", "2"]
    first = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True)
    while not list(out.glob(".done/*.json")):
        time.sleep(0.2)
        assert first.poll() is None, first.communicate()
    second = subprocess.run(command, check=False, capture_output=True, text=True)
    assert second.returncode == 2 and "another run writes there; wait" in second.stderr
    os.killpg(first.pid, signal.SIGINT)
    said = first.communicate()[1]
    assert first.returncode == 130 and "interrupted" in said and "Traceback" not in said
    assert list(out.glob(".done/*.json"))
