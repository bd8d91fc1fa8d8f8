"""MTEB: our encoders run by `mteb.evaluate`, our STS figures in files that its loader reads.

Written for mteb 2, which is an extra (`pip install "simcse-kit[mteb]"`). For any task of its own:

    mteb.evaluate(MTEBEncoder(encoder), mteb.get_tasks(["Banking77Classification"]))
"""

from __future__ import annotations

import datetime
import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from simcse_kit.data import at_home
from simcse_kit.errors import InputError
from simcse_kit.evaluation.embedding import distinct, embed
from simcse_kit.evaluation.sts import PairTask, STSResult
from simcse_kit.version import __version__

if TYPE_CHECKING:
    from simcse_kit.encoder import SentenceEncoder

#: What MTEB calls the tasks that are the same there.
TASKS: Mapping[str, str] = {
    **{f"STS{year}": f"STS{year}" for year in range(12, 17)},
    "STSB": "STSBenchmark",
    "SICKR-MTEB": "SICK-R",
}
_LOCAL, _NO_REVISION = "local/", "no_revision_available"
_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")


class MTEBEncoder:
    """A `SentenceEncoder` as `mteb.evaluate` takes it: mteb's `EncoderProtocol`, for texts.

    Args:
        encoder: what is to be judged.
        name: "organization/model", under which results are kept; default: `mteb_name`.
        revision: default: the hub commit that the encoder was loaded from, where there is one; of a
            folder that was given no name, the first digits of a hash of the weights, since folders
            of one name hold other models ("best", "final").
    """

    def __init__(
        self, encoder: SentenceEncoder, *, name: str | None = None, revision: str | None = None
    ) -> None:
        self.encoder = encoder
        self.name = mteb_name(encoder.name) if name is None else mteb_name(name)
        commit = getattr(encoder.backbone.config, "_commit_hash", None)
        local = name is None and self.name.startswith(_LOCAL)
        self.revision = revision or commit or (_digest(encoder) if local else _NO_REVISION)

    def encode(
        self,
        inputs: Iterable[Mapping[str, Any]],
        *,
        task_metadata: Any,
        hf_split: str,
        hf_subset: str,
        prompt_type: Any = None,
        **kwargs: Any,
    ) -> np.ndarray:
        """Embeddings (N, D) of batches of texts; batches are made anew, by numbers of tokens.

        The encoder's prompts are chosen by the names that mteb looks for: of the task, of its
        type, of the side ("query", "document"); else the encoder's own default holds.

        Raises InputError for a quantised `precision`, which an encoder of ours does not give.
        """
        from mteb.models.abs_encoder import get_prompt_name

        precision = kwargs.get("precision", "float32")
        if precision != "float32":
            raise InputError(
                f"mteb asks for embeddings in {precision!r}: leave precision out, and choose the"
                " encoder's own when it is loaded"
            )
        texts = [text for batch in inputs for text in batch["text"]]
        row = distinct(texts)
        options: dict[str, Any] = {"show_progress": bool(kwargs.get("show_progress_bar"))}
        prompt_name = get_prompt_name(self.encoder.prompts or None, task_metadata, prompt_type)
        if prompt_name is not None:
            options["prompt_name"] = prompt_name
        return embed(self.encoder, list(row), options)[[row[text] for text in texts]]

    def similarity(self, embeddings1: Any, embeddings2: Any) -> Any:
        """Cosines (N, M), as a torch tensor."""
        from mteb.similarity_functions import cos_sim

        return cos_sim(embeddings1, embeddings2)

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> Any:
        """Cosines (N,) of the rows, as a torch tensor."""
        from mteb.similarity_functions import pairwise_cos_sim

        return pairwise_cos_sim(embeddings1, embeddings2)

    @cached_property
    def mteb_model_meta(self) -> Any:
        """What mteb keeps beside the results (its `ModelMeta`): what the encoder itself tells."""
        from mteb.models.model_meta import ModelMeta, ScoringFunction

        weights = list(self.encoder.parameters())
        known = {
            "name": self.name,
            "revision": self.revision,
            "n_parameters": sum(each.numel() for each in weights),
            "n_embedding_parameters": self.encoder.backbone.get_input_embeddings().weight.numel(),
            "memory_usage_mb": round(sum(each.nbytes for each in weights) / 2**20),
            "max_tokens": self.encoder.max_length,
            "embed_dim": self.encoder.dimension,
            "framework": ["PyTorch", "Transformers"],
            "similarity_fn_name": ScoringFunction.COSINE,
        }
        return ModelMeta.create_empty(known)


def mteb_name(name: str) -> str:
    """A hub id as it is; for a folder "local/" and its name, since mteb wants two parts."""
    if _HUB_NAME.fullmatch(name) and not Path(name).exists():
        return name
    return f"{_LOCAL}{Path(name).resolve().name}"


def _digest(encoder: SentenceEncoder) -> str:
    """The first 12 hexadecimal digits of a SHA-256 of the weights, by name."""
    import torch

    found = hashlib.sha256()
    for name, tensor in sorted(encoder.state_dict().items()):
        found.update(name.encode())
        found.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return found.hexdigest()[:12]


def mteb_task(task: PairTask) -> Any:
    """The task as mteb has it (its `AbsTask`), on the pairs at hand and without the hub.

    Raises InputError for a task that is not MTEB's own, pairs and text included.
    """
    from datasets import Dataset, DatasetDict

    theirs = _their_task(task)
    columns = {
        "sentence1": task.sentence1,
        "sentence2": task.sentence2,
        "score": task.gold.tolist(),
    }
    theirs.dataset = DatasetDict({"test": Dataset.from_dict(columns)})
    theirs.data_loaded = True
    return theirs


def check_tasks(tasks: Sequence[PairTask]) -> None:
    """Raise InputError unless all are MTEB's own, pairs and text included."""
    for task in tasks:
        _their_task(task)


def write_mteb(
    result: STSResult,
    tasks: Sequence[PairTask],
    folder: Path | str,
    encoder: SentenceEncoder,
    *,
    name: str | None = None,
) -> list[Path]:
    """Write STS figures as MTEB does: `results/<model>/<revision>/<Task>.json`, `model_meta.json`.

    `mteb.ResultCache(folder).load_results()` reads them. They hold the correlations of cosines,
    0 to 1; MTEB's own runs add those of two other distances, which it ranks nothing by. White space
    is single blanks here and as in the data there, which only tokenizers that keep it can tell.
    Earlier results of the same model, revision and task are replaced.

    Args:
        tasks: those the result is of.
        encoder: what was evaluated. name: as for `MTEBEncoder`.

    Returns:
        The file of each task.

    Raises:
        InputError: a figure that is not what MTEB means by the task's name: another set of pairs,
            text that is not in its original case, a mean over subsets.
    """
    if result.protocol["aggregation"] != "all":
        raise InputError(
            f"The figures are a {result.protocol['aggregation']} over subsets, and MTEB has one"
            ' correlation over all pairs: evaluate with aggregation "all" to write its files'
        )
    missing = [task.name for task in tasks if task.name not in result.tasks]
    if missing or not tasks:
        raise InputError(f"The result has no figures of {', '.join(missing) or 'any task'}.")
    theirs = {task.name: _their_task(task) for task in tasks}
    from mteb import ResultCache, TaskResult

    cache = ResultCache(at_home(folder))
    meta = MTEBEncoder(encoder, name=name).mteb_model_meta
    settings = {key: result.protocol[key] for key in ("precision", "max_length", "pooling")
                if key in result.protocol}  # fmt: skip
    files = []
    for task, mteb_one in theirs.items():
        written = TaskResult.from_task_results(
            mteb_one,
            {"test": {"default": _scores(result, task)}},
            evaluation_time=None,
            date=datetime.datetime.now(datetime.UTC),
        )
        evaluator = {"evaluated_by": f"simcse-kit {__version__}"}
        cache.save_to_cache(written, meta, encode_kwargs=evaluator | settings)
        files.append(cache.get_task_result_path(mteb_one.metadata.name, meta))
    return files


def _scores(result: STSResult, task: str) -> dict[str, float]:
    spearman, pearson = result.tasks[task].spearman / 100, result.tasks[task].pearson / 100
    return {
        "pearson": pearson,
        "spearman": spearman,
        "cosine_pearson": pearson,
        "cosine_spearman": spearman,
        "main_score": spearman,
    }


def _their_task(task: PairTask) -> Any:
    """mteb's own task of this name, once it is sure to be of the same pairs and the same text."""
    mteb = _mteb()
    if task.name not in TASKS:
        hint = " (its SICK-R is all 9,927 pairs: SICKR-MTEB)" if task.name == "SICKR" else ""
        raise InputError(
            f"{task.name} is no task of MTEB's{hint}; those that can be written are"
            f" {', '.join(TASKS)}"
        )
    theirs = mteb.get_task(TASKS[task.name])
    facts = theirs.metadata.descriptive_stats["test"]
    expected, mean = facts["num_samples"], facts["label_statistics"]["avg_score"]
    if len(task) != expected or abs(task.gold.mean() - mean) > 1e-6:
        raise InputError(
            f"{task.name} ({task.source}) is not what MTEB scores as {TASKS[task.name]}: it has"
            f" {len(task):,} pairs with a mean score of {task.gold.mean():.4f}, and MTEB's"
            f" {expected:,} with {mean:.4f}"
        )
    text = "".join([*task.sentence1, *task.sentence2])
    if text == text.lower():
        raise InputError(
            f"The text of {task.name} ({task.source}) is lower-cased, and MTEB scores it as it was"
            " written: give data in the original case with --data-dir, or none, for the hub's"
        )
    return theirs


def _mteb() -> Any:
    try:
        import mteb
    except ImportError as error:
        raise InputError(
            'MTEB is not installed here: pip install "simcse-kit[mteb]" installs it'
        ) from error
    return mteb
