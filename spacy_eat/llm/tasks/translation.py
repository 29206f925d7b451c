"""The tasks that translate a sentence into English with its entities in mind."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Iterable, List, Tuple

from spacy.tokens import Doc

from ...corpora.dictionaries import find_terms
from ...records import sentences_of, texts_of
from ...text.lines import one_line
from ...types import SentenceRecord
from ..forms import TranslationForm
from ..prompts import LLMError, Prompt, Response
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


class EntityTranslationTask:
    """spacy-llm task: one prompt per sentence of `doc._.eat` that has no English.

    A response becomes the sentence's "english"; one that cannot be a
    translation, or an `LLMError`, becomes its "error".
    """

    def __init__(
        self,
        template: PromptTemplate,
        *,
        language: str | None = None,
        labels: Mapping[str, str] | None = None,
        examples: Sequence[FewShotExample] | None = None,
        glossary: Mapping[str, str] | None = None,
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
        """
        self.template = template
        self.language = language
        self.labels = dict(LABELS if labels is None else labels)
        self.examples = examples
        self.glossary = glossary or {}
        self._longest_term = max(map(len, self.glossary), default=0)

    def pending(self, doc: Doc) -> list[SentenceRecord]:
        """The sentences of a doc that are to be translated."""
        return [sentence for sentence in sentences_of(doc) if sentence["english"] is None]

    def generate_prompts(
        self, docs: Iterable[Doc], context_length: int | None = None
    ) -> Iterable[Tuple[Iterable[Any], Iterable[Doc]]]:
        """One prompt per pending sentence. See spacy-llm's `ShardingLLMTask`.

        docs (Iterable[Doc]): Docs with `doc._.eat`.
        context_length (Optional[int]): Not used: sentences are split before.
        YIELDS (Tuple[Iterable[Prompt], Iterable[Doc]]): The prompts of a doc, and
            the doc itself in the place of each shard.
        """
        for doc in docs:
            prompts = [self.prompt(text, doc.lang_) for text in texts_of(doc, self.pending(doc))]
            yield prompts, [doc] * max(1, len(prompts))

    def parse_responses(
        self, shards: Iterable[Iterable[Doc]], responses: Iterable[Iterable[Any]]
    ) -> Iterable[Doc]:
        """Write the translations to `doc._.eat`. See spacy-llm's `ShardingLLMTask`."""
        for docs, answers in zip(shards, responses, strict=True):
            doc = next(iter(docs))
            sentences = self.pending(doc)
            for text, sentence, answer in zip(texts_of(doc, sentences), sentences, answers, strict=True):
                self.parse(text, sentence, answer)
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
        completion = TranslationForm(text, language, tuple(glossary), self._solved(lang))
        return Prompt(first, completion=completion, turns=turns)

    def _solved(self, lang: str) -> Tuple[Tuple[str, str], ...]:
        """The examples for an LLM that continues a text."""
        examples = builtin_examples(lang) if self.examples is None else self.examples
        return tuple((example["text"], example["english"]) for example in examples)

    def parse(self, text: str, sentence: SentenceRecord, response: Response) -> None:
        """Write one response to its sentence."""
        english, error = "", None
        if isinstance(response, LLMError):
            error = str(response)
        else:
            english = clean_translation(response)
            error = _fault(text, english)
        sentence["requests"] += 1
        sentence["error"] = error and f"translation: {error}"
        sentence["status"] = "failed" if error else "translated"
        sentence["english"] = None if error else english


def clean_translation(response: str) -> str:
    """The translation in a response, on one line."""
    text = one_line(clean(response))
    text = re.sub(
        r"(?i)^(?:\*\*)?(?:final |english )*(?:translation|english)(?:\*\*)?\s*[:：]\s*(?:\*\*)?\s*", "", text
    )
    for opening, closing in ('""', "“”", "「」", "''"):
        if len(text) > 1 and text[0] == opening and text[-1] == closing and closing not in text[1:-1]:
            text = text[1:-1].strip()
    return text


_LETTER = re.compile(r"[^\W\d_]")
_LATIN = re.compile(r"[A-Za-zÀ-ɏ]")


def _fault(text: str, english: str) -> str | None:
    """Why an answer cannot be the translation of a text, None if it can."""
    letters = _LETTER.findall(english)
    if not english or (not letters and _LETTER.search(text)):
        return "the answer is empty"
    latin = sum(map(bool, map(_LATIN.match, letters)))
    if letters and latin < 0.5 * len(letters):
        return f"the answer is not English: {english[:80]!r}"
    if len(english) > 200 + 12 * len(text):
        return f"the answer is {len(english)} characters long for a text of {len(text)}"
    words = english.casefold().split()
    if len(words) > 40 and len(set(words)) < len(words) / 6:
        return f"the answer repeats itself: {english[:80]!r}"
    return None


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
        Chinese, "jmnedict" for Japanese.
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
    )
