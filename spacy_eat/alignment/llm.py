"""`spacy_eat.LLMAligner.v1`: an LLM says which words of the source an English entity came from."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import replace

from ..llm.dispatch import Model, ask, usages
from ..llm.prompts import LLMError, Prompt, Response
from ..llm.tasks.alignment import Candidate, EntityAlignmentTask
from ..types import Aligner, Failure, Options, Sentence, Span, Text
from .cascade import CascadeAligner
from .locate import LEAST_KEPT, complete, find, fit, verbatim

# How much an exact, variant or fuzzy place keeps of its answer's probability; fuzzy times its similarity.
QUALITY = {"exact": 1.0, "variant": 0.95, "fuzzy": 0.9}
# An answer without a log-probability counts half of the one before it.
RANK = math.log(0.5)
# Log-probability (nats) of "not in the source", where the LLM gives none.
NONE_LOGPROB = -10.0
MAX_PLACES = 32  # of one answer: more are hardly needed
# Of the log-probabilities that scores are made from: the tuned LLM is surer than it is right. Fitted on
# held-out names of Chinese and Japanese, and on as many that a text does not have
# (python -m benchmarks.calibration).
TEMPERATURE = 2.0
# What another aligner finds with less probability, the LLM is asked for too: in one sentence of fourteen.
ASK_BELOW = 0.35


class LLMAligner:
    """Asks an LLM for the words behind all English entities of a sentence, in one request, and finds them in
    the text. Names that stand in the source as they are (NHK, iPhone) are not asked for.

    Step 3 of Entity-Aligned Translation (arXiv 2509.01147, section 3).
    """

    def __init__(
        self,
        task: EntityAlignmentTask,
        model: Model,
        *,
        min_similarity: float = 0.8,
        temperature: float = TEMPERATURE,
    ) -> None:
        """See `make_llm_aligner`."""
        self.task = task
        self.model = model
        self.min_similarity = min_similarity
        self.temperature = temperature

    def __call__(self, sentences: Sequence[Sentence]) -> list[list[Options] | Failure]:
        """Find the places of English entities.

        sentences (Sequence[Sentence]): What is asked. Each one's `usage` counts its requests.
        RETURNS (List[Union[List[Options], Failure]]): For each sentence the options of its entities, in
            their order.
        """
        asked = [self._asked(sentence) for sentence in sentences]
        prompts = [
            self.task.prompts(s.source.string, s.english.string, names, s.source.lang)
            for s, names in zip(sentences, asked, strict=True)
        ]
        responses = ask_of(self.model, sentences, [[prompt for _, prompt in group] for group in prompts])
        results: list[list[Options] | Failure] = []
        for sentence, group, answers in zip(sentences, prompts, responses, strict=True):
            found: dict[str, list[Candidate]] = {name: [] for names, _ in group for name in names}
            failure: Failure | None = None
            for (names, _), answer in zip(group, answers, strict=True):
                try:
                    found.update(self.task.parse(names, answer))
                except LLMError as error:
                    failure = failure or error
            results.append(failure or self._options(sentence, found))
        return results

    def _asked(self, sentence: Sentence) -> list[str]:
        """The different names of a sentence that do not stand in its source."""
        names = sentence.names()
        return list(dict.fromkeys(names[i] for i in unknown(sentence)))

    def _options(self, sentence: Sentence, found: dict[str, list[Candidate]]) -> list[Options]:
        """The options of a sentence's entities.

        found (Dict[str, List[Candidate]]): The answers for the names that were asked for. The others stand
            in the source as they are.
        """
        names = sentence.names()
        limit = min(len(names) + 4, MAX_PLACES)
        known: dict[str, Options] = {}
        for name in names:
            if name not in known:
                known[name] = to_options(
                    sentence.source,
                    name,
                    found.get(name, [Candidate(name)]),
                    min_similarity=self.min_similarity,
                    temperature=self.temperature,
                    limit=limit,
                )
        return [known[name] for name in names]


def ask_of(
    model: Model, sentences: Sequence[Sentence], prompts: Sequence[Sequence[Prompt]]
) -> list[list[Response]]:
    """Ask an LLM of sentences, and count what it took in their `usage`.

    model (Callable[[Iterable[Iterable[Any]]], Iterable[Iterable[Any]]]): The LLM.
    sentences (Sequence[Sentence]): What is asked about.
    prompts (Sequence[Sequence[Prompt]]): For each sentence its requests.
    RETURNS (List[List[Response]]): For each sentence the responses.
    """
    responses = ask(model, prompts)
    for sentence, usage in zip(sentences, usages(responses), strict=True):
        sentence.usage.add(usage)
    return responses


def unknown(sentence: Sentence) -> dict[int, Span]:
    """RETURNS (Dict[int, Span]): The entities of a sentence that do not stand in its source as they are, by
    their number."""
    names = sentence.names()
    known = verbatim(sentence.source, names)
    return {i: entity for i, entity in enumerate(sentence.entities) if names[i] not in known}


def to_options(
    source: Text,
    english: str,
    answers: Iterable[Candidate],
    *,
    min_similarity: float = 0.8,
    temperature: float = TEMPERATURE,
    limit: int = MAX_PLACES,
) -> Options:
    """Find the answers for one English name in the source.

    A place has the share of its answer among all answers and none (softmax of the log-probabilities over
    the temperature), what speaks for the place or against it included, times the quality of the match:
    exact 1.0, variant 0.95, fuzzy 0.9 × similarity. Without log-probabilities the first answer's share
    counts as 1.0, each further one's as half of the last. Answers that mean the same place add up.

    source (Text): The source sentence.
    english (str): The English name.
    answers (Iterable[Candidate]): What was answered, best first. An empty text is the answer "none".
    min_similarity (float): Least similarity of a fuzzy match.
    temperature (float): Of the log-probabilities, above 1.0 where the LLM is surer than it is right.
    limit (int): Most places of one answer that are looked at.
    RETURNS (Options): The places, best first.
    """
    logprobs: dict[str, float] = {}
    kept: dict[str, float | None] = {}
    told, none = False, NONE_LOGPROB
    for rank, answer in enumerate(answers):
        if answer.logprob is None:
            logprob = rank * RANK
        elif math.isnan(answer.logprob):
            continue
        else:
            told = True
            logprob = max(-1e3, min(1e3, answer.logprob))
        if answer.text.strip():
            logprobs[answer.text] = max(logprob, logprobs.get(answer.text, -math.inf))
        elif answer.logprob is not None:
            none = max(none, logprob)
        kept.setdefault(answer.text, answer.logprob)
    places = {
        text: [
            (placed, fit(source, placed, english))
            for place in find(source, text, min_similarity=min_similarity)[:limit]
            for placed in [complete(source, english, place)]
        ]
        for text in logprobs
    }
    best = {t: lp + max((f for _, f in places[t]), default=0.0) for t, lp in logprobs.items()}
    top = max([none, *best.values()]) if told else 0.0
    softness = temperature if told else 1.0

    def share(logprob: float) -> float:
        return math.exp(min(0.0, logprob - top) / softness)

    total = share(none) + sum(map(share, best.values())) if told else 1.0
    spans: dict[tuple[int, int], Span] = {}
    for text, logprob in logprobs.items():
        for place, fitness in places[text]:
            quality = QUALITY[place.origin] * (place.score if place.origin == "fuzzy" else 1.0)
            score = share(logprob + fitness) / total * quality
            other = spans.get(place.place)
            if other:  # another answer that means the same
                origin = max(other, replace(place, score=score), key=lambda span: span.score).origin
                score, place = min(1.0, score + other.score), replace(place, origin=origin)
            spans[place.place] = replace(place, score=score)
    ranked = sorted(spans.values(), key=lambda span: -span.score)
    likely = {text for text, logprob in best.items() if share(logprob) / total >= LEAST_KEPT}
    return Options(
        tuple(ranked),
        share(none) / total,
        tuple((text, logprob) for text, logprob in kept.items() if text in likely or not text.strip()),
    )


def make_llm_aligner(
    task: EntityAlignmentTask,
    model: Model,
    min_similarity: float = 0.8,
    temperature: float = TEMPERATURE,
    first: Aligner | None = None,
    ask_below: float = ASK_BELOW,
) -> LLMAligner | CascadeAligner:
    """`spacy_eat.LLMAligner.v1` (misc): an LLM translates the entities back.

    task (EntityAlignmentTask): "spacy_eat.EntityAlignment.v1", or "spacy_eat.EntityAlignmentDialogue.v1",
        or one with the same methods.
    model (Callable[[Iterable[Iterable[Any]]], Iterable[Iterable[Any]]]): Any model of spacy-llm's registry.
    min_similarity (float): Least similarity (0.0 to 1.0) of a fuzzy match.
    temperature (float): Of the log-probabilities that scores are made from, see `to_options`.
    first (Optional[Aligner]): Who is asked before the LLM, which then sees only the names that this one is
        not certain of. None: the LLM is asked for all. In `eat_entity_aligner` the default is
        `spacy_eat.EncoderAligner.v1`.
    ask_below (float): How probable (0.0 to 1.0) an answer of `first` must be to stand without the LLM.
    RETURNS (Union[LLMAligner, CascadeAligner]): The aligner; with `first` a cascade of the two.
    RAISES (ValueError): A setting is out of its range.
    """
    if not 0.0 <= min_similarity <= 1.0:
        raise ValueError(f"min_similarity = {min_similarity} is not between 0 and 1")
    if temperature <= 0.0:
        raise ValueError(f"temperature = {temperature} is not above 0")
    if not 0.0 <= ask_below <= 1.0:
        raise ValueError(f"ask_below = {ask_below} is not between 0 and 1")
    llm = LLMAligner(task, model, min_similarity=min_similarity, temperature=temperature)
    return llm if first is None else CascadeAligner([first, llm], min_score=ask_below)
