"""Entity pairs mined from parallel sentences: English names with their source words.

No aligner is needed for what is kept: a name that stands in both sentences, a
known name, one that its English keeps company with throughout the corpus, or
one that sounds like it. What none of these finds is left out, so precision
comes before coverage.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache

from rapidfuzz.distance import Levenshtein

from ...alignment.locate import find
from ...corpora.parallel import ParallelRecord
from ...languages import load
from ...text.boundaries import Edge
from ...types import Text
from ..alignment_records import cased

# Least share of a name's sentences in which its words stand, least squared
# cosine of the two, and least number of sentences for both to be counted.
MIN_RECALL = 0.6
MIN_COSINE = 0.35
MIN_COUNT = 3
MAX_LENGTH = 14  # longest words looked for, in characters
MIN_SOUND = 0.62  # least similarity of sounds

_CHUNKS = re.compile(
    r"[\u3400-\u9fff々〆ヶ]+(?:[·・][\u3400-\u9fff]+)*|[\u30a1-\u30faー]+(?:[・＝=][\u30a1-\u30faー]+)*"
)
_JOINTS = re.compile(r"[·・＝=]")
_ARTICLE = re.compile(r"(?i)^the\s+|['’]s?$")


def plain_name(name: str) -> str:
    """An English name without article and possessive, not in capitals."""
    return cased(_ARTICLE.sub("", _ARTICLE.sub("", name.strip())).strip())


def mine_pairs(
    records: Sequence[ParallelRecord],
    entities: Sequence[Sequence[str]],
    names: Mapping[str, Iterable[str]],
) -> tuple[list[ParallelRecord], Counter[str]]:
    """Find the source words of English entities.

    records (Sequence[ParallelRecord]): Parallel sentences of one language.
    entities (Sequence[Sequence[str]]): For each its English entities.
    names (Mapping[str, Iterable[str]]): Known names: lower-cased English, and
        their forms in the source language.
    RETURNS (Tuple[List[ParallelRecord], Counter[str]]): The records with names,
        and how often each way found one ("none" where none did).
    """
    sentences = [[e for e in dict.fromkeys(map(plain_name, found)) if len(e) > 1] for found in entities]
    learned = learn_names(records, sentences)
    foreign = frozenset(c for forms in names.values() for form in forms if "·" in form for c in form)
    counts: Counter[str] = Counter()
    result = []
    for record, found in zip(records, sentences, strict=True):
        pairs: list[tuple[str, str]] = []
        rest = record.source
        for english in sorted(found, key=lambda e: (-len(e), e)):
            how, words = _counterpart(record.lang, english, rest, names, learned, foreign)
            counts[how] += 1
            if words:
                pairs.append((english, words))
                rest = rest.replace(words, "\n")
        result.append(replace(record, names=tuple(pairs), complete=len(pairs) == len(found)))
    return result, counts


def _counterpart(
    lang: str,
    english: str,
    source: str,
    names: Mapping[str, Iterable[str]],
    learned: Mapping[str, str],
    foreign: frozenset[str],
) -> tuple[str, str]:
    text = Text(source, lang)
    verbatim = find(text, english, min_similarity=2.0)
    if verbatim:
        return "verbatim", text[verbatim[0]]
    key = english.casefold()
    known = sorted((form for form in names.get(key, ()) if len(form) > 1), key=len, reverse=True)
    for how, forms in (("known", known), ("company", [learned[key]] if key in learned else [])):
        for form in forms:
            for span in find(text, form, min_similarity=2.0):
                if text.boundaries.of(*span.place) > Edge.INSIDE:
                    return how, text[span]
    words = sounds_like(lang, english, source, foreign)
    if words:
        return "sound", words
    return "none", ""


def learn_names(records: Sequence[ParallelRecord], entities: Sequence[Sequence[str]]) -> dict[str, str]:
    """Words that stand in the sentences of one English name, and hardly elsewhere.

    For each name the substring of the highest squared cosine
    c(name, words)² / (c(name) c(words)) over sentences; among equals the longest.

    records (Sequence[ParallelRecord]): Parallel sentences of one language.
    entities (Sequence[Sequence[str]]): For each its English entities.
    RETURNS (Dict[str, str]): Lower-cased English names with their words.
    """
    places: defaultdict[str, list[int]] = defaultdict(list)
    for i, found in enumerate(entities):
        for english in {e.casefold() for e in found}:
            places[english].append(i)
    frequent = {name: where for name, where in places.items() if len(where) >= MIN_COUNT}
    together: dict[str, Counter[str]] = {}
    for name, where in frequent.items():
        counted: Counter[str] = Counter()
        for i in where:
            counted.update(substrings(records[i].source))
        least = max(MIN_COUNT, MIN_RECALL * len(where))
        together[name] = Counter({words: n for words, n in counted.items() if n >= least})
    wanted = {words for counted in together.values() for words in counted}
    totals: Counter[str] = Counter()
    for record in records:
        totals.update(substrings(record.source) & wanted)
    learned = {}
    for name, counted in together.items():
        scored = [
            (n * n / (len(frequent[name]) * totals[words]), len(words), words) for words, n in counted.items()
        ]
        if scored:
            top = max(scored)
            best = max((s for s in scored if s[0] >= 0.97 * top[0]), key=lambda s: (s[1], s[0], s[2]))
            if best[0] >= MIN_COSINE:
                learned[name] = _name_alone(best[2], records[0].lang)
    return learned


def _name_alone(words: str, lang: str) -> str:
    """Words without what keeps a name's company and is no part of it: a preposition, a person's rank."""
    language = load(lang)
    prefix = language.prefix.match(words)
    if prefix and len(words) - prefix.end() > 1:
        words = words[prefix.end() :]
    return language.rank_after.sub("", words)


def substrings(text: str) -> set[str]:
    """Slices of a text's runs of Han characters and kana, 2 characters or longer."""
    found = set()
    for run in re.findall(r"[\u3005\u3007\u30a1-\u30fa\u30fc\u3400-\u9fff·・]+", text):
        for start in range(len(run) - 1):
            for end in range(start + 2, min(len(run), start + MAX_LENGTH) + 1):
                words = run[start:end]
                if words[0] not in "·・ー" and words[-1] not in "·・":
                    found.add(words)
    return found


def sounds_like(lang: str, english: str, source: str, foreign: frozenset[str] = frozenset()) -> str:
    """The words of a source text that sound like an English name.

    Names in katakana by the consonants of a transliteration of at least four
    characters; in languages that write names by sound in Han characters those
    too, and their own names by exact pinyin, family name first or last.

    lang (str): Language code.
    english (str): The English name.
    source (str): The source text.
    foreign (FrozenSet[str]): Han characters of transliterations; only
        these make one up.
    RETURNS (str): A slice of the text, "" if there is none to be sure of.
    """
    parts = re.findall(r"[^\W\d_]+", english)
    by_sound = load(lang).by_sound
    if not parts or not english[0].isupper():
        return ""
    if by_sound and 2 <= len(parts) <= 3:
        wanted = {"".join(parts).casefold(), "".join([*parts[1:], parts[0]]).casefold()}
        for run in re.findall(r"[\u3400-\u9fff]+", source):
            slices = (run[i : i + size] for size in (2, 3, 4) for i in range(len(run) - size + 1))
            for words in slices:
                if romanize(words) in wanted:
                    return words
    whole = skeleton("".join(parts))
    best: tuple[float, int, str] = (0.0, 0, "")
    for chunk in _CHUNKS.findall(source) if len(whole) > 2 else ():
        split = _JOINTS.split(chunk)
        if "\u30a1" <= chunk[0] <= "\u30fa":
            if len(chunk) > 3 and len(split) in (1, len(parts)):
                best = max(best, (_alike(whole, chunk), len(chunk), chunk))
        elif by_sound and len(split) == len(parts) > 1:
            # Only the inner ends of the parts are marked: the outer ones are where it sounds best.
            head = _edge(parts[0], [split[0][i:] for i in range(len(split[0]))], foreign)
            tail = _edge(parts[-1], [split[-1][:i] for i in range(1, len(split[-1]) + 1)], foreign)
            words = head[1] + chunk[len(split[0]) : len(chunk) - len(split[-1])] + tail[1]
            if head[1] and tail[1]:
                best = max(best, (min(head[0], tail[0]), len(words), words))
    return best[2] if best[0] >= MIN_SOUND and best[1] > 3 else ""


def _edge(part: str, options: Sequence[str], foreign: frozenset[str]) -> tuple[float, str]:
    """The longest option that sounds about as much like a part of a name as any."""
    sound = skeleton(part)
    scored = [(_alike(sound, words), words) for words in options if foreign.issuperset(words)]
    best = max(scored, default=(0.0, ""))
    return max((s for s in scored if s[0] > best[0] - 0.21), key=lambda s: len(s[1]), default=best)


def _alike(sound: str, words: str) -> float:
    return Levenshtein.normalized_similarity(sound, skeleton(romanize(words)))


@lru_cache(maxsize=1 << 16)
def romanize(words: str) -> str:
    """Han characters in pinyin and kana in Latin letters, without tones and spaces."""
    from anyascii import anyascii

    return re.sub(r"[^a-z]", "", anyascii(words).casefold())


# Letters that transliterations do not tell apart.
_SOUNDS = str.maketrans("lvpfgqdxzj", "rbbhkstsss")


@lru_cache(maxsize=1 << 16)
def skeleton(latin: str) -> str:
    """The consonants of a name, those that sound alike as one, and its first sound."""
    text = re.sub("[csz]h|c(?=[eiy])", "s", latin.casefold()).replace("ph", "f").replace("gh", "g")
    text = text.replace("c", "k").translate(_SOUNDS)
    bare = re.sub("[aeiouyw]", "a", text[:1]) + re.sub("[^a-z]|[aeiouyw]|h(?![aeiou])", "", text[1:])
    return re.sub(r"(.)\1+", r"\1", bare)
