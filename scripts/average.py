"""Write the mean of several students that were trained from the same weights.

    python scripts/average.py training/mean training/run1/model-last training/run2/model-last ... [--dev FILE]

The first path is the pipeline to write, the others are read. With English that they were not trained on, the
mean gets the temperature that makes its scores probabilities.
"""

import argparse
import shutil
from pathlib import Path

import spacy
import srsly
from wasabi import msg

from spacy_eat.components.source_tagger import SourceTagger
from spacy_eat.corpora import read_docs
from spacy_eat.training.students.averaging import average
from spacy_eat.training.students.calibration import fit_temperature


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("output", type=Path, help="folder of a pipeline")
    parser.add_argument("runs", type=Path, nargs="+", help="folders of pipelines with a component 'tagger'")
    parser.add_argument("--dev", type=Path, help="annotated English, .spacy")
    args = parser.parse_args()
    shutil.copytree(args.runs[0], args.output, dirs_exist_ok=True)
    average([run / "tagger" for run in args.runs], args.output / "tagger")
    if args.dev:
        vocab = spacy.blank("en").vocab
        classifier = SourceTagger(vocab, weights=str(args.output / "tagger")).classifier
        fit_temperature(classifier, list(read_docs(args.dev, vocab)))
        srsly.write_json(args.output / "tagger" / "cfg", classifier.cfg)
        msg.info(f"temperature {classifier.cfg['temperature']}")
    msg.good(f"{args.output}: the mean of {len(args.runs)} runs")


if __name__ == "__main__":
    main()
