"""What all LLM backends of this package share.

A backend is a spacy-llm model (`Iterable[Iterable[prompt]]` in, the same shape
of responses out) that never raises for a single prompt: where a request
failed, an `LLMError` stands in the place of the response.
"""

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any, Iterable  # noqa: UP035  (spacy-llm looks for typing's own Iterable)

from .cache import RequestCache, digest
from .prompts import Answer, Prompt, Response, Usage

# Answers are stored at least this often (seconds) while a batch is running,
# so that a killed run loses little of what was paid for.
STORE_EVERY = 1.0
_counting = threading.Lock()


class Backend(ABC):
    """An LLM. Subclasses implement `generate` for a flat batch of prompts;
    identical prompts and cached answers never reach it.

    cache (Optional[RequestCache]): Where answers are kept, None for nowhere.
    usage (Usage): What all calls together have spent.
    forced (bool): Whether it can be made to say a given text, and tells how likely that is: whether it
        answers a `PlacementForm`.
    """

    forced = False

    def __init__(self, cache: RequestCache | None = None) -> None:
        self.cache = cache
        self.usage = Usage()

    @abstractmethod
    def generate(self, prompts: Sequence[Prompt]) -> Iterable[Response]:
        """Answer a batch of prompts.

        prompts (Sequence[Prompt]): At least one, all different.
        RETURNS (Iterable[Response]): One per prompt, in order: the answer, or
            an `LLMError` in its place. A lazy iterable is stored in the cache
            as it goes, but for answers that their prompt's check calls useless.
        """

    @property
    @abstractmethod
    def identity(self) -> dict[str, Any]:
        """What decides the answer to a prompt, JSON-serialisable: model,
        weights, sampling parameters. Never a key or a header."""

    def __call__(self, prompts: Iterable[Iterable[Any]]) -> Iterable[Iterable[Any]]:
        """Answer the prompts of several docs.

        prompts (Iterable[Iterable[Any]]): For each doc its prompts.
        RETURNS (Iterable[Iterable[Any]]): For each doc its responses. Identical
            prompts share one object.
        """
        groups = [[p if isinstance(p, Prompt) else Prompt(str(p)) for p in group] for group in prompts]
        if not any(groups):
            return [[] for _ in groups]
        identity = digest(self.identity).hex()
        keyed = [[(_digest(identity, prompt), prompt) for prompt in group] for group in groups]
        asked = dict(pair for group in keyed for pair in group)
        answers: dict[bytes, Response] = {}
        if self.cache:
            cached = self.cache.get(list(asked))
            useless = [key for key, text in cached.items() if _is_useless(asked[key], text)]
            self.cache.drop(useless)  # kept by a version that did not check
            for key in cached.keys() - set(useless):
                answers[key] = self._count(Answer(cached[key], Usage(cached=1)))
        answers.update(self._generate({key: p for key, p in asked.items() if key not in answers}))
        return [[answers[key] for key, _ in group] for group in keyed]

    def _generate(self, asked: dict[bytes, Prompt]) -> dict[bytes, Response]:
        """Have the prompts answered, and keep what succeeded."""
        answers: dict[bytes, Response] = {}
        fresh: dict[bytes, str] = {}
        stored = time.monotonic()
        try:
            for key, answer in zip(asked, self.generate(list(asked.values())) if asked else (), strict=True):
                answers[key] = self._count(answer)
                if isinstance(answer, str) and not _is_useless(asked[key], answer):
                    fresh[key] = answer
                if self.cache and time.monotonic() - stored > STORE_EVERY:
                    self.cache.put(fresh)
                    fresh, stored = {}, time.monotonic()
        finally:
            if self.cache and fresh:
                self.cache.put(fresh)
        return answers

    def _count(self, response: Response) -> Response:
        with _counting:
            self.usage.add(response.usage)
        return response


def _is_useless(prompt: Prompt, answer: str) -> bool:
    fault = prompt.fault(answer)
    return fault is not None and fault.fatal


def _digest(identity: str, prompt: Prompt) -> bytes:
    completion = prompt.completion and asdict(prompt.completion)
    return digest(identity, prompt, prompt.messages, completion, prompt.schema, prompt.turns)
