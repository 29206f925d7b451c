"""Asking taggers and aligners, and what is wrong with what they give: it costs a sentence, not its batch."""

import math
from collections.abc import Sequence
from typing import Any

from ..types import Failure, Span


def in_batch(role: Any, items: Sequence[Any]) -> Sequence[Any]:
    """What a tagger or aligner gives, one result for each item: where it fails as a whole, they all do.

    role (Union[Tagger, Aligner]): Who is asked.
    items (Sequence[Any]): Texts or sentences.
    RETURNS (Sequence[Any]): Results and `Failure`s.
    """
    if not items:
        return []
    try:
        results = role(items)
    except Exception as error:
        return [Failure(f"{type(error).__name__}: {error}")] * len(items)
    if len(results) != len(items):
        return [fault(role, f"gave {len(results)} results for {len(items)} sentences")] * len(items)
    return list(results)


def misplaced(spans: Sequence[Span], length: int, role: Any) -> Failure | None:
    """What is wrong with spans of a text, None if they can be what they say they are.

    spans (Sequence[Span]): The spans.
    length (int): Characters of the text.
    role (Union[Tagger, Aligner]): Whose spans they are.
    RETURNS (Optional[Failure]): The fault.
    """
    for span in spans:
        if not 0 <= span.start_char < span.end_char <= length:
            return fault(role, f"gave {span.place} in a text of {length} characters")
        if math.isnan(span.score) or not 0.0 <= span.score <= 1.0:
            return fault(role, f"gave the score {span.score} at {span.place}; scores are between 0 and 1")
    return None


def fault(role: Any, what: str) -> Failure:
    """RETURNS (Failure): Names a tagger or aligner that did not do as its protocol says."""
    return Failure(f"{type(role).__module__}.{type(role).__qualname__} {what}", retryable=False)
