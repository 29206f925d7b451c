"""Aligners side by side, on gold English: which words of the source does each of its entities come from?

    python -m benchmarks.aligners [--weights FOLDER ...] [--words FOLDER ...] [--llm] [--limit 200]

English and entities of zh_pud_half are given, as by `spacy eat evaluate --english --gold-entities`. The two
sides are annotated apart, so about 0.81 is the most that can be had. Ablations of the encoder's aligner
change one thing each. Times are of this machine, all else included.
"""

from pathlib import Path
from typing import Annotated, Any

import numpy
import typer
from wasabi import msg

from spacy_eat.corpora import label_table, read
from spacy_eat.evaluation.run import evaluate, read_english
from spacy_eat.pipelines import blank
from spacy_eat.taggers.gold import GoldTagger
from tests.conftest import DATA

KNOWN = 200  # sentences that were looked at most, when the LLM's aligner got its rules
ENCODER: dict[str, Any] = {"@misc": "spacy_eat.EncoderAligner.v1"}
ROWS: dict[str, dict[str, Any]] = {
    "encoder": {},
    "encoder, min_score = 0": {"min_score": 0.0},
    "encoder, no opposite question": {"aligner": {"reverse": False}},
    "encoder, no rules": {"aligner": {"rules": False}},
    "encoder, no repeats": {"mentions": "aligned"},
}
WORDS: dict[str, Any] = {"@misc": "spacy_eat.WordAligner.v1"}
LEXICON: dict[str, Any] = {"@misc": "spacy_eat.LexiconAligner.v1"}

# The LLM as it was before it was tuned: of markers it learned nothing.
BASE: dict[str, Any] = {"@llm_models": "spacy_eat.Embedded.v1", "adapter": None}
MARKERS: dict[str, dict[str, Any]] = {
    "constrained decoding": {
        "@misc": "spacy_eat.ConstrainedAligner.v1",
        "task": {"@llm_tasks": "spacy_eat.MarkerPlacement.v1"},
    },
    "markers": {
        "@misc": "spacy_eat.MarkerAligner.v1",
        "task": {"@llm_tasks": "spacy_eat.MarkedTranslation.v1"},
    },
}


def score(data: Path, limit: int, aligner: dict[str, Any] | None, settings: dict[str, Any]) -> list[object]:
    """RETURNS (List[object]): A row of the table."""
    labels = label_table("auto").get
    records = list(read(data / "gold" / "zh_pud_half.iob2", labels=None))[: limit or None]
    english = read_english(data / "gold" / "en_pud_half.iob2", records, labels)
    nlp = blank("zh")
    more = {"aligner": aligner} if aligner else {}
    nlp.add_pipe("eat_entity_aligner", config={**settings, **more})
    tagger = GoldTagger({record.text: record.spans or () for record in english})
    result = evaluate(nlp, records, label_map=labels, english=english, tagger=tagger)
    docs = result["per_doc"]
    counts = numpy.array([docs["tp"], docs["fp"], docs["fn"]]).T
    right, wrong, lost = counts[:KNOWN].sum(axis=0)
    strict, chance, speed = result["strict"], result["interval"], result["speed"]
    return [
        f"{strict['p']:.3f}",
        f"{strict['r']:.3f}",
        f"{strict['f']:.3f}",
        f"{chance['low']:.3f} to {chance['high']:.3f}",
        f"{2 * right / (2 * right + wrong + lost):.3f}",
        f"{speed['seconds_per_sentence']:.4f}",
        f"{speed['requests_per_sentence']:.2f}",
    ]


def main(
    data: Path = DATA,
    limit: int = 0,
    weights: Annotated[list[str] | None, typer.Option()] = None,
    words: Annotated[list[str] | None, typer.Option()] = None,
    llm: bool = False,
    only: str = "",
) -> None:
    """Print a table, a row for each aligner.

    data: The development data.
    limit: Only so many sentences; 0 for all.
    weights: Further weights of the encoder's aligner, a row for each.
    words: Encoders that were tuned for word alignment, a row for each.
    llm: The LLM's aligners too, the default among them: slow.
    only: Only rows with this in their name.
    """
    rows: list[tuple[str, dict[str, Any] | None, dict[str, Any]]] = [
        (
            name,
            {**ENCODER, **settings.get("aligner", {})},
            {k: settings[k] for k in settings.keys() - {"aligner"}},
        )
        for name, settings in ROWS.items()
    ]
    rows += [(folder, {**ENCODER, "weights": folder}, {}) for folder in weights or ()]
    rows.append(("word alignment, untrained", WORDS, {}))
    rows += [
        (
            f"word alignment, {folder}",
            {**WORDS, "encoder": {"@misc": "spacy_eat.Encoder.v1", "name": folder}},
            {},
        )
        for folder in words or ()
    ]
    rows += [
        ("lexicon and sounds", LEXICON, {}),
        ("lexicon alone", {**LEXICON, "sounds": False}, {}),
    ]
    if llm:
        rows += [("LLM alone", {"first": None}, {}), ("encoder, then LLM: the default", {}, {})]
        rows += [(name, {**aligner, "model": BASE}, {}) for name, aligner in MARKERS.items()]
    table = [
        (name, *score(data, limit, aligner, settings)) for name, aligner, settings in rows if only in name
    ]
    first = f"first {KNOWN}"
    header = ("aligner", "P", "R", "F1", "95 %", first, "s/sentence", "requests/sentence")
    msg.table(table, header=header, divider=True, aligns=("l", *"r" * (len(header) - 1)))


if __name__ == "__main__":
    typer.run(main)
