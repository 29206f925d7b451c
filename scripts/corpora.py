"""From the formats of assets/data to spaCy's, with the labels PER, LOC, ORG (`spacy_eat/corpora/schemas`):

corpus/en_{train,dev}.spacy        to train the English NER on, and to choose its checkpoint
corpus/gold/{lang}_{name}.spacy    for scoring only
corpus/raw/{lang}.jsonl            what the teacher annotates: texts, some with their English

python scripts/corpora.py zh ja [--parallel N] [--limit N]
"""

import argparse
import random
from collections import Counter
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path

import spacy
import srsly
from spacy.tokens import DocBin
from wasabi import msg

from spacy_eat.corpora import CorpusError, Record, read, to_docs, uner_names
from spacy_eat.corpora.parallel import read_parallel

DATA = Path("assets/data")
CORPUS = Path("corpus")
# All of EWT but the dev set, which the checkpoint is chosen on, and what other sets have. PUD is for scoring.
ENGLISH = {
    "en_train": ("uner_ewt_train.*", "uner_ewt_test.*", "crossner_*", "wnut17_*"),
    "en_dev": ("uner_ewt_dev.*",),
}


def convert(paths: list[Path], output: Path, limit: int) -> None:
    """Annotated corpora into one .spacy file."""
    lang = output.name[:2]
    counts: Counter[str] = Counter()
    records = chain.from_iterable(read_unified(path, lang, counts) for path in paths)
    docs = DocBin(store_user_data=True)
    for doc in to_docs(islice(records, limit or None), spacy.blank(lang)):
        docs.add(doc)
    output.parent.mkdir(parents=True, exist_ok=True)
    docs.to_disk(output)
    msg.good(f"{output}: {', '.join(f'{count} {name}' for name, count in counts.items())}")


def read_unified(path: Path, lang: str, counts: Counter[str]) -> Iterator[Record]:
    """Records whose names are what UNER's guidelines take for one."""
    records = read(path, lang=lang, counts=counts)
    return map(uner_names, records) if path.name.startswith(("crossner", "wnut17")) else records


def write_raw(lang: str, parallel: int, limit: int) -> None:
    """What the teacher annotates: news whose English is given, as only the alignment is asked for then, and
    raw sentences. Real text goes before machine-made text."""
    rows: list[dict[str, str]] = []
    rng = random.Random(0)
    for kind in ("mt", "backtranslated"):
        found = [
            {"text": record.source, "english": record.english}
            for path in sorted((DATA / "parallel").glob(f"{lang}_news*_{kind}.jsonl"))
            for record in read_parallel(path, lang, Counter())
        ]
        rng.shuffle(found)
        rows += found
    rows = rows[:parallel]
    paths = sorted((DATA / "unlabeled").glob(f"{lang}_*.txt"))
    rows += [{"text": record.text} for path in paths for record in read(path, lang=lang)]
    rows = list({row["text"]: row for row in reversed(rows)}.values())[::-1]
    if limit:
        rows = rows[: limit - limit // 4] + rows[-(limit // 4) :]
    output = CORPUS / "raw" / f"{lang}.jsonl"
    output.parent.mkdir(parents=True, exist_ok=True)
    srsly.write_jsonl(output, rows)
    msg.good(f"{output}: {len(rows)} texts, {sum('english' in row for row in rows)} with their English")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("langs", nargs="+")
    parser.add_argument("--parallel", type=int, default=8000, help="Most sentences with their English")
    parser.add_argument("--limit", type=int, default=0, help="Most records of each corpus; 0 for all")
    args = parser.parse_args()
    try:
        for name, files in ENGLISH.items():
            paths = [path for file in files for path in sorted((DATA / "en_ner").glob(file))]
            convert(paths, CORPUS / f"{name}.spacy", args.limit)
        for lang in ("en", *args.langs):
            for path in sorted((DATA / "gold").glob(f"{lang}_*")):
                name = path.stem.removesuffix("_half").removesuffix("_dev")
                convert([path], CORPUS / "gold" / f"{name}.spacy", args.limit)
        for lang in args.langs:
            write_raw(lang, args.parallel, args.limit)
    except CorpusError as error:
        msg.fail("A corpus cannot be read", str(error), exits=1)


if __name__ == "__main__":
    main()
