"""What is asked of an LLM, and what it answers."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, runtime_checkable

from ..types import Failure, Usage

Message = dict[str, str]


class Candidate(NamedTuple):
    """One answer to "which source words stand for this English name?".

    text (str): The answer as the LLM gave it; "" for "none".
    logprob (Optional[float]): Summed log-probability (nats) of the answer, None where the backend does not
        tell.
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


class Fault(NamedTuple):
    """What is wrong with an answer.

    reason (str): In words for the user.
    fatal (bool): The answer is of no use: it is not kept in the cache, and fails the sentence. Else a better
        one is asked for, and the answer is used if there is none.
    """

    reason: str
    fatal: bool = True


Check = Callable[[str], Fault | None]


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
    check (Optional[Callable[[str], Optional[Fault]]]): Finds fault with an answer (to the last turn). No
        part of the request. It must be picklable: a function of a module, or a `partial` of one.
    again (Optional[Prompt]): The same request in another form, for an answer that `check` finds fault with.
    """

    messages: tuple[Message, ...]
    completion: Completion | None
    schema: dict[str, Any] | None
    turns: tuple[str, ...]
    check: Check | None
    again: "Prompt | None"

    def __new__(
        cls,
        text: str,
        *,
        messages: Sequence[Message] | None = None,
        completion: Completion | None = None,
        schema: dict[str, Any] | None = None,
        turns: Sequence[str] = (),
        check: Check | None = None,
        again: "Prompt | None" = None,
    ) -> "Prompt":
        self = super().__new__(cls, text)
        self.messages = tuple(messages or ({"role": "user", "content": text},))
        self.completion = completion
        self.schema = schema
        self.turns = tuple(turns)
        self.check = check
        self.again = again
        return self

    def fault(self, answer: str) -> Fault | None:
        """RETURNS (Optional[Fault]): What is wrong with an answer, None if nothing is."""
        return None if self.check is None else self.check(answer)

    def __getnewargs_ex__(self) -> Any:  # copies and pickles keep the rest
        rest = {
            "messages": self.messages,
            "completion": self.completion,
            "schema": self.schema,
            "turns": self.turns,
            "check": self.check,
            "again": self.again,
        }
        return (str(self),), rest


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


class LLMError(Failure):
    """A request failed for good.

    A backend does not raise it for one prompt among many: it puts it in the
    place of that prompt's response, and the rest of the batch goes on.

    retryable (bool): Whether the same request may succeed later (a busy
        server), or never will (a wrong model name).
    usage (Usage): What the request took all the same.
    """

    def __init__(self, message: str, *, retryable: bool = True, usage: Usage | None = None) -> None:
        super().__init__(message, retryable=retryable)
        self.usage = Usage(failed=1) if usage is None else usage


class UnusableAnswer(LLMError):
    """The model answered, but not to the point: it refused, said nothing, or was cut off at the token limit.
    Another form of the request may fare better, the same one won't."""

    def __init__(self, message: str, *, retryable: bool = False, usage: Usage | None = None) -> None:
        super().__init__(message, retryable=retryable, usage=usage)


Response = Answer | LLMError


@runtime_checkable
class LLMModel(Protocol):
    """What spacy-llm calls a model: prompts per doc in, responses per doc out."""

    def __call__(self, prompts: Iterable[Iterable[Any]]) -> Iterable[Iterable[Any]]: ...
