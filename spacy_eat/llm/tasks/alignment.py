"""The tasks that translate English entities back to the exact source words."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Iterable, List, Tuple

from spacy.tokens import Doc

from ...records import needs_alignment, sentences_of, set_answers, set_failure, texts_of
from ...text.glosses import without_glosses
from ...text.lines import one_line
from ...types import SentenceRecord
from ..forms import NONE, AlignmentForm
from ..prompts import Candidate, LLMError, Prompt, Response
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


class EntityAlignmentTask:
    """spacy-llm task: one prompt per sentence, for all its English entities.

    Where in the source an answer stands is not decided here.
    """

    def __init__(
        self,
        template: PromptTemplate,
        *,
        language: str | None = None,
        examples: Sequence[FewShotExample] | None = None,
        dialogue: bool = False,
    ) -> None:
        """
        template (PromptTemplate): Renders the prompt.
        language (Optional[str]): Code or English name of the source language,
            None to take each doc's own.
        examples (Optional[Sequence[FewShotExample]]): Shown to the model. None: the
            built-in ones, to untuned base models only.
        dialogue (bool): One prompt per English name, and not per sentence.
        """
        self.template = template
        self.language = language
        self.examples = examples
        self.dialogue = dialogue

    def prompts(
        self, text: str, english: str, names: Sequence[str], lang: str
    ) -> list[Tuple[Sequence[str], Prompt]]:
        """The requests for one sentence.

        text (str): The source sentence.
        english (str): Its translation.
        names (Sequence[str]): English names, all different.
        lang (str): Code of the source language, used where the task names none.
        RETURNS (List[Tuple[Sequence[str], Prompt]]): Each with the names that it asks for.
        """
        groups = [[name] for name in names] if self.dialogue else [list(names)] if names else []
        return [
            (group, self.prompt(text, english, list(dict.fromkeys(map(one_line, group))), lang))
            for group in groups
        ]

    def parse(self, names: Sequence[str], response: Response) -> dict[str, list[Candidate]]:
        """Understand one response.

        names (Sequence[str]): What was asked for.
        response (Response): The answer.
        RETURNS (Dict[str, List[Candidate]]): For each name its answers, best first.
        RAISES (LLMError): There is none, or it is not understood.
        """
        if isinstance(response, LLMError):
            raise response
        found = parse_alignment(response, [one_line(name) for name in names])
        if found is None:
            raise LLMError(f"the answer is not understood: {response[:80]!r}", usage=response.usage)
        return {name: found.get(one_line(name), []) for name in names}

    def generate_prompts(
        self, docs: Iterable[Doc], context_length: int | None = None
    ) -> Iterable[Tuple[Iterable[Any], Iterable[Doc]]]:
        """The prompts of each doc, where spacy-llm's own component runs the task: a `ShardingLLMTask`.

        docs (Iterable[Doc]): Docs with `doc._.eat` and English entities.
        context_length (Optional[int]): Not used: sentences are split before.
        YIELDS (Tuple[Iterable[Prompt], Iterable[Doc]]): The prompts of a doc, and
            the doc itself in the place of each shard.
        """
        for doc in docs:
            prompts = [prompt for _, group in self._pending(doc) for _, prompt in group]
            yield prompts, [doc] * max(1, len(prompts))

    def parse_responses(
        self, shards: Iterable[Iterable[Doc]], responses: Iterable[Iterable[Any]]
    ) -> Iterable[Doc]:
        """Write the answers to the entities in `doc._.eat`. See spacy-llm's `ShardingLLMTask`."""
        for doc, own in answered(shards, responses):
            for sentence, group in self._pending(doc):
                for (names, _), response in zip(group, own, strict=False):
                    try:
                        set_answers(sentence, self.parse(names, response))
                    except LLMError as error:
                        set_failure(sentence, "alignment", error)
            yield doc

    def _pending(self, doc: Doc) -> list[Tuple[SentenceRecord, list[Tuple[Sequence[str], Prompt]]]]:
        """The sentences of a doc with entities that have no answers, and their requests."""
        open_ = [sentence for sentence in sentences_of(doc) if needs_alignment(sentence)]
        return [
            (
                sentence,
                self.prompts(
                    text,
                    sentence["english"] or "",
                    list(dict.fromkeys(e["text"] for e in sentence["entities"] if not e["answers"])),
                    doc.lang_,
                ),
            )
            for text, sentence in zip(texts_of(doc, open_), open_, strict=True)
        ]

    def prompt(self, text: str, english: str, phrases: Sequence[str], lang: str) -> Prompt:
        """The request for one sentence.

        text (str): The source sentence.
        english (str): Its translation.
        phrases (Sequence[str]): English names, all different.
        lang (str): Code of the source language, used where the task names none.
        """
        text, english = without_glosses(one_line(text), phrases), one_line(english)
        lang = self.language or lang
        language = language_name(lang)
        asked: dict[str, Any] = {"phrases": list(phrases), "examples": self.examples or ()}
        if self.dialogue:
            asked = {"phrase": phrases[0]}
        rendered = self.template.render(language=language, text=text, english=english, **asked)
        first, *turns = rendered.split("\f")
        completion = AlignmentForm(text, language, tuple(phrases), self._solved(lang))
        schema = None
        if not self.dialogue:
            schema = {
                "type": "object",
                "properties": {phrase: {"type": ["string", "null"]} for phrase in phrases},
                "required": list(phrases),
                "additionalProperties": False,
            }
        return Prompt(first, completion=completion, schema=schema, turns=turns)

    def _solved(self, lang: str) -> Tuple[Tuple[str, str, str], ...]:
        """The examples for an LLM that continues a text, one for each name."""
        examples = builtin_examples(lang) if self.examples is None else self.examples
        return tuple(
            (example["text"], name, words)
            for example in examples
            for name, words in example["entities"].items()
        )


def parse_alignment(response: str, phrases: Sequence[str]) -> dict[str, list[Candidate]] | None:
    """The candidates in an answer, whatever form it has.

    Understood are a JSON object by name or number, a list in order, a list of
    pairs, of objects or of scored candidates ([[answer, log-probability], ...],
    the form of this package's own engines); JSON within prose, in code fences
    or cut off; lines "name: words" or "name = words"; and for a single name
    the bare words.

    response (str): What the LLM answered.
    phrases (Sequence[str]): The English names that were asked for.
    RETURNS (Optional[Dict[str, List[Candidate]]]): For each name the candidates,
        best first. Names that the answer says nothing of, or null, are left
        out. None if nothing in it could be understood.
    """
    text = clean(response)
    if not text:
        return None
    keys: dict[str, str] = {}
    for number, phrase in enumerate(phrases, 1):
        keys.setdefault(_key(phrase), phrase)
        keys.setdefault(str(number), phrase)
    for value in _json_values(text):
        found = _from_json(value, phrases, keys)
        if found is not None:
            return found
    found = _from_lines(text, keys)
    if found is None and len(phrases) == 1 and len(text.splitlines()) == 1:
        found = {phrases[0]: _candidates(text)}
    return None if found is None else {phrase: answers for phrase, answers in found.items() if answers}


def _key(text: str) -> str:
    return " ".join(text.casefold().split()).strip("\"'“”‘’`*- .")


def _json_values(text: str) -> Iterable[Any]:
    """JSON objects and lists in a text, also one that was cut off."""
    decoder = json.JSONDecoder(strict=False)
    for match in re.finditer(r"[{\[]", text):
        try:
            yield decoder.raw_decode(text, match.start())[0]
            return
        except (json.JSONDecodeError, RecursionError):
            continue
    # A cut-off object: all pairs that are complete.
    string = r'"(?:[^"\\]|\\.)*"'
    pairs = re.findall(rf"({string})\s*:\s*({string}|null)", text)
    if pairs:
        try:
            yield {json.loads(key, strict=False): json.loads(value, strict=False) for key, value in pairs}
        except json.JSONDecodeError:
            return


def _from_json(
    value: Any, phrases: Sequence[str], keys: Mapping[str, str]
) -> dict[str, list[Candidate]] | None:
    if isinstance(value, dict):
        known = {keys[_key(str(k))]: v for k, v in value.items() if _key(str(k)) in keys}
        if known:
            return {phrase: answers for phrase, v in known.items() if (answers := _candidates(v))}
        # {"names": {...}} and the like: look one level down
        inner = [v for v in value.values() if isinstance(v, dict | list)]
        return _from_json(inner[0], phrases, keys) if len(inner) == 1 else ({} if not value else None)
    if not isinstance(value, list):
        return None
    pairs: dict[str, list[Candidate]] = {}
    for item in value:
        if isinstance(item, dict):
            texts = [v for v in item.values() if isinstance(v, str)]
            if len(item) == 1:
                texts = [*item.keys(), *texts]
        elif isinstance(item, list) and len(item) == 2 and all(isinstance(x, str) for x in item):
            texts = item
        else:
            continue
        if len(texts) >= 2 and _key(texts[0]) in keys:
            pairs[keys[_key(texts[0])]] = _candidates(texts[1])
    if pairs:
        return {phrase: answers for phrase, answers in pairs.items() if answers}
    if len(value) == len(phrases):
        return {p: answers for p, v in zip(phrases, value, strict=True) if (answers := _candidates(v))}
    return None


def _from_lines(text: str, keys: Mapping[str, str]) -> dict[str, list[Candidate]] | None:
    found: dict[str, list[Candidate]] = {}
    for line in text.splitlines():
        line = re.sub(r"^\s*(?:[-*•]|\d+[.)])\s+", "", line)
        for separator in re.finditer(r"\s*(?:->|→|=>|[:：=＝\t])\s*", line):
            key = _key(line[: separator.start()])
            if key in keys:
                found.setdefault(keys[key], _candidates(line[separator.end() :]))
                break
    return found or None


def _candidates(value: Any) -> list[Candidate]:
    """Candidates of one name: a string, null, or a list of strings or scored strings."""
    if isinstance(value, str):
        text = value.strip().rstrip(",;，；").strip()
        text = text.strip('"“”`') if len(text) > 1 else text
        return [] if _key(text) in ("", NONE, "null", "n/a") else [Candidate(text)]
    if isinstance(value, dict):
        return next((_candidates(v) for v in value.values() if isinstance(v, str)), [])
    if not isinstance(value, list):
        return []
    candidates = []
    for item in value:
        if isinstance(item, str):
            candidates += _candidates(item)
        elif (
            isinstance(item, list)
            and len(item) == 2
            and isinstance(item[0], str)
            and isinstance(item[1], int | float)
        ):
            # An empty text stands for "not in the source".
            candidates.append(Candidate("" if item[0] == NONE else item[0], float(item[1])))
    return candidates


def make_alignment_task(
    language: str | None = None,
    examples: str | List[dict] | None = None,
    template: str | None = None,
) -> EntityAlignmentTask:
    """`spacy_eat.EntityAlignment.v1`: one request per sentence, for all its entities.

    Step 3 of EAT (arXiv 2509.01147, section 3), for all entities at once.

    language (Optional[str]): Code or English name of the source language,
        None for the pipeline's language.
    examples (Optional): Few-shot examples: a path to a JSON, JSONL or YAML
        file, or a list, with the fields "text", "english" and "entities".
        None: none for chat models, the built-in ones for untuned base models.
    template (Optional[str]): Jinja template in the place of the built-in one,
        with the variables language, text, english, phrases and examples.
    """
    return EntityAlignmentTask(
        load_template("entity_alignment", template), language=language, examples=load_examples(examples)
    )


def make_alignment_dialogue_task(
    language: str | None = None,
    examples: str | List[dict] | None = None,
    template: str | None = None,
) -> EntityAlignmentTask:
    """`spacy_eat.EntityAlignmentDialogue.v1`: three requests per English name.

    The dialogue of the paper, one entity at a time. The arguments are those of
    `spacy_eat.EntityAlignment.v1`; the template's variables are language, text,
    english and phrase, and its turns are separated by form feeds.
    """
    return EntityAlignmentTask(
        load_template("entity_alignment_dialogue", template),
        language=language,
        examples=load_examples(examples),
        dialogue=True,
    )
