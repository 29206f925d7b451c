"""`spacy_eat.Vote.v1`: annotators vote with their calibrated scores."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from ..types import Span, Text
from .select import select

# What the odds of a span are multiplied with where several have read the text. Fitted on English gold that
# neither the English NER nor the tagger on the source was trained on: python -m benchmarks.vote_calibration
ODDS = 0.3


class Vote:
    """A span is as probable as that not all who found it are wrong: 1 − Π (1 − weight × score).

    So two that agree are surer than each alone, and what only one has found counts as much as that one is
    sure of it. Of spans that overlap, or have two labels, the most probable is taken.

    That holds if annotators are wrong independently of each other, and if it means nothing that one did not
    find a span. Those that have learnt alike are wrong together, and what only one finds is wrong more often
    than it says. So the odds of what is taken are made smaller, by the same factor everywhere: which spans
    are taken stays the same.
    """

    def __init__(
        self, *, weights: Mapping[str, float] | None = None, min_score: float = 0.5, odds: float = ODDS
    ) -> None:
        """See `make_vote`."""
        wrong = {name: weight for name, weight in (weights or {}).items() if not 0.0 <= weight <= 1.0}
        if wrong:
            raise ValueError(f"`weights` of spacy_eat.Vote.v1 are between 0 and 1, not {wrong}")
        if not 0.0 <= min_score <= 1.0:
            raise ValueError(f"`min_score` of spacy_eat.Vote.v1 is between 0 and 1, not {min_score}")
        if odds <= 0.0:
            raise ValueError(f"`odds` of spacy_eat.Vote.v1 is above 0, not {odds}")
        self.weights = dict(weights or {})
        self.min_score = min_score
        self.odds = odds

    def __call__(self, text: Text, annotations: Mapping[str, Sequence[Span]]) -> list[Span]:
        """Combine the spans of a text.

        text (Text): The text.
        annotations (Mapping[str, Sequence[Span]]): By annotator what it found, with its scores; empty for one
            that found nothing.
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
        taken = select(
            (
                Span(*span.place, span.label, 1.0 - doubt, "+".join(voters[span]))
                for span, doubt in doubts.items()
            ),
            self.min_score,
        )
        odds = self.odds if len(annotations) > 1 else 1.0
        return [replace(span, score=_with_odds(span.score, odds)) for span in taken]


def _with_odds(score: float, odds: float) -> float:
    """RETURNS (float): The probability whose odds are so many times those of another one."""
    return odds * score / (1.0 - score + odds * score)


def make_vote(weights: dict[str, float] | None = None, min_score: float = 0.5, odds: float = ODDS) -> Vote:
    """`spacy_eat.Vote.v1` (misc): combine annotators by their calibrated scores.

    weights (Optional[Dict[str, float]]): By annotator (the key of its span group) how much of its scores
        counts, 0.0 to 1.0; 1.0 for those that are not named.
    min_score (float): Least vote for a span that is taken, 0.0 to 1.0, before `odds`.
    odds (float): What the odds of a span that is taken, score / (1 − score), are multiplied with, above 0.0:
        less than 1.0 for annotators that are wrong together. The default is that of the tagger on the source
        and the entity aligner; 1.0 leaves the vote as it is. What one annotator alone has read keeps its
        score.
    RETURNS (Combiner): The combiner.
    RAISES (ValueError): If a number is out of its range.
    """
    return Vote(weights=weights, min_score=min_score, odds=odds)
