"""The tasks that carry names over by markers: brackets round them in the English, and round their words in
the source."""

import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import partial
from typing import Any, Iterable, List, Tuple

from spacy.tokens import Doc

from ...records import needs_alignment, sentences_of, set_answers, set_failure, texts_of
from ...text.lines import one_line
from ...types import SentenceRecord, Span
from ..forms import CLOSING, OPENING, LineForm, PlacementForm, text_line
from ..markers import Marked, read_markers, with_markers, without_brackets
from ..placing import Pair
from ..prompts import Candidate, Fault, LLMError, Prompt, Response
from .rendering import (
    FewShotExample,
    PromptTemplate,
    builtin_examples,
    clean,
    language_name,
    load_examples,
    load_template,
)
from .sharding import answered

# What to do about an LLM whose answer cannot be forced.
FORCED = (
    "Only LLMs in this process can be forced to a text: spacy_eat.Embedded.v1, spacy_eat.HuggingFace.v1 or "
    "spacy_eat.CTranslate2.v1; with a server take spacy_eat.LLMAligner.v1."
)
# What to do about an LLM that does not keep markers.
KEPT = (
    "A larger LLM keeps them; spacy_eat.ConstrainedAligner.v1 cannot lose them, and spacy_eat.LLMAligner.v1 "
    "needs none."
)


class MarkerTask(ABC):
    """A spacy-llm task that finds the source words of English entities by markers.

    Where in the source an answer stands is not decided here.
    """

    name: str  # of the template

    def __init__(
        self,
        template: PromptTemplate,
        *,
        language: str | None = None,
        examples: Sequence[FewShotExample] | None = None,
    ) -> None:
        """
        template (PromptTemplate): Renders the prompt.
        language (Optional[str]): Code or English name of the source language, None to take each doc's own.
        examples (Optional[Sequence[FewShotExample]]): Shown to the model. None: the built-in ones, to base
            models only.
        """
        self.template = template
        self.language = language
        self.examples = examples

    @abstractmethod
    def prompts(self, text: str, english: str, entities: Sequence[Span], lang: str) -> list[Prompt]:
        """The requests for one sentence.

        text (str): The source sentence.
        english (str): Its translation.
        entities (Sequence[Span]): Entities of the English, in order, none overlapping another.
        lang (str): Code of the source language, used where the task names none.
        """

    @abstractmethod
    def parse(self, text: str, count: int, responses: Sequence[Response]) -> list[list[Candidate]]:
        """Understand the responses for one sentence.

        text (str): The source sentence.
        count (int): How many entities there are.
        responses (Sequence[Response]): To its prompts.
        RETURNS (List[List[Candidate]]): For each entity its answers, best first; none where it abstains.
        RAISES (LLMError): There is no response, or it is of no use.
        """

    def generate_prompts(
        self, docs: Iterable[Doc], context_length: int | None = None
    ) -> Iterable[Tuple[Iterable[Any], Iterable[Doc]]]:
        """The prompts of each doc, where spacy-llm's own component runs the task: a `ShardingLLMTask`.

        docs (Iterable[Doc]): Docs with `doc._.eat` and English entities.
        context_length (Optional[int]): Not used: sentences are split before.
        YIELDS (Tuple[Iterable[Prompt], Iterable[Doc]]): The prompts of a doc, and the doc itself in the place
            of each shard.
        """
        for doc in docs:
            prompts = [prompt for *_, own in self._pending(doc) for prompt in own]
            yield prompts, [doc] * max(1, len(prompts))

    def parse_responses(
        self, shards: Iterable[Iterable[Doc]], responses: Iterable[Iterable[Any]]
    ) -> Iterable[Doc]:
        """Write the answers to the entities in `doc._.eat`. See spacy-llm's `ShardingLLMTask`."""
        for doc, remaining in answered(shards, responses):
            for text, sentence, prompts in self._pending(doc):
                own = [next(remaining) for _ in prompts]
                names = [entity["text"] for entity in sentence["entities"]]
                try:
                    set_answers(sentence, dict(zip(names, self.parse(text, len(names), own), strict=True)))
                except LLMError as error:
                    set_failure(sentence, "alignment", error)
            yield doc

    def _pending(self, doc: Doc) -> list[Tuple[str, SentenceRecord, list[Prompt]]]:
        """The sentences of a doc with entities that have no answers, and their requests."""
        pending = []
        sentences = [s for s in sentences_of(doc) if needs_alignment(s) and s["entities"]]
        for text, sentence in zip(texts_of(doc, sentences), sentences, strict=True):
            spans = [Span(e["english_start"], e["english_end"]) for e in sentence["entities"]]
            pending.append((text, sentence, self.prompts(text, sentence["english"] or "", spans, doc.lang_)))
        return pending

    def _solved(self, lang: str, *, numbered: bool) -> Tuple[Tuple[str, str], ...]:
        """RETURNS (Tuple[Tuple[str, str], ...]): The examples with markers, English and source."""
        examples = builtin_examples(lang) if self.examples is None else self.examples
        return marked_examples(examples, numbered=numbered)


class MarkedTranslationTask(MarkerTask):
    """One request per sentence: its English with markers is translated, and the markers with it.

    EasyProject (Chen, Jiang, Ritter and Xu, Findings of ACL 2023, arXiv 2211.15613).
    """

    name = "marked_translation"

    def __init__(self, template: PromptTemplate, *, source_given: bool = False, **settings: Any) -> None:
        """
        template (PromptTemplate): Renders the prompt.
        source_given (bool): Whether the LLM is shown the source text. One that can copy keeps to its words
            then.
        settings: See `MarkerTask`.
        """
        super().__init__(template, **settings)
        self.source_given = source_given

    def prompts(self, text: str, english: str, entities: Sequence[Span], lang: str) -> list[Prompt]:
        return [self.prompt(english, entities, lang, text if self.source_given else "")]

    def parse(self, text: str, count: int, responses: Sequence[Response]) -> list[list[Candidate]]:
        marked = self.read(count, responses[0])
        return [
            [Candidate(marked.words[number][0])] if number in marked.spans else []
            for number in range(1, count + 1)
        ]

    def prompt(self, english: str, entities: Sequence[Span], lang: str, text: str = "") -> Prompt:
        """The request for one text.

        english (str): The English.
        entities (Sequence[Span]): What is marked in it, in order, none overlapping another.
        lang (str): Code of the language that it is translated into, used where the task names none.
        text (str): What it was itself translated from, where the LLM is to be told.
        RETURNS (Prompt): The request. What comes back without any marker is of no use.
        """
        lang = self.language or lang
        language = language_name(lang)
        asked = with_markers(english, entities)
        rendered = self.template.render(
            language=language,
            english=asked,
            text=one_line(text),
            examples=marked_examples(self.examples or (), numbered=True),
        )
        if entities:
            solved = self._solved(lang, numbered=True)
        else:  # examples with markers would have the LLM make some up
            examples = builtin_examples(lang) if self.examples is None else self.examples
            solved = tuple((one_line(example["english"]), one_line(example["text"])) for example in examples)
        head = "".join(f"{text_line(there, 'English')}{language}: {here}\n\n" for there, here in solved)
        form = LineForm(
            f"{text_line(asked, 'English')}{language}:", head, max_tokens=min(512, 32 + 2 * len(asked))
        )
        return Prompt(rendered, completion=form, check=partial(marker_fault, len(entities)))

    def read(self, count: int, response: Response) -> Marked:
        """Understand a response.

        count (int): How many entities were marked.
        response (Response): The response.
        RETURNS (Marked): The translation, and what its markers hold.
        RAISES (LLMError): There is no response, or no marker in it.
        """
        if isinstance(response, LLMError):
            raise response
        if fault := marker_fault(count, response):
            raise LLMError(fault.reason, retryable=False, usage=response.usage)
        return read_markers(one_line(clean(response)), count)


def marker_fault(count: int, response: str) -> Fault | None:
    """RETURNS (Optional[Fault]): What is wrong with a translation that should have markers: fatal, if it has
    none of them."""
    answer = one_line(clean(response))
    if not answer:
        return Fault("the answer is empty")
    if count and not read_markers(answer, count).words:
        return Fault(f"the markers were lost: {answer[:80]!r}. {KEPT}")
    return None


class MarkerPlacementTask(MarkerTask):
    """One request per entity: with it marked in the English, where are the markers in the source? The source
    is given, and only their places are asked for.

    CODEC (Le, Chen, Ritter and Xu, ICLR 2024, arXiv 2402.03131).
    """

    name = "marker_placement"

    def prompts(self, text: str, english: str, entities: Sequence[Span], lang: str) -> list[Prompt]:
        lang = self.language or lang
        language = language_name(lang)
        source, plain = without_brackets(text), with_markers(english, [])
        solved = self._solved(lang, numbered=False)
        prompts = []
        for entity in entities:
            marked = with_markers(english, [entity], numbered=False)
            rendered = self.template.render(
                language=language,
                english=marked,
                examples=marked_examples(self.examples or (), numbered=False),
            )
            form = PlacementForm(source, language, marked, plain, solved)
            prompts.append(Prompt(rendered, completion=form))
        return prompts

    def read(self, response: Response) -> list[Pair]:
        """Understand a response.

        response (Response): The response to one prompt.
        RETURNS (List[Pair]): Places of the markers, best first, and the text without them.
        RAISES (LLMError): There is none, or it does not tell places: the LLM cannot be forced.
        """
        if isinstance(response, LLMError):
            raise response
        try:
            return [
                Pair(None if start is None else int(start), None if end is None else int(end), float(logprob))
                for start, end, logprob in json.loads(response)
            ]
        except (TypeError, ValueError):
            raise LLMError(
                f"places of markers were asked for, and the answer is {response[:80]!r}. {FORCED}",
                retryable=False,
                usage=response.usage,
            ) from None

    def parse(self, text: str, count: int, responses: Sequence[Response]) -> list[list[Candidate]]:
        return [
            [
                Candidate("" if pair.start is None else text[pair.start : pair.end], pair.logprob)
                for pair in self.read(response)
            ]
            for response in responses
        ]


def marked_examples(examples: Sequence[FewShotExample], *, numbered: bool) -> Tuple[Tuple[str, str], ...]:
    """Solved examples with markers.

    examples (Sequence[FewShotExample]): Examples.
    numbered (bool): Whether all names are marked, by numbers in the order of the English; else one in each
        text, the first in the first one, the second in the second one, and so on.
    RETURNS (Tuple[Tuple[str, str], ...]): English and source texts.
    """
    solved = []
    for i, example in enumerate(examples):
        pairs = sorted(example["entities"].items(), key=lambda pair: example["english"].index(pair[0]))
        if not numbered:
            pairs = [pairs[i % len(pairs)]] if pairs else []
        english, text = example["english"], example["text"]
        for number, (there, here) in enumerate(pairs, 1):
            mark = f"{OPENING}{number} " if numbered else OPENING
            english = english.replace(there, f"{mark}{there}{CLOSING}", 1)
            text = text.replace(here, f"{mark}{here}{CLOSING}", 1)
        solved.append((one_line(english), one_line(text)))
    return tuple(solved)


def make_marked_translation_task(
    language: str | None = None,
    examples: str | List[dict] | None = None,
    source_given: bool = False,
    template: str | None = None,
) -> MarkedTranslationTask:
    """`spacy_eat.MarkedTranslation.v1`: one request per sentence, for all its entities.

    language (Optional[str]): Code or English name of the source language, None for the pipeline's language.
    examples (Optional): Few-shot examples, see `spacy_eat.EntityAlignment.v1`. None: none for chat models,
        the built-in ones for base models.
    source_given (bool): Whether the LLM is shown the source text, whose words it should use. Not in the form
        for base models, which would copy it without markers.
    template (Optional[str]): Jinja template in the place of the built-in one, with the variables language,
        english (with markers), text ("" if it is not shown) and examples (pairs, with markers).
    """
    return MarkedTranslationTask(
        load_template(MarkedTranslationTask.name, template),
        language=language,
        examples=load_examples(examples),
        source_given=source_given,
    )


def make_marker_placement_task(
    language: str | None = None, examples: str | List[dict] | None = None, template: str | None = None
) -> MarkerPlacementTask:
    """`spacy_eat.MarkerPlacement.v1`: the source with markers, one request per entity.

    language (Optional[str]): Code or English name of the source language, None for the pipeline's language.
    examples (Optional): Few-shot examples, see `spacy_eat.EntityAlignment.v1`. None: none for chat models,
        the built-in ones for base models.
    template (Optional[str]): Jinja template in the place of the built-in one, with the variables language,
        english (with markers) and examples (pairs, with markers).
    """
    return MarkerPlacementTask(
        load_template(MarkerPlacementTask.name, template), language=language, examples=load_examples(examples)
    )
