"""Runs that are kept: what their figures say together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from eval.quality.kept_runs import (
    COSINES,
    START,
    Scores,
    above,
    figures_of,
    kept_run,
    same_runs,
    summary,
)
from simcse_kit.errors import InputError
from simcse_kit.evaluation.statistics import Figure, summarise_seeds
from training_rows import dev_task


def test_the_difference_to_one_model_knows_what_both_share() -> None:
    draws = np.random.default_rng(0)
    shared = draws.normal(0, 3, 4000)  # hard queries are hard for all
    noise = draws.normal(0, 0.1, (4000, 4))
    figure = Figure(np.array([50.0, 53.0, 54.0, 55.0]), 50 + shared[:, None] + noise)
    found = above(figure)
    assert found.observed.tolist() == [3.0, 4.0, 5.0]
    sure = summarise_seeds(found)
    assert sure.mean == pytest.approx(4.0) and sure.sd == pytest.approx(1.0)
    half = 4.303 / 3**0.5  # Student's t with 2 degrees of freedom: queries add next to nothing
    assert sure.interval.high - 4 == pytest.approx(half, rel=0.05)


def test_summaries_are_means_over_seeds_and_queries() -> None:
    def scores(*values: float) -> dict[str, np.ndarray]:
        return {"title recall@1": np.array(values)}

    runs = {
        START: [scores(0, 0, 100, 100)],
        "given": [scores(0, 100, 100, 100), scores(0, 0, 100, 100)],
        "all": [scores(100, 100, 100, 100), scores(100, 100, 100, 0)],
    }
    told = summary(runs, {}, 500, against=["given"])
    assert told[START]["title recall@1"] == {"mean": 50}
    found = told["all"]["title recall@1"]
    assert (found["mean"], found["above start"], found["seeds"]) == (87.5, 37.5, 2)
    assert found["interval"][0] < 37.5 < found["interval"][1]
    assert found["above given"]["difference"] == pytest.approx(25)


def test_a_mean_of_figures_is_their_mean_on_every_resample() -> None:
    task = dev_task()
    draws = np.random.default_rng(0)

    def scores() -> Scores:
        queries = draws.uniform(0, 100, 50)
        return {"search": queries, f"{COSINES}{task.name}": draws.uniform(0, 1, 12), "STS": queries}

    found = figures_of([scores(), scores()], {"STS": [task]}, 100, {"choice": ("search", "STS")})
    assert found["choice"].observed == pytest.approx(
        (found["search"].observed + found["STS"].observed) / 2
    )
    assert found["choice"].draws == pytest.approx((found["search"].draws + found["STS"].draws) / 2)


def test_a_run_is_made_once_and_its_models_go(tmp_path: Path) -> None:
    def make(folder: Path) -> Scores:
        folder.mkdir()
        (folder / "model").touch()
        return {"figure": np.array([1.0, 3.0])}

    def never(_: Path) -> Scores:
        raise AssertionError("it is finished")

    assert kept_run("plain", 1, make, tmp_path)["figure"].tolist() == [1, 3]
    assert [path.name for path in tmp_path.iterdir()] == ["plain-1.npz"]
    assert kept_run("plain", 1, never, tmp_path)["figure"].tolist() == [1, 3]


def test_runs_of_something_else_are_not_mixed(tmp_path: Path) -> None:
    same_runs(tmp_path / "runs", {"rate": 1})
    same_runs(tmp_path / "runs", {"rate": 1})
    with pytest.raises(InputError, match="runs of other settings or texts"):
        same_runs(tmp_path / "runs", {"rate": 2})
