"""Training data for the tagger on the source."""

import pytest
import spacy
from spacy.training import Example

from spacy_eat.training.tagger import byte_length, make_mixed


def corpus(texts):
    """A reader of texts; those with a capital letter have an entity."""

    def read(nlp):
        for text in texts:
            spans = [(0, 1, "PER")] if text[0].isupper() else []
            yield Example.from_dict(nlp.make_doc(text), {"entities": spans})

    return read


def texts_of(reader):
    return [example.reference.text for example in reader(spacy.blank("xx"))]


def test_all_of_all_corpora_in_one_order_that_repeats():
    corpora = {"a": corpus(list("ABCDEFGH")), "b": corpus(list("stuvwxyz"))}
    reader = make_mixed(corpora)
    assert sorted(texts_of(reader)) == list("ABCDEFGHstuvwxyz")
    assert texts_of(reader) == texts_of(reader) != sorted(texts_of(reader))
    assert texts_of(make_mixed(corpora, seed=1)) != texts_of(reader)


def test_limits_and_texts_without_entities():
    corpora = {"a": corpus(list("ABCDEFGH")), "b": corpus(list("abcdefghij") * 20 + ["Z"])}
    found = texts_of(make_mixed(corpora, limits={"a": 3, "b": 0}, without_entities=0.25))
    assert sum(text.isupper() for text in found) == 4
    assert 25 < sum(text.islower() for text in found) < 75
    with pytest.raises(ValueError, match="`limits` names c, `corpora` has a, b"):
        make_mixed(corpora, limits={"c": 1})


def test_length_is_about_the_same_in_any_script():
    nlp = spacy.blank("xx")
    examples = [Example.from_dict(nlp.make_doc(text), {}) for text in ("北京", "beijin")]
    assert [byte_length(example) for example in examples] == [6, 6]
