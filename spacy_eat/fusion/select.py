"""What all combiners end with: of scored spans that overlap, the best ones."""

from collections.abc import Iterable

from ..types import Span


def select(spans: Iterable[Span], min_score: float = 0.0) -> list[Span]:
    """Take spans that do not overlap, the most probable first, of equal ones the longer.

    spans (Iterable[Span]): Scored spans.
    min_score (float): Least score of a span, 0.0 to 1.0.
    RETURNS (List[Span]): The spans taken, in the order of the text.
    """
    taken: list[Span] = []
    for span in sorted(spans, key=lambda s: (-s.score, s.start_char - s.end_char, s)):
        if span.score >= min_score and not any(map(span.overlaps, taken)):
            taken.append(span)
    return sorted(taken)
