import json

import pytest

from benchmarks import names
from spacy_eat.components.placement import split_tokens
from spacy_eat.pipelines import blank


def annotated(text, *entities):
    doc = blank("de").make_doc(text)
    places = [(text.index(entity), text.index(entity) + len(entity)) for entity in entities]
    split_tokens(doc, {offset for place in places for offset in place})
    doc.set_ents([doc.char_span(*place, label="LOC") for place in places])
    return doc


def test_names_that_are_entities():
    docs = [
        annotated("Bonn ist nicht Berlin.", "Berlin"),
        annotated("Bonn oder Köln? Bonn.", "Bonn"),  # one place of two is enough
        annotated("Region Bonn liegt hier.", "Region Bonn"),
        annotated("Bonn."),
    ]
    counts = names.count(docs, ["Berlin", "Bonn", "Bonn", "Bonn"])
    assert counts[:4] == (4, 2, 3, 3)
    assert counts.share == pytest.approx((6 + 4 + 11) / sum(len(doc.text) for doc in docs))
    assert list(names.lost(docs, ["Bonn", "Bonn", "Bonn", "Bonn"])) == [
        "Bonn: Bonn ist nicht Berlin.",
        "Bonn: Bonn.",
    ]


def test_the_first_different_sentences_with_their_name(tmp_path):
    path = tmp_path / "de.jsonl"
    pairs = [
        ("EU", "Die EU."),
        ("EU", "Die EU."),
        ("Kommission", "Die EU."),
        ("Bonn", "In Bonn."),
        ("A", "A."),
    ]
    lines = [{"eng_entity": "X", "tgt_entity": name, "text": text} for name, text in pairs]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    assert [record.name for record in names.known(path, 2)] == ["EU", "Bonn"]
    assert [record.name for record in names.known(path, 0)] == ["EU", "Bonn", "A"]
