"""What all LLM backends of this package share.

A backend is a spacy-llm model (`Iterable[Iterable[prompt]]` in, the same shape
of responses out) that never raises for a single prompt: where a request
failed, an `LLMError` stands in the place of the response.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any

from ..types import LLMError, Prompt, Response, Usage


class Backend(ABC):
    """An LLM. Subclasses implement `generate` for a flat batch of prompts."""

    def __init__(self) -> None:
        self.usage = Usage()

    @abstractmethod
    def generate(self, prompts: Sequence[Prompt]) -> Sequence[Response]:
        """Answer a batch of prompts.

        prompts (Sequence[Prompt]): At least one.
        RETURNS (Sequence[Response]): One per prompt, in order: the answer, or
            an `LLMError` in its place.
        """

    @property
    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """What decides the answer to a prompt, JSON-serialisable: model,
        weights, sampling parameters. Never a key or a header."""

    def __call__(self, prompts: Iterable[Iterable[Any]]) -> Iterable[Iterable[Any]]:
        """Answer the prompts of several docs.

        prompts (Iterable[Iterable[Any]]): For each doc its prompts.
        RETURNS (Iterable[Iterable[Any]]): For each doc its responses.
        """
        groups = [[p if isinstance(p, Prompt) else Prompt(str(p)) for p in group] for group in prompts]
        flat = [prompt for group in groups for prompt in group]
        answers = list(self.generate(flat)) if flat else []
        if len(answers) != len(flat):
            raise LLMError(f"{type(self).__name__} gave {len(answers)} responses to {len(flat)} prompts")
        out: list[list[Response]] = []
        position = 0
        for group in groups:
            out.append(answers[position : position + len(group)])
            position += len(group)
        return out
