"""How many names does the tagger on the source find in languages without gold annotation? Recall, no more.

    python -m benchmarks.names [--lang ar --lang ka] [--limit 500] [--n 5]

On the Wikipedia sentences of `benchmarks.languages`, first ones of articles: of each, one name is known.
It is found if it is an entity, of any label, where it stands, and overlapped if an entity shares a character
with it. What else is found may be right or wrong, nobody knows: the last columns only say how much it is, as
whoever tags everything finds all names. Names of films or diseases are among them, which the tagger does not
look for.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Annotated, NamedTuple

import regex
import typer
from spacy.tokens import Doc
from wasabi import msg

from benchmarks.languages import Record, records
from spacy_eat.pipelines import blank
from tests.conftest import DATA


class Counts(NamedTuple):
    """What a pipeline found of the known names.

    names (int): One for each sentence.
    exact (int): Those that an entity is.
    overlapping (int): Those that an entity shares a character with, the exact ones among them.
    entities (int): All that was found.
    share (float): Of the characters, those in entities.
    """

    names: int
    exact: int
    overlapping: int
    entities: int
    share: float


def count(docs: Iterable[Doc], names: Iterable[str]) -> Counts:
    """Count the names that are entities.

    docs (Iterable[Doc]): Annotated docs.
    names (Iterable[str]): For each a name that stands in it.
    RETURNS (Counts): The counts.
    """
    rows = []
    for doc, name in zip(docs, names, strict=True):
        entities = [(ent.start_char, ent.end_char) for ent in doc.ents]
        places = [match.span() for match in regex.finditer(regex.escape(name), doc.text, overlapped=True)]
        exact = any(place in entities for place in places)
        overlaps = any(start < e and s < end for start, end in places for s, e in entities)
        inside = sum(end - start for start, end in entities)
        rows.append((1, exact, overlaps, len(entities), inside, len(doc.text)))
    *counts, inside, length = map(sum, zip(*rows, strict=True))
    return Counts(*counts, inside / max(1, length))


def known(path: Path, limit: int) -> list[Record]:
    """RETURNS (List[Record]): The first different sentences of a language in which their name stands."""
    standing = (record for record in records(path) if record.stands)
    return list(islice({(r.text.string, r.name): r for r in standing}.values(), limit or None))


def lost(docs: Sequence[Doc], names: Sequence[str]) -> Iterator[str]:
    """YIELDS (str): The names that no entity overlaps, in their sentences."""
    for doc, name in zip(docs, names, strict=True):
        if not count([doc], [name]).overlapping:
            yield f"{name}: {doc.text}"


def main(
    data: Path = DATA,
    lang: Annotated[list[str] | None, typer.Option()] = None,
    limit: int = 500,
    weights: str = "embedded",
    n: int = 0,
) -> None:
    """Print a table by language.

    data: The development data.
    lang: Only these languages.
    limit: So many names of each language; 0 for all.
    weights: Of the tagger on the source.
    n: So many names of each language that are not found are shown.
    """
    rows, shown = [], []
    for path in sorted((data / "alignment").glob("*.jsonl")):
        if lang and path.stem not in lang:
            continue
        try:
            nlp = blank(path.stem)
        except ImportError:  # Georgian: spaCy does not know it
            nlp = blank("xx")
        nlp.add_pipe("eat_source_tagger", config={"weights": weights, "runtime": "ctranslate2"})
        found = known(path, limit)
        names = [record.name for record in found]
        docs = list(nlp.pipe(record.text.string for record in found))
        counts = count(docs, names)
        rows.append(
            (
                path.stem if nlp.lang == path.stem else f"{path.stem}, as xx",
                counts.names,
                f"{100 * counts.exact / counts.names:.1f}",
                f"{100 * counts.overlapping / counts.names:.1f}",
                f"{counts.entities / counts.names:.1f}",
                f"{100 * counts.share:.1f}",
            )
        )
        shown += [f"{path.stem}: {text}" for text in islice(lost(docs, names), n)]
    header = ("language", "names", "% found", "% overlapped", "entities/sentence", "% of characters")
    msg.table(rows, header=header, divider=True, aligns=("l", *"r" * (len(header) - 1)))
    print(*shown, sep="\n")


if __name__ == "__main__":
    typer.run(main)
