"""What translations find together, on sentences made by hand."""

import pytest

from benchmarks import voting
from benchmarks.fusion import reliabilities
from spacy_eat.components.fusion import annotations_of
from spacy_eat.components.placement import set_group
from spacy_eat.components.source_tagger import SPANS_KEY
from spacy_eat.corpora.files import CorpusError
from spacy_eat.fusion import BayesianAggregation
from spacy_eat.pipelines import blank
from spacy_eat.types import Failure, Options, Span

NAMES = {"Anna": "安娜", "Anne": "安娜", "Rome": "罗马", "Rom": "罗马", "Bob": "鲍勃"}


def aligner(sentences):
    """Knows where names are, and is sure of it."""
    places = (
        [
            (s.source.string.index(NAMES[name]), len(NAMES[name])) if name in NAMES else None
            for name in s.names()
        ]
        for s in sentences
    )
    return [
        [Options((Span(p[0], sum(p), score=0.9),), 0.1) if p else Options(none=1.0) for p in found]
        for found in places
    ]


def read_by(lang, text, *names):
    """A doc with what a tagger has found in it: name, label, score."""
    doc = blank(lang).make_doc(text)
    spans = [Span(text.index(name), text.index(name) + len(name), label, s) for name, label, s in names]
    set_group(doc, spans, SPANS_KEY)
    return doc


@pytest.fixture
def docs():
    return {
        "zh": [read_by("zh", "安娜在罗马见鲍勃。", ("罗马", "LOC", 0.4), ("见鲍勃", "PER", 0.6))],
        "en": [read_by("en", "Anna met Bob in Rome.", ("Rome", "LOC", 0.9), ("Anna", "PER", 0.5))],
        "de": [read_by("de", "Anne traf Bob bei Rom.", ("Bob", "PER", 0.8), ("bei", "ORG", 0.9))],
    }


GOLD = [[Span(0, 2, "PER"), Span(3, 5, "LOC"), Span(6, 8, "PER")]]


def projected(docs):
    return [voting.project(docs["zh"], docs[lang], aligner) for lang in ("en", "de")]


def test_what_translations_have_is_placed_with_its_scores(docs):
    assert projected(docs) == [0, 1]  # "bei" has no place
    found = annotations_of(docs["zh"][0], ["en", "de", SPANS_KEY])
    assert [(span.place, span.label, span.score) for span in found["en"]] == [
        ((0, 2), "PER", 0.45),
        ((3, 5), "LOC", 0.81),
    ]
    assert [(span.place, span.label, span.score) for span in found["de"]] == [((6, 8), "PER", 0.72)]
    assert [span.place for span in found[SPANS_KEY]] == [(3, 5), (5, 8)]  # as before


def test_each_annotator_has_a_row_and_all_together(docs):
    projected(docs)
    bayes = BayesianAggregation()
    bayes.fit([annotations_of(doc, ["en", "de", SPANS_KEY]) for doc in docs["zh"]])
    rows = voting.rows(docs["zh"], GOLD, ["en", "de"], bayes)
    table = {row[0]: row[1:4] for row in rows}
    assert table["the tagger on the target"] == ["0.000", "0.000", "0.000"]
    assert table["from en"] == table["from de"] == ["1.000", "0.333", "0.500"]
    assert table["en and the tagger, Vote.v1"] == ["0.500", "0.333", "0.400"]  # 罗马 and 见鲍勃
    assert table["translations alone, Vote.v1"] == ["1.000", "0.667", "0.800"]
    assert table["all, Vote.v1"] == ["1.000", "0.667", "0.800"]  # 鲍勃 is likelier than 见鲍勃
    gains = {row[0]: row[5] for row in rows}
    assert gains["all, Vote.v1"] == "+0.400 (+0.400 to +0.400)" and not gains["en and the tagger, Vote.v1"]
    assert len(table) == 7
    shown = reliabilities(bayes, GOLD, [annotations_of(docs["zh"][0], ["en", "de", SPANS_KEY])])
    right = {tuple(line.split()[:2]): line.split()[3] for line in shown.strip().splitlines()[2:]}
    assert right["en", "PER"] == right["de", "PER"] == "0.500" and right["en", "LOC"] == "1.000"


def test_a_sentence_that_fails_is_an_error(docs):
    with pytest.raises(Failure, match="no weights"):
        voting.project(docs["zh"], docs["en"], lambda sentences: [Failure("no weights")])


def test_the_same_sentences_in_all_languages(data):
    found = voting.sentences(data, 3)
    assert list(found) == list(voting.LANGUAGES)
    assert {tuple(record.id for record in records) for records in found.values()} == {
        ("n01001011", "n01002017", found["en"][2].id)
    }
    assert found["ja"][0].spans is None and found["zh"][0].spans is not None


def test_other_sentences_are_an_error(tmp_path):
    (tmp_path / "gold").mkdir()
    for lang in voting.LANGUAGES:
        number = 2 if lang == "ru" else 1
        text = f"# sent_id = {number}\n# text = A\n1\tA\tO\t-\t-\n\n"
        (tmp_path / "gold" / f"{lang}_pud_half.iob2").write_text(text, encoding="utf-8")
    with pytest.raises(CorpusError, match="not the sentences of en"):
        voting.sentences(tmp_path)
