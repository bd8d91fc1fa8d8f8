"""The peers' side of the comparisons of speed: sentence-transformers, as its manual shows it."""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING, Any

from eval.speed.ours import (
    CHECKED,
    first_batch,
    read_sentences,
    sentences_of,
    sts_tasks,
    training_sentences,
    warm_up_task,
)
from eval.speed.turns import Gate, Setting, Turn

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


def _load(setting: Setting, max_length: int | None, *, half: bool = False) -> SentenceTransformer:
    """The model; `half`: its weights in bf16, which is faster than autocast over fp32 ones."""
    import torch
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(
        setting.model,
        device=setting.device,
        model_kwargs={"dtype": torch.bfloat16 if half else torch.float32},
    )
    if setting.pooling not in (None, "mean"):  # mean is what it takes for a plain checkpoint
        from sentence_transformers.sentence_transformer.modules import Pooling

        model[1] = Pooling(model.get_embedding_dimension(), setting.pooling)
    if max_length is not None:
        model.max_seq_length = max_length
    return model


class Train:
    """`SentenceTransformerTrainer` with MultipleNegativesRankingLoss on (sentence, sentence).

    Weights in fp32; in bf16 the forward pass runs under autocast, ``bf16=True``.
    """

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.sentences = training_sentences(setting)
        self.model = _load(setting, setting.max_length)
        self.evidence: dict[str, Any] = {"loss": self._first_loss()}

    def _first_loss(self) -> float:
        """Loss of the first batch without dropout; as in the trainer, autocast spares the loss."""
        import torch
        from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
        from sentence_transformers.util import batch_to_device

        model = self.model.eval()
        loss = MultipleNegativesRankingLoss(model, scale=20.0)
        features = batch_to_device(
            model.preprocess(first_batch(self.setting, self.sentences)), model.device
        )
        bf16 = self.setting.precision == "bf16"
        with torch.no_grad():
            with torch.autocast(model.device.type, torch.bfloat16, enabled=bf16):
                embeddings = model(features)["sentence_embedding"]
            value = float(loss.compute_loss_from_embeddings([embeddings.float()] * 2, None))
        model.train()
        return value

    def take_turns(self, gate: Gate) -> None:
        """One call of `train`, held between the turns."""
        from datasets import Dataset
        from sentence_transformers import (
            SentenceTransformerTrainer,
            SentenceTransformerTrainingArguments,
        )
        from sentence_transformers.base.sampler import DefaultBatchSampler
        from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
        from torch.utils.data import SequentialSampler

        from eval.speed.clock import StepClock

        class FileOrder(DefaultBatchSampler):
            """Batches in the order of the rows."""

            def __init__(self, dataset: Any, **settings: Any) -> None:
                super().__init__(SequentialSampler(dataset), **settings)

        gate.wait()
        setting = self.setting
        self.model.model_card_data.widget = [{}]  # none is computed, behind a bar, for its card
        rows = Dataset.from_dict({"anchor": self.sentences, "positive": self.sentences})
        with tempfile.TemporaryDirectory() as folder:
            arguments = SentenceTransformerTrainingArguments(
                output_dir=folder,
                max_steps=setting.warmup_steps + setting.turns * setting.steps,
                per_device_train_batch_size=setting.batch_size,
                learning_rate=setting.learning_rate,
                bf16=setting.precision == "bf16",
                use_cpu=setting.device == "cpu",
                seed=setting.seed,
                dataloader_drop_last=True,
                report_to="none",
                save_strategy="no",
                logging_strategy="no",
                disable_tqdm=True,
                **({"batch_sampler": FileOrder} if setting.file_order else {}),
            )
            trainer = SentenceTransformerTrainer(
                model=self.model,
                args=arguments,
                train_dataset=rows,
                loss=MultipleNegativesRankingLoss(self.model, scale=20.0),
            )
            trainer.add_callback(StepClock(gate, setting, tokenising=0.0))
            trainer.train()


class Encode:
    """`SentenceTransformer.encode`; in bf16 with weights of that type."""

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.sentences = read_sentences(setting.data, setting.sentences)
        half = setting.precision == "bf16"
        self.model = _load(setting, setting.encode_length, half=half)
        self.evidence: dict[str, Any] = {}

    def take_turns(self, gate: Gate) -> None:
        """The same sentences every turn."""
        while True:
            gate.wait()
            start = gate.clock()
            embeddings = self.model.encode(
                self.sentences, batch_size=self.setting.peer_batch, show_progress_bar=False
            )
            gate.done(Turn(gate.clock() - start, len(self.sentences)))
            self.evidence["embeddings"] = embeddings[:CHECKED].astype("float32")


class Sts:
    """One `EmbeddingSimilarityEvaluator` a task, with its own defaults, one after another."""

    def __init__(self, setting: Setting) -> None:
        self.tasks = sts_tasks(setting)
        self.model = _load(setting, None, half=setting.precision == "bf16")
        self.evidence: dict[str, Any] = {"max_length": self.model.max_seq_length}

    def take_turns(self, gate: Gate) -> None:
        """The whole suite every turn, but for a warm-up on one task."""
        from sentence_transformers.sentence_transformer.evaluation import (
            EmbeddingSimilarityEvaluator,
        )

        while True:
            gate.wait()
            tasks = self.tasks if gate.turn else warm_up_task(self.tasks)
            start = gate.clock()
            scores = {}
            for task in tasks:
                evaluator = EmbeddingSimilarityEvaluator(
                    task.sentence1, task.sentence2, task.gold.tolist(), write_csv=False
                )
                scores[task.name] = 100 * float(evaluator(self.model)["spearman_cosine"])
            gate.done(Turn(gate.clock() - start, sentences_of(tasks)))
            self.evidence["spearman"] = scores
