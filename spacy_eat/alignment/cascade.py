"""`spacy_eat.CascadeAligner.v1`: the cheapest aligner first, the next for what it is not certain of."""

import logging
from collections.abc import Sequence
from dataclasses import replace

from ..types import Aligner, Failure, Options, Sentence
from .locate import as_it_stands, verbatim

logger = logging.getLogger(__name__)


class CascadeAligner:
    """Takes names that stand in the source as they are (NHK, iPhone) from there, and asks aligners for the
    others, one after another: each for the entities that none before it is certain of. So an LLM is asked
    about a few names only, and not at all about most sentences.

    After Varshney and Baral, Model Cascading (EMNLP 2022).
    """

    def __init__(self, aligners: Sequence[Aligner], *, min_score: float = 0.5) -> None:
        """See `make_cascade_aligner`."""
        self.aligners = tuple(aligners)
        self.min_score = min_score
        self._told: set[str] = set()

    def __call__(self, sentences: Sequence[Sentence]) -> list[list[Options] | Failure]:
        """Find the places of English entities.

        sentences (Sequence[Sentence]): What is asked. Each one's `usage` counts its requests.
        RETURNS (List[Union[List[Options], Failure]]): For each sentence the options of its entities, in
            their order. A failure where the last aligner that was asked failed. One that raises an error
            leaves its names to the next, with a warning.
        """
        found = [_copies(sentence) for sentence in sentences]
        failures: list[Failure | None] = [None] * len(sentences)
        for aligner in self.aligners:
            asked = [
                (i, open_)
                for i, options in enumerate(found)
                if (open_ := [k for k, one in enumerate(options) if _certainty(one) < self.min_score])
            ]
            if not asked:
                break
            parts = [
                replace(sentences[i], entities=[sentences[i].entities[k] for k in open_])
                for i, open_ in asked
            ]
            try:
                answers: Sequence[Sequence[Options] | Failure] = aligner(parts)
            except Exception as error:  # it cannot be loaded, for one
                answers = [Failure(f"{type(error).__name__}: {error}")] * len(parts)
                if aligner is not self.aligners[-1]:
                    self._tell(aligner, error)
            for (i, open_), answer in zip(asked, answers, strict=True):
                if not isinstance(answer, Failure) and len(answer) != len(open_):
                    answer = _miscounted(aligner, len(answer), len(open_))
                failures[i] = answer if isinstance(answer, Failure) else None
                if isinstance(answer, Failure):
                    continue
                for k, options in zip(open_, answer, strict=True):
                    found[i][k] = max(found[i][k] or options, options, key=_certainty)
        return [
            failure or [options or Options() for options in row]
            for failure, row in zip(failures, found, strict=True)
        ]

    def _tell(self, aligner: Aligner, error: Exception) -> None:
        """Warn, once for each cause, of an aligner whose names go to the next one."""
        reason = f"{type(aligner).__name__} cannot be used, so the next aligner is asked instead: {error}"
        if reason not in self._told:
            self._told.add(reason)
            logger.warning("%s", reason)


def _copies(sentence: Sentence) -> list[Options | None]:
    """RETURNS (List[Optional[Options]]): For each entity its places, if its English stands in the source."""
    names = sentence.names()
    known = verbatim(sentence.source, names)
    return [as_it_stands(sentence.source, name) if name in known else None for name in names]


def _miscounted(aligner: Aligner, given: int, asked: int) -> Failure:
    """RETURNS (Failure): Names an aligner that did not answer for each entity."""
    kind = type(aligner)
    problem = f"{kind.__module__}.{kind.__qualname__} gave {given} for {asked} entities"
    return Failure(problem, retryable=False)


def _certainty(options: Options | None) -> float:
    """RETURNS (float): Probability of the best answer: a place, or that there is none."""
    if options is None:
        return -1.0
    return max([options.none, *(span.score for span in options.spans)])


def make_cascade_aligner(*aligners: Aligner, min_score: float = 0.5) -> CascadeAligner:
    """`spacy_eat.CascadeAligner.v1` (misc): the cheapest aligner first, the next for what is uncertain.

    *aligners (Aligner): The aligners in the order in which they are asked, in a config file one section
        `[….aligner.*.name]` each. Their scores must be comparable: those of `spacy_eat.EncoderAligner.v1` and
        `spacy_eat.LLMAligner.v1` are calibrated.
    min_score (float): An answer at least this probable (0.0 to 1.0), that there is none included, is taken.
        Else the next aligner is asked, and the more probable answer is taken. 0.5 is where answers become
        more often right than wrong; above 1.0 asks all aligners always.
    RETURNS (CascadeAligner): The aligner.
    RAISES (ValueError): There are no aligners, or the setting is below 0.
    """
    if not aligners:
        raise ValueError(
            "spacy_eat.CascadeAligner.v1 has no aligners: name them in sections [….aligner.*.encoder]"
        )
    if not min_score >= 0.0:
        raise ValueError(f"min_score = {min_score} is below 0")
    return CascadeAligner(aligners, min_score=min_score)
