"""What ``train`` and ``trial`` ask alike: settings, the dev set, prompts."""

from __future__ import annotations

import os
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from simcse_kit.commands.column_mapping import FileOptions, column_called, column_mapping
from simcse_kit.commands.models import split_model
from simcse_kit.commands.options import (
    PoolingOption,
    Prompt,
    PromptName,
    TrustRemoteCode,
    known_models,
)
from simcse_kit.errors import InputError
from simcse_kit.training import TrainConfig, build_config

if TYPE_CHECKING:
    from simcse_kit.data import Rows
    from simcse_kit.evaluation.sts import PairTask

StartModel = Annotated[
    str,
    typer.Option(
        "--model",
        help="The encoder to start from: a hub id or a local folder. MODEL@head=keep takes "
        "the pooler of a SimCSE checkpoint as its head.",
        callback=known_models,
    ),
]
TrainData = Annotated[
    str,
    typer.Option(
        "--data", help="Texts or pairs: .txt .csv .tsv .jsonl .parquet (.gz too), or a hub id."
    ),
]


@dataclass(frozen=True)
class TrainingOptions:
    """Settings, what chooses the best step, and what goes before texts."""

    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Change a setting.")
    ] = None
    eval_data: Annotated[
        Path | None,
        typer.Option(help="Dev set to choose the best step on: an STS folder or scored pairs."),
    ] = None
    eval_columns: Annotated[
        list[str] | None,
        typer.Option("--eval-column", metavar="OURS=THEIRS", help="The same of the dev set."),
    ] = None
    eval_split: Annotated[
        float | None,
        typer.Option(
            help="Hold out this share (or number) of the pairs as dev set: recall@1 chooses."
        ),
    ] = None
    pooling: PoolingOption = None
    prompt: Prompt = None
    prompt_name: PromptName = None
    document_prompt: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="Of pairs, put before positives and negatives instead."),
    ] = None
    trust_remote_code: TrustRemoteCode = False

    def config(self, recipe: str | None, model: str) -> TrainConfig:
        """The settings of a recipe with these on top, and those written behind the model."""
        options: dict[str, object] = {
            "pooling": self.pooling,
            "prompt": self.prompt,
            "prompt_name": self.prompt_name,
            "document_prompt": self.document_prompt,
            "trust_remote_code": self.trust_remote_code or None,
            "eval_split": self.eval_split,
        }
        return build_config(recipe, self.settings or [], options | _own_settings(model))

    def dev_set(self, reading: FileOptions) -> PairTask | None:
        """The scored pairs that were named."""
        return None if self.eval_data is None else self._scored(self.eval_data, reading)

    def _scored(self, path: Path, reading: FileOptions) -> PairTask:
        from simcse_kit.evaluation.sts import load_stsb, load_tasks

        if path.is_dir() or not path.exists():
            return load_stsb(path, "dev")
        mapping = column_mapping(self.eval_columns, ours=("sentence1", "sentence2", "score"))
        with column_called("--eval-column"):
            return load_tasks(None, [str(path)], columns=mapping, header=reading.header)[0]


def _own_settings(model: str) -> dict[str, str]:
    """The settings of the training that were written behind a model's name."""
    _, own = split_model(model)
    for key in ("max_length", "precision"):
        if key in own:
            setting = "max_length=64" if key == "max_length" else "bf16=false"
            raise InputError(f"{model}: of a training, {key} is a setting, as in --set {setting}")
    if "backend" in own:
        raise InputError(f"{model}: training computes with torch; leave backend out")
    if "head" in own:  # `head` is another thing in training
        own["model_head"] = own.pop("head")
    return own


def rows_of(data: str, reading: FileOptions, config: TrainConfig) -> str | Rows:
    """The training data: read here where options say how, else by who trains on them."""
    from simcse_kit.training.rows.training_set import rows_of as opened

    if not reading.given_of_files():
        return data
    return opened(data, config, columns=reading.mapping(), **reading.keywords())


def typed_again() -> str:
    """The command as it was typed, to which --resume or --overwrite is added."""
    words = [word for word in sys.argv[1:] if word not in ("--resume", "--overwrite")]
    ranks = os.environ.get("LOCAL_WORLD_SIZE", "1")
    launcher = [] if ranks == "1" else ["torchrun", "--nproc_per_node", ranks, "--no-python"]
    return shlex.join([*launcher, "simcse-kit", *words])
