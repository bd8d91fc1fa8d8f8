"""The index of eval/results is what the files say, and a stale one is noticed."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

import results_index

MADE = {
    "command": "python -m eval.speed.compare --model ../../data/minilm --data /home/me/t.txt",
    "date": "2026-01-02",
    "hardware": {"cpu": "Intel(R) Xeon(R) Processor (amx_bf16, avx2)", "threads": 2},
}


def test_the_committed_index_is_in_force(capsys: pytest.CaptureFixture[str]) -> None:
    assert results_index.main(["--check"]) == 0, capsys.readouterr().err


def test_a_row_has_claim_command_file_date_and_hardware(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(json.dumps({"claim": "It is | fast.", "made": MADE}))
    assert results_index.row(tmp_path / "a.json") == (
        "| It is \\| fast. | `python -m eval.speed.compare --model minilm --data t.txt` "
        "| [a.json](a.json) | 2026-01-02 | Intel Xeon Processor, 2 threads |\n"
    )


@pytest.mark.parametrize("change", ["claim", "new file", "removed"])
def test_a_stale_index_fails(
    tmp_path: Path, change: str, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = shutil.copytree(results_index.RESULTS, tmp_path / "results")
    assert results_index.main(["--check", "--folder", str(copy)]) == 0
    if change == "claim":
        found = json.loads((copy / "growth.json").read_text())
        (copy / "growth.json").write_text(json.dumps(found | {"claim": "Anything."}))
    elif change == "new file":
        (copy / "new.json").write_text(json.dumps({"claim": "New.", "made": MADE}))
    else:
        (copy / "growth.json").unlink()
    assert results_index.main(["--check", "--folder", str(copy)]) == 1
    assert "stale" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"made": MADE}, "no claim"),
        ({"claim": " ", "made": MADE}, "no claim"),
        ({"claim": "It is.", "made": MADE | {"hardware": {}}}, "no hardware"),
        ({"claim": "It is."}, "no command, no date, no hardware"),
    ],
)
def test_a_file_that_claims_nothing_fails(
    tmp_path: Path, content: object, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a.json").write_text(json.dumps(content))
    assert results_index.main(["--folder", str(tmp_path)]) == 1
    assert said in capsys.readouterr().err
