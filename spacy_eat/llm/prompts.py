"""What is asked of an LLM, and what it answers."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ..types import Failure, Usage
from .forms import Completion

Message = dict[str, str]


class Candidate(NamedTuple):
    """One answer to "which source words stand for this English name?".

    text (str): The answer as the LLM gave it; "" for "none".
    logprob (Optional[float]): Summed log-probability (nats) of the answer, None where the backend does not
        tell.
    """

    text: str
    logprob: float | None = None


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
    completion (Optional[Completion]): The same request in plain fields, for an LLM that continues a text.
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
