"""The tasks that translate a sentence into English with its entities in mind."""

import re
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Iterable, List, Tuple

from spacy.tokens import Doc

from ...corpora.dictionaries import DICTIONARIES, find_terms
from ...records import needs_english, sentences_of, set_english, set_failure, texts_of
from ...text.lines import one_line
from ...types import SentenceRecord
from ..forms import TranslationForm
from ..prompts import Fault, LLMError, Prompt, Response
from .checks import translation_fault, with_stop
from .rendering import (
    LABELS,
    FewShotExample,
    PromptTemplate,
    builtin_examples,
    clean,
    language_name,
    load_examples,
    load_glossary,
    load_template,
)
from .sharding import answered


class EntityTranslationTask:
    """spacy-llm task: one prompt per sentence of `doc._.eat` that has no English.

    A response becomes the sentence's "english"; one that cannot be a
    translation, or an `LLMError`, becomes its "error". One that looks faulty is
    asked for once more, in a plainer form.
    """

    def __init__(
        self,
        template: PromptTemplate,
        *,
        language: str | None = None,
        labels: Mapping[str, str] | None = None,
        examples: Sequence[FewShotExample] | None = None,
        glossary: Mapping[str, str] | None = None,
        binding: bool = False,
    ) -> None:
        """
        template (PromptTemplate): Renders the prompt.
        language (Optional[str]): Code or English name of the source language,
            None to take each doc's own.
        labels (Optional[Mapping[str, str]]): Entity labels with descriptions.
        examples (Optional[Sequence[FewShotExample]]): Shown to the model. None: the
            built-in ones, to untuned base models only.
        glossary (Optional[Mapping[str, str]]): Source terms with their English. A
            prompt lists those that its sentence contains, the longest at each place.
        binding (bool): A translation without the English of a term is faulty.
        """
        self.template = template
        self.language = language
        self.labels = dict(LABELS if labels is None else labels)
        self.examples = examples
        self.glossary = glossary or {}
        self.binding = binding
        self._longest_term = max(map(len, self.glossary), default=0)

    def pending(self, doc: Doc) -> list[Tuple[str, SentenceRecord]]:
        """The sentences of a doc that are to be translated, each with its text."""
        open_ = [sentence for sentence in sentences_of(doc) if needs_english(sentence)]
        return list(zip(texts_of(doc, open_), open_, strict=True))

    def generate_prompts(
        self, docs: Iterable[Doc], context_length: int | None = None
    ) -> Iterable[Tuple[Iterable[Any], Iterable[Doc]]]:
        """One prompt per pending sentence, where spacy-llm's own component runs the task: a
        `ShardingLLMTask`.

        docs (Iterable[Doc]): Docs with `doc._.eat`.
        context_length (Optional[int]): Not used: sentences are split before.
        YIELDS (Tuple[Iterable[Prompt], Iterable[Doc]]): The prompts of a doc, and
            the doc itself in the place of each shard.
        """
        for doc in docs:
            prompts = [self.prompt(text, doc.lang_) for text, _ in self.pending(doc)]
            yield prompts, [doc] * max(1, len(prompts))

    def parse_responses(
        self, shards: Iterable[Iterable[Doc]], responses: Iterable[Iterable[Any]]
    ) -> Iterable[Doc]:
        """Write the translations to `doc._.eat`. See spacy-llm's `ShardingLLMTask`."""
        for doc, own in answered(shards, responses):
            for (text, sentence), response in zip(self.pending(doc), own, strict=True):
                self.parse(text, sentence, response)
            yield doc

    def prompt(self, text: str, lang: str) -> Prompt:
        """The request for one sentence.

        text (str): The sentence.
        lang (str): Code of its language, used where the task names none.
        """
        text = one_line(text)
        lang = self.language or lang
        language = language_name(lang)
        glossary = find_terms(text, self.glossary, longest=self._longest_term, lang=lang)
        rendered = self.template.render(
            language=language, text=text, labels=self.labels, glossary=glossary, examples=self.examples or ()
        )
        first, *turns = rendered.split("\f")
        solved = self._solved(lang)
        check = partial(answer_fault, text, tuple(glossary) if self.binding else ())
        # The other form is plain, and has the terms where a model can't but copy them: in the text.
        plain = with_terms(text, glossary)
        again = Prompt(
            load_template("entity_translation_plain").render(language=language, text=plain),
            completion=TranslationForm(plain, language, (), solved, drafted=False),
            check=check,
        )
        completion = TranslationForm(with_stop(text), language, tuple(glossary), solved)
        return Prompt(first, completion=completion, turns=turns, check=check, again=again)

    def _solved(self, lang: str) -> Tuple[Tuple[str, str], ...]:
        """The examples for an LLM that continues a text."""
        examples = builtin_examples(lang) if self.examples is None else self.examples
        return tuple((example["text"], example["english"]) for example in examples)

    def parse(self, text: str, sentence: SentenceRecord, response: Response) -> None:
        """Write one response to its sentence."""
        sentence["requests"] += response.usage.asked
        if isinstance(response, LLMError):
            set_failure(sentence, "translation", response)
            return
        fault = answer_fault(one_line(text), (), response)
        if fault is not None and fault.fatal:
            set_failure(sentence, "translation", fault.reason)
        else:
            set_english(sentence, clean_translation(response))


# "Sure! Here is the English translation:"
_PREAMBLE = re.compile(
    r"(?i)^(?:sure|certainly|of course)?\W*here(?:['’]|\si)s\s(?:the|your|an?)\s[\w ]*translation[^:]*:\s*"
)


def clean_translation(response: str) -> str:
    """The translation in a response, on one line."""
    text = one_line(clean(response))
    text = _PREAMBLE.sub("", text)
    text = re.sub(
        r"(?i)^(?:\*\*)?(?:final |english )*(?:translation|english)(?:\*\*)?\s*[:：]\s*(?:\*\*)?\s*", "", text
    )
    for opening, closing in ('""', "“”", "「」", "''"):
        if len(text) > 1 and text[0] == opening and text[-1] == closing and closing not in text[1:-1]:
            text = text[1:-1].strip()
    return text


def answer_fault(text: str, terms: Sequence[Tuple[str, str]], response: str) -> Fault | None:
    """What is wrong with a response.

    text (str): The sentence, on one line.
    terms (Sequence[Tuple[str, str]]): Those that it contains, with the English that they must have.
    response (str): What the LLM answered.
    RETURNS (Optional[Fault]): None if nothing can be seen.
    """
    english = clean_translation(response)
    fault = translation_fault(text, english)
    if fault is not None and fault.fatal:
        return fault
    for term, wanted in terms:
        if wanted.casefold() not in english.casefold():
            return Fault(f"the answer lacks {wanted!r} for {term!r}", fatal=False)
    return fault


def with_terms(text: str, terms: Sequence[Tuple[str, str]]) -> str:
    """RETURNS (str): A text with the English of terms in their place."""
    english = dict(terms)
    pattern = "|".join(map(re.escape, sorted(english, key=len, reverse=True)))
    return re.sub(pattern, lambda match: english[match.group()], text) if pattern else text


def make_translation_task(
    language: str | None = None,
    labels: dict[str, str] | None = None,
    examples: str | List[dict] | None = None,
    glossary: str | dict[str, str] | None = None,
    template: str | None = None,
) -> EntityTranslationTask:
    """`spacy_eat.EntityTranslation.v1`: one request per sentence.

    Translation with the entities in mind is step 1 of EAT (arXiv 2509.01147, section 3).

    language (Optional[str]): Code or English name of the source language,
        None for the pipeline's language.
    labels (Optional[Dict[str, str]]): Entity labels with a description each
        ("" for none), that the LLM is told about. None: PER, LOC and ORG.
    examples (Optional): Few-shot examples: a path to a JSON, JSONL or YAML
        file, or a list, with the fields "text", "english" and "entities".
        None: none for chat models, the built-in ones for untuned base models.
    glossary (Optional): Source terms with their English: a dict, a path to a
        JSON file, or a dictionary of the extra `dictionaries`: "cedict" for
        Chinese, "jmnedict" for Japanese. The English of a glossary of your own
        must be in the translation (else it is asked for once more); that of a
        dictionary is a suggestion.
    template (Optional[str]): Jinja template in the place of the built-in one,
        with the variables language, text, labels, glossary and examples.
    """
    return _make(language, labels, examples, glossary, template, "entity_translation")


def make_translation_dialogue_task(
    language: str | None = None,
    labels: dict[str, str] | None = None,
    examples: str | List[dict] | None = None,
    glossary: str | dict[str, str] | None = None,
    template: str | None = None,
) -> EntityTranslationTask:
    """`spacy_eat.EntityTranslationDialogue.v1`: three requests per sentence.

    The dialogue of the paper: find the entities, translate with them in mind,
    final answer only. The arguments are those of `spacy_eat.EntityTranslation.v1`;
    a template's turns are separated by form feeds.
    """
    return _make(language, labels, examples, glossary, template, "entity_translation_dialogue")


def _make(
    language: str | None,
    labels: dict[str, str] | None,
    examples: str | List[dict] | None,
    glossary: str | dict[str, str] | None,
    template: str | None,
    name: str,
) -> EntityTranslationTask:
    return EntityTranslationTask(
        load_template(name, template),
        language=language,
        labels=labels,
        examples=load_examples(examples),
        glossary=load_glossary(glossary),
        binding=not (isinstance(glossary, str) and glossary in DICTIONARIES),
    )
