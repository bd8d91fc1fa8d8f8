"""The settings in force: said before training, and listed on the model's card."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import yaml

from simcse_kit.data import Rows
from simcse_kit.encoder import SentenceEncoder
from simcse_kit.training.checks import joint_batch
from simcse_kit.training.dev import DevSet
from simcse_kit.training.distributed import world_size
from simcse_kit.training.settings.arguments import Further
from simcse_kit.training.settings.config import TrainConfig
from simcse_kit.training.settings.datasets import DataSet
from simcse_kit.training.settings.dotted import flat, root, short_name

# What is said in any case, by line; the rest only where it was set.
_LINES: Mapping[str, tuple[str, ...]] = {
    "model": ("pooling", "head", "normalize", "max_length", "dropout"),
    "objective": (
        "objective",
        "objective.temperature",
        "per_device_train_batch_size",
        "mini_batch_size",
        "objective.hard_negative_weight",
        "mask_equal_texts",
        "mlm_weight",
    ),
    "optimizer": (
        "learning_rate",
        "lr_scheduler_type",
        "warmup_steps",
        "weight_decay",
        "max_grad_norm",
        "gradient_accumulation_steps",
    ),
    "run": (
        "num_train_epochs",
        "max_steps",
        "seed",
        "bf16",
        "eval_steps",
        "save_steps",
        "early_stopping_patience",
        "collapse",
    ),
}
# Parts that are said in full where there are any: what an anchor has for negatives.
_BESIDE = ("keys", "negatives")
# About this machine and the upload, not about the model.
_NOT_ON_THE_CARD = {
    "cache_dir",
    "profile",
    "report_to",
    "push_to_hub",
    "hub_model_id",
    "dataloader_num_workers",
    "logging_steps",
    "save_steps",
    "save_total_limit",
    "layout",
    "run_name",
    "project",
    "trackio_space_id",
    "hub_private_repo",
    "disable_tqdm",
    "log_level",
    "log_level_replica",
}


def in_force(
    given: TrainConfig,
    config: TrainConfig,
    encoder: SentenceEncoder,
    rows: Rows,
    dev: DevSet | None,
    steps: int,
    further: Sequence[tuple[Rows, TrainConfig]] = (),
) -> str:
    """All that a run is about to do, a line a part of it; ``*`` marks what nobody set.

    Args:
        given: the settings as they were given; `config`: with what followed from the run's length.
        further: further data sets, each with its settings.
    """
    values = effective(config, encoder)

    def shown(key: str) -> str:
        return f"{short_name(key)} {_text(values[key])}{'*' if given.origin(key) is None else ''}"

    def line(keys: Iterable[str]) -> str:
        return ", ".join(shown(key) for key in keys if key in values)

    lines = {name: line(keys) for name, keys in _LINES.items()}
    beside = [key for key in values if root(key) in _BESIDE and getattr(config, root(key))]
    if beside:
        lines["keys"] = line(beside)
    lines["model"] = f"{encoder.name}: {lines['model']}"
    lines["run"] = f"{steps:,} steps on {encoder.device.type}, {lines['run']}"
    lines["data"] = _data(rows, config)
    for number, (own, its) in enumerate(further):
        lines[f"data {number + 2}"] = f"{_data(own, its)}; {_differs(given.datasets[number])}"
    lines["dev"] = "none: the last step is kept" if dev is None else _judged(dev, config, steps)
    spoken = {key for keys in _LINES.values() for key in keys} | {"datasets", *beside}
    besides = [key for key in values if given.origin(key) is not None and key not in spoken]
    if besides:
        lines["also"] = line(besides)
    data = [name for name in lines if name.startswith("data")]
    order = ("model", *data, "dev", "objective", "keys", "optimizer", "run", "also")
    said = [f"  {name:<10} {lines[name]}" for name in order if name in lines]
    fitting = _fitting_recipe(given, rows)
    return "\n".join(["settings in force (* by default):", *said, *_origins(given), *fitting])


#: Pairs below which `few-rows` is the recipe of a sentence encoder: ten batches of the usual size.
_FEW = 640


def _fitting_recipe(given: TrainConfig, rows: Rows) -> list[str]:
    """The recipe to look at, where the defaults, which are BERT's, meet a sentence encoder.

    Only a folder that says how it pools can be trained without a pooling: a sentence encoder.
    """
    if rows.kind == "text" or not {given.origin(k) for k in ("pooling", "learning_rate")} <= {None}:
        return []
    name = "few-rows" if len(rows) < _FEW else "qa-pairs"
    return [
        f"  {'advice':<10} the defaults suit a masked language model; --recipe {name} holds what "
        "was measured for a sentence encoder and pairs"
    ]


def _data(rows: Rows, config: TrainConfig) -> str:
    columns = ", ".join(rows.columns)
    return f"{rows.source}: {len(rows):,} rows ({columns}), {_views(rows, config)}"


def _differs(dataset: DataSet) -> str:
    """What of a further data set is not as of the run."""
    given = flat(dataset.model_dump(mode="json")).items()
    own = [(key, value) for key, value in given if key not in ("data", "columns", "split")]
    said = ", ".join(f"{short_name(key)} {_text(value)}" for key, value in own)
    return said or "all as of the run"


def _views(rows: Rows, config: TrainConfig) -> str:
    """What a row is trained on, and against how many others."""
    hard = max(0, len(rows.columns) - 2)
    views = "each with its dropout twin" if rows.kind == "text" else "as given"
    lacks = any("" in column for column in list(rows.columns.values())[2:])
    most = f"{'up to ' if lacks else ''}{joint_batch(config) * (1 + hard) - 1:,}"
    queue = 0 if config.keys is None else getattr(config.keys.settings, "queue_length", 0)
    earlier = f" and up to {queue:,} keys of earlier ones" if queue else ""
    return f"{views}, against {most} negatives of the batch{earlier}"


def _judged(dev: DevSet, config: TrainConfig, steps: int) -> str:
    """What it is judged on, and what that costs where it is more than a tenth of the training."""
    every = config.eval_steps or steps
    times = 1 + sum(step >= config.eval_delay for step in range(every, steps, every)) + 1
    scored = times * len(dev)
    trained = steps * config.gradient_accumulation_steps * config.per_device_train_batch_size
    trained *= world_size()
    said = f"{dev.name}, {len(dev):,} pairs"
    if scored <= trained / 10:
        return said
    return (
        f"{said}; {times} evaluations score {scored:,} pairs, where {trained:,} rows are trained "
        "on (a larger eval_steps makes them fewer)"
    )


def _origins(given: TrainConfig) -> list[str]:
    """Which settings a recipe made, and which were set on top."""
    by: dict[str, list[str]] = {}
    for key in flat(given.model_dump(mode="json")):
        origin = given.origin(key)
        if origin:
            kind = origin if origin.startswith("recipe ") else origin.split()[0]
            by.setdefault(kind, []).append(short_name(key))
    if len(by) < 2:
        return []  # one origin: whatever bears no star
    return [f"  {kind}: {', '.join(keys)}" for kind, keys in by.items()]


def effective(config: TrainConfig, encoder: SentenceEncoder) -> dict[str, Any]:
    """Every setting's value, those too that were left to the model or to the machine."""
    values = flat(config.model_dump(mode="json"))
    values["pooling"] = encoder.pooling
    if values["dropout"] is None:
        values["dropout"] = "/".join(f"{rate:g}" for rate in sorted(encoder.dropout_rates()))
    if values["bf16"] is None:
        values["bf16"] = encoder.precision == "bf16" and not config.fp16
    return values


def on_the_card(
    config: TrainConfig, encoder: SentenceEncoder, told: Mapping[str, object]
) -> dict[str, object]:
    """What a model's card lists of its training: `told`, then every setting that shaped it."""
    values = effective(config, encoder)
    rare = set(Further.model_fields) - config.model_fields_set
    shaped = {
        short_name(key): _text(value)
        for key, value in values.items()
        if key not in _NOT_ON_THE_CARD
        and key not in rare
        and (root(key) == key or short_name(key) != key or config.origin(key) is not None)
    }
    return {key: str(value).replace("|", "\\|") for key, value in {**told, **shaped}.items()}


def _text(value: object) -> str:
    """As YAML writes it, but for lists and numbers."""
    if value is None or isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (dict, list)):
        return yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=1000).strip()
    return f"{value:g}" if isinstance(value, float) else str(value)
