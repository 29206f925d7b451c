"""What both tasks share: templates, few-shot examples, languages, clean answers."""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, TypedDict, cast

import srsly
from jinja2 import Environment, StrictUndefined, Template
from spacy.util import get_lang_class

from ...corpora import read_jsonl
from ...corpora.dictionaries import DICTIONARIES, load_dictionary

LABELS: dict[str, str] = {
    "PER": "people, fictional ones too; without their titles",
    "LOC": "countries, cities, regions, mountains, rivers, buildings and other places",
    "ORG": "companies, institutions, parties, teams, media and other organisations",
}


class FewShotExample(TypedDict):
    """A solved example.

    text (str): A sentence of the source language.
    english (str): Its translation.
    entities (Dict[str, str]): English names, each with its words in `text`.
    """

    text: str
    english: str
    entities: dict[str, str]


class LabelledExample(FewShotExample):
    """A solved example whose names have labels.

    labels (Dict[str, str]): By English name.
    """

    labels: dict[str, str]


@cache
def language_name(lang: str) -> str:
    """English name of a language.

    lang (str): Code of a spaCy language ("zh"), or a name as it shall be used.
    RETURNS (str): Such as "Chinese"; "Source" for "xx", spaCy's code for any language; a code that spaCy
        does not know as it is.
    """
    if lang == "xx":
        return "Source"
    try:
        name = get_lang_class(lang).__name__
    except ImportError:
        return lang
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)


@dataclass(frozen=True)
class PromptTemplate:
    """A Jinja template. It is its source alone, so that a task can be copied and pickled.

    source (str): The template. Rendering it without one of its variables is an error.
    """

    source: str

    def render(self, **variables: Any) -> str:
        """RETURNS (str): The text for these variables."""
        return _compiled(self.source).render(**variables)


def load_template(name: str, override: str | None = None) -> PromptTemplate:
    """A prompt template.

    name (str): Name of a file in `templates`, without its suffix.
    override (Optional[str]): A template to use in its place.
    RETURNS (PromptTemplate): The template.
    RAISES (jinja2.TemplateSyntaxError): If the override is no template.
    """
    template = PromptTemplate(_read(f"templates/{name}.jinja") if override is None else override)
    _compiled(template.source)
    return template


@cache
def builtin_examples(lang: str) -> list[LabelledExample]:
    """The examples of this package, an empty list where there are none.

    lang (str): Language code; there are some for zh and ja.
    """
    if not lang.isalnum():
        return []
    path = Path(__file__).with_name("examples") / f"{lang}.jsonl"
    return [cast(LabelledExample, row.value) for row in read_jsonl(path)] if path.is_file() else []


def load_examples(examples: str | Sequence[Any] | None) -> list[FewShotExample] | None:
    """Few-shot examples of a user's.

    examples: A path to a JSON, JSONL or YAML file, a list, or None for none.
    RAISES (ValueError): If an example lacks a field, or a name is not in its text.
    """
    if examples is None:
        return None
    loaded: Iterable[Any]
    if isinstance(examples, str):
        read = {".json": srsly.read_json, ".jsonl": srsly.read_jsonl}.get(
            Path(examples).suffix, srsly.read_yaml
        )
        loaded = read(examples)
    else:
        loaded = examples
    checked: list[FewShotExample] = []
    for number, example in enumerate(loaded, 1):
        if not isinstance(example, Mapping) or not {"text", "english", "entities"} <= set(example):
            raise ValueError(f"Few-shot example {number} needs the fields 'text', 'english' and 'entities'.")
        for english, source in example["entities"].items():
            if source not in example["text"] or english not in example["english"]:
                raise ValueError(
                    f"Few-shot example {number}: '{english}' must stand in 'english' "
                    f"and '{source}' in 'text', character by character."
                )
        checked.append(
            {"text": example["text"], "english": example["english"], "entities": dict(example["entities"])}
        )
    return checked


def load_glossary(glossary: str | Mapping[str, str] | None) -> dict[str, str]:
    """Terms and their English.

    glossary: A path to a JSON file of {source term: English term}, the same
        as a mapping, the name of a dictionary ("cedict", "jmnedict"), or None.
    """
    if isinstance(glossary, str) and glossary in DICTIONARIES:
        return load_dictionary(glossary)
    terms: Any = srsly.read_json(glossary) if isinstance(glossary, str) else glossary or {}
    return {str(source): str(english) for source, english in terms.items()}


def clean(response: str) -> str:
    """An answer without what LLMs put around it: reasoning, code fences."""
    text = re.sub(r"(?s)^.*?</think>", "", response, count=1)
    text = re.sub(r"(?s)^\s*```\w*\n(.*?)\n?```\s*$", r"\1", text)
    return text.strip()


@cache
def _compiled(source: str) -> Template:
    environment = Environment(undefined=StrictUndefined, autoescape=False)  # prompts are not HTML
    environment.filters["tojson_"] = lambda value: json.dumps(value, ensure_ascii=False)
    return environment.from_string(source)


@cache
def _read(path: str) -> str:
    return (files(__package__) / path).read_text(encoding="utf-8")
