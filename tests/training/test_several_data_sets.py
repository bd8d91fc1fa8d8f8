"""Several data sets in one run: each batch is of one, and trained as that data set alone would."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from accelerate.data_loader import BatchSamplerShard
from hypothesis import given
from hypothesis import strategies as st
from torch.utils.data import BatchSampler

from resumed_runs import check_resumed
from simcse_kit.data import read_rows
from simcse_kit.encoder import SentenceEncoder
from simcse_kit.errors import InputError
from simcse_kit.training import build_config
from simcse_kit.training.model.building import build_model
from simcse_kit.training.rows.batches import Vectors, build_collator
from simcse_kit.training.rows.sampling import Shuffled
from simcse_kit.training.rows.several import BatchesOfOne, SeveralCollators, batches_an_epoch
from simcse_kit.training.rows.training_set import training_sets
from simcse_kit.training.run import train
from training_rows import config, sentences, text_rows, weights


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """Triplets, graded pairs, labelled rows and plain texts."""
    texts = sentences(80)
    triplets, scored, labelled = (tmp_path / f"{name}.jsonl" for name in ("nli", "sts", "topics"))
    triplets.write_text(
        "\n".join(
            json.dumps({"anchor": texts[i], "positive": texts[i + 20], "negative": texts[i + 40]})
            for i in range(20)
        )
    )
    scored.write_text(
        "\n".join(
            json.dumps({"left": texts[i], "right": texts[i + 30], "score": i % 5}) for i in range(9)
        )
    )
    labelled.write_text(
        "\n".join(json.dumps({"text": texts[i], "label": f"t{i % 3}"}) for i in range(14))
    )
    return {"nli": str(triplets), "sts": str(scored), "topics": str(labelled)}


def three(files: dict[str, str], **own: Any) -> list[dict[str, Any]]:
    """Beside plain texts: triplets, and graded pairs."""
    columns = {"sentence1": "left", "sentence2": "right", "score": "score"}
    learned = {"name": "info_nce", "learn_temperature": True}
    return [
        {"data": files["nli"], "objective": learned, "weight": 0.5, **own},
        {"data": files["sts"], "columns": columns, "objective": "cosent", "max_length": 8},
    ]


# ---- the order -----------------------------------------------------------------------------------

sizes = st.lists(st.integers(4, 30), min_size=1, max_size=4)


@given(sizes, st.integers(1, 4), st.integers(0, 3), st.booleans())
def test_every_batch_is_of_one_data_set(rows, batch, epoch, in_turn):
    full = [each // batch for each in rows]
    taken = [min(full)] * len(rows) if in_turn else full
    orders = [Shuffled(each, seed) for seed, each in enumerate(rows)]
    order = BatchesOfOne(orders, taken, batch, 7, in_turn=in_turn)
    order.set_epoch(epoch)
    found = [*order]
    assert found == [*order] and len(found) == len(order) == len(set(found))
    batches = np.array(found).reshape(-1, batch)
    ends = np.cumsum(rows)
    of = np.searchsorted(ends, batches, side="right")
    assert (of == of[:, :1]).all()
    assert np.bincount(of[:, 0], minlength=len(rows)).tolist() == taken
    if in_turn:
        assert of[:, 0].tolist() == [*range(len(rows))] * min(full)


def test_a_batch_is_of_one_data_set_on_all_ranks():
    order = BatchesOfOne([Shuffled(20, 0), Shuffled(9, 1)], [2, 1], 8, 3)
    shards = [
        BatchSamplerShard(BatchSampler(order, 4, drop_last=True), num_processes=2, process_index=i)
        for i in (0, 1)
    ]
    together = [np.concatenate(both) for both in zip(*shards, strict=True)]
    assert sorted((each >= 20).sum() for each in together) == [0, 0, 8]
    assert len(set(np.concatenate(together).tolist())) == 24


def test_epochs_and_seeds_have_other_orders():
    def drawn(seed, epoch):
        order = BatchesOfOne([Shuffled(20, 0), Shuffled(9, 1)], [5, 2], 4, seed)
        order.set_epoch(epoch)
        return [*order]

    assert drawn(1, 0) == drawn(1, 0)
    assert drawn(1, 0) != drawn(1, 1) and drawn(1, 0) != drawn(2, 0)


def test_a_share_takes_other_rows_every_epoch_and_more_than_one_all_of_them_again():
    assert batches_an_epoch([20, 9, 8], [0.5, 2, 0.1], 4) == [2, 4, 1]
    assert batches_an_epoch([400], [0.29], 4) == [29]
    order = BatchesOfOne([Shuffled(20, 0), Shuffled(9, 1)], [2, 4], 4, 3)
    seen = []
    for epoch in (0, 1):
        order.set_epoch(epoch)
        rows = np.array([*order])
        seen.append(set(rows[rows < 20].tolist()))
        twice, counts = np.unique(rows[rows >= 20], return_counts=True)
        assert counts.sum() == 16 and counts.max() == 2 and len(twice) >= 8
    assert len(seen[0]) == 8 and seen[0] != seen[1]


# ---- what a batch is trained for -----------------------------------------------------------------


def made(settings, encoder, rows):
    """Model and collators of a run."""
    torch.manual_seed(0)
    sets = [each.checked() for each in training_sets(rows, settings)]
    vectors = [Vectors.of(each.rows, each.config, encoder.device) for each in sets]
    contexts = [each.context(10, own) for each, own in zip(sets, vectors, strict=True)]
    model = build_model(encoder, settings, *contexts).train()
    collators = [
        build_collator(model, each.rows, each.config, context, own, each.pairing, number)
        for number, (each, context, own) in enumerate(zip(sets, contexts, vectors, strict=True))
    ]
    model.begin_step(0, 10)
    return model, collators, [each.count for each in sets]


@pytest.mark.parametrize("chunk", [None, 2])
def test_a_batch_has_the_loss_and_gradient_of_its_data_set_alone(
    files, tiny_encoder, tmp_path, chunk
):
    def loaded():
        torch.manual_seed(0)
        return SentenceEncoder.from_pretrained(
            tiny_encoder("bert"), pooling="mean", device="cpu", precision="fp32", dropout=0.0
        )

    common = {"mini_batch_size": chunk, "positive_view": {"name": "deletion"}}
    common |= {"temperature": 0.1, "dropout": 0.0, "per_device_train_batch_size": 4}
    settings = config(tmp_path, **common, datasets=three(files, positive_view=None))
    model, collators, counts = made(settings, loaded(), text_rows(12))
    several = SeveralCollators(collators, counts)
    starts = np.cumsum([0, *counts])
    given_alone = [{}, *(each.own() for each in settings.datasets)]
    sets = training_sets(text_rows(12), settings)
    for number, own in enumerate(given_alone):
        alone = settings.model_copy(update={"datasets": [], **own})
        single, (collator,), _ = made(alone, loaded(), sets[number].rows)
        numbers = [5, 1, 7, 2]
        batch = several([int(starts[number]) + row for row in numbers])
        assert batch["dataset"] == number
        ours, theirs = model(**batch), single(**collator(numbers))
        factor = settings.weights()[number]
        torch.testing.assert_close(ours["loss"], factor * theirs["loss"])
        ours["loss"].backward()
        (factor * theirs["loss"]).backward()
        learned = [name for name, _ in single.named_parameters() if name.startswith("objective")]
        for name, parameter in single.named_parameters():
            place = f"further.{number - 1}.{name}" if number and name in learned else name
            if parameter.grad is None:
                assert model.get_parameter(place).grad is None
            else:
                torch.testing.assert_close(model.get_parameter(place).grad, parameter.grad)
        own = [p for n, p in model.named_parameters() if n.startswith(("objective", "further"))]
        assert sum(p.grad is not None for p in own) == (number == 1)
        model.zero_grad()


# ---- a run ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "how",
    [
        {"gradient_accumulation_steps": 2, "num_train_epochs": 2},
        {"multi_dataset_batch_sampler": "round_robin", "num_train_epochs": 3, "mini_batch_size": 2},
    ],
)
def test_resumed_equals_whole(files, tiny_encoder, tmp_path, monkeypatch, how):
    sets = three(files)
    grouped = {"objective": "label_info_nce", "batch_sampler": "group_by_label"}
    sets.append({"data": files["topics"], **grouped, "samples_per_label": 2})
    swapped = {"name": "swapped", "prototypes": 4, "weight": 0.5}
    clusters = {"name": "prototypes", "clusters": [2, 3], "refresh_every": 2, "weight": 0.5}
    settings = config(
        tmp_path,
        **how,
        auxiliaries=[clusters],
        datasets=[
            {**sets[0], "auxiliaries": [swapped]},
            *({**e, "auxiliaries": []} for e in sets[1:]),
        ],
        per_device_train_batch_size=4,
    )
    whole = check_resumed(tiny_encoder("bert"), text_rows(12), settings, tmp_path, monkeypatch, 5)
    # 3, 5, 2 and 3 batches by proportion; two of each in turn
    assert whole.steps == (2 * 7 if "gradient_accumulation_steps" in how else 3 * 8)


def test_what_is_said_kept_and_compared(files, tiny_encoder, tmp_path, caplog):
    caplog.set_level("INFO")
    settings = config(tmp_path, datasets=three(files), per_device_train_batch_size=4, max_steps=3)
    folder = tmp_path / "run"
    model = tiny_encoder("bert")
    train(model, text_rows(12), settings, folder)
    said = next(line for line in caplog.messages if "settings in force" in line)
    assert f"data 2     {files['nli']}: 20 rows (anchor, positive, negative)" in said
    assert "objective info_nce" in said and "weight 0.5" in said and "max_length 8" in said
    told = json.loads((folder / "run.json").read_text())
    assert [each["rows"] for each in told["datasets"]] == [20, 9]
    card = (folder / "README.md").read_text()
    assert "nli.jsonl" in card and "cosent" in card
    again = build_config(str(folder / "train_config.yaml"))
    assert (
        again.model_dump(mode="json")["datasets"]
        == (yaml.safe_load((folder / "train_config.yaml").read_text())["datasets"])
    )
    longer = settings.model_copy(update={"max_steps": 5})
    assert train(model, text_rows(12), longer, folder, resume=True).steps == 5
    lighter = config(tmp_path, datasets=three(files, weight=0.25), max_steps=5)
    with pytest.raises(InputError, match=r"was begun with .*datasets"):
        train(model, text_rows(12), lighter, folder, resume=True)
    lines = Path(files["sts"]).read_text().splitlines()
    Path(files["sts"]).write_text("\n".join(lines[::-1]))
    with pytest.raises(InputError, match=r"sts\.jsonl' have changed"):
        train(model, text_rows(12), longer, folder, resume=True)


def test_a_parameter_of_another_data_set_stays_as_it_is(files, tiny_encoder, tmp_path):
    """Its optimizer's momentum does not move it in the steps of others."""
    learned = {"objective": {"name": "info_nce", "learn_temperature": True}}
    sets = [{"data": files["nli"], **learned}]
    settings = config(tmp_path, datasets=sets, max_steps=4, per_device_train_batch_size=4)
    settings = settings.model_copy(update={"multi_dataset_batch_sampler": "round_robin"})
    result = train(tiny_encoder("bert"), text_rows(12), settings, tmp_path / "run")
    figures = [each["temperature_2"] for each in result.history if "temperature_2" in each]
    assert figures[0] == pytest.approx(0.05) and figures[1] != figures[0]
    assert figures[1] == figures[2] and figures[2] != figures[3]
    assert weights(result.encoder)


def test_a_step_of_labelled_batches_is_their_mean(tiny_encoder, files, tmp_path):
    """Not their sum, as the Trainer makes it of batches with labels that it takes for tokens."""
    told = {}
    for batches in (1, 2):
        settings = config(
            tmp_path,
            objective="label_info_nce",
            gradient_accumulation_steps=batches,
            per_device_train_batch_size=4,
            max_steps=2 // batches,
            learning_rate=1e-12,
        )
        folder = tmp_path / str(batches)
        history = train(tiny_encoder("bert"), read_rows(files["topics"]), settings, folder).history
        told[batches] = np.mean([each["loss"] for each in history if "loss" in each])
    assert told[2] == pytest.approx(told[1], rel=1e-3)


# ---- what is refused -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("1", r"datasets\[0\] must be {data: FILE, SETTING: VALUE}, not 1"),
        ("[{data: a, pooling: cls}]", r"datasets\[0\] \(a\): 'pooling' is no setting of one data"),
        ("[{data: a}, {data: b, objective: cosine}]", r"datasets\[1\] \(b\): unknown objective"),
        ("[{data: a, objective: null}]", "objective must be the name of one, not null"),
        ("[{data: a, weight: 0}]", r"datasets\[0\] \(a\): weight .*greater than 0"),
        ("[{data: a, share: x}]", r"datasets\[0\] \(a\): share must be a number"),
        ("[{data: a, columns: [b]}]", r"datasets\[0\] \(a\): columns"),
        ("[{data: a, batch_sampler: group_by_label, samples_per_label: 7}]", "data set a: per_dev"),
        ("[{data: a, batch_sampler: any}]", "batch_sampler must be one of random"),
        ("[{data: a, anchor_view: span}]", "data set a: view span places"),
    ],
)
def test_what_is_no_data_set_is_refused(value, said):
    with pytest.raises(InputError, match=said) as caught:
        build_config(None, [f"datasets={value}"])
    assert str(caught.value).startswith("--set datasets=")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["multi_dataset_batch_sampler=round_robin"], "there are no datasets"),
        (["datasets=[{data: a}]", "keys=momentum"], "keys and datasets exclude each other"),
        (["datasets=[{data: a}]", "eval_split=0.1"], "eval_split and datasets exclude"),
        (["datasets=[{data: a}]", "torch_compile=true"], "torch_compile and datasets exclude"),
        (
            ["datasets=[{data: a, share: 2}]", "multi_dataset_batch_sampler=round_robin"],
            "data set a: share is of",
        ),
    ],
)
def test_what_excludes_several_data_sets_is_said(settings, said):
    with pytest.raises(InputError, match=said):
        build_config(None, settings)


def test_checks_name_the_data_set(files, tiny_encoder, tmp_path):
    def refused(said, rows=None, **own):
        sets = [{"data": files["nli"], **own}]
        settings = config(tmp_path, datasets=sets, per_device_train_batch_size=4)
        with pytest.raises(InputError, match=said):
            train(tiny_encoder("bert"), rows or text_rows(12), settings, tmp_path / "run")
        assert not (tmp_path / "run").exists()

    refused("missing.csv", data="missing.csv")
    refused(
        "sts.jsonl: .*learns nothing from scores", **three(files)[1] | {"objective": "info_nce"}
    )
    refused("nli.jsonl: objective cosent learns from scores", objective="cosent")
    refused("nli.jsonl: objective teacher_mse learns from a teacher", objective="teacher_mse")
    refused("nli.jsonl: pairing chooses the positives", pairing="neighbour")
    refused("texts: 3 rows do not fill one batch of 4", rows=text_rows(3))


def test_data_in_the_output_folder_are_not_emptied(files, tiny_encoder, tmp_path):
    settings = config(tmp_path, datasets=three(files))
    with pytest.raises(InputError, match=r"data .*nli.jsonl' lies in output folder"):
        train(tiny_encoder("bert"), text_rows(12), settings, tmp_path, overwrite=True)


def test_teachers_are_of_the_data_sets_that_ask(files, tmp_path):
    base = {"teachers": ["a-model"], "datasets": three(files)}
    asking = [{**base["datasets"][0], "auxiliaries": [{"name": "similarity_kl"}]}]
    settings = config(tmp_path, **base | {"datasets": asking})
    assert [bool(each.teachers) for each in settings.of_each_dataset()] == [False, True]
    nobody = config(tmp_path, **base)
    assert [bool(each.teachers) for each in nobody.of_each_dataset()] == [True] * 3
