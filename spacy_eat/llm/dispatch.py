"""How the components put their prompts to a model, whichever it is."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from .backend import Backend
from .prompts import Answer, LLMError, Message, Prompt, Response, Usage

Model = Callable[[Iterable[Iterable[Any]]], Iterable[Iterable[Any]]]


def ask(model: Model, prompts: Sequence[Sequence[Prompt]]) -> list[list[Response]]:
    """Have prompts answered, such that one failure costs one answer.

    A `Backend` of this package takes all prompts at once. Any other spacy-llm
    model raises for the whole batch when one request fails, so it is called
    prompt by prompt (they send one request at a time anyway).

    A dialogue is asked turn by turn, each turn for all prompts together.

    model (Callable): Any spacy-llm model.
    prompts (Sequence[Sequence[Prompt]]): For each doc its prompts.
    RETURNS (List[List[Response]]): For each doc one response per prompt: the
        (last) answer, or an `LLMError` in its place.
    """
    flat = [prompt for group in prompts for prompt in group]
    answers: list[Response] = list(_ask(model, flat))
    for turn in range(max((len(prompt.turns) for prompt in flat), default=0)):
        open_ = [i for i, p in enumerate(flat) if turn < len(p.turns) and isinstance(answers[i], str)]
        for i in open_:
            flat[i] = _continued(flat[i], str(answers[i]), flat[i].turns[turn])
        for i, answer in zip(open_, _ask(model, [flat[i] for i in open_]), strict=True):
            answers[i] = _with_usage_of(answers[i], answer)
    remaining = iter(answers)
    return [[next(remaining) for _ in group] for group in prompts]


def _ask(model: Model, prompts: Sequence[Prompt]) -> list[Response]:
    if not prompts:
        return []
    if isinstance(model, Backend):
        return _checked(next(iter(model([prompts]))), len(prompts))
    answers: list[Response] = []
    for prompt in prompts:
        try:
            (answered,) = model([[prompt]])
            answers += _checked(answered, 1)
        except Exception as error:  # whatever a foreign model raises belongs to this prompt
            answers.append(LLMError(f"{type(error).__name__}: {error}"))
    return answers


def _checked(answers: Iterable[Any], expected: int) -> list[Response]:
    checked: list[Response] = []
    for answer in answers:
        if isinstance(answer, Answer | LLMError):
            checked.append(answer)
        elif isinstance(answer, str):
            checked.append(Answer(answer))
        else:
            checked.append(LLMError(f"the model gave {answer!r}, not text"))
    if len(checked) != expected:
        raise LLMError(f"the model gave {len(checked)} responses to {expected} prompts")
    return checked


def _with_usage_of(earlier: Response, answer: Response) -> Response:
    """RETURNS (Response): An answer that counts what an earlier turn took as its own."""
    usage = Usage()
    usage.add(earlier.usage)
    usage.add(answer.usage)
    if isinstance(answer, LLMError):
        return LLMError(str(answer), retryable=answer.retryable, usage=usage)
    return Answer(answer, usage)


def _continued(prompt: Prompt, answer: str, turn: str) -> Prompt:
    """The same dialogue with one more answer and one more user turn."""
    messages: list[Message] = [
        *prompt.messages,
        {"role": "assistant", "content": answer},
        {"role": "user", "content": turn},
    ]
    text = f"{prompt}\n\n{answer}\n\n{turn}"  # the transcript, for models that take only text
    return Prompt(text, messages=messages, schema=prompt.schema, turns=prompt.turns)
