"""Names with their English and what they are names of: dictionaries whole, and files of the user's.

`dictionaries.load_dictionary` has one English for a name, where that is sure; here is all that there is.
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from .dictionaries import _english, _package_file, cedict_entries
from .files import CorpusError, read_jsonl, read_lines

_REMEDY = "A line of a .tsv is: name, tab, English, and if you like tab, type; one of a .jsonl: " + (
    '{"name": "柳传志", "english": "Liu Chuanzhi", "type": "person"}'
)
_ENCODING = "Save the file as UTF-8, for example: iconv -f GB18030 -t UTF-8 old.tsv > new.tsv"


class Name(NamedTuple):
    """A name as a lexicon has it.

    text (str): The name.
    english (str): Its English.
    type (str): What it is a name of, in the lexicon's own words: "surname", "place" ...; "" if not said.
    is_word (bool): Whether the same characters are a common word too: 花 is a name and a flower.
    """

    text: str
    english: str
    type: str = ""
    is_word: bool = False


def cedict_names() -> Iterator[Name]:
    """The names of CC-CEDICT, traditional and simplified.

    YIELDS (Name): One for each of its English names.
    RAISES (ImportError): It is not installed.
    """
    entries = list(cedict_entries())
    words = {form for entry in entries for form in entry[:2] if not entry.is_name}
    for traditional, simplified, is_name, senses in entries:
        if not is_name:
            continue
        for sense in senses:
            surname = sense.startswith("surname ")
            english = _english(sense.removeprefix("surname "))
            if not english or sense.startswith(("see ", "variant of", "old variant", "abbr.")):
                continue
            kind = "surname" if surname else ""
            for form in dict.fromkeys((simplified, traditional)):
                yield Name(form, english, kind, form in words)


def jmnedict_names() -> Iterator[Name]:
    """The names of JMnedict: in Han characters, and in kana where they have none.

    YIELDS (Name): One for each of their English names and types.
    RAISES (ImportError): It is not installed.
    """
    names = """SELECT n.text, g.text, y.text FROM {table} n JOIN NETranslation t ON t.idseq = n.idseq
        JOIN NETransType y ON y.tid = t.ID JOIN NETransGloss g ON g.tid = t.ID {where} ORDER BY t.idseq"""
    without = "WHERE n.idseq NOT IN (SELECT idseq FROM NEKanji)"
    common = """SELECT DISTINCT w.text FROM {table} w JOIN Sense s ON s.idseq = w.idseq
        JOIN SenseGloss g ON g.sid = s.ID WHERE g.text GLOB '[a-z]*'"""
    file = _package_file("jamdict-data", "jamdict_data/jamdict.db")
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as connection:
        words = {
            word for table in ("Kanji", "Kana") for (word,) in connection.execute(common.format(table=table))
        }
        for query in (
            names.format(table="NEKanji", where=""),
            names.format(table="NEKana", where=without),
        ):
            for text, gloss, kind in connection.execute(query):
                if english := _english(gloss):
                    yield Name(text, english, kind, text in words)


def read_names(path: Path) -> Iterator[Name]:
    """The names of a file: .tsv or .jsonl, which may be compressed (.gz). A name may have several lines.

    path (Path): The file, UTF-8.
    YIELDS (Name): The names.
    RAISES (CorpusError): A line is not one. The message says what it must be.
    """
    if not path.is_file():
        raise CorpusError(path, None, "there is no such file", f"Name one, or {', '.join(map(repr, NAMES))}")
    kind = "".join(path.suffixes[-2:]).removesuffix(".gz").rpartition(".")[2]
    if kind not in ("tsv", "jsonl"):
        raise CorpusError(path, None, f"{path.suffix or 'no suffix'} is neither .tsv nor .jsonl", _REMEDY)
    yield from _read_jsonl(path) if kind == "jsonl" else _read_tsv(path)


def _read_tsv(path: Path) -> Iterator[Name]:
    for number, text, error in read_lines(path):
        if error:
            raise CorpusError(path, number, error, _ENCODING)
        if not text.strip() or text.startswith("#"):
            continue
        columns = [column.strip() for column in text.split("\t")]
        if not 2 <= len(columns) <= 3:
            problem = f"{len(columns)} {'column' if len(columns) == 1 else 'columns'}, not 2 or 3"
            raise CorpusError(path, number, problem, _REMEDY)
        yield _name(path, number, *columns)


def _read_jsonl(path: Path) -> Iterator[Name]:
    for line, value, error in read_jsonl(path):
        if error:
            raise CorpusError(path, line.number, error, _ENCODING if line.error else _REMEDY)
        fields = [value.get("name"), value.get("english"), value.get("type") or ""]
        texts = [field.strip() for field in fields if isinstance(field, str)]
        if len(texts) < len(fields):
            raise CorpusError(path, line.number, "no texts as name, english and type", _REMEDY)
        yield _name(path, line.number, *texts)


def _name(path: Path, number: int, text: str, english: str, kind: str = "") -> Name:
    if not any(char.isalnum() for char in text) or not any(char.isalnum() for char in english):
        raise CorpusError(path, number, "a name or its English is empty", _REMEDY)
    return Name(text, english, kind)


NAMES: dict[str, Callable[[], Iterator[Name]]] = {"cedict": cedict_names, "jmnedict": jmnedict_names}
