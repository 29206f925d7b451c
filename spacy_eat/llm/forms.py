"""The forms in which a base LLM is asked for translations and names, and in which it is tuned.

Inference and tuning both build their prompts here. An LLM that was tuned knows them to the byte: a change of
a character here wants a new adapter. No prompt ends with a space: it is continued as " " + answer + "\\n".
"""

from collections.abc import Iterable
from dataclasses import dataclass

from ..text.lines import one_line

NONE = "none"  # the answer for a name that has no words in the source, and for a text without names
OPENING, CLOSING = "[", "]"  # the markers of a name
TERMS = "Terms:"  # what the line of names with their English begins with


def text_line(text: str, language: str) -> str:
    """RETURNS (str): What all prompts about a text begin with."""
    return f"{language}: {one_line(text)}\n"


def terms_list(terms: Iterable[tuple[str, str]]) -> str:
    """RETURNS (str): Source terms with their English, as they follow `TERMS` and a space."""
    return "; ".join(f"{source} = {english}" for source, english in terms)


def translation_question(terms: Iterable[tuple[str, str]] = ()) -> str:
    """RETURNS (str): Asks for the translation of the text before it, with these terms in it."""
    listed = terms_list(terms)
    return f"{TERMS} {listed}\nEnglish:" if listed else "English:"


def name_question(name: str, language: str) -> str:
    """RETURNS (str): Asks for the words of an English name in the text before it."""
    return f"English name: {one_line(name)}\n{language} name:"


@dataclass(frozen=True)
class TranslationForm:
    """Asks for a translation; the response is the English.

    text (str): The sentence, on one line.
    language (str): English name of its language.
    terms (Tuple[Tuple[str, str], ...]): Source terms with their English, to be kept to.
    examples (Tuple[Tuple[str, str], ...]): Sentences with their English, for an LLM that was not tuned.
    drafted (bool): Whether a tuned LLM may write the line of names first.
    """

    text: str
    language: str
    terms: tuple[tuple[str, str], ...] = ()
    examples: tuple[tuple[str, str], ...] = ()
    drafted: bool = True

    tuned = True

    @property
    def head(self) -> str:
        """RETURNS (str): The examples, as they stand before the prompt."""
        return "".join(
            f"{text_line(text, self.language)}{translation_question()} {one_line(english)}\n\n"
            for text, english in self.examples
        )

    @property
    def prompt(self) -> str:
        """RETURNS (str): The prompt."""
        return text_line(self.text, self.language) + translation_question(self.terms)

    @property
    def draft(self) -> tuple[str, str]:
        """RETURNS (Tuple[str, str]): A prompt that a tuned LLM continues by the line of names that helps it
        to translate, and what follows this line."""
        given = f" {terms_list(self.terms)};" if self.terms else ""
        return f"{text_line(self.text, self.language)}{TERMS}{given}", f"\n{translation_question()}"

    @property
    def max_tokens(self) -> int:
        """RETURNS (int): Most tokens of the answer."""
        return min(512, 32 + 2 * len(self.text))


@dataclass(frozen=True)
class AlignmentForm:
    """Asks for the source words of English names; the response is JSON: for each name a list of
    [words, log-probability], best first. Words stand in the text, or are `NONE`.

    text (str): The sentence, on one line.
    language (str): English name of its language.
    names (Tuple[str, ...]): The English names.
    examples (Tuple[Tuple[str, str, str], ...]): Sentences, each with an English name and its words, for an
        LLM that was not tuned.
    """

    text: str
    language: str
    names: tuple[str, ...]
    examples: tuple[tuple[str, str, str], ...] = ()

    tuned = True
    max_tokens = 48  # most tokens of an answer

    @property
    def head(self) -> str:
        """RETURNS (str): The examples, as they stand before the prompt."""
        return "".join(
            f"{text_line(text, self.language)}{name_question(name, self.language)} {words}\n\n"
            for text, name, words in self.examples
        )

    @property
    def prefix(self) -> str:
        """RETURNS (str): What the prompts for all names begin with."""
        return text_line(self.text, self.language)

    @property
    def questions(self) -> list[str]:
        """RETURNS (List[str]): What follows, for each name."""
        return [name_question(name, self.language) for name in self.names]

    @property
    def checks(self) -> list[tuple[str, str]]:
        """RETURNS (List[Tuple[str, str]]): The questions turned round, is an answer's English the name? What
        follows the prefix before " " + answer, and what should follow the answer. It is the line of names."""
        return [(TERMS, f" = {one_line(name)}") for name in self.names]


@dataclass(frozen=True)
class LineForm:
    """Asks for a line of text; the response is the line. No LLM is tuned on it.

    prompt (str): What the line continues.
    head (str): Examples, as they stand before the prompt.
    max_tokens (int): Most tokens of the answer.
    """

    prompt: str
    head: str = ""
    max_tokens: int = 512

    tuned = False
    drafted = False


@dataclass(frozen=True)
class ChoiceForm:
    """Asks for one of a few answers; the response is JSON, a list of [answer, log-probability], best first.
    Requests that differ in nothing but the question are computed together. No LLM is tuned on it.

    prefix (str): What all questions about a text begin with.
    question (str): What follows.
    choices (Tuple[str, ...]): The answers.
    head (str): Examples, as they stand before the prompt.
    """

    prefix: str
    question: str
    choices: tuple[str, ...]
    head: str = ""

    tuned = False
    max_tokens = 16  # most tokens of an answer


@dataclass(frozen=True)
class PlacementForm:
    """Asks where in a text a name stands that is marked in its English; the response is JSON, a list of
    [start, end, log-probability], best first, in characters of the text. Start and end are null for the text
    without markers. No LLM is tuned on it.

    text (str): The sentence, on one line.
    language (str): English name of its language.
    marked, plain (str): The English on one line, with and without markers.
    examples (Tuple[Tuple[str, str], ...]): English texts with their translations, both with markers.
    """

    text: str
    language: str
    marked: str
    plain: str
    examples: tuple[tuple[str, str], ...] = ()

    tuned = False

    @property
    def head(self) -> str:
        """RETURNS (str): The examples, as they stand before the prompt."""
        return "".join(f"{self._prompt(english)} {one_line(marked)}\n\n" for english, marked in self.examples)

    @property
    def prompts(self) -> tuple[str, str]:
        """RETURNS (Tuple[str, str]): What is followed by the text with markers, and by the text without."""
        return self._prompt(self.marked), self._prompt(self.plain)

    def _prompt(self, english: str) -> str:
        return f"{text_line(english, 'English')}{self.language}:"


Completion = TranslationForm | AlignmentForm | LineForm | ChoiceForm | PlacementForm
