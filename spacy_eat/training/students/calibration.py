"""The temperature that makes probabilities of what a tagger scores."""

import math
from collections.abc import Sequence
from typing import NamedTuple

from spacy.tokens import Doc

from ...components.token_classifier import TokenClassifier
from ...evaluation.scores import reliability

TEMPERATURES = (1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0)


class Fit(NamedTuple):
    """How far scores can be trusted at a temperature.

    temperature (float): What the scores of tags are divided by, before the softmax.
    log_loss (float): Of the scores of all entities that were found, in the mean.
    error (float): Expected calibration error.
    f1 (float): Strict F1 of all that was found.
    """

    temperature: float
    log_loss: float
    error: float
    f1: float


def fit_temperature(
    classifier: TokenClassifier, gold: Sequence[Doc], temperatures: Sequence[float] = TEMPERATURES
) -> list[Fit]:
    """Try temperatures on texts that a tagger was not trained on; it gets the one with the least log loss.
    That is in `cfg["temperature"]`.

    classifier (TokenClassifier): The tagger. Its `to_disk` keeps the temperature.
    gold (Sequence[Doc]): Docs with their entities.
    temperatures (Sequence[float]): Which ones.
    RETURNS (List[Fit]): In this order.
    RAISES (ValueError): If nothing was found.
    """
    wanted = [{(ent.start, ent.end, ent.label_) for ent in doc.ents} for doc in gold]
    names = sum(map(len, wanted))
    read = classifier.read(gold)
    found = []
    for temperature in temperatures:
        classifier.cfg["temperature"] = temperature
        pairs = [
            (one.score, (one.start, one.end, one.label) in own)
            for own, tagged in zip(wanted, classifier.find(gold, read), strict=True)
            for one in tagged.entities
        ]
        if not pairs:
            raise ValueError(
                f"'{classifier.name}' finds no entity in {len(gold)} texts: none can calibrate it"
            )
        logs = [math.log(max(1e-6, score if right else 1 - score)) for score, right in pairs]
        f1 = 2 * sum(right for _, right in pairs) / (len(pairs) + names)
        found.append(Fit(temperature, -sum(logs) / len(logs), reliability(pairs)[1], f1))
    classifier.cfg["temperature"] = min(found, key=lambda fit: fit.log_loss).temperature
    return found
