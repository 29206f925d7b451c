"""Splitting a doc into the sentences that are sent to the LLM."""

from collections.abc import Iterator

from spacy.tokens import Doc

from ..languages import load

_TERMINATORS = frozenset("。！？!?．｡…‼⁇⁈⁉؟۔।")
_CLOSERS = dict(zip("「『（(【［[《〈〔“‘｢", "」』）)】］]》〉〕”’｣", strict=True))
_CLOSING = frozenset(_CLOSERS.values()) | frozenset("\"'〞")
_CLAUSES = frozenset("；;：:，,、､،")
_MOST_DOTS = 64  # how far is looked for what follows dots


def split_doc(doc: Doc, *, max_length: int = 256) -> list[tuple[int, int]]:
    """Sentences of a doc, as the pipeline set them, else by punctuation.

    doc (Doc): Any doc. `doc.sents` is used where sentence boundaries are set.
    max_length (int): Characters above which a sentence is split further.
    RETURNS (List[Tuple[int, int]]): Character offsets, half open, in order,
        without surrounding white space. Every character that is not white
        space is in exactly one of them.
    """
    text = doc.text  # made anew by each access
    if doc.has_annotation("SENT_START"):
        return [
            piece
            for sent in doc.sents
            for piece in _shorten(text, *_strip(text, sent.start_char, sent.end_char), max_length)
        ]
    return split_text(text, max_length=max_length, lang=doc.lang_)


def split_text(text: str, *, max_length: int = 256, lang: str = "") -> list[tuple[int, int]]:
    """Sentences of a text, at CJK and Latin sentence punctuation and line breaks.

    Quotes and brackets stay with their sentence: it does not end inside them,
    and closing ones after its last mark belong to it. A bracket that is never
    closed does not hold its line together: a sentence longer than
    `max_length` ends at sentence marks within brackets too, then at clause
    marks, then anywhere but within a Latin word or number.

    text (str): The text.
    max_length (int): Characters above which a sentence is split further.
    lang (str): Code of its language, whose abbreviations end no sentence; nor do English ones.
    RETURNS (List[Tuple[int, int]]): As for `split_doc`.
    """
    pieces: list[tuple[int, int]] = []
    short = frozenset([*load("en").abbreviations, *load(lang).abbreviations])
    for start, end in _lines(text):
        for piece in _at_terminators(text, start, end, short, within_brackets=False):
            pieces.extend(_shorten(text, *_strip(text, *piece), max_length))
    return pieces


def _lines(text: str) -> Iterator[tuple[int, int]]:
    start = 0
    for line in text.splitlines(keepends=True):
        yield start, start + len(line)
        start += len(line)


def _at_terminators(
    text: str, start: int, end: int, short: frozenset[str], *, within_brackets: bool
) -> Iterator[tuple[int, int]]:
    begin = position = start
    depth = 0
    waiting: dict[str, int] = {}  # closing brackets that are waited for, with the depth of the outermost
    while position < end:
        char = text[position]
        if not within_brackets and char in _CLOSERS:
            waiting.setdefault(_CLOSERS[char], depth)
            depth += 1
        elif char in waiting:
            depth = waiting[char]
            waiting = {closer: outermost for closer, outermost in waiting.items() if outermost < depth}
        position += 1
        if depth or not _ends_sentence(text, position - 1, end, short):
            continue
        while position < end and (
            text[position] in _TERMINATORS or text[position] in _CLOSING or text[position] == "."
        ):
            position += 1
        yield begin, position
        begin = position
    if begin < end:
        yield begin, end


def _ends_sentence(text: str, position: int, end: int, short: frozenset[str]) -> bool:
    char = text[position]
    if char == "…":  # dots that a word or a comma follows are a pause, not an end
        rest = text[position : min(end, position + _MOST_DOTS)].lstrip("….")[:1]
        return not rest or rest in _TERMINATORS | _CLOSING or rest.isspace()
    if char in _TERMINATORS:
        return True
    if char != ".":
        return False
    after = text[position + 1] if position + 1 < end else " "
    if not (after.isspace() or after in _CLOSING):
        return False
    word = position
    while word and text[word - 1].isalnum():
        word -= 1
    # An initial or a title is not the end of a sentence: "J. Smith", "Dr. Smith".
    initial = position - word == 1 and text[word].isupper()
    return not initial and text[word:position] not in short


def _shorten(text: str, start: int, end: int, max_length: int) -> Iterator[tuple[int, int]]:
    """Split what is too long at the last mark that keeps the piece in bounds."""
    while end - start > max_length:
        cut = _last_cut(text, start, start + max_length)
        piece = _strip(text, start, cut)
        if piece[0] < piece[1]:
            yield piece
        start, end = _strip(text, cut, end)
    if start < end:
        yield start, end


def _last_cut(text: str, start: int, limit: int) -> int:
    *_, last = _at_terminators(text, start, limit, frozenset(), within_brackets=True)
    if start < last[0]:
        return last[0]
    for position in range(limit, start + (limit - start) // 4, -1):
        if text[position - 1] in _CLAUSES and not text[position : position + 1].isdigit():
            return position
    for position in range(limit, start + (limit - start) // 2, -1):
        if not (_latin(text[position - 1]) and _latin(text[position : position + 1])):
            return position
    return limit


def _latin(char: str) -> bool:
    return char.isascii() and char.isalnum()


def _strip(text: str, start: int, end: int) -> tuple[int, int]:
    while start < end and text[start].isspace():
        start += 1
    while end > start and text[end - 1].isspace():
        end -= 1
    return start, end
