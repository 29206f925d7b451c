"""`SpacyTagger`: whatever a spaCy pipeline sets, as scored spans."""

import copy
from importlib.util import find_spec

import pytest
import spacy
from spacy.language import Language
from spacy.tokens import Span as DocSpan
from spacy.tokens import SpanGroup

from spacy_eat.pipelines import PipelineError
from spacy_eat.taggers.jieba import make_jieba_tagger
from spacy_eat.taggers.spacy_pipeline import make_spacy_tagger
from spacy_eat.types import Failure, Span, Text

TEXTS = [Text("田中在京都", "zh"), Text("", "zh"), Text("没有", "zh")]


@pytest.fixture
def chinese(tmp_path):
    """A pipeline on disk with OntoNotes' labels."""
    nlp = spacy.blank("zh")
    ruler = nlp.add_pipe("entity_ruler")
    names = (("PERSON", "田中"), ("GPE", "京都"), ("DATE", "没有"))
    ruler.add_patterns([{"label": label, "pattern": name} for label, name in names])
    nlp.to_disk(tmp_path / "zh")
    return str(tmp_path / "zh")


def test_entities_get_the_score_that_the_user_gives(chinese):
    found = make_spacy_tagger(chinese, label_map="ontonotes", score=0.6)(TEXTS)
    assert found == [[Span(0, 2, "PER"), Span(3, 5, "LOC")], [], []]
    assert [span.score for span in found[0]] == [0.6, 0.6]


def test_a_label_map_leaves_out_and_renames(chinese):
    found = make_spacy_tagger(chinese, label_map={"PERSON": "人", "GPE": None})(TEXTS)
    assert found == [[Span(0, 2, "人")], [], []]
    assert make_spacy_tagger(chinese)(TEXTS)[2] == [Span(0, 2, "DATE")]


@Language.factory("test_scored_spans")
def make_scored_spans(nlp, name):
    def annotate(doc):
        if "错" in doc.text:
            raise RuntimeError("cannot read this")
        spans = [doc[i : i + 1] for i in range(len(doc)) if doc[i].text == "田"]
        named = [DocSpan(doc, span.start, span.end, label="PER") for span in spans]
        doc.spans["sc"] = SpanGroup(doc, spans=named, attrs={"scores": [0.25] * len(named)})
        if not DocSpan.has_extension("score"):
            DocSpan.set_extension("score", default=0)
        for span in named:
            span._.score = 0.5
        doc.ents = named
        return doc

    return annotate


@pytest.fixture
def scored(tmp_path):
    """A config file whose component scores what it finds, in both ways there are."""
    nlp = spacy.blank("zh")
    nlp.add_pipe("test_scored_spans")
    nlp.config.to_disk(tmp_path / "scored.cfg")
    yield str(tmp_path / "scored.cfg")
    DocSpan.remove_extension("score")


@pytest.mark.parametrize("spans_key, score", [("sc", 0.25), (None, 0.5)])
def test_scores_of_the_pipeline_are_taken(scored, spans_key, score):
    ((span,),) = make_spacy_tagger(scored, spans_key=spans_key)([TEXTS[0]])
    assert (span, span.score) == (Span(0, 1, "PER"), score)


def test_a_text_that_fails_costs_itself(scored):
    found = make_spacy_tagger(scored)([Text("田"), Text("错"), Text("田中")])
    assert found[0] and found[2]
    assert isinstance(found[1], Failure) and "RuntimeError: cannot read this" in str(found[1])


def test_weights_do_not_travel(chinese):
    tagger = make_spacy_tagger(chinese)
    found = tagger(TEXTS)
    other = copy.deepcopy(tagger)
    assert other._nlp is None and other(TEXTS) == found


def test_what_does_not_fit_is_named():
    with pytest.raises(PipelineError, match="no pipeline 'no_such_pipeline'"):
        make_spacy_tagger("no_such_pipeline")(TEXTS)
    with pytest.raises(ValueError, match="no schema of labels 'onto'"):
        make_spacy_tagger("zh", label_map="onto")
    with pytest.raises(ValueError, match=r"score = 2.*between 0 and 1"):
        make_spacy_tagger("zh", score=2)
    with pytest.raises(ValueError, match="batch_size = 0"):
        make_spacy_tagger("zh", batch_size=0)


@pytest.mark.skipif(find_spec("ja_ginza") is None, reason="ja_ginza is not installed")
def test_ginza():
    ((first, *rest),) = make_spacy_tagger("ja_ginza", label_map="ginza")(
        [Text("田中一郎は京都に住む。", "ja")]
    )
    assert first == Span(0, 4, "PER") and {span.label for span in rest} <= {"LOC"}


@pytest.mark.skipif(find_spec("jieba") is None, reason="jieba is not installed")
def test_jieba():
    text = Text("毛泽东 1949年在北京宣布。", "zh")
    tagger = make_jieba_tagger(score=0.3)
    (found,) = copy.deepcopy(tagger)([text])
    assert [(text[span], span.label, span.score) for span in found] == [
        ("毛泽东", "PER", 0.3),
        ("北京", "LOC", 0.3),
    ]
    assert make_jieba_tagger(labels={"ns": "GPE"})([text]) == [[span_of(text, "北京", "GPE")]]
    with pytest.raises(ValueError, match=r"score = -1.*between 0 and 1"):
        make_jieba_tagger(score=-1)


def span_of(text, words, label):
    start = text.string.index(words)
    return Span(start, start + len(words), label)
