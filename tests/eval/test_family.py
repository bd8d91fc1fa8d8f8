"""The trial over the family: what it writes, and that it goes on where it was stopped."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from eval.quality.family import claim, parse, run
from simcse_kit.training.runs.keeper import Keeper
from simcse_kit.training.trials import trial as trials
from training_rows import dev_task, sentences
from trial_results import recipe, small_trial


def test_it_writes_figures_with_their_claim_and_goes_on(
    tiny_encoder: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = []

    def here(work: Any, *given: Any, called: str) -> Any:
        done.append(called)
        return work(*given)

    monkeypatch.setattr(trials, "in_own_process", here)
    monkeypatch.setattr(Keeper, "draw", lambda *_: None)
    (tmp_path / "texts.txt").write_text("\n".join(sentences(16)))
    for name in ("plain", "quick"):
        (tmp_path / f"{name}.yaml").write_text("learning_rate: 0.001\nmax_steps: 1\n")
    settings = ["pooling=mean", "use_cpu=true", "per_device_train_batch_size=8"]
    options = parse(
        [
            *("--model", str(tiny_encoder("bert")), "--data", str(tmp_path / "texts.txt")),
            *("--data-dir", str(tmp_path), "--output-dir", str(tmp_path / "out"), "--seeds", "1"),
            *("--recipes", f"{tmp_path / 'plain.yaml'},{tmp_path / 'quick.yaml'}"),
            *("--json", str(tmp_path / "family.json"), "--picture", str(tmp_path / "plane.png")),
            *("--set", *settings, f"cache_dir={tmp_path / 'cache'}"),
        ]
    )
    for _ in range(2):
        result = run(options, dev=dev_task(), suite=[dev_task()])
    assert done[1:] == ["plain, seed 42", "quick, seed 42"], "the second time nothing is left"
    stored = json.loads((tmp_path / "family.json").read_text())
    assert stored["claim"] == claim(result) and stored["recipes"][0]["suite"]["mean"]
    assert {"command", "date", "hardware", "versions"} <= set(stored["made"])
    assert (tmp_path / "plane.png").stat().st_size and (tmp_path / "out/trial.html").is_file()


def test_the_claim_says_the_seeds_luck() -> None:
    said = claim(small_trial())
    assert said.startswith("Of 4 recipes from a-model on 32,000 rows of texts.txt, 3 seed(s): bett")
    assert said.endswith("Seeds of one recipe differ by 0.25 (sd) at most.")
    assert "(sd)" not in claim(small_trial(recipes=(recipe("plain", 75.0),)))
