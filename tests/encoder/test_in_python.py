"""An encoder in the hands of Python: what it takes for texts, copies, processes, threads."""

from __future__ import annotations

import copy
import logging
import multiprocessing
import pickle
import sys
import threading
from collections import deque
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor

import datasets
import joblib
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from huggingface_hub.utils import logging as hub_logging
from transformers.utils import logging as hf_logging

from families import build
from simcse_kit.encoder import SentenceEncoder
from simcse_kit.encoder.persistence import quietly
from simcse_kit.encoder.runtimes.graph import unheard
from simcse_kit.encoder.verify import unnoticed
from simcse_kit.errors import InputError
from simcse_kit.training import dev
from simcse_kit.training.trials import run

TEXTS = ["a man plays the guitar", "dog", "one two three four five", "", "the cat sleeps"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("in-python")

    def built(family):
        place = root / family
        return place if place.exists() else build(family, place)

    return built


@pytest.fixture(scope="module")
def encoder(folder):
    return load(folder("BERT"))


def load(place, **kwargs) -> SentenceEncoder:
    kwargs = {"pooling": "mean", "precision": "fp32", "device": "cpu"} | kwargs
    return SentenceEncoder.from_pretrained(place, **kwargs)


def column(cells, form=None):
    return datasets.Dataset.from_dict({"text": cells}).with_format(form)["text"]


HANDED_OVER = {
    "list": list,
    "tuple": tuple,
    "generator": lambda texts: (text for text in texts),
    "iterator": iter,
    "deque": deque,
    "keys": lambda texts: dict.fromkeys(texts).keys(),
    "values": lambda texts: dict(enumerate(texts)).values(),
    "map": lambda texts: map(str, texts),
    "Series": pd.Series,
    "Series, numbered from the end": lambda texts: pd.Series(texts, index=[9, 8, 7, 6, 5]),
    "Series, named": lambda texts: pd.Series(texts, index=list("abcde")),
    "Series, real index": lambda texts: pd.Series(texts, index=[0.5, 1.5, 0.1, 7.0, 2.0]),
    "Series of categories": lambda texts: pd.Series(texts, dtype="category"),
    "Index": pd.Index,
    "array of str": np.array,
    "array of objects": lambda texts: np.array(texts, dtype=object),
    "list of numpy's": lambda texts: list(np.array(texts)),
    "Column": lambda texts: column(texts),
    "Column of numpy's": lambda texts: column(texts, "numpy"),
    "Column of torch's": lambda texts: column(texts, "torch"),
    "column of pandas'": lambda texts: column(texts, "pandas"),
    "column of pyarrow's": lambda texts: column(texts, "arrow"),
    "column of numpy's, read": lambda texts: column(texts, "numpy")[:],
    "nested column": lambda texts: column([{"said": text} for text in texts])["said"],
    "pyarrow": pa.array,
}


@pytest.mark.parametrize("kind", HANDED_OVER)
def test_any_iterable_of_strings_is_taken_in_its_order(encoder, kind):
    expected = encoder.encode(TEXTS)
    np.testing.assert_array_equal(encoder.encode(HANDED_OVER[kind](TEXTS)), expected)


def test_a_string_of_numpy_is_one_text(encoder):
    found = encoder.encode(np.array(TEXTS)[0])
    np.testing.assert_array_equal(found, encoder.encode(TEXTS[0]))
    assert found.shape == (32,)


@pytest.mark.parametrize("nothing", [[], (), iter(()), pd.Series([], dtype=str)])
def test_no_texts_give_no_rows(encoder, nothing):
    assert encoder.encode(nothing).shape == (0, 32)


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        ({"a", "b"}, r"the texts are a set, which has no order; give sorted\(texts\)"),
        (frozenset({"a"}), "the texts are a frozenset, which has no order"),
        ({"a": "b"}, r"the texts are a dict; give its \.keys\(\) or \.values\(\)"),
        (b"a man", "the texts are of type bytes; give a string, or strings in a row"),
        (7, "the texts are of type int; give a string, or strings in a row"),
        (None, "the texts are of type NoneType"),
        (np.array([["a", "b"]]), r"the texts have shape \(1, 2\); give one dimension"),
        (pd.DataFrame({"text": ["a"]}), r"the texts have shape \(1, 1\); give one dimension"),
        (["a", None], "text 1 is a NoneType, not a string"),
        (pd.Series(["a", np.nan]), "text 1 is a float, not a string"),
        ([["a", "b"]], "text 0 is a list, not a string"),
        (iter(["a", b"b"]), "text 1 is a bytes, not a string"),
    ],
)
def test_what_is_no_row_of_strings_is_refused_in_a_sentence(encoder, texts, said):
    with pytest.raises(InputError, match=said):
        encoder.encode(texts)


@pytest.mark.parametrize("pooling", ["cls", "first_last_mean"])
@pytest.mark.parametrize("family", ["BERT", "ModernBERT", "MPNet", "BART"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_copies_give_what_the_encoder_gives(folder, family, pooling, precision):
    encoder = load(folder(family), pooling=pooling, precision=precision)
    expected = encoder.encode(TEXTS)  # and leaves whatever it leaves in the model
    pickled = pickle.loads(pickle.dumps(encoder))
    for copied in (pickled, copy.deepcopy(encoder), copy.copy(encoder), encoder):
        np.testing.assert_array_equal(copied.encode(TEXTS), expected)
        assert type(copied.backbone) is type(encoder.backbone)
    kinds = [type(module) for module in encoder.modules()]
    assert [type(module) for module in pickled.modules()] == kinds, "the fast ways are lost"


def test_a_deep_copy_shares_nothing(encoder):
    copied = copy.deepcopy(encoder)
    expected = encoder.encode(TEXTS)
    for each in copied.parameters():
        each.data.zero_()
    np.testing.assert_array_equal(encoder.encode(TEXTS), expected)


def test_a_spawned_process_gives_the_same(folder):
    encoder = load(folder("BERT"), pooling="first_last_mean")
    expected = encoder.encode(TEXTS)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        (spawned,) = pool.map(encoder.encode, [TEXTS])
    np.testing.assert_allclose(spawned, expected, atol=1e-6)


@pytest.mark.slow
def test_joblib_s_processes_give_the_same(folder):
    encoder = load(folder("BERT"), pooling="first_last_mean")
    expected = encoder.encode(TEXTS)
    parts = joblib.Parallel(n_jobs=2, prefer="processes")(
        joblib.delayed(encoder.encode)(TEXTS[place : place + 2]) for place in (0, 2, 4)
    )
    np.testing.assert_allclose(np.concatenate(parts), expected, atol=1e-6)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(("family", "pooling"), [("BERT", "first_last_mean"), ("MPNet", "mean")])
def test_eight_threads_get_what_one_gets(folder, family, pooling, precision):
    lists = [[f"{text} {word}" for text in TEXTS] for word in "abcdefghijklmnopqrstuvwxyz"]
    alone = [load(folder(family), pooling=pooling, precision=precision).encode(e) for e in lists]
    encoder = load(folder(family), pooling=pooling, precision=precision)
    encoder.set_dropout(0.4)
    encoder.train()  # embedding is without dropout all the same, as long as one thread is at it
    with ThreadPoolExecutor(8) as pool:
        for found, expected in zip(pool.map(encoder.encode, lists * 3), alone * 3, strict=True):
            np.testing.assert_array_equal(found, expected)
    assert encoder.training and encoder.backbone.training


def test_threads_that_cut_at_different_lengths_do_not_disturb_each_other(folder):
    """A tokenizer keeps its truncation as state, and two encoders may share one."""
    long = load(folder("BERT"))
    short = copy.copy(long)
    short.max_length = 5
    texts = ["one two three four five red blue big small " * 3] * 400
    expected = {id(each): each.encode(texts[0]) for each in (long, short)}
    assert np.abs(expected[id(long)] - expected[id(short)]).max() > 0.01
    with ThreadPoolExecutor(8) as pool:
        jobs = [(each, pool.submit(each.encode, texts)) for _ in range(8) for each in (long, short)]
        for each, job in jobs:
            np.testing.assert_allclose(job.result()[::100], [expected[id(each)]] * 4, atol=1e-5)


def running():
    return run._quiet(but=run._COURSE)


@pytest.mark.parametrize("quiet", [quietly, unnoticed, unheard, dev._quiet, run._quiet, running])
def test_threads_that_load_save_export_or_score_leave_what_is_heard_as_it_was(quiet):
    """These are settings of the whole process, which each changes for a moment."""

    def heard():
        names = ("simcse_kit", "simcse_kit.evaluation", *run._COURSE)
        ours = [logging.getLogger(name).level for name in names]
        hub = hf_logging.get_verbosity(), hub_logging.get_verbosity()
        return *ours, *hub, logging.root.manager.disable, sys.stdout, sys.stderr

    before, entered, over = heard(), threading.Event(), threading.Event()

    def other():
        with quiet():
            entered.set()
            over.wait(10)

    thread = threading.Thread(target=other)
    with quiet():
        thread.start()
        entered.wait(0.2)
    over.set()
    thread.join()
    assert entered.is_set() and heard() == before


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"normalize_embeddings": True}, "'normalize_embeddings': that is normalize"),
        ({"batch_size": 8}, "'batch_size': batches are made by tokens: batch_tokens"),
        ({"colour": 1}, "'colour': it takes normalize, precision, batch_tokens, prompt"),
    ],
)
def test_names_of_other_libraries_are_answered_in_a_sentence(encoder, settings, said):
    for encode in (encoder.encode, encoder.encode_query):
        with pytest.raises(InputError, match=said):
            encode(["a"], **settings)


def test_an_encoder_of_a_name_says_how_it_is_loaded(folder):
    with pytest.raises(InputError, match=r"loaded by SentenceEncoder\.from_pretrained"):
        SentenceEncoder(str(folder))
