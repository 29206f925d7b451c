"""Fits what makes the votes of the aligned entities and of the tagger on the source probabilities.

    python -m benchmarks.vote_calibration [--gold FILE ...]

Both sides of the default read English that they were not trained on, UNER EWT dev: the English NER, whose
entities are otherwise what is aligned, and the tagger on the source. They vote, and for each factor by which
the odds of what is taken may be multiplied the log loss and the expected calibration error of the scores are
printed. The best one is `spacy_eat.fusion.vote.ODDS`. No gold label of another language is looked at; what it
does to scores there is told by `python -m benchmarks.fusion`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer
from wasabi import msg

from benchmarks.calibration import log_loss
from benchmarks.fusion import ALIGNER, tagged
from spacy_eat.components.fusion import annotations_of
from spacy_eat.components.placement import set_group
from spacy_eat.components.source_tagger import SPANS_KEY
from spacy_eat.corpora import read
from spacy_eat.evaluation.scores import reliability
from spacy_eat.evaluation.tables import table
from spacy_eat.fusion import Vote
from spacy_eat.fusion.select import select
from spacy_eat.taggers.pipeline import make_english_pipeline
from spacy_eat.types import Span, Text
from tests.conftest import DATA

FACTORS = (1.0, 0.7, 0.5, 0.4, 0.35, 0.3, 0.25, 0.2, 0.15)
MIN_SCORE = 0.5  # of the entity aligner


def trials(
    texts: Sequence[Text], gold: Sequence[set[Span]], annotations: Sequence[Mapping[str, Sequence[Span]]]
) -> list[tuple[float, float, float]]:
    """RETURNS (List[Tuple[float, float, float]]): For each factor it, and log loss and calibration error of
    the votes' scores."""
    rows = []
    for factor in FACTORS:
        found = map(Vote(odds=factor), texts, annotations)
        pairs = [(span.score, span in own) for own, spans in zip(gold, found, strict=True) for span in spans]
        rows.append((factor, log_loss(pairs), reliability(pairs)[1]))
    return rows


def main(
    gold: Annotated[list[Path] | None, typer.Option(help="English, annotated")] = None,
    weights: Annotated[str, typer.Option(help="of the tagger on the source")] = "embedded",
    limit: int = 0,
) -> None:
    """Print a table for each file, and the best factor."""
    english = make_english_pipeline()
    for path in gold or [DATA / "en_ner" / "uner_ewt_dev.iob2"]:
        rows = list(read(path, lang="en"))[: limit or None]
        texts = [Text(row.text, "en") for row in rows]
        docs = tagged([text.string for text in texts], "en", weights)
        for doc, spans in zip(docs, english(texts), strict=True):
            set_group(doc, select(spans, MIN_SCORE), ALIGNER)
        annotations = [annotations_of(doc, [ALIGNER, SPANS_KEY]) for doc in docs]
        tried = trials(texts, [set(row.spans or ()) for row in rows], annotations)
        header = ["odds", "log loss", "ECE"]
        msg.divider(f"{path.name}: {len(rows)} sentences")
        print(table(tried, header, header))
        print(f"odds = {min(tried, key=lambda row: row[1])[0]}")


if __name__ == "__main__":
    typer.run(main)
