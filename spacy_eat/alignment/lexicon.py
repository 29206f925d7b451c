"""`spacy_eat.LexiconAligner.v1`: words behind English entities by a lexicon of names and their sound."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property, lru_cache
from typing import NamedTuple

import numpy as np
from rapidfuzz import fuzz

from ..lexicon import Lexicon, Match, likeness
from ..lexicon.sounds import spelling
from ..text.boundaries import Edge, script
from ..types import Options, Sentence, Span, Text
from .locate import as_it_stands, complete, fit, verbatim

# What speaks for a place (nats), by the names of `Evidence`, and for none; fitted on Wikipedia sentences
# with a name whose English is known, Chinese and Japanese, and on as many that a text does not have
# (python -m benchmarks.lexicon --names 800). No gold entity of an evaluation set is looked at.
WEIGHTS = {
    "none": 2.41,
    "same": 3.33,
    "like": 1.11,
    "word": -1.29,
    "short": -2.9,
    "consonants": 2.03,
    "letters": 4.25,
    "fused": -2.06,
}
LIKE = 80.0  # percent of likeness of two English names that differ (rapidfuzz's ratio of sorted words)
# Transliterations are looked for where a name is this long, among this many characters of the text, and these
# alike at least; so many are weighed.
LONGEST = {"han": 9, "katakana": 24, "letter": 24}
LEAST_ALIKE = 0.5
MAX_SOUNDS = 8
SHARP = 4  # power of a likeness: from alike to nearly the same is further than from unlike to alike
LEAST_KEPT = 0.01  # what is less likely decides nothing
_JOINTS = "·・･•‧＝゠-"


class Evidence(NamedTuple):
    """What speaks for it that an entity comes from a place, and against it.

    same (float): The lexicon has the place with this English name, 1.0 or 0.0.
    like (float): It has it with a similar one: some words more or less.
    word (float): The same characters are a common word too.
    short (float): The place is one character long.
    consonants, letters (float): How alike its transliteration is, see `lexicon.likeness`, to the power of
        `SHARP`.
    fused (float): It begins within a longer word, so it may be the second part of another name.
    """

    same: float = 0.0
    like: float = 0.0
    word: float = 0.0
    short: float = 0.0
    consonants: float = 0.0
    letters: float = 0.0
    fused: float = 0.0


class LexiconAligner:
    """Looks every name of a lexicon up in the source, in one pass, and takes those whose English is an
    entity's; and slices of the source that sound like the entity. No LLM, no encoder. Names that stand in the
    source as they are (NHK, iPhone) are taken from there.

    A name may have many Englishes (花: Hana, Flower), and an English name many places: a place has its share
    of the probability (conditional logit over the places and none).
    """

    def __init__(
        self,
        lexicon: Sequence[str] | None = None,
        *,
        sounds: bool = True,
        weights: dict[str, float] | None = None,
    ) -> None:
        """See `make_lexicon_aligner`."""
        self.lexicon = None if lexicon is None else Lexicon(lexicon)
        self.sounds = sounds
        self.weights = {**WEIGHTS, **(weights or {})}
        self._by_language: dict[str, Lexicon | None] = {}

    def __call__(self, sentences: Sequence[Sentence]) -> list[list[Options]]:
        """Find the places of English entities.

        sentences (Sequence[Sentence]): What is asked.
        RETURNS (List[List[Options]]): For each sentence the options of its entities, in their order.
        RAISES (ImportError): The extra `lexicon` is not installed.
        RAISES (ValueError): The lexicon cannot be read.
        """
        return [self._options(sentence) if sentence.entities else [] for sentence in sentences]

    def _options(self, sentence: Sentence) -> list[Options]:
        source, names = sentence.source, sentence.names()
        known = verbatim(source, names)
        candidates = self.candidates(source)
        return [
            as_it_stands(source, name) if name in known else self._weigh(source, name, candidates)
            for name in names
        ]

    def candidates(self, source: Text) -> "Candidates":
        """RETURNS (Candidates): The names of a text, and what may be transliterated in it."""
        lexicon = self._lexicon(source.lang)
        found = lexicon.find(source) if lexicon else []
        return Candidates(found, list(_runs(source)) if self.sounds else [], source)

    def _lexicon(self, lang: str) -> Lexicon | None:
        if self.lexicon is not None:
            return self.lexicon
        if lang not in self._by_language:
            sources = DEFAULTS.get(lang)
            self._by_language[lang] = Lexicon(sources) if sources else None
        return self._by_language[lang]

    def _weigh(self, source: Text, english: str, candidates: "Candidates") -> Options:
        """The options of one entity. Where the same words stand elsewhere too, each place has the share of
        all: `resolve` gives them to different mentions."""
        weights = np.array([self.weights[name] for name in Evidence._fields])
        places = candidates.places(english)
        worth = {span: float(weights @ np.array(evidence)) + more for span, evidence, more in places}
        if not worth:
            return Options(none=1.0)
        by_words: dict[str, float] = {}
        for span, value in worth.items():
            by_words[source[span]] = max(value, by_words.get(source[span], -np.inf))
        none = self.weights["none"]
        total = float(np.logaddexp.reduce([none, *by_words.values()]))
        shares = {words: float(np.exp(value - total)) for words, value in by_words.items()}
        spans = [replace(span, score=min(1.0, shares[source[span]])) for span in worth]
        spans = sorted((s for s in spans if s.score >= LEAST_KEPT), key=lambda s: (-s.score, -worth[s], s))
        answers = dict.fromkeys(source[span] for span in spans)
        return Options(
            tuple(spans),
            float(np.exp(none - total)),
            tuple((words, float(np.log(shares[words]))) for words in answers),
        )


class Candidates:
    """Places of a text that may be names."""

    def __init__(self, found: Sequence[Match], slices: Sequence[tuple[int, int]], source: Text) -> None:
        """
        found (Sequence[Match]): Names of the lexicon.
        slices (Sequence[Tuple[int, int]]): What may be a transliteration.
        source (Text): The text.
        """
        self.found = found
        self.slices = slices
        self.source = source

    @cached_property
    def _slices(self) -> list[str]:
        return [self.source.string[start:end] for start, end in self.slices]

    def places(self, english: str) -> list[tuple[Span, Evidence, float]]:
        """Where an English name may come from.

        english (str): The English name.
        RETURNS (List[Tuple[Span, Evidence, float]]): Different places, what speaks for each, and what else
            does (`locate.fit`, nats).
        """
        found: dict[Span, tuple[Evidence, float]] = {}
        for place, evidence in self._evidence(english).items():
            fused = self.source.boundaries.of(*place) < Edge.FREE
            evidence = evidence._replace(short=float(place[1] - place[0] == 1), fused=float(fused))
            span = complete(self.source, english, Span(*place, origin="exact"))
            if span not in found or evidence.same > found[span][0].same:
                found[span] = evidence, fit(self.source, span, english)
        return [(span, *more) for span, more in found.items()]

    def _evidence(self, english: str) -> dict[tuple[int, int], Evidence]:
        places: dict[tuple[int, int], Evidence] = {}
        parts: list[tuple[int, int, frozenset[str]]] = []
        wanted, words = spelling(english), _words(english)
        for start, end, names in self.found:
            same = any(spelling(name.english) == wanted for name in names)
            of_all = [_words(name.english) for name in names]
            if not wanted or not (same or any(_alike(words, others) for others in of_all)):
                continue
            word = any(name.is_word for name in names)
            places[start, end] = Evidence(same=float(same), like=float(not same), word=float(word))
            parts += [(start, end, others) for others in of_all if others < words]
        for place in self._joined(parts, words):
            places[place] = Evidence(same=1.0)
        alike = likeness(english, self._slices)
        both = alike.sum(axis=1)
        for number in np.argsort(-both, kind="stable")[:MAX_SOUNDS].tolist():
            if both[number] < 2 * LEAST_ALIKE:
                break
            place = self.slices[number]
            places[place] = places.get(place, Evidence())._replace(
                consonants=float(alike[number, 0]) ** SHARP, letters=float(alike[number, 1]) ** SHARP
            )
        return places

    def _joined(
        self, parts: Sequence[tuple[int, int, frozenset[str]]], words: frozenset[str]
    ) -> Iterator[tuple[int, int]]:
        """Names put together from parts that stand side by side: 佐藤 and 花子 for Hanako Sato."""
        for start, end, first in parts:
            for other, last, second in parts:
                between = self.source.string[end:other]
                if 0 <= other - end <= 1 and not between.strip(_JOINTS + " ") and first | second == words:
                    yield start, last


@lru_cache(maxsize=100_000)
def _words(english: str) -> frozenset[str]:
    return frozenset(spelling(word) for word in re.findall(r"\w+", english))


def _alike(words: frozenset[str], others: frozenset[str]) -> bool:
    """Whether two English names differ by little: a letter or two, or by words that one has beside the
    other's."""
    if words <= others or others <= words:
        return bool(others)
    return fuzz.ratio(" ".join(sorted(words)), " ".join(sorted(others))) >= LIKE


def _runs(source: Text) -> Iterator[tuple[int, int]]:
    """What may be a transliterated name: runs of one script, with joints in it."""
    string, boundaries = source.string, source.boundaries
    for start in range(len(string)):
        kind = script(string[start])
        if kind not in LONGEST or (kind == "han" and source.lang == "ja") or boundaries.starts[start] < 2:
            continue
        for end in range(start + 1, min(len(string), start + LONGEST[kind]) + 1):
            char = string[end - 1]
            if script(char) != kind and char not in _JOINTS and char != "ー":
                break
            if end - start > 1 and char not in _JOINTS and boundaries.ends[end] >= Edge.JOINED:
                yield start, end


# Lexicons of a language where none are named.
DEFAULTS = {"zh": ("cedict",), "ja": ("jmnedict",)}


def make_lexicon_aligner(
    lexicon: list[str] | None = None, sounds: bool = True, weights: dict[str, float] | None = None
) -> LexiconAligner:
    """`spacy_eat.LexiconAligner.v1` (misc): a lexicon of names, and their sound.

    lexicon (Optional[List[str]]): "cedict", "jmnedict", and paths of .tsv or .jsonl files with names, their
        English and, if you like, types. All of them together are one lexicon. None for CC-CEDICT in Chinese,
        JMnedict in Japanese, none in other languages: there the sound is all.
    sounds (bool): Whether slices of the source that sound like an entity count. What is read another way than
        it is transliterated (Han characters in Japanese) is in the lexicon or not found.
    weights (Optional[Dict[str, float]]): What speaks for a place, in the place of what was fitted, see
        `Evidence`; and "none".
    RETURNS (LexiconAligner): The aligner.
    RAISES (ValueError): A weight has an unknown name.
    """
    unknown = set(weights or ()) - WEIGHTS.keys()
    if unknown:
        raise ValueError(f"`weights` of spacy_eat.LexiconAligner.v1 are {', '.join(WEIGHTS)}, not {unknown}")
    return LexiconAligner(lexicon, sounds=sounds, weights=weights)
