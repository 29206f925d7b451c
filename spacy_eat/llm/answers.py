"""What may be answered where the answer must be words of a text."""

import itertools
import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterator
from functools import cache

from ..languages import Language
from ..text.boundaries import Boundaries

ANSWER_CHARS = 48  # longest answer, in characters
ANSWERS = 20_000  # most answers; in a very long text they are shorter
PATTERN = 4000  # the same for those that are written as a regular expression
UNKNOWN = Language()
UNANSWERABLE = re.compile(r"[\n\r\ud800-\udfff]+")  # no answer crosses a line, none is half a character
NO_EDGE = frozenset("，。、；：？")  # no answer begins or ends with them
SYNTAX = re.compile(r"[\\^$.|?*+()\[\]{}]")
ESCAPED = re.compile(r'["\\\x00-\x1f\x7f]')  # what a string in JSON does not have as it is


def scripts(text: str) -> frozenset[str]:
    """RETURNS (FrozenSet[str]): The scripts of a text's letters, by the first
    word of their Unicode names. Han and Kana count as one, "CJK"."""
    return frozenset(filter(None, map(_script, text)))


@cache
def _script(char: str) -> str:
    if not char.isalpha():
        return ""
    first = unicodedata.name(char, "").partition(" ")[0]
    return "CJK" if first.startswith(("CJK", "HIRAGANA", "KATAKANA", "HALFWIDTH")) else first


def possible_answers(source: str, longest: int = ANSWER_CHARS, most: int = ANSWERS) -> list[str]:
    """The substrings of a text that may be names.

    source (str): The text.
    longest (int): Their most characters.
    most (int): About the most there may be: in a long text they are shorter,
        down to 8 characters.
    RETURNS (List[str]): All different. None begins or ends where no name does (`Edge.NEVER`), or has a line
        break or a lone surrogate.
    """
    longest = _longest(source, longest, most)
    found: dict[str, None] = {}
    for line, starts, ends in _lines(source):
        for start in starts:
            for end in ends[bisect_right(ends, start) :]:
                if end - start > longest:
                    break
                found[line[start:end]] = None
    return list(found)


def answers_pattern(source: str, longest: int = ANSWER_CHARS, most: int = PATTERN) -> str | None:
    """A regular expression for the `possible_answers` that JSON does not escape.

    source (str): The text.
    longest, most: As in `possible_answers`.
    RETURNS (Optional[str]): Of the plainest syntax, which all engines know; None
        if there are no answers.
    """
    longest = _longest(source, longest, most)
    found: dict[str, None] = {}
    for line, starts, ends in _lines(ESCAPED.sub("\n", source)):
        for start in starts:
            reached = [end for end in ends[bisect_right(ends, start) :] if end - start <= longest]
            rest = ""
            for begin, end in reversed(list(itertools.pairwise([start, *reached]))):  # from the last piece on
                piece = SYNTAX.sub(r"\\\g<0>", line[begin:end])
                rest = f"{piece}({rest})?" if rest else piece
            if rest:
                found[rest] = None
    return f"^({'|'.join(found)})$" if found else None


def _longest(source: str, longest: int, most: int) -> int:
    return max(8, min(longest, most // max(1, len(source))))


def _lines(source: str) -> Iterator[tuple[str, list[int], list[int]]]:
    """YIELDS (Tuple[str, List[int], List[int]]): A line, where names may begin in it, and end."""
    for line in UNANSWERABLE.split(source):
        yield line, *edges(line)


def edges(line: str) -> tuple[list[int], list[int]]:
    """RETURNS (Tuple[List[int], List[int]]): Where names may begin in a line, and end."""
    boundaries = Boundaries(line, UNKNOWN)  # affixes only tell which answers are likely
    return (
        [i for i, char in enumerate(line) if boundaries.starts[i] and char not in NO_EDGE],
        [i for i, char in enumerate(line, 1) if boundaries.ends[i] and char not in NO_EDGE],
    )
