"""Text folded for comparison, with a map back to the offsets it came from.

Two spellings of one name fold to the same characters: width, case, accents,
traditional, simplified and Japanese forms of Han characters, and whatever
writers put between or around the parts of a name (spaces, middle dots,
hyphens, quotes, brackets) make no difference. The text itself is never
changed: a match in the folded text is a slice of the original.
"""

import unicodedata
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

from opencc import OpenCC

# Left out of the folded text beside all spaces, controls, dashes, quotes and
# brackets (Unicode categories Z*, Cc, Cf, Pd, Ps, Pe, Pi, Pf).
_SEPARATORS = frozenset("·・•‧∙⋅ㆍ᛫=−\"'`´ʼ′″")
_DROPPED_CATEGORIES = frozenset({"Zs", "Zl", "Zp", "Cc", "Cf", "Pd", "Ps", "Pe", "Pi", "Pf"})
# Spellings that neither Unicode nor OpenCC takes for the same.
_VARIANTS = tuple(zip("ヶヵ髙﨑濵邉栁桒𠮷嶋嶌舘冨峯〜", "ケカ高崎浜辺柳桑吉島島館富峰~", strict=True))
# Unicode's stream-safe text format (UAX #15): at most 30 marks after a base.
_MAX_MARKS = 30


@dataclass(frozen=True)
class Folded:
    """A folded text and where each of its characters came from.

    text (str): The folded text.
    starts, ends (Sequence[int]): For each folded character the slice of the
        original it came from, half open. Characters of one expansion (㈱ to
        "(株)") share their slice.
    """

    text: str
    starts: Sequence[int]
    ends: Sequence[int]

    def splits(self, i: int) -> bool:
        """Whether position `i` of the folded text lies inside what was one
        character of the original, where no match may start or end."""
        return 0 < i < len(self.text) and self.starts[i] == self.starts[i - 1]

    def span(self, i: int, j: int) -> tuple[int, int] | None:
        """The slice of the original behind a non-empty slice of the folded text.

        i, j (int): Characters of the folded text, half open.
        RETURNS (Optional[Tuple[int, int]]): Characters of the original, half
            open; None if the slice is empty or splits a character.
        """
        if i >= j or self.splits(i) or self.splits(j):
            return None
        return self.starts[i], self.ends[j - 1]


def fold(text: str) -> Folded:
    """Fold a text for comparison.

    text (str): Any string; lone surrogates and controls are fine.
    RETURNS (Folded): The folded text with its offsets.
    """
    chars: list[str] = []
    starts = array("q")
    ends = array("q")
    start, length = 0, len(text)
    while start < length:
        end = start + 1
        while end < length and end - start <= _MAX_MARKS and is_mark(text[end]):
            end += 1
        folded = _fold_cluster(text[start:end])
        chars.append(folded)
        starts.extend([start] * len(folded))
        ends.extend([end] * len(folded))
        start = end
    return Folded("".join(chars), starts, ends)


@lru_cache(maxsize=1 << 14)
def is_mark(char: str) -> bool:
    """Whether a character belongs to the one before it: combining marks,
    half-width voicing marks, variation selectors, conjoining Hangul jamo."""
    if char < "\u0300":
        return False
    return unicodedata.category(char).startswith("M") or char in "ﾞﾟ\u200d" or "\u1160" <= char <= "\u11ff"


@lru_cache(maxsize=1 << 14)
def _fold_cluster(cluster: str) -> str:
    """Fold one character and its marks; "" where nothing of it counts."""
    if cluster in _SEPARATORS:
        return ""
    text = unicodedata.normalize("NFKC", cluster).casefold()
    bare = "".join(c for c in unicodedata.normalize("NFKD", text) if not _is_optional(c))
    text = unicodedata.normalize("NFKC", bare)
    table = _han_table()
    return "".join(c for c in (table.get(c, c) for c in text) if not _is_dropped(c))


def _is_optional(mark: str) -> bool:
    """Whether a combining mark is an accent, or a vowel point of Hebrew or Arabic (combining classes 10 to
    35): most texts are written without them."""
    return "\u0300" <= mark <= "\u036f" or 10 <= unicodedata.combining(mark) <= 35


def _is_dropped(char: str) -> bool:
    return (
        char in _SEPARATORS
        or unicodedata.category(char) in _DROPPED_CATEGORIES
        or "\ufe00" <= char <= "\ufe0f"  # variation selectors
        or "\U000e0100" <= char <= "\U000e01ef"
    )


@cache
def _han_table() -> dict[str, str]:
    """One character for all the forms of it that OpenCC knows: simplified,
    traditional (Taiwan, Hong Kong) and Japanese."""
    pairs = list(_VARIANTS)
    for config in ("t2s", "s2t", "hk2s", "tw2s", "jp2t", "t2jp"):
        pairs += _conversions(config, (0x3400, 0xA000), (0xF900, 0xFB00), (0x20000, 0x2A6E0))
    forms: dict[str, set[str]] = {}
    for a, b in pairs:
        merged = forms.get(a, {a}) | forms.get(b, {b})
        forms.update(dict.fromkeys(merged, merged))
    return {char: min(same) for char, same in forms.items()}


@cache
def simplified() -> dict[str, str]:
    """RETURNS (Dict[str, str]): Traditional characters with their simplified forms."""
    return dict(_conversions("t2s", (0x3400, 0xA000), (0xF900, 0xFB00), (0x20000, 0x323B0)))


def _conversions(config: str, *blocks: tuple[int, int]) -> list[tuple[str, str]]:
    """The characters of some blocks that OpenCC converts to another one, each with that one.

    Characters are converted one at a time, each on a line of its own, which no phrase of OpenCC's
    dictionaries crosses: so lengths never change.
    """
    chars = [chr(code) for first, last in blocks for code in range(first, last)]
    converted = OpenCC(config).convert("\n".join(chars)).split("\n")
    return [(a, b) for a, b in zip(chars, converted, strict=True) if a != b and len(b) == 1]
