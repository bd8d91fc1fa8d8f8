"""Methods through torch.compile: whole steps where they are one graph, else the encoder alone."""

from __future__ import annotations

import pytest
from torch._dynamo.testing import CompileCounterWithBackend

from methods import METHODS, assert_alike, settings_of, some_steps
from simcse_kit.compute import fast_layers
from simcse_kit.encoder import SentenceEncoder
from simcse_kit.parts import Context
from simcse_kit.training.model.building import build_model

pytestmark = pytest.mark.usefixtures("fresh_compiler")

#: Whose steps are the same graph each; others draw, count, follow a schedule, look at the data,
#: norm by the batch, or have keys.
WHOLE = {"plain", "learned temperature", "views", "neighbours", "students"}
OFTEN = {"prototypes", "noise"}


@pytest.mark.parametrize("method", METHODS)
def test_what_is_one_graph(tiny_encoder, tmp_path, method):
    bert = str(tiny_encoder("bert"))
    settings = settings_of(tmp_path, bert, method)
    encoder = SentenceEncoder.from_pretrained(bert, pooling="mean", device="cpu")
    model = build_model(encoder, settings, Context(teacher_widths=(encoder.width,), classes=2))
    assert model._is_one_graph() == (method in WHOLE)


@pytest.mark.parametrize(
    "method",
    [pytest.param(method, marks=() if method in OFTEN else pytest.mark.slow) for method in METHODS],
)
def test_compiled_it_is_what_it_is_otherwise(tiny_encoder, tmp_path, monkeypatch, method):
    """The encoder's graph, or that of all, is made once for all rows of a size."""
    monkeypatch.setattr(fast_layers, "kernels", lambda: None)  # a CPU's, which no GPU has
    bert, counter = str(tiny_encoder("bert")), CompileCounterWithBackend("aot_eager")
    settings, kind = settings_of(tmp_path, bert, method), METHODS[method][0]
    sizes = set()

    def laid_out(model, collator):
        collator.pad_id = model.encoder.pad_id
        batches = collator._batches

        def seen(*given):
            made = batches(*given)
            sizes.add(made["batch"].layout.places.shape + made["batch"].input_ids.shape)
            return made

        collator._batches = seen

    def compiled(model, collator):
        laid_out(model, collator)
        model.compile_step(backend=counter)

    plain = some_steps(bert, settings, kind, change=laid_out)
    assert_alike(some_steps(bert, settings, kind, change=compiled), plain, 1e-4)
    assert counter.frame_count == len(sizes)
