"""The masked-LM auxiliary: a pass of its own, beside the contrastive one."""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoModelForMaskedLM, PreTrainedModel
from transformers.modeling_outputs import BaseModelOutput

from simcse_kit.compute import PackedBatch, hidden_states, runs_packed
from simcse_kit.encoder import find_model, quietly
from simcse_kit.errors import InputError
from simcse_kit.training.distributed import sum_over_ranks, world_size
from simcse_kit.training.model.grad_cache import chunk_sizes, replayed

if TYPE_CHECKING:
    from simcse_kit.encoder import SentenceEncoder

logger = logging.getLogger(__name__)

#: Stands for a token that is not to be predicted.
_NOT_ASKED = -100


class _GivenStates(nn.Module):
    """Stands where a masked-LM model keeps its encoder and hands through what it is given."""

    def forward(self, *_: Any, inputs_embeds: Tensor, **__: Any) -> BaseModelOutput:
        return BaseModelOutput(last_hidden_state=inputs_embeds)


class MaskedLanguageModel(nn.Module):
    """Masked-LM loss of an encoder's backbone (SimCSE, section 6; Devlin et al. 2019, 3.1).

    Of the tokens, `probability` are predicted: 80 % of them read as the mask token, 10 % as a
    random one, 10 % as themselves. Special tokens are never chosen. The head is the checkpoint's
    own where it has one and fresh otherwise, its output matrix tied to the backbone's input
    embeddings. Only the chosen tokens go through it.

    Raises:
        InputError: the encoder's family has no masked-LM head, or its tokenizer no mask token.
    """

    def __init__(self, encoder: SentenceEncoder, probability: float = 0.15) -> None:
        super().__init__()
        if encoder.tokenizer.mask_token_id is None:
            raise InputError(f"{encoder.name!r} has no mask token; set mlm_weight to 0")
        self.probability = probability
        self.mask_id: int = encoder.tokenizer.mask_token_id
        self.vocabulary: int = encoder.backbone.get_input_embeddings().num_embeddings
        special = torch.zeros(self.vocabulary, dtype=torch.bool)
        special[encoder.tokenizer.all_special_ids] = True
        self.special: Tensor
        self.register_buffer("special", special, persistent=False)
        self.head = self._head(encoder)

    @staticmethod
    def _head(encoder: SentenceEncoder) -> PreTrainedModel:
        try:
            with quietly():
                place = find_model(encoder.name)
                model = AutoModelForMaskedLM.from_pretrained(
                    place.source(), use_safetensors=True, local_files_only=place.local_only
                )
        except (OSError, ValueError):  # InputError too: the model may be gone since
            try:
                model = AutoModelForMaskedLM.from_config(encoder.backbone.config)
            except ValueError as error:
                family = encoder.backbone.config.model_type
                raise InputError(
                    f"{family} models have no masked-LM head; set mlm_weight to 0"
                ) from error
            logger.info("the masked-LM head of %s is freshly initialised", encoder.name)
        setattr(model, model.base_model_prefix, _GivenStates())
        output = model.get_output_embeddings()
        if output is not None and getattr(model.config, "tie_word_embeddings", True):
            output.weight = encoder.backbone.get_input_embeddings().weight
        return model

    def mask(self, input_ids: Tensor) -> tuple[Tensor, Tensor]:
        """Masked copy of the ids ``(tokens,)`` and which tokens are to be predicted (bool)."""
        draws = torch.rand((3, len(input_ids)), device=input_ids.device)
        chosen = (draws[0] < self.probability) & ~self.special[input_ids]
        masked = torch.where(chosen & (draws[1] < 0.8), self.mask_id, input_ids)
        random_ids = torch.randint_like(input_ids, self.vocabulary)
        randomly = chosen & (draws[1] >= 0.8) & (draws[2] < 0.5)
        return torch.where(randomly, random_ids, masked), chosen

    def forward(self, backbone: PreTrainedModel, batch: PackedBatch, chunks: int = 1) -> Tensor:
        """Mean cross-entropy in nats of the chosen tokens; 0 where none was chosen.

        The batch given is left as it is: the contrastive pass reads unmasked texts, and this one
        sees all of the embeddings, whatever a view cuts off of them there. In several
        `chunks` (see `training.grad_cache`), and on several ranks, it is the mean over the
        chosen tokens of all of them: on a rank, the own tokens' share, such that the mean over
        ranks is that mean.
        """
        masked, chosen = self.mask(batch.input_ids)
        read = replace(batch, input_ids=masked, kept=None)
        answers = replace(read, input_ids=torch.where(chosen, batch.input_ids, _NOT_ASKED))
        summed = partial(self._summed, backbone)
        if chunks == 1:
            total = summed(read, answers)
        else:
            sizes = chunk_sizes(batch, chunks, padded=not runs_packed(backbone))
            parts = zip(read.split(sizes), answers.split(sizes), strict=True)
            total = torch.stack([replayed(summed, *part) for part in parts]).sum()
        return total * world_size() / sum_over_ranks(chosen.sum()).clamp(min=1)

    def _summed(self, backbone: PreTrainedModel, read: PackedBatch, answers: PackedBatch) -> Tensor:
        """Cross-entropy summed over the tokens that have an answer."""
        (states,) = hidden_states(backbone, read)
        chosen = answers.input_ids != _NOT_ASKED
        # no special case where none was chosen: DDP wants a gradient, if of 0, from every weight
        logits = self.head(inputs_embeds=states[chosen].unsqueeze(0)).logits.squeeze(0)
        return F.cross_entropy(logits.float(), answers.input_ids[chosen], reduction="sum")
