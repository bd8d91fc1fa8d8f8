"""The peers' side of the comparisons of speed: sentence-transformers, as its manual shows it."""

from __future__ import annotations

import tempfile
from typing import TYPE_CHECKING, Any

from speed_ours import StepClock, training_sentences
from speed_turns import Gate, Setting

if TYPE_CHECKING:
    from sentence_transformers import SentenceTransformer


def _load(setting: Setting, **settings: Any) -> SentenceTransformer:
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(setting.model, device=setting.device, **settings)
    if setting.max_length is not None:
        model.max_seq_length = setting.max_length
    return model


class Train:
    """`SentenceTransformerTrainer` with MultipleNegativesRankingLoss on (sentence, sentence).

    Weights in fp32; in bf16 the forward pass runs under autocast, ``bf16=True``.
    """

    def __init__(self, setting: Setting) -> None:
        self.setting = setting
        self.sentences = training_sentences(setting)
        self.model = _load(setting)
        self.evidence: dict[str, Any] = {"loss": self._first_loss()}

    def _first_loss(self) -> float:
        """Loss of the first batch without dropout."""
        import torch
        from sentence_transformers.sentence_transformer.losses import MultipleNegativesRankingLoss
        from sentence_transformers.util import batch_to_device

        features = [
            batch_to_device(
                self.model.preprocess(self.sentences[: self.setting.batch_size]), self.model.device
            )
            for _ in range(2)
        ]
        loss = MultipleNegativesRankingLoss(self.model.eval(), scale=20.0)
        bf16 = self.setting.precision == "bf16"
        with torch.no_grad(), torch.autocast(self.model.device.type, torch.bfloat16, enabled=bf16):
            value = float(loss(features, None))
        self.model.train()
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

        class FileOrder(DefaultBatchSampler):
            """Batches in the order of the rows."""

            def __init__(self, dataset: Any, **settings: Any) -> None:
                super().__init__(SequentialSampler(dataset), **settings)

        setting = self.setting
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
