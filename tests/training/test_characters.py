"""Norms and vectors of Chinese characters: the same for both scripts, and stored with the pipeline."""

from pathlib import Path

import numpy as np
import pytest
import spacy
from spacy.tokens import Doc, Span
from spacy.training import Example

from spacy_eat.training.characters import make_simplified_norms, principal_components

CONFIG = Path(__file__).parents[2] / "configs" / "zh_student.cfg"


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


def test_vectors_of_the_embedded_model(tmp_path):
    pytest.importorskip("transformers", reason="needs the extra 'embedded'")
    config = spacy.util.load_config(CONFIG, overrides={"initialize.before_init.dims": 50})
    nlp = spacy.util.load_model_from_config(config, auto_fill=True)
    words = list("刘备在北京")
    doc = Doc(nlp.vocab, words, spaces=[False] * len(words))
    doc.ents = [Span(doc, 0, 2, "PER"), Span(doc, 3, 5, "LOC")]
    nlp.initialize(lambda: [Example(doc.copy(), doc)])
    nlp.to_disk(tmp_path)

    vocab = spacy.load(tmp_path).vocab
    assert vocab.vectors_length == 50
    assert np.array_equal(vocab["劉"].vector, vocab["刘"].vector)
    assert not vocab["劉备"].has_vector
    # A surname is more like another than like a numeral, and the other way round.
    assert vocab["刘"].similarity(vocab["赵"]) > vocab["刘"].similarity(vocab["三"])
    assert vocab["三"].similarity(vocab["四"]) > vocab["三"].similarity(vocab["赵"])
