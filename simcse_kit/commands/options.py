"""Arguments and options that several commands share: those that go together as a group.

A command takes a group as one keyword (``loading: ModelOptions``), for `grouped` to spell out.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from simcse_kit.commands.cache_options import Cache, CacheSize, with_cache
from simcse_kit.commands.collecting import collect_as_usual
from simcse_kit.commands.column_mapping import FileOptions
from simcse_kit.commands.console import check_outputs, note, write_json
from simcse_kit.commands.models import split_model
from simcse_kit.encoder import Pooling
from simcse_kit.errors import InputError, explain_settings

if TYPE_CHECKING:
    from simcse_kit.encoder import SentenceEncoder
    from simcse_kit.evaluation.sts import PairTask, Protocol


def known_models(given: Any) -> Any:
    """Raise InputError for a model that is nowhere, or whose own settings are no settings.

    Asked before the work, and of several models for each.
    """
    from simcse_kit.encoder import find_model

    several = [os.path.expanduser(each) for each in _listed(given)]
    for each in several:
        model, own = split_model(each)
        ModelOptions().with_own(each, own)
        if not Path(model).is_dir():  # a folder may hold the runs of several seeds
            find_model(model)
    return several[0] if isinstance(given, str) else several if given else given


def _listed(given: str | list[str] | None) -> list[str]:
    return [given] if isinstance(given, str) else list(given or [])


Model = Annotated[
    str,
    typer.Argument(
        help="A hub id, or a Hugging Face or sentence-transformers folder; "
        "with settings of its own: MODEL@pooling=mean.",
        callback=known_models,
    ),
]
PoolingOption = Annotated[
    Pooling | None,
    typer.Option(help="How token states become one vector. Default: the model's pooling file."),
]
Prompt = Annotated[
    str | None,
    typer.Option(metavar="TEXT", help="Put before every text, as the model was trained with."),
]
PromptName = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="The prompt that the model's folder has under this name."),
]
Template = Annotated[
    str | None,
    typer.Option(
        metavar="TEXT",
        help="Put around every text: {} the text, [MASK] the mask token. '': the model's own goes.",
    ),
]
TrustRemoteCode = Annotated[
    bool,
    typer.Option("--trust-remote-code", help="Run the code that a model's folder brings."),
]
Labels = Annotated[
    list[str] | None,
    typer.Option("--label", help="What to call a model, in the models' order (repeatable)."),
]
Pairwise = Annotated[
    bool, typer.Option("--pairwise", help="Compare all pairs of the models, not each with one.")
]
DataDir = Annotated[
    Path | None,
    typer.Option(help="Folder in SentEval's layout. Default: the hub (STS sets only)."),
]
Tasks = Annotated[
    str | None,
    typer.Option(help="Comma-separated: STS12…STS16, STSB, SICKR, SICKR-MTEB, or your own files."),
]
Draws = Annotated[int, typer.Option(min=100, help="Bootstrap resamples for the intervals.")]
Json = Annotated[
    str | None, typer.Option("--json", metavar="FILE", help="Write the figures; - is stdout.")
]
Plots = Annotated[Path | None, typer.Option(metavar="DIR", help="Write pictures (PNG) there.")]


@dataclass(frozen=True)
class ModelOptions:
    """How models are loaded."""

    precision: Annotated[
        Literal["auto", "fp32", "bf16"],
        typer.Option(help="auto is bf16 where the hardware multiplies it natively."),
    ] = "auto"
    backend: Annotated[
        Literal["torch", "onnx", "openvino"] | None,
        typer.Option(
            help="What computes; onnx and openvino want an `export` in the folder. Default: torch;"
            " of a corpus, what embedded it."
        ),
    ] = None
    pooling: PoolingOption = None
    head: Annotated[
        Literal["none", "keep"] | None,
        typer.Option(
            help="Drop the model's dense head, or keep a SimCSE checkpoint's pooler as head."
        ),
    ] = None
    max_length: Annotated[int | None, typer.Option(help="Tokens a text is cut to.")] = None
    prompt: Prompt = None
    prompt_name: PromptName = None
    template: Template = None
    trust_remote_code: TrustRemoteCode = False
    cache: Cache = None
    cache_size: CacheSize = "2GB"

    def load(self, model: str, *, alone: bool = True) -> SentenceEncoder:
        """A model loaded so, but for the settings that were written behind it (`split_model`).

        Args:
            alone: whether it is the command's only model. Of several, some bring a pooling of
                their own, and the option is for the others.
        """
        from simcse_kit.encoder import SentenceEncoder

        collect_as_usual()
        name, own = split_model(model)
        chosen = self.with_own(model, own)
        forced = alone or "pooling" in own
        encoder = SentenceEncoder.from_pretrained(
            name,
            precision=chosen.precision,
            backend=chosen.backend or "torch",
            pooling=chosen.pooling if forced else None,
            default_pooling=None if forced else chosen.pooling,
            head=chosen.head,
            max_length=chosen.max_length,
            trust_remote_code=chosen.trust_remote_code,
        )
        try:
            encoder.use_prompts(**chosen.prompts(), **self.document_prompts())
            if chosen.template is not None:
                encoder.use_template(chosen.template)
        except InputError as error:
            said = f"{model}: {error.command_line}"
            raise InputError(said) from error
        if chosen.pooling not in (None, encoder.pooling):
            note(
                f"{model} keeps its own pooling, {encoder.pooling}; "
                f"{name}@pooling={chosen.pooling} would change it"
            )
        return with_cache(encoder, self.cache, self.cache_size)

    def prompts(self) -> dict[str, str | None]:
        """What to put before texts, as keywords for `SentenceEncoder.use_prompts`."""
        return {"prompt": self.prompt, "prompt_name": self.prompt_name}

    def document_prompts(self) -> dict[str, str | None]:
        """The same for documents, where there are queries and documents."""
        return {}

    def with_own(self, model: str, own: Mapping[str, str]) -> ModelOptions:
        """These options with the model's own instead, checked as the command line checks them."""
        if not own:
            return self
        from pydantic import TypeAdapter, ValidationError

        given = {field.name: getattr(self, field.name) for field in fields(ModelOptions)}
        if "prompt" in own or "prompt_name" in own:  # either goes before both
            given |= {"prompt": None, "prompt_name": None}
        try:
            return TypeAdapter(ModelOptions).validate_python(given | dict(own))
        except ValidationError as error:
            raise InputError(f"{model}: {explain_settings(error)}") from error


@dataclass(frozen=True)
class SidesOptions(ModelOptions):
    """The same where there are queries, which --prompt is for, and documents."""

    document_prompt: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="Put before documents; --prompt is before queries."),
    ] = None
    document_prompt_name: Annotated[
        str | None,
        typer.Option(metavar="NAME", help="By name. Default: the folder's document prompt."),
    ] = None

    def document_prompts(self) -> dict[str, str | None]:
        """As keywords for `SentenceEncoder.use_prompts`."""
        return {
            "document_prompt": self.document_prompt,
            "document_prompt_name": self.document_prompt_name,
        }


@dataclass(frozen=True)
class Output:
    """Where figures go: a table on stdout, and a file of JSON or JSON on stdout instead."""

    json_file: Json = None
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the table as Markdown.")] = (
        False
    )

    def check(self, plots: Path | None = None) -> None:
        """Raise InputError for places that cannot be written, before the work."""
        check_outputs(self.json_file, plots)

    def write(self, figures: object) -> None:
        """Write the figures as JSON where that was asked for."""
        if self.json_file is not None:
            write_json(figures, self.json_file)

    @property
    def has_table(self) -> bool:
        """Whether stdout is for the table, and not for JSON."""
        return self.json_file != "-"


@dataclass(frozen=True)
class STSOptions(FileOptions):
    """Which STS tasks, and by which protocol; how your own files among them are read."""

    data_dir: DataDir = None
    tasks: Tasks = None
    protocol: Annotated[
        Literal["senteval-all", "mean", "wmean", "mteb"],  # `protocols.ProtocolName`, without numpy
        typer.Option(
            help="What the figures are: a year's subsets as one, their (weighted) mean, or MTEB's."
        ),
    ] = "senteval-all"

    def read(self) -> tuple[list[PairTask], Protocol]:
        """The tasks that were named, the protocol's suite by default, and the protocol."""
        from simcse_kit.evaluation.sts import load_tasks
        from simcse_kit.evaluation.sts import protocol as by_name

        named = by_name(self.protocol)
        mapping = self.mapping(ours=("sentence1", "sentence2", "score"))
        names = listed(self.tasks) or named.suite
        return load_tasks(self.data_dir, names, columns=mapping, **self.keywords()), named


@dataclass(frozen=True)
class Resampling:
    """How intervals are made."""

    draws: Draws = 10_000
    clustered: Annotated[
        bool | None,
        typer.Option(
            "--clustered/--no-clustered",
            help="Take pairs that share a sentence together, not for independent. Default: where"
            " there are such pairs.",
        ),
    ] = None

    def given(self) -> dict[str, Any]:
        """As keywords for what makes intervals."""
        return {"draws": self.draws, "clustered": self.clustered}


@dataclass(frozen=True)
class Judging(Resampling, STSOptions):
    """STS tasks, and what is shown beside their scores."""

    no_intervals: Annotated[bool, typer.Option("--no-intervals", help="The figures alone.")] = False
    published: Annotated[
        Literal["near", "all", "none"],
        typer.Option(help="Published figures of the protocol beside: of like encoders, or all."),
    ] = "near"


def listed(names: str | None) -> list[str]:
    """``"STS12, STSB"`` as its names; [] for None."""
    return [] if names is None else [name.strip() for name in names.split(",")]
