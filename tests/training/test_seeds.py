"""Several seeds of one recipe: their folder, going on with it, and what they score together."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from invoking import run, settings, succeed
from simcse_kit.data import Rows, read_rows
from simcse_kit.encoder.sentence_encoder import SentenceEncoder
from simcse_kit.errors import InputError
from simcse_kit.evaluation.sts.suite import evaluate
from simcse_kit.training import TrainConfig, TrainResult
from simcse_kit.training import seeds as training_seeds
from simcse_kit.training.rows import training_set
from simcse_kit.training.rows.training_set import training_sets
from simcse_kit.training.run import train
from simcse_kit.training.runs.keeper import Keeper
from simcse_kit.training.runs.seed_folder import SeedFolder, read_seed_folder, runs_of
from simcse_kit.training.seeds import train_seeds
from training_rows import config, dev_task, text_rows

Tiny = Callable[[str], Path]


@pytest.fixture(autouse=True)
def _no_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """They take seconds a run and are tested elsewhere."""
    monkeypatch.setattr(Keeper, "draw", lambda *_: None)


def test_seeds_are_runs_of_their_own_and_are_summed_up(tiny_encoder: Tiny, tmp_path: Path) -> None:
    recipe = config(tmp_path, max_steps=2, seed=7)
    dev = dev_task()
    folder = tmp_path / "seeds"
    found = train_seeds(tiny_encoder("bert"), text_rows(), recipe, folder, seeds=2, eval_data=dev)
    assert list(found.runs) == [7, 8]
    assert runs_of(str(folder)) == [str(folder / f"seed-{n}") for n in (7, 8)]
    scores = []
    for run_folder in runs_of(str(folder)):
        encoder = SentenceEncoder.from_pretrained(run_folder, device="cpu", precision="fp32")
        scores.append(evaluate(encoder, [dev]).tasks[dev.name].spearman)
    assert [run["best_score"] for run in found.runs.values()] == pytest.approx(scores, abs=1e-9)
    assert found.mean is not None and found.sure is not None
    assert found.mean.tasks[dev.name].spearman == pytest.approx(np.mean(scores))
    assert found.sure.sd[dev.name] == pytest.approx(np.std(scores, ddof=1), abs=1e-9)
    assert found.sure.seeds == 2

    stored = json.loads((folder / "seeds.json").read_text())
    assert stored["summary"]["mean"] == pytest.approx(np.mean(scores))
    assert stored["summary"]["chosen_on_it"] is True and stored["summary"]["n"] == 12
    assert list(stored["summary"]["spearman"]) == ["seed-7", "seed-8"]
    assert list(stored["summary"]["spearman"].values()) == pytest.approx(scores)
    assert "seed" not in stored["settings"]

    alone = train(tiny_encoder("bert"), text_rows(), recipe, tmp_path / "alone", eval_data=dev)
    assert alone.best_score == found.runs[7]["best_score"], "a seed is what train makes of it"


def test_further_data_are_read_once_for_all_seeds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    further, read = tmp_path / "further.txt", []
    further.write_text("\n".join(text_rows(12).columns["text"]))
    recipe = config(tmp_path, seed=7, datasets=[{"data": str(further)}])

    def counted(source: Any, *_: Any, **__: Any) -> Rows:
        read.append(source)
        return read_rows(source)

    def trained(_: str, rows: Rows, config: TrainConfig, *__: Any, **how: Any) -> TrainResult:
        how["ready"]()
        assert len(training_sets(rows, config)[1].rows) == 12
        return TrainResult(tmp_path, None, 2, None, None, [], None, None)  # type: ignore[arg-type]

    monkeypatch.setattr(training_set, "keep_rows", counted)
    monkeypatch.setattr(training_seeds, "train", trained)
    found = train_seeds("model", text_rows(), recipe, tmp_path / "seeds", seeds=3)
    assert list(found.runs) == [7, 8, 9] and read == [str(further)]


def test_seeds_that_another_began_meanwhile_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "seeds"

    def meanwhile(*_: Any, **how: Any) -> None:
        (folder / "seed-7").mkdir(parents=True)
        (folder / "seeds.json").write_text("theirs")
        how["ready"]()

    monkeypatch.setattr(training_seeds, "train", meanwhile)
    with pytest.raises(InputError, match=r"seeds\.json is damaged|is not empty"):
        train_seeds("model", text_rows(), config(tmp_path, seed=7), folder, seeds=2)
    assert (folder / "seed-7").is_dir() and (folder / "seeds.json").read_text() == "theirs"


def test_going_on_skips_what_is_finished(
    tiny_encoder: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[tuple[str, bool]] = []

    def recorded(*arguments: Any, **options: Any) -> Any:
        if len(trained) == 1:
            trained.append(("interrupted", options["resume"]))
            options["ready"]()
            raise KeyboardInterrupt
        trained.append((Path(arguments[3]).name, options["resume"]))
        return train(*arguments, **options)

    monkeypatch.setattr(training_seeds, "train", recorded)
    bert, folder = tiny_encoder("bert"), tmp_path / "seeds"
    recipe = config(tmp_path, max_steps=2)
    with pytest.raises(KeyboardInterrupt):
        train_seeds(bert, text_rows(), recipe, folder, seeds=2)
    state = read_seed_folder(folder)
    assert state is not None and list(state.runs) == [42]
    # The second seed was begun: it goes on from its checkpoint.
    begun = config(tmp_path, max_steps=2, seed=43)
    train(bert, text_rows(), begun, folder / "seed-43")
    before = (folder / "seed-42" / "model.safetensors").read_bytes()
    found = train_seeds(bert, text_rows(), recipe, folder, seeds=2, resume=True)
    assert trained == [("seed-42", False), ("interrupted", False), ("seed-43", True)]
    assert list(found.runs) == [42, 43] and found.mean is None
    assert (folder / "seed-42" / "model.safetensors").read_bytes() == before
    # With more seeds, the further ones are added.
    found = train_seeds(bert, text_rows(), recipe, folder, seeds=3, resume=True)
    assert list(found.runs) == [42, 43, 44] and trained[-1] == ("seed-44", False)
    with pytest.raises(InputError, match=r"were trained with learning_rate 0\.001, not 0\.5"):
        other = config(tmp_path, max_steps=2, learning_rate=0.5)
        train_seeds(bert, text_rows(), other, folder, seeds=3, resume=True)


def test_a_seed_without_a_whole_checkpoint_begins_again_and_says_so(
    tiny_encoder: Tiny, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    given = tiny_encoder("bert"), text_rows(), config(tmp_path, max_steps=2)
    folder = tmp_path / "seeds"
    train(*given, folder / "seed-42")
    (folder / "seed-42" / "run.json").unlink()  # it did not end
    (folder / "seed-42" / "checkpoint-2" / "optimizer.pt").unlink()
    SeedFolder(folder, {"model": str(given[0])}).write()
    assert list(train_seeds(*given, folder, seeds=2, resume=True).runs) == [42, 43]
    assert "seed 42 is trained from its start: checkpoint-2 (optimizer.pt is miss" in caplog.text


def test_folders_in_use(tiny_encoder: Tiny, tmp_path: Path) -> None:
    bert, recipe = tiny_encoder("bert"), config(tmp_path, max_steps=2)
    mine = tmp_path / "thesis"
    mine.mkdir()
    (mine / "draft.txt").write_text("two years of work")
    cases: list[tuple[dict[str, bool], str]] = [
        ({}, "is not empty"),
        ({"overwrite": True}, "no earlier training of several seeds"),
        ({"resume": True}, "nothing to resume"),
    ]
    for how, says in cases:
        with pytest.raises(InputError, match=says):
            train_seeds(bert, text_rows(), recipe, mine, seeds=2, **how)
    assert [path.name for path in mine.iterdir()] == ["draft.txt"]

    folder = tmp_path / "seeds"
    train_seeds(bert, text_rows(), recipe, folder, seeds=2)
    (folder / "seed-9").mkdir()  # of an earlier training with other seeds
    before = (folder / "seeds.json").read_text()
    with pytest.raises(InputError, match="rows do not fill one batch"):
        train_seeds(bert, text_rows(4), recipe, folder, seeds=2, overwrite=True)
    assert (folder / "seeds.json").read_text() == before, "nothing is lost before all is checked"
    assert len(runs_of(str(folder))) == 2
    train_seeds(bert, text_rows(), recipe, folder, seeds=2, overwrite=True)
    assert sorted(path.name for path in folder.iterdir()) == ["seed-42", "seed-43", "seeds.json"]


def test_what_cannot_be_trained_leaves_nothing(
    tiny_encoder: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bert, folder = tiny_encoder("bert"), tmp_path / "seeds"
    cases: list[tuple[dict[str, Any], int, str]] = [
        ({}, 1, "have no spread"),
        ({"dropout": 0.0}, 2, "every dropout rate"),
        ({"push_to_hub": True}, 2, "upload every seed to one place"),
        ({"optim": "adamw_bnb_8bit"}, 2, "bitsandbytes"),
    ]
    for changes, seeds, says in cases:
        with pytest.raises(Exception, match=says):
            train_seeds(bert, text_rows(), config(tmp_path, **changes), folder, seeds=seeds)
        assert not folder.exists()
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(InputError, match="torchrun"):
        train_seeds(bert, text_rows(), config(tmp_path), folder, seeds=2)


def test_a_collapsed_seed_is_no_part_of_a_mean(
    tiny_encoder: Tiny, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    def collapsed(*_: Any, **__: Any) -> Any:
        raise InputError("its space has collapsed.")

    monkeypatch.setattr(training_seeds, "evaluate", collapsed)
    recipe = config(tmp_path, max_steps=2)
    found = train_seeds(
        tiny_encoder("bert"), text_rows(), recipe, tmp_path / "s", seeds=2, eval_data=dev_task()
    )
    assert found.mean is None and len(found.runs) == 2
    assert "no mean over the seeds: seed-42: its space has collapsed." in caplog.text


def test_the_command_trains_sums_up_and_goes_on(tiny_encoder: Tiny, tmp_path: Path) -> None:
    texts, dev = tmp_path / "texts.txt", tmp_path / "dev.tsv"
    texts.write_text("\n".join(f"the man plays song {i}\na dog runs {i}" for i in range(16)))
    rows = [
        f"the man runs {i}\ta boy {'runs' if i % 2 else 'eats'} {i}\t{i % 6}" for i in range(12)
    ]
    dev.write_text("\n".join(["sentence1\tsentence2\tscore", *rows]))
    common = (
        "train", "--model", tiny_encoder("bert"), "--data", texts, "--eval-data", dev,
        "--output-dir", tmp_path / "out", "--seeds", 2,
        *settings(max_steps=2, cache_dir=tmp_path / "tokens"),
    )  # fmt: skip
    shown = succeed(*common)
    stored = json.loads((tmp_path / "out" / "seeds.json").read_text())["summary"]
    assert f"Spearman {stored['mean']:.2f} ± {stored['sd']:.2f} over 2 seeds" in shown
    assert "seed-42  step" in shown and "which flatters it" in shown
    assert f"next   simcse-kit evaluate {tmp_path / 'out'}" in shown
    assert succeed(*common, "--resume") == shown
    for more, says in (((), "is not empty"), (("--plots", tmp_path / "p"), "--plots draws one")):
        result = run(*common, *more)
        assert result.exit_code == 2 and says in result.stderr


def test_an_interrupted_training_of_seeds_says_how_to_go_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("simcse_kit.training.train_seeds", interrupted)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    (tmp_path / "m").mkdir()
    (tmp_path / "run" / "seeds.json").write_text("{}")
    arguments = ["train", "--model", "m", "--data", "t.txt", "--output-dir", "run", "--seeds", "5"]
    monkeypatch.setattr("sys.argv", ["simcse-kit", *arguments])
    result = run(*arguments)
    assert result.exit_code == 130
    assert "--seeds 5 --resume" in result.stderr
