"""What becomes of every field of `transformers.TrainingArguments`, as data.

A field is a setting (of `Settings`, or of `Further` here), has another setting or option in its
place (`REPLACED`), or is refused with the reason (`REFUSED`); none is taken and then ignored.
"""

from __future__ import annotations

import sys
from collections.abc import Container
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, Field

from simcse_kit.parts import Float, Int
from simcse_kit.training.settings.fields import Settings

LogLevel = Literal["passive", "detail", "debug", "info", "warning", "error", "critical"]


class Further(BaseModel):
    """Fields of TrainingArguments that few runs need, with their meaning there."""

    lr_scheduler_kwargs: dict[str, Any] | None = Field(
        None,
        description="What a schedule takes besides, for instance {min_lr: 1e-6} of "
        "cosine_with_min_lr.",
    )
    optim_args: str | None = Field(
        None,
        description="What an optimizer takes besides, for instance momentum=0.9 of sgd; several "
        "with commas.",
    )
    gradient_checkpointing_kwargs: dict[str, Any] | None = Field(
        None,
        description="{every_n_layers: 2} recomputes every second layer alone. use_reentrant is "
        "false and stays so.",
    )
    tf32: bool | None = Field(
        None, description="fp32 products on a GPU by its faster TF32. None: as torch is set up."
    )
    full_determinism: bool = Field(
        False, description="Only torch's deterministic operators, which may be slower."
    )
    torch_empty_cache_steps: Int | None = Field(
        None,
        ge=1,
        description="Steps after which a GPU's idle memory is given back. None: never.",
    )
    eval_delay: Float = Field(
        0,
        ge=0,
        description="Steps before which the dev set is not scored, step 0 apart.",
    )
    logging_strategy: Literal["steps", "epoch", "no"] = Field(
        "steps",
        description="When the log gets an entry: every logging_steps, every epoch or never; an "
        "evaluation makes one unless it is no.",
    )
    logging_first_step: bool = Field(
        True, description="The first step makes an entry of the log too."
    )
    log_level: LogLevel = Field(
        "passive", description="What transformers itself says. passive: as it is set up."
    )
    log_level_replica: LogLevel = Field("warning", description="The same on ranks other than 0.")
    disable_tqdm: bool | None = Field(
        None, description="No bar. None: a bar where stderr is a terminal."
    )
    skip_memory_metrics: bool = Field(
        True, description="false: memory taken and at the peak, in the log's last entry."
    )
    run_name: str | None = Field(
        None,
        description="The run's name in the tracker (tensorboard, wandb, mlflow, trackio…).",
    )
    project: str = Field("huggingface", description="Of trackio: the project's name.")
    trackio_space_id: str | None = Field(
        None, description="Of trackio: the space on the hub that it writes to. None: here."
    )
    hub_private_repo: bool | None = Field(
        None, description="With push_to_hub: false lets others see the model. None: private."
    )
    dataloader_pin_memory: bool = Field(
        True, description="With a GPU: batches in memory that it can fetch from directly."
    )
    dataloader_prefetch_factor: Int | None = Field(
        None, ge=1, description="Batches that a worker gathers ahead. None: torch's two."
    )
    dataloader_multiprocessing_context: Literal["fork", "spawn", "forkserver"] | None = Field(
        None, description="How worker processes are started. None: the system's way."
    )
    ddp_backend: Literal["nccl", "gloo", "mpi", "xccl", "hccl", "cncl", "mccl"] | None = Field(
        None, description="On several ranks: what they talk through. None: by the device."
    )
    ddp_timeout: Int = Field(
        1800, ge=1, description="On several ranks: seconds that one waits for the others."
    )
    ddp_find_unused_parameters: bool = Field(
        False,
        description="On several ranks: look at each step for weights that took no part. All do.",
    )
    ddp_bucket_cap_mb: Int | None = Field(
        None, ge=1, description="On several ranks: megabytes of gradients sent at a time."
    )
    ddp_broadcast_buffers: bool | None = Field(
        None, description="On several ranks: rank 0's buffers to all at each step."
    )


_DEV = "--eval-data or --eval-split make the dev set and eval_steps says when it is scored"
_ROWS = "batch_sampler and group_window say which rows make a batch"
_CHECKPOINTS = (
    "save_steps says how often there is a checkpoint and save_total_limit how many are kept; the "
    "last step has one in any case"
)
_BEST = "the best step is the one with the highest dev figure: Spearman, or recall@1 of eval_split"

#: Fields that something else stands for: what that is.
REPLACED: dict[str, str] = {
    "output_dir": "it is given by --output-dir",
    "resume_from_checkpoint": "it is given by --resume",
    "do_train": "training is what the command does",
    "do_eval": _DEV,
    "do_predict": "simcse-kit evaluate and task judge a trained model",
    "eval_strategy": _DEV,
    "eval_on_start": "step 0 is scored whenever there is a dev set",
    "save_strategy": _CHECKPOINTS,
    "load_best_model_at_end": "the best step on dev is always kept apart from the last one",
    "metric_for_best_model": _BEST,
    "greater_is_better": _BEST,
    "activation_checkpointing": "it is called gradient_checkpointing here",
    "activation_checkpointing_kwargs": "it is called gradient_checkpointing_kwargs here",
    "train_sampling_strategy": _ROWS,
    "length_column_name": _ROWS,
    "dataloader_drop_last": "the last short batch has fewer negatives and is always dropped",
    "hub_token": "a token would be written into the run's files; log in with `hf auth login`",
    "enable_jit_checkpoint": "a run that is asked to end saves a checkpoint first, in any case",
    "include_num_input_tokens_seen": "the log has sentences_per_second",
    "logging_nan_inf_filter": "a loss that is no number is never averaged away but with fp16, "
    "where such steps are skipped",
    "local_rank": "the launcher sets it",
}

_ENCODED = "the dev set is encoded as by `encode`, in batches made by length, and never in logits"
_SHARDED = "every rank holds the whole model here: start them with torchrun, without sharding"
_LABELS = "a contrastive batch has no labels"
_UPLOADED = "the finished model is uploaded once, at the end, to the main branch"
_EXACT = "a run that is resumed goes on exactly as it would have"

#: Fields that are refused: why.
REFUSED: dict[str, str] = {
    "label_names": _LABELS,
    "label_smoothing_factor": "the contrastive objective has no label smoothing",
    "average_tokens_across_devices": "a batch's loss is a mean over rows, not over tokens",
    "neftune_noise_alpha": "views differ by dropout; noise on embeddings is no part of this method",
    "optim_target_modules": "no optimizer that this kit trains with picks modules",
    "auto_find_batch_size": "the batch size is the number of negatives and must not change unseen; "
    "mini_batch_size makes a large one fit",
    "use_liger_kernel": "its kernels are of language models' heads, which an encoder lacks",
    "liger_kernel_config": "its kernels are of language models' heads, which an encoder lacks",
    "use_cache": "an encoder writes no text, so there is nothing to cache",
    "bf16_full_eval": "the dev set is scored in the precision of training, see bf16",
    "fp16_full_eval": "the dev set is scored in the precision of training, see bf16",
    "per_device_eval_batch_size": _ENCODED,
    "prediction_loss_only": _ENCODED,
    "eval_do_concat_batches": _ENCODED,
    "eval_use_gather_object": _ENCODED,
    "eval_accumulation_steps": _ENCODED,
    "include_for_metrics": _ENCODED,
    "batch_eval_metrics": _ENCODED,
    "log_on_each_node": "rank 0 speaks for all of them",
    "save_on_each_node": "rank 0 writes for all of them",
    "save_only_model": f"{_EXACT}, which takes its optimizer",
    "ignore_data_skip": f"{_EXACT}, with the rows that are next",
    "restore_callback_states_from_checkpoint": f"{_EXACT}, in any case",
    "dataloader_persistent_workers": f"{_EXACT}, and one whose workers start anew draws other "
    "random numbers",
    "dataloader_in_order": f"{_EXACT}, which takes batches in their order",
    "accelerator_config": f"{_ROWS}, and {_EXACT}",
    "hub_strategy": _UPLOADED,
    "hub_always_push": _UPLOADED,
    "hub_revision": _UPLOADED,
    "trackio_bucket_id": "set trackio up by its own means",
    "trackio_static_space_id": "set trackio up by its own means",
    "remove_unused_columns": "the data's columns are mapped by --column",
    "ddp_static_graph": "a rank's graph differs from batch to batch",
    "parallelism_config": _SHARDED,
    "fsdp": _SHARDED,
    "fsdp_config": _SHARDED,
    "deepspeed": _SHARDED,
    "debug": "a loss or weight that is no number ends the run with the step, in any case",
}

_FOLLOWS = "follows an evaluation's loss, and the dev set here has none"

#: Schedules that are refused: why. The others of `transformers.SchedulerType` are honoured.
SCHEDULES_REFUSED: dict[str, str] = {"reduce_lr_on_plateau": _FOLLOWS, "greedy": _FOLLOWS}
#: Schedules that take nothing by lr_scheduler_kwargs; get_scheduler would drop it.
SCHEDULES_BARE = ("constant", "constant_with_warmup")

_ADAM = ("adam_beta1", "adam_beta2", "adam_epsilon")

#: Optimizers that are honoured: the settings and the optim_args that each reads.
OPTIMIZERS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "adamw_torch": (_ADAM, ()),
    "adamw_torch_fused": (_ADAM, ()),
    "adafactor": ((), ()),
    "sgd": ((), ("momentum", "dampening", "nesterov")),
    "adagrad": ((), ("lr_decay", "eps")),
    "rmsprop": ((), ("momentum", "alpha", "eps", "centered")),
    # of the package bitsandbytes
    "adamw_8bit": (_ADAM, ()),
    "adamw_bnb_8bit": (_ADAM, ()),
    "paged_adamw_8bit": (_ADAM, ()),
    "paged_adamw_32bit": (_ADAM, ()),
    "lion_8bit": (_ADAM[:2], ()),
    "lion_32bit": (_ADAM[:2], ()),
    # of the package torch-optimi
    "stable_adamw": (_ADAM, ()),
}


class Need(NamedTuple):
    """A setting that does nothing without another.

    Attributes:
        serve: values of `other` with which it does something; of a list, one is enough.
        without: what is missing, and what to do.
    """

    key: str
    other: str
    serve: Container[object]
    without: str


_COMPILED = "torch_compile is not true; set both"
_PUSHED = "push_to_hub is not true; set both"
_TRACKIO = "report_to does not name trackio; set both"
_SOME = range(1, sys.maxsize)
_WORKERS = "there are no workers; set dataloader_num_workers too"

NEEDS = (
    Need("torch_compile_backend", "torch_compile", (True,), _COMPILED),
    Need("torch_compile_mode", "torch_compile", (True,), _COMPILED),
    Need("hub_model_id", "push_to_hub", (True,), _PUSHED),
    Need("hub_private_repo", "push_to_hub", (True,), _PUSHED),
    Need(
        "gradient_checkpointing_kwargs",
        "gradient_checkpointing",
        (True,),
        "gradient_checkpointing is not true; set both",
    ),
    Need("logging_steps", "logging_strategy", ("steps",), "logging_strategy is another; drop one"),
    Need("dataloader_prefetch_factor", "dataloader_num_workers", _SOME, _WORKERS),
    Need("dataloader_multiprocessing_context", "dataloader_num_workers", _SOME, _WORKERS),
    Need("project", "report_to", ("trackio", "all"), _TRACKIO),
    Need("trackio_space_id", "report_to", ("trackio", "all"), _TRACKIO),
    Need(
        "run_name",
        "report_to",
        ("tensorboard", "wandb", "mlflow", "comet_ml", "swanlab", "trackio", "all"),
        "report_to names no tracker that names runs (tensorboard, wandb, mlflow, comet_ml, "
        "swanlab, trackio)",
    ),
)


def fates() -> dict[str, tuple[str, str]]:
    """Every field of TrainingArguments that is known here: its fate, and what is to be said."""
    settings = {**Settings.model_fields, **Further.model_fields}
    shared = [*settings][[*settings].index("learning_rate") :]
    told = {name: ("honoured", str(settings[name].description)) for name in shared}
    told |= {name: ("replaced", said) for name, said in REPLACED.items()}
    return told | {name: ("refused", said) for name, said in REFUSED.items()}
