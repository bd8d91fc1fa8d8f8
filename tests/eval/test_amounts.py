"""The curve over numbers of texts: one pass each, kept, gone on with, drawn, on a tiny model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from eval.quality import amounts
from eval.quality.amounts import curves, parse, run, sized
from eval.quality.kept_runs import START
from eval.quality.unlabelled import DEV, Variant
from simcse_kit.errors import InputError
from unlabelled_work import TINY, words, work

#: Without a number of steps, which each size is to set.
SETTINGS = [each for each in TINY if not each.startswith("max_steps")]


def test_each_size_is_one_pass_over_its_own_texts(
    tiny_encoder: Callable[[str], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = work(tiny_encoder("bert"), tmp_path)
    shared = replace(shared, settings=[*SETTINGS, f"cache_dir={tmp_path / 'cache'}"])
    seen: list[tuple[str, int]] = []
    whole = amounts.trained

    def looked_at(name: str, seed: int, folder: Path, own: amounts.Work) -> object:
        steps = own.variants[name].settings["max_steps"]
        seen.append((name, len(own.texts)))
        assert steps == len(own.texts) // 4
        return whole(name, seed, folder, own)

    monkeypatch.setattr(amounts, "trained", looked_at)
    more = ("--only", "plain", "dropout", "--sizes", "4", "12", "--seeds", "1", "2")
    asked = parse(words(tmp_path, *more, "--png", str(tmp_path / "curve.png")))
    figures = run(asked, work=shared)
    once = [("plain on 4", 4), ("dropout on 4", 4), ("plain on 12", 12), ("dropout on 12", 12)]
    assert sorted(seen) == sorted(once * 2)
    found = curves(figures, DEV)
    assert [point["size"] for point in found["plain"]] == [4, 12]
    told = figures["summary"]["dropout on 12"][DEV]
    last = found["dropout"][-1]
    assert last["mean"] == told["mean"] and last["low"] <= last["mean"] <= last["high"]
    start = figures["summary"][START][DEV]["mean"]
    assert last["high"] - start == pytest.approx(told["interval"][1])
    assert (tmp_path / "curve.png").read_bytes().startswith(b"\x89PNG")

    seen.clear()
    assert run(asked, work=shared)["summary"] == figures["summary"] and not seen
    with pytest.raises(InputError, match=r"other\s+settings or texts"):
        run(asked, work=replace(shared, texts=shared.texts[::-1]))


def test_what_has_no_curve_is_refused(tiny_encoder: Callable[[str], Path], tmp_path: Path) -> None:
    shared = work(tiny_encoder("bert"), tmp_path)
    with pytest.raises(InputError, match="12 texts, --sizes 13"):
        run(parse(words(tmp_path, "--only", "plain", "--sizes", "13")), work=shared)
    with pytest.raises(InputError, match="student: a variant of other runs"):
        run(parse(words(tmp_path, "--only", "student", "--sizes", "4")), work=shared)


def test_the_dev_set_is_looked_at_a_dozen_times_and_every_125_steps_at_least() -> None:
    plain = Variant()
    for size, steps, looks in ((8_000, 125, 10), (32_000, 500, 41), (1_000_000, 15_625, 125)):
        settings = sized(plain, size, []).settings
        assert settings == {"max_steps": steps, "eval_steps": looks}
    assert sized(plain, 32_000, ["per_device_train_batch_size=128"]).settings["max_steps"] == 250
