"""`spacy_eat.ConstrainedAligner.v1`: an LLM that is forced to the source places markers in it."""

import math
from collections.abc import Sequence

from ..llm.dispatch import Model
from ..llm.prompts import LLMError, Response
from ..llm.tasks.markers import FORCED, MarkerPlacementTask
from ..types import Failure, Options, Sentence, Span
from .llm import ask_of, unknown
from .locate import as_it_stands, weigh

# Share of the entities that a source has no words for, as in what the encoder's aligner is trained on.
MISSING = 0.06
# Of the log-probabilities that scores are made from. Fitted on names that nobody labelled, and as many that a
# text does not have (python -m benchmarks.placement).
TEMPERATURE = 2.0


class ConstrainedAligner:
    """Has an LLM translate the English, one entity of it in brackets, into the source as it stands: only the
    places of the brackets are its own. Nothing is tuned, any language model will do, and every answer is a
    slice of the source. Names that stand there as they are (NHK, iPhone) are not asked for.

    An entity for which there is no path has no place; its record says why. If there is none for any of them,
    the sentence fails.

    Constrained decoding for label projection, CODEC (Le, Chen, Ritter and Xu, ICLR 2024, arXiv 2402.03131).
    """

    def __init__(
        self,
        task: MarkerPlacementTask,
        model: Model,
        *,
        temperature: float = TEMPERATURE,
        missing: float = MISSING,
    ) -> None:
        """See `make_constrained_aligner`."""
        self.task = task
        self.model = model
        self.temperature = temperature
        self.missing = missing

    def __call__(self, sentences: Sequence[Sentence]) -> list[list[Options] | Failure]:
        """Find the places of English entities.

        sentences (Sequence[Sentence]): What is asked. Each one's `usage` counts its requests.
        RETURNS (List[Union[List[Options], Failure]]): For each sentence the options of its entities, in their
            order.
        """
        asked = [unknown(sentence) for sentence in sentences]
        prompts = [
            self.task.prompts(s.source.string, s.english.string, list(entities.values()), s.source.lang)
            for s, entities in zip(sentences, asked, strict=True)
        ]
        responses = ask_of(self.model, sentences, prompts)
        return [
            self._options(sentence, dict(zip(entities, own, strict=True)))
            for sentence, entities, own in zip(sentences, asked, responses, strict=True)
        ]

    def _options(self, sentence: Sentence, responses: dict[int, Response]) -> list[Options] | Failure:
        """RETURNS (Union[List[Options], Failure]): Those of a sentence's entities.

        responses (Dict[int, Response]): By the number of the entity."""
        options, failures = [], []
        for i, name in enumerate(sentence.names()):
            if i not in responses:
                options.append(as_it_stands(sentence.source, name))
                continue
            try:
                pairs = self.task.read(responses[i])
            except LLMError as error:
                failures.append(error)
                options.append(Options(none=1.0, answers=((str(error), None),)))
                continue
            none = next((pair.logprob for pair in pairs if pair.start is None), -math.inf)
            found = [
                (Span(pair.start, pair.end), pair.logprob / self.temperature)
                for pair in pairs
                if pair.start is not None and pair.end is not None
            ]
            none = none / self.temperature + math.log(self.missing / (1 - self.missing))
            options.append(weigh(sentence.source, name, found, none))
        lost = [failure for failure in failures if failure.retryable]
        if lost or (failures and len(failures) == len(responses)):
            return (lost or failures)[0]
        return options


def make_constrained_aligner(
    task: MarkerPlacementTask,
    model: Model,
    temperature: float = TEMPERATURE,
    missing: float = MISSING,
) -> ConstrainedAligner:
    """`spacy_eat.ConstrainedAligner.v1` (misc): an LLM that is forced to the source places markers in it.

    task (MarkerPlacementTask): "spacy_eat.MarkerPlacement.v1", or one with the same methods.
    model (Callable[[Iterable[Iterable[Any]]], Iterable[Iterable[Any]]]): An LLM of this package that runs in
        this process: its log-probabilities are needed.
    temperature (float): Of the log-probabilities that scores are made from; above 1.0 they are less extreme.
    missing (float): Share of the entities that a source has no words for, above 0.0 and below 1.0. An LLM
        likes to forget markers: the lower, the more entities have a place.
    RETURNS (ConstrainedAligner): The aligner.
    RAISES (ValueError): The LLM is behind a server, or a setting is out of its range.
    """
    if temperature <= 0.0:
        raise ValueError(f"temperature = {temperature} is not above 0")
    if not 0.0 < missing < 1.0:
        raise ValueError(f"missing = {missing} is not between 0 and 1")
    if not getattr(model, "forced", False):
        raise ValueError(f"spacy_eat.ConstrainedAligner.v1 cannot use {type(model).__name__}. {FORCED}")
    return ConstrainedAligner(task, model, temperature=temperature, missing=missing)
