"""`spacy_eat.Vote.v1`: annotators vote with their calibrated scores."""

from collections.abc import Mapping, Sequence

from ..types import Span, Text
from .select import select


class Vote:
    """A span is as probable as that not all who found it are wrong: 1 − Π (1 − weight × score).

    So two that agree are surer than each alone, and what only one has found counts as much as that one is
    sure of it. Of spans that overlap, or have two labels, the most probable is taken.
    """

    def __init__(self, *, weights: Mapping[str, float] | None = None, min_score: float = 0.5) -> None:
        """See `make_vote`."""
        wrong = {name: weight for name, weight in (weights or {}).items() if not 0.0 <= weight <= 1.0}
        if wrong:
            raise ValueError(f"`weights` of spacy_eat.Vote.v1 are between 0 and 1, not {wrong}")
        if not 0.0 <= min_score <= 1.0:
            raise ValueError(f"`min_score` of spacy_eat.Vote.v1 is between 0 and 1, not {min_score}")
        self.weights = dict(weights or {})
        self.min_score = min_score

    def __call__(self, text: Text, annotations: Mapping[str, Sequence[Span]]) -> list[Span]:
        """Combine the spans of a text.

        text (Text): The text.
        annotations (Mapping[str, Sequence[Span]]): By annotator what it found, with its scores.
        RETURNS (List[Span]): Spans in the order of the text, none overlapping another. Their origin names
            who found them.
        """
        doubts: dict[Span, float] = {}
        voters: dict[Span, list[str]] = {}
        for name, spans in annotations.items():
            weight = self.weights.get(name, 1.0)
            best: dict[Span, float] = {}
            for span in spans:
                best[span] = max(span.score, best.get(span, 0.0))
            for span, score in best.items():
                doubts[span] = doubts.get(span, 1.0) * (1.0 - weight * score)
                voters.setdefault(span, []).append(name)
        return select(
            (
                Span(*span.place, span.label, 1.0 - doubt, "+".join(voters[span]))
                for span, doubt in doubts.items()
            ),
            self.min_score,
        )


def make_vote(weights: dict[str, float] | None = None, min_score: float = 0.5) -> Vote:
    """`spacy_eat.Vote.v1` (misc): combine annotators by their calibrated scores.

    weights (Optional[Dict[str, float]]): By annotator (the key of its span group) how much of its scores
        counts, 0.0 to 1.0; 1.0 for those that are not named.
    min_score (float): Least probability of a span that is taken, 0.0 to 1.0.
    RETURNS (Combiner): The combiner.
    RAISES (ValueError): If a number is out of its range.
    """
    return Vote(weights=weights, min_score=min_score)
