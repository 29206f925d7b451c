"""Markers round names: written into a text, and read out of what an LLM made of it. Pure functions."""

import re
from collections.abc import Sequence
from typing import NamedTuple

from ..text.lines import one_line
from ..types import Span
from .forms import CLOSING, OPENING

# Markers as LLMs write them: of any width, with a stop behind the number or not.
_OPENING = re.compile(r"[\[［【〔]\s*(?:(\d{1,3})(?!\d)\s*[.:：、．|]?\s*)?")
_CLOSING = re.compile(r"\s*[\]］】〕]")
_BRACKETS = str.maketrans("[]［］【】〔〕", "()（）（）（）")
_BREAK = re.compile(r"[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]")


class Marked(NamedTuple):
    """A text that had markers.

    text (str): Without them.
    spans (Dict[int, Span]): By the number of a marker, what stood between.
    words (Dict[int, List[str]]): By number, all that stood between, of lost and faulty markers too.
    faults (Dict[int, str]): By number, what is wrong with a marker: "lost", "empty", "nested" or "doubled".
    stray (int): Brackets without a partner, or with another number.
    """

    text: str
    spans: dict[int, Span]
    words: dict[int, list[str]]
    faults: dict[int, str]
    stray: int


def without_brackets(text: str) -> str:
    """RETURNS (str): A text of the same length without line breaks, and with round brackets in the place of
    those that are markers."""
    return _BREAK.sub(" ", text.translate(_BRACKETS))


def with_markers(text: str, spans: Sequence[Span], *, numbered: bool = True) -> str:
    """A text on one line with markers round some spans, [1 like this].

    text (str): The text. Its own square brackets become round ones.
    spans (Sequence[Span]): In the order of the text, none overlapping another.
    numbered (bool): Whether markers have numbers, from 1.
    RETURNS (str): The text with markers.
    """
    parts, at = [], 0
    for number, span in enumerate(spans, 1):
        start = span.start_char
        name = text[start : span.end_char].translate(_BRACKETS)
        parts += [
            text[at:start].translate(_BRACKETS),
            OPENING,
            f"{number} " if numbered else "",
            name,
            CLOSING,
        ]
        at = span.end_char
    return one_line("".join(parts) + text[at:].translate(_BRACKETS))


def read_markers(marked: str, count: int) -> Marked:
    """Take the markers out of a text.

    Brackets of any width are markers if they have a number between 1 and `count`; so is one without a number,
    if it is the only one and one is expected. A marker that is lost (or became a word), that has nothing in
    it, that is within another, or that has different words in two places, has no span. Two with the same
    words have that of the first.

    marked (str): On one line.
    count (int): How many markers there should be.
    RETURNS (Marked): The text, and what stood between its markers.
    """
    text, pieces, stray = _pieces(marked)
    if count == 1 and len(pieces) == 1 and pieces[0].number is None:
        pieces = [pieces[0]._replace(number=1)]
    places: dict[int, list[_Piece]] = {}
    for piece in pieces:
        if piece.number is not None and 1 <= piece.number <= count:
            places.setdefault(piece.number, []).append(piece)
        else:
            stray += 1
    spans, faults = {}, {}
    for number in range(1, count + 1):
        found = places.get(number, [])
        full = [piece for piece in found if piece.words]
        if not full:
            faults[number] = "empty" if found else "lost"
        elif any(piece.nested for piece in full):
            faults[number] = "nested"
        elif len({piece.words for piece in full}) > 1:
            faults[number] = "doubled"
        else:
            spans[number] = full[0].span
    words = {number: [piece.words for piece in found if piece.words] for number, found in places.items()}
    return Marked(text, spans, words, faults, stray)


class _Piece(NamedTuple):
    """What stands between two brackets.

    number (Optional[int]): Of the marker, None if it has none.
    words (str): What stands there.
    span (Span): Where, in the text without markers.
    nested (bool): Whether it is within other brackets, or has some within.
    """

    number: int | None
    words: str
    span: Span
    nested: bool


def _pieces(marked: str) -> tuple[str, list[_Piece], int]:
    """RETURNS (Tuple[str, List[_Piece], int]): The text without brackets, what stands between them, and how
    many have no partner."""
    text = ""
    pieces: list[_Piece] = []
    open_: list[tuple[int | None, int, int]] = []  # number, place, and pieces so far
    stray = at = 0
    while at < len(marked):
        if match := _OPENING.match(marked, at):
            open_.append((int(match[1]) if match[1] else None, len(text), len(pieces)))
        elif match := _CLOSING.match(marked, at):
            if open_:
                number, start, before = open_.pop()
                nested = bool(open_) or len(pieces) > before
                pieces.append(_Piece(number, text[start:], Span(start, len(text)), nested))
            else:
                stray += 1
        else:
            text += marked[at]
        at = match.end() if match else at + 1
    return text, pieces, stray + len(open_)
