"""The usual folder is read to what sentence-transformers reads, and any other is left to it."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
import torch

from simcse_kit.encoder import st_folder
from simcse_kit.encoder.metadata import read_model_config, read_modules
from simcse_kit.encoder.usual_folder import _ENCODERS, read_usual

HUB: dict[str, Any] = {
    "revision": None,
    "trust_remote_code": False,
    "token": None,
    "local_files_only": False,
}
#: What a command that embeds has no use for, and what takes long to import.
HEAVY = (
    *("sentence_transformers", "sklearn", "pandas", "pyarrow", "datasets", "peft", "faiss"),
    *("onnxruntime", "openvino", "ray", "matplotlib", "setuptools", "torch.utils.cpp_extension"),
)


def write(path, value):
    path.write_text(json.dumps(value))


@pytest.fixture
def folder(tiny_encoder, tmp_path):
    """Makes a folder by sentence-transformers."""

    def build(family="bert", mode="mean", unit=True, legacy=False):
        from sentence_transformers import SentenceTransformer
        from sentence_transformers.base.modules import Normalize, Transformer
        from sentence_transformers.sentence_transformer.modules import Pooling

        made = tmp_path / f"{family}-{mode}-{unit}-{legacy}"
        after = [Normalize()] if unit else []
        modules = [Transformer(str(tiny_encoder(family))), Pooling(32, mode), *after]
        SentenceTransformer(modules=modules, device="cpu").save_pretrained(
            str(made), create_model_card=False
        )
        if legacy:
            st_folder.rewrite_as_legacy(made, 24)
        return made

    return build


def usual(folder):
    return read_usual(str(folder), read_modules(str(folder), HUB), HUB)


def told(parts, report):
    """All that a reader gives, to be compared."""
    parts.backbone.config.name_or_path = ""
    return (
        parts.backbone.config.to_dict(),
        parts.tokenizer.backend_tokenizer.to_str(),
        (type(parts.backbone), type(parts.tokenizer), parts.tokenizer.model_max_length),
        (parts.pooling, parts.normalize, parts.max_length, parts.include_prompt, parts.head),
        {key: sorted(report[key]) for key in ("missing_keys", "unexpected_keys")},
    )


CASES = [
    *((family, "mean", True, False) for family in _ENCODERS),
    *(("bert", mode, False, False) for mode in ("cls", "max", "lasttoken", "weightedmean")),
    *(("bert", mode, unit, True) for mode in ("mean", "cls") for unit in (True, False)),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_it_is_read_as_sentence_transformers_does(folder, monkeypatch, case):
    made = str(folder(*case))
    assert usual(made) is not None
    mine, my_report = st_folder.read_folder(made, HUB)
    monkeypatch.setattr(st_folder, "read_usual", lambda *_: None)
    theirs, report = st_folder.read_folder(made, HUB)
    assert told(mine, my_report) == told(theirs, report)
    states = mine.backbone.state_dict(), theirs.backbone.state_dict()
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(each, states[1][key]) for key, each in states[0].items())
    assert not mine.backbone.training


@pytest.mark.parametrize(
    ("file", "change"),
    [
        ("sentence_bert_config.json", {"do_lower_case": True}),
        ("sentence_bert_config.json", {"transformer_task": "fill-mask"}),
        ("sentence_bert_config.json", {"module_output_name": "sentence_embedding"}),
        ("sentence_bert_config.json", {"query_length": 8}),
        ("sentence_bert_config.json", {"processing_kwargs": {"text": {"padding": "max_length"}}}),
        ("sentence_bert_config.json", {"max_seq_length": "24"}),
        ("1_Pooling/config.json", {"pooling_mode": ["mean", "max"]}),
        ("1_Pooling/config.json", {"pooling_mode": "median"}),
        ("1_Pooling/config.json", {"something": 1}),
        ("2_Normalize/config.json", {"module_input_name": "token_embeddings"}),
        ("config.json", {"model_type": "roberta", "is_decoder": True}),
    ],
)
def test_what_says_more_is_left_to_sentence_transformers(folder, file, change):
    made = folder()
    assert usual(made) is not None
    path = made / file
    path.parent.mkdir(exist_ok=True)
    said = json.loads(path.read_text()) if path.is_file() else {}
    write(path, said | change)
    assert usual(made) is None


def test_so_are_adapters_other_modules_and_own_code(folder):
    made = folder()
    modules = read_modules(str(made), HUB)
    assert read_usual(str(made), modules, {**HUB, "trust_remote_code": True}) is None
    assert read_usual(str(made), [*modules, modules[1]], HUB) is None
    assert read_usual(str(made), modules[:1], HUB) is None
    write(made / "adapter_config.json", {})
    assert usual(made) is None


def test_a_folder_that_needs_a_version_is_checked_for_it(folder, monkeypatch):
    made = folder()
    config = read_model_config(str(made), HUB)
    asked = []
    monkeypatch.setattr(st_folder, "read_usual", lambda *_: asked.append("usual"))
    monkeypatch.setattr(st_folder, "_read_by_theirs", lambda *_: 1 / 0)
    monkeypatch.setattr(
        st_folder, "read_model_config", lambda *_: config.model_copy(update={"requirements": {}})
    )
    with pytest.raises(ZeroDivisionError):
        st_folder.read_folder(str(made), HUB)
    assert asked == []


def test_similarity_imports_what_it_needs_alone(folder):
    """From the shell to the first vector most of the time is imports."""
    made = folder()
    code = (
        "import sys; from simcse_kit.commands.cli import app\n"
        f"app(['similarity', {str(made)!r}, 'a man', 'a dog'], standalone_mode=False)\n"
        f"print(*(name for name in {HEAVY!r} if name in sys.modules), file=sys.stderr)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=120
    )
    assert -1 <= float(done.stdout) <= 1
    assert done.stderr.splitlines()[-1] == ""
