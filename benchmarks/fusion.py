"""What combining the entity aligner and the tagger on the source is worth.

    python -m benchmarks.fusion --chains DIR [--weights FOLDER] [--only ja] [--min-score 0.5] [--encoder]

The aligner's side comes from recorded chains (`python -m benchmarks.chains record GOLD DIR/SET.jsonl`), the
tagger's from the text itself. Strict F1 with its bootstrap interval (95 %), precision, recall, and the
expected calibration error of the scores. Bayesian aggregation is fitted on the texts of the set, without
their labels, as the paper does it; its reliabilities are printed beside the true ones.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer
from spacy.tokens import Doc
from wasabi import msg

from benchmarks.chains import SETS, recorded, replay
from spacy_eat.alignment.encoder import make_encoder_aligner
from spacy_eat.components.fusion import annotations_of, fuse
from spacy_eat.components.placement import set_group
from spacy_eat.components.source_tagger import SPANS_KEY, SourceTagger
from spacy_eat.components.token_classifier import Runtime
from spacy_eat.evaluation.bootstrap import Counts, interval
from spacy_eat.evaluation.scores import reliability
from spacy_eat.evaluation.tables import table
from spacy_eat.fusion import BayesianAggregation, Vote
from spacy_eat.fusion.select import select
from spacy_eat.pipelines import blank
from spacy_eat.records import FUSED
from spacy_eat.types import Combiner, Span, Text

Found = Sequence[Sequence[Span]]
ALIGNER = "eat"


def tagged(texts: Sequence[str], lang: str, weights: str, runtime: Runtime = "torch") -> list[Doc]:
    """Docs with what the tagger on the source finds."""
    nlp = blank(lang)
    tagger = SourceTagger(nlp.vocab, weights=weights, runtime=runtime)
    docs = [nlp.make_doc(text) for text in texts]
    tagger.annotate(docs)
    return docs


def together(docs: Sequence[Doc], annotators: Sequence[str], combiner: Combiner) -> list[list[Span]]:
    """RETURNS (List[List[Span]]): For each doc what annotators have together, as `eat_fusion` sets it."""
    for doc in docs:
        fuse(doc, annotators, combiner)
    return [annotations_of(doc, [FUSED])[FUSED] for doc in docs]


def first(one: Sequence[Span], other: Sequence[Span]) -> list[Span]:
    """All of one annotator, and of the other what does not overlap."""
    return sorted([*one, *(span for span in other if not any(map(span.overlaps, one)))])


def combinations(
    docs: Sequence[Doc], annotations: Sequence[Mapping[str, Sequence[Span]]], bayes: BayesianAggregation
) -> dict[str, Found]:
    """RETURNS (Dict[str, Sequence[Sequence[Span]]]): By name what each way of combining finds."""
    keys = [ALIGNER, SPANS_KEY]
    return {
        "aligner": [row[ALIGNER] for row in annotations],
        "tagger": [row[SPANS_KEY] for row in annotations],
        "tagger, score from 0.5": [select(row[SPANS_KEY], 0.5) for row in annotations],
        "aligner first, tagger adds": [first(row[ALIGNER], row[SPANS_KEY]) for row in annotations],
        "tagger first, aligner adds": [first(row[SPANS_KEY], row[ALIGNER]) for row in annotations],
        "Vote.v1": together(docs, keys, Vote()),
        "Vote.v1, odds = 1": together(docs, keys, Vote(odds=1.0)),
        "BayesianAggregation.v1": together(docs, keys, bayes),
    }


def counts(gold: Found, found: Found) -> Counts:
    """RETURNS (Counts): For each text what is right, wrong and lost."""
    return [
        (len(set(g) & set(f)), len(set(f) - set(g)), len(set(g) - set(f)))
        for g, f in zip(gold, found, strict=True)
    ]


def scores(gold: Found, found: Found) -> list[object]:
    """RETURNS (List[object]): F1, its interval, precision, recall, calibration error, for a table."""
    counted = counts(gold, found)
    tp, fp, fn = map(sum, zip(*counted, strict=True))
    bounds = interval(counted)
    pairs = [(span.score, span in g) for g, f in zip(gold, found, strict=True) for span in f]
    return [
        2 * tp / max(1, 2 * tp + fp + fn),
        f"{bounds['low']:.3f}-{bounds['high']:.3f}",
        tp / max(1, tp + fp),
        tp / max(1, tp + fn),
        reliability(pairs)[1],
    ]


def reliabilities(
    bayes: BayesianAggregation, gold: Found, annotations: Sequence[Mapping[str, Sequence[Span]]]
) -> str:
    """RETURNS (str): A table of how reliable each annotator is thought to be, beside how reliable it is."""
    lines = []
    for annotator, by_label in bayes.reliability().items():
        for label, estimate in by_label.items():
            if label:
                wanted = [(g, f.get(annotator, ())) for g, f in zip(gold, annotations, strict=True)]
                names = sum(s.label == label for g, _ in wanted for s in g)
                hits = sum(s in f for g, f in wanted for s in g if s.label == label)
                lines.append([annotator, label, estimate, hits / max(1, names)])
    return table(lines, ["annotator", "label", "estimated", "true recall"], ["estimated", "true recall"])


def main(
    chains: Annotated[Path, typer.Option(help="folder with recorded chains")],
    weights: Annotated[str, typer.Option(help="of the tagger on the source")] = "embedded",
    only: Annotated[str, typer.Option(help="sets whose name has this in it")] = "",
    min_score: Annotated[float, typer.Option(help="of the aligner")] = 0.5,
    encoder: Annotated[bool, typer.Option("--encoder", help="the encoder aligns, not the LLM")] = False,
) -> None:
    """Print a table for each set."""
    aligner = make_encoder_aligner() if encoder else None
    for name in SETS:
        path = chains / f"{name}.jsonl"
        if only not in name or not path.is_file():
            continue
        rows = list(recorded(path))
        lang = name[:2]
        texts = [Text(row["text"], lang) for row in rows]
        gold = [[Span(start, end, label) for start, end, label in row["gold"]] for row in rows]
        aligned = [
            replay(row["eat"]["sentences"], text, min_score, aligner)
            for row, text in zip(rows, texts, strict=True)
        ]
        docs = tagged([text.string for text in texts], lang, weights)
        for doc, spans in zip(docs, aligned, strict=True):
            set_group(doc, spans, ALIGNER)
        annotations = [annotations_of(doc, [ALIGNER, SPANS_KEY]) for doc in docs]
        bayes = BayesianAggregation()
        bayes.fit(annotations)
        combined = combinations(docs, annotations, bayes)
        header = ["", "strict F1", "95 %", "precision", "recall", "ECE"]
        msg.divider(f"{name}: {len(rows)} sentences")
        print(table([[way, *scores(gold, found)] for way, found in combined.items()], header, header[1:]))
        print(reliabilities(bayes, gold, annotations))


if __name__ == "__main__":
    typer.run(main)
