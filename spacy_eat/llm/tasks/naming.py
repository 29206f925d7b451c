"""What is asked of an LLM that finds names in the source itself: which there are, and what a word is."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from ...text.lines import one_line
from ..forms import NONE, ChoiceForm, LineForm, text_line
from ..prompts import Fault, LLMError, Prompt, Response
from .rendering import LabelledExample, builtin_examples, clean, language_name, load_template

# Labels, and the words for them that LLMs know best.
WORDS = {"PER": "person", "LOC": "place", "ORG": "organization"}
OTHER = "other"  # the word for what is no name
BESIDE = 4  # characters that are shown on each side of a token
SEPARATOR = "; "
_SEPARATORS = re.compile(r"\s*[;；、\n]\s*")


def extraction_prompt(text: str, lang: str, words: Mapping[str, str], *, shown: bool = False) -> Prompt:
    """Asks for the names of a text, whatever they are.

    text (str): The text.
    lang (str): Code of its language.
    words (Mapping[str, str]): By label, the word for it.
    shown (bool): Whether a chat model is shown the solved examples too.
    RETURNS (Prompt): The request; see `read_names`.
    """
    language, examples = language_name(lang), builtin_examples(lang)
    rendered = load_template("name_extraction").render(
        language=language,
        text=one_line(text),
        words=list(words.values()),
        examples=[(e["text"], list(e["entities"].values())) for e in examples] if shown else (),
    )
    head = "".join(
        f"{text_line(example['text'], language)}Names: {SEPARATOR.join(example['entities'].values())}\n\n"
        for example in examples
    )
    form = LineForm(f"{text_line(text, language)}Names:", head, max_tokens=256)
    return Prompt(rendered, completion=form, check=names_fault)


def read_names(response: Response) -> list[str]:
    """Understand the response to an `extraction_prompt`.

    response (Response): A JSON list, or names apart by semicolons, 、 or lines.
    RETURNS (List[str]): The names, all different. They need not stand in the text.
    RAISES (LLMError): There is no response.
    """
    if isinstance(response, LLMError):
        raise response
    text = clean(response)
    begin, end = text.find("["), text.rfind("]")
    try:
        value = json.loads(text[begin : end + 1]) if 0 <= begin < end else None
    except json.JSONDecodeError:
        value = None
    if isinstance(value, list):
        names = [name for name in value if isinstance(name, str)]
    else:
        names = _SEPARATORS.split(text)
    stripped = (name.strip().strip("\"'“”") for name in names)
    return list(dict.fromkeys(name for name in stripped if name and name.casefold() != NONE))


def names_fault(response: str) -> Fault | None:
    """RETURNS (Optional[Fault]): What is wrong with a list of names."""
    return None if clean(response) else Fault("the answer is empty")


def type_prompts(
    text: str, asked: Sequence[tuple[str, str]], lang: str, words: Mapping[str, str], *, tokens: bool
) -> list[Prompt]:
    """Asks what each of some words of a text is.

    text (str): The text.
    asked (Sequence[Tuple[str, str]]): Words, and how they are shown: as they are, or marked beside others.
    lang (str): Code of its language.
    words (Mapping[str, str]): By label, the word for it.
    tokens (bool): Whether they are tokens, not names.
    RETURNS (List[Prompt]): The requests; see `read_type`.
    """
    language = language_name(lang)
    template = load_template("word_type")
    choices = (*words.values(), OTHER)
    head = _solved(lang, language, words, tokens)
    prompts = []
    for word, shown in asked:
        form = ChoiceForm(text_line(text, language), f"{shown}:", choices, head)
        rendered = template.render(
            language=language, text=one_line(text), word=word, shown=shown, choices=choices, tokens=tokens
        )
        prompts.append(Prompt(rendered, completion=form))
    return prompts


def read_type(response: Response, words: Mapping[str, str]) -> tuple[str, float]:
    """Understand the response to one of the `type_prompts`.

    response (Response): A list of words with log-probabilities, or free text with one of the words.
    words (Mapping[str, str]): By label, the word for it.
    RETURNS (Tuple[str, float]): The likeliest label, "" for none, and its probability; 1.0 where the LLM does
        not tell.
    RAISES (LLMError): There is no response, or none of the words is in it.
    """
    if isinstance(response, LLMError):
        raise response
    labels = {word.casefold(): label for label, word in words.items()} | {OTHER: ""}
    try:
        ranked: Any = json.loads(response)
        logprobs = {labels[word.casefold()]: float(logprob) for word, logprob in ranked}
        best = max(logprobs, key=lambda label: logprobs[label])
        total = sum(math.exp(logprob - logprobs[best]) for logprob in logprobs.values())
        return best, 1 / total
    except (AttributeError, KeyError, TypeError, ValueError):
        pass
    text = clean(response).casefold()
    said = [word for word in labels if re.search(rf"(?<!\w){re.escape(word)}(?!\w)", text)]
    if not said:
        raise LLMError(f"the answer is none of {', '.join(labels)}: {response[:80]!r}", usage=response.usage)
    return labels[min(said, key=text.index)], 1.0


def in_context(text: str, start: int, end: int) -> str:
    """RETURNS (str): A token of a text in brackets, with what stands beside it."""
    before, after = text[max(0, start - BESIDE) : start], text[end : end + BESIDE]
    return one_line(f"{before}[{text[start:end]}]{after}")


def _solved(lang: str, language: str, words: Mapping[str, str], tokens: bool) -> str:
    """RETURNS (str): The examples, as they stand before a question: of each its names and a character that is
    in none, or the first token of each name and every fourth of those that are in none."""
    lines = []
    for example in builtin_examples(lang):
        text = example["text"]
        places = [(text.index(name), name, label) for name, label in _labelled(example)]
        inside = {i for start, name, _ in places for i in range(start, start + len(name))}
        others = [i for i in range(len(text)) if i not in inside]
        others = others[::4] if tokens else others[-2:-1]
        asked = [(start, name, words.get(label, OTHER)) for start, name, label in places]
        asked += [(i, text[i], OTHER) for i in others]
        lines.append(text_line(text, language))
        for start, name, word in sorted(asked):
            lines.append(f"{in_context(text, start, start + 1) if tokens else name}: {word}\n")
        lines.append("\n")
    return "".join(lines)


def _labelled(example: LabelledExample) -> list[tuple[str, str]]:
    """RETURNS (List[Tuple[str, str]]): The names of an example in the source, with their labels."""
    return [(words, example["labels"][name]) for name, words in example["entities"].items()]
