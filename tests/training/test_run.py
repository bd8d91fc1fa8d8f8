"""Training: the step against a hand-written loop, resume, selection, and the method's traps."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from transformers import AutoModel, AutoTokenizer

from simcse_kit.compute.packing import PackedBatch
from simcse_kit.data.rows import Rows
from simcse_kit.encoder.sentence_encoder import SentenceEncoder
from simcse_kit.errors import InputError
from simcse_kit.evaluation.sts.suite import PairTask
from simcse_kit.geometry import alignment, uniformity
from simcse_kit.training.dev import ScoredPairs
from simcse_kit.training.model.building import build_model
from simcse_kit.training.model.collapse import batch_geometry
from simcse_kit.training.model.contrastive import ContrastiveModel
from simcse_kit.training.model.masked_lm import MaskedLanguageModel
from simcse_kit.training.run import train
from training_rows import (
    assert_same,
    config,
    dev_task,
    pair_rows,
    sentences,
    text_rows,
    weights,
)


def test_steps_equal_a_loop_written_by_hand(tiny_encoder, tmp_path):
    """Supervised, one batch an epoch, no dropout: plain Hugging Face, padding and AdamW."""
    rows = pair_rows(8, negatives=True)
    settings = config(
        tmp_path, head="none", dropout=0.0, max_steps=3, hard_negative_weight=2.0, max_length=16
    )
    ours = train(tiny_encoder("bert"), rows, settings, tmp_path / "run").encoder

    model = AutoModel.from_pretrained(tiny_encoder("bert"), dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(tiny_encoder("bert"))
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    model.pooler = None
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=0.0)
    for step in range(3):
        columns = []
        for texts in rows.columns.values():
            inputs = tokenizer(
                texts, padding=True, truncation=True, max_length=16, return_tensors="pt"
            )
            mask = inputs["attention_mask"].unsqueeze(-1)
            states = model(**inputs).last_hidden_state
            columns.append((states * mask).sum(1) / mask.sum(1))
        a, p, n = (torch.nn.functional.normalize(column) for column in columns)
        logits = torch.cat([a @ p.T, a @ n.T], dim=1) / 0.05
        logits = logits + torch.cat([torch.zeros(8, 8), np.log(2.0) * torch.eye(8)], dim=1)
        loss = torch.nn.functional.cross_entropy(logits, torch.arange(8))
        for group in optimizer.param_groups:
            group["lr"] = 1e-3 * (1 - step / 3)  # linear decay, no warm-up
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    for name, parameter in model.named_parameters():
        if name.endswith("key.bias"):
            continue  # softmax makes its gradient 0: Adam there only amplifies rounding
        torch.testing.assert_close(
            ours.backbone.get_parameter(name), parameter, atol=2e-5, rtol=1e-3, msg=name
        )


def test_records_that_a_program_holds_are_trained_on_as_rows_are(tiny_encoder, tmp_path):
    rows, settings = pair_rows(8), config(tmp_path, max_steps=2)
    expected = train(tiny_encoder("bert"), rows, settings, tmp_path / "rows")
    names = list(rows.columns)
    whole = zip(*rows.columns.values(), strict=True)
    records = [dict(zip(names, row, strict=True)) for row in whole]
    given = (record for record in records)
    found = train(tiny_encoder("bert"), given, settings, tmp_path / "run")
    assert_same(weights(found.encoder), weights(expected.encoder))
    again = train(tiny_encoder("bert"), records, settings, tmp_path / "run", resume=True)
    assert again.steps == 2
    assert_same(weights(again.encoder), weights(expected.encoder))


def test_twins_differ_by_dropout_in_training_and_agree_in_evaluation(tiny_encoder):
    encoder = SentenceEncoder.from_pretrained(
        tiny_encoder("bert"), pooling="mean", device="cpu", precision="fp32"
    )
    twins = PackedBatch.from_sequences([[5, 6, 7, 8]] * 2)
    first, second = encoder.train()(twins)
    assert torch.cosine_similarity(first, second, dim=0) < 0.9999
    first, second = encoder.eval()(twins)
    torch.testing.assert_close(first, second)


@pytest.mark.parametrize("group_window", [1, 2])
def test_resuming_gives_the_parameters_of_the_uninterrupted_run(
    tiny_encoder, tmp_path, group_window
):
    settings = config(
        tmp_path,
        num_train_epochs=2,
        mlm_weight=0.1,
        mask_equal_texts=True,
        group_window=group_window,
    )
    data, dev = text_rows(32), dev_task()
    whole = train(tiny_encoder("bert"), data, settings, tmp_path / "whole", eval_data=dev)
    assert whole.steps == 8
    # the same run, stopped after its checkpoint of step 6 (in the second epoch)
    import shutil

    shutil.copytree(tmp_path / "whole", tmp_path / "cut")
    for later in ("checkpoint-8", "last"):
        shutil.rmtree(tmp_path / "cut" / later)
    resumed = train(
        tiny_encoder("bert"), data, settings, tmp_path / "cut", eval_data=dev, resume=True
    )
    assert resumed.steps == 8
    last = [
        SentenceEncoder.from_pretrained(tmp_path / run / "last", device="cpu", precision="fp32")
        for run in ("whole", "cut")
    ]
    assert_same(weights(last[0]), weights(last[1]))
    assert resumed.best_step == whole.best_step and resumed.best_score == whole.best_score


def test_evaluating_does_not_change_training(tiny_encoder, tmp_path):
    data = text_rows(32)
    runs = [
        train(
            tiny_encoder("bert"),
            data,
            config(tmp_path, max_steps=4),
            tmp_path / name,
            eval_data=dev,
        )
        for name, dev in (("with", dev_task()), ("without", None))
    ]
    last = [
        SentenceEncoder.from_pretrained(run.output_dir / "last", device="cpu", precision="fp32")
        for run in runs
    ]
    assert_same(weights(last[0]), weights(last[1]))


def test_the_folder_is_the_best_step_and_last_is_the_last(tiny_encoder, tmp_path):
    dev = dev_task()
    result = train(
        tiny_encoder("bert"),
        text_rows(64),
        config(tmp_path, max_steps=6, learning_rate=3e-2),
        tmp_path / "run",
        eval_data=dev,
    )
    scores = {e["step"]: e["eval_spearman"] for e in result.history if "eval_spearman" in e}
    assert set(scores) == {0, 2, 4, 6}, "step 0 is evaluated too"
    assert result.best_score == max(scores.values())
    assert scores[result.best_step] == result.best_score
    from simcse_kit.evaluation.sts.suite import evaluate

    for folder, step in ((result.output_dir, result.best_step), (result.output_dir / "last", 6)):
        encoder = SentenceEncoder.from_pretrained(folder, device="cpu", precision="fp32")
        score = evaluate(encoder, [dev]).tasks["STSB-dev"].spearman
        assert score == pytest.approx(scores[step], abs=1e-9)
    lines = (result.output_dir / "history.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == result.history
    assert (result.output_dir / "training_curve.png").read_bytes()[:4] == b"\x89PNG"
    card = (result.output_dir / "README.md").read_text()
    assert f"| {result.best_score:.2f} (" in card, "the dev score with its interval"
    assert "95 % interval" in card and "chosen on, which flatters it" in card


def test_logged_figures(tiny_encoder, tmp_path):
    result = train(
        tiny_encoder("bert"), text_rows(32), config(tmp_path, max_steps=2), tmp_path / "run"
    )
    logged = next(entry for entry in result.history if "loss" in entry)
    for key in ("positive_cosine", "negative_cosine", "alignment", "uniformity", "learning_rate"):
        assert np.isfinite(logged[key]), key
    assert logged["sentences_per_second"] > 0
    assert result.best_step is None


def test_batch_figures_equal_geometry():
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randn(9, 6, generator=generator) for _ in range(2))
    positive, negative, align, uniform, ratio = batch_geometry(x, y).tolist()
    unit_x, unit_y = (torch.nn.functional.normalize(z).double() for z in (x, y))
    cosines = unit_x @ unit_y.T
    assert positive == pytest.approx(cosines.diagonal().mean().item(), abs=1e-6)
    off = cosines[~torch.eye(9, dtype=torch.bool)]
    assert negative == pytest.approx(off.mean().item(), abs=1e-6)
    assert align == pytest.approx(alignment(x, y), abs=1e-5)
    assert uniform == pytest.approx(uniformity(x), abs=1e-5)
    spectrum = torch.linalg.svdvals(unit_x) ** 2
    assert ratio == pytest.approx((spectrum.sum() ** 2 / (spectrum**2).sum()).item(), rel=1e-5)


@pytest.mark.parametrize("head", ["none", "train_only", "keep"])
def test_heads(tiny_encoder, tmp_path, head):
    settings = config(tmp_path, head=head, pooling="cls", max_steps=2)
    encoder = train(tiny_encoder("bert"), text_rows(), settings, tmp_path / "run").encoder
    assert (encoder.head is not None) == (head == "keep")
    reloaded = SentenceEncoder.from_pretrained(tmp_path / "run", device="cpu", precision="fp32")
    texts = ["a man runs", "the dog"]
    np.testing.assert_allclose(reloaded.encode(texts), encoder.encode(texts), atol=1e-6)
    if head != "keep":  # what is saved is the raw pooled output
        backbone = AutoModel.from_pretrained(tmp_path / "run").eval()
        ids = AutoTokenizer.from_pretrained(tmp_path / "run")(texts[0], return_tensors="pt")
        with torch.no_grad():
            raw = backbone(**ids).last_hidden_state[0, 0].numpy()
        got = reloaded.encode(texts[0], normalize=False)
        np.testing.assert_allclose(got, raw, atol=1e-5)


def test_equal_texts_are_no_negatives(tiny_encoder, tmp_path):
    """Seven texts the same: with the mask only the eighth is left to push apart."""
    same = Rows("text", {"text": ["a man runs"] * 7 + ["two dogs"]}, None, None, "same", 6, 0)
    losses = []
    for name, masked in (("masked", True), ("plain", False)):
        settings = config(tmp_path, max_steps=1, mask_equal_texts=masked, dropout=0.01)
        history = train(tiny_encoder("bert"), same, settings, tmp_path / name).history
        losses.append(history[0]["loss"])
    # seven anchors have seven candidates as near as their own positives, or none such
    assert losses[1] - losses[0] == pytest.approx(7 / 8 * np.log(7), abs=0.2)


def test_masked_lm_leaves_the_contrastive_input_untouched(tiny_encoder):
    encoder = SentenceEncoder.from_pretrained(
        tiny_encoder("bert"), pooling="mean", device="cpu", precision="fp32"
    )
    lm = MaskedLanguageModel(encoder, 0.5)
    store = encoder.tokenizer(sentences(40))["input_ids"]
    batch = PackedBatch.from_sequences(store)
    before = batch.input_ids.clone()
    masked, chosen = lm.mask(batch.input_ids)
    assert torch.equal(batch.input_ids, before)
    special = torch.isin(before, torch.tensor(encoder.tokenizer.all_special_ids))
    assert not (chosen & special).any()
    assert torch.equal(masked[~chosen], before[~chosen])
    share = chosen.sum() / (~special).sum()
    assert 0.4 < share < 0.6
    as_mask = (masked[chosen] == encoder.tokenizer.mask_token_id).float().mean()
    assert 0.7 < as_mask < 0.9


@pytest.mark.parametrize(
    "family", ["bert", "roberta", "distilbert", "mpnet", "electra", "xlm-roberta", "modernbert"]
)
def test_masked_lm_loss_equals_hugging_faces(tiny_encoder, tmp_path, family):
    from transformers import AutoModelForMaskedLM

    full = AutoModelForMaskedLM.from_pretrained(tiny_encoder(family)).eval()
    full.save_pretrained(tmp_path)
    AutoTokenizer.from_pretrained(tiny_encoder(family)).save_pretrained(tmp_path)
    encoder = SentenceEncoder.from_pretrained(
        tmp_path, pooling="mean", device="cpu", precision="fp32"
    )
    lm = MaskedLanguageModel(encoder, 0.3).eval()
    batch = PackedBatch.from_sequences(
        [encoder.tokenizer("the dog eats on the street")["input_ids"]]
    )
    torch.manual_seed(3)
    got = lm(encoder.backbone, batch)
    torch.manual_seed(3)
    masked, chosen = lm.mask(batch.input_ids)
    assert chosen.any()
    labels = torch.where(chosen, batch.input_ids, -100)
    expected = full(
        masked[None], attention_mask=torch.ones_like(masked[None]), labels=labels[None]
    ).loss
    assert got.item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_checkpoint_carries_the_projection(tiny_encoder, tmp_path):
    from safetensors.torch import load_file

    train(tiny_encoder("bert"), text_rows(), config(tmp_path, max_steps=2), tmp_path / "run")
    saved = load_file(tmp_path / "run" / "checkpoint-2" / "model.safetensors")
    assert "projection.linear.weight" in saved
    assert not list((tmp_path / "run").rglob("*.bin")), "no pickled arguments"


def test_early_stopping(tiny_encoder, tmp_path, monkeypatch):
    monkeypatch.setattr(
        ScoredPairs,
        "score",
        lambda self, encoder: {"eval_spearman": 10.0, "eval_alignment": 0.1, "eval_uniformity": -2},
    )
    monkeypatch.setattr(ScoredPairs, "table", lambda self, model: "")
    settings = config(tmp_path, max_steps=20, early_stopping_patience=2)
    result = train(
        tiny_encoder("bert"), text_rows(64), settings, tmp_path / "run", eval_data=dev_task()
    )
    assert result.steps == 4 and result.best_step == 0
    assert "no new best in 2 evaluations" in result.stopped


def test_ctrl_c_saves_and_can_be_resumed(tiny_encoder, tmp_path):
    import signal

    from simcse_kit.training.runs import interrupting

    settings = config(tmp_path, max_steps=6, save_steps=100)
    data = text_rows(64)
    whole = train(tiny_encoder("bert"), data, settings, tmp_path / "whole")
    step_end = interrupting.GracefulInterrupt.on_step_end

    def interrupt(self, args, state, control, **kwargs):
        if state.global_step == 3:
            signal.raise_signal(signal.SIGINT)
        return step_end(self, args, state, control, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(interrupting.GracefulInterrupt, "on_step_end", interrupt)
        with pytest.raises(KeyboardInterrupt, match="step 3"):
            train(tiny_encoder("bert"), data, settings, tmp_path / "run")
    resumed = train(tiny_encoder("bert"), data, settings, tmp_path / "run", resume=True)
    assert_same(weights(whole.encoder), weights(resumed.encoder))


@pytest.mark.parametrize("family", ["roberta", "mpnet", "modernbert"])
def test_other_families_train(tiny_encoder, tmp_path, family):
    settings = config(tmp_path, max_steps=2, dropout=0.1)
    result = train(tiny_encoder(family), text_rows(), settings, tmp_path / "run")
    assert result.steps == 2 and np.isfinite(result.history[0]["loss"])


def test_bf16_trains_close_to_fp32(tiny_encoder, tmp_path):
    losses = []
    for name, bf16 in (("fp32", False), ("bf16", True)):
        settings = config(tmp_path, max_steps=1, bf16=bf16)
        history = train(tiny_encoder("bert"), text_rows(), settings, tmp_path / name).history
        losses.append(history[0]["loss"])
    assert losses[0] == pytest.approx(losses[1], rel=0.05)


def test_what_cannot_be_trained_is_refused_before_anything_is_written(tiny_encoder, tmp_path):
    scored = Rows(
        "scored", {"sentence1": ["a"], "sentence2": ["b"]}, None, np.ones(1), "x.tsv", 0, 0
    )
    bert = tiny_encoder("bert")
    cases = [
        (bert, scored, {}, "x.tsv: objective info_nce learns nothing from scores"),
        (bert, text_rows(4), {}, "4 rows do not fill one batch of 8"),
        (bert, text_rows(), {"max_length": 65}, "over the 64 tokens"),
        (bert, text_rows(), {"dropout": 0.0}, "every dropout rate"),
        (bert, text_rows(), {"pooling": None}, "no pooling file"),
        (tiny_encoder("modernbert"), text_rows(), {}, "every dropout rate"),
    ]
    for model, data, settings, says in cases:
        with pytest.raises(InputError, match=says):
            train(model, data, config(tmp_path, **settings), tmp_path / "run")
        assert not (tmp_path / "run").exists()


def test_a_dev_set_that_ranks_nothing_is_refused(tiny_encoder, tmp_path):
    constant = PairTask("dev", ["a"] * 4, ["b"] * 4, np.ones(4), {}, "dev", "dev.tsv")
    with pytest.raises(InputError, match=r"dev set dev.tsv: 4 pairs with scores from 1 to 1"):
        train(
            tiny_encoder("bert"), text_rows(), config(tmp_path), tmp_path / "r", eval_data=constant
        )
    with pytest.raises(InputError, match="early_stopping_patience needs a dev set"):
        settings = config(tmp_path, early_stopping_patience=2)
        train(tiny_encoder("bert"), text_rows(), settings, tmp_path / "r")
    assert not (tmp_path / "r").exists()


def test_a_dev_set_without_close_pairs_still_selects(tiny_encoder, tmp_path):
    """Scores of 0 to 1 none of which is above 0.8: alignment is over nothing, Spearman is not."""
    texts = sentences(24)
    dev = PairTask("mine", texts[:12], texts[12:], np.arange(12) / 15, {}, "dev", "mine.tsv")
    result = train(
        tiny_encoder("bert"),
        text_rows(),
        config(tmp_path, max_steps=2),
        tmp_path / "r",
        eval_data=dev,
    )
    assert result.best_score is not None
    assert "eval_alignment" not in result.history[0]


def test_settings_the_trainer_refuses_leave_no_folder(tiny_encoder, tmp_path):
    settings = config(tmp_path, optim="adamw_bnb_8bit")
    with pytest.raises(Exception, match="bitsandbytes"):
        train(tiny_encoder("bert"), text_rows(), settings, tmp_path / "r")
    assert not (tmp_path / "r").exists()


def test_weights_that_are_not_finite_are_not_saved(tiny_encoder, tmp_path):
    settings = config(tmp_path, learning_rate=1e30, weight_decay=1e30, max_steps=6, max_grad_norm=0)
    with pytest.raises(InputError, match="weights are not finite"):
        train(tiny_encoder("bert"), text_rows(64), settings, tmp_path / "r")
    assert not (tmp_path / "r" / "modules.json").exists()
    assert not list((tmp_path / "r").glob("*checkpoint*"))


def test_gradient_checkpointing_gives_the_same_step(tiny_encoder, tmp_path):
    runs = [
        train(
            tiny_encoder("bert"),
            text_rows(),
            config(tmp_path, max_steps=2, gradient_checkpointing=on),
            tmp_path / str(on),
        )
        for on in (False, True)
    ]
    left, right = (weights(run.encoder) for run in runs)
    for name, value in left.items():
        if not name.endswith("key.bias"):
            torch.testing.assert_close(right[name], value, atol=1e-5, rtol=1e-3, msg=name)


def test_folders_in_use(tiny_encoder, tmp_path):
    settings = config(tmp_path, max_steps=2)
    mine = tmp_path / "thesis"
    mine.mkdir()
    (mine / "draft.txt").write_text("two years of work")
    for overwrite in (False, True):
        with pytest.raises(InputError, match="thesis"):
            train(tiny_encoder("bert"), text_rows(), settings, mine, overwrite=overwrite)
    assert (mine / "draft.txt").read_text() == "two years of work"
    with pytest.raises(InputError, match="nothing to resume"):
        train(tiny_encoder("bert"), text_rows(), settings, tmp_path / "new", resume=True)
    train(tiny_encoder("bert"), text_rows(), settings, tmp_path / "run")
    with pytest.raises(InputError, match="not empty"):
        train(tiny_encoder("bert"), text_rows(), settings, tmp_path / "run")
    train(tiny_encoder("bert"), text_rows(), settings, tmp_path / "run", overwrite=True)


def test_the_objective_sees_the_projection_and_the_encoder_does_not(tiny_encoder, tmp_path):
    encoder = SentenceEncoder.from_pretrained(
        tiny_encoder("bert"), pooling="mean", device="cpu", precision="fp32"
    )
    model = build_model(encoder, config(tmp_path))
    assert isinstance(model, ContrastiveModel) and model.projection is not None
    assert encoder.head is None
    batch = PackedBatch.from_sequences([[5, 6], [5, 6], [7, 8, 9], [7, 8, 9]])
    output = model.eval()(batch)
    assert output["rows"] == 2 and output["loss"].requires_grad
