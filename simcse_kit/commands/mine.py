"""``simcse-kit mine``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from simcse_kit.commands.column_mapping import FileOptions, column_called, column_mapping
from simcse_kit.commands.console import chatter_on_stderr, note, show_table
from simcse_kit.commands.grouping import grouped
from simcse_kit.commands.options import (
    Model,
    Output,
    SidesOptions,
    known_models,
)
from simcse_kit.errors import InputError

if TYPE_CHECKING:
    from simcse_kit.data import Rows
    from simcse_kit.evaluation.mining import Mined, Rules


@dataclass(frozen=True)
class RuleOptions:
    """What is a hard negative: `simcse_kit.evaluation.mining.Rules`, but the guide's margin."""

    num_negatives: Annotated[int, typer.Option(help="Taken of each anchor.")] = 3
    range_min: Annotated[
        int,
        typer.Option(
            "--range-min",
            "--rank-from",
            help="So many of the nearest that the other rules leave are passed over.",
        ),
    ] = 0
    range_max: Annotated[
        int | None,
        typer.Option(
            "--range-max",
            "--rank-to",
            help="Nearest candidates looked at. Default: 10 for each negative, after --range-min.",
        ),
    ] = None
    max_score: Annotated[float | None, typer.Option(help="Highest cosine with the anchor.")] = None
    min_score: Annotated[float | None, typer.Option(help="Lowest cosine with the anchor.")] = None
    absolute_margin: Annotated[
        float | None, typer.Option(help="At least so much below the positive's cosine.")
    ] = None
    relative_margin: Annotated[
        float | None,
        typer.Option(help="At least this share of the positive's cosine below it; 0.05 is usual."),
    ] = None
    sampling_strategy: Annotated[
        Literal["top", "random"], typer.Option(help="The nearest that are left, or any of them.")
    ] = "top"
    seed: Annotated[int, typer.Option(help="Of random ones.")] = 0

    def rules(self, guide_margin: float) -> Rules:
        """The rules; InputError where they leave nothing."""
        from simcse_kit.evaluation.mining import Rules

        return Rules(
            num_negatives=self.num_negatives,
            range_min=self.range_min,
            range_max=self.range_max,
            max_score=self.max_score,
            min_score=self.min_score,
            absolute_margin=self.absolute_margin,
            relative_margin=self.relative_margin,
            guide_margin=guide_margin,
            sampling_strategy=self.sampling_strategy,
            seed=self.seed,
        )


@grouped
def mine(
    model: Model,
    data: Annotated[
        str,
        typer.Argument(help="Anchors and positives: .csv .tsv .jsonl .parquet (.gz too), or hub."),
    ],
    output: Annotated[
        Path, typer.Option(metavar="FILE", help="To write: .parquet .jsonl .csv .tsv.")
    ],
    corpus: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Texts that are candidates beside the positives."),
    ] = None,
    corpus_columns: Annotated[
        list[str] | None,
        typer.Option("--corpus-column", metavar="[text=]THEIRS", help="Its column of texts."),
    ] = None,
    guide: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL",
            help="A second model: what it scores above its own score of the positive, less"
            " --guide-margin, is no negative.",
            callback=known_models,
        ),
    ] = None,
    guide_margin: Annotated[
        float | None, typer.Option(help="Of the guide's cosines. Default: 0.")
    ] = None,
    output_format: Annotated[
        Literal["n-tuple", "triplet", "list"],
        typer.Option(
            help="A row a pair with negative, negative_2… (pairs with fewer are left out); a row a"
            " negative; a row a pair with a list of what there is."
        ),
    ] = "n-tuple",
    index: Annotated[
        Literal["exact", "faiss"],
        typer.Option(help="faiss finds most of the nearest, sooner; needs simcse-kit[index]."),
    ] = "exact",
    *,
    rule: RuleOptions,
    reading: FileOptions,
    loading: SidesOptions,
    shown: Output,
) -> None:
    """Mine hard negatives for pairs, into a file that train reads.

    Near texts that are neither the anchor nor linked with it by any row. Interrupted, the same
    command goes on where it was: finished work lies in FILE.mining until the end.
    """
    shown.check()
    if guide is None and guide_margin is not None:
        raise InputError("--guide-margin is of a guide's cosines; name the guide with --guide")
    if corpus is None and corpus_columns:
        raise InputError("--corpus-column is of the columns of --corpus FILE; give it, too")
    with chatter_on_stderr():
        from simcse_kit.evaluation.mining import (
            check_apart,
            check_written,
            mine_hard_negatives,
            workplace_of,
        )

        rules = rule.rules(guide_margin or 0.0)
        check_written(output, output_format)
        check_apart(output, data, corpus or "")
        pairs, others = _read(data, corpus, corpus_columns, reading)
        encoder = loading.load(model, alone=guide is None)
        guided = None if guide is None else loading.load(guide, alone=False)
        try:
            mined = mine_hard_negatives(
                encoder,
                pairs,
                output,
                rules,
                corpus=others,
                guide=guided,
                output_format=output_format,
                index=index,
                show_progress=True,
            )
        except KeyboardInterrupt:
            if workplace_of(output).is_dir():
                note(f"{workplace_of(output)} keeps what is finished: the same command goes on")
            raise
    shown.write(mined.to_json())
    if shown.has_table:
        _show(mined, output, shown.markdown)


def _read(
    data: str, corpus: str | None, corpus_columns: list[str] | None, reading: FileOptions
) -> tuple[Rows, list[str]]:
    """The rows of the data, and the texts of the corpus."""
    from simcse_kit.data import read_rows

    rows = read_rows(data, columns=reading.mapping(), **reading.keywords())
    if corpus is None:
        return rows, []
    with column_called("--corpus-column"):
        mapping = column_mapping(corpus_columns, bare="text")
        texts = read_rows(corpus, columns=mapping, wanted=["text"], blank="skip")
    return rows, [*texts.columns["text"]]


def _show(mined: Mined, output: Path, markdown: bool) -> None:
    from simcse_kit.evaluation import draw, draw_markdown
    from simcse_kit.evaluation.mining import outcome_cells, outcome_sentences

    for title, cells in outcome_cells(mined):
        if markdown:
            typer.echo(draw_markdown(cells))
        else:
            show_table(draw(cells, title=title))
    for sentence in outcome_sentences(mined):
        typer.echo(f"- {sentence}" if markdown else sentence)
    typer.echo(f"{output}  {mined.rows:,} rows")
