"""The picture of differences: what it reads out of each script's figures, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from eval.quality.gains import Gain, panels_of, parse, run
from simcse_kit.errors import InputError


def compared(difference: float, half: float, p: float) -> dict[str, Any]:
    interval = {"low": difference - half, "high": difference + half, "level": 0.95}
    return {"difference": difference, "interval": interval, "p_value": p / 2, "p_adjusted": p}


def written(path: Path, figures: dict[str, Any]) -> Path:
    path.write_text(json.dumps(figures))
    return path


TRIAL = {
    "baseline": "plain",
    "recipes": [
        {"name": "plain"},
        {"name": "worse", "suite_difference": compared(-3, 1, 0.2)},
        {"name": "better", "suite_difference": compared(2, 1, 0.01)},
        {"name": "not judged", "suite_difference": None},
    ],
}
RUNS = {
    "summary": {
        "as it is": {"STS average": {"mean": 60.0}},
        "plain": {"STS average": {"mean": 70.0, "above start": 10.0, "interval": [9.0, 11.0]}},
        "one seed": {"STS average": {"mean": 71.0, "above start": 11.0}},
    }
}


def test_a_trial_is_ranked_and_told_by_its_corrected_p(tmp_path: Path) -> None:
    (panel,) = panels_of(written(tmp_path / "a.json", TRIAL))
    assert panel.title == "STS average, less plain's"
    assert panel.gains == [Gain("better", 2, 1, 3, 1), Gain("worse", -3, -4, -2, 0)]


def test_variants_stand_over_the_start_or_over_what_they_were_compared_with(
    tmp_path: Path,
) -> None:
    (panel,) = panels_of(written(tmp_path / "a.json", RUNS))
    assert panel.title == "STS average, less the encoder's as it was"
    assert panel.gains == [Gain("plain", 10.0, 9.0, 11.0, 1)]

    own = {"mean": 72.0, "above start": 12.0, "above plain": compared(2, 3, 0.2)}
    more = {"summary": RUNS["summary"] | {"own": {"V-measure": own}}}
    homes = {"homes": {"clusters": more | {"figure": "V-measure"}}}
    (panel,) = panels_of(written(tmp_path / "b.json", homes))
    assert panel.title == "V-measure, less plain's"
    assert panel.gains == [Gain("own", 2, -1, 5, 0)]


def test_it_draws_every_panel(tmp_path: Path) -> None:
    files = [written(tmp_path / "a.json", TRIAL), written(tmp_path / "b.json", RUNS)]
    path = run(parse([*map(str, files), "--png", str(tmp_path / "gains.png")]))
    assert path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("text", ["{", "{}", json.dumps({"recipes": [], "baseline": "plain"})])
def test_a_file_without_differences_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(InputError, match=r"a\.json"):
        panels_of(tmp_path / "a.json")
