"""Fits the temperature that makes the scores of the tagger on the source probabilities.

    python -m benchmarks.tagger_calibration [--weights FOLDER] [--gold FILE]

On English sentences that it was not trained on, UNER EWT dev: for each temperature the log loss of the
spans' scores, their expected calibration error and strict F1. The best one belongs into the tagger's `cfg`,
as `temperature`. No gold label of another language is looked at.
"""

from pathlib import Path
from typing import Annotated

import spacy
import typer
from wasabi import msg

from spacy_eat.components.source_tagger import SourceTagger
from spacy_eat.corpora import read, to_examples
from spacy_eat.training.students.calibration import fit_temperature
from tests.conftest import DATA


def main(
    weights: Annotated[str, typer.Option(help="of the tagger on the source")] = "embedded",
    gold: Annotated[Path, typer.Option(help="English, annotated")] = DATA / "en_ner" / "uner_ewt_dev.iob2",
    limit: int = 1000,
) -> None:
    """Print a table, and the best temperature."""
    nlp = spacy.blank("en")
    docs = [example.reference for example in to_examples(list(read(gold, lang="en"))[:limit], nlp)]
    classifier = SourceTagger(nlp.vocab, weights=weights).classifier
    rows = [
        (fit.temperature, *(f"{number:.3f}" for number in fit[1:]))
        for fit in fit_temperature(classifier, docs)
    ]
    msg.table(rows, header=["temperature", "log loss", "ECE", "strict F1"], divider=True)
    print(f"temperature = {classifier.cfg['temperature']}")


if __name__ == "__main__":
    typer.run(main)
