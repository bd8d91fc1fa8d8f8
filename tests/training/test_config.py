"""Settings: what is taken, what is refused and how, and the shipped recipes."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from simcse_kit.errors import InputError
from simcse_kit.errors.complaints import explain
from simcse_kit.training.settings.config import TrainConfig, build_config
from simcse_kit.training.settings.recipe_files import load_recipe, recipe_names, recipe_text


def complaint(*overrides: str, recipe: str | None = None) -> str:
    with pytest.raises(InputError) as caught:
        build_config(recipe, overrides)
    return str(caught.value)


# -- recipes: every shipped one, against the table of the SimCSE README

PUBLISHED = {  # batch, learning rate, epochs
    "unsup-bert-base": (64, 3e-5, 1),
    "unsup-bert-large": (64, 1e-5, 1),
    "unsup-roberta-base": (512, 1e-5, 1),
    "unsup-roberta-large": (512, 3e-5, 1),
    "sup-bert-base": (512, 5e-5, 3),
    "sup-bert-large": (512, 1e-5, 3),
    "sup-roberta-base": (512, 5e-5, 3),
    "sup-roberta-large": (512, 1e-5, 3),
}


FAMILY = [
    *("adapt", "alignunif", "angle", "arc", "cosent", "cpc", "debiased", "decoupled", "distill"),
    "esimcse",
    *("matryoshka", "moco", "plain", "prompt", "prototypes", "rank-distill", "simclr", "supcon"),
]
MEASURED = sorted(set(recipe_names()) - set(PUBLISHED) - set(FAMILY))
RESULTS = Path(__file__).parents[2] / "eval" / "results"


def test_every_published_recipe_is_shipped() -> None:
    assert set(PUBLISHED) < set(recipe_names())


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_recipe_has_the_published_settings(name: str) -> None:
    config = build_config(name)
    found = (config.per_device_train_batch_size, config.learning_rate, config.num_train_epochs)
    assert found == PUBLISHED[name]
    assert config.pooling == "cls"
    assert config.head == ("keep" if name.startswith("sup") else "train_only")
    assert (config.max_length, config.objective.temperature, config.dropout) == (32, 0.05, 0.1)
    assert (config.lr_scheduler_type, config.warmup_steps, config.weight_decay) == ("linear", 0, 0)
    assert (config.eval_steps, config.mlm_weight, config.objective.hard_negative_weight) == (
        125,
        0,
        1,
    )


@pytest.mark.parametrize("name", sorted(PUBLISHED))
def test_recipe_names_its_source_and_its_model(name: str) -> None:
    text = recipe_text(name)
    assert "# Source:" in text and "arXiv:2104.08821" in text
    assert f"princeton-nlp/{name.split('-')[0]}-simcse-" in text


@pytest.mark.parametrize("name", MEASURED)
def test_recipe_of_ours_names_what_it_was_measured_by(name: str) -> None:
    text = recipe_text(name)
    title, empty, *header = [line for line in text.splitlines() if line.startswith("#")]
    assert title.startswith("# ") and empty == "#" and len(title) <= 102
    comment = "\n".join(header)
    for heading in ("# Source: ", "# Model:  ", "# Data:   ", "# Not measured: "):
        assert heading in comment
    named = re.findall(r"eval/results/([\w-]+\.json)", comment)
    assert named, "no result"
    config = build_config(name)
    for file in named:
        assert (RESULTS / file).is_file(), file
        # A sweep: the recipe has the settings that were the best of it.
        if file == f"recipes-{name}.json":
            best = chosen(json.loads((RESULTS / file).read_text()))
            for setting in best.split():
                key = setting.partition("=")[0]
                assert str(getattr(config, key)) == str(getattr(build_config(None, [setting]), key))


@pytest.mark.parametrize("name", FAMILY)
def test_recipe_of_the_family_names_its_source(name: str) -> None:
    title, empty, *header = [line for line in recipe_text(name).splitlines() if line[:1] == "#"]
    assert title.startswith("# ") and empty == "#" and len(title) <= 102
    comment = "\n".join(header)
    for heading in ("# Source: ", "# Model:  ", "# Data:   "):
        assert heading in comment
    assert build_config(name) != build_config("small-unsup") or name == "plain"


def chosen(sweep: dict[str, Any]) -> str:
    """The best settings of a sweep, by the figure that its settings are chosen on."""
    figure = "networkx mrr" if "networkx mrr" in sweep["before"] else "STSB-dev"
    return max(sweep["summary"], key=lambda point: float(sweep["summary"][point][figure]["mean"]))


def test_a_recipe_can_be_a_file_and_is_changed_by_overrides(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("learning_rate: 1e-4\npooling: mean\n")  # YAML 1.1 reads 1e-4 as a string
    config = build_config(str(path), ["max_steps=7", "pooling=top2_mean"])
    assert (config.learning_rate, config.pooling, config.max_steps) == (1e-4, "top2_mean", 7)
    assert load_recipe(str(path), {})["pooling"] == "mean"


def test_without_a_recipe_the_checkpoint_chooses_pooling_and_dropout() -> None:
    config = build_config()
    assert config == TrainConfig()
    assert config.pooling is None and config.dropout is None and config.bf16 is None


@pytest.mark.parametrize(
    ("override", "key", "value"),
    [
        ("learning_rate=3e-5", "learning_rate", 3e-5),
        ("bf16=true", "bf16", True),
        ("bf16=null", "bf16", None),
        ("dropout=", "dropout", None),
        ("collapse=off", "collapse", "off"),  # YAML reads off as false
        ("collapse=warn", "collapse", "warn"),
        ("head=none", "head", "none"),
        ("warmup_steps=0.1", "warmup_steps", 0.1),
        ("report_to=none", "report_to", []),
        ("report_to=tensorboard, all", "report_to", ["tensorboard", "all"]),
        ("max_steps=1e4", "max_steps", 10_000),
        ("lr_scheduler_kwargs={power: 1e-6}", "lr_scheduler_kwargs", {"power": 1e-6}),
        ("report_to=[all]", "report_to", ["all"]),
        ("lr_scheduler_type=cosine", "lr_scheduler_type", "cosine"),
        ("optim=adamw_torch", "optim", "adamw_torch"),
        ("cache_dir=some/where", "cache_dir", Path("some/where")),
        ("cache_dir=~/tokens", "cache_dir", Path.home() / "tokens"),
        (" seed = 7", "seed", 7),
        ("run_name=a=b", "run_name", "a=b"),
        # as YAML 1.2 and people read them, not as YAML 1.1
        ("normalize=no", "normalize", False),
        ("normalize=on", "normalize", True),
        ("seed=010", "seed", 10),
        ("seed=1_000", "seed", 1000),
        ("learning_rate=1E-5", "learning_rate", 1e-5),
        ("learning_rate='1e-5'", "learning_rate", 1e-5),
        ("logging_strategy=no", "logging_strategy", "no"),
        ("run_name=2024", "run_name", "2024"),
        ("run_name=2024-01-31", "run_name", "2024-01-31"),
    ],
)
def test_override_values(override: str, key: str, value: object) -> None:
    assert getattr(build_config(None, [override]), key) == value


@pytest.mark.parametrize(
    ("override", "words"),
    [
        # what is wrong with a value
        ("temperature=-0.1", ["temperature", "greater than 0", "-0.1"]),
        ("temperature=0", ["temperature", "greater than 0"]),
        ("temperature=.nan", ["temperature", "finite"]),
        ("temperature=warm", ["temperature must be a number, not 'warm'"]),
        ("temperature=", ["temperature must be a number, not None"]),
        ("temperature=true", ["temperature must be a number, not True"]),
        ("max_steps=1.5", ["max_steps must be a whole number, not 1.5"]),
        ("max_steps=0", ["max_steps must be 1 or more"]),
        ("max_steps=[1]", ["max_steps must be a whole number, not [1]"]),
        ("seed=yes", ["seed must be a whole number, not 'yes'"]),
        ("seed=true", ["seed must be a number, not True"]),
        ("seed=-1", ["seed must be greater than or equal to 0"]),
        ("seed=4294967296", ["seed must be less than 4294967296"]),
        ("max_steps=1:30", ["max_steps must be a whole number, not '1:30'"]),
        ("max_steps=0x10", ["max_steps must be a whole number, not '0x10'"]),
        ("max_steps=.inf", ["max_steps must be a finite number"]),
        ("learning_rate=-.inf", ["learning_rate"]),
        ("learning_rate=-1e-5", ["learning_rate must be greater than 0"]),
        ("learning_rate=3e", ["learning_rate must be a number, not '3e'"]),
        ("learning_rate={a: 1}", ["learning_rate must be a number, not {'a': 1}"]),
        ("warmup_steps=1.5", ["a share of the steps below 1, or a whole number of steps"]),
        ("per_device_train_batch_size=0", ["at least 2, not 0"]),
        ("gradient_accumulation_steps=0", ["greater than or equal to 1"]),
        ("mini_batch_size=-4", ["greater than or equal to 1"]),
        ("normalize=3", ["normalize must be true or false, not 3"]),
        ("normalize=", ["normalize must be true or false, not None"]),
        ("pooling=[cls]", ["pooling must be one of cls, "]),
        ("profile={skp: 1}", ["profile must be true, false or {skip: 5, warm: 2, record: 5}"]),
        ("profile={[a]: 1}", ["not valid YAML"]),
        ("profile.skip=3", ["belongs to profile is written profile={skip: VALUE}"]),
        ("optimizer.lr=3", ["unknown setting 'optimizer.lr'"]),
        ("bf16=maybe", ["bf16 must be true or false, not 'maybe'"]),
        ("dropout=1", ["dropout", "less than 1"]),
        ("dropout=-0.1", ["dropout", "greater than or equal to 0"]),
        ("max_length=2", ["max_length", "greater than or equal to 3"]),
        ("mlm_weight=-1", ["mlm_weight"]),
        ("mlm_probability=1", ["mlm_probability", "less than 1"]),
        ("hard_negative_weight=0", ["hard_negative_weight", "greater than 0"]),
        ("eval_steps=0", ["eval_steps", "greater than or equal to 1"]),
        ("num_train_epochs=0", ["num_train_epochs"]),
        ("per_device_train_batch_size=1", ["at least 2", "negatives"]),
        ("pooling=clss", ["pooling must be one of cls, ", "did you mean 'cls'?"]),
        ("head=keeep", ["head must be one of", "did you mean 'keep'?"]),
        ("collapse=on", ["collapse must be one of stop, warn, off"]),
        ("lr_scheduler_type=liner", ["lr_scheduler_type must be one of", "'linear'"]),
        ("optim=adan", ["optim must be one of"]),
        ("report_to=3", ["report_to must be a list"]),
        ("report_to=tensorbord", ["report_to must be one of", "did you mean 'tensorboard'?"]),
        ("logging_first_step=perhaps", ["logging_first_step must be true or false"]),
        # unknown, misspelt or owned keys
        ("temprature=0.1", ["unknown setting 'temprature'", "did you mean 'temperature'?"]),
        ("learning_rat=0.1", ["did you mean 'learning_rate'?"]),
        ("lr=0.1", ["it is called learning_rate here"]),
        ("pooler_type=cls", ["it is called pooling here"]),
        ("zzz=1", ["unknown setting 'zzz'", "--help"]),
        ("output_dir=x", ["'output_dir' cannot be set", "--output-dir"]),
        ("load_best_model_at_end=true", ["'load_best_model_at_end' cannot be set"]),
        ("hub_token=abc", ["hf auth login"]),
        ("hub_model_id=a/b", ["push_to_hub"]),
        # the syntax
        ("max_steps", ["--set max_steps", "key=value"]),
        ("=3", ["key=value"]),
        ("max_steps=[1", ["not valid YAML"]),
    ],
)
def test_refused_overrides_say_why_in_one_sentence(override: str, words: list[str]) -> None:
    said = complaint(override)
    assert said.startswith(f"--set {override}: ")
    assert "\n" not in said
    for word in words:
        assert word in said


def test_one_setting_given_twice() -> None:
    said = complaint("seed=1", "max_steps=7", "seed=2")
    assert said == "--set seed=1 and --set seed=2 both set seed; give one of them"


def test_settings_that_contradict_each_other() -> None:
    assert "both true" in complaint("bf16=true", "fp16=true")
    assert "contradicts" in complaint("pooling=cls_before_pooler", "head=keep")
    assert "contradicts" in complaint("pooling=cls_before_pooler", recipe="sup-bert-base")


def test_several_mistakes_are_one_sentence() -> None:
    said = complaint("temperature=0", "dropout=2", "max_length=x", "eval_steps=0", "seed=-1")
    assert said.count("--set") == 3 and said.endswith("and 2 more")


def test_a_complaint_names_the_recipe_it_comes_from(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("temprature: 0.1\n")
    assert complaint(recipe=str(path)).startswith(f"recipe {path}: unknown setting 'temprature'")
    path.write_text("temperature: 0\n")
    assert complaint(recipe=str(path)).startswith(f"recipe {path}: objective.temperature must")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "no settings"),
        (b"- a\n- b\n", "no settings"),
        (b"a: 1\nb: [1\n", "mine.yaml:3: "),
        (b"\xff\xfe\x00", "UTF-8"),
        (b"temperature: 0.05\ntemperature: 0.1\n", "mine.yaml:2: temperature is set twice"),
    ],
)
def test_broken_recipe_files(tmp_path: Path, content: bytes, words: str) -> None:
    path = tmp_path / "mine.yaml"
    path.write_bytes(content)
    assert words in complaint(recipe=str(path))


def test_recipes_that_are_not_there(tmp_path: Path) -> None:
    said = complaint(recipe="unsup-bert-bas")
    assert "did you mean 'unsup-bert-base'?" in said and "sup-roberta-large" in said
    assert "does not exist" in complaint(recipe=str(tmp_path / "none.yaml"))


def test_the_class_itself_refuses_too() -> None:
    with pytest.raises(ValidationError) as caught:
        TrainConfig(temprature=0.1)  # type: ignore[call-arg]
    assert explain(caught.value) == "unknown setting 'temprature'; did you mean 'temperature'?"
    with pytest.raises(ValidationError):
        TrainConfig().temperature = 1.0  # type: ignore[misc]


# -- to transformers


def test_every_default_shared_with_transformers_keeps_its_name(tmp_path: Path) -> None:
    config = build_config("unsup-bert-large", ["max_steps=7", "seed=3", "use_cpu=true"])
    arguments = config.to_training_arguments(tmp_path, logging_steps=2)
    assert arguments.output_dir == str(tmp_path)
    assert (arguments.learning_rate, arguments.max_steps, arguments.seed) == (1e-5, 7, 3)
    assert arguments.logging_steps == 2
    assert arguments.dataloader_drop_last and not arguments.remove_unused_columns
    for ours in ("pooling", "temperature", "mlm_weight"):
        assert not hasattr(arguments, ours)


@pytest.mark.parametrize(
    ("override", "resolved", "expected"),
    [
        ("bf16=null", True, True),
        ("bf16=null", False, False),
        ("bf16=null", None, False),
        ("bf16=false", True, False),
        ("bf16=true", False, True),
    ],
)
def test_bf16_auto_is_what_the_machine_resolved(
    tmp_path: Path, override: str, resolved: bool | None, expected: bool
) -> None:
    config = build_config(None, [override, "use_cpu=true"])
    assert config.to_training_arguments(tmp_path, bf16=resolved).bf16 is expected


def test_what_transformers_refuses_is_an_input_error(tmp_path: Path) -> None:
    config = build_config(None, ["use_cpu=true"])
    with pytest.raises(InputError, match="transformers refuses these training settings"):
        config.to_training_arguments(tmp_path, logging_strategy="sometimes")


def test_a_tracker_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    from transformers import integrations

    monkeypatch.setattr(integrations, "get_available_reporting_integrations", list)
    assert "report_to wandb needs that package" in complaint("report_to=wandb")


def test_importing_and_building_needs_no_torch() -> None:
    code = (
        "import sys; from simcse_kit.training import build_config\n"
        "build_config(None, ['max_steps=5', 'pooling=mean'])\n"
        "assert not {'torch', 'transformers'} & set(sys.modules)\n"
        "build_config('sup-bert-base')  # its objective's own settings are checked by its class\n"
        "assert 'transformers' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
