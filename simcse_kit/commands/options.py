"""Arguments and options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from simcse_kit.encoder import Pooling

if TYPE_CHECKING:
    from simcse_kit.encoder import SentenceEncoder

Model = Annotated[
    str, typer.Argument(help="A hub id, or a Hugging Face or sentence-transformers folder.")
]
PoolingOption = Annotated[
    Pooling | None,
    typer.Option(help="How token states become one vector. Default: the model's pooling file."),
]
HeadOption = Annotated[
    Literal["none", "keep"] | None,
    typer.Option(help="Drop the model's dense head, or keep a SimCSE checkpoint's pooler as head."),
]
MaxLength = Annotated[int | None, typer.Option(help="Tokens a text is cut to.")]
Precision = Annotated[
    Literal["auto", "fp32", "bf16"],
    typer.Option(help="auto is bf16 where the hardware multiplies it natively."),
]
DataDir = Annotated[
    Path | None,
    typer.Option(help="Folder in SentEval's layout. Default: the hub (STS sets only)."),
]
Tasks = Annotated[
    str | None,
    typer.Option(help="Comma-separated: STS12…STS16, STSB, SICKR, SICKR-MTEB, or your own files."),
]
ProtocolOption = Annotated[
    Literal["senteval-all", "mean", "wmean", "mteb"],  # `protocols.ProtocolName`, without numpy
    typer.Option(
        "--protocol",
        help="What the figures are: a year's subsets as one, their (weighted) mean, or MTEB's.",
    ),
]
Draws = Annotated[int, typer.Option(min=100, help="Bootstrap resamples for the intervals.")]
Clustered = Annotated[
    bool,
    typer.Option("--clustered", help="Do not take pairs that share a sentence for independent."),
]
NoIntervals = Annotated[bool, typer.Option("--no-intervals", help="The figures alone.")]
PublishedOption = Annotated[
    Literal["near", "all", "none"],
    typer.Option(
        "--published", help="Published figures of the protocol beside: of like encoders, or all."
    ),
]
Json = Annotated[
    str | None, typer.Option("--json", metavar="FILE", help="Write the figures; - is stdout.")
]
Markdown = Annotated[bool, typer.Option("--markdown", help="Print the table as Markdown.")]
Plots = Annotated[Path | None, typer.Option(metavar="DIR", help="Write pictures (PNG) there.")]


def load_encoder(model: str, **options: Any) -> SentenceEncoder:
    """The model a command was given, with the options it was given."""
    from simcse_kit.encoder import SentenceEncoder

    return SentenceEncoder.from_pretrained(model, **options)
