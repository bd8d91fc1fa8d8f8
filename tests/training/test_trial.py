"""A trial: recipes × seeds, taken up again, refused, dropped, and summed up."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from simcse_kit.data import Rows, read_rows
from simcse_kit.encoder.sentence_encoder import SentenceEncoder
from simcse_kit.errors import InputError
from simcse_kit.evaluation.statistics import Figure, compare_recipes
from simcse_kit.evaluation.sts import compare_results, evaluate
from simcse_kit.training import Drop, RecipeResult, TrainConfig, TrialResult, train_trial
from simcse_kit.training.rows import training_set
from simcse_kit.training.run import train
from simcse_kit.training.runs.keeper import Keeper
from simcse_kit.training.runs.seed_folder import read_seed_folder, runs_of
from simcse_kit.training.seeds import common_settings
from simcse_kit.training.trials import trial as trials
from simcse_kit.training.trials.result import over_pairs
from simcse_kit.training.trials.run import Failed, Job, Judged, train_and_judge
from training_rows import config, dev_task, pair_rows, text_rows

Tiny = Callable[[str], Path]


@pytest.fixture(autouse=True)
def _here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs in this process, without pictures: a process takes seconds to begin."""
    monkeypatch.setattr(trials, "in_own_process", lambda work, *given, called: work(*given))
    monkeypatch.setattr(Keeper, "draw", lambda *_: None)


def recipes(tmp_path: Path, **changes: Any) -> dict[str, TrainConfig]:
    common = {"max_steps": 2, "seed": 7} | changes
    return {
        "plain": config(tmp_path, **common),
        "slow": config(tmp_path, **{"learning_rate": 1e-5} | common),
    }


def named(found: TrialResult) -> dict[str, RecipeResult]:
    return {each.name: each for each in found.recipes}


def test_further_data_are_read_once_for_all_recipes(
    tiny_encoder: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For what the recipes have in common; and, in another process, for whether they can be."""
    further, read, keep_rows = tmp_path / "further.txt", [], training_set.keep_rows
    further.write_text("\n".join(text_rows(12).columns["text"]))

    def counted(source: Any, *given: Any, **how: Any) -> Rows:
        read.append(source)
        return keep_rows(source, *given, **how)

    def stop(_: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(training_set, "keep_rows", counted)
    monkeypatch.setattr(trials, "_train", stop)
    several = recipes(tmp_path, datasets=[{"data": str(further)}])
    given = tiny_encoder("bert"), text_rows(), several, tmp_path / "out"
    with pytest.raises(KeyboardInterrupt):
        train_trial(*given, seeds=1, eval_data=dev_task())
    assert read == [str(further)] * 2
    a, b = (common_settings({}, each)["rows of datasets"] for each in several.values())
    assert a == b == read_rows(further).content() and len(read) == 4  # outside of such a block


def test_recipes_are_trained_judged_and_compared(tiny_encoder: Tiny, tmp_path: Path) -> None:
    bert, dev, folder = tiny_encoder("bert"), dev_task(), tmp_path / "trial"
    found = train_trial(
        *(bert, text_rows(), recipes(tmp_path), folder),
        seeds=2, eval_data=dev, suite=[dev], draws=500,
    )  # fmt: skip
    judged = {
        name: [
            evaluate(SentenceEncoder.from_pretrained(run, device="cpu", precision="fp32"), [dev])
            for run in runs_of(str(folder / name))
        ]
        for name in ("plain", "slow")
    }
    by_name = named(found)
    for name, results in judged.items():
        scores = [result.tasks[dev.name].spearman for result in results]
        own = by_name[name]
        assert list(own.runs) == [7, 8]
        assert [run["score"] for run in own.runs.values()] == pytest.approx(scores)
        assert own.dev is not None and own.dev.sd is not None and own.suite is not None
        assert (own.dev.mean, own.dev.sd) == pytest.approx(
            (np.mean(scores), np.std(scores, ddof=1))
        )
        assert own.suite.mean == pytest.approx(np.mean(scores))
        geometry = [result.geometry for result in results if result.geometry]
        assert own.alignment == pytest.approx(np.mean([each.alignment for each in geometry]))
        assert own.uniformity == pytest.approx(np.mean([each.uniformity for each in geometry]))
        assert own.effective_rank is not None and 1 < own.effective_rank <= 23
        assert own.sentences_per_second and own.peak_memory_mib
    # the same test as `compare` makes of the folders
    same = compare_results(judged, [dev], draws=500).differences["slow"][dev.name]
    difference = by_name["slow"].difference
    assert difference is not None and by_name["plain"].difference is None
    assert difference.difference == pytest.approx(same.difference)
    assert difference.interval.low == pytest.approx(same.interval.low)
    assert difference.p_adjusted == pytest.approx(same.p_value)
    assert by_name["slow"].settings == {"learning_rate": 1e-5}
    assert [each.name for each in found.recipes] == sorted(
        by_name, key=lambda name: -by_name[name].dev.mean
    )
    stored = json.loads((folder / "trial.json").read_text())
    assert stored["result"] == json.loads(json.dumps(found.to_json()))
    alone = train(bert, text_rows(), recipes(tmp_path)["plain"], tmp_path / "alone", eval_data=dev)
    assert alone.best_score == by_name["plain"].runs[7]["score"], "a run is what train makes of it"


def test_going_on_keeps_what_is_finished(
    tiny_encoder: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun: list[tuple[str, str, bool]] = []

    def interrupted(work: Any, *given: Any, called: str) -> Any:
        if work is train_and_judge:
            job = given[0]
            begun.append((job.folder.parent.name, job.folder.name, job.resume))
            if len(begun) == 3:
                raise KeyboardInterrupt
        return work(*given)

    monkeypatch.setattr(trials, "in_own_process", interrupted)
    bert, folder = tiny_encoder("bert"), tmp_path / "trial"
    both = recipes(tmp_path)
    how: dict[str, Any] = {"seeds": 2, "eval_data": dev_task(), "draws": 100}
    with pytest.raises(KeyboardInterrupt):
        train_trial(bert, text_rows(), both, folder, **how)
    assert begun == [
        ("plain", "seed-7", False),
        ("slow", "seed-7", False),
        ("plain", "seed-8", False),
    ]
    state = read_seed_folder(folder / "slow")
    assert state is not None and list(state.runs) == [7]
    # one that had a checkpoint when it was killed goes on from there
    second = both["plain"].model_copy(update={"seed": 8})
    train(bert, text_rows(), second, folder / "plain" / "seed-8", eval_data=dev_task())
    told = json.loads((folder / "plain" / "seed-8" / "run.json").read_text())
    told.pop("ended")
    (folder / "plain" / "seed-8" / "run.json").write_text(json.dumps(told))
    before = (folder / "slow" / "seed-7" / "model.safetensors").stat().st_mtime_ns
    how["resume"] = True
    found = train_trial(bert, text_rows(), both, folder, **how)
    assert begun[3:] == [("plain", "seed-8", True), ("slow", "seed-8", False)]
    assert (folder / "slow" / "seed-7" / "model.safetensors").stat().st_mtime_ns == before
    again = train_trial(bert, text_rows(), both, folder, **how)
    assert len(begun) == 5 and again.recipes == found.recipes
    # a further recipe is added; tasks are, without training anything anew
    more = both | {"warm": config(tmp_path, max_steps=2, seed=7, warmup_steps=1)}
    train_trial(bert, text_rows(), more, folder, **how | {"seeds": 1})
    assert begun[5:] == [("warm", "seed-7", False)]
    found = train_trial(bert, text_rows(), both, folder, **how, suite=[dev_task()])
    assert begun[6:] == [
        (name, seed, True) for seed in ("seed-7", "seed-8") for name in ("plain", "slow")
    ]
    costs = {name: each.peak_memory_mib for name, each in named(found).items()}
    assert costs == {name: each.peak_memory_mib for name, each in named(again).items()}

    for changed, says in (
        ({"data": text_rows(40)}, "were trained with other rows of the same name"),
        ({"recipes": recipes(tmp_path, learning_rate=0.5)}, "were trained with learning_rate"),
        ({"eval_data": replace(dev_task(), gold=np.arange(12.0))}, "with the dev set"),
    ):
        given = {"data": text_rows(), "recipes": both} | how | changed
        with pytest.raises(InputError, match=says):
            train_trial(bert, output_dir=folder, **given)
    assert len(begun) == 10


def test_recipes_that_cannot_run_are_refused_together(tiny_encoder: Tiny, tmp_path: Path) -> None:
    bert, folder = tiny_encoder("bert"), tmp_path / "trial"
    both = recipes(tmp_path)
    bad = {
        "long": config(tmp_path, max_steps=2, seed=7, max_length=5000),
        "wide": config(tmp_path, max_steps=2, seed=7, per_device_train_batch_size=64),
    }
    how: dict[str, Any] = {"seeds": 1, "eval_data": dev_task(), "draws": 100}
    with pytest.raises(InputError, match=r"long: .*5000.*; wide: .*do not fill.*; --skip-unfit"):
        train_trial(bert, text_rows(), both | bad, folder, **how)
    assert not folder.exists()
    with pytest.raises(InputError, match=r"wide: .*batch_size$"):  # nothing to compare with
        train_trial(bert, text_rows(), bad | both, folder, **how, skip_unfit=True)
    assert not folder.exists()
    found = train_trial(bert, text_rows(), both | bad, folder, **how, skip_unfit=True)
    assert sorted(found.unfit) == ["long", "wide"] and set(named(found)) == set(both)
    assert not (folder / "wide").exists()
    # of one seed each there are no intervals
    assert all(
        each.difference is None and each.dev is not None and each.dev.interval is None
        for each in found.recipes
    )


def test_a_recipe_far_below_the_first_gets_no_further_seeds(
    tiny_encoder: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gaps = {("slow", 7): 1.5, ("slow", 8): 1.2, ("near", 7): 1.5, ("near", 8): 0.9}

    def scored(job: Job) -> Judged | Failed:
        seed, name = job.config.seed, job.folder.parent.name
        if name == "broken" and seed == 8:
            return Failed("the weights are not finite")
        items = np.linspace(0, 1, 12) + 0.001 * np.arange(12) ** 2 % (seed + len(name))
        run = {"steps": 2, "best_step": 2, "best_score": 70.0, "stopped": None, "dev": "dev"}
        return Judged(run, {"score": 70.0 - gaps.get((name, seed), 0.0)}, {}, {"dev": items})

    monkeypatch.setattr(trials, "train_and_judge", scored)
    names = ("plain", "slow", "near", "broken")
    given = dict.fromkeys(names, recipes(tmp_path)["plain"])
    found = train_trial(
        *(tiny_encoder("bert"), text_rows(), given, tmp_path / "trial"),
        eval_data=dev_task(), drop=Drop(2, 1.0), draws=100,
    )  # fmt: skip
    runs = {name: list(each.runs) for name, each in named(found).items()}
    assert runs == {"plain": [7, 8, 9], "slow": [7, 8], "near": [7, 8, 9], "broken": [7]}
    said = {each.name: each.left_off for each in found.recipes if each.left_off}
    assert said == {
        "slow": "dropped after 2 of 3 seeds, each more than 1 points below plain (-1.50, -1.20)",
        "broken": "seed 8 failed: the weights are not finite",
    }
    assert named(found)["slow"].difference is not None, "two seeds have an interval"
    assert named(found)["broken"].difference is None
    assert found.compared == 2 and found.rule is not None
    with pytest.raises(InputError, match="broken, seed 8, which the others"):
        train_trial(
            *(tiny_encoder("bert"), text_rows(), dict(reversed(given.items()))),
            tmp_path / "other", eval_data=dev_task(),
        )  # fmt: skip


def test_pairs_held_out_decide_as_well(tiny_encoder: Tiny, tmp_path: Path) -> None:
    both, rows = recipes(tmp_path, eval_split=0.25), pair_rows(40)
    found = train_trial(tiny_encoder("bert"), rows, both, tmp_path / "trial", seeds=2, draws=500)
    assert found.figure == "held-out pairs recall@1" and found.pairs == 10
    plain, slow = (named(found)[name] for name in ("plain", "slow"))
    stored = [np.load(tmp_path / f"trial/slow/seed-{seed}.items.npz")["dev"] for seed in (7, 8)]
    assert slow.dev is not None and slow.dev.mean == pytest.approx(np.mean(stored))
    assert plain.alignment is not None and slow.difference is not None
    other = both | {"other": config(tmp_path, max_steps=2, eval_split=0.3)}
    for more, says in (
        ({}, "plain and other would be judged on different pairs"),
        ({"eval_data": dev_task()}, "both make a dev set"),
    ):
        with pytest.raises(InputError, match=says):
            train_trial(tiny_encoder("bert"), rows, other, tmp_path / "other", **more)
    assert not (tmp_path / "other").exists()


def test_pairs_that_cannot_be_resampled_leave_the_seeds() -> None:
    def never() -> Figure:
        raise InputError("too few different scores.")

    figure, why = over_pairs(never, [70.0, 71.0, 75.0, 77.0])
    assert why == "too few different scores."
    expected = stats.ttest_ind([75, 77], [70, 71], equal_var=False).pvalue
    assert compare_recipes(figure, [2, 3], [0, 1]).p_value == pytest.approx(expected)


def test_folders_in_use(
    tiny_encoder: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = tiny_encoder("bert"), text_rows(), recipes(tmp_path, max_steps=1)
    how: dict[str, Any] = {"seeds": 1, "eval_data": dev_task(), "draws": 100}
    mine = tmp_path / "thesis"
    mine.mkdir()
    (mine / "draft.txt").write_text("two years of work")
    cases: list[tuple[dict[str, bool], str]] = [
        ({}, "is not empty"),
        ({"overwrite": True}, "no earlier trial"),
        ({"resume": True}, "nothing to resume"),
    ]
    for more, says in cases:
        with pytest.raises(InputError, match=says):
            train_trial(*given, mine, **how, **more)
    assert [path.name for path in mine.iterdir()] == ["draft.txt"]

    folder = tmp_path / "trial"
    train_trial(*given, folder, **how)
    (folder / "notes.txt").write_text("mine")
    before = sorted(path.relative_to(folder) for path in folder.rglob("*"))
    monkeypatch.setattr(trials, "train_and_judge", interrupt)
    with pytest.raises(KeyboardInterrupt):
        train_trial(*given, folder, **how, overwrite=True)
    assert sorted(path.relative_to(folder) for path in folder.rglob("*")) == before
    with pytest.raises(KeyboardInterrupt):
        train_trial(*given, tmp_path / "new", **how)
    assert not (tmp_path / "new").exists()
    monkeypatch.undo()
    monkeypatch.setattr(trials, "in_own_process", lambda work, *given, called: work(*given))
    monkeypatch.setattr(Keeper, "draw", lambda *_: None)
    (folder / "slow" / "seed-99").mkdir()
    train_trial(*given, folder, **how, overwrite=True)
    assert not (folder / "slow" / "seed-99").exists() and (folder / "notes.txt").is_file()
    assert not (folder / "replaced-run").exists()
    (folder / "trial.json").write_text("{")
    with pytest.raises(InputError, match=r"trial.json is damaged"):
        train_trial(*given, folder, **how, resume=True)


def interrupt(*_: Any) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("changes", "more", "says"),
    [
        ({}, {"seeds": 0}, "one seed or more, not 0"),
        ({}, {"eval_data": None}, "recipe plain has no dev set"),
        ({"push_to_hub": True}, {}, "upload every run"),
        ({}, {"drop": Drop(3, 1.0)}, "--drop-after 3 of 3 seeds saves none"),
        ({"dropout": 0.0}, {}, "plain: every dropout rate .*; slow: every dropout rate"),
    ],
)
def test_what_makes_no_trial_is_refused(
    tiny_encoder: Tiny, tmp_path: Path, changes: Any, more: Any, says: str
) -> None:
    given = tiny_encoder("bert"), text_rows(), recipes(tmp_path, **changes)
    with pytest.raises(InputError, match=says):
        train_trial(*given, tmp_path / "trial", **{"eval_data": dev_task()} | more)
    for names in ({"plain": given[2]["plain"]}, {"a/b": given[2]["plain"], "c": given[2]["slow"]}):
        with pytest.raises(InputError, match=r"two recipes or more|cannot name a folder"):
            train_trial(*given[:2], names, tmp_path / "trial", eval_data=dev_task())
    assert not (tmp_path / "trial").exists()


@pytest.mark.parametrize("drop", [(0, 1.0), (2, -1.0), (2, float("nan"))])
def test_a_rule_that_is_none(drop: tuple[int, float]) -> None:
    with pytest.raises(InputError, match="dropped after 1 seed or more"):
        Drop(*drop)
