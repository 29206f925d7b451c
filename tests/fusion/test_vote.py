"""Votes with scores."""

import pytest

from spacy_eat.fusion import Vote
from spacy_eat.fusion.vote import ODDS, make_vote
from spacy_eat.types import Combiner, Span, Text

TEXT = Text("東京大学の山田", "ja")


def combined(annotations, odds=1.0, **settings):
    found = Vote(odds=odds, **settings)(TEXT, annotations)
    return [(*span.place, span.label, round(span.score, 3), span.origin) for span in found]


def test_is_a_combiner():
    assert isinstance(Vote(), Combiner)


def test_agreement_makes_surer():
    annotations = {"a": [Span(0, 4, "ORG", 0.6)], "b": [Span(0, 4, "ORG", 0.5)]}
    assert combined(annotations) == [(0, 4, "ORG", 0.8, "a+b")]


def test_what_one_found_stays_if_it_is_sure():
    annotations = {"a": [Span(5, 7, "PER", 0.7)], "b": [Span(0, 4, "ORG", 0.4)]}
    assert combined(annotations) == [(5, 7, "PER", 0.7, "a")]
    assert [span[:3] for span in combined(annotations, min_score=0.0)] == [(0, 4, "ORG"), (5, 7, "PER")]


def test_of_two_labels_and_of_overlapping_spans_the_surer_is_taken():
    annotations = {
        "a": [Span(0, 2, "LOC", 0.6), Span(5, 7, "PER", 0.6)],
        "b": [Span(0, 4, "ORG", 0.8), Span(5, 7, "LOC", 0.7)],
    }
    assert [span[:3] for span in combined(annotations)] == [(0, 4, "ORG"), (5, 7, "LOC")]


def test_of_equally_sure_ones_the_longer_is_taken():
    annotations = {"a": [Span(0, 2, "LOC", 0.8)], "b": [Span(0, 4, "ORG", 0.8)]}
    assert [span[:3] for span in combined(annotations)] == [(0, 4, "ORG")]


def test_a_span_that_an_annotator_says_twice_counts_once():
    annotations = {"a": [Span(0, 4, "ORG", 0.6), Span(0, 4, "ORG", 0.5)]}
    assert combined(annotations) == [(0, 4, "ORG", 0.6, "a")]


def test_odds_change_scores_and_never_what_is_taken():
    annotations = {
        "a": [Span(0, 4, "ORG", 0.6), Span(5, 7, "PER", 0.45)],
        "b": [Span(0, 4, "ORG", 0.5), Span(0, 2, "LOC", 0.7)],
        "c": [Span(5, 7, "LOC", 0.5)],
    }
    assert combined(annotations) == [(0, 4, "ORG", 0.8, "a+b"), (5, 7, "LOC", 0.5, "c")]
    # 4 to 1 becomes 1 to 1, and 1 to 1 becomes 1 to 4.
    assert combined(annotations, odds=0.25) == [(0, 4, "ORG", 0.5, "a+b"), (5, 7, "LOC", 0.2, "c")]
    assert combined({"a": [Span(0, 4, "ORG")], "b": []}, odds=0.25) == [(0, 4, "ORG", 1.0, "a")]


def test_one_annotator_alone_keeps_its_scores_and_one_that_found_nothing_counts():
    spans = [Span(0, 4, "ORG", 0.8)]
    assert combined({"a": spans}, odds=0.25) == [(0, 4, "ORG", 0.8, "a")]
    assert combined({"a": spans, "b": []}, odds=0.25) == [(0, 4, "ORG", 0.5, "a")]


def test_by_default_annotators_are_trusted_less_than_if_they_were_independent():
    annotations = {"a": [Span(0, 4, "ORG", 0.6)], "b": [Span(0, 4, "ORG", 0.5)]}
    (span,) = Vote()(TEXT, annotations)
    assert span.score == pytest.approx(ODDS * 4 / (1 + ODDS * 4)) and ODDS < 1.0
    assert make_vote().odds == ODDS and make_vote(odds=1.0)(TEXT, annotations)[0].score == pytest.approx(0.8)


def test_weights():
    annotations = {"a": [Span(0, 4, "ORG", 0.8)], "b": [Span(0, 2, "LOC", 0.6)]}
    assert combined(annotations, weights={"a": 0.5}) == [(0, 2, "LOC", 0.6, "b")]


@pytest.mark.parametrize("settings", [{"weights": {"a": 1.5}}, {"min_score": -0.1}, {"odds": 0.0}])
def test_numbers_out_of_range(settings):
    with pytest.raises(ValueError, match=r"`(weights|min_score|odds)` of spacy_eat\.Vote\.v1"):
        Vote(**settings)
