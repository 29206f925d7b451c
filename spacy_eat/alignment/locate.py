"""Where words stand in a text.

`find` turns an answer into the slices of a text that it can mean, `complete` takes in what belongs to a
name beside a slice, `fit` says what speaks for a slice or against it. Pure functions of a `Text`, and no
knowledge of who answered. Whatever is looked for, a span is a verbatim slice of the text, or there is none.
"""

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from functools import cache

import numpy as np
from rapidfuzz import fuzz
from rapidfuzz.distance import Levenshtein

from ..languages import Language, load
from ..text.boundaries import Edge, is_outside, script
from ..text.folding import Folded, fold
from ..text.glosses import without_glosses
from ..types import Options, Span, Text

MAX_ANSWER = 256  # longest answer that is looked for, in characters: no name is longer
MAX_OCCURRENCES = 2000  # of one answer in one source that are looked at

# Worth (nats) of ending right before a bracket with the English name in it:
# 安迪（Andy）; and what stops at the middle dot of a longer name loses.
GLOSSED, CUT_NAME = 3.0, 2.0
# What a particle joins (国際連合の輸送機) is a phrase rather than a name (nats).
PHRASE = 3.0
LEAST_KEPT = 0.01  # places and answers of a lower probability are not kept: they decide nothing
# Score of a name that stands there as it is, but was completed.
COMPLETED = 0.95
_GLOSS = re.compile(r"[(（\[［【〔][^()（）\[\]［］【】〔〕]{1,64}[)）\]］】〕]")
_LAST_GLOSS = re.compile(rf"\s*(?:{_GLOSS.pattern})\s*$")
# Opening and closing brackets and quotes; those that belong together have one value.
_OPENERS = dict(zip("（(「『《〈【〔［[“„", "))」』》〉】〕]]”“", strict=True))
_CLOSERS = dict(zip("）)」』》〉】〕］]”", "))」』》〉】〕]]”", strict=True))
_BRACKETS = frozenset([*_OPENERS, *_CLOSERS, '"'])
_AFTER_STOP = frozenset([*_CLOSERS, *' \n\r\u3000"'])


def find(text: Text, answer: str, *, min_similarity: float = 0.8) -> list[Span]:
    """Find what an answer says in a text.

    The first way that finds anything gives all the spans:

    1. the answer as it stands ("exact"; "variant" without quotes or brackets around it, and commas or a
       full stop at its ends);
    2. in another spelling ("variant"): width, case, accents, traditional, simplified or Japanese
       characters; spaces, middle dots, hyphens, quotes and brackets more or less; a gloss in brackets, a
       title or a company form more or less;
    3. the slice most similar to it ("fuzzy"), with the same numbers and numerals, if the answer has three
       characters or more.

    No span starts or ends where no name can (`Edge.NEVER`), or within what was one character before folding.
    Within a word (`Edge.INSIDE`) only an exact one is taken, and only where there is no other.

    text (Text): Where to look.
    answer (str): What to look for.
    min_similarity (float): Least similarity of a fuzzy span, 0.0 to 1.0; above 1.0 there are none.
    RETURNS (List[Span]): In the order of the text, none overlapping another. The origin is "exact",
        "variant" or "fuzzy"; the score is the similarity: 1.0 for exact, else one minus the edit distance of
        answer and slice, both folded, over the longer one's length.
    """
    answer, source = answer.strip(), text.string
    if not _is_searchable(text, answer):
        return []
    if exact := find_exact(text, answer):
        return exact
    if answer in source:
        inner = answer[slice(*_trim_first(text, answer))]
        if len(inner) < len(answer):
            return [replace(span, origin="variant") for span in find(text, inner)]
    wanted = fold(answer).text
    for wording in _wordings(answer, text.language):
        places = _search(text, text.folded, wording) or _search(text, _without_glosses(text), wording)
        if places:
            return [
                Span(start, end, score=_similarity(wanted, source[start:end]), origin="variant")
                for start, end in places
            ]
    return _find_similar(text, wanted, min_similarity)


def find_exact(text: Text, answer: str) -> list[Span]:
    """Find where an answer stands in a text as it is: what `find` gives as "exact", and nothing else.

    text (Text): Where to look.
    answer (str): What to look for.
    RETURNS (List[Span]): In the order of the text, none overlapping another.
    """
    answer = answer.strip()
    if not _is_searchable(text, answer) or answer not in text.string:
        return []
    if _trim_first(text, answer) != (0, len(answer)):
        return []
    places = [(i, i + len(answer)) for i in _occurrences(text.string, answer)]
    for least in (Edge.JOINED, Edge.INSIDE):
        whole = [place for place in places if text.boundaries.of(*place) >= least]
        if whole:
            return [Span(start, end, origin="exact") for start, end in apart(whole)]
    return []


def verbatim(text: Text, names: Sequence[str]) -> set[str]:
    """RETURNS (Set[str]): Those of some names that stand in a text as they are, and not only as a gloss of
    another name: 安迪（Andy）."""
    bare = replace(text, string=without_glosses(text.string, names))
    return {name for name in names if find_exact(bare, name)}


def as_it_stands(text: Text, name: str) -> Options:
    """RETURNS (Options): The places of a name that stands in a text as it is."""
    places = [complete(text, name, place) for place in find_exact(text, name)]
    spans = (replace(p, score=1.0 if p.origin == "exact" else COMPLETED) for p in places)
    return Options(tuple(spans), answers=((name, None),))


def weigh(
    text: Text, english: str, found: Iterable[tuple[Span, float]], none: float, *, rules: bool = True
) -> Options:
    """The options of an entity whose places were found with their log-probabilities.

    A place has its share of the probability, what speaks for it or against it (`fit`) included. Where the
    same words stand elsewhere too, each place has the share of all: `resolve` gives them to different
    mentions.

    text (Text): The source sentence.
    english (str): The English name.
    found (Iterable[Tuple[Span, float]]): Places, not sure of their ends, and their log-probabilities (nats).
    none (float): Log-probability that there is none.
    rules (bool): Whether what is known of names is used (`settle`, `fit`).
    RETURNS (Options): The places, best first.
    """
    worth: dict[tuple[int, int], tuple[float, Span]] = {}
    for span, share in found:
        span = replace(span, origin="exact")
        if rules:
            span = settle(text, english, span)
            share += fit(text, span, english)
        if span.start_char < span.end_char:
            before = worth[span.place][0] if span.place in worth else -np.inf
            worth[span.place] = float(np.logaddexp(before, share)), span
    if not worth:
        return Options(none=1.0)
    total = float(np.logaddexp.reduce([none, *(value for value, _ in worth.values())]))
    by_words: dict[str, float] = {}
    for value, span in worth.values():
        by_words[text[span]] = by_words.get(text[span], 0.0) + float(np.exp(value - total))
    ranked = sorted(worth.values(), key=lambda found: (-by_words[text[found[1]]], -found[0]))
    spans = [replace(span, score=min(1.0, by_words[text[span]])) for _, span in ranked]
    spans = [span for span in spans if span.score >= LEAST_KEPT]
    answers = dict.fromkeys(text[span] for span in spans)
    return Options(
        tuple(spans),
        float(np.exp(none - total)),
        tuple((words, float(np.log(by_words[words]))) for words in answers),
    )


def settle(text: Text, english: str, span: Span) -> Span:
    """The name's place at a place that is not sure of its ends, as the pieces of an encoder: without commas
    and brackets around it, with the whole of a number or a word of letters, and complete.

    text (Text): Where the span stands.
    english (str): The English name.
    span (Span): The place.
    RETURNS (Span): The name's place; empty if there is nothing that a name can have.
    """
    start, end = _trim(text.string, *span.place)
    while 0 < start < end and text.boundaries.starts[start] == Edge.NEVER:
        start -= 1
    while start < end < len(text.string) and text.boundaries.ends[end] == Edge.NEVER:
        end += 1
    span = replace(span, start_char=start, end_char=end)
    return complete(text, english, span) if start < end else span


def _is_searchable(text: Text, answer: str) -> bool:
    """Whether an answer can be a name at all."""
    return bool(text.string) and len(answer) <= MAX_ANSWER and any(char.isalnum() for char in answer)


def _trim_first(text: Text, answer: str) -> tuple[int, int]:
    """What of an answer belongs to a name where it first stands in a text: start and end within it."""
    first = text.string.index(answer)
    start, end = _trim(text.string, first, first + len(answer))
    return start - first, end - first


def complete(text: Text, english: str, span: Span) -> Span:
    """Take in what belongs to a name right before and after a span, and leave out a person's rank.

    text (Text): Where the span stands.
    english (str): The English name. If a rank is said in it, the span keeps its own.
    span (Span): As `find` gives it.
    RETURNS (Span): The whole name's. If the ends of an exact one changed, it is a variant.
    """
    source, language = text.string, text.language
    if not load("en").rank.search(english):
        if after := language.rank_after.search(text[span]):
            span = replace(span, end_char=span.start_char + after.start(), origin="variant")
        elif before := language.rank_before.match(text[span]):
            span = replace(span, start_char=span.start_char + before.end(), origin="variant")
    start, end = span.place
    if before := language.completes_before.search(source, max(0, start - 4), start):
        start = before.start()
    if span.end_char - span.start_char > 1 and not language.completes_after.fullmatch(source, end - 1, end):
        after = language.completes_after.match(source, end)
        end = after.end() if after else end
    if (start, end) == span.place:
        return span
    origin = "variant" if span.origin == "exact" else span.origin
    return replace(span, start_char=start, end_char=end, origin=origin)


def fit(text: Text, span: Span, english: str) -> float:
    """What speaks for a place or against it, whoever found it.

    text (Text): Where the span stands.
    span (Span): The place.
    english (str): The English name.
    RETURNS (float): Nats, 0.0 for an ordinary place.
    """
    source, start, end = text.string, span.start_char, span.end_char
    return (
        GLOSSED * _is_glossed(source, end, english)
        - CUT_NAME * _cuts_name(source, start, end)
        - PHRASE * bool(text.language.joins.search(source, start, end))
    )


def stands_free(text: Text, span: Span) -> bool:
    """Whether a slice is likely a name by itself, not a part of a longer one: two characters or more, at free
    edges (京都 but not in 東京都), and not joined to more of its script by a middle dot.

    In gold data, 2 of 5 names unknown, 90 % (Japanese) and 83 % (Chinese) of the further occurrences of a
    known name that stand free are gold too; hardly any is wrong where all names are known.
    """
    source, start, end = text.string, span.start_char, span.end_char
    if end - start < 2 or text.boundaries.of(start, end) < Edge.FREE:
        return False
    return not _cuts_name(source, start, end)


def free_occurrences(text: Text, words: str) -> list[Span]:
    """Where words stand in a text as they are, and free.

    RETURNS (List[Span]): In the order of the text. They may overlap.
    """
    spans = (Span(i, i + len(words), origin="exact") for i in _occurrences(text.string, words))
    return [span for span in spans if stands_free(text, span)]


def gloss_after(text: Text, span: Span) -> Span | None:
    """The name in Latin letters that stands in brackets right after a name in others.

    It is what the author gives as the original form, whether a translation has it like that or not.
    Capitals alone may be an abbreviation of anything, such as the position of a player.

    RETURNS (Optional[Span]): Its place, None if there is none.
    """
    source = text.string
    match = _NAME_IN_BRACKETS.match(source, span.end_char)
    if not match or script(source[span.end_char - 1]) == "word" or match[1].isupper():
        return None
    start, end = _trim(source, *match.span(1))
    if start >= end or not all(script(c) == "word" or c in " .'’·-" for c in source[start:end]):
        return None
    return replace(span, start_char=start, end_char=end, origin="exact")


def apart(places: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Places without those that overlap an earlier one."""
    kept: list[tuple[int, int]] = []
    for start, end in places:
        if not kept or start >= kept[-1][1]:
            kept.append((start, end))
    return kept


# --- Finding ---------------------------------------------------------------


def _without_glosses(text: Text) -> Folded:
    """The text folded without what stands in round or square brackets."""
    folded = text.folded
    keep = [True] * len(folded.text)
    for gloss in _GLOSS.finditer(text.string):
        i = bisect_left(folded.starts, gloss.start())
        j = bisect_left(folded.starts, gloss.end())
        keep[i:j] = [False] * (j - i)
    kept = [i for i, k in enumerate(keep) if k]
    return Folded(
        "".join(folded.text[i] for i in kept),
        [folded.starts[i] for i in kept],
        [folded.ends[i] for i in kept],
    )


def _wordings(answer: str, language: Language) -> Iterator[str]:
    """The folded answer, then with less and less around the name."""
    whole = answer[slice(*_trim(answer, 0, len(answer)))]
    glosses = [gloss.group()[1:-1] for gloss in _GLOSS.finditer(whole)]
    wordings = [whole, answer, _LAST_GLOSS.sub("", whole), _GLOSS.sub("", whole)]
    names = [name for name in dict.fromkeys(map(_fold_text, wordings)) if name]
    yield from names
    shorter = [
        rest
        for name in names
        for word in _titles(language)
        for rest in (name.removesuffix(word), name.removeprefix(word))
    ]
    shorter += [language.particle.sub("", name) for name in names]
    shorter += map(_fold_text, glosses)
    yield from (name for name in dict.fromkeys(shorter) if len(name) >= 2 and name not in names)


def _fold_text(text: str) -> str:
    return fold(text).text


def _search(text: Text, folded: Folded, words: str) -> list[tuple[int, int]]:
    """All places of a folded text, whole words, brackets balanced."""
    places = (_place(text, folded, i, i + len(words)) for i in _occurrences(folded.text, words))
    return apart(span for span in places if span)


def _place(text: Text, folded: Folded, i: int, j: int) -> tuple[int, int] | None:
    """The slice of the text behind one of the folded text, if a name can be there."""
    place = folded.span(i, j)
    place = place and _balance(text.string, *place)
    return place if place and text.boundaries.of(*place) >= Edge.JOINED else None


def _find_similar(text: Text, wanted: str, min_similarity: float) -> list[Span]:
    """The most similar slice, wherever it stands."""
    folded = text.folded
    if len(wanted) < 3 or not folded.text:
        return []
    # The best window of the answer's length is near the best slice.
    window = fuzz.partial_ratio_alignment(wanted, folded.text, score_cutoff=80 * min_similarity)
    if window is None:
        return []
    numbers = _contrasts(wanted, text.language)
    slack = max(1, round(len(wanted) * (1 - min_similarity)))
    best = min_similarity - 1e-9, 0, 0, 0
    for i in range(max(0, window.dest_start - slack), window.dest_start + slack + 1):
        for j in range(
            max(i + 2, window.dest_end - slack), min(len(folded.text), window.dest_end + slack) + 1
        ):
            part = folded.text[i:j]
            # Of equal slices one as long as the answer: more often a character differs than is missing.
            similarity = Levenshtein.normalized_similarity(wanted, part)
            rank = similarity, -abs(len(part) - len(wanted)), -i, j
            if rank <= best or not _same_ends(wanted, part) or _contrasts(part, text.language) != numbers:
                continue
            if _place(text, folded, i, j):
                best = rank
    similarity, _, i, j = best
    places = _search(text, folded, folded.text[-i:j]) if j else []
    return [Span(start, end, score=similarity, origin="fuzzy") for start, end in places]


def _same_ends(wanted: str, text: str) -> bool:
    """Whether where two texts differ at an end, a letter of a script stands
    for another of it: not 美国的 for 美国，"""
    return all(
        a == b or (script(a) and script(a) == script(b))
        for a, b in ((wanted[0], text[0]), (wanted[-1], text[-1]))
    )


@cache
def _titles(language: Language) -> list[str]:
    titles = {*language.titles, *load("en").titles}
    return sorted({_fold_text(title) for title in titles}, key=len, reverse=True)


def _contrasts(text: str, language: Language) -> list[str]:
    contrasting = _fold_text(language.contrasting)
    return sorted(c for c in text if c.isnumeric() or c in contrasting)


def _similarity(wanted: str, slice_: str) -> float:
    return Levenshtein.normalized_similarity(wanted, fold(slice_).text)


def _occurrences(text: str, part: str) -> Iterator[int]:
    start = text.find(part)
    for _ in range(MAX_OCCURRENCES):
        if start < 0:
            return
        yield start
        start = text.find(part, start + 1)


def _partners(text: str) -> dict[int, int]:
    """For each bracket or straight quote that has a partner, where that is."""
    unclosed: list[int] = []
    partners: dict[int, int] = {}
    quote: int | None = None
    for i, char in enumerate(text):
        opener: int | None = None
        if char in "“”" and unclosed and text[unclosed[-1]] == "„":  # „Deutsch“, „polski”
            opener = unclosed.pop()
        elif char in _OPENERS:
            unclosed.append(i)
        elif char in _CLOSERS:
            if unclosed and _OPENERS[text[unclosed[-1]]] == _CLOSERS[char]:
                opener = unclosed.pop()
        elif char == '"':
            opener, quote = (quote, None) if quote is not None else (None, i)
        if opener is not None:
            partners[opener], partners[i] = i, opener
    return partners


def _balance(source: str, start: int, end: int) -> tuple[int, int] | None:
    """Take in the partner of a bracket that stands right outside a slice.

    RETURNS (Optional[Tuple[int, int]]): The slice, None if a bracket in it
        has its partner elsewhere.
    """
    text = source[start:end]
    if source[max(0, start - 1) : start] == "„" and not frozenset("“”").isdisjoint(text):
        return _balance(source, start - 1, end)
    partners = _partners(text)
    for i in reversed(range(len(text))):
        if text[i] in _OPENERS and i not in partners:
            if _CLOSERS.get(source[end : end + 1]) != _OPENERS[text[i]]:
                return None
            end += 1
    for i, char in enumerate(text):
        if char in _CLOSERS and i not in partners:
            if not start or _OPENERS.get(source[start - 1]) != _CLOSERS[char]:
                return None
            start -= 1
    return start, end


def _trim(source: str, start: int, end: int) -> tuple[int, int]:
    """Leave out what does not belong to a name at the ends of a slice.

    That is spaces, commas, a full stop that ends the text, quotes and brackets
    around all of it or without their partner: 「東京」 and 東京）, but not
    （株）ソニー. In the gold data no name has them.
    """
    while start < end:
        first, last = source[start], source[end - 1]
        if is_outside(first):
            start += 1
        elif is_outside(last) or (last == "。" and (end == len(source) or source[end] in _AFTER_STOP)):
            end -= 1
        elif first in _BRACKETS or last in _BRACKETS:
            partners = _partners(source[start:end])
            if first in _BRACKETS and partners.get(0, end - start - 1) == end - start - 1:
                end -= 0 in partners
                start += 1
            elif last in _BRACKETS and end - start - 1 not in partners:
                end -= 1
            else:
                break
        else:
            break
    return start, end


# --- What speaks for a place ------------------------------------------------

_JOINTS = frozenset("·・･=＝゠•‧")  # between the parts of a name from another language
_IN_BRACKETS = re.compile(r"\s*[(（]([^()（）]*)")


_NAME_IN_BRACKETS = re.compile(r"\s*[(（]([A-ZÀ-Þ][^()（）,，;；:：\d]{1,60})[)）]")


def _is_glossed(source: str, end: int, english: str) -> bool:
    """Whether a bracket with an English name in it begins at a place."""
    bracket = _IN_BRACKETS.match(source, end)
    return bracket is not None and english.casefold() in bracket.group(1).casefold()


def _cuts_name(source: str, start: int, end: int) -> bool:
    """Whether a middle dot joins a slice to more of the same script."""
    return any(
        source[joint : joint + 1] in _JOINTS
        and script(source[joint - 1]) in ("han", "katakana")
        and script(source[joint - 1]) == script(source[joint + 1])
        for joint in (start - 1, end)
        if 0 < joint < len(source) - 1
    )
