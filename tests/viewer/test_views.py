"""What is shown of a doc."""

from dataclasses import asdict

import pytest
import spacy
from spacy.tokens import Doc, Span

from spacy_eat.viewer import view_of

from .docs import AR, ZH, add_group, make_doc


def test_a_view_has_all_that_is_known():
    doc = make_doc("zh", ZH, "Two companies")
    view = view_of(doc)
    assert (view.text, view.lang, view.title) == (doc.text, "zh", "Two companies")
    assert [sentence.text for sentence in view.sentences] == [line.source for line in ZH]
    first, second, third = view.sentences
    assert [doc.text[m.start : m.end] for m in first.mentions] == ["柳传志", "北京", "联想集团"]
    person = first.mentions[0]
    assert (person.label, person.score, person.status, person.answers) == ("PER", 0.95, "exact", ["柳传志"])
    assert first.english[person.english_start : person.english_end] == "Liu Chuanzhi"
    hangzhou = second.mentions[-1]
    assert (hangzhou.start, hangzhou.score, hangzhou.status) == (None, None, "unaligned")
    assert second.english[hangzhou.english_start : hangzhou.english_end] == "Hangzhou"
    assert (third.status, third.mentions) == ("failed", []) and "TimeoutError" in third.error
    assert not any(
        sentence.annotators for sentence in view.sentences
    )  # the aligner's own group says nothing new
    assert [(m.start, m.end) for m in view.entities()] == [(e.start_char, e.end_char) for e in doc.ents]


def test_a_doc_without_a_record_has_its_entities_alone():
    doc = spacy.blank("en")("Obama left. He met Merkel in Berlin.")
    doc.ents = [Span(doc, 0, 1, "PERSON"), Span(doc, 5, 6, "PERSON")]
    first, second = view_of(doc).sentences
    assert (first.text, first.english, first.status) == ("Obama left.", None, "")
    assert [(m.start, m.end, m.score, m.english_start, m.chosen) for m in second.mentions] == [
        (19, 25, None, None, True)
    ]


@pytest.mark.parametrize("text", ["", " \n ", "!"])
def test_docs_with_nothing_in_them(text):
    assert not view_of(spacy.blank("zh")(text)).entities()


def test_what_the_record_has_and_the_entities_have_not():
    """Such as where a person has removed one from `doc.ents`, or two have been joined."""
    doc = make_doc("zh", ZH)
    doc.ents = [ent for ent in doc.ents if ent.text not in ("北京", "马云")]
    view = view_of(doc)
    left_out = [m for s in view.sentences for m in s.mentions if not m.chosen and m.start is not None]
    assert [doc.text[m.start : m.end] for m in left_out] == ["北京", "马云"]
    assert len(view.entities()) == len(doc.ents)


def test_an_entity_that_holds_one_of_the_record_takes_its_score():
    doc = make_doc("zh", ZH)
    doc.ents = [doc.char_span(0, 4, "PER")]
    first = view_of(doc).sentences[0].mentions[:2]
    assert [(m.start, m.end, m.score, m.chosen) for m in first] == [(0, 4, 0.95, True), (0, 3, 0.95, False)]


def test_annotators_and_their_scores():
    doc = make_doc("zh", ZH)
    place = doc.char_span(10, 12, "GPE")
    add_group(doc, "eat_source_tagger", [(doc.char_span(0, 3, "PER"), 0.99), (place, 0.55)])
    doc.spans["unscored"] = [place]
    doc.ents = [place]
    view = view_of(doc)
    assert view.sentences[0].annotators == ["eat", "eat_source_tagger"]
    said = [(o.annotator, o.label, o.score) for o in view.sentences[0].opinions if o.start == 10]
    assert said == [("eat_source_tagger", "GPE", 0.55), ("eat", "LOC", 0.91)]
    assert [(m.score, m.status) for m in view.entities()] == [
        (None, "unscored")
    ]  # the last group that has it
    assert view_of(doc, ["unscored", "nope"]).sentences[0].annotators == ["unscored"]


def test_entities_have_the_score_of_the_combination():
    doc = make_doc("zh", ZH)
    person, place = doc.char_span(0, 3, "PER"), doc.char_span(10, 12, "GPE")
    add_group(doc, "eat_source_tagger", [(place, 0.55)])
    add_group(doc, "eat_fusion", [(person, 0.98), (place, 0.55)])
    doc.ents = [person, place]
    found = [(m.start, m.score, m.status) for m in view_of(doc).entities()]
    assert found == [(0, 0.98, "exact"), (10, 0.55, "eat_source_tagger")]


def test_text_between_the_sentences_of_a_record_is_shown():
    doc = make_doc("zh", ZH)
    doc._.eat["sentences"] = doc._.eat["sentences"][1:2]
    view = view_of(doc)
    assert [sentence.text for sentence in view.sentences] == [line.source for line in ZH]
    assert [sentence.status for sentence in view.sentences] == ["", "aligned", ""]
    assert [m.start for m in view.sentences[0].mentions] == [0, 10, 15]


@pytest.mark.parametrize("place", [(-5, 3), (2, 10_000), (9, 4), (None, 3), (5, 5)])
def test_records_from_elsewhere_stay_within_the_text(place):
    doc = make_doc("zh", ZH[:1])
    for start, end in (("start_char", "end_char"), ("english_start", "english_end")):
        doc._.eat["sentences"][0]["entities"][0][start] = place[0]
        doc._.eat["sentences"][0]["entities"][0][end] = place[1]
    sentence = view_of(doc).sentences[0]
    for m in sentence.mentions:
        assert m.start is None or 0 <= m.start <= m.end <= len(doc.text)
        assert m.english_start is None or 0 <= m.english_start <= m.english_end <= len(sentence.english)


def test_a_view_survives_the_doc_and_its_bytes():
    doc = make_doc("ar", AR)
    copy = Doc(doc.vocab).from_bytes(doc.to_bytes())
    assert asdict(view_of(doc)) == asdict(view_of(copy))
