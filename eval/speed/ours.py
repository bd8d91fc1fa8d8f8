"""Our side of the comparisons of speed: the kit's own public functions, as a user calls them."""

from __future__ import annotations

import gzip
import json
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

from eval.speed.machine import TRAINING, encoder_flops
from eval.speed.turns import Gate, Setting, Turn
from simcse_kit.errors import InputError

if TYPE_CHECKING:
    from simcse_kit.encoder import SentenceEncoder
    from simcse_kit.evaluation.sts import PairTask
    from simcse_kit.training import TrainConfig

#: Embeddings that are compared between the sides.
CHECKED = 1000


def read_sentences(path: Path | None, count: int) -> list[str]:
    """The first `count` different non-blank lines of a text file, ``.gz`` or not."""
    if path is None:
        raise InputError("this work needs sentences; give a text file with --data")
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rt", encoding="utf-8") as file:
            lines = (line.strip() for line in file)
            found: dict[str, None] = {}
            for line in filter(None, lines):
                found[line] = None
                if len(found) == count:
                    break
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read {str(path)!r}: {error}") from error
    if len(found) < count:
        raise InputError(
            f"{str(path)!r} holds {len(found)} different sentences where {count} are needed; "
            "give a longer file, or fewer steps, pairs or sentences"
        )
    return list(found)


def training_sentences(setting: Setting) -> list[str]:
    """As many as the warm-up and all turns take, so that none is met twice."""
    batches = setting.warmup_steps + setting.turns * setting.steps
    return read_sentences(setting.data, batches * setting.batch_size)


def first_batch(setting: Setting, sentences: list[str]) -> list[str]:
    """What both sides' losses are compared on: not more than memory holds without GradCache."""
    return sentences[: min(setting.batch_size, 512)]


def load(setting: Setting, **settings: Any) -> SentenceEncoder:
    """The encoder in this side's precision, on its device."""
    from simcse_kit.encoder import SentenceEncoder

    return SentenceEncoder.from_pretrained(
        setting.model,
        pooling=setting.pooling,
        device=setting.device,
        precision="bf16" if setting.precision == "bf16" else "fp32",
        **settings,
    )


class Train:
    """Unsupervised training by `simcse_kit.training.run.train`, stopped before it saves anything.

    The kit tokenises once, ahead of training. That time is measured apart and added to every
    turn for its sentences, as if each were used in a single epoch: the case worst for the kit.
    """

    def __init__(self, setting: Setting) -> None:
        from simcse_kit.data import TokenStore

        self.setting = setting
        self.sentences = training_sentences(setting)
        encoder = load(setting, dropout=0.0)
        start = time.perf_counter()
        assert setting.max_length is not None
        store = TokenStore.build(self.sentences, encoder.tokenizer, setting.max_length)
        self.tokenising = (time.perf_counter() - start) / len(self.sentences)
        flops = 2 * TRAINING * encoder_flops(encoder, store.lengths)
        self.evidence: dict[str, Any] = {
            "loss": self._first_loss(encoder),
            "packed": encoder.packed,
            "flops_a_sentence": flops / len(store),
            "tokens_a_sentence": float(store.lengths.mean()),
            "tokenising_microseconds_a_sentence": 1e6 * self.tokenising,
        }

    def _config(self, **settings: Any) -> TrainConfig:
        from simcse_kit.training import build_config

        setting = self.setting
        steps = setting.warmup_steps + setting.turns * setting.steps
        given = {
            "pooling": setting.pooling,
            "head": "none",  # as the peer's model has none
            "temperature": 0.05,
            "max_length": setting.max_length,
            "per_device_train_batch_size": setting.batch_size,
            "learning_rate": setting.learning_rate,
            "max_steps": steps,
            "seed": setting.seed,
            "bf16": setting.precision == "bf16",
            "use_cpu": setting.device == "cpu",
            "report_to": "none",
            "logging_strategy": "no",
            "logging_first_step": False,
            "disable_tqdm": True,
            "save_steps": steps + 1,
        }
        given |= settings
        pairs = [f"{key}={json.dumps(value)}" for key, value in given.items()]  # JSON is YAML
        return build_config(None, [*pairs, *setting.overrides])

    def _first_loss(self, encoder: SentenceEncoder) -> float:
        """Loss of the first batch without dropout, in training mode and this precision."""
        import torch

        from simcse_kit.data import TokenStore
        from simcse_kit.training import ViewCollator, build_model, build_views

        config = self._config()
        rows = _rows(first_batch(self.setting, self.sentences))
        views, text_ids = build_views(rows, config)
        store = TokenStore.build(rows.texts(), encoder.tokenizer, config.max_length)
        inputs = ViewCollator(store, views, text_ids)(list(range(len(rows))))
        inputs = {key: value.to(self.setting.device) for key, value in inputs.items()}
        model = build_model(encoder, config).train()
        bf16 = self.setting.precision == "bf16"
        with torch.no_grad(), torch.autocast(encoder.device.type, torch.bfloat16, enabled=bf16):
            return float(model(**inputs)["loss"])

    def take_turns(self, gate: Gate) -> None:
        """One call of `train`, held between the turns."""
        from torch.utils.data import SequentialSampler

        from eval.speed.clock import StepClock
        from simcse_kit.training import ContrastiveTrainer
        from simcse_kit.training import run as training

        gate.wait()
        clock = StepClock(gate, self.setting, self.tokenising)

        class FileOrder(ContrastiveTrainer):
            """The rows in their order, as the peer has them."""

            def _get_train_sampler(self, train_dataset: Any = None) -> Any:
                return SequentialSampler(self.train_dataset)

        trainer_class = FileOrder if self.setting.file_order else ContrastiveTrainer

        def with_clock(*args: Any, **settings: Any) -> Any:
            trainer = trainer_class(*args, **settings)
            trainer.add_callback(clock)
            return trainer

        with (
            tempfile.TemporaryDirectory() as folder,
            mock.patch.object(training, "ContrastiveTrainer", with_clock),
        ):
            # `Stopped`, raised by the clock, ends the call where it would begin to save
            training.train(
                load(self.setting),
                _rows(self.sentences),
                self._config(cache_dir=f"{folder}/tokens"),
                Path(folder, "run"),
            )


class Encode:
    """`SentenceEncoder.encode` of all sentences, tokenising included."""

    def __init__(self, setting: Setting) -> None:
        from simcse_kit.data import TokenStore

        self.sentences = read_sentences(setting.data, setting.sentences)
        self.encoder = load(setting, max_length=setting.encode_length)
        store = TokenStore.build(self.sentences, self.encoder.tokenizer, setting.encode_length)
        self.evidence: dict[str, Any] = {
            "packed": self.encoder.packed,
            "flops_a_sentence": encoder_flops(self.encoder, store.lengths) / len(store),
            "tokens_a_sentence": float(store.lengths.mean()),
        }

    def take_turns(self, gate: Gate) -> None:
        """The same sentences every turn; nothing is kept from one call to the next."""
        while True:
            gate.wait()
            start = gate.clock()
            embeddings = self.encoder.encode(self.sentences)
            gate.done(Turn(gate.clock() - start, len(self.sentences)))
            self.evidence["embeddings"] = embeddings[:CHECKED]


class Sts:
    """`evaluate` on the seven tasks of the STS suite, loaded beforehand."""

    def __init__(self, setting: Setting) -> None:
        from simcse_kit.data import TokenStore

        self.tasks = sts_tasks(setting)
        self.encoder = load(setting)
        distinct = list({text for task in self.tasks for text in task.sentence1 + task.sentence2})
        store = TokenStore.build(distinct, self.encoder.tokenizer, self.encoder.max_length)
        # A sentence that stands in several pairs needs to be computed once: FLOPs count it once.
        flops = encoder_flops(self.encoder, store.lengths)
        self.evidence: dict[str, Any] = {
            "packed": self.encoder.packed,
            "max_length": self.encoder.max_length,
            "distinct_sentences": len(distinct),
            "flops_a_sentence": flops / sentences_of(self.tasks),
        }

    def take_turns(self, gate: Gate) -> None:
        """The whole suite every turn, but for a warm-up on one task."""
        from simcse_kit.evaluation.sts import evaluate

        while True:
            gate.wait()
            tasks = self.tasks if gate.turn else warm_up_task(self.tasks)
            start = gate.clock()
            result = evaluate(self.encoder, tasks)
            gate.done(Turn(gate.clock() - start, sentences_of(tasks)))
            self.evidence["spearman"] = {
                name: score.spearman for name, score in result.tasks.items()
            }


def sts_tasks(setting: Setting) -> list[PairTask]:
    """The suite from a SentEval folder."""
    from simcse_kit.evaluation.sts import suite as sts

    if setting.data_dir is None:
        raise InputError("the STS suite needs its data; give a SentEval folder with --data-dir")
    return sts.load_tasks(setting.data_dir)


def warm_up_task(tasks: list[PairTask]) -> list[PairTask]:
    """The smallest of them."""
    return [min(tasks, key=len)]


def sentences_of(tasks: list[PairTask]) -> int:
    """Two a pair, the repeated ones too: the unit both sides are counted in."""
    return 2 * sum(len(task) for task in tasks)


def _rows(sentences: list[str]) -> Any:
    from simcse_kit.data import Rows

    return Rows("text", {"text": sentences}, None, None, "sentences", 0, 0)
