"""Word alignment: which similarities become links, and places of entities from them. Vectors are scripted."""

import numpy as np
import pytest
import spacy

from spacy_eat.alignment.resolve import resolve
from spacy_eat.alignment.words import EXTRACTIONS, SHARPNESS, WordAligner, _entmax, align, make_word_aligner
from spacy_eat.encoders import Vectors
from spacy_eat.types import Sentence, Span, Text

MEANINGS = {"Anna": "安娜", "met": "见", "Bob": "鲍勃", "in": "在", "Rome": "罗马"}


class Scripted:
    """An encoder whose pieces are words, and Chinese ones what they mean."""

    def __init__(self, pieces=MEANINGS):
        self.pieces = {word: i for i, pair in enumerate(pieces.items()) for word in pair}
        self.size = len(pieces)

    def __call__(self, texts):
        return [self.read(text.string) for text in texts]

    def read(self, text):
        found = []
        for word, number in self.pieces.items():
            at = text.find(word)
            while at >= 0:
                found.append((at, at + len(word), number))
                at = text.find(word, at + 1)
        found.sort()
        vectors = np.eye(self.size, dtype="float32")[[number for *_, number in found]]
        places = np.array([place[:2] for place in found], dtype=int).reshape(-1, 2)
        return Vectors(places[:, 0], places[:, 1], vectors.reshape(-1, self.size))


def sentence(source, english, *names, lang="zh"):
    spans = [Span(english.index(name), english.index(name) + len(name), "X") for name in names]
    return Sentence(Text(source, lang), Text(english, "en"), spans)


@pytest.mark.parametrize("extraction", EXTRACTIONS)
def test_words_are_linked_to_what_they_mean_in_any_order(extraction):
    encoder = Scripted()
    here, there = encoder([Text("Anna met Bob in Rome"), Text("在罗马安娜见鲍勃")])
    linked = align(here, there, extraction).linked
    expected = [(0, 2), (1, 3), (2, 4), (3, 0), (4, 1)]
    assert sorted(map(tuple, np.argwhere(linked).tolist())) == expected


def test_itermax_links_what_argmax_leaves():
    # Both rows are likest to the first column, the first row more so.
    for same, expected in (
        ([[0.9, 0.1], [0.55, 0.52]], [[True, False], [False, True]]),
        ([[0.9, 0.1], [0.8, 0.3]], [[True, False], [True, False]]),  # two words for one
    ):
        assert EXTRACTIONS["argmax"](np.array(same)).tolist() == [[True, False], [False, False]]
        assert EXTRACTIONS["itermax"](np.array(same)).tolist() == expected


def test_entmax_is_a_distribution_with_zeros():
    same = np.random.default_rng(0).normal(size=(5, 7)) / 50
    shares = _entmax(same)
    assert np.allclose(shares.sum(axis=1), 1) and (shares == 0).any() and (shares >= 0).all()
    # The gradient condition of the 1.5-entmax: the same threshold for all that are above 0.
    thresholds = SHARPNESS * same / 2 - np.sqrt(shares)
    for row, share in zip(thresholds, shares, strict=True):
        assert np.allclose(row[share > 0], row[share > 0][0])


def test_empty_sides():
    encoder = Scripted()
    here, nothing = encoder([Text("Anna met"), Text("")])
    for extraction in EXTRACTIONS:
        assert align(here, nothing, extraction).linked.shape == (2, 0)
        assert align(nothing, nothing, extraction).linked.shape == (0, 0)


def test_places_of_entities():
    aligner = WordAligner(Scripted())
    (options,) = aligner([sentence("在罗马安娜见鲍勃。", "Anna met Bob in Rome.", "Anna", "Bob", "Rome")])
    assert [[o.place for o in one.spans] for one in options] == [[(3, 5)], [(6, 8)], [(1, 3)]]
    assert all(one.spans[0].score == pytest.approx(0.95) for one in options)


def test_pieces_of_a_name_make_one_place_unless_something_else_is_between():
    pieces = {"New": "新", "York": "约克", "Bob": "鲍勃", "Zoe": "的"}
    english = "New York Bob"
    aligner = WordAligner(Scripted(pieces))
    assert [s.place for s in aligner([sentence("新约克鲍勃", english, "New York")])[0][0].spans] == [(0, 3)]
    assert [s.place for s in aligner([sentence("新的约克鲍勃", english, "New York")])[0][0].spans] == [(0, 4)]
    apart = aligner([sentence("新鲍勃约克", english, "New York")])[0][0]
    assert sorted(s.place for s in apart.spans) == [(0, 1), (3, 5)]
    assert sum(s.score for s in apart.spans) == pytest.approx(0.95)
    tight = WordAligner(Scripted(pieces), gap=0)([sentence("新的约克鲍勃", english, "New York")])[0][0]
    assert len(tight.spans) == 2


def test_what_is_not_there_has_no_place_and_what_stands_there_is_exact():
    aligner = WordAligner(Scripted())
    asked = sentence("安娜见NHK。", "Anna met NHK, Rome.", "Anna", "NHK", "Rome")
    (options,) = aligner([asked])
    assert [span.place for span in options[1].spans] == [(3, 6)] and options[1].spans[0].score == 1.0
    assert options[2].spans == () and options[2].none == 1.0
    assert [span and asked.source[span] for span in resolve(asked, options).spans] == ["安娜", "NHK", None]


@pytest.mark.parametrize("source, english", [("", "Anna"), ("安娜", "Anna \ud800"), ("\ud800", "Anna")])
def test_bad_texts(source, english):
    (options,) = WordAligner(Scripted())([sentence(source, english, "Anna")])
    assert len(options) == 1 and all(span.end_char <= len(source) for span in options[0].spans)


def test_registry_and_wrong_settings():
    aligner = spacy.registry.misc.get("spacy_eat.WordAligner.v1")()
    assert aligner.encoder.layer == 7 and aligner.encoder.name == "embedded"
    with pytest.raises(ValueError, match="extraction = 'best' is none of argmax, itermax, softmax, entmax"):
        make_word_aligner(extraction="best")
    with pytest.raises(ValueError, match="gap = -1"):
        make_word_aligner(gap=-1)


@pytest.mark.model
def test_embedded_encoder():
    asked = sentence("Ленин жил в Париже.", "Lenin lived in Paris.", "Lenin", "Paris", lang="ru")
    (options,) = make_word_aligner()([asked])
    assert [asked.source[one.spans[0]] for one in options] == ["Ленин", "Париже"]
