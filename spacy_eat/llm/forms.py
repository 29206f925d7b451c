"""The forms in which a base LLM is asked for translations and names, and in which it is tuned.

Inference and tuning both build their prompts here. An LLM that was tuned knows them to the byte: a change of
a character here wants a new adapter. No prompt ends with a space: it is continued as " " + answer + "\\n".
"""

from collections.abc import Iterable
from dataclasses import dataclass

from ..text.lines import one_line

NONE = "none"  # the answer for a name that has no words in the source, and for a text without names
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


Completion = TranslationForm | AlignmentForm
