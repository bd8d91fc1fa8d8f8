"""A good encoder made better on a user's own documents: pairs, hard negatives, training.

Three stages in one folder, each by what does it elsewhere: `simcse_kit.data.make_pairs`,
`mine_hard_negatives` by the encoder as it is, and `train`, where that encoder is the teacher too,
so that little is forgotten. What is finished is kept, and gone on from.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from simcse_kit.data import (
    USUAL,
    Rows,
    Source,
    at_home,
    make_pairs,
    read_documents,
    read_rows,
    whole_documents,
    write_pairs,
)
from simcse_kit.encoder import (
    SentenceEncoder,
    Teacher,
    document_prompt,
    query_prompt,
    weights_of,
)
from simcse_kit.errors import InputError
from simcse_kit.evaluation.mining import NoNegatives, Rules, as_options, mine_hard_negatives
from simcse_kit.evaluation.sts import PairTask
from simcse_kit.training.adapting_folder import MINED, PAIRS, AdaptingFolder, asked_of
from simcse_kit.training.checks import check_batch
from simcse_kit.training.distributed import launched_together
from simcse_kit.training.rows.prompts import use_prompts
from simcse_kit.training.rows.suited import check_kind
from simcse_kit.training.rows.training_set import TrainingSet, further_rows, reading_once
from simcse_kit.training.run import train
from simcse_kit.training.runs.folder import can_go_on
from simcse_kit.training.runs.result import TrainResult
from simcse_kit.training.settings.config import TrainConfig
from simcse_kit.training.settings.datasets import DataSet
from simcse_kit.training.settings.methods import needs_of_objectives

#: Hard negatives where none are asked for otherwise: the nearest that is clearly no positive.
NEAREST = Rules(num_negatives=1, relative_margin=0.05)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Making:
    """Which pairs are made: keywords of `simcse_kit.data.make_pairs`, which has their meaning."""

    ways: Sequence[str] = USUAL
    per_document: int = 1
    words: int = 100
    least: int = 3


@dataclass(frozen=True)
class General:
    """Texts of no domain, on which the encoder is to stay as it is.

    Attributes:
        data: what `read_rows` takes by name: a file, or a hub id.
        columns: what its columns mean.
        weight: of their loss, one less the cosine with what the start made of a text.
    """

    data: str
    columns: Mapping[str, str] = field(default_factory=dict)
    weight: float = 1.0


@dataclass(frozen=True)
class Adapted:
    """What `adapt` left.

    Attributes:
        folder: holds all of it. result: of the training, in ``model/``.
        pairs: what each way gave (`PairsMade.to_json`). mined: what each rule took out
            (`Mined.to_json`); None where no negatives were asked for.
    """

    folder: Path
    result: TrainResult
    pairs: dict[str, Any]
    mined: dict[str, Any] | None


def adapt(
    model: str | Path,
    documents: Source | Rows,
    config: TrainConfig,
    output_dir: str | Path,
    *,
    making: Making | None = None,
    rules: Rules | None = NEAREST,
    general: General | None = None,
    eval_data: PairTask | None = None,
    resume: bool = False,
) -> Adapted:
    """Adapt an encoder to documents of a domain, of which no pairs are known.

    Pairs are made of each document's own text; negatives that no rule takes out are mined among all
    pairs by the encoder as it is, never in a pair's own document; and it is trained on them as the
    settings say. Where an objective among these follows teachers and none is named, the teacher is
    the encoder as it was.

    Args:
        model: a sentence encoder, a folder or a hub id.
        documents: as of `read_documents`; or rows of text, each a document or, where they tell of
            documents, a part of one.
        config: as of the recipe ``adapt``; its seed draws the pairs, too.
        output_dir: new or empty; the adapted encoder lies in ``model/`` there.
        rules: what a hard negative is; None trains on the pairs alone.
        general: further texts to stay as it was on, as many batches as of pairs at most.
        eval_data: as of `train`.
        resume: go on in the folder with what is finished.

    Raises:
        InputError: what `make_pairs`, `mine_hard_negatives` and `train` complain of; a folder that
            holds something else, or that another run writes in; other documents or settings than
            it was begun with, but for rules of negatives that nothing is trained on yet.
        KeyboardInterrupt: after Ctrl-C; what is finished stays.
    """
    if launched_together():
        raise InputError(
            "adapt runs in one process; with torchrun train on the file that it leaves: "
            f"train --recipe adapt --data {MINED} --set teachers=[MODEL]"
        )
    making = making or Making()
    rows = documents if isinstance(documents, Rows) else read_documents(documents)
    texts = whole_documents(rows)
    folder = AdaptingFolder(
        at_home(output_dir), asked_of(model, texts, config, asdict(making), rules)
    )
    with folder.opened(resume=resume), reading_once():
        start = SentenceEncoder.from_pretrained(
            model,
            pooling=config.pooling,
            head=config.model_head,
            trust_remote_code=config.trust_remote_code,
        )
        if config.template is not None:
            start.use_template(config.template)
        config = _prompted(config, start)
        held = _held(config, str(model), general)
        further = further_rows(held)  # read before the work, which is in vain without them
        if "pairs" not in folder.told:
            _make(folder, texts, rows.source, making, held, further)
        for way, count in folder.told["pairs"]["by_way"].items():
            logger.info("%s: %s pairs", way, f"{count:,}")
        if rules is not None:
            _mine(folder, start, rules, config)
        del start
        pairs = read_rows(folder.path / (PAIRS if rules is None else MINED))
        if general is not None and config.multi_dataset_batch_sampler == "proportional":
            share = min(1.0, len(pairs) / len(further[-1]))  # no more batches of them than of pairs
            held = _held(config, str(model), general, share=share)
        result = _trained(folder, model, pairs, held, eval_data, resume=resume)
    return Adapted(folder.path, result, folder.told["pairs"], folder.told.get("mined"))


def _make(
    folder: AdaptingFolder,
    texts: Sequence[str],
    source: str,
    making: Making,
    config: TrainConfig,
    further: Sequence[Rows],
) -> None:
    """Make the folder's pairs, and the folder, if they can be trained on."""
    made = make_pairs(texts, seed=config.seed, source=source, show_progress=True, **asdict(making))
    _check_trainable(made.rows, further, config)
    folder.begin()
    write_pairs(made, folder.path / PAIRS)
    folder.keep(pairs=made.to_json())


def _mine(
    folder: AdaptingFolder, start: SentenceEncoder, rules: Rules, config: TrainConfig
) -> None:
    """Mine for the folder's pairs, with the prompts of training, unless that is finished."""
    weights = weights_of(start)
    if "mined" in folder.told:
        if folder.told.get("weights", weights) != weights:
            raise InputError(
                f"the negatives in {str(folder.path)!r} were mined by other weights than "
                f"{start.name!r} has now; go on with the same, or give a new folder"
            )
        return
    use_prompts(start, config)
    pairs = read_rows(folder.path / PAIRS)
    try:
        mined = mine_hard_negatives(
            start, pairs, folder.path / MINED, rules, output_format="list", show_progress=True
        )
    except NoNegatives as error:
        raise _none_mined(error) from error
    folder.keep(mined=mined.to_json(), weights=weights)
    if 2 * mined.pairs_left_out > mined.pairs:
        logger.warning(
            "%d of %d pairs have no hard negative and are left out; --num-negatives 0 "
            "trains on all",
            *(mined.pairs_left_out, mined.pairs),
        )


def _none_mined(error: NoNegatives) -> InputError:
    """The complaint, with what can be done about it here."""
    found = f"{error.source}: {error.problem}; ", f"{error.source}: {as_options(error.problem)}; "
    if error.rule is None:
        loosen = "", ""
    else:  # the command has no option for how many of the nearest are looked at
        loosen = "loosen it, raise range_max, or ", "loosen it, or "
    return InputError(
        f"{found[0]}{loosen[0]}train on the pairs alone (rules=None)",
        command_line=f"{found[1]}{loosen[1]}train on the pairs alone (--num-negatives 0)",
    )


def _trained(
    folder: AdaptingFolder,
    model: str | Path,
    pairs: Rows,
    config: TrainConfig,
    eval_data: PairTask | None,
    *,
    resume: bool,
) -> TrainResult:
    """Train in the model's own folder, from its last checkpoint, or anew where it has none."""
    goes_on = resume and can_go_on(folder.own)
    anew = resume and folder.own.is_dir() and not goes_on
    if anew:
        folder.check_own()
    return train(
        model,
        pairs,
        config,
        folder.own,
        eval_data=eval_data,
        resume=goes_on,
        overwrite=anew,
    )


def _prompted(config: TrainConfig, start: SentenceEncoder) -> TrainConfig:
    """The settings with the encoder's own prompts of queries and documents, where none are set.

    Anchors are what is asked, so they are queries here. An encoder that was made with prompts and
    trained on without is another one than that which is used.
    """
    chosen = (config.prompt, config.prompt_name, config.document_prompt, start.default_prompt)
    if any(each is not None for each in chosen) or not start.include_prompt:
        return config
    names = query_prompt(start.prompts), document_prompt(start.prompts)
    query, document = (start.prompts[name] if name else "" for name in names)
    if not query and not document:
        return config
    logger.info(
        "anchors get the prompt %r, positives and negatives %r, as %s has them; --prompt '' trains "
        "without",
        *(query, document, start.name),
    )
    return config.model_copy(update={"prompt": query, "document_prompt": document})


def _check_trainable(made: Rows, further: Sequence[Rows], config: TrainConfig) -> None:
    """InputError for what training would refuse, before anything is written or mined."""
    if made.documents is not None and made.documents.min() == made.documents.max():
        raise InputError(
            f"{made.source}: all pairs are of one document, whose texts are no negatives of each "
            "other, so there is nothing to tell apart; give several documents (in a .txt put a "
            "blank line between them)"
        )
    first, *others = config.of_each_dataset()
    if "negatives" not in needs_of_objectives(first):  # else there are none yet
        check_kind(made, first)
    check_batch(made, first, len(made))
    for rows, own in zip(further, others, strict=True):
        check_kind(rows, own)
        TrainingSet(rows, own).checked()


def _held(
    config: TrainConfig, model: str, general: General | None, *, share: float = 1.0
) -> TrainConfig:
    """The settings with the encoder as it was for the teacher, and with the general texts.

    Args:
        share: of the general texts' batches, how many an epoch has.
    """
    changed: dict[str, Any] = {}
    if general is not None:
        further = {
            "data": general.data,
            "columns": dict(general.columns),
            "weight": general.weight,
            "objective": {"name": "teacher_cosine"},
            "auxiliaries": [],
            "document_prompt": None,  # they are texts, which get that of anchors
            "share": share,
        }
        changed["datasets"] = [*config.datasets, DataSet.model_validate(further)]
    follows = "teachers" in needs_of_objectives(config) or general is not None
    if follows and not config.teachers:
        teacher = {
            "model": model,
            "pooling": config.pooling,
            "head": config.model_head,
            "template": config.template,
            "prompt": config.prompt,
            "prompt_name": config.prompt_name,
            "document_prompt": config.document_prompt,
            "trust_remote_code": config.trust_remote_code,
        }
        changed["teachers"] = [Teacher.model_validate(teacher)]
    return config.model_copy(update=changed)
