"""What spacy-llm's own component gives its tasks, and what they take of it."""

from collections.abc import Iterable, Iterator
from typing import Any

from spacy.tokens import Doc

from ..prompts import Answer, LLMError, Response


def answered(
    shards: Iterable[Iterable[Doc]], responses: Iterable[Iterable[Any]]
) -> Iterator[tuple[Doc, Iterator[Response]]]:
    """The docs of a `ShardingLLMTask`, each with its responses.

    shards (Iterable[Iterable[Doc]]): For each doc its shards, which all are the doc itself.
    responses (Iterable[Iterable[Any]]): For each doc its responses, of any model of spacy-llm's.
    YIELDS (Tuple[Doc, Iterator[Response]]): The doc, and its responses in order.
    """
    for docs, own in zip(shards, responses, strict=True):
        yield next(iter(docs)), (r if isinstance(r, LLMError) else Answer(str(r)) for r in own)
