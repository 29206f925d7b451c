"""The temperature of a tagger, by what it finds in annotated text."""

import numpy as np
import pytest
import spacy
from spacy.tokens import Span

pytest.importorskip("torch")

from spacy_eat.components.token_classifier import Found, Tagged
from spacy_eat.training.students.calibration import fit_temperature


class Boastful:
    """Finds the first word of each doc, and is surer than right: two in three are."""

    name = "boastful"

    def __init__(self, logit: float) -> None:
        self.cfg: dict[str, float] = {}
        self.logit = logit

    def read(self, docs):
        return [None] * len(docs)

    def find(self, docs, read):
        score = float(1 / (1 + np.exp(-self.logit / self.cfg["temperature"])))
        return [Tagged([Found(0, 1, "PER", score)]) for _ in docs]


def docs(right: int, wrong: int):
    nlp = spacy.blank("en")
    found = [nlp("Ann sings") for _ in range(right + wrong)]
    for doc in found[:right]:
        doc.ents = [Span(doc, 0, 1, label="PER")]
    return found


def test_scores_become_probabilities():
    # 2 ln 2 are the odds of 4, and half of that of 2: two in three are right.
    tagger = Boastful(logit=2 * np.log(2))
    fits = fit_temperature(tagger, docs(20, 10), temperatures=(1.0, 2.0, 4.0))
    assert tagger.cfg["temperature"] == 2.0
    assert [fit.temperature for fit in fits] == [1.0, 2.0, 4.0]
    assert fits[1].log_loss == min(fit.log_loss for fit in fits)
    assert fits[1].error == pytest.approx(0.0, abs=1e-6) and fits[0].error > 0.1
    assert fits[0].f1 == pytest.approx(2 * 20 / (30 + 20))


def test_nothing_to_fit_it_on():
    tagger = Boastful(1.0)
    tagger.find = lambda docs, read: [Tagged([]) for _ in docs]
    with pytest.raises(ValueError, match="'boastful' finds no entity in 3 texts"):
        fit_temperature(tagger, docs(3, 0))
