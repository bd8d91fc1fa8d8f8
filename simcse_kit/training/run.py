"""Contrastive training of a sentence encoder: SimCSE, unsupervised and supervised."""

from __future__ import annotations

import logging
import math
import os
import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

from transformers import TrainingArguments, set_seed

from simcse_kit.compute import keep_buffers
from simcse_kit.data import Rows, Source, at_home, check_can_make
from simcse_kit.encoder import SentenceEncoder
from simcse_kit.errors import InputError
from simcse_kit.evaluation import short
from simcse_kit.evaluation.sts import PairTask
from simcse_kit.training.checks import (
    check_apart,
    check_dev,
    check_encoder,
    joint_batch,
)
from simcse_kit.training.compiled_update import CompiledUpdate
from simcse_kit.training.dev import DevSet, judged_on
from simcse_kit.training.distributed import (
    is_main,
    launched_together,
    wait_for_all,
    world_size,
)
from simcse_kit.training.in_step import StepsOfParts, embed_rows
from simcse_kit.training.loading import load_to_train
from simcse_kit.training.model.building import build_model
from simcse_kit.training.model.collapse import CollapseAlarm
from simcse_kit.training.model.contrastive import ContrastiveModel
from simcse_kit.training.profiling import ProfileSteps
from simcse_kit.training.progress import Milestones, above_the_bar
from simcse_kit.training.rehearsal import rehearse
from simcse_kit.training.rows.batches import Vectors, build_collator
from simcse_kit.training.rows.collator import ViewCollator
from simcse_kit.training.rows.several import SeveralCollators
from simcse_kit.training.rows.training_set import (
    TrainingSet,
    order_of,
    rows_an_epoch,
    rows_of,
    training_sets,
)
from simcse_kit.training.runs.checkpoints import step_of
from simcse_kit.training.runs.folder import (
    Ended,
    LiveHistory,
    check_folder,
    check_judge,
    note_end,
    prepared,
    read_best,
    take_checkpoint,
    write_history,
)
from simcse_kit.training.runs.in_force import in_force
from simcse_kit.training.runs.interrupting import GracefulInterrupt, Interrupted
from simcse_kit.training.runs.keeper import Keeper
from simcse_kit.training.runs.result import (
    DID_NOT_HELP,
    TrainResult,
    already_finished,
    finished_result,
)
from simcse_kit.training.runs.resuming import Begun, began_as, files_told
from simcse_kit.training.settings.config import TrainConfig
from simcse_kit.training.settings.fields import Profile
from simcse_kit.training.trainer import (
    ContrastiveTrainer,
    OwnDropout,
    RowNumbers,
)

logger = logging.getLogger(__name__)


def train(
    model: str | Path | SentenceEncoder,
    data: Source | Rows,
    config: TrainConfig,
    output_dir: str | Path,
    *,
    eval_data: PairTask | None = None,
    resume: bool = False,
    overwrite: bool = False,
    ready: Callable[[], None] | None = None,
) -> TrainResult:
    """Fine-tune an encoder on texts (dropout twins) or on pairs with hard negatives.

    The settings in force are logged before the first step, and a line an evaluation after it. Under
    torchrun every rank calls this; they train as one process on the joined batch, rank 0
    alone scores, chooses and writes, and all return the same once it has. The connection between
    them stays open: `distributed.leave` closes it before a script of your own ends.

    Args:
        model: what `SentenceEncoder.from_pretrained` takes, or an encoder, trained in place.
        data: what `read_rows` takes (the rows of a large file stay on disk, see
            `simcse_kit.data.keep_rows`), or rows. Columns decide: ``text`` trains on dropout twins,
            ``anchor, positive[, negative…]`` on the given views.
        config: every setting; `eval_split` among them, which makes a dev set of the rows.
        output_dir: new or empty folder; ends up loading as the chosen model.
        eval_data: dev pairs: scored at step 0, every `eval_steps` and at the end; the best step is
            chosen.
        resume: continue the run in `output_dir` from its last checkpoint, exactly. One that has
            finished is not trained further: its result is given back.
        overwrite: replace an earlier run in `output_dir`.
        ready: called once everything given is checked, before anything is written.

    Raises:
        InputError: anything given cannot be trained on; nothing was written then.
        KeyboardInterrupt: after Ctrl-C, SIGTERM or SIGHUP, once a checkpoint is saved.
    """
    keep_buffers()
    folder = at_home(output_dir)
    if launched_together():  # building the arguments joins this process to the others
        on_cpu = isinstance(model, SentenceEncoder) and model.device.type == "cpu"
        config.to_training_arguments(folder, use_cpu=config.use_cpu or on_cpu)
    check_apart(folder, model, data, eval_data, config, overwrite=overwrite)
    check_can_make(folder)
    begun = Begun.read(folder) if resume else None
    if begun is None:
        check_folder(folder, overwrite=overwrite)
    check_dev(eval_data, config)
    rows = rows_of(data, config)
    sets = training_sets(rows, config)
    all_rows = [each.rows for each in sets]
    rows, dev = judged_on(rows, eval_data, config)
    sets = [replace(sets[0], rows=rows), *sets[1:]]  # those that are left
    sets = [each.checked() for each in sets]
    steps = steps_in_all(rows_an_epoch(sets, config), config)
    given, config = config, (begun.cadence(config) if begun else config).for_length(steps)
    judge = None if dev is None else dev.key
    checkpoint = None
    if begun is not None:
        begun.check_data(all_rows)
        changed = begun.changes(config, steps)
        check_judge(folder, judge, config)
        if (ended := already_finished(begun, config, steps)) is not None:
            if not begun.same_name(model):
                set_seed(config.seed)  # as it was begun, where adapters are drawn
                encoder = load_to_train(model, config)
                begun.check_model(began_as(encoder, model, all_rows, judge, steps), model)
            return finished_result(folder, ended, model, config)
        checkpoint = take_checkpoint(folder)
    set_seed(config.seed)  # before the head is initialised
    encoder = load_to_train(model, config)
    began = began_as(encoder, model, all_rows, judge, steps)
    if begun is not None:
        begun.check_model(began, model)
    for each in sets:
        check_encoder(encoder, each.rows, each.config)
    vectors = [Vectors.of(each.rows, each.config, encoder.device) for each in sets]
    known = [own.told() | files_told(each.config) for each, own in zip(sets, vectors, strict=True)]
    for told, own in zip([began, *began.get("datasets", [])], known, strict=True):
        told |= own
    if begun is not None:
        begun.check_followed([each.config for each in sets], known)
    contexts = [each.context(steps, own) for each, own in zip(sets, vectors, strict=True)]
    contrastive = build_model(encoder, config, *contexts)
    arguments = _arguments(config, folder, encoder, dev, checkpoint)
    rehearse(arguments, contrastive, steps)
    collators = [
        build_collator(contrastive, each.rows, each.config, context, own, each.pairing, number)
        for number, (each, context, own) in enumerate(zip(sets, contexts, vectors, strict=True))
    ]
    if ready is not None:
        ready()
    if is_main():
        further = [(each.rows, each.config) for each in sets[1:]]
        logger.info(in_force(given, config, encoder, rows, dev, steps, further))
        if begun is not None and checkpoint is not None:
            begun.say(changed, began, config, step_of(checkpoint))
    sources = ", ".join(short(each.rows.source) for each in sets)
    told = {"base_model": short(encoder.name), "data": sources}
    told |= {"rows": ", ".join(str(len(each.rows)) for each in sets)}
    told |= {} if dev is None else {"dev": f"{dev.name}, {len(dev):,} pairs"}
    keeper = Keeper(folder, contrastive.kept, config, dev, told)
    with prepared(folder, config, began, checkpoint=checkpoint, resume=resume, overwrite=overwrite):
        if is_main():
            keeper.settle()
        wait_for_all()
        trainer = _trainer(keeper, arguments, contrastive, sets, collators, checkpoint)
        if checkpoint is not None and step_of(checkpoint) >= steps:
            trainer.take_up(str(checkpoint))  # trained, but interrupted before it was all written
            if is_main():
                write_history(folder, trainer.state.log_history)
        else:
            _run(trainer, checkpoint, folder, config.profile)
        contrastive.release()
        return _finish(trainer, keeper, steps)


def steps_in_all(rows: int, config: TrainConfig) -> int:
    """Optimizer steps of a run, as the Trainer counts them; the last short batch is left out."""
    if config.max_steps > 0:
        return config.max_steps
    batches = rows // config.per_device_train_batch_size // world_size()
    an_epoch = max(1, -(-batches // config.gradient_accumulation_steps))
    return math.ceil(config.num_train_epochs * an_epoch)


def _arguments(
    config: TrainConfig,
    folder: Path,
    encoder: SentenceEncoder,
    dev: DevSet | None,
    checkpoint: Path | None,
) -> TrainingArguments:
    arguments = config.to_training_arguments(
        folder,
        bf16=encoder.precision == "bf16",
        eval_strategy="no" if dev is None else "steps",
        eval_on_start=dev is not None and checkpoint is None,
        save_strategy="steps",
        push_to_hub=False,  # the finished folder is pushed, not the Trainer's state
        use_cpu=config.use_cpu or encoder.device.type == "cpu",
        # a batch is of one data set, and the objectives of the others take no part in it
        ddp_find_unused_parameters=config.ddp_find_unused_parameters or bool(config.datasets),
    )
    # DataParallel would gather losses of halved batches: one process, one device; torchrun
    # for more.
    arguments._n_gpu = min(arguments.n_gpu, 1)
    if encoder.device.type == "cuda":
        arguments.accelerator_config.non_blocking = True  # a copy does not hold the step up
    return arguments


def _trainer(
    keeper: Keeper,
    arguments: TrainingArguments,
    model: ContrastiveModel,
    sets: list[TrainingSet],
    collators: list[ViewCollator],
    checkpoint: Path | None,
) -> ContrastiveTrainer:
    config, encoder, dev = keeper.config, keeper.encoder, keeper.dev
    name = re.sub(r"[/\\]|^\.+", "_", config.run_name or "")  # a folder of that one
    os.environ["TENSORBOARD_LOGGING_DIR"] = str(keeper.folder / "tensorboard" / name)
    update = None
    if config.torch_compile:
        backend = config.torch_compile_backend
        mode = {"mode": config.torch_compile_mode} if backend == "inductor" else {}
        model.compile_step(backend=backend, **mode)
        if not (config.fp16 or launched_together()):  # a scaler and DDP have ways of their own
            update = CompiledUpdate(backend=backend, **mode)
    counts = [each.count for each in sets]
    collator: ViewCollator | SeveralCollators = collators[0]
    if len(sets) > 1:
        collator = SeveralCollators(collators, counts)
    trainer = ContrastiveTrainer(
        model=model,
        args=arguments,
        data_collator=collator,
        train_dataset=RowNumbers(sum(counts)),
        eval_dataset=None if dev is None else RowNumbers(len(dev)),
        evaluate_dev=None if dev is None else lambda: dev.score(encoder),
        dev_figure="" if dev is None else dev.figure,
        save_best=keeper.save_best,
        alarm=None if config.collapse == "off" else CollapseAlarm(joint_batch(config)),
        stop_on_alarm=config.collapse == "stop",
        patience=config.early_stopping_patience,
        order=partial(order_of, sets, collators, config),
        update=update,
        best=None if dev is None or checkpoint is None else read_best(keeper.folder),
    )
    trainer.by_epoch.told.append(collator)
    embeds = [partial(embed_rows, model, each) for each in collators]
    trainer.add_callback(StepsOfParts(model, [*zip(embeds, counts, strict=True)]))
    return trainer


def _run(
    trainer: ContrastiveTrainer, checkpoint: Path | None, folder: Path, profile: Profile | None
) -> None:
    """Train to the end, or up to Ctrl-C or another signal to end."""
    interrupt = GracefulInterrupt()
    for callback in (
        Milestones(has_dev=trainer.evaluate_dev is not None),
        LiveHistory(folder),
        interrupt,
        OwnDropout,
    ):
        trainer.add_callback(callback)
    if profile is not None:  # last, for the others decide what is done after a step
        trainer.add_callback(ProfileSteps(profile, folder / "tensorboard"))
    try:
        with above_the_bar(trainer.args):
            trainer.train(resume_from_checkpoint=None if checkpoint is None else str(checkpoint))
    finally:
        interrupt.restore()
    if interrupt.number:
        said = f"saved step {trainer.state.global_step} in {folder}"
        raise Interrupted(said, interrupt.number)


def _finish(trainer: ContrastiveTrainer, keeper: Keeper, steps: int) -> TrainResult:
    """Keep the last step apart, draw the curve, hand back the chosen model."""
    state, encoder, folder = trainer.state, keeper.encoder, keeper.folder
    if not all(parameter.isfinite().all() for parameter in encoder.parameters()):
        raise InputError(
            f"{trainer.stopped or 'training ended'}; the weights are not finite, so the last "
            f"step is not saved; what was saved before is in {str(folder)!r}"
        )
    best, main = state.best_global_step, trainer.is_world_process_zero()
    if main:
        keeper.save_last(state.global_step, chosen=best is None)
    chosen = encoder
    if best is not None and best != state.global_step:
        chosen = SentenceEncoder.from_pretrained(
            folder,
            device=encoder.device,
            precision=encoder.precision,
            trust_remote_code=encoder.own_code,
        )
    dev = None if keeper.dev is None or best is None else keeper.dev.name
    ended = Ended(state.global_step, steps, best, state.best_metric, dev, trainer.stopped)
    if main:
        keeper.draw(chosen, state.log_history)
        if keeper.config.push_to_hub:
            chosen.push_to_hub(
                keeper.config.hub_model_id or folder.name,
                private=keeper.config.hub_private_repo is not False,
                card=(folder / "README.md").read_text(encoding="utf-8"),
                layout=keeper.config.layout,
                merge_adapters=keeper.config.merge_adapters,
            )
        note_end(folder, ended)
        if best == 0:
            logger.warning(DID_NOT_HELP)
    wait_for_all()  # the folder is whole when any rank returns
    return TrainResult(
        folder,
        chosen.eval(),
        ended.step,
        best,
        ended.best_score,
        state.log_history,
        trainer.stopped,
        dev,
    )
