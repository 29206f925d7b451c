"""`eat_annotator`: any tagger writes a span group, and entities."""

import math

import pytest
import spacy

from spacy_eat.components.annotator import EatAnnotator
from spacy_eat.components.failures import forget
from spacy_eat.types import Failure, Span

TEXT = "田中在京都。错了。山田在东京。"


class Names:
    """Finds names, and fails where the text says so."""

    labels = ("PER", "LOC")

    def __call__(self, texts):
        return [self.spans(text.string) for text in texts]

    def spans(self, string):
        if "错" in string:
            return Failure("is wrong")
        names = {"田中": "PER", "山田": "PER", "京都": "LOC", "东京": "LOC"}
        found = [(string.find(name), name, label) for name, label in names.items()]
        return [Span(at, at + 2, label, 0.75) for at, name, label in found if at >= 0]


def annotated(tagger, text=TEXT, **settings):
    nlp = spacy.blank("zh")
    return EatAnnotator(tagger, "names", **settings)(nlp.make_doc(text))


def test_spans_and_entities_of_all_sentences_but_the_failed_one(caplog):
    forget()
    doc = annotated(Names())
    group = doc.spans["names"]
    assert [(span.text, span.label_) for span in group] == [(e.text, e.label_) for e in doc.ents]
    assert [e.text for e in doc.ents] == ["田中", "京都", "山田", "东京"]
    assert group.attrs == {"scores": [0.75] * 4, "failed": [[6, 9, "is wrong"]]}
    assert "names: 1 sentence failed: is wrong" in caplog.text


def test_on_error_raise():
    with pytest.raises(Failure, match="names: is wrong"):
        annotated(Names(), on_error="raise")


def test_a_whole_doc_at_once():
    doc = annotated(Names(), max_length=0)
    assert not doc.ents and doc.spans["names"].attrs["failed"] == [[0, len(TEXT), "is wrong"]]
    assert annotated(Names(), "  ", max_length=0).spans["names"].attrs == {"scores": []}


def test_the_group_alone():
    doc = annotated(Names(), ents=False, spans_key="mine")
    assert not doc.ents and len(doc.spans["mine"]) == 4


@pytest.mark.parametrize(
    "tagger, reason",
    [
        (lambda texts: [[Span(0, 99, "PER")] for _ in texts], r"gave \(0, 99\) in a text of 6 characters"),
        (lambda texts: [[Span(0, 1, "PER", math.nan)] for _ in texts], "gave the score nan"),
        (lambda texts: [], "gave 0 results for 3 sentences"),
        (lambda texts: [][1], "IndexError"),
    ],
)
def test_a_tagger_at_fault_is_named(tagger, reason):
    doc = annotated(tagger)
    assert len(doc.spans["names"].attrs["failed"]) == 3
    with pytest.raises(Failure, match=reason):
        annotated(tagger, on_error="raise")


def test_tokens_are_split_or_spans_dropped():
    nlp = spacy.blank("xx")
    doc = EatAnnotator(Names(), "names")(nlp.make_doc("田中在京都。"))
    assert [e.text for e in doc.ents] == ["田中", "京都"]
    doc = EatAnnotator(Names(), "names", off_boundary="drop")(nlp.make_doc("田中在京都。"))
    assert not doc.ents and not len(doc.spans["names"])


def test_in_a_config_with_another_annotator(english):
    """By its registered name, beside a fusion that finds it by the component's."""
    nlp = spacy.blank("xx")
    tagger = {"@misc": "spacy_eat.SpacyTagger.v1", "name": str(english), "score": 0.9}
    nlp.add_pipe("eat_annotator", name="one", config={"tagger": tagger, "ents": False})
    nlp.add_pipe("eat_annotator", name="two", config={"tagger": {**tagger, "score": 0.5}})
    combiner = {"@misc": "spacy_eat.Vote.v1", "odds": 1.0}
    nlp.add_pipe("eat_fusion", config={"annotators": ["one", "two"], "combiner": combiner})
    doc = nlp("Tanaka left Kyoto")
    assert [(e.text, e.label_, round(e._.eat_score, 2)) for e in doc.ents] == [
        ("Tanaka", "PER", 0.95),
        ("Kyoto", "LOC", 0.95),
    ]
    again = nlp.from_config(nlp.config)
    assert [e.text for e in again("Tanaka left Kyoto").ents] == ["Tanaka", "Kyoto"]


def test_settings_out_of_range(english):
    tagger = {"@misc": "spacy_eat.SpacyTagger.v1", "name": str(english)}
    with pytest.raises(ValueError, match="batch_size = 0"):
        spacy.blank("xx").add_pipe("eat_annotator", config={"tagger": tagger, "batch_size": 0})
