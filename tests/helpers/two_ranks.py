"""What test_distributed starts: ``torchrun --nproc_per_node 2 two_ranks.py FOLDER ENCODER``.

With names of methods (`methods.METHODS`) behind, some steps of each of them alone. Also imported by
the test, whose single process does the same work for comparison.
"""

from __future__ import annotations

import faulthandler
import json
import shutil
import signal
import sys
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from methods import METHODS, rows_of, settings_of, some_steps
from simcse_kit.compute.packing import PackedBatch
from simcse_kit.data.links import linked_texts
from simcse_kit.data.rows import Rows
from simcse_kit.encoder.persistence import Head
from simcse_kit.encoder.sentence_encoder import SentenceEncoder
from simcse_kit.evaluation.sts.suite import PairTask
from simcse_kit.objectives.info_nce import InfoNCE
from simcse_kit.training import distributed
from simcse_kit.training.model.contrastive import ContrastiveModel
from simcse_kit.training.model.goal import Goal
from simcse_kit.training.model.masked_lm import MaskedLanguageModel
from simcse_kit.training.run import TrainResult, train
from simcse_kit.training.settings.config import TrainConfig

HANGS = 200  # seconds, after which a rank says where it stands, and ends
ROWS = 7  # of the joined batch: 4 on rank 0 and 3 on rank 1
WORDS = ["dog", "king", "bird", "street", "song", "plays", "reads", "red", "small", "first"]


def texts(count: int, seed: int) -> list[str]:
    pick = np.random.default_rng(seed)
    return [" ".join(pick.choice(WORDS, int(pick.integers(2, 9)))) for _ in range(count)]


def pairs() -> Rows:
    """With equal texts in them, so that the mask has work to do, and negatives that lack."""
    columns = {"anchor": texts(40, 1), "positive": texts(40, 2), "negative": texts(40, 3)}
    columns["positive"][::2] = columns["positive"][:1] * 20
    columns["negative"][::5] = [""] * 8
    return Rows("pairs", columns, None, None, "pairs", 0, 0)


def dev() -> PairTask:
    return PairTask("STSB-dev", texts(12, 4), texts(12, 5), np.arange(12) % 6.0, {}, "dev", "test")


def settings(folder: Path, **own: Any) -> TrainConfig:
    base: dict[str, Any] = {
        "pooling": "mean",
        "per_device_train_batch_size": 4,
        "learning_rate": 1e-3,
        "bf16": False,
        "report_to": [],
        "use_cpu": True,
        "cache_dir": folder / "cache",
        "logging_steps": 1,
        "save_steps": 2,
        "save_total_limit": 2,
        "eval_steps": 1,
        "max_steps": 4,
    }
    return TrainConfig(**(base | own))


#: Trained on two ranks and, with batches twice as large, in one process: by chunks and accumulated.
JOINED = {
    "dropout": 0.0,
    "mini_batch_size": 3,
    "gradient_accumulation_steps": 2,
    "early_stopping_patience": 3,
}


class EveryThird(MaskedLanguageModel):
    """Chooses tokens by their id and not by chance, so that it does not matter who chooses."""

    def mask(self, input_ids: Tensor) -> tuple[Tensor, Tensor]:
        chosen = input_ids % 3 == 0
        return torch.where(chosen, self.mask_id, input_ids), chosen


def joint_model(encoder_folder: str) -> ContrastiveModel:
    encoder = SentenceEncoder.from_pretrained(
        encoder_folder, pooling="mean", device="cpu", precision="fp32", dropout=0.0
    )
    torch.manual_seed(0)
    lm = EveryThird(encoder)
    for module in lm.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    model = ContrastiveModel(
        encoder,
        # an objective with a parameter of its own
        Goal(InfoNCE(temperature=0.135, learn_temperature=True, hard_negative_weight=2.0)),
        projection=Head(32, 16),
        masked_lm=lm,
        masked_lm_weight=0.5,
        mini_batch_size=2,
    )
    # the first row's anchor has two positives elsewhere, one of them a negative of the last rank
    links = linked_texts(np.array([0, 0, 0]), np.array([1, 10, 17]), ROWS * 3)
    model.goals[0].link(links, ROWS * 3)
    return model.train()


def joint_batch(rows: slice) -> tuple[PackedBatch, Tensor]:
    """Some rows, three views each, of one batch in which texts repeat and a negative lacks."""
    text_ids = np.arange(ROWS * 3).reshape(ROWS, 3)
    text_ids[6], text_ids[4, 1] = text_ids[1], text_ids[0, 0]
    text_ids[2, 2] = -1
    lengths = np.random.default_rng(0).integers(2, 20, ROWS * 3)[text_ids[rows]].reshape(-1)
    ids = [
        np.random.default_rng(abs(i)).integers(5, 90, n)
        for i, n in zip(text_ids[rows].reshape(-1), lengths, strict=True)
    ]
    return PackedBatch.from_flat(np.concatenate(ids), lengths), torch.from_numpy(text_ids[rows])


def joint_step(model: nn.Module, rows: slice) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Loss, figures and every gradient after one backward pass; what else the model said."""
    output = model(*joint_batch(rows))
    output["loss"].backward()
    named = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    found = {name.removeprefix("module."): grad.clone() for name, grad in named.items()}
    model.zero_grad()
    loss = distributed.mean_over_ranks(output["loss"].detach())
    return found | {"loss": loss, "figures": output["figures"]}, output


def told(result: TrainResult) -> dict[str, Any]:
    return {
        "steps": result.steps,
        "best": [result.best_step, result.best_score],
        "stopped": result.stopped,
        "history": result.history,
        "sum": sum(p.double().sum().item() for p in result.encoder.parameters()),
    }


#: Every way to order the rows.
ORDERS: dict[str, dict[str, Any]] = {
    "random": {},
    "data_seed": {"data_seed": 7},
    "group_window": {"group_window": 2},
    "no_duplicates": {"batch_sampler": "no_duplicates"},
}


def in_the_second_epoch(encoder: str, folder: Path, own: dict[str, Any]) -> list[float]:
    """The weights' sum after two epochs: at once, and resumed within the second."""
    own = settings(folder, **own, max_steps=-1, num_train_epochs=2, gradient_accumulation_steps=2)
    whole = train(encoder, pairs(), own, folder / "at-once")
    last = whole.steps
    if distributed.is_main():
        for later in (f"checkpoint-{last}", "last"):
            shutil.rmtree(folder / "at-once" / later)
        (folder / "at-once").rename(folder / "again")
    distributed.wait_for_all()
    resumed = train(encoder, pairs(), own, folder / "again", resume=True)
    return [last, told(whole)["sum"], resumed.steps, told(resumed)["sum"]]


def _interrupted(encoder: str, folder: Path) -> str:
    """Ctrl-C on rank 1 alone, in the second step."""
    from simcse_kit.training.runs import interrupting

    step_end = interrupting.GracefulInterrupt.on_step_end

    def on_step_end(self: Any, args: Any, state: Any, control: Any, **rest: Any) -> None:
        if state.global_step == 2 and distributed.rank() == 1:
            signal.raise_signal(signal.SIGINT)
            signal.raise_signal(signal.SIGINT)  # the launcher's, after the terminal's
        step_end(self, args, state, control, **rest)

    interrupting.GracefulInterrupt.on_step_end = on_step_end  # type: ignore[method-assign]
    try:
        own = settings(folder, save_steps=100)
        train(encoder, pairs(), own, folder / "interrupted")
    except KeyboardInterrupt as interrupt:
        return str(interrupt)
    finally:
        interrupting.GracefulInterrupt.on_step_end = step_end  # type: ignore[method-assign]
    return "went on"


def command_line(encoder: str, folder: Path) -> None:
    """``simcse-kit train`` on every rank; what it says goes to the launcher's stdout."""
    from simcse_kit.commands.cli import app

    options = {"pooling": "mean", "per_device_train_batch_size": 4, "max_steps": 2}
    options |= {"use_cpu": "true", "report_to": "none", "cache_dir": folder / "cache"}
    options |= {"ddp_backend": "gloo", "ddp_timeout": 300, "ddp_bucket_cap_mb": 1}
    options |= {"ddp_find_unused_parameters": "true", "ddp_broadcast_buffers": "false"}
    words = [word for key, value in options.items() for word in ("--set", f"{key}={value}")]
    data = folder / f"texts-{distributed.rank()}.txt"
    data.write_text("\n".join(texts(20, 6)))
    words += ["--model", encoder, "--data", str(data), "--output-dir", str(folder / "from-cli")]
    app(["train", *words], standalone_mode=False)


#: Methods of which every run of the tests takes some steps.
OFTEN = ("keys for positives", "prototypes", "swapped", "options", "cut-offs", "teachers")


def own_rows(rows: np.ndarray) -> np.ndarray:
    """More of a batch's for rank 0 than for rank 1."""
    return rows[:5] if distributed.rank() == 0 else rows[5:]


def steps_by_hand(encoder: str, folder: Path, methods: Sequence[str]) -> None:
    """What each method's steps leave on this rank."""
    ddp = partial(nn.parallel.DistributedDataParallel, find_unused_parameters=True)
    for name in methods:
        own, kind = settings_of(folder, encoder, name), METHODS[name][0]
        found = some_steps(encoder, own, kind, own=own_rows, wrapped=ddp)
        save_file(found, folder / f"{name}-{distributed.rank()}.safetensors")


def labelled_run(encoder: str, folder: Path, batch_size: int, name: str) -> TrainResult:
    """A run whose batches have several rows a label, whose parts have all kinds of state."""
    method: dict[str, Any] = {
        "objective": {"name": "info_nce", "learn_temperature": True},
        "auxiliaries": [
            "supervised_contrastive",
            {"name": "prototypes", "clusters": [2], "refresh_every": 3},
        ],
        "keys": {"name": "momentum", "momentum": 0.8, "queue_length": 12},
        "projection": {"name": "mlp", "norm": "batch"},
        "ema_decay": 0.7,
        "anchor_view": "deletion",
        "batch_sampler": "group_by_label",
        "samples_per_label": 2,
    }
    own: dict[str, Any] = {"dropout": 0.0, "optim": "sgd", "learning_rate": 0.01}
    own |= {"per_device_train_batch_size": batch_size, "num_train_epochs": 2, "max_steps": -1}
    own = settings(folder, **(method | own))
    return train(encoder, rows_of("labelled"), own, folder / name, eval_data=dev())


def steps_of_the_joint_model(encoder: str, folder: Path) -> int:
    """Gradients with the other rank's negatives and without; how many rows the joined batch has.

    A function, for the model must go before the ranks part: it holds their group, and if that ended
    with it, this thread would wait, with Python's lock, for one of gloo's that waits for the lock.
    """
    rank = distributed.rank()
    torch.manual_seed(0)
    model = nn.parallel.DistributedDataParallel(joint_model(encoder))
    rows = slice(0, 4) if rank == 0 else slice(4, ROWS)
    step, _ = joint_step(model, rows)
    save_file(step, folder / f"step-{rank}.safetensors")
    model.module.gather_negatives = False
    alone, output = joint_step(model, rows)
    save_file(alone, folder / f"alone-{rank}.safetensors")
    found: int = output["rows"]
    return found


def main(folder: Path, encoder: str) -> None:
    answers: dict[str, Any] = {}
    joined = train(encoder, pairs(), settings(folder, **JOINED), folder / "two", eval_data=dev())
    answers["joined"] = told(joined)
    rank = distributed.rank()
    answers["rows"] = steps_of_the_joint_model(encoder, folder)

    # with dropout, the masked LM and bf16: whole, and resumed from the middle
    own = settings(folder, mini_batch_size=2, mlm_weight=0.1, bf16=True)
    whole = train(encoder, pairs(), own, folder / "whole")
    answers["whole"] = told(whole)
    if distributed.is_main():
        shutil.copytree(folder / "whole", folder / "cut")
        for later in ("checkpoint-4", "last"):
            shutil.rmtree(folder / "cut" / later)
    distributed.wait_for_all()
    again = train(encoder, pairs(), own, folder / "cut", resume=True)
    answers["resumed"] = told(again)
    answers["orders"] = {
        name: in_the_second_epoch(encoder, folder / name, own) for name, own in ORDERS.items()
    }
    answers["labelled"] = told(labelled_run(encoder, folder, 4, "labelled"))
    steps_by_hand(encoder, folder, OFTEN)
    answers["interrupted"] = _interrupted(encoder, folder)
    answers["agreed"] = [distributed.any_rank(rank == 1), distributed.any_rank(False)]
    command_line(encoder, folder)
    answers["left"] = not torch.distributed.is_initialized()
    (folder / f"rank-{rank}.json").write_text(json.dumps(answers))


if __name__ == "__main__":
    faulthandler.dump_traceback_later(HANGS, exit=True)
    if sys.argv[3:]:
        torch.distributed.init_process_group("gloo")
        steps_by_hand(sys.argv[2], Path(sys.argv[1]), sys.argv[3:])
        distributed.leave()
    else:
        main(Path(sys.argv[1]), sys.argv[2])
