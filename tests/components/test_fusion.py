"""`eat_fusion` on span groups, and in the entity aligner."""

import pickle

import pytest
import spacy
from spacy.tokens import Doc, Span, SpanGroup
from spacy.training import Example

import spacy_eat  # noqa: F401  (the attributes)

TEXT = "福岡県久留米市の田中"


@pytest.fixture
def nlp():
    nlp = spacy.blank("zh")  # characters
    nlp.add_pipe("eat_fusion", config={"annotators": ["a", "b"]})
    return nlp


def annotated(nlp, groups):
    """A doc with span groups: {key: [(start, end, label, score)]}."""
    doc = nlp.make_doc(TEXT)
    for key, spans in groups.items():
        made = [Span(doc, start, end, label=label) for start, end, label, _ in spans]
        doc.spans[key] = SpanGroup(doc, name=key, spans=made, attrs={"scores": [s for *_, s in spans]})
    return doc


def ents(doc):
    return [(ent.text, ent.label_, round(ent._.eat_score, 3)) for ent in doc.ents]


def test_combines_groups(nlp):
    doc = nlp(annotated(nlp, {"a": [(8, 10, "PER", 0.6)], "b": [(8, 10, "PER", 0.5), (0, 7, "LOC", 0.9)]}))
    assert ents(doc) == [("福岡県久留米市", "LOC", 0.9), ("田中", "PER", 0.8)]
    assert [span.text for span in doc.spans["eat_fusion"]] == ["福岡県久留米市", "田中"]


def test_joins_the_parts_of_an_address(nlp):
    doc = nlp(annotated(nlp, {"a": [(0, 3, "LOC", 0.9), (3, 7, "LOC", 0.8)], "b": []}))
    assert ents(doc) == [("福岡県久留米市", "LOC", 0.8)]


def test_takes_the_place_of_what_annotators_had_set(nlp):
    doc = annotated(nlp, {"a": [(8, 9, "PER", 0.3)], "b": [(0, 3, "LOC", 0.9), (3, 7, "LOC", 0.9)]})
    doc.ents = [Span(doc, 8, 9, label="PER"), Span(doc, 0, 7, label="LOC")]
    assert ents(nlp(doc)) == [("福岡県久留米市", "LOC", 0.9)]
    assert ents(nlp(doc)) == [("福岡県久留米市", "LOC", 0.9)]  # and the same again


@pytest.mark.parametrize("overwrite", [True, False])
def test_entities_of_others(overwrite):
    nlp = spacy.blank("zh")
    nlp.add_pipe("eat_fusion", config={"annotators": ["a"], "overwrite_ents": overwrite})
    doc = annotated(nlp, {"a": [(0, 3, "LOC", 0.9)]})
    doc.ents = [Span(doc, 0, 7, label="GPE"), Span(doc, 8, 10, label="NAME")]
    labels = [ent.label_ for ent in nlp(doc).ents]
    assert labels == (["LOC", "NAME"] if overwrite else ["GPE", "NAME"])


def test_groups_without_scores_and_docs_without_groups(nlp):
    doc = annotated(nlp, {})
    doc.spans["a"] = [Span(doc, 8, 10, label="PER")]
    assert ents(nlp(doc)) == [("田中", "PER", 1.0)]
    assert nlp(TEXT).ents == ()


def test_a_group_that_another_component_has_changed(nlp):
    good, bad = annotated(nlp, {"a": [(8, 10, "PER", 0.9)]}), annotated(nlp, {"a": [(8, 10, "PER", 0.9)]})
    bad.spans["a"].append(Span(bad, 0, 3, label="LOC"))
    with pytest.raises(ValueError, match=r'doc\.spans\["a"\] has 2 spans, but 1 scores'):
        nlp(bad)
    errors = []
    nlp.get_pipe("eat_fusion").set_error_handler(lambda *args: errors.append(args))
    docs = list(nlp.pipe([bad, good]))  # spaCy leaves out a doc whose error was handled
    assert [ents(doc) for doc in docs if doc is good] == [[("田中", "PER", 0.9)]]
    assert len(errors) == 1


def test_no_annotators():
    with pytest.raises(ValueError, match="`annotators` of 'eat_fusion' is empty"):
        spacy.blank("zh").add_pipe("eat_fusion", config={"annotators": []})


def test_scores_go_where_the_doc_goes(nlp):
    doc = nlp(annotated(nlp, {"a": [(8, 10, "PER", 0.6)], "b": [(8, 10, "PER", 0.5)]}))
    copy = Doc(nlp.vocab).from_bytes(doc.to_bytes())
    assert ents(copy) == ents(doc) == [("田中", "PER", 0.8)]


def bayesian():
    nlp = spacy.blank("zh")
    for key, pattern in (("a", "田中"), ("b", "田中"), ("c", "久留")):
        nlp.add_pipe("span_ruler", name=key, config={"spans_key": key})
        patterns = [{"label": "PER", "pattern": pattern}]
        nlp.config["initialize"]["components"][key] = {"patterns": patterns}
    combiner = {"@misc": "spacy_eat.BayesianAggregation.v1"}
    nlp.add_pipe("eat_fusion", config={"annotators": ["a", "b", "c"], "combiner": combiner})
    return nlp


def test_bayesian_aggregation_is_fitted_by_initialize_and_stored(tmp_path):
    nlp = bayesian()
    nlp.initialize(lambda: [Example(nlp.make_doc(TEXT), nlp.make_doc(TEXT)) for _ in range(50)])
    found = ents(nlp(TEXT))
    assert found[-1][:2] == ("田中", "PER")
    nlp.to_disk(tmp_path)
    assert ents(spacy.load(tmp_path)(TEXT)) == found
    assert ents(bayesian().from_bytes(nlp.to_bytes())(TEXT)) == found
    assert ents(pickle.loads(pickle.dumps(nlp.get_pipe("eat_fusion")))(nlp(TEXT))) == found
