"""MTEB: mteb itself runs our encoder, gives our figures, and reads our files. No hub."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from simcse_kit.encoder.sentence_encoder import SentenceEncoder
from simcse_kit.errors import InputError
from simcse_kit.evaluation.labels.clustering import LabelledTask, evaluate_clustering
from simcse_kit.evaluation.mteb import TASKS, MTEBEncoder, mteb_name, mteb_task, write_mteb
from simcse_kit.evaluation.search.duplicates import evaluate_duplicates
from simcse_kit.evaluation.search.retrieval import Relevance
from simcse_kit.evaluation.search.retrieval_data import RetrievalTask
from simcse_kit.evaluation.search.retrieval_task import evaluate_retrieval
from simcse_kit.evaluation.sts.suite import STSResult, evaluate
from simcse_kit.evaluation.sts.tasks import PairTask

mteb = pytest.importorskip("mteb")
# Its second version leaves pairs out; what is published is of the first.
pytestmark = pytest.mark.filterwarnings("ignore:The task '.*' is superseded:UserWarning")

WORDS = ["man", "woman", "dog", "cat", "house", "plays", "eats", "sees", "the", "a", "big", "red"]


@pytest.fixture(scope="module")
def encoder(tiny_encoder: Callable[[str], Path]) -> SentenceEncoder:
    return SentenceEncoder.from_pretrained(tiny_encoder("bert"), pooling="mean", precision="fp32")


def sentences(n: int, seed: int = 0) -> list[str]:
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(WORDS, size=rng.integers(3, 9))).capitalize() for _ in range(n)]


def stand_in(name: str = "STSB") -> PairTask:
    """As many pairs as MTEB's task has, with the mean of its scores, of a few sentences."""
    facts = mteb.get_task(TASKS[name]).metadata.descriptive_stats["test"]
    rng = np.random.default_rng(1)
    pool = sentences(80)
    first, second = rng.integers(0, 80, size=(2, facts["num_samples"]))
    words = [set(text.lower().split()) for text in pool]
    pairs = [(words[i], words[j]) for i, j in zip(first, second, strict=True)]
    gold = np.array([4 * len(one & other) / len(one | other) for one, other in pairs])
    gold += facts["label_statistics"]["avg_score"] - gold.mean()
    texts = [[pool[i] for i in side] for side in (first, second)]
    return PairTask(name, texts[0], texts[1], gold, {}, "test", "made up")


@pytest.fixture(scope="module")
def tasks() -> list[PairTask]:
    return [stand_in("STSB"), stand_in("STS16")]


@pytest.fixture(scope="module")
def result(encoder: SentenceEncoder, tasks: list[PairTask]) -> STSResult:
    return evaluate(encoder, tasks)


def run(task: Any, encoder: SentenceEncoder, cache: Any = None) -> dict[str, Any]:
    """The scores of mteb's own run."""
    found = mteb.evaluate(MTEBEncoder(encoder), task, cache=cache, show_progress_bar=False)
    return found.task_results[0].scores["test"][0]


def test_mteb_takes_our_encoder_for_one_of_its_own(encoder: SentenceEncoder) -> None:
    from mteb.models import EncoderProtocol

    adapter = MTEBEncoder(encoder)
    assert isinstance(adapter, EncoderProtocol)
    meta = adapter.mteb_model_meta
    assert meta.name == "local/bert"
    assert (meta.embed_dim, meta.max_tokens) == (32, encoder.max_length)
    assert meta.n_parameters == sum(each.numel() for each in encoder.parameters())
    type(meta)(**meta.model_dump())  # valid in every field


def test_folders_of_one_name_with_other_weights_have_results_of_their_own(
    encoder: SentenceEncoder, tasks: list[PairTask], result: STSResult, tmp_path: Path
) -> None:
    import copy

    other = copy.deepcopy(encoder)
    next(other.backbone.parameters()).data += 1
    files = [write_mteb(result, tasks, tmp_path, each) for each in (encoder, other, encoder)]
    assert files[0] == files[2] and not set(files[0]) & set(files[1])
    assert all(file.is_file() for file in files[0] + files[1])
    assert MTEBEncoder(encoder, name="us/small").revision == "no_revision_available"


def test_mtebs_own_run_gives_our_figures(
    encoder: SentenceEncoder, tasks: list[PairTask], result: STSResult
) -> None:
    for task in tasks:
        theirs = run(mteb_task(task), encoder)
        ours = result.tasks[task.name]
        assert 100 * theirs["cosine_spearman"] == pytest.approx(ours.spearman, abs=1e-3)
        assert 100 * theirs["cosine_pearson"] == pytest.approx(ours.pearson, abs=1e-3)
        assert 100 * theirs["main_score"] == pytest.approx(ours.spearman, abs=1e-3)
        # mteb computes this one in float32: pairs that occur twice are not quite ties
        assert 100 * theirs["spearman"] == pytest.approx(ours.spearman, abs=0.02)
        assert ours.spearman > 20


def test_mtebs_loader_reads_our_files_as_its_own(
    encoder: SentenceEncoder, tasks: list[PairTask], result: STSResult, tmp_path: Path
) -> None:
    files = write_mteb(result, tasks, tmp_path / "ours", encoder, name="us/small")
    theirs = mteb.ResultCache(tmp_path / "theirs")
    adapter = MTEBEncoder(encoder, name="us/small")
    for task in tasks:
        mteb.evaluate(adapter, mteb_task(task), cache=theirs, show_progress_bar=False)
    layout = [
        sorted(str(p.relative_to(root)) for p in root.rglob("*") if p.is_file())
        for root in (tmp_path / "ours", tmp_path / "theirs")
    ]
    assert layout[0] == layout[1]
    folder = Path("results") / "us__small" / "no_revision_available"
    assert [f.relative_to(tmp_path / "ours") for f in files] == [
        folder / "STSBenchmark.json",
        folder / "STS16.json",
    ]
    read = mteb.ResultCache(tmp_path / "ours").load_results(validate_and_filter=True)
    same = theirs.load_results()
    assert read.model_results[0].model_name == "us/small"
    scores = {found.task_name: found.get_score() for found in read.model_results[0].task_results}
    expected = {found.task_name: found.get_score() for found in same.model_results[0].task_results}
    assert scores == pytest.approx(expected, abs=2e-5)
    assert 100 * scores["STS16"] == pytest.approx(result.tasks["STS16"].spearman, abs=1e-3)
    ours, other = (json.loads((tmp_path / side / folder / "STS16.json").read_text())
                   for side in ("ours", "theirs"))  # fmt: skip
    assert ours.keys() == other.keys()
    assert ours["dataset_revision"] == other["dataset_revision"]
    assert ours["scores"]["test"][0].keys() < other["scores"]["test"][0].keys()
    metas = [json.loads((tmp_path / side / folder / "model_meta.json").read_text())
             for side in ("ours", "theirs")]  # fmt: skip
    assert metas[0] == metas[1]


def altered(result: STSResult, **protocol: Any) -> STSResult:
    return replace(result, protocol=result.protocol | protocol)


def test_a_figure_that_is_not_mtebs_does_not_get_its_name(
    encoder: SentenceEncoder, result: STSResult, tasks: list[PairTask], tmp_path: Path
) -> None:
    def refused(message: str, changed: PairTask, judged: STSResult = result) -> None:
        scores = {changed.name: judged.tasks["STSB"]}
        with pytest.raises(InputError, match=message):
            write_mteb(replace(judged, tasks=scores), [changed], tmp_path / "no", encoder)
        assert not (tmp_path / "no").exists()

    task = tasks[0]
    refused("mean over subsets", task, altered(result, aggregation="mean"))
    refused(r"SICKR is no task of MTEB's \(its SICK-R is all 9,927", replace(task, name="SICKR"))
    refused("my-own is no task of MTEB's", replace(task, name="my-own"))
    refused("it has 1,379 pairs .* MTEB's 1,186 with 2.41", replace(task, name="STS16"))
    refused("mean score of 0.5", replace(task, gold=task.gold / 5))
    lower = [[text.lower() for text in side] for side in (task.sentence1, task.sentence2)]
    refused("lower-cased", replace(task, sentence1=lower[0], sentence2=lower[1]))
    with pytest.raises(InputError, match="no figures of STS12"):
        write_mteb(result, [replace(task, name="STS12")], tmp_path / "no", encoder)


def test_without_mteb_it_says_what_to_install(
    result: STSResult,
    tasks: list[PairTask],
    encoder: SentenceEncoder,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "mteb", None)
    with pytest.raises(InputError, match=r"pip install \"simcse-kit\[mteb\]\""):
        write_mteb(result, tasks, tmp_path, encoder)


def test_names_have_two_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert mteb_name("princeton-nlp/unsup-simcse-bert") == "princeton-nlp/unsup-simcse-bert"
    assert mteb_name(str(tmp_path / "my model")) == "local/my model"
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs" / "best").mkdir(parents=True)
    assert mteb_name("runs/best") == "local/best"


def test_prompts_are_chosen_as_mteb_chooses_them(encoder: SentenceEncoder) -> None:
    from mteb.types import PromptType

    metadata = mteb.get_task("STSBenchmark").metadata
    batches = [{"text": ["the dog", "a cat"]}, {"text": ["the dog"]}]
    where = {"task_metadata": metadata, "hf_split": "test", "hf_subset": "default"}
    plain = MTEBEncoder(encoder).encode(batches, **where)
    np.testing.assert_array_equal(plain[0], plain[2])
    np.testing.assert_allclose(plain, encoder.encode(["the dog", "a cat", "the dog"]), atol=1e-6)
    before = encoder.prompts
    try:
        encoder.prompts = {"STSBenchmark": "old ", "query": "big ", "document": "red "}
        adapter = MTEBEncoder(encoder)
        for task, side, prefix in (
            ("STSBenchmark", None, "old "),
            ("STS16", PromptType.query, "big "),
            ("STS16", PromptType.document, "red "),
        ):
            where["task_metadata"] = mteb.get_task(task).metadata
            found = adapter.encode(batches, prompt_type=side, **where)
            expected = encoder.encode(["the dog", "a cat", "the dog"], prompt=prefix)
            np.testing.assert_allclose(found, expected, atol=1e-6)
        with pytest.raises(InputError, match="'int8'"):
            adapter.encode(batches, precision="int8", **where)
    finally:
        encoder.prompts = before


# ---- mteb's other kinds of task run our encoder too, and agree with ours ------------------------


def test_retrieval_agrees_with_mtebs(encoder: SentenceEncoder) -> None:
    from datasets import Dataset
    from mteb.abstasks.retrieval_dataset_loaders import RetrievalSplitData
    from mteb.mocks.mock_tasks import MockRetrievalTask

    corpus, queries = sentences(60, seed=3), sentences(20, seed=4)
    corpus, queries = list(dict.fromkeys(corpus)), list(dict.fromkeys(queries))
    rng = np.random.default_rng(5)
    judged = {
        f"q{q}": {f"d{d}": int(rng.integers(1, 4)) for d in rng.choice(len(corpus), size=3)}
        for q in range(len(queries))
    }
    theirs = MockRetrievalTask()
    data = RetrievalSplitData(
        queries=Dataset.from_list([{"id": f"q{i}", "text": t} for i, t in enumerate(queries)]),
        corpus=Dataset.from_list(
            [{"id": f"d{i}", "text": t, "title": ""} for i, t in enumerate(corpus)]
        ),
        relevant_docs=judged,
        top_ranked=None,
    )
    theirs.dataset = {"default": {"val": data, "test": data}}
    theirs.data_loaded = True
    scores = run(theirs, encoder)
    rows = [(int(q[1:]), int(d[1:]), g) for q, found in judged.items() for d, g in found.items()]
    query, document, grade = np.array(rows).T
    task = RetrievalTask("mock", queries, corpus, Relevance(query, document, grade * 1.0), "")
    ours = evaluate_retrieval(encoder, task, draws=100).figures
    for name, key in {
        "recall@10": "recall_at_10",
        "ndcg@10": "ndcg_at_10",
        "mrr@10": "mrr_at_10",
        "recall@1": "recall_at_1",
    }.items():
        assert ours[name].value == pytest.approx(100 * scores[key], abs=1e-3), name


def test_duplicates_agree_with_mtebs(encoder: SentenceEncoder) -> None:
    from datasets import Dataset, DatasetDict
    from mteb.mocks.mock_tasks import MockPairClassificationTask

    first, second = sentences(150, seed=6), sentences(150, seed=7)
    labels = np.random.default_rng(8).integers(0, 2, size=150)
    theirs = MockPairClassificationTask()
    theirs.dataset = DatasetDict(
        test=Dataset.from_dict({"sentence1": first, "sentence2": second, "labels": labels})
    )
    theirs.data_loaded = True
    scores = run(theirs, encoder)
    task = PairTask("mock", first, second, labels, {}, "test", "")
    ours = evaluate_duplicates(encoder, task, draws=100).figures
    assert ours["ap"].value == pytest.approx(100 * scores["cosine_ap"], abs=1e-2)
    best = 100 * scores["cosine_accuracy"]
    assert ours["best_accuracy"].value == pytest.approx(best, abs=1e-2)


def test_clustering_runs_in_mteb(encoder: SentenceEncoder) -> None:
    from datasets import Dataset, DatasetDict
    from mteb.mocks.mock_tasks.clustering import MockClusteringTask

    texts = sentences(60, seed=9)
    labels = [text.split()[0] for text in texts]
    theirs = MockClusteringTask()
    theirs.dataset = DatasetDict(test=Dataset.from_dict({"sentences": [texts], "labels": [labels]}))
    theirs.data_loaded = True
    scores = run(theirs, encoder)
    task = LabelledTask("mock", texts, labels, "")
    ours = evaluate_clustering(encoder, task).figures["v_measure"]
    assert ours.sd is not None
    assert 100 * scores["v_measure"] == pytest.approx(ours.value, abs=4 * ours.sd)
