"""Arguments and options of commands that work on an embedded corpus."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from simcse_kit.commands.cache_options import with_cache
from simcse_kit.commands.options import ModelOptions, known_models
from simcse_kit.errors import InputError

if TYPE_CHECKING:
    from simcse_kit.corpus import EmbeddedCorpus
    from simcse_kit.encoder import SentenceEncoder

Corpus = Annotated[
    Path, typer.Argument(metavar="CORPUS", help="A folder that embed wrote, or a .npy of vectors.")
]
CorpusModel = Annotated[
    str | None,
    typer.Option(
        "--model",
        help="The model that embedded the corpus, where it lies elsewhere now or a .npy does not"
        " say. Default: the one that the corpus names.",
        callback=known_models,
    ),
]


def corpus_encoder(
    corpus: EmbeddedCorpus, model: str | None, loading: ModelOptions
) -> SentenceEncoder:
    """The model of a corpus, loaded as it was when it embedded it, but for what options say.

    Raises:
        InputError: nobody says which, it cannot be loaded, or it is another one.
    """
    from simcse_kit.corpus import own_encoder

    if model is None:
        if corpus.manifest is not None:
            _check_own(loading)
        encoder = own_encoder(corpus, trust_remote_code=loading.trust_remote_code)
        encoder.use_prompts(**loading.prompts())
        encoder = with_cache(encoder, loading.cache, loading.cache_size)
    else:
        if corpus.manifest is not None:
            made, plain = corpus.manifest.model, ModelOptions()
            its: dict[str, Any] = {
                name: each
                for name, each in made.settings().items()
                if getattr(loading, name) == getattr(plain, name)
            }
            if loading.template is None:
                # only what is there or was asked for: some tokenizers can have none
                its["template"] = made.template or None
            loading = replace(loading, **its)
        encoder = loading.load(model)
    corpus.check_model(encoder)
    return encoder


def _check_own(loading: ModelOptions) -> None:
    """Raise InputError for options that a corpus, which loads its own model, would not hear."""
    plain = ModelOptions()
    names = ("precision", "backend", "pooling", "head", "max_length", "template")
    given = [
        f"--{name.replace('_', '-')}"
        for name in names
        if getattr(loading, name) != getattr(plain, name)
    ]
    if given:
        raise InputError(
            f"{', '.join(given)}: the corpus loads its model as it was embedded by it; leave that"
            " out, or name a model with --model"
        )


def ids_of(path: Path) -> list[str]:
    """The ids of a file, one a line; blank lines are none."""
    from simcse_kit.data import read_rows

    found = read_rows(path, wanted=["text"], blank="skip", file_format="txt")
    return [text.strip() for text in found.columns["text"]]
