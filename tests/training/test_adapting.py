"""Adapting to documents: each stage as by its own function, resumed, and what is refused."""

from __future__ import annotations

import itertools
import json
import shutil
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from simcse_kit.corpus import run_lock
from simcse_kit.data import PairsMade, Rows, make_pairs, read_rows, write_pairs
from simcse_kit.encoder import SentenceEncoder
from simcse_kit.errors import InputError
from simcse_kit.evaluation.mining import NoNegatives, Rules, mine_hard_negatives
from simcse_kit.training import General, Making, adapt, adapting, build_config, train
from simcse_kit.training.settings.config import TrainConfig

WORDS = ["dog", "cat", "red", "blue", "guitar", "piano", "train", "car", "house", "city", "bird"]
SETTINGS = [
    *("max_steps=3", "per_device_train_batch_size=4", "report_to=none", "use_cpu=true"),
    *("save_steps=2", "logging_steps=1", "bf16=false"),
]
RULES = Rules(num_negatives=1)


def documents(count: int = 12) -> list[str]:
    draws, number = np.random.default_rng(5), itertools.count(10)  # no sentence stands twice

    def sentence() -> str:
        return f"The {' '.join(draws.permutation(WORDS)[:4])} plays {next(number)}."

    return [" ".join(sentence() for _ in range(4)) for _ in range(count)]


def settings(folder: Path, *more: str) -> TrainConfig:
    return build_config("adapt", [*SETTINGS, f"cache_dir={folder / 'tokens'}", *more])


@pytest.fixture(scope="module")
def model(tiny_encoder: Callable[[str], Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("model") / "start"
    SentenceEncoder.from_pretrained(tiny_encoder("bert"), pooling="mean").save_pretrained(folder)
    return folder


def weights(folder: Path) -> np.ndarray:
    return SentenceEncoder.from_pretrained(folder, precision="fp32").encode(documents(3))


def test_it_is_its_three_stages(model: Path, tmp_path: Path) -> None:
    config = settings(tmp_path)
    made = Making(("title", "crop"), least=2)
    adapted = adapt(model, documents(), config, tmp_path / "out", making=made, rules=RULES)

    pairs = make_pairs(documents(), ("title", "crop"), least=2, seed=config.seed)
    write_pairs(pairs, tmp_path / "pairs.parquet")
    start = SentenceEncoder.from_pretrained(model)
    rows = read_rows(tmp_path / "pairs.parquet")
    mined = mine_hard_negatives(start, rows, tmp_path / "m.parquet", RULES, output_format="list")
    teacher = build_config("adapt", [*SETTINGS, f"teachers=[{model}]"])
    teacher = teacher.model_copy(update={"cache_dir": config.cache_dir})
    train(model, read_rows(tmp_path / "m.parquet"), teacher, tmp_path / "run")

    assert adapted.pairs["by_way"] == pairs.by_way
    assert adapted.mined is not None and adapted.mined["rows"] == mined.rows
    assert np.array_equal(weights(adapted.result.output_dir), weights(tmp_path / "run"))
    assert not np.array_equal(weights(tmp_path / "run"), weights(model))
    assert adapted.result.output_dir == tmp_path / "out" / "model"


def test_negatives_are_never_of_the_pair_s_own_document(model: Path, tmp_path: Path) -> None:
    adapt(model, documents(), settings(tmp_path), tmp_path / "out", rules=RULES)
    rows = read_rows(tmp_path / "out" / "negatives.parquet")
    columns = rows.columns["positive"], rows.columns["negative"]
    for positive, negative in zip(*columns, strict=True):
        [own] = [text for text in documents() if positive.split(". ")[0] in text]
        assert negative.split(". ")[0] not in own


def test_general_texts_are_a_data_set_held_to_the_start(
    model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    general = tmp_path / "general.txt"
    general.write_text("\n".join(f"the {word} is old" for word in WORDS * 20))
    caplog.set_level("INFO")
    adapt(
        *(model, documents(), settings(tmp_path, "seed=3"), tmp_path / "out"),
        making=Making(("title",)),
        rules=None,
        general=General(str(general), weight=2.0),
    )
    assert "teacher_cosine" in caplog.text and not (tmp_path / "out/negatives.parquet").exists()
    history = [json.loads(line) for line in (tmp_path / "out/model/history.jsonl").open()]
    assert any(np.isfinite(entry.get("loss", np.nan)) for entry in history)


def test_prompts_are_those_of_the_encoder_in_mining_training_and_of_the_teacher(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prompts = {"query": "red ", "document": "blue dog "}
    start = SentenceEncoder.from_pretrained(model)
    start.prompts = prompts
    start.save_pretrained(tmp_path / "start")
    general = tmp_path / "general.txt"
    general.write_text("\n".join(f"the {word} is old" for word in WORDS * 20))
    trained: dict[str, TrainConfig] = {}

    def kept(name: str, at: Path, *more: str) -> Path:
        def note_settings(
            start: Path, rows: Rows, config: TrainConfig, *_: object, **__: object
        ) -> None:
            trained[name] = config
            raise KeyboardInterrupt

        with monkeypatch.context() as context, pytest.raises(KeyboardInterrupt):
            context.setattr(adapting, "train", note_settings)
            adapt(
                *(at, documents(), settings(tmp_path, *more), tmp_path / name),
                rules=RULES,
                general=General(str(general)),
            )
        return tmp_path / name / "negatives.parquet"

    own = kept("own", tmp_path / "start")
    named = kept("named", model, 'prompt="red "', 'document_prompt="blue dog "')
    bare, without = kept("bare", model), kept("without", tmp_path / "start", 'prompt=""')
    columns = [read_rows(each).columns for each in (own, named, bare, without)]
    assert columns[0] == columns[1] and columns[2] == columns[3] and columns[0] != columns[2]

    start.use_prompts("red ", document_prompt="blue dog ")
    oracle = tmp_path / "oracle.parquet"
    pairs = read_rows(tmp_path / "own" / "pairs.parquet")
    mine_hard_negatives(start, pairs, oracle, RULES, output_format="list")
    assert read_rows(oracle).columns == columns[0]
    for config in (trained["own"], trained["named"]):
        assert (config.prompt, config.document_prompt) == ("red ", "blue dog ")
        teacher = config.teachers[0]
        assert (teacher.prompt, teacher.document_prompt) == ("red ", "blue dog ")
    assert trained["bare"].prompt is None and trained["without"].teachers[0].prompt == ""
    adapted = adapt(
        *(tmp_path / "start", documents(), settings(tmp_path), tmp_path / "own"),
        rules=RULES,
        general=General(str(general)),
        resume=True,
    )
    left = SentenceEncoder.from_pretrained(adapted.result.output_dir)
    assert left.prompts["query"] == "red " and left.prompts["document"] == "blue dog "


@pytest.mark.parametrize(
    "settled",
    [
        {"pooling": "cls", "model_head": "keep"},
        {"pooling": "mask", "template": "The {} is [MASK]."},
    ],
)
def test_mining_training_and_teacher_have_the_start_s_head_and_template(
    tiny_encoder: Callable[[str], Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    settled: dict[str, str],
) -> None:
    model, trained = tiny_encoder("bert"), []
    more = [f"{key}={value}" for key, value in settled.items()]

    def note_settings(_: Path, rows: Rows, config: TrainConfig, *__: object, **___: object) -> None:
        trained.append(config)
        raise KeyboardInterrupt

    monkeypatch.setattr(adapting, "train", note_settings)
    with pytest.raises(KeyboardInterrupt):
        adapt(model, documents(), settings(tmp_path, *more), tmp_path / "out", rules=RULES)
    [teacher] = trained[0].teachers
    own = (teacher.pooling, teacher.head, teacher.template)
    assert own == tuple(settled.get(key) for key in ("pooling", "model_head", "template"))

    start = SentenceEncoder.from_pretrained(
        model, pooling=settled["pooling"], head=settled.get("model_head")
    )
    if "template" in settled:
        start.use_template(settled["template"])
    pairs = read_rows(tmp_path / "out" / "pairs.parquet")
    mine_hard_negatives(start, pairs, tmp_path / "m.parquet", RULES, output_format="list")
    found = read_rows(tmp_path / "out" / "negatives.parquet")
    assert found.columns == read_rows(tmp_path / "m.parquet").columns


def test_no_teacher_where_nothing_follows_one(model: Path, tmp_path: Path) -> None:
    config = settings(tmp_path, "auxiliaries=[]")
    adapted = adapt(model, documents(), config, tmp_path / "out", rules=None)
    assert adapted.result.steps == 3


def test_a_finished_stage_is_not_made_again(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, out = settings(tmp_path), tmp_path / "out"
    with monkeypatch.context() as context, pytest.raises(KeyboardInterrupt):
        context.setattr(adapting, "mine_hard_negatives", interrupted)
        adapt(model, documents(), config, out, rules=RULES)
    assert (out / "pairs.parquet").is_file() and not (out / "negatives.parquet").exists()
    (out / ".negatives.parquet.1-ab.part").write_bytes(b"of a kill")
    with monkeypatch.context() as context, pytest.raises(KeyboardInterrupt):
        context.setattr(adapting, "make_pairs", interrupted)
        context.setattr(adapting, "train", interrupted)
        adapt(model, documents(), config, out, rules=RULES, resume=True)
    assert (out / "negatives.parquet").is_file() and not [*out.glob(".*.part")]
    monkeypatch.setattr(adapting, "make_pairs", interrupted)
    monkeypatch.setattr(adapting, "mine_hard_negatives", interrupted)
    adapted = adapt(model, documents(), config, out, rules=RULES, resume=True)
    whole = adapt_anew(monkeypatch, model, config, tmp_path / "whole")
    assert np.array_equal(weights(adapted.result.output_dir), weights(whole))
    again = adapt(model, documents(), config, out, rules=RULES, resume=True)  # all is finished
    assert again.result.steps == 3 and again.pairs == adapted.pairs


def test_negatives_of_another_start_are_not_gone_on_with(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, out = shutil.copytree(model, tmp_path / "start"), tmp_path / "out"
    monkeypatch.setattr(adapting, "train", interrupted)
    with pytest.raises(KeyboardInterrupt):
        adapt(start, documents(), settings(tmp_path), out, rules=RULES)
    with pytest.raises(InputError, match="with pooling None, not cls"):
        other = settings(tmp_path, "pooling=cls")
        adapt(start, documents(), other, out, rules=RULES, resume=True)
    with pytest.raises(KeyboardInterrupt):  # twice: what was kept is kept again
        adapt(start, documents(), settings(tmp_path), out, rules=RULES, resume=True)
    held = load_file(start / "model.safetensors")
    changed = {name: weight + 0.01 for name, weight in held.items()}
    save_file(changed, start / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match="were mined by other weights than"):
        adapt(start, documents(), settings(tmp_path), out, rules=RULES, resume=True)


def test_pairs_without_negatives_are_told_of_and_rules_may_change(
    model: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, out = settings(tmp_path), tmp_path / "out"
    with monkeypatch.context() as context, pytest.raises(KeyboardInterrupt):
        context.setattr(adapting, "train", interrupted)
        adapt(model, documents(), config, out, rules=RULES)
    assert "no hard negative" not in caplog.text
    found = mine_hard_negatives(
        *(SentenceEncoder.from_pretrained(model), read_rows(out / "pairs.parquet")),
        *(tmp_path / "m.parquet", RULES),
    )
    few = Rules(num_negatives=1, min_score=found.scores["negative"]["75%"] - 1e-6)
    adapted = adapt(model, documents(), config, out, rules=few, resume=True)
    mined = adapted.mined
    assert mined is not None and 0 < mined["rows"] < mined["pairs"] / 2
    left_out = f"{mined['pairs_left_out']} of {mined['pairs']} pairs have no hard negative"
    assert left_out in caplog.text and "--num-negatives 0 trains on all" in caplog.text
    with pytest.raises(InputError, match="other rules of what a hard negative"):
        adapt(model, documents(), config, out, rules=RULES, resume=True)  # it is trained on few


def test_what_lies_in_the_way_of_the_model_is_named(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, out = settings(tmp_path), tmp_path / "out"
    with monkeypatch.context() as context, pytest.raises(KeyboardInterrupt):
        context.setattr(adapting, "train", interrupted)
        adapt(model, documents(), config, out, rules=None)
    (out / "model").mkdir()
    (out / "model/.DS_Store").write_text("")
    with pytest.raises(InputError, match=r"model' holds no run.*; remove it, and --resume goes on"):
        adapt(model, documents(), config, out, rules=None, resume=True)
    shutil.rmtree(out / "model")
    assert adapt(model, documents(), config, out, rules=None, resume=True).result.steps == 3


def test_what_training_would_refuse_is_refused_before_the_work(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapting, "mine_hard_negatives", interrupted)
    few = tmp_path / "few.txt"
    few.write_text("one\ntwo\n")
    out = tmp_path / "out"
    for given, how, says in (
        (
            documents(),
            {"general": General(str(few))},
            r"few\.txt: 2 rows do not fill one batch of 4",
        ),
        (documents(), {"general": General(str(tmp_path / "no.txt"))}, r"no\.txt: no such file"),
        (documents(1), {}, "all pairs are of one document"),
        (documents(1), {"rules": None}, "all pairs are of one document"),
        (documents(2), {"making": Making(("title",))}, "2 rows do not fill one batch of 4"),
    ):
        with pytest.raises(InputError, match=says):
            adapt(model, given, settings(tmp_path), out, **how)
        assert not out.exists()


def test_a_start_by_another_name_is_the_same(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapting, "train", interrupted)
    for name in (model, model / ".." / model.name):
        with pytest.raises(KeyboardInterrupt):
            adapt(
                *(name, documents(), settings(tmp_path), tmp_path / "out"),
                rules=RULES,
                resume=name != model,
            )
    other = shutil.copytree(model, tmp_path / "other")
    with pytest.raises(InputError, match="was begun with model"):
        adapt(other, documents(), settings(tmp_path), tmp_path / "out", rules=RULES, resume=True)


def adapt_anew(
    monkeypatch: pytest.MonkeyPatch, model: Path, config: TrainConfig, folder: Path
) -> Path:
    monkeypatch.undo()
    return adapt(model, documents(), config, folder, rules=RULES).result.output_dir


def interrupted(*_: object, **__: object) -> None:
    raise KeyboardInterrupt


def test_one_run_at_a_time_fills_a_folder(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, out = settings(tmp_path), tmp_path / "out"

    def begun_beside(*given: Any, **how: Any) -> PairsMade:
        out.mkdir()
        other.enter_context(run_lock.alone(out))
        return make_pairs(*given, **how)

    with monkeypatch.context() as context, ExitStack() as other:
        context.setattr(adapting, "make_pairs", begun_beside)
        with pytest.raises(InputError, match="another run writes there; wait until it is done"):
            adapt(model, documents(), config, out, rules=None)
    assert [path.name for path in out.iterdir()] == [".lock"]
    with monkeypatch.context() as context, pytest.raises(KeyboardInterrupt):
        context.setattr(adapting, "train", interrupted)
        adapt(model, documents(), config, out, rules=None)  # a lock that is left is no content
    (out / ".negatives.parquet.1-ab.part").write_bytes(b"of the run that has the folder")
    with run_lock.alone(out), pytest.raises(InputError, match="another run writes there"):
        adapt(model, documents(), config, out, rules=None, resume=True)
    assert (out / ".negatives.parquet.1-ab.part").is_file()


def test_too_few_candidates_are_said_with_what_helps_here() -> None:
    found = NoNegatives("a.csv", "no negatives: there are only 3 candidates", None, "give a corpus")
    told = adapting._none_mined(found)
    alone = "a.csv: no negatives: there are only 3 candidates; train on the pairs alone"
    assert str(told) == f"{alone} (rules=None)"
    assert told.command_line == f"{alone} (--num-negatives 0)"
    told = adapting._none_mined(NoNegatives("max_score.csv", "max_score took 1", "max_score", "x"))
    assert "max_score took 1; loosen it, raise range_max, or train on" in str(told)
    assert told.command_line.startswith("max_score.csv: --max-score took 1; loosen it, or train on")


def test_what_it_cannot_go_on_with_is_said(model: Path, tmp_path: Path) -> None:
    config, out = settings(tmp_path), tmp_path / "out"
    with pytest.raises(InputError, match=r"nothing to resume: .*holds no adapt\.json"):
        adapt(model, documents(), config, out, resume=True)
    adapt(model, documents(), config, out, rules=None)
    with pytest.raises(InputError, match="is not empty; go on with it by --resume; give a new one"):
        adapt(model, documents(), config, out, rules=None)
    for how, says in (
        ({"rules": RULES}, "other rules of what a hard negative"),
        ({"rules": None, "making": Making(("title",))}, "pairs made otherwise"),
    ):
        with pytest.raises(InputError, match=says):
            adapt(model, documents(), config, out, resume=True, **how)
    with pytest.raises(InputError, match="other documents"):
        adapt(model, documents(13), config, out, rules=None, resume=True)
    with pytest.raises(InputError, match=r"seed \d+, not 7"):
        other = config.model_copy(update={"seed": 7})
        adapt(model, documents(), other, out, rules=None, resume=True)
    told = json.loads((out / "adapt.json").read_text())
    for damaged in ("{", "[]", json.dumps(told | {"pairs": 3}), json.dumps(told | {"mined": 3})):
        (out / "adapt.json").write_text(damaged)
        with pytest.raises(InputError, match=r"adapt\.json is damaged"):
            adapt(model, documents(), config, out, rules=None, resume=True)


def test_a_method_that_cannot_learn_is_refused_before_anything_is_written(
    model: Path, tmp_path: Path
) -> None:
    config = settings(tmp_path, "objective=cosent")
    with pytest.raises(InputError, match="learns from scores"):
        adapt(model, documents(), config, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    rows = replace(read_rows([{"anchor": "a", "positive": "b"}]), source="given")
    with pytest.raises(InputError, match="given: pairs rows are pairs already"):
        adapt(model, rows, settings(tmp_path), tmp_path / "out")


def test_ranks_are_told_to_train_on_what_it_leaves(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapting, "launched_together", lambda: True)
    with pytest.raises(InputError, match=r"with torchrun train on the file .*negatives\.parquet"):
        adapt(model, documents(), settings(tmp_path), tmp_path / "out")
