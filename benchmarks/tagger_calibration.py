"""Fits the temperature that makes the scores of the tagger on the source probabilities.

    python -m benchmarks.tagger_calibration [--weights FOLDER] [--gold FILE]

On English sentences that it was not trained on, UNER EWT dev: for each temperature the log loss of the
spans' scores, their expected calibration error and strict F1. The best one belongs into the tagger's `cfg`,
as `temperature`. No gold label of another language is looked at.
"""

import math
from pathlib import Path
from typing import Annotated

import spacy
import typer
from wasabi import msg

from spacy_eat.components.source_tagger import SourceTagger
from spacy_eat.corpora import read
from spacy_eat.evaluation.scores import reliability
from tests.conftest import DATA

TEMPERATURES = (1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0)


def main(
    weights: Annotated[str, typer.Option(help="of the tagger on the source")] = "embedded",
    gold: Annotated[Path, typer.Option(help="English, annotated")] = DATA / "en_ner" / "uner_ewt_dev.iob2",
    limit: int = 1000,
) -> None:
    """Print a table, and the best temperature."""
    records = list(read(gold, lang="en"))[:limit]
    nlp = spacy.blank("en")
    classifier = SourceTagger(nlp.vocab, weights=weights).classifier
    docs = [nlp.make_doc(record.text) for record in records]
    rows, losses = [], {}
    for temperature in TEMPERATURES:
        classifier.cfg["temperature"] = temperature
        pairs, names = [], 0
        for doc, record, found in zip(docs, records, classifier.predict(docs), strict=True):
            wanted = {(*span.place, span.label) for span in record.spans or ()}
            names += len(wanted)
            for entity in found.entities:
                span = doc[entity.start : entity.end]
                pairs.append((entity.score, (span.start_char, span.end_char, entity.label) in wanted))
        logs = [math.log(max(1e-6, score if right else 1 - score)) for score, right in pairs]
        losses[temperature] = -sum(logs) / len(logs)
        f1 = 2 * sum(right for _, right in pairs) / (len(pairs) + names)
        rows.append([temperature, f"{losses[temperature]:.3f}", f"{reliability(pairs)[1]:.3f}", f"{f1:.3f}"])
    msg.table(rows, header=["temperature", "log loss", "ECE", "strict F1"], divider=True)
    print(f"temperature = {min(losses, key=lambda t: losses[t])}")


if __name__ == "__main__":
    typer.run(main)
