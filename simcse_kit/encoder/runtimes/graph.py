"""An encoder as one graph: backbone, pooling, head and normalisation, and how ONNX writes it."""

from __future__ import annotations

import contextlib
import io
import logging
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor, nn

from simcse_kit.compute import TokenTypes, use_token_types
from simcse_kit.encoder.pooling import LAYER_PAIRS, of_layers, over_tokens
from simcse_kit.errors import InputError, no_room

if TYPE_CHECKING:
    from simcse_kit.encoder.modules import Parts

#: Token ids and mask int64 ``(sequences, tokens)``, padded on the right; where prompts are left out
#: of pooling, how many first tokens those are, int64 ``(1,)``.
INPUTS = ("input_ids", "attention_mask")
SKIP = "skip"

#: States ``(sequences, tokens, hidden)``, first, where other readers look for them; what pooling
#: and head give ``(sequences, width)``; and that as the model's folder says, normalised and cut.
STATES, RAW, FINAL = "last_hidden_state", "raw_embedding", "sentence_embedding"
OUTPUTS = (STATES, RAW, FINAL)

#: Bytes of weights from which on they lie in a file beside the graph, which itself can be 2 GB.
LARGE = 1_800_000_000

_alone = threading.RLock()  # what is heard is the whole process's


def inputs_of(ids: Tensor, mask: Tensor, skip: int | None) -> dict[str, np.ndarray]:
    """What a graph is given, by name.

    Args:
        ids, mask: ``(sequences, tokens)``. skip: None where it has no such input.
    """
    given = dict(zip(INPUTS, (ids.numpy(), mask.long().numpy()), strict=True))
    return given if skip is None else given | {SKIP: np.array([skip], np.int64)}


class Graph(nn.Module):
    """From padded token ids to embeddings, in Hugging Face's own layers.

    Args:
        parts: as a folder has them; the backbone's layers are not the faster ones of
            `simcse_kit.compute`, which no exporter knows.
    """

    def __init__(self, parts: Parts) -> None:
        super().__init__()
        assert parts.pooling is not None
        self.backbone, self.head, self.pooling = parts.backbone, parts.head, parts.pooling
        self.normalize, self.truncate_dim = parts.normalize, parts.truncate_dim
        self.mask_id: int | None = parts.tokenizer.mask_token_id
        use_token_types(self.backbone, parts.tokenizer)
        types: TokenTypes | None = self.backbone.token_types
        # zeros are what BERT and its kin take where none are given; GPT-2 then takes none at all
        usual = bool(getattr(self.backbone.config, "type_vocab_size", 0))
        self.types = None if types is None or (usual and types.are_zero()) else types
        # XLNet subtracts its mask from 1.0, for which the exporter wants it of that type
        self.float_mask = self.backbone.config.model_type == "xlnet"
        with contextlib.suppress(Exception):  # a family with attention of its own keeps it
            self.backbone.set_attn_implementation("eager")  # torch's kernel hides in the strides

    def forward(
        self, input_ids: Tensor, attention_mask: Tensor, skip: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor]:
        """`INPUTS` to `OUTPUTS`."""
        given: dict[str, Any] = {}
        if self.types is not None:
            given["token_type_ids"] = self.types.of(attention_mask.sum(1), input_ids.shape[1])
        output = self.backbone(
            input_ids=input_ids,
            attention_mask=attention_mask.float() if self.float_mask else attention_mask,
            output_hidden_states=self.pooling in LAYER_PAIRS,
            **given,
        )
        layers = (
            output.hidden_states if self.pooling in LAYER_PAIRS else (output.last_hidden_state,)
        )
        raw = over_tokens(
            of_layers(layers, self.pooling),
            input_ids,
            attention_mask.bool(),
            self.pooling,
            skip,
            self.mask_id,
        )
        if self.head is not None:
            raw = self.head(raw)
        final = nn.functional.normalize(raw, dim=-1) if self.normalize else raw.clone()
        return output.last_hidden_state, raw, final[:, : self.truncate_dim]


def write_onnx(parts: Parts, path: Path) -> None:
    """Write the graph of these parts, of any number of sequences and tokens, as ONNX.

    Raises:
        InputError: torch cannot export the backbone.
    """
    graph = Graph(parts).eval()
    names = INPUTS if parts.include_prompt else (*INPUTS, SKIP)
    free = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    shapes: dict[str, Any] = {name: {} if name == SKIP else free for name in names}
    size = sum(each.numel() * each.element_size() for each in graph.state_dict().values())
    try:
        with unheard(), torch.no_grad():
            torch.onnx.export(
                graph,
                _sample(parts)[: len(names)],
                path,
                input_names=list(names),
                output_names=list(OUTPUTS),
                dynamic_shapes=shapes,
                dynamo=True,
                external_data=size > LARGE,
                verbose=False,
            )
    except Exception as error:  # whatever its steps make of a family's code
        if is_no_fault_of_it(error):
            raise
        kind = parts.backbone.config.model_type
        raise cannot(
            f"torch cannot export a {kind} encoder as a graph", error, "take the backend torch"
        ) from error


def _sample(parts: Parts) -> tuple[Tensor, ...]:
    """Two sequences, one of them padded, of tokens that any vocabulary has."""
    pad = parts.backbone.config.pad_token_id or 0
    some = [token for token in range(9) if token != pad][:7]
    ids = torch.tensor([some, some[:4] + [pad] * 3])
    return ids, torch.tensor([[1] * 7, [1] * 4 + [0] * 3]), torch.tensor([1])


@contextlib.contextmanager
def unheard(level: int = logging.ERROR) -> Iterator[None]:
    """Without the exporters' bars and remarks, and the graphs that they print where they fail.

    For one thread at a time: others would put back what this one has set.

    Args:
        level: what is logged up to it is not heard.
    """
    nowhere = io.StringIO()
    with (
        _alone,
        contextlib.redirect_stdout(nowhere),
        contextlib.redirect_stderr(nowhere),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        disabled = logging.root.manager.disable
        logging.disable(level)
        try:
            yield
        finally:
            logging.disable(disabled)


def is_no_fault_of_it(error: Exception) -> bool:
    """Whether a step failed by a full disk, or by too little memory, and not by the model."""
    return isinstance(error, OSError | MemoryError | InputError) or no_room(error)


def cannot(what: str, error: Exception, instead: str) -> InputError:
    """What is said where another library fails at a step: that and the cause in one sentence."""
    return InputError(f"{what} ({_reason(error)}); {instead}")


def _reason(error: Exception) -> str:
    """What stopped the exporter, in a few words: the first cause of what it raises."""
    causes = [error]
    while isinstance(cause := causes[-1].__cause__, Exception) and cause not in causes:
        causes.append(cause)
    error = causes[-1]
    lines = [line for line in str(error).splitlines() if line.strip()]
    said = lines[0] if lines else ""
    return f"{type(error).__name__}: {' '.join(said.split())}"[:160]
