"""From options to places: what each English entity of a sentence takes, decided for all of them together.

It comes after every aligner, and serves all alike. Pure functions: no model, no spaCy.
"""

import math
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Literal, NamedTuple

import numpy
from scipy.optimize import LinearConstraint, milp
from scipy.sparse import csr_array

from ..text.folding import fold
from ..types import Options, Sentence, Span, Text
from .locate import find_exact, free_occurrences, gloss_after, stands_free

Mentions = Literal["all", "aligned"]

# What a further, unmentioned occurrence keeps of its name's score: in gold
# Chinese and Japanese data 94 % of those outside longer names are entities.
REPEAT = 0.94
# What the English name itself is worth where it stands in the source, and the aligner has nothing better.
VERBATIM = 0.9
# The probability that a source has no words for an entity, where an aligner does not say.
NONE = 1e-4
# Worth (nats) that decides between options that are otherwise equal: a span that stands free, each place
# earlier; and what going without a span costs a repeated mention. Far less than any real difference.
FREE, EARLIER, SHARED = 1e-3, 1e-5, 1e-2
MAX_ROUNDS = 4  # of assignment, to move names out of longer ones
# Of one assignment: beyond them it is approximate. One node and some milliseconds are the rule.
MAX_NODES, MAX_SECONDS = 64, 5.0

_Place = tuple[int, int]
_Choices = dict[_Place, tuple[float, Span]]  # by place: what it is worth above none (nats), and the span


class Resolved(NamedTuple):
    """What became of the entities of a sentence.

    spans (List[Optional[Span]]): For each entity its place in the source with the entity's label, None if it
        has none. None overlaps another.
    repeats (List[Tuple[int, Span]]): Further places of the same names, each with the number of its entity.
    approximate (bool): There were too many options to find the best assignment for certain.
    """

    spans: list[Span | None]
    repeats: list[tuple[int, Span]]
    approximate: bool = False


def resolve(
    sentence: Sentence, options: Sequence[Options], *, mentions: Mentions = "all", min_score: float = 0.0
) -> Resolved:
    """Choose the places of all English entities of a sentence together.

    An option is worth the logarithm of its probability over that of none. Of all ways to give each entity
    one option or none, such that no two spans overlap, the one worth most is taken: an integer program,
    solved exactly within 64 nodes and 5 s, otherwise from the best options on (`approximate`). So two names
    do not share a span, and a name is not found inside a longer one (京都 in 東京都), nor where that occurs
    again. Mentions of one English name take its places in the order of the text; a mention too many has
    none, and does not take another name's. An entity that is left without, and whose English stands in the
    source as it is, takes that place.

    sentence (Sentence): The sentence.
    options (Sequence[Options]): For each of its entities what the aligner found.
    mentions (str): "all" adds further occurrences of a placed name, and of its English as it stands, where
        they stand free: longer than a character, not within a longer name, not (in Japanese) right after a
        Han character. And the name in Latin letters that stands in brackets after a span, 安迪（Andy）.
    min_score (float): Options of a lower probability are dropped, 0.0 to 1.0.
    RETURNS (Resolved): The places.
    RAISES (ValueError): If there are not as many options as entities.
    """
    source, entities = sentence.source, sentence.entities
    if len(entities) != len(options):
        raise ValueError(f"{len(entities)} entities, but options for {len(options)}")
    words = sentence.names()
    names = [fold(word).text or word for word in words]  # the same for two spellings of one (Benoît, Benoit)
    choices = [_choices(source, option, min_score) for option in options]
    chosen, approximate = _assign(names, choices)
    for _ in range(MAX_ROUNDS):
        texts = {source[span] for span in chosen.values()}
        inner = [i for i, span in chosen.items() if _inside_longer(source, span.place, texts)]
        if not inner:
            break
        for i in inner:
            choices[i] = {p: c for p, c in choices[i].items() if not _inside_longer(source, p, texts)}
        chosen, more = _assign(names, choices)
        approximate = approximate or more
    spans: list[Span | None] = [None] * len(entities)
    for i, span in _in_order(entities, names, chosen):
        spans[i] = replace(span, label=entities[i].label)
    if min_score <= VERBATIM:
        _take_verbatim(source, entities, words, spans)
    repeats: list[tuple[int, Span]] = []
    if mentions == "all":
        repeats = _repeats(source, words, spans)
        taken = [span for span in spans if span] + [span for _, span in repeats]
        repeats += [(i, g) for i, g in _glosses(source, spans, repeats) if not any(map(g.overlaps, taken))]
        repeats = [(i, span) for i, span in repeats if span.score >= min_score]
    return Resolved(spans, sorted(repeats, key=lambda repeat: repeat[1]), approximate)


# --- Assignment --------------------------------------------------------------


def _choices(source: Text, options: Options, min_score: float) -> _Choices:
    """What one entity can take."""
    choices: _Choices = {}
    none = math.log(max(options.none, 1e-9) if options.none else NONE)
    for order, span in enumerate(options.spans):
        if span.score < max(min_score, 1e-9):
            continue
        # Of equal options the free one, then the earlier one.
        tie = FREE * stands_free(source, span) - EARLIER * order
        worth = math.log(span.score) - none + tie
        if worth > 0 and (span.place not in choices or worth > choices[span.place][0]):
            choices[span.place] = worth, span
    return choices


def _assign(names: Sequence[str], options: Sequence[_Choices]) -> tuple[dict[int, Span], bool]:
    """Give entities spans that do not overlap, for the highest total worth.

    An integer program: one variable per option, at most one option per entity, at most one over any
    character. It is enough to look at the characters where an option starts: overlapping options share one.

    A repeated mention has one option more, without a span, for hardly less than its best one is worth: so
    it takes a second occurrence of its name where there is one, and no other name's span where there is none.

    RETURNS (Tuple[Dict[int, Span], bool]): By entity; and whether it is approximate.
    """
    choices = [(entity, place) for entity, places in enumerate(options) for place in sorted(places)]
    if not choices:
        return {}, False
    best = {
        entity: max(places.values(), key=lambda choice: choice[0])[1]
        for entity, places in enumerate(options)
        if places
    }
    if len(set(names)) == len(names) and _are_apart(span.place for span in best.values()):
        return best, False
    starts = sorted({start for _, (start, _) in choices})
    rows, columns = [], []
    for column, (entity, (start, end)) in enumerate(choices):
        covered = range(bisect_left(starts, start), bisect_left(starts, end))
        rows += [entity, *(len(options) + row for row in covered)]
        columns += [column] * (1 + len(covered))
    worth = [options[entity][place][0] for entity, place in choices]
    for entity, name in enumerate(names):
        if name in names[:entity] and options[entity]:
            rows.append(entity)
            columns.append(len(worth))
            worth.append(max(value for value, _ in options[entity].values()) - SHARED)
    shape = len(options) + len(starts), len(worth)
    one_each = LinearConstraint(csr_array((numpy.ones(len(rows)), (rows, columns)), shape=shape), ub=1)
    solution = milp(
        -numpy.array(worth),
        integrality=numpy.ones(len(worth)),
        bounds=(0, 1),
        constraints=one_each,
        options={"mip_rel_gap": 0.0, "node_limit": MAX_NODES, "time_limit": MAX_SECONDS},
    )
    if solution.x is None:
        return _assign_greedily(options), True
    taken = [choice for choice, x in zip(choices, solution.x, strict=False) if x > 0.5]
    return {entity: options[entity][place][1] for entity, place in taken}, not solution.success


def _assign_greedily(options: Sequence[_Choices]) -> dict[int, Span]:
    """The options worth most first, each where it overlaps none before it."""
    ranked = sorted(
        ((worth, entity, span) for entity, places in enumerate(options) for worth, span in places.values()),
        key=lambda option: (-option[0], option[1], option[2]),
    )
    chosen: dict[int, Span] = {}
    for _, entity, span in ranked:
        if entity not in chosen and not any(map(span.overlaps, chosen.values())):
            chosen[entity] = span
    return chosen


def _are_apart(places: Iterable[_Place]) -> bool:
    """Whether no two places overlap."""
    return all(end <= start for (_, end), (start, _) in pairwise(sorted(places)))


def _inside_longer(source: Text, place: _Place, texts: Iterable[str]) -> bool:
    """Whether a place lies in an occurrence of a longer one of some texts."""
    start, end = place
    return any(
        len(text) > end - start and source.string.find(text, max(0, end - len(text)), start + len(text)) >= 0
        for text in texts
    )


def _in_order(
    entities: Sequence[Span], names: Sequence[str], chosen: dict[int, Span]
) -> Iterator[tuple[int, Span]]:
    """Give the mentions of one name its spans in the order of both texts."""
    groups: dict[str, list[int]] = {}
    for i in sorted(range(len(entities)), key=lambda i: (entities[i].start_char, i)):
        groups.setdefault(names[i], []).append(i)
    for group in groups.values():
        yield from zip(group, sorted(chosen[i] for i in group if i in chosen), strict=False)


# --- What is not asked for ---------------------------------------------------


def _take_verbatim(
    source: Text, entities: Sequence[Span], words: Sequence[str], spans: list[Span | None]
) -> None:
    """Give entities without a place the one where their English stands as it is."""
    for i, word in enumerate(words):
        if spans[i] is None:
            taken = [span for span in spans if span]
            for span in find_exact(source, word):
                if not any(map(span.overlaps, taken)):
                    spans[i] = replace(span, label=entities[i].label, score=VERBATIM)
                    break


def _repeats(source: Text, words: Sequence[str], spans: Sequence[Span | None]) -> list[tuple[int, Span]]:
    """Further occurrences of placed names and of their English, longer ones first."""
    placed = [(i, span) for i, span in enumerate(spans) if span]
    taken = sorted(span.place for _, span in placed)
    repeats: list[tuple[int, Span]] = []
    seen: set[str] = set()
    texts = [(source[span], i, span) for i, span in placed] + [(words[i], i, span) for i, span in placed]
    for text, i, span in sorted(texts, key=lambda t: (-len(t[0]), -t[2].score, t[2].start_char)):
        if text in seen:
            continue
        seen.add(text)
        for free in free_occurrences(source, text):
            k = bisect_left(taken, free.place)
            if (k and taken[k - 1][1] > free.start_char) or (k < len(taken) and taken[k][0] < free.end_char):
                continue
            repeats.append((i, replace(free, label=span.label, score=span.score * REPEAT)))
            taken.insert(k, free.place)
    return repeats


def _glosses(
    source: Text, spans: Sequence[Span | None], repeats: Sequence[tuple[int, Span]]
) -> Iterator[tuple[int, Span]]:
    """Names in Latin letters that stand in brackets right after a placed name: 安迪（Andy）."""
    for i, span in [*((i, span) for i, span in enumerate(spans) if span), *repeats]:
        gloss = gloss_after(source, span)
        if gloss:
            yield i, replace(gloss, score=span.score * REPEAT)
