"""Where a name may begin or end in a text: one definition for all that looks for names.

Scripts, letters and characters of several code points are Unicode's (the `regex` library); what is written
together with a name, such as a Korean particle, is the language's (`spacy_eat.languages`). Thai, Lao, Khmer
and Burmese have no spaces between words: a name may begin and end at each character as a reader sees it (a
grapheme cluster of UAX 29).
"""

from enum import IntEnum
from functools import cache

import regex

from ..languages import Language

# Letters and digits of scripts that separate words, where a part of a word is never a name.
_WORD = regex.compile(
    r"[\p{Script=Latin}\p{Script=Greek}\p{Script=Cyrillic}\p{Nd}\p{Mn}--[ªº]]{2,}", regex.V1
)
# Words of all other scripts, where it may be one, if what stands around it is an affix that no file knows.
_OTHER_WORD = regex.compile(
    r"[[\p{L}\p{M}]--[\p{Script=Latin}\p{Script=Greek}\p{Script=Cyrillic}\p{Script=Han}\p{Script=Hiragana}"
    r"\p{Script=Katakana}\p{Script=Bopomofo}\p{Script=Yi}\p{Script=Thai}\p{Script=Lao}\p{Script=Khmer}"
    r"\p{Script=Myanmar}\p{Script=Tibetan}\p{Lm}ㆍ]]{2,}",
    regex.V1,
)
_KATAKANA = regex.compile(r"[\p{Script=Katakana}ーｰ]{2,}", regex.V1)
_HAN = regex.compile(r"[\p{Script=Han}]{2,}", regex.V1)
_CLUSTER = regex.compile(r"\X")
_JOINS = regex.compile(
    r"[^\p{Grapheme_Cluster_Break=Other}\p{Grapheme_Cluster_Break=LV}"
    r"\p{Grapheme_Cluster_Break=LVT}]"
)  # what a cluster of several code points has one of
# They belong to the character before them, as the marks of a cluster do.
_ATTACHED = regex.compile("[ーｰ々ゝゞヽヾァィゥェォッャュョヮぁぃぅぇぉっゃゅょゎｧｨｩｪｫｯｬｭｮ]")
# No name begins or ends with them: spaces, controls, commas, emoji.
_OUTSIDE = regex.compile(
    r"[\s\p{Cc}\p{Cs}，、；：,;:[\p{Emoji}--[0-9#*©®™]]\p{Emoji_Modifier}\ufe0f]", regex.V1
)


class Edge(IntEnum):
    """Whether a name may begin or end at a place.

    NEVER: Within a character, a number, or a word of Latin, Greek or Cyrillic letters.
    INSIDE: Within another word: only what stands there exactly, and nowhere by itself.
    JOINED: Yes, but what begins here is likely the second part of a longer name.
    FREE: Yes.
    """

    NEVER = 0
    INSIDE = 1
    JOINED = 2
    FREE = 3


class Boundaries:
    """The edges of all places of a text.

    starts, ends (bytes): For each place, from before the first character to behind the last one, what it is
        to a name that begins or ends there: the value of an `Edge`.
    """

    def __init__(self, string: str, language: Language) -> None:
        """
        string (str): The text.
        language (Language): What is known of its language.
        """
        starts = bytearray([Edge.FREE]) * (len(string) + 1)
        if language.compounds:
            for run in _HAN.finditer(string):
                starts[run.start() + 1 : run.end()] = bytes([Edge.JOINED]) * (len(run[0]) - 1)
        ends = bytearray([Edge.FREE]) * (len(string) + 1)
        for pattern, edge in ((_KATAKANA, Edge.INSIDE), (_OTHER_WORD, Edge.INSIDE), (_WORD, Edge.NEVER)):
            for word in pattern.finditer(string):
                inside = bytes([edge]) * (len(word[0]) - 1)
                starts[word.start() + 1 : word.end()] = inside
                ends[word.start() + 1 : word.end()] = inside
                if edge is not Edge.NEVER:
                    _free_affixes(word[0], word.start(), starts, ends, language)
        for match in _ATTACHED.finditer(string):
            starts[match.start()] = ends[match.start()] = Edge.NEVER
        for cluster in _CLUSTER.finditer(string) if _JOINS.search(string) else ():
            for place in range(cluster.start() + 1, cluster.end()):
                starts[place] = ends[place] = Edge.NEVER
        for match in _OUTSIDE.finditer(string):
            starts[match.start()] = ends[match.end()] = Edge.NEVER
        starts[-1] = ends[0] = Edge.NEVER
        self.starts, self.ends = bytes(starts), bytes(ends)

    def of(self, start: int, end: int) -> Edge:
        """RETURNS (Edge): The lesser of the edges of a slice."""
        return Edge(min(self.starts[start], self.ends[end]))


@cache
def is_outside(char: str) -> bool:
    """Whether no name begins or ends with a character."""
    return _OUTSIDE.match(char) is not None


@cache
def script(char: str) -> str:
    """RETURNS (str): "word" (a Latin, Greek or Cyrillic letter, or a digit), "katakana", "han", "letter" of a
    script with words, or ""."""
    for kind, pattern in (("word", _WORD), ("katakana", _KATAKANA), ("han", _HAN), ("letter", _OTHER_WORD)):
        if pattern.fullmatch(char * 2):
            return kind
    return ""


def _free_affixes(word: str, at: int, starts: bytearray, ends: bytearray, language: Language) -> None:
    """A name may begin after the prefixes of a word, and end before its suffixes."""
    if language.prefixes:
        for place in range(1, min(len(word), 8)):
            if language.prefix.fullmatch(word, 0, place):
                starts[at + place] = Edge.FREE
    if language.suffixes:
        for place in range(max(1, len(word) - 8), len(word)):
            if language.suffix.fullmatch(word, place):
                ends[at + place] = Edge.FREE
