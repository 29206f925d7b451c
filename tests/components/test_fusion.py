"""`eat_fusion` on span groups, and in the entity aligner."""

import pickle

import pytest
import spacy
from spacy.tokens import Doc, Span, SpanGroup
from spacy.training import Example

from spacy_eat.components.failures import forget
from spacy_eat.fusion.vote import ODDS
from spacy_eat.types import Failure, Options
from spacy_eat.types import Span as Place

TEXT = "福岡縣久留米市的田中"


@pytest.fixture
def nlp():
    nlp = spacy.blank("zh")  # characters
    combiner = {"@misc": "spacy_eat.Vote.v1", "odds": 1.0}
    nlp.add_pipe("eat_fusion", config={"annotators": ["a", "b"], "combiner": combiner})
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
    assert ents(doc) == [("福岡縣久留米市", "LOC", 0.9), ("田中", "PER", 0.8)]
    assert [span.text for span in doc.spans["eat_fusion"]] == ["福岡縣久留米市", "田中"]


def test_joins_the_parts_of_an_address(nlp):
    doc = nlp(annotated(nlp, {"a": [(0, 3, "LOC", 0.9), (3, 7, "LOC", 0.8)], "b": []}))
    assert ents(doc) == [("福岡縣久留米市", "LOC", 0.8)]


def test_takes_the_place_of_what_annotators_had_set(nlp):
    doc = annotated(nlp, {"a": [(8, 9, "PER", 0.3)], "b": [(0, 3, "LOC", 0.9), (3, 7, "LOC", 0.9)]})
    doc.ents = [Span(doc, 8, 9, label="PER"), Span(doc, 0, 7, label="LOC")]
    assert ents(nlp(doc)) == [("福岡縣久留米市", "LOC", 0.9)]
    assert ents(nlp(doc)) == [("福岡縣久留米市", "LOC", 0.9)]  # and the same again


@pytest.mark.parametrize("within, expected", [([9], "田中"), ([], "田")])
def test_edges_that_an_annotator_cannot_find_are_those_of_another(nlp, within, expected):
    doc = annotated(nlp, {"a": [(8, 9, "PER", 0.9)], "b": [(8, 10, "PER", 0.7)]})
    doc.spans["a"].attrs["within"] = [offset + 1 for offset in within]  # 中 ends there
    assert [ent.text for ent in nlp(doc).ents] == [expected]


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


# --- In the entity aligner ---------------------------------------------------


SOURCE, ENGLISH = "京都a府b.", "Kyoto a, Fu b."


class English:
    """Finds Fu."""

    labels = ("LOC",)

    def __call__(self, texts):
        return [[Place(9, 11, "LOC")] for _ in texts]


class Aligner:
    """Finds 府, or fails."""

    def __init__(self, failure=None):
        self.failure = failure

    def __call__(self, sentences):
        options = [Options((Place(3, 4, score=0.8, origin="exact"),))]
        return [self.failure or options for _ in sentences]


@pytest.fixture
def aligned(make_nlp, weights):
    """A pipeline with a tagger on the source that finds 京都, and a doc that has its English."""

    def make(tagger=None, aligner=None, **settings):
        nlp = make_nlp(aligner={"source_tagger": weights, **settings})
        nlp.remove_pipe("eat_translator")
        component = nlp.get_pipe("eat_entity_aligner")
        component.tagger, component.aligner = tagger or English(), aligner or Aligner()
        doc = nlp.make_doc(SOURCE)
        doc._.eat_translation = ENGLISH
        return nlp, doc

    return make


def test_the_entity_aligner_brings_it(aligned):
    nlp, given = aligned()
    for doc in (nlp(given), nlp(given), *nlp.pipe([given])):  # again, and nothing changes
        assert [(ent.text, ent.label_, ent._.eat_english) for ent in doc.ents] == [
            ("京都", "LOC", None),
            ("府", "LOC", "Fu"),
        ]
        assert [span.text for span in doc.spans["eat_source_tagger"]] == ["京都"]
        assert [span.text for span in doc.spans["eat"]] == ["府"]
        alone = [doc.spans["eat_source_tagger"].attrs["scores"][0], 0.8]  # each has what the other has not
        odds = [score / (1.0 - score) for score in alone]
        expected = [ODDS * one / (1.0 + ODDS * one) for one in odds]
        assert [ent._.eat_score for ent in doc.ents] == pytest.approx(expected, abs=1e-3)


@pytest.mark.parametrize(
    ("name", "expected"), [("embedded", ["Kyoto", "Fu"]), ("en_core_web_trf", ["Fu"])], ids=["own", "other"]
)
def test_the_tagger_reads_the_english_beside_the_ner_of_this_package(aligned, monkeypatch, name, expected):
    """It knows English better than that one. A pipeline of the user's own is the only one to read it."""

    class Named(English):
        pass

    Named.name = name
    asked = []

    class Asked(Aligner):
        def __call__(self, sentences):
            asked.extend(entity for sentence in sentences for entity in sentence.names())
            return [[Options()] * len(sentence.entities) for sentence in sentences]

    nlp, doc = aligned(tagger=Named(), aligner=Asked())
    tagger = nlp.get_pipe("eat_entity_aligner").source_tagger
    annotate = tagger.annotate

    def find_kyoto(docs, labels):
        annotate(docs, labels)
        for doc in docs:
            if doc.lang_ == "en":
                spans = [doc.char_span(0, 5, label="LOC")]
                doc.spans["eat_source_tagger"] = SpanGroup(doc, spans=spans, attrs={"scores": [0.9]})

    monkeypatch.setattr(tagger, "annotate", find_kyoto)
    nlp(doc)
    assert asked == expected
    assert [entity["text"] for entity in doc._.eat["sentences"][0]["entities"]] == expected
    nlp(doc)  # nothing is left to be read
    assert asked == expected


def test_a_sentence_that_failed_has_what_the_tagger_found(aligned):
    nlp, doc = aligned(aligner=Aligner(Failure("no answer")))
    doc = nlp(doc)
    assert doc._.eat["sentences"][0]["status"] == "failed"
    assert [ent.text for ent in doc.ents] == ["京都"]


def test_labels_that_the_tagger_does_not_know_leave_it_out(aligned):
    class Genes(English):
        labels = ("GENE", "LOC")

    nlp, doc = aligned(tagger=Genes())
    doc = nlp(doc)
    assert [ent.text for ent in doc.ents] == ["府"]
    assert set(doc.spans) == {"eat"}


def test_labels_that_are_not_wanted_are_not_found_in_the_source_either(aligned):
    class Persons(English):
        labels = ("PER",)

    nlp, doc = aligned(tagger=Persons())
    nlp.get_pipe("eat_entity_aligner").source_tagger.labels = ("LOC", "PER")
    doc = nlp(doc)
    assert [ent.text for ent in doc.ents] == ["府"]  # whatever the tagger gives is set
    assert list(doc.spans["eat_source_tagger"]) == []


def test_without_a_tagger_on_the_source_there_is_a_warning(aligned, tmp_path, caplog):
    forget()
    nlp, doc = aligned(source_tagger=str(tmp_path))
    for _ in range(2):
        assert [ent.text for ent in nlp(doc).ents] == ["府"]
    (message,) = [record.message for record in caplog.records]
    assert "`source_tagger = null` leaves it out" in message and str(tmp_path) in message
    nlp, doc = aligned(source_tagger=str(tmp_path), on_error="raise")
    with pytest.raises(ValueError, match="there is no tagger"):
        nlp(doc)


def test_the_aligner_can_do_without(aligned):
    nlp, doc = aligned(source_tagger=None)
    assert [ent.text for ent in nlp(doc).ents] == ["府"]
