"""What the backends share that run a model of the user's own in this process:
the forms in which it takes prompts, and who does what with them."""

import json
from abc import abstractmethod
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal, NamedTuple, Protocol, get_args

from .backend import Backend
from .cache import RequestCache
from .decoding import Question, TokenTree, possible_answers, split_shared
from .prompts import Answer, LLMError, Prompt, Response, Usage

Form = Literal["auto", "chat", "completion"]


class Job(NamedTuple):
    """A prompt as the engine takes it.

    number (int): Its place in the batch.
    text (str): What is to be continued, but for the names.
    tokens (List[int]): The tokens of the text.
    limit (int): Most tokens of an answer.
    examples (int): How many of the tokens are few-shot examples, the same in many prompts.
    source (Optional[str]): What the answers are chosen from, None to generate one.
    names, dummies (Sequence[str]): What follows the text, for each answer chosen.
    none (Optional[str]): The answer that there is none, if it may be chosen.
    """

    number: int
    text: str
    tokens: list[int]
    limit: int
    examples: int = 0
    source: str | None = None
    names: Sequence[str] = ()
    dummies: Sequence[str] = ()
    none: str | None = None

    @property
    def width(self) -> int:
        return len(self.tokens) + self.limit


@dataclass
class PromptForms:
    """Puts prompts in the form that a model takes, and in its tokens.

    tokenizer (PreTrainedTokenizerFast): The model's.
    form (str): "chat" for messages in the model's chat template, "completion" for
        a text to continue; "auto" for the former if there is a template.
    tuned (bool): The model was tuned on completions: it needs no examples, and
        may answer that there is none.
    max_tokens (int): Longest answer of a chat.
    template (Dict[str, Any]): Variables for the chat template.
    longest (Optional[int]): Most tokens that the model takes, None if not known.
    """

    tokenizer: Any
    form: Form
    tuned: bool
    max_tokens: int
    template: dict[str, Any]
    longest: int | None = None

    def __post_init__(self) -> None:
        has_template = bool(getattr(self.tokenizer, "chat_template", None))
        self.chat = self.form == "chat" or (self.form == "auto" and has_template)
        self._heads: dict[str, list[int]] = {}

    def encode(self, texts: Sequence[str], *, begin: bool) -> list[list[int]]:
        """RETURNS (List[List[int]]): Tokens, with BOS if they begin a prompt that
        does not have it from the chat template."""
        texts = [text.encode("utf-8", "replace").decode("utf-8") for text in texts]  # no lone surrogates
        encoded = self.tokenizer(texts, add_special_tokens=begin and not self.chat)
        return [list(ids) for ids in encoded["input_ids"]]

    @cached_property
    def line_breaks(self) -> list[int]:
        """The tokens that begin with a line break, where a completion ends."""
        texts = self.tokenizer.batch_decode([[token] for token in range(len(self.tokenizer))])
        return [token for token, text in enumerate(texts) if text.startswith("\n")]

    def answer(self, job: Job, tokens: list[int], ends: Collection[int]) -> Response:
        """RETURNS (Response): What was generated, up to the first of the tokens that end it."""
        length = next((i for i, token in enumerate(tokens) if token in ends), len(tokens))
        usage = Usage(prompt_tokens=len(job.tokens), completion_tokens=length)
        if self.chat and length >= job.limit:
            usage.failed = 1
            reason = "the answer was cut off at the token limit; see `max_tokens`"
            return LLMError(reason, retryable=False, usage=usage)
        usage.requests = 1
        text = self.tokenizer.decode(tokens[: min(length, job.limit)], skip_special_tokens=True)
        return Answer(text.strip(), usage)

    def job(self, number: int, prompt: Prompt) -> Job:
        """Put a prompt in the form that the model takes.

        number (int): Its place in the batch.
        prompt (Prompt): The prompt.
        RETURNS (Job): To be generated or chosen.
        RAISES (LLMError): It is too long.
        """
        form = prompt.completion
        source = None if form is None or prompt.turns else form.source
        names: Sequence[str] = ()
        dummies: Sequence[str] = ()
        limit, examples = self.max_tokens, ""
        if self.chat:
            messages = list(prompt.messages)
            text = self.tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=True, **self.template
            )
            names = [f"{{{_json(name)}:" for name in (prompt.schema or {}).get("properties", ())]
            source = source if names else None
        elif form is None:
            text = str(prompt)
        else:
            examples = "" if self.tuned else form.examples
            text = examples + form.prefix
            names, dummies, limit = form.suffixes, form.priors, form.max_tokens
            if source is None:
                text += names[0]
        (tokens,) = self.encode([text], begin=True)
        if self.longest is not None and len(tokens) + limit > self.longest:
            reason = f"a prompt of {len(tokens)} tokens; the model takes {self.longest}"
            raise LLMError(reason, retryable=False)
        shared = self._examples(examples, tokens)
        if source is None or form is None:
            return Job(number, text, tokens, limit, shared)
        none = form.none if self.chat or self.tuned else None
        return Job(number, text, tokens, form.max_tokens, shared, source, names, dummies, none)

    def _examples(self, examples: str, tokens: list[int]) -> int:
        """RETURNS (int): How many of the tokens of a prompt are those of its examples."""
        if not examples:
            return 0
        if examples not in self._heads:
            (self._heads[examples],) = self.encode([examples], begin=True)
        head = self._heads[examples]
        return len(head) if tokens[: len(head)] == head else 0

    def question(self, job: Job) -> Question:
        """RETURNS (Question): A job with a source, as the search takes it."""
        texts = {answer: f" {answer}\n" for answer in possible_answers(job.source or "")}
        if self.chat:
            texts = {answer: f" {_json(answer)}" for answer in texts}
        if job.none is not None:
            texts[job.none] = " null" if self.chat else f" {job.none}\n"
        # In the place where they stand, since some tokenizers begin a text in another way.
        colon, *encoded = self.encode([":", *(f":{text}" for text in texts.values())], begin=False)
        answers = {text: ids[len(colon) :] for text, ids in zip(texts, encoded, strict=True)}
        prompts = self.encode([job.text + name for name in (*job.names, *job.dummies)], begin=True)
        trunk, rests = split_shared(prompts)
        return Question(
            trunk=TokenTree(trunk),
            names=rests[: len(job.names)],
            dummies=rests[len(job.names) :],
            answers={text: ids for text, ids in answers.items() if len(ids) <= job.limit},
        )


class Engine(Protocol):
    """A loaded model. Both methods yield each job's number and its response, in any order."""

    forms: PromptForms

    def generate(self, jobs: Sequence[Job]) -> Iterable[tuple[int, Response]]: ...

    def choose(self, jobs: Sequence[Job]) -> Iterable[tuple[int, Response]]: ...


class LocalBackend(Backend):
    """A model in this process. Copies and pickles carry no weights."""

    _engine: Engine | None = None

    def __init__(
        self,
        *,
        form: Form,
        max_tokens: int,
        batch_tokens: int,
        beam_width: int,
        prior_weight: float,
        template: dict[str, Any],
        cache: RequestCache | None,
    ) -> None:
        """See `make_huggingface` and `make_ctranslate2`."""
        super().__init__(cache)
        self.form: Form = form
        self.max_tokens = max_tokens
        self.batch_tokens = batch_tokens
        self.beam_width = beam_width
        self.prior_weight = prior_weight
        self.template = template

    def _identity(self) -> dict[str, Any]:
        """RETURNS (Dict[str, Any]): What of these settings decides the answers."""
        return {
            "form": self.form,
            "max_tokens": self.max_tokens,
            "beam_width": self.beam_width,
            "prior_weight": self.prior_weight,
            "template": self.template,
        }

    @abstractmethod
    def load(self) -> Engine:
        """RETURNS (Engine): The model, loaded if it wasn't."""

    def generate(self, prompts: Sequence[Prompt]) -> list[Response]:
        """Answer a batch of prompts. See `Backend.generate`.

        The response to a prompt with a source is of the form that `Completion`
        describes, except within a dialogue: that is free text.
        """
        engine = self.load()
        responses: dict[int, Response] = {}
        jobs: list[Job] = []
        for number, prompt in enumerate(prompts):
            try:
                jobs.append(engine.forms.job(number, prompt))
            except LLMError as error:
                responses[number] = error
            except Exception as error:  # whatever the chat template does not like
                responses[number] = LLMError(f"{type(error).__name__}: {error}", retryable=False)
        responses.update(engine.generate([job for job in jobs if job.source is None]))
        responses.update(engine.choose([job for job in jobs if job.source is not None]))
        return [responses[number] for number in range(len(prompts))]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_engine": None}


def chosen_answer(question: Question, ranked: Sequence[Sequence[tuple[str, float]]]) -> Answer:
    """RETURNS (Answer): The answers to a question, as `Completion` describes."""
    chosen = sum(len(question.answers[answers[0][0]]) for answers in ranked if answers)
    usage = Usage(requests=1, prompt_tokens=question.size, completion_tokens=chosen)
    return Answer(json.dumps(ranked, ensure_ascii=False), usage)


def check_settings(form: str, **least_one: int) -> None:
    """RAISES (ValueError): A setting of a backend is out of its range."""
    if form not in get_args(Form):
        raise ValueError(f"form = {form!r} is none of {', '.join(get_args(Form))}")
    for setting, number in least_one.items():
        if number < 1:
            raise ValueError(f"{setting} = {number} is too small")


def is_out_of_memory(error: RuntimeError) -> bool:
    words = ("out of memory", "can't allocate memory", "failed to allocate")
    return any(word in str(error).lower() for word in words)


def too_long(job: Job) -> LLMError:
    return LLMError(f"a prompt of {len(job.tokens)} tokens is more than the memory holds", retryable=False)


def _json(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)


def likes_bfloat16(device: str) -> bool:
    """Whether a device computes faster with bfloat16 than with float32.

    device (str): "cpu", "cuda" or "cuda:1".
    """
    import torch

    if device.startswith("cuda"):
        return torch.cuda.is_bf16_supported(including_emulation=False)
    checks = ("_is_avx512_bf16_supported", "_is_amx_tile_supported")
    return any(getattr(torch.cpu, check, bool)() for check in checks)
