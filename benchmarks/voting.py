"""What voting over translations of a sentence gives: names are found in each, and aligned with the sentence.

    python -m benchmarks.voting [--target zh --target de] [--limit 100]

The setting of Rahimi, Li and Cohn (2019, Massively Multilingual Transfer for NER, arXiv 1902.00193), with
translations in the place of their source languages: PUD has the same sentences in five languages. The tagger
on the source reads each of them, and what it finds in another language is aligned with the target by
`spacy_eat.EncoderAligner.v1`. That was trained with English on the other side, and takes any language there.
So each language is an annotator of the target, and so is the tagger on the target itself. All are the same
tagger: what it does not know in any language, no vote brings.

Each row is what `eat_fusion` sets of some annotators. Bayesian aggregation is fitted on the texts, without
their labels; gold labels only score.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

import typer
from spacy.tokens import Doc
from wasabi import msg

from benchmarks.fusion import counts, reliabilities, tagged, together
from benchmarks.strategies import gold_of, score
from spacy_eat.alignment.encoder import make_encoder_aligner
from spacy_eat.alignment.resolve import resolve
from spacy_eat.components.fusion import annotations_of
from spacy_eat.components.placement import place
from spacy_eat.components.source_tagger import SPANS_KEY
from spacy_eat.corpora import Record, read
from spacy_eat.corpora.files import CorpusError, read_jsonl
from spacy_eat.evaluation.bootstrap import difference
from spacy_eat.fusion import BayesianAggregation, Vote
from spacy_eat.records import new_record, set_entities
from spacy_eat.types import Aligner, Combiner, Failure, Sentence, Span, Text
from tests.conftest import DATA

LANGUAGES = ("en", "de", "ru", "zh", "ja")
TARGETS = ("zh", "de", "ru", "en")  # those with gold annotation
MIN_SCORE = 0.5  # of an alignment: that of `eat_entity_aligner`


def sentences(data: Path, limit: int = 0) -> dict[str, list[Record]]:
    """The sentences of PUD.

    data (Path): The development data.
    limit (int): Only so many; 0 for all.
    RETURNS (Dict[str, List[Record]]): By language, in the same order; Japanese ones without annotation.
    RAISES (CorpusError): If two languages do not have the same ones.
    """
    found = {}
    for lang in LANGUAGES:
        path = data / "gold" / f"{lang}_pud_half.iob2"
        if path.is_file():
            records = list(read(path, labels=None, lang=lang))
        else:
            path = data / "parallel" / f"{lang}_pud_half.jsonl"
            records = [Record(row["source"], None, row["id"]) for _, row, _ in read_jsonl(path)]
        found[lang] = records[: limit or None]
        if [record.id for record in found[lang]] != [record.id for record in found[LANGUAGES[0]]]:
            raise CorpusError(path, None, f"not the sentences of {LANGUAGES[0]}", "Take files of one corpus")
    return found


def project(docs: Sequence[Doc], others: Sequence[Doc], aligner: Aligner) -> int:
    """Set the span groups of docs to what was found in their translations, with the language as key.

    docs (Sequence[Doc]): Docs of the target.
    others (Sequence[Doc]): Their translations, which the tagger on the source has read.
    aligner (Aligner): Finds the places in the docs.
    RETURNS (int): Entities that have no place there.
    """
    asked = [
        Sentence(
            Text(doc.text, doc.lang_),
            Text(other.text, other.lang_),
            sorted(annotations_of(other, [SPANS_KEY])[SPANS_KEY]),
        )
        for doc, other in zip(docs, others, strict=True)
    ]
    lost = 0
    for doc, other, sentence, options in zip(docs, others, asked, aligner(asked), strict=True):
        if isinstance(options, Failure):
            raise options
        doc._.eat = new_record([(0, len(doc.text))], [other.text])
        [record] = doc._.eat["sentences"]
        resolved = resolve(sentence, options, min_score=MIN_SCORE)
        set_entities(record, sentence.entities, options, resolved.spans, resolved.repeats)
        place(doc, record["entities"], spans_key=other.lang_, ents=False)
        lost += resolved.spans.count(None)
    return lost


def rows(
    docs: Sequence[Doc], gold: Sequence[Sequence[Span]], langs: Sequence[str], bayes: BayesianAggregation
) -> list[list[object]]:
    """A table of annotators, alone and together.

    docs (Sequence[Doc]): Docs with a span group of each annotator.
    gold (Sequence[Sequence[Span]]): Their gold entities.
    langs (Sequence[str]): The translations; the first one and the tagger are a row too.
    bayes (BayesianAggregation): A fitted one.
    RETURNS (List[List[object]]): Name, precision, recall, F1 and its interval; how much better F1 is than
        that of the first translation and the tagger, and the interval of that.
    """
    everyone, pair = [*langs, SPANS_KEY], f"{langs[0]} and the tagger, Vote.v1"
    ways: dict[str, tuple[Sequence[str], Combiner]] = {
        "the tagger on the target": ([SPANS_KEY], Vote()),
        **{f"from {lang}": ([lang], Vote()) for lang in langs},
        pair: ([langs[0], SPANS_KEY], Vote()),
        "translations alone, Vote.v1": (langs, Vote()),
        "all, Vote.v1": (everyone, Vote()),
        "all, BayesianAggregation.v1": (everyone, bayes),
    }
    found = {name: together(docs, *way) for name, way in ways.items()}
    table = []
    for name, spans in found.items():
        gain = difference(counts(gold, spans), counts(gold, found[pair]))
        told = "{difference:+.3f} ({low:+.3f} to {high:+.3f})".format_map(gain)
        table.append([*score(name, gold, spans), "" if name == pair else told])
    return table


def vote(
    target: str,
    records: Mapping[str, Sequence[Record]],
    read_by: Mapping[str, Sequence[Doc]],
    aligner: Aligner,
) -> None:
    """Print the tables of a target.

    target (str): Its language.
    records (Mapping[str, Sequence[Record]]): By language the sentences; of the target with gold entities.
    read_by (Mapping[str, Sequence[Doc]]): By language its docs, which the tagger on the source has read.
    aligner (Aligner): Finds the places in the target.
    """
    docs, langs = read_by[target], [lang for lang in read_by if lang != target]
    lost = {lang: project(docs, read_by[lang], aligner) for lang in langs}
    annotations = [annotations_of(doc, [*langs, SPANS_KEY]) for doc in docs]
    bayes = BayesianAggregation()
    bayes.fit(annotations)
    gold = gold_of(records[target])
    msg.divider(f"{target}: {len(docs)} sentences")
    header = ("annotators", "P", "R", "F1", "95 %", f"more than {langs[0]} and the tagger")
    aligns = ("l", *"r" * (len(header) - 1))
    msg.table(rows(docs, gold, langs, bayes), header=header, divider=True, aligns=aligns)
    print("Entities without a place:", ", ".join(f"{count} of {lang}" for lang, count in lost.items()))
    print(reliabilities(bayes, gold, annotations))


def main(
    data: Path = DATA,
    target: Annotated[list[str] | None, typer.Option()] = None,
    limit: int = 0,
    weights: str = "embedded",
) -> None:
    """Print two tables for each target: what is found, and how reliable its annotators are.

    data: The development data.
    target: Only these languages.
    limit: Only so many sentences; 0 for all.
    weights: Of the tagger on the source.
    """
    records = sentences(data, limit)
    read_by = {
        lang: tagged([record.text for record in found], lang, weights, "ctranslate2")
        for lang, found in records.items()
    }
    aligner = make_encoder_aligner()
    for lang in target or TARGETS:
        vote(lang, records, read_by, aligner)


if __name__ == "__main__":
    typer.run(main)
