"""Trees of tokens, and beam search on them for answers among given ones. No engine here.

A prompt is a trunk; the names asked for in it, and the hypotheses of a beam search, are branches. So what
prompts have in common is computed once.
"""

import heapq
import math
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from operator import itemgetter
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np

if TYPE_CHECKING:  # takes seconds to import
    import torch

LOOP_TOKENS, LOOP_TIMES = 16, 3  # what fills so many tokens, repeated so often, would never end
NEAR = 2.5  # nats below the best answer within which answers are checked
MARGIN = 15.0  # nats below the best answer at which a hypothesis is given up


class TokenTree:
    """A tree of tokens, with the keys and values of those computed so far.

    A token is known by its index, in the order of insertion. The first ones are
    the trunk.

    tokens (List[int]): Their ids.
    depths (List[int]): How many tokens stand above each.
    trunk (int): How many tokens the trunk has.
    computed (int): How many tokens the engine has computed.
    memory (Dict[int, Tensor]): By layer, their keys and values, where the engine keeps them here: shape
        (2, heads, capacity, head size).
    """

    def __init__(self, trunk: Sequence[int], head: "TokenTree | None" = None) -> None:
        """
        trunk (Sequence[int]): The tokens of the trunk.
        head (Optional[TokenTree]): A computed tree without branches that this
            one begins with. What it has computed is taken over.
        """
        self.tokens: list[int] = []
        self.depths: list[int] = []
        self.trunk = 0
        self.computed = 0
        self._visible = np.zeros((0, 0), dtype=bool)  # which branch tokens a branch token sees
        self.memory: dict[int, torch.Tensor] = {}
        self.extend(trunk)
        self._start = self.trunk
        if head is not None:
            self.computed = head.computed
            # Without room for more, so that the first step copies it.
            self.memory = {layer: full[..., : head.computed, :] for layer, full in head.memory.items()}

    def __len__(self) -> int:
        return len(self.tokens)

    def extend(self, tokens: Sequence[int]) -> None:
        """Add tokens to the trunk of a tree that has no branches."""
        self.depths.extend(range(len(self.tokens), len(self.tokens) + len(tokens)))
        self.tokens.extend(tokens)
        self.trunk = len(self.tokens)

    def branch(self, tokens: Sequence[int], parent: int) -> int:
        """Add tokens, each one below the one before.

        tokens (Sequence[int]): Their ids.
        parent (int): Index of the token above the first: the trunk's last, or
            any of a branch.
        RETURNS (int): Index of the last one.
        """
        for token in tokens:
            row = len(self.tokens) - self.trunk
            if row >= len(self._visible):
                grown = np.zeros((2 * row + 32,) * 2, dtype=bool)
                grown[:row, :row] = self._visible[:row, :row]
                self._visible = grown
            if parent >= self.trunk:
                self._visible[row] = self._visible[parent - self.trunk]
            self._visible[row, row] = True
            self.depths.append(self.depths[parent] + 1)
            self.tokens.append(token)
            parent = len(self.tokens) - 1
        return parent

    def path(self, place: int) -> list[int]:
        """RETURNS (List[int]): The ids of a branch's token and of all above it."""
        row = self._visible[place - self.trunk, : len(self) - self.trunk] if place >= self.trunk else ()
        return self.tokens[: self.trunk] + [self.tokens[self.trunk + i] for i in np.flatnonzero(row)]

    def visible(self, window: int | None = None) -> np.ndarray:
        """What each new token sees: all above it, and itself.

        window (Optional[int]): It sees only so many, the nearest.
        RETURNS (ndarray): Booleans, shape (new tokens, all tokens).
        """
        start, end, trunk = self.computed, len(self.tokens), self.trunk
        seen = np.tri(end - start, end, start, dtype=bool)
        first = max(start, trunk)
        seen[first - start :, trunk:] = self._visible[first - trunk : end - trunk, : end - trunk]
        if window is not None:
            depths = np.asarray(self.depths)
            seen &= depths[start:, None] - depths[None, :] < window
        return seen

    def settle(self) -> None:
        """Keep what has grown up to now, also after a `restart`."""
        self._start = self.trunk

    def restart(self) -> None:
        """Forget what has grown on the tree since it was made or settled, and all that was computed."""
        del self.tokens[self._start :], self.depths[self._start :]
        self.trunk = self._start
        self.computed = 0
        self._visible = np.zeros((0, 0), dtype=bool)
        self.memory = {}

    def store(self, layer: int, keys: "torch.Tensor", values: "torch.Tensor") -> "torch.Tensor":
        """Keep the keys and values that a layer has for the new tokens.

        layer (int): Which one.
        keys, values (Tensor): Shape (heads, new tokens, head size).
        RETURNS (Tensor): Those of all tokens, shape (2, heads, tokens, head size).
        """
        heads, _, size = keys.shape
        memory, start, end = self.memory.get(layer), self.computed, len(self.tokens)
        if memory is None or memory.shape[-2] < end:
            grown = keys.new_empty((2, heads, end + end // 4 + 32, size))
            if memory is not None:
                grown[..., :start, :] = memory[..., :start, :]
            self.memory[layer] = memory = grown
        memory[0, :, start:end] = keys
        memory[1, :, start:end] = values
        return memory[..., :end, :]


@dataclass
class Answers:
    """A node of the trie of answers, by their tokens.

    children (Dict[int, Answers]): By the next token.
    answer (Optional[str]): The answer that is complete here.
    """

    children: dict[int, "Answers"] = field(default_factory=dict)
    answer: str | None = None

    @classmethod
    def of(cls, answers: Iterable[tuple[str, Sequence[int]]]) -> "Answers":
        """RETURNS (Answers): The root for these answers and their tokens."""
        root = cls()
        for answer, tokens in answers:
            node = root
            for token in tokens:
                node = node.children.setdefault(token, cls())
            node.answer = answer
        return root


Check = Callable[[int, str], tuple[Sequence[int], Sequence[int]] | None]


@dataclass
class Question:
    """A prompt with all the names asked for in it, for `SpanSearch.choose`.

    trunk (TokenTree): What all its prompts begin with.
    names (Sequence[Sequence[int]]): Per name the tokens that follow.
    answers (Mapping[str, Sequence[int]]): What may be answered, with its tokens.
    check (Optional[Check]): The same asked the other way round: for the number of a
        name and an answer the tokens that follow the trunk, and those that
        should follow them; None for an answer that cannot be checked.
    vocabulary (Optional[ndarray]): Ids of the tokens that probabilities are shared among, ascending, with all
        tokens of the answers. None: the whole vocabulary. An engine may take the whole one all the same.
    """

    trunk: TokenTree
    names: Sequence[Sequence[int]]
    answers: Mapping[str, Sequence[int]]
    check: Check | None = None
    vocabulary: np.ndarray | None = None

    def __post_init__(self) -> None:
        # Before anything grows on the trunk.
        self.size = len(self.trunk) + sum(map(len, self.names))

    def restart(self) -> None:
        """Forget what has grown on the trunk."""
        self.trunk.restart()


def split_shared(prompts: Sequence[list[int]]) -> tuple[list[int], list[list[int]]]:
    """What prompts begin with alike, and the rest of each.

    prompts (Sequence[List[int]]): Their tokens, at least one each.
    RETURNS (Tuple[List[int], List[List[int]]]): The tokens they share, and those of
        each by itself: at least one, even if all are the same.
    """
    shortest = min(map(len, prompts)) - 1
    shared = next((i for i in range(shortest) if len({p[i] for p in prompts}) > 1), shortest)
    return prompts[0][:shared], [prompt[shared:] for prompt in prompts]


@dataclass
class Search:
    """The beam search for one name.

    live (List[Tuple[float, int, Answers]]): Hypotheses: their log-probability,
        last token in the tree, and place in the trie.
    found (Dict[str, float]): Complete answers and their log-probabilities.
    """

    question: Question
    live: list[tuple[float, int, Answers]]
    found: dict[str, float] = field(default_factory=dict)


class SpanSearch(ABC):
    """Beam search for answers among the words of a source, whatever engine
    knows the probabilities.

    beam_width (int): Hypotheses kept, and answers found, for each name.
    margin (float): A hypothesis is given up when it is so many nats below
        the best answer.
    batch_size (int): Names searched for at once.
    max_tokens (int): About the most tokens computed in one step.
    """

    def __init__(self, *, beam_width: int, margin: float, batch_size: int, max_tokens: int) -> None:
        self.beam_width = beam_width
        self.margin = margin
        self.batch_size = batch_size
        self.max_tokens = max_tokens

    @abstractmethod
    def next_logprobs(self, wanted: Sequence[tuple[Question, int, list[int]]]) -> list[list[float]]:
        """Log-probabilities of next tokens.

        wanted (Sequence[Tuple[Question, int, List[int]]]): A question, one of
            the new tokens of its tree, and the ids of those that may follow it.
        RETURNS (List[List[float]]): In nats.
        """

    def choose(
        self, questions: Iterable[Question], check_weight: float = 0.0
    ) -> Iterator[list[list[tuple[str, float]]]]:
        """The likeliest of the allowed answers, by beam search.

        The score of an answer is the sum of its tokens' log-probabilities, not
        normalised by length: that of the token that ends it decides where a
        name ends. Probabilities are those in the question's vocabulary.
        Answers nearly as good as the best are asked the other way round:
        `check_weight` times what that log-probability is above the best one's
        is added.

        questions (Iterable[Question]): What is asked.
        check_weight (float): 0.0 leaves the checks out.
        YIELDS (List[List[Tuple[str, float]]]): Per question, for each name up to
            `beam_width` answers with their scores (nats), best first.
        """
        batch: list[Question] = []
        names = tokens = 0
        for question in questions:
            more = len(question.trunk) - question.trunk.computed + sum(map(len, question.names))
            if batch and (names + len(question.names) > self.batch_size or tokens + more > self.max_tokens):
                yield from self._choose(batch, check_weight)
                batch, names, tokens = [], 0, 0
            batch.append(question)
            names += len(question.names)
            tokens += more
        yield from self._choose(batch, check_weight)

    def _choose(
        self, questions: Sequence[Question], check_weight: float
    ) -> Iterator[list[list[tuple[str, float]]]]:
        groups = []
        for question in questions:
            tree, root = question.trunk, Answers.of(question.answers.items())
            leaves = [tree.branch(name, tree.trunk - 1) for name in question.names]
            groups.append([Search(question, [(0.0, leaf, root)] if root.children else []) for leaf in leaves])
        self._search([search for group in groups for search in group])
        ranked = [[_best(search.found.items(), self.beam_width) for search in group] for group in groups]
        if check_weight:
            self._check(questions, ranked, check_weight)
        yield from ranked

    def _search(self, searches: Sequence[Search]) -> None:
        """Search until no hypothesis can win any more."""
        while rows := [(search, *hypothesis) for search in searches for hypothesis in search.live]:
            wanted = [(search.question, place, list(node.children)) for search, _, place, node in rows]
            grown: dict[int, list[tuple[float, int, int, Answers]]] = {id(search): [] for search in searches}
            for (search, score, place, node), logprobs in zip(rows, self.next_logprobs(wanted), strict=True):
                for (token, child), logprob in zip(node.children.items(), logprobs, strict=True):
                    if child.answer is not None:
                        search.found[child.answer] = score + logprob
                    if child.children:
                        grown[id(search)].append((score + logprob, place, token, child))
            for search in searches:
                best = _best(search.found.items(), self.beam_width)
                search.found = dict(best)
                # A hypothesis only loses by growing.
                floor = best[-1][1] if len(best) == self.beam_width else -math.inf
                if best:
                    floor = max(floor, best[0][1] - self.margin)
                search.live = [
                    (score, search.question.trunk.branch([token], place), child)
                    for score, place, token, child in heapq.nlargest(
                        self.beam_width, grown[id(search)], key=itemgetter(0)
                    )
                    if score > floor
                ]

    def _check(
        self,
        questions: Sequence[Question],
        ranked: Sequence[list[list[tuple[str, float]]]],
        weight: float,
    ) -> None:
        """Rank answers that are nearly as good as the best anew, by how likely each makes the name."""
        wanted: list[tuple[Question, int, list[int]]] = []
        near: list[tuple[list[list[tuple[str, float]]], int, dict[str, int]]] = []  # tokens that count
        for question, names in zip(questions, ranked, strict=True):
            if question.check is None:
                continue
            tree, asked = question.trunk, replace(question, vocabulary=None)
            for number, answers in enumerate(names):
                close = [answer for answer, score in answers if score > answers[0][1] - NEAR]
                checks = {answer: check for answer in close if (check := question.check(number, answer))}
                if len(checks) < 2:
                    continue
                near.append((names, number, {answer: len(name) for answer, (_, name) in checks.items()}))
                for before, name in checks.values():
                    place = tree.branch(before, tree.trunk - 1)
                    for i, token in enumerate(name):
                        place = tree.branch(name[i - 1 : i], place)  # nothing before the first one
                        wanted.append((asked, place, [token]))
        logprobs = iter(self.next_logprobs(wanted))
        for names, number, counted in near:
            gains = {a: sum(next(logprobs)[0] for _ in range(n)) for a, n in counted.items()}
            best = next(iter(gains.values()))
            answers = [(a, score + weight * (gains.get(a, best) - best)) for a, score in names[number]]
            names[number] = sorted(answers, key=itemgetter(1), reverse=True)


class Restartable(Protocol):
    """What a search works on."""

    def restart(self) -> None:
        """Forget what a search has made of it."""
        ...


Asked = TypeVar("Asked", bound=Restartable)
Found = TypeVar("Found")


def within_memory(
    search: SpanSearch,
    find: Callable[[Iterable[Asked]], Iterator[Found]],
    questions: Iterable[Asked],
    make_room: Callable[[RuntimeError], None],
) -> Iterator[Found | None]:
    """Have a search take less at once where the memory does not suffice.

    find (Callable[[Iterable[Asked]], Iterator[Found]]): What is done with the search, such as its `choose`.
    questions (Iterable[Asked]): What is asked.
    make_room (Callable[[RuntimeError], None]): Called with an error; raises it if it is about something else.
    YIELDS (Optional[Found]): For each question, in order; None for one that does not fit even alone.
    """
    source = iter(questions)
    taken: deque[Asked] = deque()

    def feed() -> Iterator[Asked]:
        yield from list(taken)  # those of an attempt that failed
        for question in source:
            taken.append(question)
            yield question

    while True:
        try:
            for found in find(feed()):
                taken.popleft()
                yield found
            return
        except RuntimeError as error:
            make_room(error)
            for question in taken:
                question.restart()
            if search.batch_size == 1:
                taken.popleft()
                yield None
            search.batch_size = max(1, search.batch_size // 2)
            search.max_tokens = max(1, search.max_tokens // 2)


def _best(answers: Iterable[tuple[str, float]], count: int) -> list[tuple[str, float]]:
    return heapq.nlargest(count, answers, key=itemgetter(1))


def find_loop(tokens: Sequence[int]) -> int:
    """Whether a text has begun to repeat itself.

    tokens (Sequence[int]): Its tokens.
    RETURNS (int): Length of a passage that its end repeats `LOOP_TIMES` times
        or more, over `LOOP_TOKENS` tokens at least; 0 if there is none.
    """
    for length in range(1, len(tokens) // LOOP_TIMES + 1):
        span = max(LOOP_TIMES, -(-LOOP_TOKENS // length)) * length
        # Repeats itself: each token is the one a passage earlier.
        if span <= len(tokens) and tokens[-span:-length] == tokens[length - span :]:
            return length
    return 0
