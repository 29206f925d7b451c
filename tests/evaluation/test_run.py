"""Runs over gold data: what is taken from the gold English, and what is given back."""

import json

import pytest
import spacy

from spacy_eat.corpora import Record
from spacy_eat.evaluation.report import report
from spacy_eat.evaluation.run import evaluate, read_english
from spacy_eat.taggers.gold import GoldTagger
from spacy_eat.types import Span

GOLD = [
    Record("柳传志住在北京。", (Span(0, 3, "PER"), Span(5, 7, "LOC"))),
    Record("他走了。", ()),
]
ENGLISH = [
    # "Mr Liu" is a name that the English pipeline of the tests does not know.
    Record("Mr Liu lives in Beijing.", (Span(3, 6, "PER"), Span(16, 23, "LOC"))),
    Record("He left.", ()),
]


@pytest.fixture
def nlp(make_nlp, llm):
    llm.names = {"Liu": "柳传志", "Beijing": "北京"}
    return make_nlp()


def test_gold_entities_take_the_place_of_the_tagger_for_one_run(nlp):
    tagger = nlp.get_pipe("eat_entity_aligner").tagger
    result = evaluate(nlp, GOLD, english=ENGLISH, tagger=GoldTagger({r.text: r.spans for r in ENGLISH}))
    assert result["strict"]["f"] == 1.0 and result["coverage"]["share"] == 1.0
    assert nlp.get_pipe("eat_entity_aligner").tagger is tagger
    result = evaluate(nlp, GOLD, english=ENGLISH)
    assert (result["strict"]["tp"], result["strict"]["fn"]) == (1, 1)
    assert result["lost"]["not_tagged"] == 1
    assert result["names_kept"] is None and result["per_doc"]["tp"] == [1, 0]


def test_gold_is_needed(nlp):
    with pytest.raises(ValueError, match="no records with gold annotation"):
        evaluate(nlp, [Record("他走了。")])


def test_a_pipeline_that_is_not_eat():
    result = evaluate(spacy.blank("zh"), GOLD)
    assert result["lost"]["unknown"] == result["strict"]["fn"] == 2
    assert "strict entities" in report(result)
    assert json.loads(json.dumps(result)) == result


def test_english_of_any_corpus(tmp_path):
    path = tmp_path / "x.iob2"
    path.write_text("# text = Ann\n1\tAnn\tB-PER\n\n# text = Rome\n1\tRome\tB-X\n", encoding="utf-8")
    labels = {"PER": "PERSON"}
    first, second = read_english(path, GOLD, labels.get)
    assert first.spans == (Span(0, 3, "PERSON"),) and second.spans == ()
