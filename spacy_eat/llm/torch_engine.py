"""Greedy and constrained decoding with causal language models of transformers, in torch.

All work is done on trees of tokens (`spacy_eat.llm.decoding`). The keys and values of a token are computed
once, and never copied or reordered; a step takes the new tokens of all trees together, without padding.
Attention is computed tree by tree, and matrix products with so many rows that a row's result does not depend
on their number (`steady_rows`). So what a prompt is answered does not depend on what is answered beside it.

This module alone knows the insides of transformers.
"""

import logging
import math
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..weights.adapters import merge_lora
from ..weights.devices import choose_dtype, torch_threads
from .decoding import MARGIN, Question, SpanSearch, TokenTree, find_loop, within_memory
from .local import EngineSettings, Generated, is_out_of_memory
from .placing import ForcedText, Pair, place_markers
from .rough_head import make_rough_head

if TYPE_CHECKING:  # takes seconds to import
    import torch

    from .rough_head import RoughHead

logger = logging.getLogger(__name__)

ATTENTION = "spacy_eat_tree"  # how transformers knows `tree_attention`
HEAD_ROWS = 32  # rows of the vocabulary head at once: 32 MB of float32 for 262k words
KEPT = 4  # parts of the vocabulary that are kept
# Share of the highest logit by which others may lie below it and yet be higher, in float32 and in half
# precision: hundreds of times, and several times, what a product is rounded by.
CLOSE, CLOSE_IN_HALF = 1e-4, 0.06
# Counts of rows whose results are compared when a model is loaded, and the fewest that are ever computed.
PROBED = (*range(1, 10), 12, 15, 16, 17, 31, 32, 33, 64, 100, 200)
STEADY = (2, 4, 8, 16, 32)
PROBED_HEAD = (2, 3, 4, 17)  # the same for the vocabulary head, which takes longer
BLOCK_ROWS = 32  # rows of each matrix product where results depend on their number


@dataclass
class TreeSlice:
    """Which of a step's tokens are a tree's, and what they see.

    mask (Optional[Tensor]): To be added to the scores, shape (new tokens, all tokens of the tree). None: all
        of them see everything.
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

    heads = query.shape[1]
    out = []
    for part in slices:
        span = slice(part.start, part.end)
        keys, values = part.tree.store(module.layer_idx, key[0, :, span], value[0, :, span])
        if len(keys) < heads:  # several query heads share a key head
            shape = (len(keys), heads // len(keys), *keys.shape[1:])
            keys = keys[:, None].expand(shape).reshape(heads, *shape[2:])
            values = values[:, None].expand(shape).reshape(heads, *shape[2:])
        mask = part.mask if sliding_window is None else part.local_mask
        out.append(
            scaled_dot_product_attention(
                query[:, :, span],
                keys[None],
                values[None],
                attn_mask=None if mask is None else mask.to(query.device),
                scale=scaling,
            )
        )
    return torch.cat(out, dim=2).transpose(1, 2), None


def takes_trees(model: Any) -> bool:
    """RETURNS (bool): Whether a model lets its attention be exchanged, and has a separate vocabulary head."""
    return bool(getattr(model, "_supports_attention_backend", False)) and hasattr(model, "lm_head")


def steady_rows(model: Any) -> int | None:
    """From how many rows on a row's product with a weight matrix is the same to the bit, however many rows
    are multiplied with it and wherever it stands among them. Libraries choose the way of adding up by the
    number of rows: MKL in float32 takes other ways for one, and for two or three, than for more.

    model (PreTrainedModel): The model. Its layers are tried on this machine, one of each shape.
    RETURNS (Optional[int]): None if there is no such number among `STEADY`.
    """
    import torch

    layers = {tuple(m.weight.shape): m for m in model.model.modules() if isinstance(m, torch.nn.Linear)}
    tried = [(layer, PROBED) for layer in layers.values()] + [(model.lm_head, PROBED_HEAD)]
    steady = STEADY[0]
    generator = torch.Generator().manual_seed(0)
    for layer, counts in tried:
        rows = torch.randn(max(counts), layer.weight.shape[1], generator=generator)
        rows = rows.to(layer.weight.device, layer.weight.dtype)
        with torch.inference_mode():
            expected = layer(rows)
            differ = [n for n in counts if n >= steady and not torch.equal(layer(rows[:n]), expected[:n])]
            if differ:
                steady = next((n for n in STEADY if n > max(differ)), 0)
            if not steady or not torch.equal(layer(rows.flip(0)), expected.flip(0)):
                return None
    return steady


def compute_in_blocks(model: Any) -> None:
    """Have all matrix products of a model computed by `BLOCK_ROWS` rows, so that all have the same shape."""
    import torch
    from torch.nn.functional import linear, pad

    def forward(layer: Any, rows: "torch.Tensor") -> "torch.Tensor":
        flat = rows.reshape(-1, rows.shape[-1])
        padded = pad(flat, (0, 0, 0, -len(flat) % BLOCK_ROWS))
        parts = [linear(block, layer.weight, layer.bias) for block in padded.split(BLOCK_ROWS)]
        return torch.cat(parts)[: len(flat)].reshape(*rows.shape[:-1], -1)

    for layer in model.modules():
        if isinstance(layer, torch.nn.Linear):
            layer.forward = forward.__get__(layer)  # type: ignore[method-assign]


def _at_least(rows: "torch.Tensor", least: "torch.Tensor") -> list["torch.Tensor"]:
    """RETURNS (List[Tensor]): For each row the places of the numbers that are not below its least one."""
    import torch

    if rows.device.type == "cpu":  # torch takes eight times as long there
        bounded = zip(rows.numpy(), least.tolist(), strict=True)
        return [torch.from_numpy(np.flatnonzero(row >= bound)) for row, bound in bounded]
    numbers, places = (rows >= least[:, None]).nonzero(as_tuple=True)
    return list(places.split(numbers.bincount(minlength=len(rows)).tolist()))


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
        model (PreTrainedModel): A model that `takes_trees`: Gemma, Llama, Qwen ... The decoder takes it over.
        beam_width (int): Hypotheses kept, and answers found, for each name.
        margin (float): A hypothesis is given up when it is so many nats below the best answer.
        batch_size (int): Texts generated, or names searched for, at once.
        max_tokens (int): About the most tokens computed in one step.
        """
        from transformers import AttentionInterface

        super().__init__(beam_width=beam_width, margin=margin, batch_size=batch_size, max_tokens=max_tokens)
        AttentionInterface.register(ATTENTION, tree_attention)
        self.model = model.eval()
        self.model.config._attn_implementation = ATTENTION
        self.window: int | None = getattr(model.config, "sliding_window", None)
        steady = steady_rows(model)
        if steady is None:
            compute_in_blocks(model)
        self.fewest = steady or 1  # rows of a matrix product
        self._heads: dict[bytes, Any] = {}

    @cached_property
    def _rough_head(self) -> "RoughHead | None":
        return make_rough_head(self.model.lm_head)

    def compute(self, trees: Sequence[TokenTree]) -> list["torch.Tensor"]:
        """Compute the new tokens of all trees, in one step.

        trees (Sequence[TokenTree]): All different, each with a new token.
        RETURNS (List[Tensor]): Per tree the last hidden states of its new tokens, shape (new tokens, hidden
            size).
        """
        import torch

        count = len(trees)
        lacking = self.fewest - sum(len(tree) - tree.computed for tree in trees)
        if lacking > 0:
            trees = [*trees, TokenTree([0] * lacking)]
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

    def logits(self, hidden: "torch.Tensor", vocabulary: np.ndarray | None = None) -> "torch.Tensor":
        """The vocabulary head.

        hidden (Tensor): Last hidden states, shape (rows, hidden size).
        vocabulary (Optional[ndarray]): Ids of tokens, as if there were no others; None for all.
        RETURNS (Tensor): In float32, shape (rows, tokens).
        """
        import torch

        head = self.model.lm_head if vocabulary is None else self._head(vocabulary)
        parts = []
        for rows in hidden.split(HEAD_ROWS):
            lacking = self.fewest - len(rows)
            padded = torch.cat([rows, rows[:1].expand(lacking, -1)]) if lacking > 0 else rows
            with torch.no_grad():
                parts.append(head(padded)[: len(rows)].float())
        logits = torch.cat(parts)
        cap = getattr(self.model.config, "final_logit_softcapping", None)
        return logits if cap is None else cap * torch.tanh(logits / cap)

    def likeliest(self, hidden: "torch.Tensor", barred: Sequence[Sequence[int]]) -> list[int]:
        """The next token of each text.

        The vocabulary head is computed as is fastest, in 8 bits where the processor likes them, and what is
        nearly as likely as the likeliest once more, by itself and in float64. So nothing depends on how
        products are rounded.

        hidden (Tensor): Last hidden states, shape (texts, hidden size).
        barred (Sequence[Sequence[int]]): Tokens that each text does not go on with.
        RETURNS (List[int]): A token for each text.
        """
        import torch
        from torch.nn.functional import linear

        head = self.model.lm_head
        with torch.no_grad():
            if self._rough_head is not None:
                logits, close = self._rough_head(hidden)
            else:
                logits, close = linear(hidden, head.weight, head.bias).float(), None
            for row, tokens in enumerate(barred):
                if tokens:
                    logits[row, list(tokens)] = -torch.inf
            best = logits.amax(dim=-1)
            if close is None:
                close = best.abs() * (CLOSE if head.weight.dtype == torch.float32 else CLOSE_IN_HALF)
            result = []
            for row, near in enumerate(_at_least(logits, best - close)):
                if not len(near):  # there is a NaN, which nothing is compared with
                    near = logits[row].argmax()
                elif len(near) > 1:
                    exact = head.weight[near].double() @ hidden[row].double()
                    exact = exact if head.bias is None else exact + head.bias[near].double()
                    near = near[exact.argmax()]
                result.append(int(near))
        return result

    def _head(self, vocabulary: np.ndarray) -> Any:
        """RETURNS (Linear): The head for a part of the vocabulary. Most of the work on a single token is the
        head. Where all answers are Chinese, seven in eight of its words are of scripts in which none is
        written."""
        import torch

        key = vocabulary.tobytes()
        if key not in self._heads:
            whole = self.model.lm_head
            rows = torch.from_numpy(vocabulary).to(whole.weight.device)
            part = torch.nn.Linear(1, 1, bias=whole.bias is not None)
            part.weight = torch.nn.Parameter(whole.weight.detach()[rows], requires_grad=False)
            if whole.bias is not None:
                part.bias = torch.nn.Parameter(whole.bias.detach()[rows], requires_grad=False)
            if self.fewest == 1:
                compute_in_blocks(part)
            if len(self._heads) >= KEPT:
                del self._heads[next(iter(self._heads))]
            self._heads[key] = part
        return self._heads[key]

    def generate(
        self, prompts: Iterable[tuple[TokenTree, int]], ends: Sequence[int], least: int = 1
    ) -> Iterator[tuple[int, Generated]]:
        """Continue each prompt by the likeliest token, again and again.

        prompts (Iterable[Tuple[TokenTree, int]]): Trunks, each with the most tokens to generate. As many as
            fit are under way at a time.
        ends (Sequence[int]): Tokens that end a text. A text that repeats itself without end is cut after the
            first time.
        least (int): Tokens before the one that ends a text, 0 or 1.
        YIELDS (Tuple[int, Generated]): The number of a prompt and its continuation, in the order in which
            they are ready.
        """
        import torch

        waiting = deque(enumerate(prompts))
        stop = list(ends)
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
            barred = [stop if len(text) < least else [] for *_, text in live]
            likeliest = self.likeliest(torch.stack([states[-1] for states in hidden]), barred)
            going = []
            for entry, token in zip(live, likeliest, strict=True):
                number, tree, limit, text = entry
                ended = token in stop
                if not ended:
                    text.append(token)
                loop = find_loop(text)
                while loop and text[-2 * loop : -loop] == text[-loop:]:
                    del text[-loop:]
                if loop or ended or len(text) >= limit:
                    yield number, Generated(text, ended and not loop)
                else:
                    tree.extend([token])
                    going.append(entry)
            live = going

    def next_logprobs(self, wanted: Sequence[tuple[Question, int, list[int]]]) -> list[list[float]]:
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
                logits = self.logits(states, vocabulary)
                normalizers = torch.logsumexp(logits, dim=-1)
                for place, row in enumerate(part):
                    ids: Any = wanted[row][2]
                    if vocabulary is not None:
                        ids = np.searchsorted(vocabulary, ids)
                    result[row] = (logits[place, ids] - normalizers[place]).tolist()
        return result


class PlainSearch(SpanSearch):
    """With nothing but what every model of transformers can do: each hypothesis is computed from its
    beginning."""

    def __init__(self, model: Any, **settings: Any) -> None:
        super().__init__(**settings)
        self.model = model

    def next_logprobs(self, wanted: Sequence[tuple[Question, int, list[int]]]) -> list[list[float]]:
        import torch

        paths = [question.trunk.path(place) for question, place, _ in wanted]
        result: list[list[float]] = [[] for _ in wanted]
        order = sorted(range(len(paths)), key=lambda row: len(paths[row]))
        while order:
            length = len(paths[order[0]])  # rows of one length need no padding
            most = max(1, self.max_tokens // length)
            rows = [row for row in order[:most] if len(paths[row]) == length]
            order = order[len(rows) :]
            tokens = torch.tensor([paths[row] for row in rows], device=self.model.device)
            with torch.inference_mode():
                logits = self.model(tokens, use_cache=False).logits[:, -1].float()
            for row, logprobs in zip(rows, logits.log_softmax(-1), strict=True):
                result[row] = logprobs[wanted[row][2]].tolist()
        return result


class TorchEngine:
    """A loaded model, its tokenizer, and the search for answers. See `spacy_eat.llm.local.Engine`.

    ends (List[int]): The tokens that end any answer.
    batch_invariant (bool): Texts are generated such that none depends on what is generated beside it: on
        trees, or one by one with a model that does not take them. Else in padded batches by transformers.
    """

    def __init__(
        self,
        name: str | Path,
        settings: EngineSettings,
        *,
        tokenizer: Callable[[], Any],
        dtype: str,
        device: str,
        adapter: Path | None = None,
        revision: str | None = None,
        batch_invariant: bool = True,
        threads: int | None = None,
    ) -> None:
        import torch
        from transformers import AutoModelForCausalLM, GenerationConfig

        self.settings = settings
        self.batch_invariant = batch_invariant
        self.tokenizer = tokenizer()
        spread = device == "auto" and torch.cuda.device_count() > 1
        place = "cpu" if device == "auto" and not torch.cuda.is_available() else device
        model: Any = AutoModelForCausalLM.from_pretrained(
            str(name),
            torch_dtype=choose_dtype(dtype, place),
            use_safetensors=True,
            trust_remote_code=False,
            revision=revision or "main",
            **({"device_map": "auto"} if spread else {}),
        )
        if not spread:
            model = model.to("cuda" if place == "auto" else place)
        if adapter is not None:
            merge_lora(model, adapter)
        self.model = model.eval()
        known = model.generation_config.eos_token_id
        ends = [*(known if isinstance(known, list) else [known]), self.tokenizer.eos_token_id]
        self.ends = list(dict.fromkeys(token for token in ends if token is not None))
        model.generation_config = GenerationConfig()  # a model's own may be for sampling
        self.batch_tokens = settings.batch_tokens
        before = model.config._attn_implementation
        self.threads = threads
        self._process = os.getpid()
        with self.at_work():  # what is tried out depends on the number of threads
            self.search: SpanSearch = (Decoder if takes_trees(model) else PlainSearch)(
                model,
                beam_width=settings.beam_width,
                margin=MARGIN,
                batch_size=settings.batch_size if takes_trees(model) else 1,
                max_tokens=settings.batch_tokens,
            )
        self._attention = before, model.config._attn_implementation

    @property
    def longest(self) -> int | None:
        """RETURNS (Optional[int]): Most tokens that the model takes, None if not known."""
        longest: int | None = getattr(self.model.config.get_text_config(), "max_position_embeddings", None)
        return longest

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """Compute with the engine's threads. In a process forked from the one that loaded it the threads of
        OpenMP
        are gone and would be waited for: with one."""
        if self._process != os.getpid():
            self._process, self.threads = os.getpid(), 1
        with torch_threads(self.threads):
            yield

    def read(self, tree: TokenTree) -> None:
        """Compute a tree that others begin with."""
        if isinstance(self.search, Decoder):
            self.search.compute([tree])
        else:
            tree.computed = len(tree)

    def generate(
        self, prompts: Sequence[tuple[TokenTree, int]], ends: Sequence[int], least: int
    ) -> Iterator[tuple[int, Generated | None]]:
        """See `Engine.generate`."""
        if isinstance(self.search, Decoder) and self.batch_invariant:
            yield from self._on_trees(self.search, prompts, ends, least)
        else:
            yield from self._in_padded_batches(prompts, ends, least)

    def _on_trees(
        self, decoder: Decoder, prompts: Sequence[tuple[TokenTree, int]], ends: Sequence[int], least: int
    ) -> Iterator[tuple[int, Generated | None]]:
        waiting = dict(enumerate(prompts))
        while waiting:
            numbers = list(waiting)
            try:
                for place, text in decoder.generate(list(waiting.values()), ends, least):
                    del waiting[numbers[place]]
                    yield numbers[place], text
            except RuntimeError as error:
                self.make_room(error)
                for tree, _ in waiting.values():
                    tree.restart()
                if decoder.batch_size == 1:
                    del waiting[numbers[-len(waiting)]]
                    yield numbers[-len(waiting) - 1], None
                decoder.batch_size = max(1, decoder.batch_size // 2)
                decoder.max_tokens = max(1, decoder.max_tokens // 2)

    def _in_padded_batches(
        self, prompts: Sequence[tuple[TokenTree, int]], ends: Sequence[int], least: int
    ) -> Iterator[tuple[int, Generated | None]]:
        """Generate texts by transformers, the longest first, in batches that the memory holds."""

        def width(number: int) -> int:
            tree, limit = prompts[number]
            return len(tree) + limit

        waiting = sorted(range(len(prompts)), key=width)
        while waiting:
            batch = [waiting.pop()]
            widest = width(batch[0])
            while waiting and not self.batch_invariant and (len(batch) + 1) * widest <= self.batch_tokens:
                batch.append(waiting.pop())
            try:
                texts = self._padded([prompts[number] for number in batch], ends, least)
            except RuntimeError as error:
                self.make_room(error)
                if len(batch) == 1:
                    yield batch[0], None
                    continue
                self.batch_tokens = len(batch) * widest // 2
                logger.warning("Out of memory: batches of %d tokens from now on", self.batch_tokens)
                waiting += reversed(batch)
            else:
                yield from zip(batch, texts, strict=True)

    def _padded(
        self, batch: Sequence[tuple[TokenTree, int]], ends: Sequence[int], least: int
    ) -> list[Generated]:
        import torch
        from transformers import GenerationConfig

        width = max(len(tree) for tree, _ in batch)
        pad = self.tokenizer.pad_token_id
        pad = ends[0] if pad is None else pad
        rows = [[pad] * (width - len(tree)) + tree.tokens for tree, _ in batch]
        mask = [[0] * (width - len(tree)) + [1] * len(tree) for tree, _ in batch]
        config = GenerationConfig(
            do_sample=False,
            max_new_tokens=max(limit for _, limit in batch),
            min_new_tokens=least or None,
            eos_token_id=list(ends),
            pad_token_id=pad,
        )
        own, ours = self._attention
        self.model.config._attn_implementation = own
        try:
            with torch.inference_mode():
                output = self.model.generate(
                    torch.tensor(rows, device=self.model.device),
                    attention_mask=torch.tensor(mask, device=self.model.device),
                    generation_config=config,
                )
        finally:
            self.model.config._attn_implementation = ours
        stop, texts = set(ends), []
        for tokens, (_, limit) in zip(output[:, width:].tolist(), batch, strict=True):
            length = next((i for i, token in enumerate(tokens) if token in stop), limit)
            texts.append(Generated(tokens[: min(length, limit)], length < limit))
        return texts

    def choose(
        self, questions: Iterable[Question], check_weight: float
    ) -> Iterator[list[list[tuple[str, float]]] | None]:
        """See `Engine.choose`."""
        return within_memory(
            self.search, partial(self.search.choose, check_weight=check_weight), questions, self.make_room
        )

    def place(self, texts: Iterable[ForcedText]) -> Iterator[list[Pair] | None]:
        """See `Engine.place`."""
        return within_memory(self.search, partial(place_markers, self.search), texts, self.make_room)

    def make_room(self, error: RuntimeError) -> None:
        """Make room after an error, or raise it again if it is another one."""
        if not is_out_of_memory(error):
            raise error
        import torch

        logger.warning("Out of memory: smaller batches from now on")
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
