"""Greedy and constrained decoding with any decoder-only model of transformers.

All work is done on trees of tokens. A prompt is a trunk; the names asked for in
it, and the hypotheses of a beam search, are branches. The keys and values of a
token are computed once, and never copied or reordered; a step takes the new
tokens of all trees together, without padding. So what one tree is answered does
not depend on the others in the batch, as far as the hardware's matrix products
don't.
"""

import heapq
import itertools
import math
import re
import unicodedata
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np

from ..languages import load
from ..text.boundaries import Boundaries

if TYPE_CHECKING:  # takes seconds to import
    import torch

ATTENTION = "spacy_eat_tree"  # how transformers knows `tree_attention`
HEAD_ROWS = 32  # rows of the vocabulary head at once: 32 MB of float32 for 262k words
LOOP_TOKENS, LOOP_TIMES = 16, 3  # what fills so many tokens, repeated so often, would never end
NEAR = 2.5  # nats below the best answer within which answers are checked
MARGIN = 15.0  # nats below the best answer at which a hypothesis is given up
ANSWER_CHARS = 48  # longest answer of a constrained search, in characters
ANSWERS = 20_000  # most answers; in a very long source they are shorter
UNANSWERABLE = re.compile(r"[\n\r\ud800-\udfff]+")  # no answer crosses a line, none is half a character
NO_EDGE = frozenset("，。、；：？")  # no answer begins or ends with them
PATTERN = 4000  # the same as `ANSWERS` for those that are written as a regular expression
SYNTAX = re.compile(r"[\\^$.|?*+()\[\]{}]")
ESCAPED = re.compile(r'["\\\x00-\x1f\x7f]')  # what a string in JSON does not have as it is


class TokenTree:
    """A tree of tokens, with the keys and values of those computed so far.

    A token is known by its index, in the order of insertion. The first ones are
    the trunk.

    tokens (List[int]): Their ids.
    depths (List[int]): How many tokens stand above each.
    trunk (int): How many tokens the trunk has.
    computed (int): How many tokens have their keys and values.
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
        self._memory: torch.Tensor | None = None  # layers, keys and values, heads, capacity, head size
        self.extend(trunk)
        if head is not None and head._memory is not None:
            self.computed = head.computed
            self._memory = head._memory[..., : head.computed, :]  # full, so that the first step copies it

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

    def store(
        self, layer: int, layers: int, keys: "torch.Tensor", values: "torch.Tensor"
    ) -> tuple["torch.Tensor", "torch.Tensor"]:
        """Keep the keys and values that a layer has for the new tokens.

        layer, layers (int): Which layer of how many.
        keys, values (Tensor): Shape (heads, new tokens, head size).
        RETURNS (Tuple[Tensor, Tensor]): Those of all tokens.
        """
        heads, _, size = keys.shape
        memory, start, end = self._memory, self.computed, len(self.tokens)
        if memory is None or memory.shape[-2] < end:
            grown = keys.new_empty((layers, 2, heads, end + end // 4 + 32, size))
            if memory is not None:
                grown[..., :start, :] = memory[..., :start, :]
            self._memory = memory = grown
        memory[layer, 0, :, start:end] = keys
        memory[layer, 1, :, start:end] = values
        return memory[layer, 0, :, :end], memory[layer, 1, :, :end]


@dataclass
class TreeSlice:
    """Which of a step's tokens are a tree's, and what they see.

    mask (Optional[Tensor]): To be added to the scores, shape (new tokens, all
        tokens of the tree). None: all of them see everything.
    local_mask (Optional[Tensor]): The same for layers with a sliding window.
    """

    tree: TokenTree
    start: int
    end: int
    mask: "torch.Tensor | None"
    local_mask: "torch.Tensor | None"


def tree_attention(
    module: Any,
    query: "torch.Tensor",
    key: "torch.Tensor",
    value: "torch.Tensor",
    attention_mask: Any,
    scaling: float | None = None,
    sliding_window: int | None = None,
    slices: Sequence[TreeSlice] = (),
    **kwargs: Any,
) -> tuple["torch.Tensor", None]:
    """Attention within trees, in the form of transformers' attention functions.

    query, key, value (Tensor): Shape (1, heads, new tokens, head size).
    slices (Sequence[TreeSlice]): The trees.
    RETURNS (Tuple[Tensor, None]): Shape (1, new tokens, heads, head size).
    """
    import torch
    from torch.nn.functional import scaled_dot_product_attention

    layers, heads = module.config.num_hidden_layers, query.shape[1]
    out = []
    for part in slices:
        span = slice(part.start, part.end)
        keys, values = part.tree.store(module.layer_idx, layers, key[0, :, span], value[0, :, span])
        if len(keys) < heads:  # several query heads share a key head
            shape = (len(keys), heads // len(keys), *keys.shape[1:])
            keys = keys[:, None].expand(shape).reshape(heads, *shape[2:])
            values = values[:, None].expand(shape).reshape(heads, *shape[2:])
        out.append(
            scaled_dot_product_attention(
                query[:, :, span],
                keys[None],
                values[None],
                attn_mask=part.mask if sliding_window is None else part.local_mask,
                scale=scaling,
            )
        )
    return torch.cat(out, dim=2).transpose(1, 2), None


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


class Vocabulary:
    """A part of the vocabulary, computed as if there were no other words.

    Most of the work on a single token is the vocabulary head. Where all answers
    are Chinese, seven in eight of its words are of scripts in which none is
    written, and have next to no probability.

    ids (ndarray): Of the tokens, ascending.
    """

    def __init__(self, ids: Iterable[int], head: Any) -> None:
        """
        ids (Iterable[int]): Of the tokens.
        head (Linear): The head of the whole vocabulary.
        """
        import torch

        self.ids = np.unique(np.fromiter(ids, dtype=np.int64))
        rows = torch.from_numpy(self.ids).to(head.weight.device)
        self._weight = head.weight.detach()[rows]
        self._bias = None if head.bias is None else head.bias.detach()[rows]

    def head(self, hidden: "torch.Tensor") -> "torch.Tensor":
        """RETURNS (Tensor): Logits of the tokens, shape (rows, tokens)."""
        from torch.nn.functional import linear

        return linear(hidden, self._weight, self._bias)


Check = Callable[[int, str], tuple[Sequence[int], Sequence[int]] | None]


@dataclass
class Question:
    """A prompt with all the names asked for in it, for `SpanSearch.choose`.

    trunk (TokenTree): What all its prompts begin with.
    names (Sequence[Sequence[int]]): Per name the tokens that follow.
    dummies (Sequence[Sequence[int]]): The same for dummy names.
    answers (Mapping[str, Sequence[int]]): What may be answered, with its tokens.
    check (Optional[Check]): The same asked the other way round: for the number of a
        name and an answer the tokens that follow the trunk, and those that
        should follow them; None for an answer that cannot be checked.
    vocabulary (Optional[Vocabulary]): What probabilities are shared among, with
        all tokens of the answers. None: the whole vocabulary.
    """

    trunk: TokenTree
    names: Sequence[Sequence[int]]
    dummies: Sequence[Sequence[int]]
    answers: Mapping[str, Sequence[int]]
    check: Check | None = None
    vocabulary: Vocabulary | None = None

    def __post_init__(self) -> None:
        # Before anything grows on the trunk: the tokens of what is asked, the dummies aside.
        self.size = len(self.trunk) + sum(map(len, self.names))


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
    def _next(self, wanted: Sequence[tuple[Question, int, list[int]]]) -> list[list[float]]:
        """Log-probabilities of next tokens.

        wanted (Sequence[Tuple[Question, int, List[int]]]): A question, one of
            the new tokens of its tree, and the ids of those that may follow it.
        RETURNS (List[List[float]]): In nats.
        """

    def choose(
        self, questions: Iterable[Question], prior_weight: float = 0.0, check_weight: float = 0.0
    ) -> Iterator[list[list[tuple[str, float]]]]:
        """The likeliest of the allowed answers, by beam search.

        The score of an answer is the sum of its tokens' log-probabilities, not
        normalised by length: that of the token that ends it decides where a
        name ends. `prior_weight` times its mean log-probability under the dummy
        names is subtracted. Probabilities are those in the question's vocabulary.
        Answers nearly as good as the best are asked the other way round:
        `check_weight` times what that log-probability is above the best one's
        is added.

        questions (Iterable[Question]): What is asked.
        prior_weight (float): 0.0 leaves the dummy names out.
        check_weight (float): 0.0 leaves the checks out.
        YIELDS (List[List[Tuple[str, float]]]): Per question, for each name up to
            `beam_width` answers with their scores (nats), best first.
        """
        batch: list[Question] = []
        names = tokens = 0
        for question in questions:
            more = len(question.trunk) - question.trunk.computed + sum(map(len, question.names))
            if batch and (names + len(question.names) > self.batch_size or tokens + more > self.max_tokens):
                yield from self._choose(batch, prior_weight, check_weight)
                batch, names, tokens = [], 0, 0
            batch.append(question)
            names += len(question.names)
            tokens += more
        yield from self._choose(batch, prior_weight, check_weight)

    def _choose(
        self, questions: Sequence[Question], prior_weight: float, check_weight: float
    ) -> Iterator[list[list[tuple[str, float]]]]:
        groups = []
        for question in questions:
            tree, root = question.trunk, Answers.of(question.answers.items())
            leaves = [tree.branch(name, tree.trunk - 1) for name in question.names]
            groups.append([Search(question, [(0.0, leaf, root)] if root.children else []) for leaf in leaves])
        self._search([search for group in groups for search in group])
        priors = self._priors(questions, groups) if prior_weight else [{} for _ in groups]
        ranked = [
            [
                _best(
                    [(a, score - prior_weight * prior.get(a, 0.0)) for a, score in search.found.items()],
                    self.beam_width,
                )
                for search in group
            ]
            for group, prior in zip(groups, priors, strict=True)
        ]
        if check_weight:
            self._check(questions, ranked, check_weight)
        yield from ranked

    def _search(self, searches: Sequence[Search]) -> None:
        """Search until no hypothesis can win any more."""
        while rows := [(search, *hypothesis) for search in searches for hypothesis in search.live]:
            wanted = [(search.question, place, list(node.children)) for search, _, place, node in rows]
            grown: dict[int, list[tuple[float, int, int, Answers]]] = {id(search): [] for search in searches}
            for (search, score, place, node), logprobs in zip(rows, self._next(wanted), strict=True):
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
        logprobs = iter(self._next(wanted))
        for names, number, counted in near:
            gains = {a: sum(next(logprobs)[0] for _ in range(n)) for a, n in counted.items()}
            best = next(iter(gains.values()))
            answers = [(a, score + weight * (gains.get(a, best) - best)) for a, score in names[number]]
            names[number] = sorted(answers, key=itemgetter(1), reverse=True)

    def _priors(
        self, questions: Sequence[Question], groups: Sequence[Sequence[Search]]
    ) -> list[dict[str, float]]:
        """RETURNS (List[Dict[str, float]]): Per question, for each answer found,
        the mean log-probability under the dummy names."""
        wanted: list[tuple[Question, int, list[int]]] = []
        rows: list[tuple[int, int, Answers]] = []  # question, row of the node above, node
        for number, (question, group) in enumerate(zip(questions, groups, strict=True)):
            found = dict.fromkeys(answer for search in group for answer in search.found)
            root = Answers.of((answer, question.answers[answer]) for answer in found)
            for dummy in question.dummies if found else ():
                tree = question.trunk
                todo = [(-1, tree.branch(dummy, tree.trunk - 1), root)]
                while todo:
                    above, place, node = todo.pop()
                    todo += [
                        (len(rows), tree.branch([token], place), child)
                        for token, child in node.children.items()
                        if child.children
                    ]
                    wanted.append((question, place, list(node.children)))
                    rows.append((number, above, node))
        priors: list[dict[str, float]] = [{} for _ in questions]
        paths: list[dict[int, float]] = []  # per row, the log-probability down to each child
        for (number, above, node), logprobs in zip(rows, self._next(wanted), strict=True):
            start = 0.0 if above < 0 else paths[above][id(node)]
            children = list(node.children.values())
            paths.append({id(child): start + lp for child, lp in zip(children, logprobs, strict=True)})
            for child in children:
                if child.answer is not None:
                    share = paths[-1][id(child)] / len(questions[number].dummies)
                    priors[number][child.answer] = priors[number].get(child.answer, 0.0) + share
        return priors


class Decoder(SpanSearch):
    """A causal language model that continues many prompts at once."""

    def __init__(
        self,
        model: Any,
        *,
        beam_width: int = 6,
        margin: float = math.inf,
        batch_size: int = 16,
        max_tokens: int = 4096,
    ) -> None:
        """
        model (PreTrainedModel): A decoder-only model of transformers that lets
            its attention be exchanged: Gemma, Llama, Qwen ... The decoder takes
            it over.
        beam_width (int): Hypotheses kept, and answers found, for each name.
        margin (float): A hypothesis is given up when it is so many nats below
            the best answer.
        batch_size (int): Texts generated, or names searched for, at once.
        max_tokens (int): About the most tokens computed in one step.
        """
        from transformers import AttentionInterface

        super().__init__(beam_width=beam_width, margin=margin, batch_size=batch_size, max_tokens=max_tokens)
        AttentionInterface.register(ATTENTION, tree_attention)
        self.model = model.eval()
        self.model.config._attn_implementation = ATTENTION
        self.window: int | None = getattr(model.config, "sliding_window", None)

    def compute(self, trees: Sequence[TokenTree]) -> list["torch.Tensor"]:
        """Compute the new tokens of all trees, in one step.

        trees (Sequence[TokenTree]): All different, each with a new token.
        RETURNS (List[Tensor]): Per tree the last hidden states of its new
            tokens, shape (new tokens, hidden size).
        """
        import torch

        count = len(trees)
        if sum(len(tree) - tree.computed for tree in trees) == 1:
            # Products with a single row are added up in another order, and round differently.
            trees = [*trees, TokenTree([0])]
        tokens: list[int] = []
        positions: list[int] = []
        slices = []
        for tree in trees:
            start = len(tokens)
            tokens += tree.tokens[tree.computed :]
            positions += tree.depths[tree.computed :]
            mask = local_mask = self._mask(tree, None)
            if self.window is not None and max(tree.depths) >= self.window:
                local_mask = self._mask(tree, self.window)
            slices.append(TreeSlice(tree, start, len(tokens), mask, local_mask))
        with torch.no_grad():
            output = self.model.model(
                input_ids=torch.tensor([tokens], device=self.model.device),
                position_ids=torch.tensor([positions], device=self.model.device),
                use_cache=False,
                slices=slices,
            )
        for tree in trees:
            tree.computed = len(tree)
        return [output.last_hidden_state[0, part.start : part.end] for part in slices[:count]]

    def _mask(self, tree: TokenTree, window: int | None) -> "torch.Tensor | None":
        import torch

        visible = tree.visible(window)
        if visible.all():
            return None
        mask = torch.zeros(visible.shape, dtype=self.model.dtype)
        mask[torch.from_numpy(~visible)] = -torch.inf
        return mask.to(self.model.device)

    def _logits(self, hidden: "torch.Tensor", vocabulary: Vocabulary | None = None) -> "torch.Tensor":
        """RETURNS (Tensor): In float32, shape (rows, vocabulary)."""
        import torch

        with torch.no_grad():
            head = self.model.lm_head if vocabulary is None else vocabulary.head
            logits = head(hidden).float()
            cap = getattr(self.model.config, "final_logit_softcapping", None)
            return logits if cap is None else cap * torch.tanh(logits / cap)

    def generate(
        self, prompts: Iterable[tuple[TokenTree, int]], stop: Sequence[int]
    ) -> Iterator[tuple[int, list[int]]]:
        """Continue each prompt by the likeliest token, again and again.

        prompts (Iterable[Tuple[TokenTree, int]]): Trunks, each with the most
            tokens to generate. As many as fit are under way at a time.
        stop (Sequence[int]): Tokens that end a text; none begins with one. A
            text that repeats itself without end is cut after the first time.
        YIELDS (Tuple[int, List[int]]): The number of a prompt and its
            continuation, in the order in which they are ready.
        """
        import torch

        waiting = deque(enumerate(prompts))
        ends = list(stop)
        live: list[tuple[int, TokenTree, int, list[int]]] = []
        while waiting or live:
            room = self.max_tokens
            while waiting and len(live) < self.batch_size:
                number, (tree, limit) = waiting[0]
                room -= len(tree) - tree.computed
                if room < 0 and live:
                    break
                waiting.popleft()
                live.append((number, tree, limit, []))
            hidden = self.compute([tree for _, tree, _, _ in live])
            logits = self._logits(torch.stack([states[-1] for states in hidden]))
            for row, (*_, text) in enumerate(live):
                if not text:
                    logits[row, ends] = -torch.inf
            going = []
            for entry, token in zip(live, logits.argmax(dim=-1).tolist(), strict=True):
                number, tree, limit, text = entry
                if token not in ends:
                    text.append(token)
                loop = find_loop(text)
                while loop and text[-2 * loop : -loop] == text[-loop:]:
                    del text[-loop:]
                if loop or token in ends or len(text) >= limit:
                    yield number, text
                else:
                    tree.extend([token])
                    going.append(entry)
            live = going

    def _next(self, wanted: Sequence[tuple[Question, int, list[int]]]) -> list[list[float]]:
        import torch

        if not wanted:
            return []
        trees = {id(question.trunk): question.trunk for question, _, _ in wanted}
        before = {key: tree.computed for key, tree in trees.items()}
        hidden = dict(zip(trees, self.compute(list(trees.values())), strict=True))
        rows: dict[int, list[int]] = {}  # by vocabulary
        for row, (question, _, _) in enumerate(wanted):
            rows.setdefault(id(question.vocabulary), []).append(row)
        result: list[list[float]] = [[] for _ in wanted]
        for group in rows.values():
            vocabulary = wanted[group[0]][0].vocabulary
            for start in range(0, len(group), HEAD_ROWS):
                part = group[start : start + HEAD_ROWS]
                keys = [(id(wanted[row][0].trunk), wanted[row][1]) for row in part]
                states = torch.stack([hidden[key][place - before[key]] for key, place in keys])
                logits = self._logits(states, vocabulary)
                normalizers = torch.logsumexp(logits, dim=-1)
                for place, row in enumerate(part):
                    ids: Any = wanted[row][2]
                    if vocabulary is not None:
                        ids = np.searchsorted(vocabulary.ids, ids)
                    result[row] = (logits[place, ids] - normalizers[place]).tolist()
        return result


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


def scripts(text: str) -> frozenset[str]:
    """RETURNS (FrozenSet[str]): The scripts of a text's letters, by the first
    word of their Unicode names. Han and Kana count as one, "CJK"."""
    return frozenset(filter(None, map(_script, text)))


@cache
def _script(char: str) -> str:
    if not char.isalpha():
        return ""
    first = unicodedata.name(char, "").partition(" ")[0]
    return "CJK" if first.startswith(("CJK", "HIRAGANA", "KATAKANA", "HALFWIDTH")) else first


def possible_answers(
    source: str, longest: int = ANSWER_CHARS, most: int = ANSWERS, lang: str = ""
) -> list[str]:
    """The substrings of a text that may be names.

    source (str): The text.
    longest (int): Their most characters.
    most (int): About the most there may be: in a long text they are shorter,
        down to 8 characters.
    lang (str): Code of its language, "" if not known.
    RETURNS (List[str]): All different. None begins or ends where no name does (`Edge.NEVER`), or has a line
        break or a lone surrogate.
    """
    longest = _longest(source, longest, most)
    found: dict[str, None] = {}
    for line, starts, ends in _lines(source, lang):
        for start in starts:
            for end in ends[bisect_right(ends, start) :]:
                if end - start > longest:
                    break
                found[line[start:end]] = None
    return list(found)


def answers_pattern(
    source: str, longest: int = ANSWER_CHARS, most: int = PATTERN, lang: str = ""
) -> str | None:
    """A regular expression for the `possible_answers` that JSON does not escape.

    source (str): The text.
    longest, most, lang: As in `possible_answers`.
    RETURNS (Optional[str]): Of the plainest syntax, which all engines know; None
        if there are no answers.
    """
    longest = _longest(source, longest, most)
    found: dict[str, None] = {}
    for line, starts, ends in _lines(ESCAPED.sub("\n", source), lang):
        for start in starts:
            reached = [end for end in ends[bisect_right(ends, start) :] if end - start <= longest]
            rest = ""
            for begin, end in reversed(list(itertools.pairwise([start, *reached]))):  # from the last piece on
                piece = SYNTAX.sub(r"\\\g<0>", line[begin:end])
                rest = f"{piece}({rest})?" if rest else piece
            if rest:
                found[rest] = None
    return f"^({'|'.join(found)})$" if found else None


def _longest(source: str, longest: int, most: int) -> int:
    return max(8, min(longest, most // max(1, len(source))))


def _lines(source: str, lang: str) -> Iterator[tuple[str, list[int], list[int]]]:
    """YIELDS (Tuple[str, List[int], List[int]]): A line, where names may begin in it, and end."""
    for line in UNANSWERABLE.split(source):
        boundaries = Boundaries(line, load(lang))
        yield (
            line,
            [i for i, char in enumerate(line) if boundaries.starts[i] and char not in NO_EDGE],
            [i for i, char in enumerate(line, 1) if boundaries.ends[i] and char not in NO_EDGE],
        )
