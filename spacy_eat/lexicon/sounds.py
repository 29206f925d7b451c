"""How alike a name sounds in two languages: 舒爾曼 and Schulman, トヨタ and Toyota.

What is not written in Latin letters is transliterated character by character (anyascii: pinyin of Han
characters, romaji of kana, Unicode's tables for the rest). So nothing is known of how names in Han characters
are read in Japanese: these the lexicon has.
"""

import re
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from rapidfuzz.distance import Indel, Levenshtein
from rapidfuzz.process import cdist

from ..optional import require

# Sounds that languages without one of them write with another: each is one class. Vowels are left out where
# they are not the first.
_SPELLINGS = (
    (re.compile("sch|tch|tsh|sh|zh|ch|ts|tz|j|x|z|ce|ci"), "s"),
    (re.compile("ph|wh|hu|v|w|b|p"), "f"),
    (re.compile("ck|qu|[cqgh]"), "k"),
    (re.compile("th|d"), "t"),
    (re.compile("r"), "l"),
    (re.compile("m"), "n"),
)
_LATER_VOWELS = re.compile("(?<=.)[aeiouy]+")
_TWICE = re.compile(r"(.)\1+")
_LONG = re.compile("(?<=[aiueo])h(?![aiueo])|(?<=o)[ou]|(?<=u)u")


@lru_cache(maxsize=100_000)
def romanized(text: str) -> str:
    """RETURNS (str): A text in small letters a to z and digits, nothing else.
    RAISES (ImportError): anyascii is not installed."""
    anyascii = require("anyascii", extra="lexicon", purpose="A name's transliteration").anyascii
    return "".join(char for char in anyascii(text).lower() if char.isalnum())


@lru_cache(maxsize=100_000)
def skeleton(text: str) -> str:
    """RETURNS (str): The classes of a name's consonants, and its first vowel."""
    letters = romanized(text)
    for pattern, letter in _SPELLINGS:
        letters = pattern.sub(letter, letters)
    return _TWICE.sub(r"\1", _LATER_VOWELS.sub("", letters))


@lru_cache(maxsize=100_000)
def spelling(english: str) -> str:
    """RETURNS (str): What spellings of one English name have in common: case, accents, spaces, and the long
    vowels of Japanese names (Satō, Satou, Satoh) make no difference."""
    return _LONG.sub("", romanized(english))


def likeness(english: str, names: Sequence[str]) -> np.ndarray:
    """How alike an English name and names of another language sound.

    english (str): The English name.
    names (Sequence[str]): The others.
    RETURNS (ndarray): For each how alike their consonants, and how alike their letters are, 0.0 to 1.0; shape
        (names, 2).
    """
    ways = (
        (skeleton, Levenshtein.normalized_similarity),
        (romanized, Indel.normalized_similarity),
    )
    if not names:
        return np.zeros((0, 2), dtype=np.float32)
    alike = [
        cdist([form(english)], [form(name) for name in names], scorer=scorer)[0] for form, scorer in ways
    ]
    return np.stack(alike, axis=1).astype(np.float32)
