"""A good encoder made better on a user's own documents: pairs, hard negatives, training.

Three stages in one folder, each by what does it elsewhere: `simcse_kit.data.make_pairs`,
`mine_hard_negatives` by the encoder as it is, and `train`, where that encoder is the teacher too,
so that little is forgotten. What is finished is kept, and gone on from.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from simcse_kit.data import (
    USUAL,
    Rows,
    Source,
    add_texts,
    at_home,
    check_can_make,
    leftovers,
    make_pairs,
    read_documents,
    read_rows,
    whole_documents,
    write_json,
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
from simcse_kit.evaluation.mining import Rules, mine_hard_negatives
from simcse_kit.evaluation.sts import PairTask
from simcse_kit.training.checks import check_batch
from simcse_kit.training.distributed import launched_together
from simcse_kit.training.rows.prompts import use_prompts
from simcse_kit.training.rows.suited import check_kind
from simcse_kit.training.rows.training_set import TrainingSet, further_rows
from simcse_kit.training.run import train
from simcse_kit.training.runs.folder import can_go_on, check_folder
from simcse_kit.training.runs.result import TrainResult
from simcse_kit.training.settings.config import TrainConfig
from simcse_kit.training.settings.datasets import DataSet
from simcse_kit.training.settings.methods import needs_of_objectives

#: What the folder holds: what was asked and came of it, pairs, with their negatives, the model.
FILE, PAIRS, MINED, MODEL = "adapt.json", "pairs.parquet", "negatives.parquet", "model"

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
            holds something else; other documents or settings than it was begun with, but for
            rules of negatives that nothing is trained on yet.
        KeyboardInterrupt: after Ctrl-C; what is finished stays.
    """
    if launched_together():
        raise InputError(
            "adapt runs in one process; with torchrun train on the file that it leaves: "
            f"train --recipe adapt --data {MINED} --set teachers=[MODEL]"
        )
    folder = at_home(output_dir)
    making = making or Making()
    rows = documents if isinstance(documents, Rows) else read_documents(documents)
    texts = whole_documents(rows)
    asked = _asked(model, texts, config, making, rules)
    told = _open(folder, asked, resume=resume)
    start = SentenceEncoder.from_pretrained(
        model,
        pooling=config.pooling,
        head=config.model_head,
        trust_remote_code=config.trust_remote_code,
    )
    config = _prompted(config, start)
    held = _held(config, str(model), general)
    further = further_rows(held)  # read before the work, which is in vain without them
    if "pairs" not in told:
        made = make_pairs(
            texts, seed=config.seed, source=rows.source, show_progress=True, **asdict(making)
        )
        _check_trainable(made.rows, further, held)
        folder.mkdir(parents=True, exist_ok=True)
        _keep(folder, told)
        write_pairs(made, folder / PAIRS)
        _keep(folder, told, pairs=made.to_json())
    for sentence in (f"{way}: {count:,} pairs" for way, count in told["pairs"]["by_way"].items()):
        logger.info("%s", sentence)
    if rules is not None:
        _mine(folder, told, start, rules, config)
    del start
    pairs = read_rows(folder / (PAIRS if rules is None else MINED))
    if general is not None and config.multi_dataset_batch_sampler == "proportional":
        share = min(1.0, len(pairs) / len(further[-1]))  # no more batches of them than of pairs
        held = _held(config, str(model), general, share=share)
    own = folder / MODEL
    anew = resume and own.is_dir() and not can_go_on(own)
    if anew:
        _check_own(own)
    result = train(
        model,
        pairs,
        held,
        own,
        eval_data=eval_data,
        resume=resume and can_go_on(own),
        overwrite=anew,
    )
    return Adapted(folder, result, told["pairs"], told.get("mined"))


def _mine(
    folder: Path, told: dict[str, Any], start: SentenceEncoder, rules: Rules, config: TrainConfig
) -> None:
    """Mine for the folder's pairs, with the prompts of training, unless that is finished."""
    weights = weights_of(start)
    if "mined" in told:
        if told.get("weights", weights) != weights:
            raise InputError(
                f"the negatives in {str(folder)!r} were mined by other weights than {start.name!r} "
                "has now; go on with the same, or give a new folder"
            )
        return
    use_prompts(start, config)
    pairs = read_rows(folder / PAIRS)
    try:
        mined = mine_hard_negatives(
            start, pairs, folder / MINED, rules, output_format="list", show_progress=True
        )
    except InputError as error:
        if ": no negatives" not in str(error):
            raise
        told_here = error.command_line.replace(", raise --range-max", "")
        raise InputError(
            f"{error}, or train on the pairs alone (rules=None)",
            command_line=f"{told_here}, or train on the pairs alone (--num-negatives 0)",
        ) from error
    _keep(folder, told, mined=mined.to_json(), weights=weights)
    if 2 * mined.pairs_left_out > mined.pairs:
        logger.warning(
            "%d of %d pairs have no hard negative and are left out; --num-negatives 0 "
            "trains on all",
            *(mined.pairs_left_out, mined.pairs),
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


def _asked(
    model: str | Path,
    texts: Sequence[str],
    config: TrainConfig,
    making: Making,
    rules: Rules | None,
) -> dict[str, Any]:
    """What pairs and negatives depend on; what training does is told by its own folder."""
    digest = hashlib.sha256()
    add_texts(digest, texts)
    return {
        "model": str(model),
        "pooling": config.pooling,
        "prompt": config.prompt,
        "prompt_name": config.prompt_name,
        "document_prompt": config.document_prompt,
        "documents": digest.hexdigest(),
        "seed": config.seed,
        "making": asdict(making) | {"ways": list(making.ways)},
        "rules": None if rules is None else asdict(rules),
    }


def _open(folder: Path, asked: dict[str, Any], *, resume: bool) -> dict[str, Any]:
    """What is finished in a folder; InputError where it is not ours to go on in."""
    check_can_make(folder)
    path = folder / FILE
    if not resume:
        if folder.is_dir() and set(folder.iterdir()) - set(leftovers(folder)):
            ours = "; go on with it by --resume" if path.is_file() else ""
            raise InputError(f"output folder {str(folder)!r} is not empty{ours}; give a new one")
        return {"asked": asked}
    if not path.is_file():
        raise InputError(f"nothing to resume: {str(folder)!r} holds no {FILE}")
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
        parts = told["asked"], told.get("pairs", {"by_way": {}})["by_way"], told.get("mined", {})
        before, *_ = map(dict, parts)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is damaged ({type(error).__name__}); give a new folder") from None
    others = before.get("rules") != asked["rules"] and not can_go_on(folder / MODEL)
    if others:  # of hard negatives, and nothing is trained on those that were mined
        before["rules"] = asked["rules"]
        told.pop("mined", None)
    for key, value in asked.items():
        if before.get(key) != value and not (
            key == "model" and _place(before.get(key)) == _place(value)
        ):
            names = {
                "documents": "other documents",
                "making": "pairs made otherwise",
                "rules": "other rules of what a hard negative is",
            }
            told_as = names.get(key, f"{key} {before.get(key)}, not {value}")
            raise InputError(
                f"{str(folder)!r} was begun with {told_as}; go on with the same, or give a new"
                " folder"
            )
    for left in leftovers(folder):  # of files that a kill left half-written
        left.unlink(missing_ok=True)
    there = {"pairs": PAIRS, "mined": MINED}
    kept = {
        name: told[name]
        for name, file in there.items()
        if name in told and (folder / file).is_file()
    }
    if "mined" in kept and "weights" in told:
        kept["weights"] = told["weights"]
    kept = {"asked": asked, **kept}
    if others:
        write_json(path, kept)
    return kept


def _place(model: object) -> object:
    """A folder, however it is written; the name of another model as it is."""
    return path.resolve() if (path := at_home(str(model))).is_dir() else model


def _check_own(own: Path) -> None:
    """InputError where the model's folder holds no run, which is not overwritten."""
    try:
        check_folder(own, overwrite=True)
    except InputError:
        raise InputError(
            f"{str(own)!r} holds no run, but other files; remove it, and --resume goes on with "
            "what is made already"
        ) from None


def _keep(folder: Path, told: dict[str, Any], **finished: Any) -> None:
    """Note a stage that is finished."""
    told |= finished
    write_json(folder / FILE, told)


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
            "prompt": config.prompt,
            "prompt_name": config.prompt_name,
            "trust_remote_code": config.trust_remote_code,
        }
        changed["teachers"] = [Teacher.model_validate(teacher)]
    return config.model_copy(update=changed)
