"""Soft labels: as sure as the annotators together are, open where they differ."""

import json

import numpy as np
import pytest
import spacy
from spacy.tokens import DocBin, SpanGroup
from thinc.api import Config

from spacy_eat.records import FUSED
from spacy_eat.tags import TagProbabilities, set_tags, tags_of
from spacy_eat.training.students.soft_labels import certainty, make_soft_labels, soft_labels

TAGS = ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]
TEXT = "张三在东京"


def annotated(ents=(), groups=None, rows=None):
    """A doc of one character a token, with entities and span groups: start, end, label and score of each."""
    doc = spacy.blank("zh").make_doc(TEXT)
    doc.ents = [doc.char_span(start, end, label) for start, end, label in ents]
    for key, spans in (groups or {}).items():
        doc.spans[key] = SpanGroup(
            doc,
            name=key,
            spans=[doc.char_span(start, end, label) for start, end, label, _ in spans],
            attrs={"scores": np.array([score for *_, score in spans], dtype="float32")},
        )
    if rows is not None:
        places = np.arange(len(TEXT))
        set_tags(doc, TagProbabilities(places, places + 1, np.array(rows), TAGS))
    return doc


ROWS = [[0.2, 0, 0, 0.8, 0], [0.2, 0, 0, 0, 0.8], [1, 0, 0, 0, 0], [0.6, 0.4, 0, 0, 0], [0.6, 0, 0.4, 0, 0]]


def test_an_entity_counts_as_far_as_it_is_sure():
    fused = {FUSED: [(0, 2, "PER", 0.9), (3, 5, "LOC", 0.75)]}
    rows = soft_labels(annotated([(0, 2, "PER"), (3, 5, "LOC")], fused, ROWS)).rows
    assert rows[0] == pytest.approx([0.02, 0, 0, 0.98, 0], abs=1e-3)
    assert rows[1] == pytest.approx([0.02, 0, 0, 0, 0.98], abs=1e-3)
    assert rows[3] == pytest.approx([0.15, 0.85, 0, 0, 0], abs=1e-3)
    assert rows[4] == pytest.approx([0.15, 0, 0.85, 0, 0], abs=1e-3)
    assert rows.sum(axis=1) == pytest.approx(np.ones(5), abs=1e-3)


def test_nothing_is_known_where_an_annotator_was_not_followed():
    groups = {"english": [(3, 5, "LOC", 0.5)], FUSED: [(0, 2, "PER", 0.9)]}
    rows = soft_labels(annotated([(0, 2, "PER")], groups, ROWS)).rows
    assert not rows[3:].any()
    assert rows[2] == pytest.approx([1, 0, 0, 0, 0])


def test_the_last_word_on_a_span_is_the_fusions():
    groups = {"z": [(0, 2, "PER", 0.1)], FUSED: [(0, 2, "PER", 0.9)]}
    rows = soft_labels(annotated([(0, 2, "PER")], groups, ROWS)).rows
    assert rows[0, 3] == pytest.approx(0.98, abs=1e-3)


def test_without_probabilities_entities_are_certain():
    found = soft_labels(annotated([(0, 2, "PER")]))
    assert found.tags == ["O", "B-PER", "I-PER"]
    assert found.rows[:, 0].tolist() == [0, 0, 1, 1, 1]
    assert found.rows[0].tolist() == [0, 1, 0] and found.rows[1].tolist() == [0, 0, 1]


def test_an_entity_of_a_label_that_no_tag_has_leaves_its_place_open():
    rows = soft_labels(annotated([(3, 5, "ORG")], rows=ROWS)).rows
    assert not rows[3:].any()
    assert rows[0].any()


def test_certainty_is_that_of_the_least_certain_piece_that_is_known():
    found = soft_labels(annotated(rows=ROWS))
    assert certainty(found) == pytest.approx(0.6, abs=1e-3)
    open_place = found._replace(rows=np.where(np.arange(5)[:, None] < 3, found.rows, 0.0))
    assert certainty(open_place) == pytest.approx(0.8, abs=1e-3)
    assert certainty(found._replace(rows=np.zeros((5, 5)))) == 1.0


def halve(docs):
    for doc in docs:
        found = tags_of(doc)
        set_tags(doc, found._replace(rows=found.rows / 2))


def test_a_reader_of_what_annotate_wrote(tmp_path):
    nlp = spacy.blank("xx")
    sure, unsure = annotated([(0, 2, "PER")], rows=ROWS[:3] + [[1, 0, 0, 0, 0]] * 2), annotated(rows=ROWS)
    for name, docs in (("a", [sure, unsure]), ("b", [sure])):
        DocBin(store_user_data=True, docs=docs).to_disk(tmp_path / f"{name}.spacy")
    read = list(make_soft_labels([tmp_path / "a.spacy", tmp_path / "b.spacy"])(nlp))
    assert len(read) == 3
    assert [(e.start_char, e.end_char, e.label_) for e in read[2].reference.ents] == [(0, 2, "PER")]
    assert tags_of(read[1].reference).rows[3] == pytest.approx([0.6, 0.4, 0, 0, 0], abs=1e-3)
    assert len(list(make_soft_labels(tmp_path, min_certainty=0.7)(nlp))) == 2
    assert len(list(make_soft_labels(tmp_path, limit=1)(nlp))) == 1
    DocBin(store_user_data=True, docs=[unsure, sure]).to_disk(tmp_path / "unsure_first.spacy")
    assert len(list(make_soft_labels(tmp_path / "unsure_first.spacy", min_certainty=0.7)(nlp))) == 1
    (weighed, *_) = make_soft_labels(tmp_path, denoisers={"halve": halve})(nlp)
    assert tags_of(weighed.reference).rows[2] == pytest.approx([0.5, 0, 0, 0, 0], abs=1e-3)


def test_a_path_is_needed():
    with pytest.raises(ValueError, match="E913"):
        make_soft_labels(None)


DENOISED = """
[reader]
@readers = "spacy_eat.SoftLabels.v1"
path = {path}

[reader.denoisers]

[reader.denoisers.neighbours]
@misc = "spacy_eat.NeighbourWeights.v1"
neighbours = 2
"""


def test_denoisers_from_a_config(tmp_path):
    config = Config().from_str(DENOISED.format(path=json.dumps(str(tmp_path))))
    filled = spacy.registry.fill(config)  # what `spacy train` does first
    assert filled["reader"]["denoisers"]["neighbours"]["sample"] == 100_000
    assert callable(spacy.registry.resolve(filled)["reader"])
    with pytest.raises(ValueError, match="is a block with an @misc"):
        make_soft_labels(tmp_path, denoisers={"neighbours": 2})
