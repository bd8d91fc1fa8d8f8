"""Whether a folder that was written loads as what was saved."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch

from simcse_kit.compute import logger_level
from simcse_kit.errors import InputError

if TYPE_CHECKING:
    from simcse_kit.encoder.modules import Parts
    from simcse_kit.encoder.sentence_encoder import SentenceEncoder

_TEXT = "A man is playing a guitar."
#: By how much of its length the embedding may differ: other kernels, and weights stored in half.
_MAY_DIFFER = {torch.float32: 1e-3}
_MAY_DIFFER_IN_HALF = 3e-2


def check_written(encoder: SentenceEncoder, again: Parts) -> None:
    """Raise InputError where these parts, read from what was written, embed a text otherwise.

    Loading has checked the names of the weights; this is for what they do: layers that were put
    in, patched or parametrised compute what no folder holds.
    """
    loaded = type(encoder)(again, name=encoder.name, precision="fp32")
    # a mask, which without a template texts bring themselves
    prompt = f"{encoder.tokenizer.mask_token} " if encoder.pooling == "mask" else ""
    before = encoder.encode(_TEXT, precision="fp32", prompt=prompt)
    after = loaded.encode(_TEXT, prompt=prompt)
    share = float(np.linalg.norm(before - after)) / max(float(np.linalg.norm(before)), 1e-12)
    if share > _MAY_DIFFER.get(encoder.backbone.dtype, _MAY_DIFFER_IN_HALF):
        raise InputError(
            f"it would load as another model (the embedding of {_TEXT!r} differs by {share:.1%} of"
            " its length); merge adapters and undo what was put into its layers before it is saved"
        )


def written_nowhere(folder: Path, aside: Path, error: InputError) -> InputError:
    """The complaint that a model is not saved; it names no temporary folder."""
    reason = str(error).replace(str(aside), str(folder))
    return InputError(f"the model is not saved in {str(folder)!r}: {reason}")


@contextlib.contextmanager
def unnoticed() -> Iterator[None]:
    """Without what loading says, for it was said of the model that is saved; drawing no numbers."""
    with logger_level("simcse_kit").held(logging.ERROR), torch.random.fork_rng(devices=[]):
        yield
