"""LLMs that run in this process: one backend, whatever engine computes.

The backend puts prompts in the form that a model takes, in tokens, and makes responses of what the engine
generates or chooses. An engine knows tokens only.
"""

import json
import math
import threading
from collections.abc import Callable, Hashable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple, Protocol, get_args
from weakref import WeakValueDictionary

import numpy as np

from .answers import ANSWER_CHARS, edges, possible_answers, scripts
from .backend import Backend
from .cache import RequestCache
from .decoding import Question, TokenTree, split_shared
from .forms import (
    CLOSING,
    NONE,
    OPENING,
    AlignmentForm,
    ChoiceForm,
    LineForm,
    PlacementForm,
    TranslationForm,
)
from .placing import ForcedText, Pair
from .prompts import Answer, LLMError, Prompt, Response, UnusableAnswer, Usage

PromptStyle = Literal["auto", "chat", "completion"]

KEPT = 4  # sets of examples, and parts of the vocabulary, that are kept
VOCABULARY_SHARE = 0.25  # the largest part of the vocabulary that is worth computing by itself
LINE_BREAKS = ("\n", "Ċ", "<0x0A>")  # how tokens spell one: as it is, as a byte of GPT-2's, as a byte
BYTE_TOKENS = frozenset(f"<0x{byte:02X}>" for byte in range(256))
# Tokens of a translation at most: so many per token of the prompt, and some more.
LENGTH_RATIO, LENGTH_EXTRA = 2, 16
# What texts are put behind to be encoded as in the middle of another: the first that does not melt into them.
ANCHORS = ("。", ":", "a", "1")
PLACED = 4  # most tokens of a marker
NO_PATH = "forced decoding finds no path"


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

    def place(self, texts: Iterable[ForcedText]) -> Iterator[list[Pair] | None]:
        """Place markers. See `spacy_eat.llm.placing.place_markers`.

        YIELDS (Optional[List[Pair]]): For each text, in order, its pairs; None for one that the memory does
            not hold.
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


# Loaded models by what they are, and by thread, as no two may compute with one at a time. Each is here as
# long as a backend has it.
ENGINES: WeakValueDictionary[Hashable, Engine] = WeakValueDictionary()


class LocalBackend(Backend):
    """A model in this process. Copies and pickles carry no weights: each process loads its own."""

    forced = True

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
        """Load the model, if it isn't, and prepare it, if it is the first time. Where another backend of this
        thread has the same one loaded, as the translator's and the aligner's are by default, it is shared.

        RETURNS (Loaded): The model, with what puts prompts in its tokens.
        RAISES (ImportError): A library is missing.
        RAISES (ValueError, OSError): The model can't be loaded.
        """
        if self._loaded is None:
            known = json.dumps(self._model_identity)
            key = (self.model, known, self.settings, self.form, threading.get_ident())
            engine = ENGINES.get(key)
            if engine is None:
                engine = ENGINES[key] = self.model.load(self.settings)
            self._loaded = Loaded(engine, self)
        return self._loaded

    def generate(self, prompts: Sequence[Prompt]) -> list[Response]:
        """Answer a batch of prompts. See `Backend.generate`.

        The response to an `AlignmentForm`, a `ChoiceForm` or a `PlacementForm` is JSON, as it says, except
        within a dialogue: that is free text.
        """
        loaded = self.load()
        with loaded.engine.at_work():
            return self._answer(loaded, prompts)

    def _answer(self, loaded: "Loaded", prompts: Sequence[Prompt]) -> list[Response]:
        responses: dict[int, Response] = {}
        texts: list[Job] = []
        asked: list[tuple[int, Callable[[], Question]]] = []
        chosen: dict[tuple[Any, ...], list[tuple[int, Prompt]]] = {}
        placed: list[tuple[int, Callable[[], ForcedText]]] = []
        for number, prompt in enumerate(prompts):
            try:
                form = prompt.completion
                if isinstance(form, PlacementForm):
                    placed.append((number, loaded.placement(prompt, form)))
                    continue
                if isinstance(form, ChoiceForm):
                    chosen.setdefault(loaded.alike(prompt, form), []).append((number, prompt))
                    continue
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
        responses.update(loaded.decide(list(chosen.values())))
        responses.update(loaded.place(placed))
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
        assert not isinstance(form, ChoiceForm | PlacementForm)  # see `alike`, `placement`
        if self.chat:
            text = self._chat(prompt)
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
        head = "" if self.backend.tuned and form.tuned else form.head
        if isinstance(form, AlignmentForm):
            self._tree(head + form.prefix, head, form.max_tokens)
            return lambda: self._question(form, head + form.prefix, form.questions, head)
        if isinstance(form, LineForm) or not (self.backend.draft and form.drafted):
            draft, tree = None, self._tree(head + form.prompt, head, form.max_tokens)
        else:
            draft, tree = form, self._tree(form.draft[0], "", form.max_tokens)
        limit = min(form.max_tokens, LENGTH_RATIO * (len(tree) - tree.computed) + LENGTH_EXTRA)
        return Job(number, tree, limit, "line", draft)

    def _tree(self, text: str, head: str, limit: int) -> TokenTree:
        """RETURNS (TokenTree): A prompt. The examples that it begins with are computed once for all prompts.
        RAISES (LLMError): It is too long, with an answer of `limit` tokens."""
        (tokens,) = self.encode([text], begin=True)
        self._check_length(tokens, limit)
        return TokenTree(tokens, self._head(head, tokens))

    def _check_length(self, tokens: Sequence[int], limit: int) -> None:
        """RAISES (LLMError): A prompt is too long, with an answer of `limit` tokens."""
        if self.longest is not None and len(tokens) + limit > self.longest:
            raise LLMError(
                f"a prompt of {len(tokens)} tokens; the model takes {self.longest}", retryable=False
            )

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

    def alike(self, prompt: Prompt, form: ChoiceForm) -> tuple[Any, ...]:
        """RETURNS (Tuple[Any, ...]): What requests have in common that are computed together.
        RAISES (LLMError): It is too long."""
        text = self._chat(prompt) if self.chat else form.head + form.prefix + form.question
        self._tree(text, "", form.max_tokens)
        return (text if self.chat else form.head + form.prefix), form.choices

    def _choice(self, prompts: Sequence[Prompt]) -> Question:
        """RETURNS (Question): Requests for one of the same answers, as the search takes them."""
        forms = [prompt.completion for prompt in prompts if isinstance(prompt.completion, ChoiceForm)]
        first = forms[0]
        if self.chat:
            head, texts, ends = "", [self._chat(prompt) for prompt in prompts], self.engine.ends[:1]
            answers = self._continued(list(first.choices))
        else:
            head, ends = first.head, []
            texts = [head + form.prefix + form.question for form in forms]
            answers = self._continued([f" {choice}\n" for choice in first.choices])
        trunk, rests = split_shared(self.encode(texts, begin=True))
        return Question(
            trunk=TokenTree(trunk, self._head(head, trunk)),
            names=rests,
            answers={c: [*ids, *ends] for c, ids in zip(first.choices, answers, strict=True)},
        )

    def placement(self, prompt: Prompt, form: PlacementForm) -> Callable[[], ForcedText]:
        """Put a request for the places of markers in the form that the model takes.

        RETURNS (Callable[[], ForcedText]): What is forced.
        RAISES (LLMError): It is too long, or no name can stand in the text.
        """
        starts, ends = edges(form.text)
        if not starts or not ends:
            raise LLMError(f"{NO_PATH}: no name can stand in {form.text[:80]!r}", retryable=False)
        if self.chat:
            head, prompts = "", [self._chat(prompt), self._chat(prompt, form.marked, form.plain)]
        else:
            head, prompts = form.head, [form.head + own for own in form.prompts]
        marked, plain = self.encode(prompts, begin=True)
        lead, end = ("", "") if self.chat else (" ", "\n")
        whole, offsets = self._with_ends(lead + form.text + end)
        self._check_length(marked, len(whole) + 2 * PLACED)

        def forced() -> ForcedText:
            text, stop = form.text, self.engine.ends[:1] if self.chat else []
            spaces = [(lead + text)[: start + len(lead)].endswith(" ") for start in starts]
            before = [
                (lead + text)[: start + len(lead) - space]
                for start, space in zip(starts, spaces, strict=True)
            ]
            free, spaced, closing = self._continued([OPENING, f" {OPENING}", CLOSING])
            after = self._continued([text[at:] + end for at in ends])

            def names(start: int) -> dict[int, list[int]]:
                reached = [at for at in ends if start < at <= start + ANSWER_CHARS]
                return dict(zip(reached, self._continued([text[start:at] for at in reached]), strict=True))

            return ForcedText(
                marked=marked,
                plain=plain,
                head=self._head(head, marked),
                whole=[*whole, *stop],
                ends=[max(0, at - len(lead)) for at in offsets] + [len(text) + 1] * len(stop),
                before=dict(zip(starts, self._continued(before), strict=True)),
                opening={s: spaced if space else free for s, space in zip(starts, spaces, strict=True)},
                names=names,
                closing=closing,
                after={at: [*rest, *stop] for at, rest in zip(ends, after, strict=True)},
                vocabulary=self._vocabulary(
                    scripts(text), tuple(sorted({*free, *spaced, *closing, *whole[-1:]}))
                ),
            )

        return forced

    def _chat(self, prompt: Prompt, old: str = "", new: str = "") -> str:
        """RETURNS (str): The messages of a prompt in the chat template, with one text for another."""
        messages = [
            {**m, "content": m["content"].replace(old, new) if old else m["content"]} for m in prompt.messages
        ]
        text: str = self.engine.tokenizer.apply_chat_template(
            messages, tokenize=False, add_generation_prompt=True, **self.backend.template
        )
        return text

    def _continued(self, texts: Sequence[str]) -> list[list[int]]:
        """RETURNS (List[List[int]]): The tokens of texts that continue another, whose last token stays what
        it is: some tokenizers begin a text in another way."""
        return [ids for ids, _ in map(self._with_ends, texts)]

    def _with_ends(self, text: str) -> tuple[list[int], list[int]]:
        """RETURNS (Tuple[List[int], List[int]]): The tokens of a text that continues another, and the
        character where each ends."""
        sendable = text.encode("utf-8", "replace").decode("utf-8")
        for anchor in ANCHORS:
            (first,) = self.encode([anchor], begin=False)
            encoding = self.tokens.encode(anchor + sendable, add_special_tokens=False)
            if encoding.ids[: len(first)] == first:
                break
        else:
            first, anchor, encoding = [], "", self.tokens.encode(sendable, add_special_tokens=False)
        ends = [end - len(anchor) for _, end in encoding.offsets[len(first) :]]
        return encoding.ids[len(first) :], ends

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

    def decide(self, groups: Sequence[Sequence[tuple[int, Prompt]]]) -> Iterator[tuple[int, Response]]:
        """YIELDS (Tuple[int, Response]): The number of a prompt and its response. What is in one group is
        computed together."""
        questions: list[Question] = []

        def made() -> Iterator[Question]:
            for group in groups:
                questions.append(self._choice([prompt for _, prompt in group]))
                yield questions[-1]

        chosen = self.engine.choose(made(), 0.0)
        for place, group in enumerate(groups):
            found, question = next(chosen), questions[place]
            for i, (number, _) in enumerate(group):
                if found is None:
                    yield number, _too_long(question.size)
                    continue
                size = question.size if i == 0 else len(question.names[i])
                usage = Usage(requests=1, prompt_tokens=size, completion_tokens=1)
                yield number, Answer(json.dumps(found[i], ensure_ascii=False), usage)

    def place(self, asked: Sequence[tuple[int, Callable[[], ForcedText]]]) -> Iterator[tuple[int, Response]]:
        """YIELDS (Tuple[int, Response]): The number of a prompt and its response."""
        texts: list[ForcedText] = []

        def made() -> Iterator[ForcedText]:
            for _, make in asked:
                texts.append(make())
                yield texts[-1]

        placed = self.engine.place(made())
        for number, (place, _) in enumerate(asked):
            pairs, size = next(placed), len(texts[number].marked) + len(texts[number].whole)
            if pairs is None:
                yield place, _too_long(size)
            elif not any(math.isfinite(pair.logprob) for pair in pairs if pair.start is not None):
                yield place, LLMError(f"{NO_PATH}: the model holds no place possible", retryable=False)
            else:
                usage = Usage(
                    requests=1,
                    prompt_tokens=len(texts[number].marked),
                    completion_tokens=len(texts[number].whole),
                )
                yield place, Answer(json.dumps(pairs), usage)


def is_out_of_memory(error: RuntimeError) -> bool:
    """RETURNS (bool): Whether an engine's error is a lack of memory."""
    words = ("out of memory", "can't allocate memory", "failed to allocate")
    return any(word in str(error).lower() for word in words)


def _too_long(tokens: int) -> LLMError:
    return LLMError(f"a prompt of {tokens} tokens is more than the memory holds", retryable=False)


def _json(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
