"""Where a pair of markers goes in a given text: branch and bound over their places. No engine here.

Constrained decoding for label projection (CODEC; Le, Chen, Ritter and Xu, ICLR 2024, arXiv 2402.03131): the
text itself is forced, token by token, and only the markers are free. What is forced is known, so many tokens
are read in one step, where the paper decodes one after the other.
"""

import heapq
import math
from bisect import bisect_left
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain
from typing import NamedTuple

import numpy as np

from .decoding import Question, SpanSearch, TokenTree

OPENINGS = 12  # places of the opening marker that are followed
COMPLETED = 8  # pairs of places at most for which the rest of the text is read
LEAD = 6.0  # nats below the best pair at which a pair is not read to its end

Row = tuple[Question, int, list[int]]
Steps = Generator[list[Row], list[list[float]], None]


class Pair(NamedTuple):
    """A text with a pair of markers.

    start, end (Optional[int]): Characters between them, None for the text without markers.
    logprob (float): Of the whole text with them (nats).
    """

    start: int | None
    end: int | None
    logprob: float


@dataclass
class ForcedText:
    """A text, in tokens, with a pair of markers that stand somewhere.

    marked, plain (List[int]): The prompts for the text with markers, and for the one without.
    head (Optional[TokenTree]): What both begin with, computed.
    whole (Sequence[int]): The text to its end.
    ends (Sequence[int]): By token, the character of the text where it ends.
    before (Mapping[int, Sequence[int]]): By character where a name may begin: the tokens up to there.
    opening (Mapping[int, Sequence[int]]): By the same: the marker.
    names (Callable[[int], Mapping[int, Sequence[int]]]): For a beginning, by the character where the name
        ends: its tokens.
    closing (Sequence[int]): The marker.
    after (Mapping[int, Sequence[int]]): By character where a name may end: the rest of the text.
    vocabulary (Optional[ndarray]): As in `Question`.
    """

    marked: list[int]
    plain: list[int]
    head: TokenTree | None
    whole: Sequence[int]
    ends: Sequence[int]
    before: Mapping[int, Sequence[int]]
    opening: Mapping[int, Sequence[int]]
    names: Callable[[int], Mapping[int, Sequence[int]]]
    closing: Sequence[int]
    after: Mapping[int, Sequence[int]]
    vocabulary: np.ndarray | None = None
    pairs: list[Pair] = field(default_factory=list)

    @property
    def size(self) -> int:
        """RETURNS (int): Tokens of the prompt."""
        return len(self.marked)

    def restart(self) -> None:
        """Forget what was found."""
        self.pairs = []


class Reading:
    """Texts that a model is made to read after a prompt, on one tree, and what it thinks of their tokens."""

    def __init__(self, prompt: list[int], head: TokenTree | None, vocabulary: np.ndarray | None) -> None:
        self.tree = TokenTree(prompt[:-1], head)
        self._question = Question(self.tree, (), {}, vocabulary=vocabulary)
        self.root = self.tree.branch(prompt[-1:], self.tree.trunk - 1)
        self._computed = self.root
        self._parents = {self.root: self.tree.trunk - 1}
        self._places: dict[tuple[int, int], int] = {}
        self._wanted: dict[int, dict[int, None]] = {}
        self.logprobs: dict[tuple[int, int], float] = {}

    def read(self, tokens: Iterable[int], place: int, then: Iterable[int] = ()) -> int:
        """Have tokens read with the next `compute`.

        tokens (Iterable[int]): A text.
        place (int): What it follows.
        then (Iterable[int]): Tokens that may follow the text. What is not told now is read again for them.
        RETURNS (int): The place of the last token.
        """
        for token in tokens:
            self._ask(place, token)
            key = place, token
            if key not in self._places:
                self._places[key] = self.tree.branch([token], place)
                self._parents[self._places[key]] = place
            place = self._places[key]
        for token in then:
            self._ask(place, token)
        return place

    def _ask(self, place: int, token: int) -> None:
        if (place, token) not in self.logprobs:
            self._wanted.setdefault(place, {})[token] = None

    def _at_hand(self, place: int) -> int:
        """RETURNS (int): A place that is the same and not computed yet."""
        if place >= self._computed:
            return place
        return self.tree.branch([self.tree.tokens[place]], self._parents[place])

    def compute(self) -> Steps:
        """Read what is to be read. YIELDS (List[Row]): What is asked of the model; the log-probabilities are
        to be sent."""
        wanted, self._wanted = self._wanted, {}
        results = yield [(self._question, self._at_hand(place), list(own)) for place, own in wanted.items()]
        self._computed = len(self.tree) if wanted else self._computed
        for (place, tokens), logprobs in zip(wanted.items(), results, strict=True):
            for token, logprob in zip(tokens, logprobs, strict=True):
                self.logprobs[place, token] = logprob

    def each(self, tokens: Iterable[int]) -> np.ndarray:
        """RETURNS (ndarray): Log-probabilities (nats) of tokens right after the prompt."""
        place, found = self.root, []
        for token in tokens:
            found.append(self.logprobs[place, token])
            place = self._places.get((place, token), -1)
        return np.array(found)

    def score(self, tokens: Iterable[int], place: int) -> tuple[float, int]:
        """RETURNS (Tuple[float, int]): Log-probability (nats) of tokens after a place, and the last one's
        place."""
        total = 0.0
        for token in tokens:
            total += self.logprobs[place, token]
            place = self._places.get((place, token), -1)
        return total, place


def place_markers(search: SpanSearch, texts: Iterable[ForcedText]) -> Iterator[list[Pair]]:
    """Place a pair of markers in each of some texts.

    texts (Iterable[ForcedText]): The texts.
    YIELDS (List[Pair]): For each text, in order, the best pairs of places, best first; and the text without
        markers. Empty if there is none that the model holds possible.
    """
    batch: list[ForcedText] = []
    tokens = 0
    for text in texts:
        more = 2 * (len(text.marked) + len(text.whole))
        if batch and (len(batch) >= search.batch_size or tokens + more > search.max_tokens):
            yield from _place(search, batch)
            batch, tokens = [], 0
        batch.append(text)
        tokens += more
    yield from _place(search, batch)


def _place(search: SpanSearch, texts: Sequence[ForcedText]) -> Iterator[list[Pair]]:
    going = [(steps, next(steps)) for steps in map(_steps, texts)]
    while going:
        results = iter(search.next_logprobs(list(chain.from_iterable(rows for _, rows in going))))
        following = []
        for steps, rows in going:
            with suppress(StopIteration):
                following.append((steps, steps.send([next(results) for _ in rows])))
        going = following
    for text in texts:
        yield sorted(text.pairs, key=lambda pair: -pair.logprob)


def _steps(text: ForcedText) -> Steps:
    """Find the pairs of a text.

    1. Read it without markers, after both prompts. What follows a marker is about as likely as after the
       prompt without one: that is the estimate of the rest, here and below.
    2. Read the names that begin where the opening marker has the highest log-probability with what is before
       it and the estimate of the rest, each to where it may end.
    3. Read the rest behind the closing marker, for the pair with the highest estimate first. A pair whose
       estimate is `LEAD` below the best whole text is given up.
    """
    marked = Reading(text.marked, text.head, text.vocabulary)
    plain = Reading(text.plain, text.head, text.vocabulary)
    for reading in (marked, plain):
        reading.read(text.whole, reading.root)
    for start, tokens in text.before.items():
        marked.read(tokens, marked.root, then=text.opening[start][:1])
    yield from _together(marked, plain)
    with_, without = marked.each(text.whole), plain.each(text.whole)
    text.pairs.append(Pair(None, None, float(with_.sum())))
    sums = np.append(without[::-1].cumsum()[::-1], 0.0)  # of the rest, by token
    starts = [0, *text.ends[:-1]]
    heads = {start: marked.score(tokens, marked.root) for start, tokens in text.before.items()}

    def opened_at(start: int) -> float:
        before, place = heads[start]
        rest = float(sums[bisect_left(starts, start)])
        return before + marked.logprobs[place, text.opening[start][0]] + rest

    openings = heapq.nlargest(OPENINGS, text.before, key=opened_at)
    names = {start: text.names(start) for start in openings}
    for start in openings:
        opened = marked.read(text.opening[start], heads[start][1])
        for tokens in names[start].values():
            marked.read(tokens, opened, then=text.closing[:1])
    yield from marked.compute()

    heap: list[tuple[float, int, int, float, int]] = []
    for start in openings:
        before, place = heads[start]
        open_, opened = marked.score(text.opening[start], place)
        for end, tokens in names[start].items():
            inside, place = marked.score(tokens, opened)
            score = before + open_ + inside
            rest = float(sums[bisect_left(starts, end)])
            bound = score + marked.logprobs[place, text.closing[0]] + rest
            if bound > -math.inf:
                heapq.heappush(heap, (-bound, start, end, score, place))
    best = -math.inf
    for _ in range(COMPLETED):
        if not heap or -heap[0][0] < best - LEAD:
            break
        _, start, end, score, place = heapq.heappop(heap)
        tokens = [*text.closing, *text.after[end]]
        marked.read(tokens, place)
        yield from marked.compute()
        whole = score + marked.score(tokens, place)[0]
        best = max(best, whole)
        if whole > -math.inf:
            text.pairs.append(Pair(start, end, whole))


def _together(*readings: Reading) -> Steps:
    """Read on several trees in one step."""
    steps = [reading.compute() for reading in readings]
    rows = [next(step) for step in steps]
    results = iter((yield list(chain.from_iterable(rows))))
    for step, own in zip(steps, rows, strict=True):
        with suppress(StopIteration):
            step.send([next(results) for _ in own])
