"""Scores and mistakes on docs made by hand."""

import json

import pytest
from spacy.scorer import get_ner_prf
from spacy.tokens import Doc, Span
from spacy.training import Example
from spacy.vocab import Vocab

from spacy_eat.evaluation.mistakes import LOST, SPURIOUS, count_mistakes, find_mistakes, names_kept
from spacy_eat.evaluation.scores import confidence, coverage, evaluate, paper_character_f1, score_entities
from spacy_eat.records import install_extensions

TEXT = "柳传志在北京创立联想集团。"
FOUNDER, CITY, COMPANY = (0, 3, "PER"), (4, 6, "LOC"), (8, 12, "ORG")
THREE = {"PERSON": "PER", "PER": "PER", "GPE": "LOC", "LOC": "LOC", "ORG": "ORG"}


@pytest.fixture(autouse=True)
def extensions():
    install_extensions()


def make_doc(text, entities, words=None, sentences=None):
    """A doc with entities by character; one token per character unless told."""
    words = words or list(text)
    doc = Doc(Vocab(), words=words, spaces=[False] * len(words))
    doc.set_ents([doc.char_span(s, e, label) for s, e, label in entities], default="outside")
    if sentences is not None:
        doc._.eat = {"sentences": sentences, "counts": {}}
    return doc


def sentence(english, entities=(), text=TEXT):
    """A sentence record; an entity is its English words, its label and its place in the text."""
    records = [
        {
            "text": words,
            "label": label,
            "english_start": english.index(words),
            "english_end": english.index(words) + len(words),
            "english_score": 1.0,
            "answers": [],
            "start_char": place[0] if place else None,
            "end_char": place[1] if place else None,
            "status": "exact" if place else "unaligned",
            "score": 1.0,
        }
        for words, label, place in entities
    ]
    return {
        "start_char": 0,
        "end_char": len(text),
        "english": english,
        "status": "aligned",
        "error": None,
        "entities": records,
        "requests": 2,
    }


def example(gold, predicted, **kwargs):
    return Example(make_doc(TEXT, predicted, **kwargs), make_doc(TEXT, gold))


def test_strict_scores_count_start_end_and_label():
    scores = score_entities([example([FOUNDER, CITY, COMPANY], [FOUNDER, (4, 6, "ORG"), (8, 10, "ORG")])])
    assert scores["ents_p"] == scores["ents_r"] == scores["ents_f"] == pytest.approx(1 / 3)
    assert scores["ents_per_type"]["PER"] == {"p": 1.0, "r": 1.0, "f": 1.0}
    assert scores["ents_per_type"]["ORG"]["p"] == 0.0


def test_tokens_and_spacing_do_not_matter():
    gold = Doc(
        Vocab(), words=["柳传志", "在", "北京", "创立", "联想", "集团", "。"]
    )  # with spaces in between
    gold.set_ents(
        [Span(gold, 0, 1, "PER"), Span(gold, 2, 3, "LOC"), Span(gold, 4, 6, "ORG")], default="outside"
    )
    one_token_each = make_doc(TEXT, [FOUNDER, CITY, COMPANY])
    assert score_entities([Example(one_token_each, gold)])["ents_f"] == 1.0
    # a predicted entity inside a gold token is wrong, not rounded to the token
    inside = make_doc(TEXT, [(0, 2, "PER"), CITY, COMPANY])
    assert score_entities([Example(inside, gold)])["ents_f"] == pytest.approx(2 / 3)


def test_same_scores_as_spacy_where_tokens_agree():
    predicted, reference = (Doc(Vocab(), words=["Ann", "met", "Bob", "in", "Rome"]) for _ in range(2))
    predicted.ents = [Span(predicted, 0, 1, "PER"), Span(predicted, 3, 5, "LOC")]
    reference.ents = [Span(reference, i, i + 1, label) for i, label in ((0, "PER"), (2, "PER"), (4, "LOC"))]
    examples = [Example(predicted, reference)]
    ours, theirs = score_entities(examples), get_ner_prf(examples)
    assert ours == {**theirs, "ents_per_type": dict(sorted(theirs["ents_per_type"].items()))}


def test_what_has_no_annotation_is_not_scored():
    nothing = {"ents_p": None, "ents_r": None, "ents_f": None, "ents_per_type": None}
    assert score_entities([Example(make_doc(TEXT, [FOUNDER]), Doc(Vocab(), words=list(TEXT)))]) == nothing
    assert score_entities([]) == nothing
    reference = make_doc(TEXT, [])
    reference.set_ents([], missing=[reference[0:3]], default="outside")
    assert score_entities([Example(make_doc(TEXT, [FOUNDER]), reference)]) == nothing
    assert score_entities([Example(make_doc(TEXT, [CITY]), reference)])["ents_p"] == 0.0


def test_label_map_maps_both_sides_and_leaves_out():
    gold = [(0, 3, "PERSON"), (4, 6, "GPE"), (8, 12, "PRODUCT")]
    scores = score_entities([example(gold, [FOUNDER, (4, 6, "LOC"), (12, 13, "DATE")])], label_map=THREE.get)
    assert scores["ents_f"] == 1.0 and set(scores["ents_per_type"]) == {"PER", "LOC"}


def test_another_text_is_refused():
    with pytest.raises(ValueError, match="another text"):
        score_entities([Example(make_doc("abc", []), make_doc("abd", []))])


def test_paper_score_forgives_boundaries_and_skips_sentences_without_gold():
    # as the paper's label_to_seq: 甲 PER over the first 甲, the second prediction over the next free one
    score = paper_character_f1(
        [
            ("甲乙甲乙", [("甲乙", "PER")], [("甲", "PER"), ("甲", "LOC")]),
            ("丙丁", [], [("丙丁", "ORG")]),
        ]
    )
    # gold P P O O, predicted P O L O: one right; PER 1/1 and 1/2, LOC 0/1
    assert (score["scored"], score["skipped"]) == (1, 1)
    assert score["micro"] == pytest.approx(2 * 0.5 * 0.5 / 1.0)
    assert score["weighted"] == pytest.approx(2 / 3)
    assert score["macro"] == pytest.approx(1 / 3)
    nothing = paper_character_f1([("丙丁", [], [("丙丁", "ORG")])])
    assert nothing["micro"] is None and nothing["macro"] is None


def kinds(gold, predicted, sentences, english=None, label_map=None):
    lost, spurious = find_mistakes(example(gold, predicted, sentences=sentences), label_map, english)
    return [m.kind for m in lost], [m.kind for m in spurious]


ENGLISH = "Liu Chuanzhi founded Lenovo Group in Beijing."


@pytest.mark.parametrize(
    "english", [None, [("Liu Chuanzhi", "PER"), ("Lenovo Group", "ORG"), ("Beijing", "LOC")]]
)
@pytest.mark.parametrize(
    "predicted,entities,expected",
    [
        ([FOUNDER, CITY, COMPANY], [], ([], [])),
        ([FOUNDER, (4, 6, "ORG"), COMPANY], [("Beijing", "ORG", (4, 6))], (["wrong_label"], ["wrong_label"])),
        ([FOUNDER, CITY, (8, 10, "ORG")], [], (["wrong_boundary"], ["wrong_boundary"])),
        ([FOUNDER, COMPANY], [("Beijing", "LOC", None)], (["not_aligned"], [])),
        # aligned where it should be, but it is not in doc.ents
        ([FOUNDER, COMPANY], [("Beijing", "LOC", (4, 6))], (["not_aligned"], [])),
        ([FOUNDER, COMPANY, (6, 8, "LOC")], [("Beijing", "LOC", (6, 8))], (["not_aligned"], ["misplaced"])),
        ([FOUNDER, COMPANY], [], (["not_tagged"], [])),
    ],
)
def test_where_entities_are_lost(predicted, entities, expected, english):
    tags = [("Liu Chuanzhi", "PER", (0, 3)), ("Lenovo Group", "ORG", (8, 12)), *entities]
    assert kinds([FOUNDER, CITY, COMPANY], predicted, [sentence(ENGLISH, tags)], english) == expected


def test_gold_english_names_tell_what_counting_cannot():
    names = [("Liu Chuanzhi", "PER"), ("Beijing", "LOC")]
    tags = [("Liu Chuanzhi", "PER", (0, 3)), ("He", "LOC", None)]
    translation = [sentence("Liu Chuanzhi founded it. He was Chairman.", tags)]
    # the tagger's wrong "He" looks like the lost place; the gold names know better
    assert kinds([FOUNDER, CITY], [FOUNDER], translation) == (["not_aligned"], [])
    assert kinds([FOUNDER, CITY], [FOUNDER], translation, names) == (["not_translated"], [])


def test_names_that_are_no_names():
    """The first word and the names of days are capitalised in any case."""
    assert kinds([CITY], [], [sentence("Founded on Monday there.")]) == (["not_translated"], [])
    assert kinds([CITY], [], [sentence("Bank of China was founded.")]) == (["not_tagged"], [])


def test_other_reasons():
    failed = {**sentence(""), "english": None, "status": "failed", "error": "TimeoutError: no answer"}
    assert kinds([CITY], [], [failed]) == (["failed"], [])
    assert kinds([CITY], [COMPANY], None) == (["unknown"], ["not_gold"])
    # a tag whose label the map leaves out still stands there
    tags = [("Beijing", "EVENT", (4, 6))]
    assert kinds([CITY], [(4, 6, "EVENT")], [sentence(ENGLISH, tags)], label_map=THREE.get) == (
        ["wrong_label"],
        [],
    )


def test_mistakes_say_what_and_where():
    tags = [("Beijing", "LOC", (6, 8))]
    lost, spurious = find_mistakes(example([CITY], [(6, 8, "LOC")], sentences=[sentence(ENGLISH, tags)]))
    assert (lost[0].text, lost[0].label, lost[0].instead) == ("北京", "LOC", "Beijing")
    assert (spurious[0].text, spurious[0].instead) == ("创立", "Beijing = 北京")
    assert lost[0].source == TEXT and lost[0].english == ENGLISH
    assert count_mistakes(lost, LOST)["not_aligned"] == 1 and list(count_mistakes([], SPURIOUS)) == list(
        SPURIOUS
    )


def test_names_kept():
    eg = example([], [], sentences=[sentence("liu chuanzhi and Lenovo.")])
    assert names_kept([eg], [[("Liu Chuanzhi", "PER"), ("Liu Chuanzhi", "PER"), ("Beijing", "LOC")]]) == {
        "names": 3,
        "kept": 1,
        "share": pytest.approx(1 / 3),
    }


def test_evaluate_is_json_and_adds_up():
    failed = {**sentence(""), "english": None, "status": "failed", "error": "boom", "requests": 1}
    examples = [
        example([FOUNDER, CITY, COMPANY], [FOUNDER, (4, 6, "ORG")], sentences=[sentence(ENGLISH)]),
        example([CITY], [], sentences=[failed]),
    ]
    result = json.loads(json.dumps(evaluate(examples, seconds=3.0)))
    assert result["strict"]["tp"] == 1 and result["strict"]["fp"] == 1 and result["strict"]["fn"] == 3
    assert result["labels"]["LOC"] == {"p": 0.0, "r": 0.0, "f": 0.0, "tp": 0, "fp": 0, "fn": 2}
    assert result["unlabelled"]["tp"] == 2
    assert result["coverage"] == {"sentences": 2, "annotated": 1, "share": 0.5, "errors": {"boom": 1}}
    assert result["speed"] == {
        "requests": 3,
        "requests_per_sentence": 1.5,
        "seconds": 3.0,
        "seconds_per_sentence": 1.5,
    }
    assert coverage([make_doc(TEXT, [])])["share"] is None


def test_confidence():
    sentences = [
        sentence(
            "Liu founded Lenovo in Beijing.",
            [("Liu", "PER", FOUNDER[:2]), ("Lenovo", "LOC", COMPANY[:2]), ("Beijing", "LOC", (3, 6))],
        )
    ]
    for record, score in zip(sentences[0]["entities"], (0.95, 0.85, 0.15), strict=True):
        record["score"] = score
    gold = make_doc(TEXT, [FOUNDER, CITY, COMPANY])
    predicted = make_doc(TEXT, [FOUNDER, (3, 6, "LOC"), (8, 12, "LOC")], sentences=sentences)
    found = confidence([Example(predicted, gold)])
    assert found["bins"] == [
        {"count": 1, "score": 0.15, "right": 0.0},
        {"count": 1, "score": 0.85, "right": 1.0},  # the words are right, whatever the label
        {"count": 1, "score": 0.95, "right": 1.0},
    ]
    assert found["ece"] == pytest.approx((0.15 + 0.15 + 0.05) / 3)
    at = {t["min_score"]: (t["p"], t["r"]) for t in found["thresholds"]}
    assert at[0.0] == (pytest.approx(1 / 3), pytest.approx(1 / 3))
    assert at[0.9] == (pytest.approx(1.0), pytest.approx(1 / 3))
    assert confidence([Example(make_doc(TEXT, []), gold)]) is None
