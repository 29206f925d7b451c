"""`spacy_eat.BayesianAggregation.v1`: how reliable each annotator is, learnt from where they agree."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from scipy.special import digamma

from ..types import Span, Text
from .select import select

NOTHING = ""  # the class of a span that is no entity, and the vote of an annotator that has not found it
TOLERANCE = 1e-3
MAX_ITERATIONS = 200


class BayesianAggregation:
    """Bayesian annotator aggregation on the level of entities.

    Every span that an annotator has found has a true class, one of the labels or none; and every annotator a
    confusion matrix, what it says where the truth is this or that. Both have Dirichlet priors, and are
    inferred together by variational Bayes from unlabelled text (`fit`). No gold label is needed.

    Source: Rahimi, Li, Cohn 2019, Massively Multilingual Transfer for NER (ACL), section 4.2 (BEA, entities),
    after Simpson and Gurevych 2019. Priors and the greedy choice among overlapping spans are the paper's.
    """

    def __init__(self, *, alpha: float = 1.0, beta: float = 1.0, min_score: float = 0.5) -> None:
        """See `make_bayesian_aggregation`."""
        if alpha <= 0 or beta <= 0:
            raise ValueError(
                "`alpha` and `beta` of spacy_eat.BayesianAggregation.v1 are numbers of imagined observations,"
                f" above 0, not {alpha} and {beta}"
            )
        self.alpha = alpha
        self.beta = beta
        self.min_score = min_score
        self.labels: list[str] = []
        # Shape (classes,), and by annotator (classes, votes): the parameters of the Dirichlet distributions.
        self.prior: np.ndarray = np.zeros(0)
        self.confusions: dict[str, np.ndarray] = {}

    def fit(self, corpus: Iterable[Mapping[str, Sequence[Span]]]) -> None:
        """Learn how reliable the annotators are.

        corpus (Iterable[Mapping[str, Sequence[Span]]]): For each text what each annotator found; a few
            hundred texts or more. All texts have the same annotators.
        RAISES (ValueError): If there are fewer than two annotators, or they found nothing.
        """
        texts = list(corpus)
        annotators = sorted({name for annotations in texts for name in annotations})
        votes = [
            [by_place[name].get(place, NOTHING) for name in annotators]
            for annotations in texts
            for by_place in [{name: _by_place(annotations.get(name, ())) for name in annotators}]
            for place in sorted({place for found in by_place.values() for place in found})
        ]
        if len(annotators) < 2 or not votes:
            raise ValueError(
                f"There is nothing to aggregate: {len(annotators)} annotators, {len(votes)} spans in"
                f" {len(texts)} texts. Annotate unlabelled text with at least two annotators first."
            )
        self.labels = [NOTHING, *sorted({vote for row in votes for vote in row} - {NOTHING})]
        classes = len(self.labels)
        given = np.array([[self.labels.index(vote) for vote in row] for row in votes])
        said = np.eye(classes)[given]  # (spans, annotators, votes)
        truth = said.mean(axis=1)  # (spans, classes): at first a plain vote
        for _ in range(MAX_ITERATIONS):
            self.prior = self.alpha + truth.sum(axis=0)
            counts = self.beta + np.einsum("sc,sav->acv", truth, said)
            self.confusions = dict(zip(annotators, counts, strict=True))
            before, truth = truth, self._truth(annotators, given)
            if np.abs(truth - before).max() < TOLERANCE:
                break

    def _truth(self, annotators: Sequence[str], given: np.ndarray) -> np.ndarray:
        """How probable each class is for spans. given (ndarray): Votes by number, shape (spans, annotators).

        RETURNS (ndarray): Shape (spans, classes).
        """
        scores = np.tile(_expected_log(self.prior), (len(given), 1))
        for column, name in enumerate(annotators):
            scores += _expected_log(self.confusions[name])[:, given[:, column]].T
        scores = np.exp(scores - scores.max(axis=1, keepdims=True))
        return np.asarray(scores / scores.sum(axis=1, keepdims=True))

    def __call__(self, text: Text, annotations: Mapping[str, Sequence[Span]]) -> list[Span]:
        """Combine the spans of a text.

        text (Text): The text.
        annotations (Mapping[str, Sequence[Span]]): By annotator what it found. One that is not here has
            found nothing to say; one that was not there when `fit` was called has no say.
        RETURNS (List[Span]): Spans in the order of the text, none overlapping another.
        RAISES (ValueError): If `fit` has not been called.
        """
        if not self.confusions:
            raise ValueError(
                "spacy_eat.BayesianAggregation.v1 does not know its annotators yet. Give it unlabelled text:"
                " `nlp.initialize(lambda: examples)` with the component that it belongs to, or load a"
                " pipeline that was."
            )
        names = [name for name in annotations if name in self.confusions]
        found = {name: _by_place(annotations[name]) for name in names}
        places = sorted({place for by_place in found.values() for place in by_place})
        known = set(self.labels)
        places = [p for p in places if all(found[n].get(p, NOTHING) in known for n in names)]
        if not places:
            return []
        given = np.array([[self.labels.index(found[n].get(p, NOTHING)) for n in names] for p in places])
        spans = []
        for place, row in zip(places, self._truth(names, given), strict=True):
            best = int(row[1:].argmax()) + 1
            origin = "+".join(name for name in names if found[name].get(place) == self.labels[best])
            spans.append(Span(*place, self.labels[best], float(row[best]), origin))
        return select(spans, self.min_score)

    def reliability(self) -> dict[str, dict[str, float]]:
        """RETURNS (Dict[str, Dict[str, float]]): For each annotator by label how likely it finds an entity
        of that label, place and label right; under "" how likely it keeps silent where there is none."""
        return {
            name: dict(
                zip(self.labels, np.diag(counts / counts.sum(axis=1, keepdims=True)).tolist(), strict=True)
            )
            for name, counts in self.confusions.items()
        }

    def to_json(self) -> dict[str, Any]:
        """RETURNS (Dict[str, Any]): What `fit` has learnt."""
        return {
            "labels": self.labels,
            "prior": self.prior.tolist(),
            "confusions": {name: counts.tolist() for name, counts in self.confusions.items()},
        }

    def from_json(self, data: Mapping[str, Any]) -> None:
        """Take what `to_json` gave."""
        self.labels = list(data["labels"])
        self.prior = np.array(data["prior"])
        self.confusions = {name: np.array(counts) for name, counts in data["confusions"].items()}


def _by_place(spans: Sequence[Span]) -> dict[tuple[int, int], str]:
    """The label of every span by its place, the most certain one where there are two."""
    return {span.place: span.label for span in sorted(spans, key=lambda span: span.score)}


def _expected_log(parameters: np.ndarray) -> np.ndarray:
    """E[log p] under Dirichlet distributions. parameters (ndarray): Shape (..., outcomes)."""
    return np.asarray(digamma(parameters) - digamma(parameters.sum(axis=-1, keepdims=True)))


def make_bayesian_aggregation(
    alpha: float = 1.0, beta: float = 1.0, min_score: float = 0.5
) -> BayesianAggregation:
    """`spacy_eat.BayesianAggregation.v1` (misc): combine annotators by what they were found to confuse.

    alpha (float): Of the prior over classes: imagined spans of each class.
    beta (float): Of the prior over each row of a confusion matrix: imagined votes of each kind.
    min_score (float): Least probability of a span that is taken, 0.0 to 1.0.
    RETURNS (Combiner): The combiner. `nlp.initialize` fits it, `nlp.to_disk` stores it.
    RAISES (ValueError): If a prior is not above 0.
    """
    return BayesianAggregation(alpha=alpha, beta=beta, min_score=min_score)
