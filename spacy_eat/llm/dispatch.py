"""How the components put their prompts to a model, whichever it is."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

from .backend import Backend
from .prompts import Answer, LLMError, Message, Prompt, Response, UnusableAnswer, Usage

Model = Callable[[Iterable[Iterable[Any]]], Iterable[Iterable[Any]]]


def ask(model: Model, prompts: Sequence[Sequence[Prompt]]) -> list[list[Response]]:
    """Have prompts answered, such that one failure costs one answer.

    A `Backend` of this package takes all prompts at once. Any other spacy-llm
    model raises for the whole batch when one request fails, so it is called
    prompt by prompt (they send one request at a time anyway).

    A dialogue is asked turn by turn, each turn for all prompts together. What
    has an answer that its prompt's check finds fault with is asked once more,
    in its other form (`Prompt.again`).

    model (Callable): Any spacy-llm model.
    prompts (Sequence[Sequence[Prompt]]): For each doc its prompts.
    RETURNS (List[List[Response]]): For each doc one response per prompt: the
        (last) answer, or an `LLMError` in its place, also of an answer that is
        of no use. Identical prompts share one object.
    """
    groups = [[(_contents(prompt), prompt) for prompt in group] for group in prompts]
    different = dict(pair for group in groups for pair in group)
    flat = list(different.values())
    answers = _converse(model, flat)
    retried = [i for i, p in enumerate(flat) if p.again and _is_worth_another(p, answers[i])]
    others = _converse(model, [again for i in retried if (again := flat[i].again)])
    for i, other in zip(retried, others, strict=True):
        better, worse = sorted((answers[i], other), key=partial(_badness, flat[i]))  # the first if alike
        answers[i] = _with_usage_of(worse, better)
    judged = map(_judged, flat, answers)
    responses = dict(zip(different, judged, strict=True))
    return [[responses[key] for key, _ in group] for group in groups]


def usages(groups: Iterable[Iterable[Response]]) -> list[Usage]:
    """What responses of `ask` have taken.

    groups (Iterable[Iterable[Response]]): For each doc or sentence its responses.
    RETURNS (List[Usage]): For each what its responses took together. One that several share counts for the
        first.
    """
    counted: set[int] = set()
    totals = []
    for group in groups:
        totals.append(Usage())
        for response in group:
            if id(response) not in counted:
                counted.add(id(response))
                totals[-1].add(response.usage)
    return totals


def _contents(prompt: Prompt) -> tuple[Any, ...]:
    """RETURNS (Tuple[Any, ...]): What makes a request another one."""
    rest = (prompt.messages, prompt.completion, prompt.schema, prompt.turns)
    return str(prompt), repr(rest)


def _converse(model: Model, prompts: Sequence[Prompt]) -> list[Response]:
    """RETURNS (List[Response]): To the last turn of each prompt."""
    asked = [_opening(prompt) if prompt.turns else prompt for prompt in prompts]
    answers = _ask(model, asked)
    for turn in range(max((len(prompt.turns) for prompt in prompts), default=0)):
        open_ = [i for i, p in enumerate(prompts) if turn < len(p.turns) and isinstance(answers[i], str)]
        for i in open_:
            asked[i] = _continued(prompts[i], asked[i], str(answers[i]), turn)
        for i, answer in zip(open_, _ask(model, [asked[i] for i in open_]), strict=True):
            answers[i] = _with_usage_of(answers[i], answer)
    return answers


def _is_worth_another(prompt: Prompt, response: Response) -> bool:
    """RETURNS (bool): Whether another form of the request may have a better response."""
    if isinstance(response, LLMError):
        return isinstance(response, UnusableAnswer)
    return prompt.fault(response) is not None


def _badness(prompt: Prompt, response: Response) -> int:
    """RETURNS (int): 0 for a response without fault, 1 for one of use, 2 for a useless one, 3 for none."""
    if isinstance(response, LLMError):
        return 3
    fault = prompt.fault(response)
    return 0 if fault is None else 1 + fault.fatal


def _judged(prompt: Prompt, response: Response) -> Response:
    """RETURNS (Response): An `UnusableAnswer` in the place of an answer of no use."""
    fault = None if isinstance(response, LLMError) else prompt.fault(response)
    return (
        response if fault is None or not fault.fatal else UnusableAnswer(fault.reason, usage=response.usage)
    )


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


def _with_usage_of(other: Response, response: Response) -> Response:
    """RETURNS (Response): A response that counts what another one took as its own."""
    usage = Usage()
    usage.add(other.usage)
    usage.add(response.usage)
    if isinstance(response, LLMError):
        return type(response)(str(response), retryable=response.retryable, usage=usage)
    return Answer(response, usage)


def _opening(prompt: Prompt) -> Prompt:
    """RETURNS (Prompt): The first turn of a dialogue, whose answer is not the one to be checked."""
    return Prompt(
        str(prompt),
        messages=prompt.messages,
        completion=prompt.completion,
        schema=prompt.schema,
        turns=prompt.turns,
    )


def _continued(prompt: Prompt, dialogue: Prompt, answer: str, turn: int) -> Prompt:
    """The same dialogue with one more answer and one more user turn.

    prompt (Prompt): The dialogue as it is all told.
    dialogue (Prompt): The dialogue up to the answer.
    """
    messages: list[Message] = [
        *dialogue.messages,
        {"role": "assistant", "content": answer},
        {"role": "user", "content": prompt.turns[turn]},
    ]
    text = f"{dialogue}\n\n{answer}\n\n{prompt.turns[turn]}"  # the transcript, for models that take only text
    check = prompt.check if turn + 1 == len(prompt.turns) else None
    return Prompt(text, messages=messages, schema=prompt.schema, turns=prompt.turns, check=check)
