"""From an LLM's answers to offsets of the source text.

`align` chooses jointly for all entities of a sentence among the places that `locate` finds, `select` keeps
the best spans that do not overlap. Pure functions: no LLM, no spaCy.
"""

import math
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from operator import attrgetter
from typing import Literal, cast

import numpy
from scipy.optimize import LinearConstraint, milp
from scipy.sparse import csr_array

from ..text.folding import fold
from ..types import Alignment, AlignmentStatus, Candidate, EnglishEntity, Span, Text
from .locate import apart, complete, find, fit, free_occurrences, gloss_after, stands_free

# How much an exact, variant or fuzzy match is worth; fuzzy times its similarity.
_QUALITY: dict[str, float] = {"exact": 1.0, "variant": 0.95, "fuzzy": 0.9}
# What a further, unmentioned occurrence keeps of its name's score: in gold
# Chinese and Japanese data 94 % of those outside longer names are entities.
_REPEAT = 0.94
# An answer without a log-probability counts half of the one before it.
_RANK = math.log(0.5)
# Of the log-probabilities that scores are made from: the tuned LLM is surer than it is right. On held-out
# alignments the expected calibration error is lowest at 1.5 for Chinese and at 2.0 for Japanese.
_TEMPERATURE = 1.7
# What the English name itself is worth where it stands in the source: less than
# any answer that is better than none, as it is a gloss then.
_VERBATIM, _VERBATIM_SCORE = 0.1, 0.9
# Worth (nats) that decides between options that are otherwise equal: a span
# that stands free, each character of a span, each occurrence earlier; and what
# sharing a span costs a repeated mention. Far less than any real difference.
_FREE, _LONGER, _EARLIER, _SHARED = 1e-3, 1e-4, 1e-5, 1e-2

_MAX_ROUNDS = 4  # of assignment, to move names out of longer ones
_MAX_NODES, _MAX_SECONDS = 32, 1.0  # of one assignment; one node and some milliseconds are the rule


def align(
    source: Text,
    entities: Sequence[EnglishEntity],
    answers: Sequence[Sequence[Candidate]],
    *,
    mentions: Literal["all", "aligned"] = "all",
    min_similarity: float = 0.8,
    min_score: float = 0.0,
    none_logprob: float = -10.0,
) -> list[Alignment]:
    """Choose the source spans of all English entities of a sentence together.

    Every (entity, candidate, match) is an option, worth the candidate's
    log-probability plus the logarithm of the match's quality, above
    `none_logprob`. Of all ways to give each entity one option or none, such
    that no two spans overlap, the one worth most is taken (an integer program,
    solved exactly unless it is monstrous). So two names do not share a span, and a name is not found
    inside a longer one (京都 in 東京都), nor where that occurs again. Mentions of
    one English name take its source occurrences in order; a mention too many
    stays without a span and does not take another name's.

    An option's score is the share of its candidate among all candidates of
    the entity and none (softmax), times the match's quality: exact 1.0,
    variant 0.95, fuzzy 0.9 × similarity. Without log-probabilities the first
    candidate's share counts as 1.0, each further one's as half of the last.

    source (Text): The source text.
    entities (Sequence[EnglishEntity]): The English entities, in any order.
    answers (Sequence[Sequence[Candidate]]): For each entity its candidates,
        best first. An empty text is the answer "none"; its log-probability
        takes the place of `none_logprob` where it is higher.
    mentions (Literal["all", "aligned"]): "all" adds further occurrences of an
        aligned span's text, and of the English name as it stands, where they
        stand free: longer than a character, not within a longer name, not (in
        Japanese) right after a Han character. And the name in Latin letters
        that stands in brackets after a span, 安迪（Andy）.
    min_similarity (float): Least similarity of a fuzzy match.
    min_score (float): Options with a lower score are dropped, 0.0 to 1.0.
    none_logprob (float): Log-probability (nats) that an option must exceed.
    RETURNS (List[Alignment]): Sorted by start; none overlaps another. An
        entity without one is unaligned.
    """
    if len(entities) != len(answers):
        raise ValueError(f"{len(entities)} entities, but answers for {len(answers)}")
    found: dict[str, list[Span]] = {}
    limit = min(len(entities) + 4, 32)  # occurrences of an answer: more are hardly needed
    options: list[dict[tuple[int, int], _Option]] = []
    for entity, candidates in zip(entities, answers, strict=True):
        for text in {candidate.text for candidate in candidates} - found.keys():
            found[text] = find(source, text, min_similarity=min_similarity)
        options.append(_options(source, entity.text, candidates, found, none_logprob, min_score, limit))
    names = [_name(entity) for entity in entities]
    chosen = _assign(names, options)
    for _ in range(_MAX_ROUNDS):
        texts = {source.string[start:end] for (start, end), _ in chosen.values()}
        inner = [i for i, (span, _) in chosen.items() if _inside_longer(source.string, span, texts)]
        if not inner:
            break
        for i in inner:
            options[i] = {s: o for s, o in options[i].items() if not _inside_longer(source.string, s, texts)}
        chosen = _assign(names, options)
    aligned = [
        Alignment(start, end, option.status, option.score, entity)
        for entity, (start, end), option in _in_order(entities, chosen)
    ]
    if mentions == "all":
        aligned += _repeats(source, entities, aligned)
        taken = {char for a in aligned for char in range(a.start, a.end)}
        aligned += [g for g in _glosses(source, aligned) if taken.isdisjoint(range(g.start, g.end))]
    return sorted(aligned, key=lambda alignment: (alignment.start, alignment.end))


def select(alignments: Sequence[Alignment]) -> list[Alignment]:
    """Keep the alignments of the highest total score that do not overlap.

    Weighted interval scheduling. Among equals the longer span wins, then the
    one that was mentioned, then the earlier one.

    alignments (Sequence[Alignment]): In any order, of one source.
    RETURNS (List[Alignment]): Sorted by start.
    """
    ordered = sorted(
        (alignment for alignment in alignments if alignment.start < alignment.end),
        key=lambda a: (a.end, a.start, a.entity, not a.mentioned),
    )
    ends = [alignment.end for alignment in ordered]
    # best[i]: (score, characters, mentioned) and choice over the first i alignments
    best: list[tuple[float, int, int]] = [(0.0, 0, 0)]
    taken: list[int | None] = [None]
    for i, alignment in enumerate(ordered):
        before = bisect_right(ends, alignment.start, hi=i)
        score, size, mentioned = best[before]
        gain = (
            round(score + alignment.score, 9),
            size + alignment.end - alignment.start,
            mentioned + alignment.mentioned,
        )
        better = gain > best[i]
        best.append(gain if better else best[i])
        taken.append(before if better else None)
    kept = []
    i = len(ordered)
    while i:
        before_i = taken[i]
        if before_i is None:
            i -= 1
        else:
            kept.append(ordered[i - 1])
            i = before_i
    return kept[::-1]


# --- Assignment ------------------------------------------------------------

_Place = tuple[int, int]


@dataclass(frozen=True)
class _Option:
    """A span an entity can take: what it is worth above none, in nats."""

    worth: float
    score: float
    status: AlignmentStatus


def _name(entity: EnglishEntity) -> str:
    """What is the same for two spellings of one name (Benoît, Benoit)."""
    return fold(entity.text).text or entity.text


def _options(
    source: Text,
    english: str,
    candidates: Sequence[Candidate],
    found: dict[str, list[Span]],
    none_logprob: float,
    min_score: float,
    limit: int,
) -> dict[_Place, _Option]:
    """What one entity can take, the best option for each span."""
    texts: dict[str, float] = {}
    told = False
    for rank, candidate in enumerate(candidates):
        if candidate.logprob is None:
            logprob = rank * _RANK
        elif math.isnan(candidate.logprob):
            continue
        else:
            told = True
            logprob = max(-1e3, min(1e3, candidate.logprob))
        if not candidate.text.strip():
            none_logprob = max(none_logprob, logprob) if candidate.logprob is not None else none_logprob
        else:
            texts[candidate.text] = max(logprob, texts.get(candidate.text, -math.inf))
    options: dict[_Place, _Option] = {}
    if min_score <= _VERBATIM_SCORE:
        for span in find(source, english, min_similarity=2.0)[:limit]:
            if span.origin == "exact":
                options[span.place] = _Option(_VERBATIM, _VERBATIM_SCORE, "exact")
    if not texts:
        return options
    places = {
        text: [
            (span, fit(source, span, english))
            for span in (complete(source, english, span) for span in found[text][:limit])
        ]
        for text in texts
    }
    logprobs = {
        text: logprob + max((fits for _, fits in places[text]), default=0.0)
        for text, logprob in texts.items()
    }
    top = max(none_logprob, *logprobs.values())
    total = sum(math.exp((logprob - top) / _TEMPERATURE) for logprob in (none_logprob, *logprobs.values()))
    for text, logprob in texts.items():
        share = math.exp((logprobs[text] - top) / _TEMPERATURE) / total if told else math.exp(logprob)
        for order, (span, fits) in enumerate(places[text]):
            quality = _QUALITY[span.origin] * (span.score if span.origin == "fuzzy" else 1.0)
            # Of equal options the free one, then the longer one, then the earlier one.
            tie = _FREE * stands_free(source, span)
            tie += _LONGER * (span.end_char - span.start_char) - _EARLIER * order
            worth = logprob + fits - none_logprob + math.log(quality) + tie
            option = _Option(worth, share * quality, cast(AlignmentStatus, span.origin))
            if (
                span.place in options and options[span.place].worth != _VERBATIM
            ):  # another answer that means the same
                best = max(option, options[span.place], key=attrgetter("worth"))
                option = replace(best, score=min(1.0, option.score + options[span.place].score))
            options[span.place] = option
    return {
        span: option for span, option in options.items() if option.worth > 0 and option.score >= min_score
    }


def _assign(
    names: Sequence[str], options: Sequence[dict[_Place, _Option]]
) -> dict[int, tuple[_Place, _Option]]:
    """Give entities spans that do not overlap, for the highest total worth.

    An integer program: one variable per option, at most one option per entity,
    at most one over any character. It is enough to look at the characters
    where an option starts: overlapping options share one of them.

    A repeated mention has one option more, without a span, for hardly less
    than its best one is worth: so it takes a second occurrence of its name
    where there is one, and no other name's span where there is none.
    """
    choices = [(entity, span) for entity, spans in enumerate(options) for span in sorted(spans)]
    if not choices:
        return {}
    best = {
        entity: max(spans.items(), key=lambda choice: choice[1].worth)
        for entity, spans in enumerate(options)
        if spans
    }
    if len(set(names)) == len(names) and _are_apart(span for span, _ in best.values()):
        return best
    starts = sorted({start for _, (start, _) in choices})
    rows, columns = [], []
    for column, (entity, (start, end)) in enumerate(choices):
        covered = range(bisect_left(starts, start), bisect_left(starts, end))
        rows += [entity, *(len(options) + row for row in covered)]
        columns += [column] * (1 + len(covered))
    worth = [options[entity][span].worth for entity, span in choices]
    for entity, name in enumerate(names):
        if name in names[:entity] and options[entity]:
            rows.append(entity)
            columns.append(len(worth))
            worth.append(max(option.worth for option in options[entity].values()) - _SHARED)
    shape = len(options) + len(starts), len(worth)
    one_each = LinearConstraint(csr_array((numpy.ones(len(rows)), (rows, columns)), shape=shape), ub=1)
    solution = milp(
        -numpy.array(worth),
        integrality=numpy.ones(len(worth)),
        bounds=(0, 1),
        constraints=one_each,
        options={"mip_rel_gap": 0.0, "node_limit": _MAX_NODES, "time_limit": _MAX_SECONDS},
    )
    taken = [] if solution.x is None else [c for c, x in zip(choices, solution.x, strict=False) if x > 0.5]
    return {entity: (span, options[entity][span]) for entity, span in taken}


def _are_apart(spans: Iterable[_Place]) -> bool:
    """Whether no two spans overlap."""
    return all(end <= start for (_, end), (start, _) in pairwise(sorted(spans)))


def _inside_longer(source: str, span: _Place, texts: Iterable[str]) -> bool:
    """Whether a span lies in an occurrence of a longer one of some texts."""
    start, end = span
    return any(
        len(text) > end - start and source.find(text, max(0, end - len(text)), start + len(text)) >= 0
        for text in texts
    )


def _in_order(
    entities: Sequence[EnglishEntity], chosen: dict[int, tuple[_Place, _Option]]
) -> Iterator[tuple[int, _Place, _Option]]:
    """Give the mentions of one name its spans in the order of both texts."""
    groups: dict[str, list[int]] = {}
    for i in sorted(range(len(entities)), key=lambda i: (entities[i].start_char, i)):
        groups.setdefault(_name(entities[i]), []).append(i)
    for group in groups.values():
        spans = sorted(chosen[i] for i in group if i in chosen)
        for i, (span, option) in zip(group, spans, strict=False):
            yield i, span, option


def _glosses(source: Text, aligned: Sequence[Alignment]) -> list[Alignment]:
    """Names in Latin letters that stand in brackets right after a name in others."""
    glosses = []
    for alignment in aligned:
        span = gloss_after(source, Span(alignment.start, alignment.end))
        if span:
            glosses.append(_again(alignment, span.place))
    return glosses


def _repeats(
    source: Text, entities: Sequence[EnglishEntity], aligned: Sequence[Alignment]
) -> list[Alignment]:
    """Further occurrences of aligned spans' texts and of their English, longer texts first."""
    taken = sorted((a.start, a.end) for a in aligned)
    repeats: list[Alignment] = []
    seen: set[str] = set()
    texts = [(source.string[a.start : a.end], a) for a in aligned] + [
        (entities[a.entity].text, a) for a in aligned
    ]
    for text, alignment in sorted(texts, key=lambda ta: (-len(ta[0]), -ta[1].score, ta[1].start)):
        if text in seen:
            continue
        seen.add(text)
        free = []
        for span in free_occurrences(source, text):
            i = bisect_left(taken, span.place)
            if not (
                (i and taken[i - 1][1] > span.start_char) or (i < len(taken) and taken[i][0] < span.end_char)
            ):
                free.append(span.place)
        repeats += [_again(alignment, place) for place in apart(free)]
        taken = sorted([*taken, *apart(free)])
    return repeats


def _again(alignment: Alignment, place: _Place) -> Alignment:
    """A further occurrence of an aligned name."""
    return replace(alignment, start=place[0], end=place[1], score=alignment.score * _REPEAT, mentioned=False)
