"""LLMs that run in this process: one backend, whatever engine computes.

The backend puts prompts in the form that a model takes, in tokens, and makes responses of what the engine
generates or chooses. An engine knows tokens only.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple, Protocol, get_args

import numpy as np

from .answers import possible_answers, scripts
from .backend import Backend
from .cache import RequestCache
from .decoding import Question, TokenTree, split_shared
from .forms import NONE, AlignmentForm, TranslationForm
from .prompts import Answer, LLMError, Prompt, Response, UnusableAnswer, Usage

PromptStyle = Literal["auto", "chat", "completion"]

KEPT = 4  # sets of examples, and parts of the vocabulary, that are kept
VOCABULARY_SHARE = 0.25  # the largest part of the vocabulary that is worth computing by itself
LINE_BREAKS = ("\n", "Ċ", "<0x0A>")  # how tokens spell one: as it is, as a byte of GPT-2's, as a byte
BYTE_TOKENS = frozenset(f"<0x{byte:02X}>" for byte in range(256))
# Tokens of a translation at most: so many per token of the prompt, and some more.
LENGTH_RATIO, LENGTH_EXTRA = 2, 16


class Generated(NamedTuple):
    """A text that an engine has generated.

    tokens (List[int]): Without the one that ended it.
    ended (bool): Whether it came to its end, and was not cut off or going round in circles.
    """

    tokens: list[int]
    ended: bool


@dataclass(frozen=True)
class EngineSettings:
    """How much an engine does at once.

    beam_width (int): Answers found for each name.
    batch_size (int): Texts generated, or names looked for, at once.
    batch_tokens (int): About the most tokens computed at once.
    """

    beam_width: int
    batch_size: int
    batch_tokens: int


class Engine(Protocol):
    """A loaded model.

    tokenizer (PreTrainedTokenizerFast): Its tokenizer.
    ends (List[int]): The tokens that end any answer.
    longest (Optional[int]): Most tokens that it takes, None if not known.
    """

    tokenizer: Any

    @property
    def ends(self) -> list[int]: ...

    @property
    def longest(self) -> int | None: ...

    def at_work(self) -> AbstractContextManager[None]:
        """RETURNS (ContextManager): To be entered while anything is asked, in whatever process."""
        ...

    def read(self, tree: TokenTree) -> None:
        """Compute what many prompts begin with, as far as the engine keeps that."""

    def generate(
        self, prompts: Sequence[tuple[TokenTree, int]], ends: Sequence[int], least: int
    ) -> Iterator[tuple[int, Generated | None]]:
        """Continue prompts by the likeliest tokens.

        prompts (Sequence[Tuple[TokenTree, int]]): Each with the most tokens of its text.
        ends (Sequence[int]): Tokens that end a text.
        least (int): Tokens before the one that ends a text, 0 or 1.
        YIELDS (Tuple[int, Optional[Generated]]): The number of a prompt and its text, None for one that the
            memory does not hold; in any order.
        """
        ...

    def choose(
        self, questions: Iterable[Question], check_weight: float
    ) -> Iterator[list[list[tuple[str, float]]] | None]:
        """Choose answers. See `SpanSearch.choose`.

        YIELDS (Optional[List[List[Tuple[str, float]]]]): For each question, in order, its answers; None for
            one that the memory does not hold.
        """
        ...


class Model(Protocol):
    """What a backend loads, when it is first asked."""

    @property
    def identity(self) -> dict[str, Any]:
        """What decides what the model answers, JSON-serialisable."""
        ...

    def load(self, settings: EngineSettings) -> Engine:
        """RETURNS (Engine): The loaded model."""
        ...


@dataclass
class Job:
    """A text to be generated.

    number (int): The prompt's place in the batch.
    tree (TokenTree): What is continued.
    limit (int): Most tokens.
    kind (str): "line" for a text that ends with its line, "paragraph" for one that ends with a blank line,
        "chat".
    form (Optional[TranslationForm]): If its names are to be drafted first.
    drafted (int): Tokens of the draft.
    """

    number: int
    tree: TokenTree
    limit: int
    kind: Literal["line", "paragraph", "chat"]
    form: TranslationForm | None = None
    drafted: int = 0


class LocalBackend(Backend):
    """A model in this process. Copies and pickles carry no weights: each process loads its own."""

    def __init__(
        self,
        model: Model,
        *,
        form: PromptStyle = "completion",
        tuned: bool = False,
        draft: bool = True,
        check_weight: float = 0.4,
        beam_width: int = 6,
        max_tokens: int = 512,
        longest: int | None = None,
        batch_size: int = 16,
        batch_tokens: int = 4096,
        template: dict[str, Any] | None = None,
        cache: RequestCache | None = None,
    ) -> None:
        """
        model (Model): What to load.
        form (str): "chat" puts prompts as messages in the model's chat template, "completion" as a text to
            continue. "auto": the former if there is one.
        tuned (bool): Whether the model was tuned on the completions of this package: it is given no examples
            then, may answer that there is none, drafts and checks.
        draft (bool): Whether a tuned model finds the names of a text before it translates it.
        check_weight (float): Answers of a tuned model that are about as likely are asked the other way round,
            what their English is; how much of that log-probability is added to their scores. 0.0 for none.
        beam_width (int): Answers found for each name.
        max_tokens (int): Longest answer of a chat, or to a prompt that has no form for completions, in
            tokens.
        longest (Optional[int]): Most tokens of a prompt with its answer, None for what the model takes.
        batch_size (int): Texts generated, or names looked for, at once.
        batch_tokens (int): About the most tokens computed at once.
        template (Optional[Dict[str, Any]]): Variables for the chat template.
        cache (Optional[RequestCache]): Where answers are kept.
        RAISES (ValueError): A setting is out of its range.
        """
        super().__init__(cache)
        if form not in get_args(PromptStyle):
            raise ValueError(f"form = {form!r} is none of {', '.join(get_args(PromptStyle))}")
        least = {"beam_width": beam_width, "max_tokens": max_tokens, "batch_size": batch_size}
        for setting, number in {**least, "batch_tokens": batch_tokens}.items():
            if number < 1:
                raise ValueError(f"{setting} = {number} is too small")
        if check_weight < 0:
            raise ValueError(f"check_weight = {check_weight} is too small")
        self.model = model
        self.form: PromptStyle = form
        self.tuned = tuned
        self.draft = draft and tuned
        self.check_weight = check_weight if tuned else 0.0
        self.max_tokens = max_tokens
        self.longest = longest
        self.template = template or {}
        self.settings = EngineSettings(beam_width, batch_size, batch_tokens)
        self._loaded: Loaded | None = None

    @cached_property
    def _model_identity(self) -> dict[str, Any]:
        return self.model.identity

    @property
    def identity(self) -> dict[str, Any]:
        return {
            **self._model_identity,
            "form": self.form,
            "tuned": self.tuned,
            "draft": self.draft,
            "check_weight": self.check_weight,
            "beam_width": self.settings.beam_width,
            "max_tokens": self.max_tokens,
            "template": self.template,
        }

    def load(self) -> "Loaded":
        """Load the model, if it isn't, and prepare it, if it is the first time.

        RETURNS (Loaded): The model, with what puts prompts in its tokens.
        RAISES (ImportError): A library is missing.
        RAISES (ValueError, OSError): The model can't be loaded.
        """
        if self._loaded is None:
            self._loaded = Loaded(self.model.load(self.settings), self)
        return self._loaded

    def generate(self, prompts: Sequence[Prompt]) -> list[Response]:
        """Answer a batch of prompts. See `Backend.generate`.

        The response to an `AlignmentForm` is JSON, as it says, except within a dialogue: that is free text.
        """
        loaded = self.load()
        with loaded.engine.at_work():
            return self._answer(loaded, prompts)

    def _answer(self, loaded: "Loaded", prompts: Sequence[Prompt]) -> list[Response]:
        responses: dict[int, Response] = {}
        texts: list[Job] = []
        asked: list[tuple[int, Callable[[], Question]]] = []
        for number, prompt in enumerate(prompts):
            try:
                job = loaded.job(number, prompt)
            except LLMError as error:
                responses[number] = error
            except Exception as error:  # whatever the chat template does not like
                responses[number] = LLMError(f"{type(error).__name__}: {error}", retryable=False)
            else:
                if isinstance(job, Job):
                    texts.append(job)
                else:
                    asked.append((number, job))
        loaded.draft([text for text in texts if text.form is not None])
        responses.update(loaded.generate(texts))
        responses.update(loaded.choose(asked))
        return [responses[number] for number in range(len(prompts))]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_loaded": None}


class Loaded:
    """A loaded model, and the forms in which it takes prompts."""

    def __init__(self, engine: Engine, backend: LocalBackend) -> None:
        self.engine = engine
        self.backend = backend
        self.chat = backend.form == "chat" or (
            backend.form == "auto" and bool(getattr(engine.tokenizer, "chat_template", None))
        )
        self.tokens = engine.tokenizer.backend_tokenizer
        self.tokens.encode_special_tokens = not self.chat  # "<eos>" in a text is text
        self.longest = min(filter(None, (backend.longest, engine.longest)), default=None)
        self._heads: dict[str, TokenTree] = {}
        self._vocabularies: dict[tuple[frozenset[str], tuple[int, ...]], np.ndarray | None] = {}

    def encode(self, texts: Sequence[str], *, begin: bool) -> list[list[int]]:
        """RETURNS (List[List[int]]): Tokens, with BOS if they begin a prompt that does not have it from the
        chat template."""
        sendable = [text.encode("utf-8", "replace").decode("utf-8") for text in texts]  # no lone surrogates
        encodings = self.tokens.encode_batch_fast(sendable, add_special_tokens=begin and not self.chat)
        return [encoding.ids for encoding in encodings]

    def job(self, number: int, prompt: Prompt) -> "Job | Callable[[], Question]":
        """Put a prompt in the form that the model takes.

        RETURNS (Union[Job, Callable[[], Question]]): To be generated, or what to choose from.
        RAISES (LLMError): It is too long.
        """
        form = prompt.completion
        if self.chat:
            text = self.engine.tokenizer.apply_chat_template(
                list(prompt.messages), tokenize=False, add_generation_prompt=True, **self.backend.template
            )
            if not isinstance(form, AlignmentForm) or prompt.turns or not prompt.schema:
                return Job(
                    number, self._tree(text, "", self.backend.max_tokens), self.backend.max_tokens, "chat"
                )
            names = [f"{{{_json(name)}:" for name in prompt.schema["properties"]]
            self._tree(text, "", form.max_tokens)
            return lambda: self._question(form, text, names, "")
        if form is None or prompt.turns:
            tree = self._tree(str(prompt), "", self.backend.max_tokens)
            return Job(number, tree, self.backend.max_tokens, "paragraph")
        head = "" if self.backend.tuned else form.head
        if isinstance(form, AlignmentForm):
            self._tree(head + form.prefix, head, form.max_tokens)
            return lambda: self._question(form, head + form.prefix, form.questions, head)
        draft = self.backend.draft and form.drafted
        tree = self._tree(form.draft[0] if draft else head + form.prompt, head, form.max_tokens)
        limit = min(form.max_tokens, LENGTH_RATIO * (len(tree) - tree.computed) + LENGTH_EXTRA)
        return Job(number, tree, limit, "line", form if draft else None)

    def _tree(self, text: str, head: str, limit: int) -> TokenTree:
        """RETURNS (TokenTree): A prompt. The examples that it begins with are computed once for all prompts.
        RAISES (LLMError): It is too long, with an answer of `limit` tokens."""
        (tokens,) = self.encode([text], begin=True)
        if self.longest is not None and len(tokens) + limit > self.longest:
            raise LLMError(
                f"a prompt of {len(tokens)} tokens; the model takes {self.longest}", retryable=False
            )
        return TokenTree(tokens, self._head(head, tokens))

    def _head(self, text: str, tokens: Sequence[int]) -> TokenTree | None:
        """RETURNS (Optional[TokenTree]): Examples, if the tokens of a prompt begin with theirs."""
        if not text:
            return None
        if text not in self._heads:
            head = TokenTree(self.encode([text], begin=True)[0])
            self.engine.read(head)
            if len(self._heads) >= KEPT:
                del self._heads[next(iter(self._heads))]
            self._heads[text] = head
        head = self._heads[text]
        return head if len(head) < len(tokens) and list(tokens[: len(head)]) == head.tokens else None

    def _question(self, form: AlignmentForm, text: str, names: Sequence[str], head: str) -> Question:
        """RETURNS (Question): A request for source words, as the search takes it."""
        checks = form.checks if self.backend.check_weight and not self.chat else []
        prompts = self.encode([*(text + name for name in names), *(text + c[0] for c in checks)], begin=True)
        trunk, rests = split_shared(prompts)
        words = possible_answers(form.text)
        texts = {word: f" {_json(word)}" if self.chat else f" {word}\n" for word in words}
        if self.chat or self.backend.tuned:
            texts[NONE] = " null" if self.chat else f" {NONE}\n"
        # In the place where they stand, since some tokenizers begin a text in another way.
        colon, *encoded = self.encode([":", *(f":{text}" for text in texts.values())], begin=False)
        answers = {word: ids[len(colon) :] for word, ids in zip(texts, encoded, strict=True)}

        def check(number: int, answer: str) -> tuple[list[int], list[int]] | None:
            if answer == NONE:
                return None
            return [*rests[len(names) + number], *self._more(f" {answer}")], self._more(checks[number][1])

        return Question(
            trunk=TokenTree(trunk, self._head(head, trunk)),
            names=rests[: len(names)],
            answers={word: ids for word, ids in answers.items() if len(ids) <= form.max_tokens},
            check=check if checks else None,
            vocabulary=self._vocabulary(scripts("".join(words)), tuple(answers.get(NONE, ()))),
        )

    def _more(self, text: str) -> list[int]:
        """RETURNS (List[int]): The tokens of a text that continues another."""
        return self.encode([text], begin=False)[0]

    def _vocabulary(self, letters: frozenset[str], more: tuple[int, ...]) -> np.ndarray | None:
        """The tokens in which words of a text can be written.

        letters (FrozenSet[str]): Its scripts.
        more (Tuple[int, ...]): Further tokens.
        RETURNS (Optional[ndarray]): Ids, ascending; None if they are so many that the whole vocabulary is as
            well, and where tokens are not characters.
        """
        if self.chat or not getattr(self.tokens.model, "byte_fallback", False):
            return None
        key = letters, more
        if key not in self._vocabularies:
            ids = {*more, *(token for token, own in self._scripts.items() if own <= letters)}
            few = len(ids) <= len(self._scripts) * VOCABULARY_SHARE
            if len(self._vocabularies) >= KEPT:
                del self._vocabularies[next(iter(self._vocabularies))]
            self._vocabularies[key] = np.array(sorted(ids)) if few else None
        return self._vocabularies[key]

    @cached_property
    def _scripts(self) -> dict[int, frozenset[str]]:
        """The scripts of all tokens."""
        vocabulary = self.tokens.get_vocab()
        return {i: scripts("" if token in BYTE_TOKENS else token) for token, i in vocabulary.items()}

    @cached_property
    def _lines(self) -> list[int]:
        """The tokens that begin with a line break."""
        return self._beginning_with("\n")

    @cached_property
    def _paragraphs(self) -> list[int]:
        """The tokens that begin with a blank line."""
        return self._beginning_with("\n\n")

    def _beginning_with(self, text: str) -> list[int]:
        vocabulary = self.tokens.get_vocab()
        tokens = [i for token, i in vocabulary.items() if token.startswith(LINE_BREAKS)]
        return [i for i in sorted(tokens) if self.tokens.decode([i]).startswith(text)]

    def draft(self, texts: Sequence[Job]) -> None:
        """Write the line of names that helps to translate; a text whose line has no end goes without."""
        lengths = [len(text.tree) for text in texts]
        drafts = [(text.tree, text.limit) for text in texts]
        for place, line in self.engine.generate(drafts, [*self.engine.ends, *self._lines], 1):
            text, tree = texts[place], texts[place].tree
            assert text.form is not None
            text.drafted = len(line.tokens) if line else 0
            if line and line.ended:
                if len(tree) == lengths[place]:  # the engine has not worked on the tree itself
                    tree.extend(line.tokens)
                tree.extend(self._more(text.form.draft[1]))
                tree.settle()
            else:
                text.tree = self._tree(text.form.prompt, "", text.limit)

    def generate(self, texts: Sequence[Job]) -> Iterator[tuple[int, Response]]:
        """YIELDS (Tuple[int, Response]): The number of a prompt and its response."""
        for kind in dict.fromkeys(text.kind for text in texts):
            group = [text for text in texts if text.kind == kind]
            ends = [] if kind == "chat" else self._lines if kind == "line" else self._paragraphs
            sizes = [len(text.tree) for text in group]
            prompts = [(text.tree, text.limit) for text in group]
            least = 0 if kind == "chat" else 1
            for place, made in self.engine.generate(prompts, [*self.engine.ends, *ends], least):
                text = group[place]
                if made is None:
                    yield text.number, _too_long(sizes[place])
                    continue
                usage = Usage(prompt_tokens=sizes[place], completion_tokens=len(made.tokens) + text.drafted)
                if kind == "chat" and not made.ended:
                    usage.failed = 1
                    reason = "the answer was cut off at the token limit; see `max_tokens`"
                    yield text.number, UnusableAnswer(reason, usage=usage)
                else:
                    usage.requests = 1
                    yield text.number, Answer(self.tokens.decode(made.tokens).strip(), usage)

    def choose(self, asked: Sequence[tuple[int, Callable[[], Question]]]) -> Iterator[tuple[int, Response]]:
        """YIELDS (Tuple[int, Response]): The number of a prompt and its response."""
        questions: list[Question] = []

        def made() -> Iterator[Question]:
            for _, make in asked:
                questions.append(make())
                yield questions[-1]

        chosen = self.engine.choose(made(), self.backend.check_weight)
        for place, (number, _) in enumerate(asked):
            ranked, question = next(chosen), questions[place]
            if ranked is None:
                yield number, _too_long(question.size)
                continue
            spent = sum(len(question.answers[answers[0][0]]) for answers in ranked if answers)
            usage = Usage(requests=1, prompt_tokens=question.size, completion_tokens=spent)
            yield number, Answer(json.dumps(ranked, ensure_ascii=False), usage)


def is_out_of_memory(error: RuntimeError) -> bool:
    """RETURNS (bool): Whether an engine's error is a lack of memory."""
    words = ("out of memory", "can't allocate memory", "failed to allocate")
    return any(word in str(error).lower() for word in words)


def _too_long(tokens: int) -> LLMError:
    return LLMError(f"a prompt of {tokens} tokens is more than the memory holds", retryable=False)


def _json(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
