"""Bayesian aggregation: reliabilities are found without gold."""

import json
import random

import pytest

from spacy_eat.fusion import BayesianAggregation
from spacy_eat.types import Combiner, Span, Text

TEXT = Text("x" * 100)


def corpus(texts=300, seed=0):
    """A truth, and three annotators: one finds nearly all, one half, one takes places for organizations."""
    rng = random.Random(seed)
    truth, annotations = [], []
    for _ in range(texts):
        gold = [Span(i * 10, i * 10 + 4, rng.choice(["PER", "LOC"])) for i in range(4)]
        wrong = [Span(i * 10 + 5, i * 10 + 8, "PER") for i in range(4)]
        truth.append(gold)
        annotations.append(
            {
                "good": [s for s in gold if rng.random() < 0.95] + [s for s in wrong if rng.random() < 0.05],
                "half": [s for s in gold if rng.random() < 0.5] + [s for s in wrong if rng.random() < 0.05],
                "mixes up": [
                    Span(*s.place, "ORG" if s.label == "LOC" and rng.random() < 0.7 else s.label)
                    for s in gold
                    if rng.random() < 0.9
                ],
            }
        )
    return truth, annotations


@pytest.fixture(scope="module")
def fitted():
    combiner = BayesianAggregation()
    combiner.fit(corpus()[1])
    return combiner


def test_is_a_combiner():
    assert isinstance(BayesianAggregation(), Combiner)


def test_reliability_is_found(fitted):
    reliability = fitted.reliability()
    assert reliability["good"]["PER"] > 0.85
    assert 0.4 < reliability["half"]["PER"] < 0.6
    assert 0.15 < reliability["mixes up"]["LOC"] < 0.4


def test_is_better_than_any_annotator(fitted):
    truth, annotations = corpus(texts=200, seed=1)

    def f1(found):
        hits = sum(len(set(gold) & set(spans)) for gold, spans in zip(truth, found, strict=True))
        return 2 * hits / sum(len(gold) + len(spans) for gold, spans in zip(truth, found, strict=True))

    fused = f1([fitted(TEXT, row) for row in annotations])
    assert fused > max(f1([row[name] for row in annotations]) for name in annotations[0])
    assert fused > 0.97


def test_a_mistake_that_is_known_is_undone(fitted):
    place = Span(0, 4, "LOC")
    found = fitted(TEXT, {"good": [place], "half": [], "mixes up": [Span(0, 4, "ORG")]})
    assert found == [place]
    assert found[0].origin == "good"
    assert 0.9 < found[0].score <= 1.0


def test_is_stored_as_json(fitted):
    other = BayesianAggregation()
    other.from_json(json.loads(json.dumps(fitted.to_json())))
    row = corpus(texts=1, seed=2)[1][0]
    assert [(s, s.score) for s in other(TEXT, row)] == [(s, s.score) for s in fitted(TEXT, row)]


def test_an_annotator_that_is_not_there_has_no_say(fitted):
    place = Span(0, 4, "PER")
    assert fitted(TEXT, {"good": [place]}) == [place]
    assert fitted(TEXT, {"good": [place], "a stranger": [Span(0, 4, "LOC")]}) == [place]
    assert fitted(TEXT, {}) == []


@pytest.mark.parametrize("annotations", [[], [{"a": [Span(0, 1, "PER")]}], [{"a": [], "b": []}]])
def test_nothing_to_learn_from(annotations):
    with pytest.raises(ValueError, match="nothing to aggregate"):
        BayesianAggregation().fit(annotations)


def test_not_fitted():
    with pytest.raises(ValueError, match=r"nlp\.initialize"):
        BayesianAggregation()(TEXT, {"a": [Span(0, 1, "PER")]})


def test_priors_are_positive():
    with pytest.raises(ValueError, match="alpha"):
        BayesianAggregation(alpha=0.0)
