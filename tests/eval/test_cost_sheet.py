from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from eval.speed.cost_sheet import hours, rate_of, sheet
from simcse_kit.corpus.numbers import NumberType, kept_as

MEASURED = Path(__file__).parents[2] / "eval" / "results" / "speed-encode.json"


def test_a_sheet_is_the_measured_rate_multiplied_out():
    told = json.loads(MEASURED.read_text())
    rate = rate_of(MEASURED)
    assert rate.per_second == told["rows"][0]["ours"]["sentences_per_second"]
    found = sheet([rate], 1e9, [1, 10], 384)
    (machine,) = found["machines"]
    assert machine["hours"]["10"] * 10 * 3600 * rate.per_second == pytest.approx(1e9)
    assert machine["thread_hours"] == pytest.approx(hours(1e9, rate, 1) * told["threads"])


@pytest.mark.parametrize("kind", ["fp32", "fp16", "int8", "binary"])
def test_bytes_are_those_of_what_is_kept(kind: NumberType):
    kept = kept_as(np.random.default_rng(0).normal(size=(10, 20)).astype(np.float32), kind)
    scales = 0 if kept.scales is None else kept.scales.nbytes
    told = sheet([], 10, [1], 20)["bytes"][kind]
    assert told == kept.numbers.nbytes + scales


def test_a_file_without_a_rate(tmp_path):
    path = tmp_path / "other.json"
    path.write_text("{}")
    with pytest.raises(ValueError, match="no rate of encode"):
        rate_of(path)
