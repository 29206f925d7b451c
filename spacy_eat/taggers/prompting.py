"""LLMs that find names in the source itself: by a task of spacy-llm, token by token, or in two steps."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from spacy.vocab import Vocab

from ..llm.dispatch import Model, ask
from ..llm.prompts import LLMError, Prompt, Response
from ..llm.tasks.naming import WORDS, extraction_prompt, in_context, read_names, read_type, type_prompts
from ..text.boundaries import Edge
from ..text.tokenizers import ClusterTokenizer
from ..types import Failure, Span, Text


class TaskTagger:
    """Puts texts to a named entity recognition task of spacy-llm, such as "spacy.NER.v3". A request that
    fails costs one text."""

    def __init__(self, task: Any, model: Model, *, score: float = 1.0) -> None:
        """See `make_task_tagger`."""
        self.task = task
        self.model = model
        self.score = score

    @property
    def labels(self) -> tuple[str, ...]:
        """RETURNS (Tuple[str, ...]): The labels that it may set, as the task tells."""
        return tuple(getattr(self.task, "labels", ()))

    def __call__(self, texts: Sequence[Text]) -> list[Sequence[Span] | Failure]:
        """Find the names of texts.

        texts (Sequence[Text]): The texts.
        RETURNS (List[Union[Sequence[Span], Failure]]): For each text its names, in order.
        """
        tokenizer = ClusterTokenizer(Vocab())
        asked = [next(iter(self.task.generate_prompts([tokenizer(text.string)]))) for text in texts]
        pairs = [(_prompts(prompts), list(shards)) for prompts, shards in asked]
        responses = ask(self.model, [prompts for prompts, _ in pairs])
        return [self._spans(shards, own) for (_, shards), own in zip(pairs, responses, strict=True)]

    def _spans(self, shards: list[Any], responses: Sequence[Response]) -> list[Span] | Failure:
        for response in responses:
            if isinstance(response, LLMError):
                return response
        try:
            [doc] = self.task.parse_responses([shards], [[str(response) for response in responses]])
        except Exception as error:  # whatever a task makes of an answer
            return Failure(f"{type(error).__name__}: {error}", retryable=False)
        return [Span(e.start_char, e.end_char, e.label_, self.score, "task") for e in doc.ents]


class TypingTagger:
    """What the taggers have in common that ask an LLM for the type of something, as a word."""

    def __init__(self, model: Model, *, words: Mapping[str, str] = WORDS) -> None:
        """
        model (Callable[[Iterable[Iterable[Any]]], Iterable[Iterable[Any]]]): The LLM.
        words (Mapping[str, str]): By label, the word for it in the prompt.
        """
        self.model = model
        self.words = dict(words)

    @property
    def labels(self) -> tuple[str, ...]:
        """RETURNS (Tuple[str, ...]): The labels that it may set."""
        return tuple(self.words)


class TokenTagger(TypingTagger):
    """Asks an LLM of each token of a text what it is part of; neighbours with one answer are one name.

    After ToPro (Ma et al., EACL 2024, arXiv 2401.16589): one prompt for each token, and the type
    as a word that the LLM chooses. Tokens are characters, and words of scripts that have spaces. They are
    shown with what stands beside them, as a character is hardly ever alone in its text.
    """

    def __call__(self, texts: Sequence[Text]) -> list[Sequence[Span] | Failure]:
        """Find the names of texts.

        texts (Sequence[Text]): The texts.
        RETURNS (List[Union[Sequence[Span], Failure]]): For each text its names, in order.
        """
        tokens = [_tokens(text) for text in texts]
        prompts = [
            type_prompts(
                text.string,
                [(text.string[start:end], in_context(text.string, start, end)) for start, end in own],
                text.lang,
                self.words,
                tokens=True,
            )
            for text, own in zip(texts, tokens, strict=True)
        ]
        responses = ask(self.model, prompts)
        return [self._join(own, given) for own, given in zip(tokens, responses, strict=True)]

    def _join(self, tokens: Sequence[tuple[int, int]], responses: Sequence[Response]) -> list[Span] | Failure:
        """RETURNS (Union[List[Span], Failure]): Runs of tokens with one label. A name is as certain as its
        least certain token."""
        spans: list[Span] = []
        for (start, end), response in zip(tokens, responses, strict=True):
            try:
                label, score = read_type(response, self.words)
            except LLMError as error:
                return error
            last = spans[-1] if spans else None
            if last and label == last.label and start == last.end_char:
                spans[-1] = Span(last.start_char, end, label, min(score, last.score), "tokens")
            elif label:
                spans.append(Span(start, end, label, score, "tokens"))
        return spans


class TwoStepTagger(TypingTagger):
    """Has an LLM list the names of a text, then say of each what it is; what is no name of the labels is left
    out. A name has all its places.

    Generation-based extraction and in-context classification, GEIC, as in CascadeNER (Luo et al. 2024, arXiv
    2409.11022), with one LLM for both.
    """

    def __call__(self, texts: Sequence[Text]) -> list[Sequence[Span] | Failure]:
        """Find the names of texts.

        texts (Sequence[Text]): The texts.
        RETURNS (List[Union[Sequence[Span], Failure]]): For each text its names, in order.
        """
        first = ask(self.model, [[extraction_prompt(t.string, t.lang, self.words)] for t in texts])
        found: list[dict[str, list[Span]] | Failure] = []
        for text, (response,) in zip(texts, first, strict=True):
            try:
                places = {name: _places(text, name) for name in read_names(response)}
                found.append({name: spans for name, spans in places.items() if spans})
            except LLMError as error:
                found.append(error)
        second = ask(
            self.model,
            [
                []
                if isinstance(names, Failure)
                else type_prompts(text.string, [(n, n) for n in names], text.lang, self.words, tokens=False)
                for text, names in zip(texts, found, strict=True)
            ],
        )
        return [
            names if isinstance(names, Failure) else self._label(names, responses)
            for names, responses in zip(found, second, strict=True)
        ]

    def _label(
        self, found: Mapping[str, Sequence[Span]], responses: Sequence[Response]
    ) -> list[Span] | Failure:
        """RETURNS (Union[List[Span], Failure]): Names with their labels, the longest where they overlap."""
        spans: list[Span] = []
        for places, response in zip(found.values(), responses, strict=True):
            try:
                label, score = read_type(response, self.words)
            except LLMError as error:
                return error
            if label:
                spans += [Span(*place.place, label, score, "two steps") for place in places]
        kept: list[Span] = []
        for span in sorted(spans, key=lambda span: (span.start_char - span.end_char, span)):
            if not any(map(span.overlaps, kept)):
                kept.append(span)
        return sorted(kept)


def _prompts(prompts: Iterable[Any]) -> list[Any]:
    return [prompt if isinstance(prompt, Prompt) else Prompt(str(prompt)) for prompt in prompts]


def _tokens(text: Text) -> list[tuple[int, int]]:
    """RETURNS (List[Tuple[int, int]]): Where no name begins or ends is within a token; no space is one."""
    edges = text.boundaries
    string = text.string
    cuts = [i for i in range(1, len(string)) if max(edges.starts[i], edges.ends[i]) > Edge.NEVER]
    places = zip([0, *cuts], [*cuts, len(string)], strict=True)
    return [(start, end) for start, end in places if string[start:end].strip()]


def _places(text: Text, name: str) -> list[Span]:
    """RETURNS (List[Span]): Where a name stands in a text as it is and no part of a word."""
    spans, start = [], text.string.find(name)
    while start >= 0 and name.strip():
        if text.boundaries.of(start, start + len(name)) >= Edge.JOINED:
            spans.append(Span(start, start + len(name)))
        start = text.string.find(name, start + len(name))
    return spans


def make_task_tagger(task: Any, model: Model, score: float = 1.0) -> TaskTagger:
    """`spacy_eat.TaskTagger.v1` (misc): names by a task of spacy-llm, on the source itself.

    task (Any): Such as "spacy.NER.v3", with the labels that it is to set.
    model (Callable[[Iterable[Iterable[Any]]], Iterable[Iterable[Any]]]): Any model of spacy-llm's registry.
    score (float): Of all that is found, 0.0 to 1.0: as precise as you have seen it be.
    RETURNS (TaskTagger): The tagger.
    RAISES (ValueError): The score is out of its range.
    """
    if not 0.0 <= score <= 1.0:
        raise ValueError(f"score = {score} of spacy_eat.TaskTagger.v1 is not between 0 and 1")
    return TaskTagger(task, model, score=score)


def make_token_tagger(model: Model, labels: dict[str, str] | None = None) -> TokenTagger:
    """`spacy_eat.TokenTagger.v1` (misc): an LLM says of each token what it is part of. As many requests as
    tokens: for LLMs in this process, which compute those of a text together.

    model (Callable[[Iterable[Iterable[Any]]], Iterable[Iterable[Any]]]): Any model of spacy-llm's registry.
    labels (Optional[Dict[str, str]]): By label, the word for it in the prompt; None for PER, LOC and ORG.
    RETURNS (TokenTagger): The tagger.
    """
    return TokenTagger(model, words=labels or WORDS)


def make_two_step_tagger(model: Model, labels: dict[str, str] | None = None) -> TwoStepTagger:
    """`spacy_eat.TwoStepTagger.v1` (misc): an LLM lists the names of a text, then says what each is.

    model (Callable[[Iterable[Iterable[Any]]], Iterable[Iterable[Any]]]): Any model of spacy-llm's registry.
    labels (Optional[Dict[str, str]]): By label, the word for it in the prompt; None for PER, LOC and ORG.
    RETURNS (TwoStepTagger): The tagger.
    """
    return TwoStepTagger(model, words=labels or WORDS)
