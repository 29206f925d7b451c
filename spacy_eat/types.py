"""The few types everything passes on.

What is stored on a `Doc` is plain JSON (`TypedDict`s), so that it survives
`Doc.to_bytes`, `DocBin(store_user_data=True)` and `json.dumps` unchanged.
What only travels between modules is a dataclass.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import (
    Any,
    Literal,
    Protocol,
    TypedDict,
    runtime_checkable,
)

Message = dict[str, str]

# How an entity's span was found in the source text:
#   exact      the answer stands in the source, character for character
#   variant    it stands there after normalisation (width, traditional or
#              simplified script, spacing, middle dots, brackets, glosses)
#   fuzzy      a slice of the source is similar to it, above the threshold
#   unaligned  no slice of the source was accepted; the entity has no span
AlignmentStatus = Literal["exact", "variant", "fuzzy", "unaligned"]

# What happened to a sentence:
#   pending     not translated yet
#   translated  English is there (from the LLM), entities are not aligned yet
#   given       English is there, set by the user
#   aligned     entities were looked for and assigned
#   failed      `error` says why; running the component again retries it
SentenceStatus = Literal["pending", "translated", "given", "aligned", "failed"]


class EntityRecord(TypedDict):
    """One English entity and the place it came from.

    text (str): The English mention.
    label (str): The label on the source doc, after the label map.
    english_start, english_end (int): Characters of the sentence's English.
    answers (List[str]): What the LLM answered, best first, as it stood.
    logprobs (List[Optional[float]]): For each answer its summed
        log-probability (nats), None where the backend does not tell.
    start_char, end_char (Optional[int]): Characters of `doc.text`, half open;
        None if the entity is unaligned.
    status (AlignmentStatus): How the span was found.
    score (float): Confidence, 0.0 to 1.0; 0.0 if unaligned.
    """

    text: str
    label: str
    english_start: int
    english_end: int
    answers: list[str]
    logprobs: list[float | None]
    start_char: int | None
    end_char: int | None
    status: AlignmentStatus
    score: float


class SentenceRecord(TypedDict):
    """One sentence of a doc, on its way through the pipeline.

    start_char, end_char (int): Characters of `doc.text`, half open.
    english (Optional[str]): The translation, None until there is one.
    status (SentenceStatus): Where the sentence stands.
    error (Optional[str]): Why it failed, None if it did not.
    entities (List[EntityRecord]): One per English mention, and one more per
        repeated source mention where `mentions = "all"`.
    requests (int): LLM requests spent on the sentence so far.
    """

    start_char: int
    end_char: int
    english: str | None
    status: SentenceStatus
    error: str | None
    entities: list[EntityRecord]
    requests: int


class EatRecord(TypedDict):
    """What `doc._.eat` holds.

    sentences (List[SentenceRecord]): In the order of the text.
    counts (Dict[str, int]): What the token boundary policy changed
        ("split", "expanded", "dropped", ...), summed over the doc.
    usage (Dict[str, float]): What the LLM has spent on the doc, by the fields of `Usage`.
    """

    sentences: list[SentenceRecord]
    counts: dict[str, int]
    usage: dict[str, float]


@dataclass(frozen=True)
class EnglishEntity:
    """An entity of an English sentence: text, (mapped) label and character
    offsets in the English text, half open."""

    text: str
    label: str
    start_char: int
    end_char: int


@dataclass(frozen=True)
class Candidate:
    """One answer to "which source words are this English entity?".

    text (str): The answer as the LLM gave it.
    logprob (Optional[float]): Summed log-probability (nats) of the answer,
        None where the backend does not tell.
    """

    text: str
    logprob: float | None = None


@dataclass(frozen=True)
class Completion:
    """The form of a request that a base (not instruction-tuned) LLM continues.

    The full prompts are `examples + prefix + suffix`, one per suffix; a
    backend may compute what they share once. No prompt ends with a space: an
    answer is continued as " " + answer + "\n".

    examples (str): Solved examples, "" for none. A backend whose model was
        tuned on this form leaves them out.
    prefix (str): What all prompts begin with.
    suffixes (Tuple[str, ...]): What each prompt ends with: one for a
        translation, one per English phrase for an alignment.
    source (Optional[str]): If set, every answer must be a substring of it (or
        `none`), and the response is JSON: for each suffix a list of
        [answer, logprob], best first. If None, the response is the text up to
        the first line break, and there is exactly one suffix.
    none (Optional[str]): The answer that says "not in the source", if the
        model was tuned to give one.
    draft (Optional[Tuple[str, str]]): If set, a tuned model may first write a line
        that helps it, such as the names of a text with their English: what this
        line begins with, and what follows it in place of the suffix. The prompt
        is then `prefix + draft[0] + line + "\n" + draft[1]`.
    checks (Tuple[Tuple[str, str], ...]): The same asked the other way round: per
        suffix, what follows the prefix before an answer, and what should follow
        " " + answer. A backend tuned on it lets the probability of the latter
        decide between answers that are about as likely.
    priors (Tuple[str, ...]): Suffixes with dummy phrases. A candidate's mean
        log-probability under them says how likely it is whatever is asked;
        a backend subtracts a share of it.
    max_tokens (int): Longest answer, in tokens.
    """

    prefix: str
    suffixes: tuple[str, ...]
    source: str | None = None
    none: str | None = None
    draft: tuple[str, str] | None = None
    checks: tuple[tuple[str, str], ...] = ()
    priors: tuple[str, ...] = ()
    max_tokens: int = 256
    examples: str = ""


class Prompt(str):
    """A rendered prompt.

    It is a `str`, so every spacy-llm model can take it. Backends that know
    more use the richer forms it carries.

    messages (Tuple[Message, ...]): The same request as chat messages, with
        "role" and "content".
    completion (Optional[Completion]): The same request for a base LLM.
    schema (Optional[dict]): JSON schema of the answer, for servers that can
        enforce one. None: free text.
    turns (Tuple[str, ...]): Further user turns of a dialogue. Each is sent
        after the answer to the one before; the last answer counts.
    """

    messages: tuple[Message, ...]
    completion: Completion | None
    schema: dict[str, Any] | None
    turns: tuple[str, ...]

    def __new__(
        cls,
        text: str,
        *,
        messages: Sequence[Message] | None = None,
        completion: Completion | None = None,
        schema: dict[str, Any] | None = None,
        turns: Sequence[str] = (),
    ) -> "Prompt":
        self = super().__new__(cls, text)
        self.messages = tuple(messages or ({"role": "user", "content": text},))
        self.completion = completion
        self.schema = schema
        self.turns = tuple(turns)
        return self

    def __getnewargs_ex__(self) -> Any:  # copies and pickles keep the rest
        rest = {
            "messages": self.messages,
            "completion": self.completion,
            "schema": self.schema,
            "turns": self.turns,
        }
        return (str(self),), rest


@dataclass
class Usage:
    """What a backend has spent. Costs are in the currency of the rates given.

    requests (int): Requests answered by the model (retries not counted).
    cached (int): Requests answered from the cache.
    retried (int): Attempts that had to be repeated.
    failed (int): Requests given up on.
    prompt_tokens, completion_tokens (int): As counted by the server or engine.
    cost (float): 0.0 unless rates are configured.
    """

    requests: int = 0
    cached: int = 0
    retried: int = 0
    failed: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0

    def add(self, other: "Usage") -> None:
        """Add what another one has spent."""
        for name, amount in vars(other).items():
            setattr(self, name, getattr(self, name) + amount)


class Answer(str):
    """What an LLM said.

    usage (Usage): What the request took.
    """

    usage: Usage

    def __new__(cls, text: str, usage: Usage | None = None) -> "Answer":
        self = super().__new__(cls, text)
        self.usage = Usage(requests=1) if usage is None else usage
        return self

    def __getnewargs__(self) -> Any:  # copies and pickles keep the usage
        return str(self), self.usage


class LLMError(Exception):
    """A request failed for good.

    A backend does not raise it for one prompt among many: it puts it in the
    place of that prompt's response, and the rest of the batch goes on.

    retryable (bool): Whether the same request may succeed later (a busy
        server), or never will (a wrong model name).
    usage (Usage): What the request took all the same.
    """

    def __init__(self, message: str, *, retryable: bool = True, usage: Usage | None = None) -> None:
        super().__init__(message)
        self.retryable = retryable
        self.usage = Usage(failed=1) if usage is None else usage


Response = Answer | LLMError


@runtime_checkable
class LLMModel(Protocol):
    """What spacy-llm calls a model: prompts per doc in, responses per doc out."""

    def __call__(self, prompts: Iterable[Iterable[Any]]) -> Iterable[Iterable[Any]]: ...


@dataclass(frozen=True)
class Alignment:
    """An English entity with its place in the source, as grounding decided.

    start, end (int): Characters of the source sentence, half open.
    status (AlignmentStatus): "exact", "variant" or "fuzzy".
    score (float): 0.0 to 1.0.
    entity (int): Index of the English entity.
    mentioned (bool): False for a further occurrence that no English mention
        was assigned to (`mentions = "all"`).
    """

    start: int
    end: int
    status: AlignmentStatus
    score: float
    entity: int
    mentioned: bool = field(default=True)
