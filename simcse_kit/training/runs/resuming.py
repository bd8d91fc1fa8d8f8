"""What a run that goes on may change, and what must be as it was begun.

A checkpoint's optimizer, schedule and place in the data are those of one model, one list of rows
and one set of settings: with others the run would be of neither. So they are compared, by content
where a name says little.
"""

from __future__ import annotations

import dataclasses
import hashlib
import logging
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml
from transformers import get_scheduler

from simcse_kit.data import Rows, at_home
from simcse_kit.encoder import SentenceEncoder, architecture_of, weights_of
from simcse_kit.errors import InputError
from simcse_kit.evaluation import short
from simcse_kit.parts import find_part
from simcse_kit.training.distributed import world_size
from simcse_kit.training.runs.folder import CONFIG_FILE, hint_at_kept, read_run
from simcse_kit.training.settings.config import TrainConfig
from simcse_kit.training.settings.dotted import PARTS, flat, short_name
from simcse_kit.training.settings.methods import files_of

logger = logging.getLogger(__name__)

# What changes neither a step nor a choice: saving, logging, trackers, this machine.
_FREE = {
    *("save_steps", "save_total_limit", "profile", "report_to", "run_name", "project"),
    *("push_to_hub", "cache_dir", "dataloader_num_workers", "disable_tqdm"),
}
_FREE_KINDS = ("logging_", "log_", "hub_", "trackio_")
# How long it goes on: more steps, or no longer stopped where it was.
_LENGTH = {"max_steps", "num_train_epochs", "early_stopping_patience", "collapse"}

Differences = dict[str, tuple[Any, Any]]


def began_as(
    encoder: SentenceEncoder, given: object, rows: Sequence[Rows], judge: str | None, steps: int
) -> dict[str, Any]:
    """What a run's file tells of its beginning: no folders of this machine but the model's.

    Args:
        encoder: before its first step.
        given: what the run was given as model; of an encoder the weights may be trained already.
        rows: all that were given, of each data set.
        judge: the dev set's key (`simcse_kit.training.dev.DevSet`), or None without one.
        steps: how many there are to be.
    """
    told = {
        "model": encoder.name,
        "architecture": architecture_of(encoder),
        "weights": None if isinstance(given, SentenceEncoder) else weights_of(encoder),
        **_told_of(rows[0]),
        "ranks": world_size(),
        "computed": f"in {encoder.precision} on {encoder.device.type}",
        "steps": steps,
    }
    further = {"datasets": [_told_of(each) for each in rows[1:]]} if rows[1:] else {}
    return told | further | ({} if judge is None else {"judge": judge})


def _told_of(rows: Rows) -> dict[str, Any]:
    """What a run's file tells of a data set."""
    return {"data": short(rows.source), "rows": len(rows), "content": rows.content()}


def files_told(config: TrainConfig) -> dict[str, list[str]]:
    """What a run's file tells of the files that parts read, such as a lexicon: equal for equal
    bytes. One that cannot be read is for its part to refuse.
    """
    digests = []
    for path in files_of(config):
        try:
            with at_home(path).open("rb") as file:
                digests.append(hashlib.file_digest(file, "sha256").hexdigest()[:32])
        except OSError:
            digests.append("")
    return {"files": digests} if digests else {}


@dataclass(frozen=True)
class Begun:
    """How the run in a folder was begun.

    Attributes:
        settings: as its ``train_config.yaml`` has them.
        told: what `began_as` gave; less of a run of an older version.
    """

    folder: Path
    settings: Mapping[str, Any]
    told: Mapping[str, Any]

    @classmethod
    def read(cls, folder: Path) -> Begun:
        """InputError where the folder no longer tells."""
        path = folder / CONFIG_FILE
        try:
            settings = yaml.safe_load(path.read_text(encoding="utf-8"))
            return cls(folder, dict(settings), read_run(folder))
        except (OSError, yaml.YAMLError, TypeError, ValueError) as error:
            raise InputError(
                f"nothing to resume: {path}, which tells the run's settings, is missing or damaged;"
                f" train again into a new folder{hint_at_kept(folder)}"
            ) from error

    def cadence(self, config: TrainConfig) -> TrainConfig:
        """With the run's own steps between evaluations and checkpoints where none are set."""
        own = {
            key: self.settings[key]
            for key in ("eval_steps", "save_steps")
            if getattr(config, key) is None and self.settings.get(key) is not None
        }
        return config.model_copy(update=own)

    def changes(self, config: TrainConfig, steps: int) -> Differences:
        """The settings that are to change, and may; InputError for those that may not."""
        found = differences(self.settings, _plain(config), free=True)
        had = self.told.get("steps", steps)
        if steps < had:
            key = "max_steps" if config.max_steps > 0 else "num_train_epochs"
            raise InputError(
                f"the run in {str(self.folder)!r} was begun with {had} steps (now {steps}, by "
                f"{key}): it can be made longer but not shorter; give as many, or a new folder"
            )
        self._refuse({k: each for k, each in found.items() if k not in _LENGTH and not _is_free(k)})
        return found

    def goes_further(self, config: TrainConfig, steps: int) -> bool:
        """Whether the run is to end later than it was to, or no longer where it was stopped."""
        found = set(differences(self.settings, _plain(config))) & _LENGTH
        return steps > self.told.get("steps", steps) or bool(
            found & {"early_stopping_patience", "collapse"}
        )

    def check_data(self, rows: Sequence[Rows]) -> None:
        """InputError where the rows are others, or divided among another number of ranks.

        Args:
            rows: of each data set; that others are named, the settings tell.
        """
        for told, own in zip([self.told, *self.told.get("datasets", [])], rows, strict=False):
            self._check_content(told, own)
        ranks = self.told.get("ranks", world_size())
        if ranks != world_size():
            self._refuse({"the number of ranks": (ranks, world_size())})

    def _check_content(self, told: Mapping[str, Any], rows: Rows) -> None:
        if "content" in told and told["content"] != rows.content():
            had, now = (f"{told['data']!r}", told["rows"]), (f"{short(rows.source)!r}", len(rows))
            if had == now:
                raise InputError(
                    f"the data {now[0]} have changed since the run in {str(self.folder)!r} was "
                    f"begun: {now[1]:,} rows as before, but not the same; --resume goes on with "
                    "the same rows, so restore them, or give a new output folder"
                )
            self._refuse({"data": tuple(f"{name} of {count:,} rows" for name, count in (had, now))})

    def same_name(self, model: object) -> bool:
        """Whether a model is named as the run's was, or lies where that lay."""
        name = model.name if isinstance(model, SentenceEncoder) else str(model)
        return same_model(self.told.get("model", name), name)

    def check_model(self, now: Mapping[str, Any], given: object) -> None:
        """InputError where the run was begun with another model; by another name it may come.

        Args:
            now: as `began_as` tells of the one that is given.
        """
        told, name = self.told, now["model"]
        alike = told.get("architecture", now["architecture"]) == now["architecture"]
        if None in (told.get("weights"), now["weights"]):
            alike &= self.same_name(given)
        else:
            alike &= told["weights"] == now["weights"]
        if alike:
            return
        if not self.same_name(given):
            self._refuse({"model": (told["model"], name)})
        raise InputError(
            f"model {name!r} has changed since the run in {str(self.folder)!r} was begun with it: "
            "weights or tokenizer are others; restore it, or give a new output folder"
        )

    def check_followed(
        self, configs: Sequence[TrainConfig], now: Sequence[Mapping[str, list[str]]]
    ) -> None:
        """InputError where a teacher, the guide or a part's file is another than it was, under the
        same name.

        Args:
            configs: of each data set.
            now: as `simcse_kit.training.rows.batches.Vectors` and `files_told` tell of theirs.
        """
        sets = [self.told, *self.told.get("datasets", [])]
        for told, config, own in zip(sets, configs, now, strict=False):
            self._check_followed(told, config, own)

    def _check_followed(
        self, told: Mapping[str, Any], config: TrainConfig, now: Mapping[str, list[str]]
    ) -> None:
        guide = [] if config.guide is None else [config.guide]
        named = {
            "teachers": [each.model for each in config.teachers],
            "guide": [each.model for each in guide],
            "files": [str(path) for path in files_of(config)],
        }
        for setting, keys in now.items():
            had = told.get(setting, keys)
            for name, before, after in zip(named[setting], had, keys, strict=False):
                if before != after:
                    raise InputError(
                        f"{setting}: {name!r} has changed since the run in "
                        f"{str(self.folder)!r} was begun with it; restore it, or give a new "
                        "output folder"
                    )

    def _refuse(self, found: Mapping[str, tuple[Any, ...]]) -> None:
        if found:
            raise InputError(
                f"the run in {str(self.folder)!r} was begun with {_listed(found)}: --resume goes "
                "on with the same, and may change how long, how it is saved and what is logged; "
                f"give what it was begun with (its settings: --recipe {self.folder / CONFIG_FILE}),"
                " or a new output folder"
            )

    def say(
        self, changed: Differences, now: Mapping[str, Any], config: TrainConfig, at: int
    ) -> None:
        """Log what changes, and what the schedule then is.

        Args:
            now: as `began_as` tells of the run that goes on.
            at: the step that it goes on from.
        """
        steps = now["steps"]
        if now["computed"] != self.told.get("computed", now["computed"]):
            logger.warning(
                "the run was computed %s and goes on %s: its weights will not be exactly those of "
                "a run on one machine",
                *(self.told["computed"], now["computed"]),
            )
        if changed:
            said = (
                f"{short_name(key)} {_text(now)} (had {_text(had)})"
                for key, (had, now) in changed.items()
            )
            logger.info("the run goes on with %s", ", ".join(said))
        had = self.told.get("steps", steps)
        if steps == had:
            return
        before, after = (_rate(config, total, at) for total in (had, steps))
        rates = "" if before is None else f": {after:.3g} at step {at}, not {before:.3g}"
        logger.info(
            "it has %d steps, not %d: learning_rate (%s) now follows the schedule of %d steps%s",
            *(steps, had, config.lr_scheduler_type, steps, rates),
        )


def same_model(one: str, other: str) -> bool:
    """Whether two names are of one model: alike, or of one folder."""
    places = [at_home(name) for name in (one, other)]
    return one == other or (
        all(place.exists() for place in places) and places[0].samefile(places[1])
    )


def differences(
    had: Mapping[str, Any], now: Mapping[str, Any], *, free: bool = False
) -> Differences:
    """The settings that differ, each with both values.

    Args:
        had, now: what a run was begun with, and is to go on with; one that is absent has its
            default.
        free: those too that change nothing learnt.
    """
    found = {}
    had, now = flat(had), flat(now)
    for key in dict.fromkeys([*now, *had]):
        if key == "cache_dir" or (_is_free(key) and not free):
            continue
        before, after = (each[key] if key in each else _default(key, each) for each in (had, now))
        if before != after:
            found[key] = (before, after)
    return found


def _is_free(key: str) -> bool:
    return key in _FREE or key.startswith(_FREE_KINDS)


def _default(key: str, settings: Mapping[str, Any]) -> Any:
    """What a setting is that is not among some others."""
    parts = TrainConfig.default_parts()
    if key in PARTS:
        return parts.get(key)
    outer, dot, name = key.partition(".")
    if dot and outer in PARTS:
        part = settings.get(outer, parts.get(outer))
        fields = {} if part is None else find_part(PARTS[outer], part).Settings.model_fields
        return fields[name].default if name in fields else None
    if key in TrainConfig.model_fields:
        return TrainConfig.model_fields[key].get_default(call_default_factory=True)
    from transformers import TrainingArguments

    theirs = {field.name: field for field in dataclasses.fields(TrainingArguments)}
    return theirs[key].default if key in theirs else None


def _plain(config: TrainConfig) -> dict[str, Any]:
    """As a run's folder tells it."""
    settings: dict[str, Any] = yaml.safe_load(yaml.safe_dump(config.model_dump(mode="json")))
    return settings


def _listed(found: Mapping[str, tuple[Any, ...]]) -> str:
    return ", ".join(
        f"{short_name(key)} {_text(before)} (now {_text(now)})"
        for key, (before, now) in found.items()
    )


def _text(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def _rate(config: TrainConfig, steps: int, at: int) -> float | None:
    """The learning rate of step `at` in a run of so many; None where a schedule looks at more."""
    warm = config.warmup_steps
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=config.learning_rate)
    schedule = get_scheduler(
        config.lr_scheduler_type,
        optimizer,
        num_warmup_steps=int(warm) if warm >= 1 else math.ceil(warm * steps),
        num_training_steps=steps,
        scheduler_specific_kwargs=getattr(config, "lr_scheduler_kwargs", None),
    )
    factors = getattr(schedule, "lr_lambdas", None)
    return None if factors is None else config.learning_rate * float(factors[0](at))
