"""Teachers' vectors: what `encode` gives, once for equal texts, kept by texts and model."""

from __future__ import annotations

import gc
import shutil
import weakref

import numpy as np
import pytest
from pydantic_core import PydanticCustomError

from simcse_kit.data import KeptMatrix
from simcse_kit.encoder import SentenceEncoder, TeacherVectors, teacher_of, weights_of
from simcse_kit.encoder.identity import embeddings_of
from simcse_kit.errors import InputError, TextError

TEXTS = ["a man", "a dog runs", "a man", "", "the old city", "a dog runs", "music"]


@pytest.fixture
def bert(tiny_encoder):
    return str(tiny_encoder("bert"))


def mean(model, **settings):
    return teacher_of({"model": model, "pooling": "mean", "precision": "fp32", **settings})


def counting(monkeypatch):
    """The texts that encoders embed, from now on."""
    embedded, encode = [], SentenceEncoder.encode

    def counted(self, texts, **settings):
        embedded.extend(texts)
        return encode(self, texts, **settings)

    monkeypatch.setattr(SentenceEncoder, "encode", counted)
    return embedded


def test_vectors_are_the_encoders_own_for_every_place(bert, tiny_encoder, tmp_path, monkeypatch):
    teachers = [mean(bert, storage="fp32"), mean(str(tiny_encoder("mpnet")), normalize=True)]
    expected = [
        SentenceEncoder.from_pretrained(each.model, pooling="mean", precision="fp32").encode(
            TEXTS, normalize=each.normalize
        )
        for each in teachers
    ]
    embedded = counting(monkeypatch)
    vectors = TeacherVectors(teachers, TEXTS, cache_dir=tmp_path)
    assert vectors.widths == (32, 32)
    assert embedded == 2 * ["a man", "a dog runs", "the old city", "music"]  # each once
    places = np.array([[0, 1, 2], [4, 5, 6]])
    for found, wanted, near in zip(
        vectors.gather(vectors.numbers[places]), expected, (1e-5, 1e-3), strict=True
    ):
        assert found.dtype == np.float32 and found.shape == (2, 3, 32)
        np.testing.assert_allclose(found, wanted[places], atol=near)
    (none, _) = vectors.gather(vectors.numbers[[3, 0]])
    assert not none[0].any() and none[1].any()  # a text that there is not


def test_they_are_kept_by_texts_and_model(bert, tiny_encoder, tmp_path, monkeypatch):
    embedded = counting(monkeypatch)

    def asked(teacher, texts=TEXTS):
        embedded.clear()
        TeacherVectors([teacher], texts, cache_dir=tmp_path)
        return len(embedded)

    assert asked(mean(bert)) == 4
    assert asked(mean(bert)) == 0
    others = [mean(bert, storage="fp32"), mean(str(tiny_encoder("electra")))]
    assert [asked(each) for each in others] == [4] * len(others)
    assert asked(mean(bert), [*TEXTS, "one more"]) == 5
    assert asked(mean(bert), TEXTS[::-1]) == 4
    assert asked(mean(bert)) == 0


@pytest.mark.parametrize(
    ("settings", "template"),
    [({"pooling": "cls", "head": "keep"}, None), ({"pooling": "mask"}, 'The "{}" is [MASK] .')],
)
def test_a_head_and_a_template_are_the_teacher_s_own(bert, tmp_path, settings, template):
    encoder = SentenceEncoder.from_pretrained(bert, precision="fp32", **settings)
    if template is not None:
        encoder.use_template(template)
    own = {} if template is None else {"template": template}
    teacher = mean(bert, storage="fp32", **settings, **own)
    plain = mean(bert, storage="fp32", pooling="cls")
    found, other = (
        TeacherVectors([each], TEXTS[:3], cache_dir=tmp_path).gather(np.arange(2))[0]
        for each in (teacher, plain)
    )
    np.testing.assert_allclose(found, encoder.encode(TEXTS[:2]), atol=1e-5)
    assert np.abs(found - other).max() > 0.01


def test_a_folder_with_such_a_name_is_one(bert, tmp_path):
    place = tmp_path / "run@head=keep"
    shutil.copytree(bert, place)
    assert teacher_of(str(place)).model == str(place)


def test_documents_have_a_prompt_of_their_own(bert, tmp_path, monkeypatch):
    anchors, documents = ["a man", "music", "a man"], ["a man", "", "music", "the old city"]
    own = mean(bert, prompt="red ", document_prompt="blue dog ", storage="fp32")
    plain = mean(bert, prompt="red ", storage="fp32")
    encoder = SentenceEncoder.from_pretrained(bert, pooling="mean", precision="fp32")
    embedded = counting(monkeypatch)

    def found(*teachers, texts=(*anchors, *documents), count=3):
        vectors = TeacherVectors(teachers, list(texts), anchors=count, cache_dir=tmp_path)
        assert vectors.numbers[4] == -1 or texts[4]
        return vectors.gather(vectors.numbers)

    mine, theirs = found(own, plain)
    asked = encoder.encode(anchors, prompt="red ")
    answers = encoder.encode(documents, prompt="blue dog ")
    answers[1] = 0
    np.testing.assert_allclose(mine, [*asked, *answers], atol=1e-5)
    as_asked = encoder.encode(documents, prompt="red ")
    as_asked[1] = 0
    np.testing.assert_allclose(theirs, [*asked, *as_asked], atol=1e-5)
    embedded.clear()
    np.testing.assert_array_equal(found(own)[0], mine)
    assert not embedded  # they are kept
    moved = found(own, count=2)[0]  # and not taken for those of other sides
    np.testing.assert_allclose(moved[2], answers[0], atol=1e-5)
    alone = found(own, texts=anchors[:1] * 5, count=5)[0]
    np.testing.assert_allclose(alone, [asked[0]] * 5, atol=1e-5)


def test_a_text_that_cannot_be_embedded_is_named_by_its_number_of_all(bert, tmp_path, monkeypatch):
    encode = SentenceEncoder.encode

    def refusing(self, texts, **settings):
        if "music" in texts:
            raise TextError(list(texts).index("music"), "text {} is no text")
        return encode(self, texts, **settings)

    monkeypatch.setattr(SentenceEncoder, "encode", refusing)
    monkeypatch.setattr(KeptMatrix, "get", lambda self, rows: rows(2, 4))
    with pytest.raises(InputError, match="text 6 is no text"):
        TeacherVectors([mean(bert)], TEXTS, cache_dir=tmp_path)


def test_a_teacher_is_let_go(bert, tmp_path, monkeypatch):
    held, load = [], SentenceEncoder.from_pretrained.__func__

    def loading(cls, *args, **settings):
        encoder = load(cls, *args, **settings)
        held.append(weakref.ref(encoder))
        return encoder

    monkeypatch.setattr(SentenceEncoder, "from_pretrained", classmethod(loading))
    vectors = TeacherVectors([mean(bert)], TEXTS, cache_dir=tmp_path)
    gc.collect()
    assert held and held[0]() is None
    assert vectors.gather(np.array([0]))[0].any()


def test_without_a_place_they_stay_in_memory(bert):
    kept = TeacherVectors([mean(bert)], TEXTS).gather(np.arange(4))[0]
    expected = SentenceEncoder.from_pretrained(bert, pooling="mean", precision="fp32")
    np.testing.assert_allclose(
        kept, expected.encode(["a man", "a dog runs", "the old city", "music"]), rtol=2e-3
    )


def test_an_encoder_is_known_wherever_it_lies_and_by_all_that_counts(bert, tmp_path):
    encoder = SentenceEncoder.from_pretrained(bert, pooling="mean", precision="fp32")
    encoder.save_pretrained(tmp_path / "copy")
    other = SentenceEncoder.from_pretrained(tmp_path / "copy", precision="fp32")
    assert weights_of(encoder) == weights_of(other)
    first = embeddings_of(encoder, "", True)
    assert embeddings_of(other, "", True) == first
    seen = {first, embeddings_of(other, "a ", True), embeddings_of(other, "", False)}
    for name, value in (("pooling", "cls"), ("max_length", 8), ("precision", "bf16")):
        was = getattr(other, name)
        setattr(other, name, value)
        seen.add(embeddings_of(other, "", True))
        setattr(other, name, was)
    next(other.parameters()).data.mul_(1.001)
    assert weights_of(encoder) != weights_of(other)
    assert len({*seen, embeddings_of(other, "", True)}) == 7


# ---- files of vectors ---------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_a_file_of_vectors_stands_for_its_texts(tmp_path, dtype):
    given = np.random.default_rng(0).standard_normal((len(TEXTS), 5)).astype(dtype)
    np.save(tmp_path / "v.npy", given)
    vectors = TeacherVectors([teacher_of(str(tmp_path / "v.npy"))], TEXTS)
    places = np.array([0, 1, 4, 6])
    (found,) = vectors.gather(vectors.numbers[places])
    np.testing.assert_array_equal(found, given[places].astype(np.float32))
    assert vectors.widths == (5,) and not vectors.gather(np.array([-1]))[0].any()


def refused(path):
    with pytest.raises(InputError) as caught:
        TeacherVectors([teacher_of(str(path))], TEXTS)
    assert str(path) in str(caught.value)
    return str(caught.value)


def test_files_that_do_not_fit_are_said(tmp_path):
    path = tmp_path / "v.npy"
    assert "no such file" in refused(path)
    path.write_text("no array")
    assert "cannot be read as an array" in refused(path)
    np.save(path, np.array([{"a": 1}], dtype=object))  # a pickle
    assert "cannot be read as an array" in refused(path)
    np.save(path, np.zeros(len(TEXTS)))
    assert "of shape (7,)" in refused(path)
    np.save(path, np.zeros((len(TEXTS), 3), dtype=int))
    assert "floating-point" in refused(path)
    np.save(path, np.zeros((6, 3)))
    assert "holds 6 vectors, and the data 7 texts" in refused(path)
    broken = np.ones((len(TEXTS), 3))
    broken[4, 1] = np.inf
    np.save(path, broken)
    assert "vector 4 is not finite" in refused(path)


def test_vectors_too_long_for_fp16_are_said(bert, tmp_path, monkeypatch):
    monkeypatch.setattr(
        SentenceEncoder, "encode", lambda self, texts, **_: np.full((len(texts), 32), 1e6)
    )
    with pytest.raises(InputError, match="too long for fp16; set storage: fp32"):
        TeacherVectors([mean(bert)], TEXTS, cache_dir=tmp_path)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (3, "teachers must be names"),
        ({"pooling": "mean"}, "teachers must be names"),
        ("", "a name is empty"),
        ({"model": "a", "pool": "mean"}, "no setting 'pool'; settings of a model: model, pooling"),
        ({"model": "a", "head": "tanh"}, "head must be one of none, keep"),
        ("a@head=keep", r"settings behind @, .* own model has; write \{model: a, head: keep\}$"),
        ({"model": "a@pooling=cls,head=keep"}, r"\{model: a, pooling: cls, head: keep\}"),
        ({"model": "a", "max_length": 1}, "max_length"),
        ({"model": "a.npy", "pooling": "mean"}, "holds vectors, of which pooling can say nothing"),
    ],
)
def test_what_is_no_teacher_is_said(value, said):
    with pytest.raises(PydanticCustomError, match=said):
        teacher_of(value)
