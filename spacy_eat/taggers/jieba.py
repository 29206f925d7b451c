"""`spacy_eat.JiebaTagger.v1`: the names that jieba's part-of-speech tags tell, Chinese only."""

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from ..optional import require
from ..types import Span, Text

# jieba's tags of proper names (the ICTCLAS set), with their labels.
LABELS = {"nr": "PER", "nrt": "PER", "nrfg": "PER", "ns": "LOC", "nt": "ORG"}
# Share of what it finds in 500 raw sentences that the tagger on the source finds too, place and label
# (python -m benchmarks.agreement configs/strategies/zh_jieba.cfg zh_gsdsimp_train.txt).
SCORE = 0.4


class JiebaTagger:
    """A lexicon and a hidden Markov model (jieba.posseg), simplified Chinese for the most part: a yardstick,
    and what many take."""

    def __init__(self, *, labels: Mapping[str, str] | None = None, score: float = SCORE) -> None:
        """See `make_jieba_tagger`."""
        self.tags = dict(LABELS if labels is None else labels)
        self.score = score

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "_cut"}

    @cached_property
    def _cut(self) -> Any:
        module = require("jieba.posseg", extra="jieba", purpose="spacy_eat.JiebaTagger.v1")
        module.dt.tokenizer.initialize()
        return module.cut

    @property
    def labels(self) -> tuple[str, ...]:
        """RETURNS (Tuple[str, ...]): The labels that it may set."""
        return tuple(dict.fromkeys(self.tags.values()))

    def __call__(self, texts: Sequence[Text]) -> list[list[Span]]:
        """Find the names of texts.

        texts (Sequence[Text]): The texts.
        RETURNS (List[List[Span]]): For each text its names, in order.
        RAISES (ImportError): jieba is not installed.
        """
        return [self._spans(text.string) for text in texts]

    def _spans(self, string: str) -> list[Span]:
        spans, start = [], 0
        for word, tag in self._cut(string):
            start = string.index(word, start)
            if tag in self.tags and word.strip():
                spans.append(Span(start, start + len(word), self.tags[tag], self.score, "jieba"))
            start += len(word)
        return spans


def make_jieba_tagger(labels: dict[str, str] | None = None, score: float = SCORE) -> JiebaTagger:
    """`spacy_eat.JiebaTagger.v1` (misc): see `JiebaTagger`.

    labels (Optional[Dict[str, str]]): By jieba's tag the label it becomes; None for "nr", "nrt" and "nrfg"
        (PER), "ns" (LOC), "nt" (ORG).
    score (float): Of all that is found, 0.0 to 1.0: as precise as you have seen it be.
    RETURNS (JiebaTagger): The tagger.
    RAISES (ValueError): The score is out of its range.
    """
    if not 0.0 <= score <= 1.0:
        raise ValueError(f"score = {score} of spacy_eat.JiebaTagger.v1 is not between 0 and 1")
    return JiebaTagger(labels=labels, score=score)
