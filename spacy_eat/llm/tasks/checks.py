"""What can be seen of a translation without understanding it: it is none, or not all of one."""

import re
import unicodedata

from ...languages import Language, guess_language, load
from ..prompts import Fault

# Such that good translations pass: `python -m benchmarks.faults --translations FILE.jsonl ...` counts the
# faults found in sentences and their English.
LEAST_LATIN = 0.5  # of the letters of an answer
# Length as a share of what is expected: below the first, an answer is useless, below the second, doubtful; of
# an answer that ends in mid-sentence, below the last.
USELESS_LENGTH, DOUBTFUL_LENGTH, CUT_LENGTH = 0.3, 0.5, 0.75
LENGTH_MATTERS = 24  # characters of English expected, from which on
MOST_LENGTH = 12, 200  # characters of English a character of the source, and some more
MOST_COPIED = 0.8  # of the small words of an answer that may stand in the source
COPIES_MATTER = 3  # small words of an answer, from which on

_ENGLISH = frozenset(["the", "and", "of", "by", "from", "with"])  # one of them says that a text is English
_LETTER = re.compile(r"[^\W\d_]")
_LATIN = re.compile(r"[A-Za-zÀ-ɏḀ-ỿ]")
# What a sentence of ours that was not cut off may well end in, and one that goes on.
_CLAUSE_END = tuple(",;:，；：、،؛–—-…")
_GOES_ON = re.compile(r"(?:[,;(]|(?<!\w)(?:the|a|an|of|and|or))\s*$")
_CLOSING = frozenset("」』）)】］]》〉〕”’｣\"'")
# "I'm sorry, but I can't assist with that." and its like.
_REFUSAL = re.compile(
    r"""(?ix)^\W*(?:
    (?:(?:i|we)\W?\s?a?(?:m|re)\s+(?:\w+\s+)?sorry|sorry|i\s+apologi[sz]e|unfortunately|i)\b .{0,60}?
    (?:\bcan\W?t|\bcannot|\bcan\s+not|\bunable|\bnot\s+able|\bwon\W?t)\b .{0,60}?
    \b(?:assist|fulfil|comply|translate|translation|process\s+(?:this|that|your)|help\s+(?:you\s+)?with\s+(?:this|that|your)
       |provide\s+(?:a|the|any|an)\b|language\s+model|content\s+polic)
    | as\s+an?\s+(?:ai|(?:large\s+)?language\s+model)\b)"""
)
_NUMBER = re.compile(r"\d[\d,.]*")
LONG_NUMBER = 4  # digits, from which on a number is expected as it is: most of them are years


def has_letters(text: str) -> bool:
    """Whether there is anything to translate in a text: "①" and emoji are no letters, "㈱" is."""
    return _LETTER.search(unicodedata.normalize("NFKC", text)) is not None


def with_stop(text: str) -> str:
    """RETURNS (str): A text with a full stop, if it ends in a letter or digit: without one, a small model
    may take it for a title, and shorten it."""
    if not text or not (unicodedata.category(text[-1])[0] in "LNM" or text[-1] in _CLOSING):
        return text
    return text + _language(text).stop


def translation_fault(text: str, english: str) -> Fault | None:
    """What is wrong with an answer as the translation of a text, None if nothing can be seen.

    text (str): The source sentence.
    english (str): The answer, on one line, without what LLMs put around it.
    RETURNS (Optional[Fault]): Fatal if the answer is no translation at all.
    """
    letters = _LETTER.findall(english)
    if not english or (not letters and has_letters(text)):
        return Fault("the answer is empty")
    latin = sum(map(bool, map(_LATIN.match, letters)))
    if letters and latin < LEAST_LATIN * len(letters):
        return Fault(f"the answer is not English: {english[:80]!r}")
    if _REFUSAL.search(english):
        return Fault(f"the model refused: {english[:80]!r}")
    if _is_copy(text, english):
        return Fault(f"the answer is the text itself: {english[:80]!r}")
    times, more = MOST_LENGTH
    if len(english) > more + times * len(text):
        return Fault(f"the answer is {len(english)} characters long for a text of {len(text)}")
    words = english.casefold().split()
    if len(words) > 40 and len(set(words)) < len(words) / 6:
        return Fault(f"the answer repeats itself: {english[:80]!r}")
    expected = expected_length(text)
    share = len(english) / expected if expected >= LENGTH_MATTERS else 1.0
    if _GOES_ON.search(english) and not text.rstrip().endswith(_CLAUSE_END):
        return Fault(f"the answer ends in mid-sentence: {english[-80:]!r}", fatal=share < CUT_LENGTH)
    if share < DOUBTFUL_LENGTH:
        return Fault(f"the answer is too short: {english!r}", fatal=share < USELESS_LENGTH)
    missing = missing_numbers(text, english)
    if missing:
        return Fault(f"the answer lacks the number {missing[0]!r}", fatal=False)
    return None


def expected_length(text: str) -> float:
    """RETURNS (float): About the characters that the English of a text has."""
    language = _language(text)
    return len(text) + (language.width - 1) * len(language.letter.findall(text))


def missing_numbers(text: str, english: str) -> list[str]:
    """RETURNS (List[str]): The long numbers of a text that its translation lacks, where they could not be
    written in another way."""
    text = unicodedata.normalize("NFKC", text)
    scales = frozenset(_language(text).scales)
    there = re.sub(r"(?<=\d)[,.\s](?=\d)", "", unicodedata.normalize("NFKC", english))
    missing = []
    for match in _NUMBER.finditer(text):
        digits = re.sub(r"[,.]", "", match.group())
        around = text[max(0, match.start() - 1) : match.start()] + text[match.end() :].lstrip()[:2]
        if len(digits) < LONG_NUMBER or not scales.isdisjoint(around):
            continue
        short = rf"(?<!\d){digits[-2:]}(?!\d)"  # 1986-88, the class of '88
        if digits not in there and not re.search(short, there):
            missing.append(digits)
    return missing


def _is_copy(text: str, english: str) -> bool:
    """Whether an answer was not translated: its words (names apart) stand in a text that is not English."""
    source = set(text.split())
    words = [word for word in english.split() if word[0].islower()]
    if len(words) < COPIES_MATTER or not _ENGLISH.isdisjoint(source):
        return False
    return sum(word in source for word in words) > MOST_COPIED * len(words)


def _language(text: str) -> Language:
    """What is known of the language that the script of a text tells."""
    return load(guess_language([text]) or "")
