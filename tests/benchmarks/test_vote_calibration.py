"""What makes probabilities of votes is found for annotators that are wrong together, and for others."""

import random

from benchmarks.vote_calibration import trials
from spacy_eat.types import Span, Text

TEXT = Text("京都", "zh")
NAME = Span(0, 2, "LOC", 0.8)


def best(together, alone):
    """The best factor where names that both find are right, and those that one finds, in such shares."""
    rng = random.Random(0)
    gold, annotations = [], []
    for i in range(2000):
        both = i % 2 == 0
        gold.append({NAME} if rng.random() < (together if both else alone) else set())
        annotations.append({"a": [NAME], "b": [NAME] if both else []})
    tried = trials([TEXT] * 2000, gold, annotations)
    factor, _, error = min(tried, key=lambda row: row[1])
    assert error == min(row[2] for row in tried) < 0.03
    return factor


def test_finds_what_makes_scores_the_shares_of_what_is_right():
    assert best(0.96, 0.8) == 1.0  # as they say: 1 - 0.2 * 0.2
    assert best(12 / 13, 2 / 3) == 0.5  # odds of 24 and 4, and half of them
