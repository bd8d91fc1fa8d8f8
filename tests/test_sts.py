"""The STS protocol on a miniature SentEval tree, against scipy and sentence-transformers."""

from __future__ import annotations

import functools
import io
import json
import logging
import sys
import types
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import pearsonr, spearmanr

from simcse_kit.errors import InputError
from simcse_kit.evaluation import hub, sick_split, sts_data
from simcse_kit.evaluation.report import markdown_table, sts_table
from simcse_kit.evaluation.sts import (
    PUBLISHED,
    SUITE,
    PairTask,
    STSResult,
    evaluate,
    load_stsb,
    load_tasks,
)
from simcse_kit.geometry import alignment, uniformity

_VOCABULARY = """
man woman girl boy dog cat horse bird plays runs eats sleeps reads sings rides walks in on
the a red blue green black house car train plane boat street field kitchen guitar piano
"""
WORDS = _VOCABULARY.split()
# Every part of every task, a few pairs each, all different so that a mix-up shows.
MINI = {
    task: {part: 9 + 2 * number for number, part in enumerate(parts)}
    for task, parts in PUBLISHED.items()
}


class BagOfWords:
    """Sums of random word vectors, and a record of what it was asked to embed."""

    name = "bag-of-words"
    max_length = 32
    precision = "fp32"
    pooling = "sum"

    def __init__(self, dimension: int = 16) -> None:
        self.dimension = dimension
        self.calls: list[list[str]] = []

    def encode(self, sentences: list[str]) -> np.ndarray:
        self.calls.append(sentences)
        vectors = np.zeros((len(sentences), self.dimension), dtype=np.float32)
        for row, sentence in enumerate(sentences):
            for word in sentence.lower().split():
                vectors[row] += word_vector(word, self.dimension)
        return vectors


@functools.cache
def word_vector(word: str, dimension: int) -> np.ndarray:
    return np.random.default_rng(zlib.crc32(word.encode())).normal(size=dimension)


def sentence(rng: np.random.Generator) -> str:
    return " ".join(rng.choice(WORDS, size=rng.integers(4, 9)))


def scored_pair(rng: np.random.Generator) -> tuple[str, str, float]:
    """Two sentences that share some words, and the share as a gold score from 0 to 5."""
    words = sentence(rng).split()
    kept = int(rng.integers(0, len(words) + 1))
    other = words[:kept] + list(rng.choice(WORDS, size=len(words) - kept))
    return " ".join(words), " ".join(other), round(5 * kept / len(words), 3)


def build_tree(root: Path, counts: sts_data.Counts = MINI, seed: int = 0) -> Path:
    """SentEval's `STS/` and `SICK/` below `root`, random text, unrated pairs in between."""
    rng = np.random.default_rng(seed)
    for task, parts in counts.items():
        for part, n in parts.items():
            pairs = [scored_pair(rng) for _ in range(n)]
            if task in sts_data.SUBSET_TASKS:
                write_subset(root / "STS" / f"{task}-en-test", part, pairs, rng)
            elif task.startswith("STSB"):
                lines = [f"genre\tfile\tyear\t7\t{gold}\t{a}\t{b}" for a, b, gold in pairs]
                write(root / "STS" / "STSBenchmark" / f"sts-{part}.csv", lines)
            elif task == "SICKR-MTEB":
                lines = [f"{i}\t{a}\t{b}\t{gold}\tNEUTRAL" for i, (a, b, gold) in enumerate(pairs)]
                name = {"train": "train", "trial": "trial", "test": "test_annotated"}[part]
                header = "pair_ID\tsentence_A\tsentence_B\trelatedness_score\tentailment_judgment"
                write(root / "SICK" / f"SICK_{name}.txt", [header, *lines], newline="\r\n")
    return root


def write_subset(
    folder: Path, part: str, pairs: list[tuple[str, str, float]], rng: np.random.Generator
) -> None:
    inputs = [f"{a}\t{b}" for a, b, _ in pairs]
    scores = [f"{gold}" for _, _, gold in pairs]
    for place in sorted(rng.integers(0, len(pairs), size=3), reverse=True):
        inputs.insert(place, f"{sentence(rng)}\tnobody rated this pair")
        scores.insert(place, "")
    write(folder / f"STS.input.{part}.txt", inputs)
    write(folder / f"STS.gs.{part}.txt", scores)


def write(path: Path, lines: list[str], newline: str = "\n") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes("".join(line + newline for line in lines).encode())


MINI["SICKR"] = {"test": MINI["SICKR-MTEB"]["test"]}  # the same file


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_tree(tmp_path_factory.mktemp("senteval"))


@pytest.fixture
def suite(tree: Path) -> list[PairTask]:
    return load_tasks(tree, counts=MINI)


@pytest.fixture
def fresh(tmp_path: Path) -> Path:
    """A tree of one's own, to break."""
    return build_tree(tmp_path / "data")


def toy_task(gold: Any = (0.0, 1.0, 2.5, 4.5, 5.0), name: str = "toy", **more: Any) -> PairTask:
    first = [f"{word} {number}" for number, word in enumerate(WORDS[: len(gold)])]
    second = [f"{word} the {number}" for number, word in enumerate(WORDS[: len(gold)])]
    fields: dict[str, Any] = {"subsets": {}, "split": "test", "source": "memory", **more}
    return PairTask(name, first, second, np.array(gold), **fields)


# --- reading -----------------------------------------------------------------------------------


def test_the_published_counts_are_those_of_the_papers() -> None:
    totals = {task: sum(parts.values()) for task, parts in PUBLISHED.items()}
    assert totals == {
        "STS12": 3108,
        "STS13": 1500,
        "STS14": 3750,
        "STS15": 3000,
        "STS16": 1186,
        "STSB": 1379,
        "STSB-dev": 1500,
        "STSB-train": 5749,
        "SICKR": 4927,
        "SICKR-MTEB": 9927,
    }


def test_the_suite_is_read_whole_and_unrated_pairs_are_skipped(suite: list[PairTask]) -> None:
    assert [task.name for task in suite] == list(SUITE)
    for task in suite:
        assert len(task) == sum(MINI[task.name].values())
        assert task.split == "test"
        assert not any("nobody rated" in text for text in task.sentence2)
    sizes = {name: part.stop - part.start for name, part in suite[0].subsets.items()}
    assert sizes == MINI["STS12"]
    assert suite[-1].subsets == {}


def test_sick_is_its_test_part_and_the_mteb_variant_the_whole_pool(tree: Path) -> None:
    test, pool = load_tasks(tree, ["sick-r", "SICKR_MTEB"], counts=MINI)
    assert (test.name, pool.name, pool.split) == ("SICKR", "SICKR-MTEB", "train+trial+test")
    assert len(pool) == sum(MINI["SICKR-MTEB"].values())
    assert pool.sentence1[-len(test) :] == test.sentence1


@pytest.mark.parametrize("split", ["train", "dev", "test"])
def test_stsb_has_three_splits(tree: Path, split: Any) -> None:
    task = load_stsb(tree, split, counts=MINI)
    assert task.split == split
    assert task.name == ("STSB" if split == "test" else f"STSB-{split}")
    with pytest.raises(InputError, match="train, dev and test"):
        load_stsb(tree, "valid", counts=MINI)  # type: ignore[arg-type]


def test_the_folder_is_found_one_level_down_and_in_a_senteval_checkout(tmp_path: Path) -> None:
    for below in ("downstream", "data/downstream"):
        outer = tmp_path / below.replace("/", "-")
        build_tree(outer / below)
        assert len(load_tasks(outer, ["STSB"], counts=MINI)[0]) == MINI["STSB"]["test"]


def test_strange_text_is_read_as_senteval_reads_it(fresh: Path) -> None:
    path = fresh / "STS" / "STSBenchmark" / "sts-dev.csv"
    lines = [
        'g\tf\ty\t1\t5.0\t"Quoted, "" so\tan  open " quote',  # quotes are text, spaces collapse
        "g\tf\ty\t2\t1.0\ta line\x85separator inside\tand b\u2028another\tan extra column",
        "g\tf\ty\t3\t2.5\tä\u00a0ö\tü",
    ]
    path.write_bytes("\ufeff".encode() + "\n".join(lines).encode())
    task = load_stsb(fresh, "dev", counts={"STSB-dev": {"dev": 3}})
    assert task.sentence1 == ['"Quoted, "" so', "a line separator inside", "ä ö"]
    assert task.sentence2 == ['an open " quote', "and b another", "ü"]
    assert task.gold.tolist() == [5.0, 1.0, 2.5]


def broken(name: str, edit: Callable[[str], str]) -> Callable[[Path], None]:
    def apply(root: Path) -> None:
        (path,) = root.rglob(name)
        path.write_text(edit(path.read_text()))

    return apply


@pytest.mark.parametrize(
    ("breakage", "task", "message"),
    [
        (
            lambda root: (root / "STS/STS12-en-test/STS.gs.MSRvid.txt").unlink(),
            "STS12",
            r"STS\.gs\.MSRvid\.txt is missing",
        ),
        (
            broken("sts-test.csv", lambda text: text[: text.rindex("genre")]),
            "STSB",
            r"sts-test\.csv holds 8 rated pairs where 9 are expected",
        ),
        (
            broken("STS.gs.belief.txt", lambda text: text + "3.0\n"),
            "STS15",
            r"belief\.txt has 16 lines and STS\.gs\.belief\.txt 17",
        ),
        (
            broken("STS.gs.FNWN.txt", lambda text: "nan\n" + text.split("\n", 1)[1]),
            "STS13",
            r"STS\.gs\.FNWN\.txt:1 has the score 'nan'",
        ),
        (
            broken("sts-test.csv", lambda text: text.replace("\t7\t", "\t7\thigh", 1)),
            "STSB",
            r"sts-test\.csv:1 has the score 'high",
        ),
        (
            broken("sts-test.csv", lambda text: "one\ttwo\n" + text.split("\n", 1)[1]),
            "STSB",
            r"sts-test\.csv:1 has 2 tab-separated field\(s\) where at least 7",
        ),
        (
            broken("sts-test.csv", lambda text: "a\tb\tc\td\t1.0\tx\t \n" + text.split("\n", 1)[1]),
            "STSB",
            r"sts-test\.csv:1 has an empty sentence",
        ),
        (
            broken("SICK_test_annotated.txt", lambda text: text.split("\n", 1)[1]),
            "SICKR",
            "header line that starts with 'pair_ID'",
        ),
        (
            lambda root: (root / "SICK/SICK_test_annotated.txt").write_bytes(b"pair_ID\t\xff\n"),
            "SICKR",
            r"SICK_test_annotated\.txt is not UTF-8 text \(byte 8\)",
        ),
    ],
)
def test_broken_data_are_named(
    fresh: Path, breakage: Callable[[Path], Any], task: str, message: str
) -> None:
    breakage(fresh)
    with pytest.raises(InputError, match=message):
        load_tasks(fresh, [task], counts=MINI)


def test_a_wrong_folder_is_told_from_a_right_one(tree: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        load_tasks(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"holds no SentEval data.*downstream"):
        load_tasks(tmp_path)
    with pytest.raises(InputError, match=f"give its parent, {tree}"):
        load_tasks(tree / "STS")
    for name in ("raw", "tokenised"):
        build_tree(tmp_path / name, {"STSB": MINI["STSB"]})
    with pytest.raises(InputError, match=r"in raw and in tokenised"):
        load_tasks(tmp_path)


def test_unknown_and_repeated_tasks_are_refused(tree: Path) -> None:
    with pytest.raises(InputError, match=r"no STS task and no file 'STS17'. Did you mean STS1"):
        load_tasks(tree, ["STS17"])
    with pytest.raises(InputError, match="STSB was named twice"):
        load_tasks(tree, ["STSB", "sts-b"], counts=MINI)
    with pytest.raises(InputError, match="No task was named"):
        load_tasks(tree, [])


def test_any_file_of_scored_pairs_is_a_task(tmp_path: Path, tree: Path) -> None:
    rows = [scored_pair(np.random.default_rng(i)) for i in range(12)]
    path = tmp_path / "my.pairs.tsv"
    write(path, ["sentence1\tsentence2\tscore", *(f"{a}\t{b}\t{g}" for a, b, g in rows)])
    stsb, mine = load_tasks(tree, ["STSB", str(path)], counts=MINI)
    assert (stsb.name, mine.name, mine.split) == ("STSB", "my.pairs", "file")
    assert list(zip(mine.sentence1, mine.sentence2, mine.gold, strict=True)) == rows
    (alone,) = load_tasks(None, [str(path)])  # needs neither a folder nor the hub
    assert evaluate(BagOfWords(), [alone]).tasks["my.pairs"].n == 12

    write(path, ["sentence1\tsentence2", *(f"{a}\t{b}" for a, b, _ in rows)])
    with pytest.raises(InputError, match=r"my\.pairs\.tsv cannot be a task.*sentence1, sentence2"):
        load_tasks(None, [str(path)])


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"gold": [1.0, float("nan"), 2.0]}, r"gold score of pair 2 of toy \(memory\) is nan"),
        ({"gold": [1.0, 2.0]}, "2 scores: every pair needs all three"),
        ({"sentence1": [], "sentence2": [], "gold": []}, "holds no pairs"),
    ],
)
def test_a_task_is_whole_or_not_at_all(fields: dict[str, Any], message: str) -> None:
    whole: dict[str, Any] = {"sentence1": ["a"] * 3, "sentence2": ["b"] * 3, "gold": [1.0, 2, 3]}
    with pytest.raises(InputError, match=message):
        PairTask("toy", **(whole | fields), subsets={}, split="test", source="memory")


# --- the hub -----------------------------------------------------------------------------------


class Column(dict[str, list[Any]]):
    """What is used of a `datasets.Dataset`."""

    @property
    def column_names(self) -> list[str]:
        return list(self)


def fake_hub(monkeypatch: pytest.MonkeyPatch, load: Callable[..., Any]) -> None:
    module = types.ModuleType("datasets")
    module.load_dataset = load  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "datasets", module)


def columns_of(pairs: list[tuple[str, str, float]]) -> Column:
    first, second, gold = (list(column) for column in zip(*pairs, strict=True))
    return Column(sentence1=first, sentence2=second, score=gold)


def test_the_hub_is_asked_at_pinned_revisions(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, str, str]] = []

    def load(path: str, *, revision: str, split: str) -> Column:
        asked.append((path, revision, split))
        return columns_of([scored_pair(np.random.default_rng(len(asked))) for _ in range(12)])

    fake_hub(monkeypatch, load)
    names = [name for name in PUBLISHED if name != "SICKR"]
    tasks = load_tasks(None, names, counts={name: {"all": 12} for name in PUBLISHED})
    assert [task.name for task in tasks] == names
    assert all(len(revision) == 40 for _, revision, _ in asked)
    assert asked[0] == ("mteb/sts12-sts", "a0d554a64d88156834ff5ae9920b964011b16384", "test")
    assert dict(zip(names, (split for *_, split in asked), strict=True))["STSB-dev"] == "validation"
    assert tasks[0].source == "mteb/sts12-sts@a0d554a64d88156834ff5ae9920b964011b16384"
    assert tasks[0].subsets == {}
    with pytest.raises(InputError, match=r"12 rated pairs where 3,108 are expected"):
        load_tasks(None, ["STS12"])
    with pytest.raises(InputError, match=r"'wmean' is a mean over subsets.*--data-dir"):
        evaluate(BagOfWords(), tasks[:1], aggregation="wmean")


def test_an_unreachable_hub_is_one_sentence_of_advice(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: Any, **__: Any) -> Any:
        raise ConnectionError("no route to host\nwith a long trace")

    fake_hub(monkeypatch, unreachable)
    with pytest.raises(InputError, match=r"STS12 could not be loaded.*ConnectionError.*--data-dir"):
        load_tasks(None)


def test_a_hub_dataset_with_other_columns_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_hub(monkeypatch, lambda *_, **__: Column(premise=[], sentence2=[], score=[]))
    with pytest.raises(InputError, match="no column sentence1"):
        load_tasks(None, ["STSB"])


def test_sick_test_pairs_are_found_in_the_pool_by_content(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(3)
    pool = [scored_pair(rng) for _ in range(40)]
    pool += pool[:3]  # SICK has pairs twice
    test = pool[25:]
    digest, bits = sick_split.describe_split(pool, test)

    shuffled = [pool[i] for i in rng.permutation(len(pool))]
    spaced = [(f" {a}  ", b, float(np.float32(gold))) for a, b, gold in shuffled]
    chosen = sick_split.test_rows(spaced, digest, bits)
    assert sorted(shuffled[i] for i in chosen) == sorted(test)

    monkeypatch.setattr(sick_split, "POOL_DIGEST", digest)
    monkeypatch.setattr(hub, "test_rows", lambda rows: sick_split.test_rows(rows, digest, bits))
    fake_hub(monkeypatch, lambda *_, **__: columns_of(spaced))
    (task,) = load_tasks(None, ["SICKR"], counts={"SICKR": {"test": len(test)}})
    assert sorted(task.gold) == sorted(np.float32([gold for *_, gold in test]).astype(float))

    edited = [("another sentence", *pool[0][1:]), *pool[1:]]
    with pytest.raises(InputError, match=r"cannot be told apart.*--data-dir.*SICKR-MTEB"):
        sick_split.test_rows(edited, digest, bits)


def test_the_shipped_split_marks_as_many_pairs_as_the_test_set_has() -> None:
    import base64

    packed = np.frombuffer(base64.b85decode(sick_split.TEST_BITS), dtype=np.uint8)
    assert np.unpackbits(packed, count=9927).sum() == 4927


# --- scoring -----------------------------------------------------------------------------------


def cosines_by_hand(model: BagOfWords, task: PairTask) -> np.ndarray:
    a, b = (model.encode(texts).astype(float) for texts in (task.sentence1, task.sentence2))
    norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    cosines = np.array([float(x @ y) for x, y in zip(a, b, strict=True)]) / norms
    return cosines.round(10)  # two pairs of equal sentences are a tie: both have cosine 1


def test_scores_are_scipys_for_each_aggregation(suite: list[PairTask]) -> None:
    model = BagOfWords()
    results = {how: evaluate(model, suite, aggregation=how) for how in ("all", "mean", "wmean")}
    for task in suite:
        cosines = cosines_by_hand(model, task)
        whole = 100 * spearmanr(cosines, task.gold).statistic
        score = results["all"].tasks[task.name]
        assert score.spearman == pytest.approx(whole, abs=1e-4)
        assert score.pearson == pytest.approx(
            100 * pearsonr(cosines, task.gold).statistic, abs=1e-4
        )
        assert score.n == len(task)
        assert results["all"].cosines[task.name] == pytest.approx(cosines, abs=1e-6)
        if not task.subsets:
            assert results["mean"].tasks[task.name] == score
            continue
        parts = [100 * spearmanr(cosines[p], task.gold[p]).statistic for p in task.subsets.values()]
        assert [s.spearman for s in score.subsets.values()] == pytest.approx(parts, abs=1e-4)
        sizes = [p.stop - p.start for p in task.subsets.values()]
        mean, wmean = (results[how].tasks[task.name].spearman for how in ("mean", "wmean"))
        assert mean == pytest.approx(np.mean(parts), abs=1e-4)
        assert wmean == pytest.approx(np.dot(parts, sizes) / sum(sizes), abs=1e-4)


def test_all_is_not_the_mean_of_the_subsets() -> None:
    # Each subset is ranked perfectly, but one lives on high cosines with low gold scores.
    class Angles:
        def encode(self, sentences: list[str]) -> np.ndarray:
            angles = np.array([float(text) for text in sentences])
            return np.stack([np.cos(angles), np.sin(angles)], axis=1)

    angles = [0.9, 0.8, 0.7, 0.3, 0.2, 0.1]
    gold = [3.0, 4.0, 5.0, 0.0, 1.0, 2.0]
    subsets = {"far": slice(0, 3), "near": slice(3, 6)}
    task = PairTask(
        "STS12", ["0.0"] * 6, [str(a) for a in angles], np.array(gold), subsets, "test", "memory"
    )
    mean = evaluate(Angles(), [task], aggregation="mean").tasks["STS12"].spearman
    both = evaluate(Angles(), [task]).tasks["STS12"].spearman
    assert mean == pytest.approx(100.0)
    assert both == pytest.approx(100 * spearmanr(np.cos(angles), gold).statistic, abs=1e-6)
    assert both < 0


def test_ties_get_mean_ranks() -> None:
    task = toy_task([1.0, 1.0, 1.0, 4.0, 5.0])
    model = BagOfWords()
    expected = spearmanr(cosines_by_hand(model, task), task.gold).statistic
    assert evaluate(model, [task]).tasks["toy"].spearman == pytest.approx(100 * expected, abs=1e-4)


def test_pairs_of_equal_sentences_are_ties_whatever_the_rounding() -> None:
    rng = np.random.default_rng(5)
    first = [sentence(rng) for _ in range(200)]
    second = [*first[:150], *(sentence(rng) for _ in range(50))]
    task = PairTask("toy", first, second, rng.uniform(0, 5, 200), {}, "test", "memory")
    assert len(np.unique(evaluate(BagOfWords(384), [task]).cosines["toy"][:150])) == 1


def test_sentence_transformers_gives_the_same_score(
    tree: Path, tiny_encoder: Callable[[str], Path]
) -> None:
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.evaluation import EmbeddingSimilarityEvaluator
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

    body = Transformer(str(tiny_encoder("bert")))
    model = SentenceTransformer(modules=[body, Pooling(32)], device="cpu")
    task = load_stsb(tree, "dev", counts=MINI)
    theirs = EmbeddingSimilarityEvaluator(task.sentence1, task.sentence2, list(task.gold))(model)
    ours = evaluate(model, [task], encode_kwargs={"show_progress_bar": False})
    score = ours.tasks["STSB-dev"]
    assert score.spearman == pytest.approx(100 * theirs["spearman_cosine"], abs=1e-3)
    assert score.pearson == pytest.approx(100 * theirs["pearson_cosine"], abs=1e-3)
    assert ours.model == "SentenceTransformer"
    assert ours.protocol["max_length"] == model.max_seq_length


def test_every_distinct_sentence_is_embedded_once_in_one_call(suite: list[PairTask]) -> None:
    model = BagOfWords()
    evaluate(model, suite)
    assert len(model.calls) == 1
    texts = {text for task in suite for text in task.sentence1 + task.sentence2}
    assert sorted(model.calls[0]) == sorted(texts)


def test_the_average_says_what_it_is_over(suite: list[PairTask], tree: Path) -> None:
    extra = load_tasks(tree, ["SICKR-MTEB"], counts=MINI)
    full = evaluate(BagOfWords(), [*suite, *extra])
    assert full.average_over == SUITE
    assert full.average == pytest.approx(np.mean([full.tasks[t].spearman for t in SUITE]))
    two = evaluate(BagOfWords(), [suite[0], suite[5]])
    assert two.average_over == ("STS12", "STSB")
    assert two.average == pytest.approx(
        (full.tasks["STS12"].spearman + full.tasks["STSB"].spearman) / 2
    )


def test_geometry_is_over_close_pairs_and_distinct_sentences(suite: list[PairTask]) -> None:
    model = BagOfWords()
    result = evaluate(model, suite, alignment_threshold=3.0)
    stsb = suite[5]
    close = stsb.gold > 3.0
    first = model.encode([t for t, c in zip(stsb.sentence1, close, strict=True) if c])
    second = model.encode([t for t, c in zip(stsb.sentence2, close, strict=True) if c])
    distinct = sorted(set(stsb.sentence1 + stsb.sentence2))
    geometry = result.geometry
    assert geometry is not None
    assert geometry.alignment == pytest.approx(alignment(first, second), abs=1e-5)
    assert geometry.uniformity == pytest.approx(uniformity(model.encode(distinct)), abs=1e-5)
    assert (geometry.task, geometry.split, geometry.threshold) == ("STSB", "test", 3.0)
    assert (geometry.pairs, geometry.sentences) == (close.sum(), len(distinct))


def test_the_threshold_of_alignment_is_strict() -> None:
    task = toy_task([0.0, 1.0, 4.0, 4.001, 5.0])
    geometry = evaluate(BagOfWords(), [task]).geometry
    assert geometry is not None
    assert geometry.pairs == 2


def test_geometry_on_a_task_of_ones_own_and_where_there_is_none(
    suite: list[PairTask], tree: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = BagOfWords()
    dev = load_stsb(tree, "dev", counts=MINI)
    elsewhere = evaluate(model, suite[:1], geometry=dev)
    assert elsewhere.geometry is not None
    assert (elsewhere.geometry.task, elsewhere.geometry.split) == ("STSB-dev", "dev")
    assert list(elsewhere.tasks) == ["STS12"]
    assert len(model.calls) == 1

    low = toy_task([0.0, 0.2, 0.5, 0.7, 1.0])
    with caplog.at_level(logging.WARNING):
        assert evaluate(model, [low]).geometry is None
    assert "geometry is not measured" in caplog.text
    with pytest.raises(InputError, match=r"no pair with a gold score above 4 \(the highest is 1\)"):
        evaluate(model, [low], geometry=low)


class Fixed:
    def __init__(self, make: Callable[[list[str]], Any]) -> None:
        self.make = make

    def encode(self, sentences: list[str], **_: Any) -> Any:
        return self.make(sentences)


def noise(n: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(n, 4))


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (Fixed(lambda s: np.ones((len(s), 4))), "same cosine.*collapsed"),
        (Fixed(lambda s: np.ones((len(s), 4)) + 1e-5 * noise(len(s))), "same cosine.*collapsed"),
        (Fixed(lambda s: noise(len(s) - 1)), r"returned an array of shape \(9, 4\): \(10, D\)"),
        (Fixed(lambda s: noise(len(s))[0]), "one row a sentence"),
        (Fixed(lambda s: np.full((len(s), 4), np.nan)), r"10 embedding\(s\) are not finite"),
        (Fixed(lambda s: np.zeros((len(s), 4))), "all zero, the first that of 'man 0'"),
        (Fixed(lambda s: s), "no array of numbers"),
        (object(), r"has no encode\(list of str\)"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_what_has_no_score_is_said_and_never_a_nan(model: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        evaluate(model, [toy_task()])


@pytest.mark.filterwarnings("error")
def test_degenerate_tasks_are_refused() -> None:
    model = BagOfWords()
    with pytest.raises(InputError, match="Every gold score of toy is 3"):
        evaluate(model, [toy_task([3.0] * 5)])
    with pytest.raises(InputError, match="2 pair"):
        evaluate(model, [toy_task([1.0, 2.0])])
    flat = toy_task(subsets={"a": slice(0, 3), "b": slice(3, 5)}, name="STS12")
    with pytest.raises(InputError, match="STS12 b has 2 pair"):
        evaluate(model, [flat])
    with pytest.raises(InputError, match="at least one"):
        evaluate(model, [])
    with pytest.raises(InputError, match="one name"):
        evaluate(model, [toy_task(), toy_task()])
    with pytest.raises(InputError, match="all, mean or wmean"):
        evaluate(model, [toy_task()], aggregation="median")  # type: ignore[arg-type]


def test_any_array_kind_and_any_rotation_scores_the_same(suite: list[PairTask]) -> None:
    import torch

    bag = BagOfWords()
    rotation, _ = np.linalg.qr(np.random.default_rng(1).normal(size=(16, 16)))
    expected = evaluate(bag, suite)
    kinds: list[Callable[[list[str]], Any]] = [
        lambda s: torch.tensor(bag.encode(s), requires_grad=True),
        lambda s: [torch.tensor(row) for row in bag.encode(s)],
        lambda s: bag.encode(s).tolist(),
        lambda s: 3.0 * bag.encode(s).astype(np.float64) @ rotation,
    ]
    for kind in kinds:
        result = evaluate(Fixed(kind), suite)
        assert result.average == pytest.approx(expected.average, abs=0.05)
    half = evaluate(Fixed(lambda s: torch.tensor(bag.encode(s)).bfloat16()), suite)
    assert half.average == pytest.approx(expected.average, abs=1.5)


def test_random_embeddings_score_about_nothing() -> None:
    rng = np.random.default_rng(0)
    n = 3000
    task = PairTask(
        "noise",
        [f"a{i}" for i in range(n)],
        [f"b{i}" for i in range(n)],
        rng.uniform(0, 5, n),
        {},
        "test",
        "memory",
    )
    score = evaluate(Fixed(lambda s: rng.normal(size=(len(s), 8))), [task]).tasks["noise"]
    assert abs(score.spearman) < 6  # three standard errors


# --- results -----------------------------------------------------------------------------------


@pytest.fixture
def result(suite: list[PairTask]) -> STSResult:
    return evaluate(BagOfWords(), suite)


def test_json_has_the_promised_shape(result: STSResult, tree: Path) -> None:
    data = json.loads(json.dumps(result.to_json(), allow_nan=False))
    assert list(data) == ["model", "tasks", "average", "geometry", "protocol"]
    assert data["model"] == "bag-of-words"
    assert list(data["tasks"]) == list(SUITE)
    assert list(data["tasks"]["STS12"]) == ["spearman", "pearson", "n", "subsets"]
    assert data["tasks"]["STS12"]["subsets"]["MSRpar"]["n"] == MINI["STS12"]["MSRpar"]
    assert data["tasks"]["STSB"]["subsets"] == {}
    assert 1 < data["average"] <= 100
    assert list(data["geometry"])[:2] == ["alignment", "uniformity"]
    assert data["protocol"] == {
        "similarity": "cosine",
        "aggregation": "all",
        "average_over": list(SUITE),
        "splits": dict.fromkeys(SUITE, "test"),
        "sources": dict.fromkeys(SUITE, str(tree)),
        "text": "lower-cased",
        "precision": "fp32",
        "max_length": 32,
        "pooling": "sum",
    }


def test_the_markdown_table_carries_geometry_and_its_terms(result: STSResult) -> None:
    table = markdown_table({"bag": result})
    header, rule, row = table.splitlines()[:3]
    assert header == f"| Model | {' | '.join(SUITE)} | Avg. | Align. | Uniform. |"
    assert rule.count("---:") == 10
    assert f"| {result.average:.2f} | {result.geometry.alignment:.3f} |" in row  # type: ignore[union-attr]
    assert "**" not in row
    assert "seven STS tasks" in table
    assert "of STSB (test) with gold > 4" in table
    assert f"{result.geometry.sentences} distinct sentences" in table  # type: ignore[union-attr]


def test_two_models_are_compared_only_where_they_can_be(
    result: STSResult, suite: list[PairTask]
) -> None:
    narrow = evaluate(BagOfWords(2), suite)
    table = markdown_table({"wide": result, "narrow": narrow})
    wide_row, narrow_row = table.splitlines()[2:4]
    assert f"**{result.average:.2f}**" in wide_row
    assert f"**{narrow.average:.2f}**" not in narrow_row

    partial = evaluate(BagOfWords(2), suite[4:6])
    table = markdown_table({"wide": result, "part": partial})
    assert "Avg. |" not in table
    assert "| part | – | – | – | – |" in table
    assert "part: Avg. is over STS16, STSB only." in table
    with pytest.raises(InputError, match="no result"):
        markdown_table({})


def test_the_terminal_table_shows_the_same(result: STSResult) -> None:
    from rich.console import Console

    console = Console(width=140, record=True, file=io.StringIO())
    console.print(sts_table({"bag [of] words": result}))
    text = console.export_text()
    assert "bag [of] words" in text
    assert f"{result.average:.2f}" in text
    assert "gold > 4" in text
