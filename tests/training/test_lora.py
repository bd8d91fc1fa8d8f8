"""LoRA: adapters trained on packed layers as by hand, written as peft does, or merged."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModel, AutoTokenizer

from simcse_kit.encoder import add_lora
from simcse_kit.encoder.sentence_encoder import SentenceEncoder
from simcse_kit.errors import InputError
from simcse_kit.training.run import train
from training_rows import config, dev_task, pair_rows, text_rows

peft = pytest.importorskip("peft")

LORA = {"r": 4, "lora_alpha": 8, "target_modules": ["query", "value", "dense"]}
TEXTS = ["the dog eats", "a man plays the guitar on the street"]


def load(folder, **kwargs) -> SentenceEncoder:
    return SentenceEncoder.from_pretrained(
        folder, default_pooling="mean", device="cpu", precision="fp32", **kwargs
    )


def with_lora(folder) -> SentenceEncoder:
    """An encoder whose adapters already change it."""
    torch.manual_seed(0)
    encoder = load(folder)
    add_lora(encoder.backbone, LORA)
    for name, parameter in encoder.backbone.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(parameter, std=0.1)
    return encoder


def adapters(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: p.detach().clone() for name, p in model.named_parameters() if "lora" in name}


def test_steps_equal_a_loop_with_peft_by_hand(tiny_encoder, tmp_path):
    encoder, rows = with_lora(tiny_encoder("bert")), pair_rows(8)
    model = AutoModel.from_pretrained(tiny_encoder("bert"), dtype=torch.float32)
    model.add_adapter(peft.LoraConfig(task_type="FEATURE_EXTRACTION", **LORA))
    before = adapters(encoder.backbone)
    for name, parameter in model.named_parameters():
        if name in before:
            parameter.data.copy_(before[name])
    settings = config(tmp_path, head="none", dropout=0.0, max_steps=3, max_length=16)
    train(encoder, rows, settings, tmp_path / "run")

    tokenizer = AutoTokenizer.from_pretrained(tiny_encoder("bert"))
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-3, weight_decay=0.0)
    for step in range(3):
        columns = []
        for texts in rows.columns.values():
            inputs = tokenizer(
                texts, padding=True, truncation=True, max_length=16, return_tensors="pt"
            )
            mask = inputs["attention_mask"].unsqueeze(-1)
            states = model(**inputs).last_hidden_state
            columns.append((states * mask).sum(1) / mask.sum(1))
        anchors, positives = (torch.nn.functional.normalize(column) for column in columns)
        loss = torch.nn.functional.cross_entropy(anchors @ positives.T / 0.05, torch.arange(8))
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * (1 - step / 3)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
    ours, theirs = adapters(encoder.backbone), adapters(model)
    assert ours.keys() == before.keys()
    assert any((ours[name] - before[name]).abs().max() > 1e-3 for name in ours)
    for name, value in theirs.items():
        if "pooler" not in name:
            torch.testing.assert_close(ours[name], value, atol=5e-5, rtol=1e-3, msg=name)
    start = load(tiny_encoder("bert")).backbone.state_dict()
    for name, value in encoder.backbone.state_dict().items():
        if "lora" not in name:
            assert torch.equal(value, start[name.replace("base_layer.", "")]), name


@pytest.mark.parametrize("merge", [False, True])
def test_a_folder_of_adapters_or_of_whole_weights(tiny_encoder, tmp_path, merge):
    from sentence_transformers import SentenceTransformer

    encoder = with_lora(tiny_encoder("bert"))
    vectors = encoder.encode(TEXTS)
    assert np.abs(vectors - load(tiny_encoder("bert")).encode(TEXTS)).max() > 0.01
    encoder.save_pretrained(tmp_path, merge_adapters=merge)
    names = {path.name for path in tmp_path.iterdir()}
    assert ("adapter_model.safetensors" in names) != merge
    assert ("model.safetensors" in names) == merge
    theirs = SentenceTransformer(str(tmp_path), device="cpu")
    for model in (load(tmp_path), theirs, encoder):  # the encoder is what it was
        np.testing.assert_allclose(model.encode(TEXTS), vectors, atol=1e-5)
    assert ("lora" in str(list(load(tmp_path).backbone.state_dict()))) != merge


def test_a_run_with_adapters(tiny_encoder, tmp_path):
    settings = config(tmp_path, max_steps=4, lora=LORA, mlm_weight=0.0)
    result = train(
        tiny_encoder("bert"), text_rows(), settings, tmp_path / "run", eval_data=dev_task()
    )
    assert (tmp_path / "run/last/adapter_model.safetensors").is_file()
    last = load(tmp_path / "run/last")
    assert adapters(last.backbone)
    np.testing.assert_allclose(
        load(tmp_path / "run").encode(TEXTS), result.encoder.encode(TEXTS), atol=1e-5
    )
    whole = config(tmp_path, max_steps=4, lora=LORA, merge_adapters=True)
    train(tiny_encoder("bert"), text_rows(), whole, tmp_path / "whole", eval_data=dev_task())
    merged = load(tmp_path / "whole/last")
    assert not adapters(merged.backbone)
    np.testing.assert_allclose(merged.encode(TEXTS), last.encode(TEXTS), atol=1e-5)


def test_adapters_of_a_student_are_merged_or_refused_before_training(tiny_encoder, tmp_path):
    student = {"lora": LORA, "student_layers": [0, 2], "max_steps": 1}
    with pytest.raises(InputError, match="set merge_adapters to true"):
        train(tiny_encoder("bert"), text_rows(), config(tmp_path, **student), tmp_path / "no")
    assert not (tmp_path / "no").exists()
    merged = config(tmp_path, merge_adapters=True, **student)
    trained = train(tiny_encoder("bert"), text_rows(), merged, tmp_path / "run").encoder
    np.testing.assert_allclose(
        load(tmp_path / "run").encode(TEXTS), trained.encode(TEXTS), atol=1e-5
    )


def test_what_is_missing_of_adapters_is_said(tiny_encoder, tmp_path):
    shutil.copytree(tiny_encoder("bert"), tmp_path / "base")
    with_lora(tmp_path / "base").save_pretrained(tmp_path / "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "lacks")
    file = tmp_path / "lacks/adapter_model.safetensors"
    weights = load_file(file)
    weights.pop(sorted(weights)[0])
    save_file(weights, file)
    with pytest.raises(InputError, match=r"lack 1 tensors, encoder.*lora"):
        load(tmp_path / "lacks")
    shutil.rmtree(tmp_path / "base")
    with pytest.raises(InputError, match="holds adapters of another model and could not be"):
        load(tmp_path / "whole")


@pytest.mark.parametrize(
    ("lora", "says"),
    [
        ({"rank": 4}, "unexpected keyword argument 'rank'"),
        ({"r": 0}, "should be a positive integer"),
        ({"r": 4, "target_modules": ["nowhere"]}, "nowhere"),
    ],
)
def test_arguments_that_peft_refuses(tiny_encoder, tmp_path, lora, says):
    settings = config(tmp_path, max_steps=1, lora=lora)
    with pytest.raises(InputError, match=says) as error:
        train(tiny_encoder("bert"), text_rows(), settings, tmp_path / "run")
    assert "\n" not in str(error.value) and not (tmp_path / "run").exists()
