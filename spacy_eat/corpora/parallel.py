"""Sentences with their English, cleaned."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ..languages import load
from ..text.lines import one_line
from .files import read_fields
from .splits import held_out

MIN_SHARE = 0.25  # of a source's letters that are of its language


@dataclass(frozen=True)
class ParallelRecord:
    """A sentence and its translation.

    lang (str): Language code of the source.
    source, english (str): Both on one line.
    names (Tuple[Tuple[str, str], ...]): English names of the translation, each
        with its words in `source`.
    complete (bool): Whether these are all names of the translation.
    origin (str): The file it comes from, without suffix.
    """

    lang: str
    source: str
    english: str
    names: tuple[tuple[str, str], ...] = ()
    origin: str = ""
    complete: bool = False


def read_parallel(path: Path, lang: str, dropped: Counter[str]) -> list[ParallelRecord]:
    """Clean sentence pairs {source, english}.

    path (Path): A JSONL file.
    lang (str): Code of the source language.
    dropped (Counter[str]): Counts what is left out, by reason.
    RETURNS (List[ParallelRecord]): Different ones, without names.
    """
    records: dict[str, ParallelRecord] = {}
    for raw in read_fields(path, ("source", "english"), dropped):
        source, english = one_line(raw["source"]), detokenize(one_line(raw["english"]))
        language = load(lang)
        source = source if language.spaces else full_width(source)
        if language.scripts and language.share(source) < MIN_SHARE:
            dropped["other script"] += 1
            continue
        if not language.spaces and not 0.8 * len(source) < len(english) < 8 * len(source) + 20:
            dropped["lengths differ"] += 1
            continue
        if sum(c.isascii() for c in english) < 0.9 * len(english) or len(english) < 4:
            dropped["not English"] += 1
            continue
        if source in records:
            dropped["duplicate"] += 1
        else:
            records[source] = ParallelRecord(lang, source, english, origin=path.stem)
    return list(records.values())


def full_width(text: str) -> str:
    """Commas and the like between Han characters or kana as these languages write them."""
    table = str.maketrans(",;:?!", "，；：？！")
    return re.sub(r"(?<=[\u3040-\u9fff])[,;:?!] ?", lambda m: m.group()[0].translate(table), text)


def detokenize(english: str) -> str:
    """Running text from lower-cased tokens ("i 'm in the tennis club ."); other text as it is."""
    if not re.search(r" [.?!]$| n't| '(?:m|s|re|ve|ll|d)\b", english):
        return english
    text = re.sub(r" (n't|'(?:m|s|re|ve|ll|d)\b)", r"\1", re.sub(r" ([.,?!;:])", r"\1", english))
    text = re.sub(r"\bi\b(?!\.)", "I", text)
    return text[:1].upper() + text[1:]


def hold_out_pairs(
    records: Sequence[ParallelRecord], count: int
) -> tuple[list[ParallelRecord], list[ParallelRecord]]:
    """Split pairs by their English, so that corpora of the same sentences in
    several languages hold out the same ones.

    records (Sequence[ParallelRecord]): Pairs of one language.
    count (int): About how many to hold out; none where it would be over half.
    RETURNS (Tuple[List[ParallelRecord], List[ParallelRecord]]): Training pairs
        and held-out ones.
    """
    share = count / len(records) if len(records) > 2 * count else 0.0
    test = [record for record in records if held_out(record.english, share)]
    return [record for record in records if not held_out(record.english, share)], test
