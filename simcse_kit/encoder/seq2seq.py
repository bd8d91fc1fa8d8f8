"""Models of an encoder and a decoder: their encoder is what gives an embedding.

T5 and its kin have a class for the encoder alone, which transformers knows as the one to encode
text with. Of the others (BART, Pegasus, …) the whole model is kept, so that its folder stays what
it was, and runs its encoder; the decoder is frozen. Its states say what would come next, shifted by
one, and are no embedding.
"""

from __future__ import annotations

from typing import Any

from torch import nn
from transformers import AutoModel, AutoModelForTextEncoding, PreTrainedModel

from simcse_kit.compute import Taught, teach
from simcse_kit.errors import InputError

_OUTPUT = "encoder_last_hidden_state"


class _RunsEncoder(Taught):
    """Put before a model with a decoder."""

    get_encoder: Any

    def forward(self, input_ids: Any = None, attention_mask: Any = None, **kwargs: Any) -> Any:
        """The encoder's output."""
        return self.get_encoder()(input_ids=input_ids, attention_mask=attention_mask, **kwargs)


def model_class(config: Any) -> Any:
    """The automatic class that loads a plain checkpoint with this configuration."""
    alone = getattr(config, "is_encoder_decoder", False) and (
        type(config) in AutoModelForTextEncoding._model_mapping
    )
    return AutoModelForTextEncoding if alone else AutoModel


def run_encoder(backbone: PreTrainedModel) -> None:
    """Have a model with a decoder run its encoder; any other stays as it is."""
    if _has_decoder(backbone) and not isinstance(backbone, _RunsEncoder):
        decoder = backbone.decoder
        encoders = {id(each) for each in backbone.get_encoder().parameters()}
        for each in decoder.parameters():
            if id(each) not in encoders:  # embeddings are shared
                each.requires_grad_(False)
        teach(backbone, _RunsEncoder)


def runs_encoder(transformer: Any) -> bool:
    """Whether a transformer module of sentence-transformers takes the encoder's states."""
    output = transformer.modality_config.get("text", {}).get("method_output_name")
    return bool(output == _OUTPUT)


def take_encoder(transformer: Any, backbone: PreTrainedModel, *, layers: int) -> None:
    """Have sentence-transformers' module, read from this backbone's folder, do as it does.

    Args:
        layers: of how many layers the states are pooled.

    Raises:
        InputError: of several, which that library has of no encoder that it keeps a decoder with.
    """
    if not isinstance(backbone, _RunsEncoder):
        return
    encoder = backbone.get_encoder()
    if type(transformer.model) is type(encoder):  # it reads some encoders alone, by other names
        transformer.model.load_state_dict(encoder.state_dict())
    elif _has_decoder(transformer.model):
        if layers > 1:
            kind = transformer.model.config.model_type
            raise InputError(
                f"sentence-transformers cannot pool several layers of a {kind} model's encoder, so "
                "no folder can say it; use pooling mean, max, cls or last_token"
            )
        transformer.modality_config["text"]["method_output_name"] = _OUTPUT


def _has_decoder(model: nn.Module) -> bool:
    decodes = getattr(model.config, "is_encoder_decoder", False)
    return bool(decodes) and isinstance(getattr(model, "decoder", None), nn.Module)
