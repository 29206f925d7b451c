"""Brackets that give a name in English."""

import re
from collections.abc import Sequence

_GLOSS = re.compile(r"\s*[(（]([^()（）]*[A-Za-z][^()（）]*)[)）]")


def without_glosses(text: str, phrases: Sequence[str]) -> str:
    """A text without the brackets that give a name in English: 安迪（Andy）.

    What is asked for are the words that such a gloss explains.

    text (str): The source text.
    phrases (Sequence[str]): English names.
    """

    def rest(gloss: "re.Match[str]") -> str:
        inner = gloss.group(1).casefold()
        return (
            "" if gloss.start() and any(phrase.casefold() in inner for phrase in phrases) else gloss.group()
        )

    return _GLOSS.sub(rest, text)
