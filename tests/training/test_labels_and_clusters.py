"""Runs whose objective learns from labels or clusters: trained, stopped, gone on with."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest

from simcse_kit.data import Rows
from simcse_kit.encoder import SentenceEncoder
from simcse_kit.objectives.prototypes import Prototypes
from simcse_kit.training import train
from training_rows import assert_same, config, sentences, weights

PROTOTYPES = {"name": "prototypes", "clusters": [2, 3], "refresh_every": 2, "sample": 16}
LATER = {**PROTOTYPES, "first_refresh": 1}
SWAPPED = {"name": "swapped", "prototypes": 4, "frozen_steps": 1, "weight": 0.5}


def labelled(count=24):
    """Texts of three labels in turn."""
    labels = [f"label {row % 3}" for row in range(count)]
    return Rows("labelled", {"text": sentences(count)}, labels, None, "rows.tsv", 0, 0)


@pytest.mark.parametrize(
    ("settings", "figures"),
    [
        (
            {"objective": "supervised_contrastive", "batch_sampler": "group_by_label"},
            {"rows_alone_in_label"},
        ),
        (
            {"auxiliaries": [LATER, SWAPPED, {"name": "dimension_contrast", "weight": 0.1}]},
            {"largest_cluster", "cluster_evenness", "largest_prototype", "prototype_evenness"},
        ),
    ],
    ids=["labels", "clusters"],
)
def test_a_run_goes_on_where_it_stopped(tiny_encoder, tmp_path, settings, figures):
    rows = labelled()
    if "auxiliaries" in settings:
        rows = Rows("text", rows.columns, None, None, "texts", 0, 0)
    settings = config(
        tmp_path,
        num_train_epochs=2,
        save_steps=1,
        save_total_limit=None,
        **{"samples_per_label": 4, **settings},
    )
    whole = train(str(tiny_encoder("bert")), rows, settings, tmp_path / "run")
    assert whole.steps == 6
    expected = weights(whole.encoder)
    history = (tmp_path / "run" / "history.jsonl").read_text().splitlines()
    told = {key for line in history for key in json.loads(line)}
    assert figures <= told
    for step in (4, 5, 6):
        shutil.rmtree(tmp_path / "run" / f"checkpoint-{step}")
    shutil.rmtree(tmp_path / "run" / "last", ignore_errors=True)
    resumed = train(str(tiny_encoder("bert")), rows, settings, tmp_path / "run", resume=True)
    assert resumed.steps == 6
    assert_same(weights(resumed.encoder), expected)


def test_clusters_are_of_the_rows_that_are_trained_on(tiny_encoder, tmp_path, monkeypatch):
    """Where a pairing leaves sentences out that have no neighbour."""
    seen = []
    refresh = Prototypes.refresh

    def watched(self, embeddings, row_numbers):
        seen.append(embeddings)
        refresh(self, embeddings, row_numbers)

    monkeypatch.setattr(Prototypes, "refresh", watched)
    texts, documents = sentences(20), np.array([0, 1, 2, 3, *[4] * 16])
    rows = Rows("text", {"text": texts}, None, None, "texts", 0, 0, documents=documents)
    parts = {"head": "none", "pairing": "neighbour", "auxiliaries": [PROTOTYPES]}
    train(str(tiny_encoder("bert")), rows, config(tmp_path, max_steps=1, **parts), tmp_path / "run")
    start = SentenceEncoder.from_pretrained(tiny_encoder("bert"), pooling="mean", precision="fp32")
    np.testing.assert_allclose(seen[0], start.encode(texts[4:19]), atol=1e-5)
