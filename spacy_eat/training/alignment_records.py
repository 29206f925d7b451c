"""Sentences with a name in them that English has a name for, cleaned: EAT's alignment records."""

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rapidfuzz import fuzz

from ..alignment.locate import find
from ..corpora.files import read_fields
from ..corpora.splits import held_out
from ..languages import load
from ..text.lines import one_line
from ..text.sentences import split_text
from ..types import Text

# Percent of likeness below which names in Latin script are of different things.
MIN_LIKENESS = 45.0
_BRACKETS = re.compile(r"\s*(?:\([^()（）]*\)|（[^()（）]*）)")
_LETTERS = "A-Za-z0-9À-ɏ"


@dataclass(frozen=True)
class AlignmentRecord:
    """A sentence that contains the name of something English has a name for.

    lang (str): Language code.
    text (str): The sentence, one line.
    english (str): The English name.
    name (str): Its words in `text`, character for character.
    """

    lang: str
    text: str
    english: str
    name: str


def read_alignment(
    path: Path, lang: str, dropped: Counter[str], latin: Mapping[str, Sequence[str]] | None = None
) -> list[AlignmentRecord]:
    """Clean records {eng_entity, tgt_entity, text} of Wikipedia leads.

    path (Path): A JSONL file.
    lang (str): Its language code.
    dropped (Counter[str]): Counts what is left out, by reason.
    latin (Optional[Mapping[str, Sequence[str]]]): See `latin_names`; what they
        tell to be the name of something else is left out.
    RETURNS (List[AlignmentRecord]): Different ones, names verbatim in the text.
    """
    records: dict[tuple[str, str, str], AlignmentRecord] = {}
    for raw in read_fields(path, ("eng_entity", "tgt_entity", "text"), dropped):
        record = clean_alignment(lang, raw["text"], raw["eng_entity"], raw["tgt_entity"])
        if isinstance(record, str):
            dropped[record] += 1
            continue
        if latin and is_something_else(record.english, latin.get(record.english.casefold(), ())):
            dropped["name of something else"] += 1
            continue
        key = record.text, record.english.casefold(), record.name
        if key in records:
            dropped["duplicate"] += 1
        else:
            records[key] = record
    return list(records.values())


def latin_names(folder: Path) -> dict[str, list[str]]:
    """What English names are in other languages of Latin script.

    folder (Path): With {lang}.jsonl files.
    RETURNS (Dict[str, List[str]]): Lower-cased English names with the others.
    """
    names: dict[str, list[str]] = {}
    for path in sorted(folder.glob("*.jsonl")):
        for raw in read_fields(path, ("eng_entity", "tgt_entity"), Counter()) if is_latin(path.stem) else ():
            names.setdefault(cased(one_line(raw["eng_entity"])).casefold(), []).append(raw["tgt_entity"])
    return names


def is_latin(lang: str) -> bool:
    """Whether a language is written in Latin script: an English name in its text is no leak."""
    return load(lang).scripts == load("en").scripts


def is_something_else(english: str, latin: Sequence[str]) -> bool:
    """Whether a record's English name and its article are not the same thing.

    Records of one English name have articles on one thing in all languages.
    Where that is called something without any likeness wherever a name of
    several words would be hardly changed, it is the wrong one: "Anatoly
    Shkirko" is not "Primera guerra chechena". Nine in ten found so are wrong.

    english (str): The English name.
    latin (Sequence[str]): Its names in other languages of Latin script.
    """
    if " " not in english or not latin:
        return False
    name = english.casefold()
    return all(fuzz.partial_ratio(name, other.casefold()) < MIN_LIKENESS for other in latin)


def clean_alignment(lang: str, text: str, english: str, name: str) -> AlignmentRecord | str:
    """One record, cut to the sentence with the name and freed of what gives the
    answer away, or the reason why it can't be used."""
    english = cased(one_line(english))
    name = re.sub(r"\s*[(（][^()（）]*[)）]$", "", one_line(name)) or name
    if not any(c.isalpha() for c in english) or not any(c.isalnum() for c in name):
        return "no name"
    text = unicodedata.normalize("NFC", re.sub(r"\[[^\[\]]{0,4}\]|[\u200b-\u200f\ufeff]", "", text))
    for start, end in split_text(text, max_length=2000):
        sentence = without_leak(lang, one_line(text[start:end]), english)
        spans = find(Text(sentence, lang), name)
        if spans and spans[0].origin != "fuzzy" and len(sentence) > len(name) + 6:
            found = sentence[spans[0].start_char : spans[0].end_char]
            if contains(sentence, english) and not is_latin(lang) and found != english:
                return "leak"
            if found.casefold() == english.casefold():
                return "same in English"
            return AlignmentRecord(lang, sentence, english, found)
    return "name not in the text"


def without_leak(lang: str, text: str, english: str) -> str:
    """The text without glosses that hold the English name: in other scripts all
    brackets with Latin letters in them, else those with the name itself."""

    def gloss(match: re.Match[str]) -> str:
        inner = match.group()
        leaks = contains(inner, english) if is_latin(lang) else re.search("[A-Za-z]{2}", inner)
        return "" if leaks or not any(c.isalnum() for c in inner) else inner

    return re.sub(r" {2,}", " ", _BRACKETS.sub(gloss, text))


def without_brackets(text: str) -> str:
    """The text without round brackets and what is in them."""
    previous = ""
    while previous != text:
        previous, text = text, _BRACKETS.sub("", text)
    return re.sub(r" {2,}", " ", text).strip()


def cased(name: str) -> str:
    """A name in capitals as it stands in running text, acronyms left alone."""
    if not name.isupper() or (len(name) < 6 and " " not in name):
        return name
    return re.sub(r"[^\W\d_]+", lambda word: word.group().capitalize(), name)


def contains(text: str, name: str) -> bool:
    """Whether a name stands in a text, not within a longer Latin word."""
    return re.search(rf"(?<![{_LETTERS}]){re.escape(name)}(?![{_LETTERS}])", text, re.IGNORECASE) is not None


def hold_out_names(
    records: Sequence[AlignmentRecord], share: float
) -> tuple[list[AlignmentRecord], list[AlignmentRecord]]:
    """Split records by English name, such that no held-out name, in either
    language, is the answer to a training record.

    records (Sequence[AlignmentRecord]): Of one language.
    share (float): Share of English names that are held out.
    RETURNS (Tuple[List[AlignmentRecord], List[AlignmentRecord]]): Training
        records and held-out ones.
    """
    test = [record for record in records if held_out(record.english, share)]
    names, texts = {record.name for record in test}, {record.text for record in test}
    train = [
        record
        for record in records
        if not held_out(record.english, share) and record.name not in names and record.text not in texts
    ]
    return train, test
