"""Are names found where they stand? By language, on Wikipedia sentences with the local name of an entity.

    python -m benchmarks.languages [--limit 500] [--n 5]

For each record whose sentence has the name as it is, the name is given as an LLM's only answer, and the span
that is chosen is compared with it. A name that stands only within a word of a script with upper and lower
case (Demokrat in Demokratie) or before a combining accent does not stand there.
"""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import regex
import typer
from wasabi import msg

from spacy_eat.alignment.llm import to_options
from spacy_eat.alignment.resolve import resolve
from spacy_eat.llm.prompts import Candidate
from spacy_eat.types import Sentence, Span, Text
from tests.conftest import DATA

WITHIN = regex.compile(r"[\p{Lu}\p{Ll}]")  # letters of scripts with words, of which a name is never a part


class Record(NamedTuple):
    """A sentence, the English name, the local name, and whether that stands in the sentence."""

    text: Text
    english: str
    name: str
    stands: bool


def records(path: Path, limit: int = 0) -> Iterator[Record]:
    """YIELDS (Record): Those of a language, evenly chosen if there is a limit."""
    with path.open(encoding="utf8") as file:
        rows = [json.loads(line) for line in file]
    for row in rows[:: max(1, len(rows) // limit) if limit else 1][: limit or None]:
        text, name = row["text"], row["tgt_entity"].strip()
        yield Record(Text(text, path.stem), row["eng_entity"], name, bool(name) and stands(text, name))


def stands(text: str, name: str) -> bool:
    """RETURNS (bool): Whether a name stands in a text, not only as a part of a word."""
    return any(
        not _joined(text, match.start()) and not _joined(text, match.end())
        for match in regex.finditer(regex.escape(name), text, overlapped=True)
    )


def _joined(text: str, place: int) -> bool:
    before, after = text[place - 1 : place], text[place : place + 1]
    return bool(regex.match(r"\p{M}", after) or (WITHIN.match(before) and WITHIN.match(after)))


def chosen(record: Record) -> str:
    """RETURNS (str): The words of the span that the name as an answer leads to, "" if none."""
    english = Text(record.english, "en")
    sentence = Sentence(record.text, english, [Span(0, len(record.english))])
    options = to_options(record.text, record.english, [Candidate(record.name)])
    span = resolve(sentence, [options], mentions="aligned").spans[0]
    return record.text[span] if span else ""


def kind(record: Record, found: str) -> str:
    """RETURNS (str): What the difference is."""
    if not found:
        return "nothing found"
    if record.name in found:
        return "completed" if record.text.language.completing_after else "longer"
    return "shorter" if found in record.name else "other words"


def main(data: Path = DATA, limit: int = 0, n: int = 0) -> None:
    """Print a table by language.

    data: The development data.
    limit: So many records of each language; 0 for all.
    n: So many failures of each language are shown.
    """
    rows = []
    shown = []
    for path in sorted((data / "alignment").glob("*.jsonl")):
        total, failures = 0, []
        for record in records(path, limit):
            if record.stands:
                total += 1
                found = chosen(record)
                if found != record.name:
                    failures.append((kind(record, found), record, found))
        kinds = Counter(kind for kind, _, _ in failures)
        share = 100 * (1 - len(failures) / max(1, total))
        told = ", ".join(f"{count} {name}" for name, count in kinds.most_common())
        rows.append((path.stem, total, f"{share:.2f}", told))
        shown += [f"{path.stem}: {r.english}: {r.name} → {f or '-'} ({k})" for k, r, f in failures[:n]]
    msg.table(
        rows, header=("language", "records", "% right", "failures"), divider=True, aligns=("l", "r", "r", "l")
    )
    print(*shown, sep="\n")


if __name__ == "__main__":
    typer.run(main)
