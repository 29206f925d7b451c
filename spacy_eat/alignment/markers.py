"""`spacy_eat.MarkerAligner.v1`: an LLM translates the English back with markers round its entities."""

from collections.abc import Sequence

from ..llm.dispatch import Model
from ..llm.prompts import Candidate, LLMError, Response
from ..llm.tasks.markers import MarkedTranslationTask
from ..types import Failure, Options, Sentence, Span
from .llm import ask_of, to_options, unknown
from .locate import as_it_stands


class MarkerAligner:
    """Has an LLM translate the English back with numbered brackets round its entities, in one request, and
    finds what stands in the brackets in the source. Names that stand there as they are (NHK, iPhone) are not
    marked.

    An entity whose brackets are lost, empty, within others, or in two places with different words has no
    place; what stood in them is in its record. A sentence whose answer has no brackets at all fails.

    EasyProject (Chen, Jiang, Ritter and Xu, Findings of ACL 2023, arXiv 2211.15613).
    """

    def __init__(self, task: MarkedTranslationTask, model: Model, *, min_similarity: float = 0.8) -> None:
        """See `make_marker_aligner`."""
        self.task = task
        self.model = model
        self.min_similarity = min_similarity

    def __call__(self, sentences: Sequence[Sentence]) -> list[list[Options] | Failure]:
        """Find the places of English entities.

        sentences (Sequence[Sentence]): What is asked. Each one's `usage` counts its requests.
        RETURNS (List[Union[List[Options], Failure]]): For each sentence the options of its entities, in their
            order.
        """
        asked = [_to_mark(sentence) for sentence in sentences]
        prompts = [
            self.task.prompts(s.source.string, s.english.string, list(entities.values()), s.source.lang)
            if entities
            else []
            for s, entities in zip(sentences, asked, strict=True)
        ]
        responses = ask_of(self.model, sentences, prompts)
        return [self._options(*row) for row in zip(sentences, asked, responses, strict=True)]

    def _options(
        self, sentence: Sentence, asked: dict[int, Span], responses: Sequence[Response]
    ) -> list[Options] | Failure:
        """RETURNS (Union[List[Options], Failure]): Those of a sentence's entities.

        asked (Dict[int, Span]): Those that are marked, by their number among all.
        responses (Sequence[Response]): One, or none where none is marked.
        """
        numbers = {i: number for number, i in enumerate(asked, 1)}
        unmarked = unknown(sentence).keys() - asked.keys()
        try:
            marked = self.task.read(len(asked), responses[0]) if asked else None
        except LLMError as error:
            return error
        options = []
        for i, name in enumerate(sentence.names()):
            if i in unmarked:
                options.append(Options(none=1.0))
            elif marked is None or i not in numbers:
                options.append(as_it_stands(sentence.source, name))
            else:
                words = marked.words.get(numbers[i], [])
                answers = [Candidate(words[0])] if numbers[i] in marked.spans else []
                found = to_options(sentence.source, name, answers, min_similarity=self.min_similarity)
                options.append(found._replace(answers=tuple((text, None) for text in words)))
        return options


def _to_mark(sentence: Sentence) -> dict[int, Span]:
    """RETURNS (Dict[int, Span]): The entities that do not stand in the source as they are, and do not overlap
    an earlier one, by their number."""
    chosen: dict[int, Span] = {}
    for i, entity in unknown(sentence).items():
        if not any(map(entity.overlaps, chosen.values())):
            chosen[i] = entity
    return chosen


def make_marker_aligner(
    task: MarkedTranslationTask, model: Model, min_similarity: float = 0.8
) -> MarkerAligner:
    """`spacy_eat.MarkerAligner.v1` (misc): an LLM translates the English back, markers and all.

    task (MarkedTranslationTask): "spacy_eat.MarkedTranslation.v1", or one with the same methods.
    model (Callable[[Iterable[Iterable[Any]]], Iterable[Iterable[Any]]]): Any model of spacy-llm's registry.
    min_similarity (float): Least similarity (0.0 to 1.0) of a fuzzy match.
    RETURNS (MarkerAligner): The aligner.
    RAISES (ValueError): A setting is out of its range.
    """
    if not 0.0 <= min_similarity <= 1.0:
        raise ValueError(f"min_similarity = {min_similarity} is not between 0 and 1")
    return MarkerAligner(task, model, min_similarity=min_similarity)
