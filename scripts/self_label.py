"""Let the tagger on the source label its next training data: corpus/self/{lang}.spacy.

Of the texts in corpus/raw, those are kept that it is sure of: no token's best tag is less likely than
--certainty. Of texts with their English, which it tags too, those in which it finds as many names of each
label on both sides. No gold label of the language is looked at.

    python scripts/self_label.py zh ja [--tagger training/tagger/model-last/tagger] [--parallel 3000]
"""

import argparse
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import spacy
import srsly
from spacy.language import Language
from spacy.tokens import Doc, DocBin
from spacy.util import minibatch
from wasabi import msg

from spacy_eat.components.source_tagger import SPANS_KEY

BATCH = 512


def pipeline(lang: str, tagger: str) -> Language:
    """A blank pipeline with the tagger."""
    nlp = spacy.blank(lang)
    nlp.add_pipe("eat_source_tagger", config={"weights": tagger})
    return nlp


def labels(doc: Doc) -> Counter[str]:
    """How many names of each label there are."""
    return Counter(ent.label_ for ent in doc.ents)


def kept(
    rows: Iterable[dict[str, Any]],
    source: Language,
    english: Language,
    certainty: float,
    counts: Counter[str],
) -> Iterator[Doc]:
    """The labelled docs to train on."""
    for batch in minibatch(rows, BATCH):
        docs = source.pipe(row["text"] for row in batch)
        others = english.pipe(row["english"] for row in batch if row.get("english"))
        for row, doc in zip(batch, docs, strict=True):
            other = next(others) if row.get("english") else None
            if doc.spans[SPANS_KEY].attrs["certainty"] < certainty:
                counts["uncertain"] += 1
            elif other is not None and labels(doc) != labels(other):
                counts["other names in the English"] += 1
            else:
                counts["kept"] += 1
                yield doc
        msg.info(", ".join(f"{count} {what}" for what, count in counts.items()))


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("langs", nargs="+")
    parser.add_argument("--tagger", default="training/tagger/model-last/tagger", help="folder of a tagger")
    parser.add_argument("--certainty", type=float, default=0.45, help="of the least certain token")
    parser.add_argument("--parallel", type=int, default=3000, help="most texts with their English")
    args = parser.parse_args()
    english = pipeline("en", args.tagger)
    for lang in args.langs:
        rows = list(srsly.read_jsonl(f"corpus/raw/{lang}.jsonl"))
        parallel = [row for row in rows if row.get("english")][-args.parallel :] if args.parallel else []
        rows = [*parallel, *(row for row in rows if not row.get("english"))]
        counts: Counter[str] = Counter()
        found = DocBin(store_user_data=True)
        for doc in kept(rows, pipeline(lang, args.tagger), english, args.certainty, counts):
            found.add(doc)
        output = Path("corpus/self") / f"{lang}.spacy"
        output.parent.mkdir(parents=True, exist_ok=True)
        found.to_disk(output)
        msg.good(f"{output}: {', '.join(f'{count} {what}' for what, count in counts.items())}")


if __name__ == "__main__":
    main()
