"""A run's folder: whether it can be used, what is written into it as it goes, how it ended."""

from __future__ import annotations

import contextlib
import json
import logging
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from simcse_kit.data import alone, disk_errors, leftovers, replacing
from simcse_kit.errors import InputError
from simcse_kit.evaluation import provenance
from simcse_kit.training.distributed import from_main, is_main, wait_for_all
from simcse_kit.training.runs import overwriting
from simcse_kit.training.runs.checkpoints import clear_aside, newest_whole
from simcse_kit.training.settings.config import TrainConfig

logger = logging.getLogger(__name__)

CONFIG_FILE = "train_config.yaml"
HISTORY_FILE = "history.jsonl"
RUN_FILE = "run.json"
LAST = "last"  # the last step's model; the folder itself is the chosen one


@dataclass(frozen=True)
class Ended:
    """How a run ended, as its folder tells.

    Attributes:
        step, of: the last step, and how many there were to be.
        best_step, best_score: of the dev set, or None without one.
        dev: what that score is, for instance "STSB-dev Spearman", or None.
        stopped: why it ended before its last step, or None.
    """

    step: int
    of: int
    best_step: int | None
    best_score: float | None
    dev: str | None
    stopped: str | None


def can_go_on(folder: Path) -> bool:
    """Whether a folder holds a run that has a whole checkpoint, or has ended."""
    return read_ended(folder) is not None or newest_whole(folder)[0] is not None


def check_folder(folder: Path, *, overwrite: bool) -> None:
    """InputError where a folder cannot be that of a new run."""
    filled = folder.is_dir() and set(folder.iterdir()) - set(leftovers(folder))
    if filled and not overwrite:
        raise InputError(
            f"output folder {str(folder)!r} is not empty; give a new one, or --resume or "
            "--overwrite the run in it"
        )
    places = [folder, overwriting.where_kept(folder) or folder]
    if filled and not any((place / CONFIG_FILE).is_file() for place in places):
        raise InputError(
            f"output folder {str(folder)!r} holds no earlier run ({CONFIG_FILE} is missing), so it "
            "is not overwritten; give a new folder"
        )


def take_checkpoint(folder: Path) -> Path:
    """The checkpoint to go on from: the newest whole one.

    Says which later ones it passes over. Raises InputError where there is nothing to go on from.
    """
    found = from_main(lambda: dict(zip(("newest", "passed"), _newest(folder), strict=True)))
    if found["newest"] is None:
        if found["passed"]:
            raise InputError(
                f"nothing to resume: no checkpoint in {str(folder)!r} is whole: "
                f"{', '.join(found['passed'])}; train again with --overwrite"
            )
        if (ended := read_ended(folder)) is not None:
            raise InputError(
                f"nothing to resume from: the run in {str(folder)!r} ended at step {ended.step}, "
                "and its checkpoints are gone; train again from its last/ into a new folder"
            )
        raise InputError(
            f"nothing to resume: {str(folder)!r} holds no checkpoint{hint_at_kept(folder)}"
        )
    if found["passed"] and is_main():
        logger.warning(
            "going on from %s; passed over: %s", found["newest"], ", ".join(found["passed"])
        )
    return folder / str(found["newest"])


def hint_at_kept(folder: Path) -> str:
    """For the end of a complaint: where the run is that was to be replaced, if there is one."""
    kept = overwriting.where_kept(folder)
    return "" if kept is None else f"; the run that was to be replaced is in {str(kept)!r}"


def _newest(folder: Path) -> tuple[str | None, list[str]]:
    found, passed = newest_whole(folder)
    return None if found is None else found.name, passed


@contextlib.contextmanager
def prepared(
    folder: Path,
    config: TrainConfig,
    began: dict[str, Any],
    *,
    checkpoint: Path | None,
    resume: bool,
    overwrite: bool,
) -> Iterator[None]:
    """The run's folder with its settings; gone again where the run fails before it leaves anything.

    It is this run's alone meanwhile; InputError where another trains in it. One that is overwritten
    is kept aside, and takes its place again where this leaves nothing.

    Args:
        began: what the settings do not hold, for a report: the model and the data it began with.
        checkpoint: that it goes on from, if any.
    """
    wait_for_all()  # until every rank has checked the folder as it was
    if not is_main():
        wait_for_all()
        yield
        return
    with held_alone(folder):
        # another may have begun, or gone on, since it was looked at
        if not resume:
            check_folder(folder, overwrite=overwrite)
        elif checkpoint is not None and _newest(folder)[0] != checkpoint.name:
            raise InputError(
                f"another run has gone on in {str(folder)!r} meanwhile; give the command again"
            )
        with _written(folder, config, began, resume=resume, overwrite=overwrite):
            yield


@contextlib.contextmanager
def held_alone(folder: Path) -> Iterator[None]:
    """Have a folder of a run, of seeds or of a trial alone: by a lock beside it.

    Without one where none can be made there, as beside a mounted folder.

    Raises:
        InputError: another has it.
    """
    made = [each for each in folder.resolve().parents if not each.exists()]
    with contextlib.ExitStack() as held:
        for each in reversed(made):  # the nearest goes first, where nothing was written
            held.callback(_remove_empty, each)
        try:
            held.enter_context(alone(folder.resolve(), waits=False))
        except BlockingIOError:
            raise InputError(
                f"another run trains in {str(folder)!r}; wait until it is done, or give a new one"
            ) from None
        except OSError as error:
            logger.debug("no lock beside %s: %s", folder, error)
        yield


def _remove_empty(folder: Path) -> None:
    with contextlib.suppress(OSError):
        folder.rmdir()


@contextlib.contextmanager
def _written(
    folder: Path, config: TrainConfig, began: dict[str, Any], *, resume: bool, overwrite: bool
) -> Iterator[None]:
    """`prepared`, on the rank that writes."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if overwrite and overwriting.set_aside(folder):
            kept = folder / overwriting.REPLACED
            logger.info("the run that is replaced stays in %s until there is a new model", kept)
        clear_aside(folder)
        for path in leftovers(folder):
            path.unlink()
        settings = config.model_dump(mode="json")
        with replacing(folder / CONFIG_FILE) as aside:
            aside.write_text(yaml.safe_dump(settings, sort_keys=False), encoding="utf-8")
        made = {"made": provenance(Path(sys.argv[0]).name)}
        best = {"best": found} if resume and (found := read_run(folder).get("best")) else {}
        _write_run(folder, began | made | best)
    except OSError as error:
        raise InputError(f"cannot write to output folder {str(folder)!r}: {error}") from error
    wait_for_all()
    try:
        yield
    except BaseException as error:
        checkpoints, chosen = any(folder.glob("checkpoint-*")), read_best(folder)
        left = checkpoints or (folder / "modules.json").is_file()
        untrained = not checkpoints and chosen is not None and chosen[0] == 0
        if (folder / overwriting.REPLACED).is_dir() and (untrained or not left):
            overwriting.bring_back(folder)
        elif isinstance(error, Exception) and not (
            resume or left or (folder / HISTORY_FILE).is_file()
        ):
            _remove(folder)
        raise


def _remove(folder: Path) -> None:
    """Remove a folder; where its name is a link, what is in the folder that this leads to."""
    if not folder.is_symlink():
        shutil.rmtree(folder)
        return
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _write_run(folder: Path, told: dict[str, Any]) -> None:
    with replacing(folder / RUN_FILE) as aside:
        aside.write_text(json.dumps(told, indent=2) + "\n", encoding="utf-8")


def read_run(folder: Path) -> dict[str, Any]:
    """What the run's file holds; nothing where there is none, or something else."""
    try:
        told = json.loads((folder / RUN_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return told if isinstance(told, dict) else {}


def note_end(folder: Path, ended: Ended) -> None:
    """Write down that the run in this folder has ended, and how."""
    _write_run(folder, read_run(folder) | {"ended": asdict(ended)})


def note_best(folder: Path, step: int, score: float) -> None:
    """Write down of which step the folder holds the model, and its score on the dev set."""
    _write_run(folder, read_run(folder) | {"best": {"step": step, "score": score}})


def read_best(folder: Path) -> tuple[int, float] | None:
    """The step and the score that `note_best` wrote; None without any."""
    found = read_run(folder).get("best")
    return (found["step"], found["score"]) if isinstance(found, dict) else None


def check_judge(folder: Path, judge: str | None, config: TrainConfig) -> None:
    """Raise InputError where a run that is to go on would choose its step on other pairs.

    A figure of one dev set is not better or worse than that of another, and what another
    `eval_split` holds out was trained on. Scored pairs may be added to a run that had none.

    Args:
        judge: as of `began_as`.
    """
    had, asked = read_run(folder).get("judge"), config.eval_split is not None
    if judge == had or (had is None and not (asked or split_of(folder) is not None)):
        return
    if had is None and asked and split_of(folder) == (config.eval_split, config.eval_split_seed):
        return  # a run of an older version
    raise InputError(
        f"the run in {str(folder)!r} has chosen its step so far on another dev set, or had none: "
        "--resume goes on with the same --eval-data or eval_split; give these, or a new output "
        "folder"
    )


def split_of(folder: Path) -> tuple[float, int] | None:
    """What a run held out of its rows, as its settings tell: `eval_split` and its seed."""
    try:
        stored = yaml.safe_load((folder / CONFIG_FILE).read_text(encoding="utf-8"))
        split = stored["eval_split"]
        return None if split is None else (split, stored["eval_split_seed"])
    except (OSError, yaml.YAMLError, KeyError, TypeError):
        return None


def read_ended(folder: Path) -> Ended | None:
    """How the run in a folder ended; None where it did not, or what it left is not all there."""
    models = [folder / "modules.json", folder / LAST / "modules.json"]
    try:
        told = json.loads((folder / RUN_FILE).read_text(encoding="utf-8"))["ended"]
        return Ended(**told) if all(path.is_file() for path in models) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None  # of an older version, or interrupted


# ---- the history --------------------------------------------------------------------------------


class LiveHistory(TrainerCallback):
    """Writes ``history.jsonl`` as it happens, an entry of the log a line.

    A run that is resumed keeps the entries up to its checkpoint: those of later steps, which are
    trained again, come again.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / HISTORY_FILE

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        if state.is_world_process_zero and (state.log_history or self.path.is_file()):
            write_history(self.path.parent, state.log_history)

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any
    ) -> None:
        if state.is_world_process_zero:
            with disk_errors(self.path), self.path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(state.log_history[-1]) + "\n")


def write_history(folder: Path, history: Sequence[dict[str, Any]]) -> None:
    """Put these entries in place of whatever the history held."""
    with replacing(folder / HISTORY_FILE) as aside:
        text = "".join(json.dumps(entry) + "\n" for entry in history)
        aside.write_text(text, encoding="utf-8")


def read_history(folder: Path) -> list[dict[str, Any]]:
    """The entries of the history; [] where there is none. A line that a kill cut off is none."""
    path = folder / HISTORY_FILE
    text = path.read_text(encoding="utf-8") if path.is_file() else ""
    return [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


# ---- what it takes up ---------------------------------------------------------------------------


def what_may_go(folder: Path) -> list[str]:
    """A line on each part beside the model itself: what it is for, its size, whether it may go."""
    last, checkpoints = folder / LAST, sorted(folder.glob("checkpoint-*"))
    lines = []
    if last.is_dir():
        lines.append(f"{last.name}/ is the model after the last step ({_megabytes(last)})")
    if checkpoints:
        names = ", ".join(path.name for path in checkpoints)
        lines.append(f"{names} serves --resume alone and may go ({_megabytes(*checkpoints)})")
    return lines


def _megabytes(*folders: Path) -> str:
    """What they take up; a file that another folder shares would free nothing."""
    files = [file.stat() for one in folders for file in one.rglob("*") if file.is_file()]
    return f"{sum(each.st_size for each in files if each.st_nlink == 1) / 1e6:,.0f} MB"
