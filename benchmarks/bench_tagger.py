"""How fast the tagger on the source reads, and whether it finds the same, by what computes it.

    python -m benchmarks.bench_tagger TEXTS [--lang zh] [--limit 500] [--weights FOLDER]
    python -m benchmarks.bench_tagger TEXTS [--lang zh] --student zh_eat_trf --student zh_eat_sm

TEXTS is a file of texts, annotated or not. Students on an encoder are read by torch and in 8 bits. All ways
are timed in one run, each `--rounds` times in turn, and the best one counts. Seconds of the process are what
was computed, whatever else the machine had to do.
"""

import time
from pathlib import Path
from typing import Annotated, Any

import spacy
import typer
from spacy.language import Language
from wasabi import msg

from spacy_eat.corpora import read
from spacy_eat.pipelines import blank

WAYS: dict[str, dict[str, Any]] = {
    "torch": {},
    "torch, mixed_precision": {"mixed_precision": True},
    "ctranslate2": {"runtime": "ctranslate2"},
}
CLASSIFIER = "eat_token_classifier"


def students(name: str) -> dict[str, Language]:
    """RETURNS (Dict[str, Language]): A student; if it stands on an encoder, by torch and in 8 bits."""
    nlp = spacy.load(name)
    known = f"{nlp.meta['lang']}_{nlp.meta['name']}"
    classifiers = [pipe for pipe in nlp.pipe_names if nlp.get_pipe_meta(pipe).factory == CLASSIFIER]
    if not classifiers:
        return {known: nlp}
    return {
        f"{known}, {runtime}": spacy.load(
            name, config={f"components.{pipe}.runtime": runtime for pipe in classifiers}
        )
        for runtime in ("torch", "ctranslate2")
    }


def main(
    texts: Path,
    lang: str = "zh",
    limit: int = 500,
    weights: str = "embedded",
    rounds: int = 3,
    student: Annotated[list[str] | None, typer.Option()] = None,
) -> None:
    """Print a table, a row for each way.

    texts: A file that `spacy eat evaluate` or `annotate` reads.
    lang: Its language.
    limit: Texts that are read.
    weights: Of the tagger.
    rounds: How often.
    student: Students that are timed beside it: packages or folders.
    """
    given = [record.text for record in read(texts, lang=lang)][:limit]
    pipelines = {}
    for name, settings in WAYS.items():
        pipelines[name] = blank(lang)
        pipelines[name].add_pipe("eat_source_tagger", config={"weights": weights, **settings})
    for name in student or ():
        pipelines |= students(name)
    for nlp in pipelines.values():
        nlp(given[0])  # the model is loaded
    found: dict[str, list[list[tuple[str, str]]]] = {}
    busy = dict.fromkeys(pipelines, float("inf"))
    waited = dict(busy)
    for _ in range(rounds):
        for name, nlp in pipelines.items():
            cpu, wall = time.process_time(), time.perf_counter()
            docs = list(nlp.pipe(given))
            busy[name] = min(busy[name], time.process_time() - cpu)
            waited[name] = min(waited[name], time.perf_counter() - wall)
            found[name] = [[(ent.text, ent.label_) for ent in doc.ents] for doc in docs]
    rows = []
    for name, docs in found.items():
        same = sum(one == other for one, other in zip(docs, found["torch"], strict=True))
        rates = (f"{len(given) / seconds[name]:.0f}" for seconds in (busy, waited))
        rows.append((name, *rates, f"{same / len(given):.1%}"))
    header = ("computed by", "texts/s of a core", "texts/s", "texts with the same entities")
    msg.table(rows, header=header, divider=True, aligns=("l", "r", "r", "r"))


if __name__ == "__main__":
    typer.run(main)
