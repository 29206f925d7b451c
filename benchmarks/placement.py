"""Fits what `spacy_eat.ConstrainedAligner.v1` makes of its log-probabilities, on names that no one labelled.

    python -m benchmarks.placement [--names 100] [--languages zh ja] [--cache FILE]

News with their English: what the English NER finds there, and the encoder's aligner places with a score of
0.9 or more, is a name with a place; the same name in the same text without these words is one that has none.
Printed is, for each temperature, the mean log loss of what is true.
No gold entity of an evaluation set is looked at.
"""

import argparse
import itertools
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean

from wasabi import msg

from spacy_eat.alignment.constrained import ConstrainedAligner, unknown
from spacy_eat.alignment.encoder import make_encoder_aligner
from spacy_eat.corpora.parallel import read_parallel
from spacy_eat.llm.embedded import make_embedded
from spacy_eat.llm.tasks.markers import make_marker_placement_task
from spacy_eat.taggers.pipeline import make_english_pipeline
from spacy_eat.types import Failure, Sentence, Span, Text
from tests.conftest import DATA

TEMPERATURES = (1.0, 1.5, 2.0, 2.5, 3.0, 4.0)
CERTAIN = 0.9  # least score of a place that counts as known
LEAST = 1e-3  # what is given to anything at least, for the log loss


def questions(lang: str, names: int) -> list[tuple[Sentence, Span | None]]:
    """Sentences with one entity each, and its place: None where it has none."""
    files = sorted((DATA / "parallel").glob(f"{lang}_news*.jsonl"))
    records = [record for file in files for record in read_parallel(file, lang, Counter())][: 6 * names]
    texts = [Text(record.english, "en") for record in records]
    sentences = [
        Sentence(Text(record.source, lang), text, spans)
        for record, text, spans in zip(records, texts, make_english_pipeline()(texts), strict=True)
    ]
    asked: list[tuple[Sentence, Span | None]] = []
    for sentence, options in zip(sentences, make_encoder_aligner()(sentences), strict=True):
        if isinstance(options, Failure):
            continue
        source = sentence.source.string
        for i, entity in unknown(sentence).items():
            place = options[i].spans[0] if options[i].spans else None
            if place and place.score >= CERTAIN and source.count(sentence.source[place]) == 1:
                without = source[: place.start_char] + source[place.end_char :]
                asked.append((replace(sentence, entities=[entity]), place))
                asked.append((replace(sentence, source=Text(without, lang), entities=[entity]), None))
                break
    return asked[: 2 * names]


def losses(asked: Sequence[tuple[Sentence, Span | None]], aligner: ConstrainedAligner) -> list[float]:
    """RETURNS (List[float]): For each question minus the logarithm of what was given to the right answer."""
    found = []
    for (_, place), options in zip(asked, aligner([sentence for sentence, _ in asked]), strict=True):
        if isinstance(options, Failure):
            continue
        scores = {span.place: span.score for span in options[0].spans}
        right = options[0].none if place is None else scores.get(place.place, 0.0)
        found.append(-math.log(max(LEAST, right)))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--names", type=int, default=100, help="names per language, and as many missing ones")
    parser.add_argument("--languages", nargs="+", default=["zh", "ja"])
    parser.add_argument("--cache", type=Path, help="where the LLM's answers are kept")
    args = parser.parse_args()
    model = make_embedded(adapter=None, cache=args.cache and str(args.cache))
    task = make_marker_placement_task()
    asked = [questions(lang, args.names) for lang in args.languages]
    found = {
        temperature: [
            losses(own, ConstrainedAligner(task, model, temperature=temperature, missing=0.5))
            for own in asked
        ]
        for temperature in TEMPERATURES
    }
    everything = {temperature: list(itertools.chain(*own)) for temperature, own in found.items()}
    table = [
        [temperature, *(f"{fmean(part):.3f}" for part in (*own, everything[temperature]))]
        for temperature, own in found.items()
    ]
    msg.table(table, header=["temperature", *args.languages, "all"], divider=True)
    best = min(everything, key=lambda temperature: fmean(everything[temperature]))
    print(f"{sum(map(len, asked))} questions; temperature = {best}")


if __name__ == "__main__":
    main()
