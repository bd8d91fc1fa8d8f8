"""The folder of an adaptation: what was asked, what is finished, and one run in it at a time."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from simcse_kit.corpus import run_lock
from simcse_kit.data import add_texts, at_home, check_can_make, leftovers, write_json
from simcse_kit.errors import InputError
from simcse_kit.evaluation.mining import Rules
from simcse_kit.training.runs.folder import can_go_on, check_folder
from simcse_kit.training.settings.config import TrainConfig

#: What the folder holds: what was asked and came of it, pairs, with their negatives, the model.
FILE, PAIRS, MINED, MODEL = "adapt.json", "pairs.parquet", "negatives.parquet", "model"


def asked_of(
    model: str | Path,
    texts: Sequence[str],
    config: TrainConfig,
    making: Mapping[str, Any],
    rules: Rules | None,
) -> dict[str, Any]:
    """What pairs and negatives depend on; what training does is told by its own folder."""
    digest = hashlib.sha256()
    add_texts(digest, texts)
    changed = {"head": config.model_head, "template": config.template}
    return {
        "model": str(model),
        "pooling": config.pooling,
        "prompt": config.prompt,
        "prompt_name": config.prompt_name,
        "document_prompt": config.document_prompt,
        "documents": digest.hexdigest(),
        "seed": config.seed,
        "making": dict(making) | {"ways": list(making["ways"])},
        "rules": None if rules is None else asdict(rules),
    } | {name: value for name, value in changed.items() if value is not None}


class AdaptingFolder:
    """A folder that is to be filled stage by stage, and gone on in.

    Attributes:
        path: where it is, or will be. own: the trained model's.
        told: ``asked``, and by the name of each finished stage what came of it.
    """

    def __init__(self, path: Path, asked: dict[str, Any]) -> None:
        self.path, self.own = path, path / MODEL
        self.told: dict[str, Any] = {"asked": asked}
        self._held = ExitStack()
        self._is_ours = False

    @contextmanager
    def opened(self, *, resume: bool) -> Iterator[None]:
        """Have the folder for this run alone, from `begin` on or, where it goes on, at once.

        Raises InputError where it is not to be filled, or gone on in, or another run has it.
        """
        check_can_make(self.path)
        with self._held:
            if resume:
                if not (self.path / FILE).is_file():
                    raise InputError(f"nothing to resume: {str(self.path)!r} holds no {FILE}")
                self._take()
                self.told = self._finished()
            else:
                self._check_empty()
            yield

    def begin(self) -> None:
        """Make the folder, unless it is gone on in; InputError where another run was faster."""
        self.path.mkdir(parents=True, exist_ok=True)
        if not self._is_ours:
            self._take()
            self._check_empty()
        self.keep()

    def keep(self, **finished: Any) -> None:
        """Note a stage that is finished."""
        self.told |= finished
        write_json(self.path / FILE, self.told)

    def check_own(self) -> None:
        """InputError where the model's folder holds no run, which is not overwritten."""
        try:
            check_folder(self.own, overwrite=True)
        except InputError:
            raise InputError(
                f"{str(self.own)!r} holds no run, but other files; remove it, and --resume goes on "
                "with what is made already"
            ) from None

    def _take(self) -> None:
        self._held.enter_context(run_lock.alone(self.path))
        self._is_ours = True

    def _check_empty(self) -> None:
        if not self.path.is_dir():
            return
        ours = run_lock.lock_files(self.path).union(leftovers(self.path))
        if set(self.path.iterdir()) - ours:
            begun = "; go on with it by --resume" if (self.path / FILE).is_file() else ""
            raise InputError(
                f"output folder {str(self.path)!r} is not empty{begun}; give a new one"
            )

    def _finished(self) -> dict[str, Any]:
        """What is finished, without what a kill left; InputError where other things were asked."""
        path, asked = self.path / FILE, self.told["asked"]
        try:
            told = json.loads(path.read_text(encoding="utf-8"))
            parts = (
                told["asked"],
                told.get("pairs", {"by_way": {}})["by_way"],
                told.get("mined", {}),
            )
            before, *_ = map(dict, parts)
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{path} is damaged ({type(error).__name__}); give a new folder"
            ) from None
        others = before.get("rules") != asked["rules"] and not can_go_on(self.own)
        if others:  # of hard negatives, and nothing is trained on those that were mined
            before["rules"] = asked["rules"]
            told.pop("mined", None)
        self._check_same(before)
        for left in leftovers(self.path):  # of files that a kill left half-written
            left.unlink(missing_ok=True)
        there = {"pairs": PAIRS, "mined": MINED}
        kept = {
            name: told[name]
            for name, file in there.items()
            if name in told and (self.path / file).is_file()
        }
        if "mined" in kept and "weights" in told:
            kept["weights"] = told["weights"]
        kept = {"asked": asked, **kept}
        if others:
            write_json(path, kept)
        return kept

    def _check_same(self, before: Mapping[str, Any]) -> None:
        for key, value in self.told["asked"].items():
            if before.get(key) == value:
                continue
            if key == "model" and _place(before.get(key)) == _place(value):
                continue
            names = {
                "documents": "other documents",
                "making": "pairs made otherwise",
                "rules": "other rules of what a hard negative is",
            }
            told_as = names.get(key, f"{key} {before.get(key)}, not {value}")
            raise InputError(
                f"{str(self.path)!r} was begun with {told_as}; go on with the same, or give a new"
                " folder"
            )


def _place(model: object) -> object:
    """A folder, however it is written; the name of another model as it is."""
    return path.resolve() if (path := at_home(str(model))).is_dir() else model
