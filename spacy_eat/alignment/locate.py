"""Where words stand in a text.

`find` turns an answer into the slices of a text that it can mean, `complete` takes in what belongs to a
name beside a slice, `fit` says what speaks for a slice or against it. Pure functions of a `Text`, and no
knowledge of who answered. Whatever is looked for, a span is a verbatim slice of the text, or there is none.
"""

import re
import unicodedata
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cache, lru_cache

from rapidfuzz import fuzz
from rapidfuzz.distance import Levenshtein

from ..text.folding import Folded, fold, is_mark
from ..types import Span, Text

MAX_ANSWER = 256  # longest answer that is looked for, in characters: no name is longer
MAX_OCCURRENCES = 2000  # of one answer in one source that are looked at

# Worth (nats) of ending right before a bracket with the English name in it:
# 安迪（Andy）; and what stops at the middle dot of a longer name loses.
GLOSSED, CUT_NAME = 3.0, 2.0
# What 的 or の joins is a phrase rather than a name (nats): in gold data 9 of 2,424
# Japanese names and 2 Chinese ones have one inside.
PHRASE = 3.0
_JOINING = re.compile(".[の的].")
_GLOSS = re.compile(r"[(（\[［【〔][^()（）\[\]［］【】〔〕]{1,64}[)）\]］】〕]")
_LAST_GLOSS = re.compile(rf"\s*(?:{_GLOSS.pattern})\s*$")
# Opening and closing brackets and quotes; those that belong together have one value.
_OPENERS = dict(zip("（(「『《〈【〔［[“", "))」』》〉】〕]]”", strict=True))
_CLOSERS = dict(zip("）)」』》〉】〕］]”", "))」』》〉】〕]]”", strict=True))
_BRACKETS = frozenset([*_OPENERS, *_CLOSERS, '"'])
# Words around a name that an LLM adds or leaves out. They are only taken off
# where the answer as a whole is not in the source.
_TITLES = """
    さん さま 様 氏 君 くん ちゃん 殿 先生 選手 監督 教授 博士 大統領 首相 総統 議員 会長 社長 知事 市長
    女士 小姐 老师 总统 主席 总理 部长 议员 教练 Mr. Mrs. Ms. Dr. Prof.
    株式会社 有限会社 (株) 有限公司 股份有限公司 集团有限公司 公司
"""
_PARTICLES = "のはがをにとでも的"
# What completes a name it stands right beside: 魁北克 + 省, 中国 + 大陆, 株式会社 + イズミ. In gold
# data (UNER zh PUD and GSDSIMP, Stockmark, UD Japanese GSD) 497 of 498 names beside one
# have it in them, if a word that only begins like it does not count (市民, 町長).
_COMPLETING = re.compile(
    "(?:[省州市県縣县郡区區町村乡鄉镇鎮島岛湖河川海洋駅](?![民長长内內主場场間间域定立議议值里裏道外岸上军軍关關拔底区區])"
    "|[线線](?![路性条條上])|半[岛島]|大[陆陸]|[内內]地|共和[国國]|寺(?!院)|神社|公[园園]|空港|(?:国际|國際)?(?:机场|機場)"
    "|鉄道|[铁鐵]路|大[学學]|[学學][院校]|研究[所院]|博物[馆館]|美[术術][馆館]|[图図圖][书書][馆館]|球場|劇場|ホテル"
    "|[协協議议][会會]|委[员員][会會]|[银銀]行|会社|株式会社|有限会社|合同会社|(?:股份|控股|集团|集團)?有限公司|集团|集團"
    "|[一二三四五六]世(?![代界紀纪]))"
)
_COMPLETED = re.compile("(?:株式会社|有限会社|合同会社)$")
# What a person is, said right after the name. In the same data 64 persons' names stand before
# one of these, and 2 names have one in them.
_RANK_AFTER = re.compile(
    "(?<=..)(?:氏|さん|先生|女士|小姐|博士|教授|教练|監督|選手|議員|议员|首相|大統領|总统|總統|总理|總理|主席|部长"
    "|大臣|知事|社長|会長|天皇|王子|爵士|[公侯伯子男]爵|[大中少][将佐尉校]|上[将將校尉]|[将將][軍军]|元[帥帅])$"
)
_RANK_BEFORE = re.compile(
    r"\b(?:Mr|Mrs|Ms|Miss|Dr|Doctor|Prof|Professor|Sir|Lord|Coach|Director|Representative|Senator|Member|President"
    r"|Chairman|Minister|Premier|Secretary|Governor|Emperor|Prince|Duke|Marquis|Marquess|Count|Earl|Viscount|Baron"
    r"|General|Admiral|Marshal|Colonel|Commander|Major|Captain|Lieutenant)\b",
    re.IGNORECASE,
)
# What no name starts or ends with.
_EDGES = frozenset("，、；：,;: \t\n\r\u3000\u00a0")
_AFTER_STOP = frozenset([*_CLOSERS, *' \n\r\u3000"'])
# Characters that tell names apart: 第一次 is not 第二次, 東ドイツ not 西ドイツ.
_CONTRASTS = "一二三四五六七八九十百千万東西南北上下左右前後新旧男女"


def find(text: Text, answer: str, *, min_similarity: float = 0.8) -> list[Span]:
    """Find what an answer says in a text.

    The first way that finds anything gives all the spans:

    1. the answer as it stands ("exact"; "variant" without quotes or brackets around it, and commas or a
       full stop at its ends);
    2. in another spelling ("variant"): width, case, accents, traditional, simplified or Japanese
       characters; spaces, middle dots, hyphens, quotes and brackets more or less; a gloss in brackets, a
       title or a company form more or less;
    3. the slice most similar to it ("fuzzy"), with the same numbers and numerals, if the answer has three
       characters or more.

    No span starts or ends within a Latin word or a number, within what was one character before folding, or
    before a combining mark, ー or a small kana. Within a run of katakana only an exact one is taken, and
    only where there is no other.

    text (Text): Where to look.
    answer (str): What to look for.
    min_similarity (float): Least similarity of a fuzzy span, 0.0 to 1.0; above 1.0 there are none.
    RETURNS (List[Span]): In the order of the text, none overlapping another. The origin is "exact",
        "variant" or "fuzzy"; the score is the similarity: 1.0 for exact, else one minus the edit distance of
        answer and slice, both folded, over the longer one's length.
    """
    answer, source = answer.strip(), text.string
    if not source or len(answer) > MAX_ANSWER or not any(char.isalnum() for char in answer):
        return []
    exact = [(i, i + len(answer)) for i in _occurrences(source, answer)]
    exact = [place for place in exact if not _cuts_word(source, *place)]
    if exact:
        start, end = _trim(source, *exact[0])
        if end - start < len(answer):
            return [replace(span, origin="variant") for span in find(text, source[start:end])]
        whole = [place for place in exact if not _cuts_katakana(source, *place)]
        return [Span(start, end, origin="exact") for start, end in apart(whole or exact)]
    wanted = fold(answer).text
    for wording in _wordings(answer):
        places = _search(source, text.folded, wording) or _search(source, _without_glosses(text), wording)
        if places:
            return [
                Span(start, end, score=_similarity(wanted, source[start:end]), origin="variant")
                for start, end in places
            ]
    return _find_similar(text, wanted, min_similarity)


def complete(text: Text, english: str, span: Span) -> Span:
    """Take in what belongs to a name right before and after a span, and leave out a person's rank.

    text (Text): Where the span stands.
    english (str): The English name. If a rank is said in it, the span keeps its own.
    span (Span): As `find` gives it.
    RETURNS (Span): The whole name's. If the ends of an exact one changed, it is a variant.
    """
    source = text.string
    rank = _RANK_AFTER.search(text[span])
    if rank and not _RANK_BEFORE.search(english):
        span = replace(span, end_char=span.start_char + rank.start(), origin="variant")
    before = _COMPLETED.search(source, max(0, span.start_char - 4), span.start_char)
    after = None
    if span.end_char - span.start_char > 1 and not _COMPLETING.fullmatch(
        source, span.end_char - 1, span.end_char
    ):
        after = _COMPLETING.match(source, span.end_char)
    if not (before or after):
        return span
    start = before.start() if before else span.start_char
    end = after.end() if after else span.end_char
    origin = "variant" if span.origin == "exact" else span.origin
    return replace(span, start_char=start, end_char=end, origin=origin)


def fit(text: Text, span: Span, english: str) -> float:
    """What speaks for a place or against it, whoever found it.

    text (Text): Where the span stands.
    span (Span): The place.
    english (str): The English name.
    RETURNS (float): Nats, 0.0 for an ordinary place.
    """
    source, start, end = text.string, span.start_char, span.end_char
    return (
        GLOSSED * _is_glossed(source, end, english)
        - CUT_NAME * _cuts_name(source, start, end)
        - PHRASE * bool(_JOINING.search(source, start, end))
    )


def stands_free(text: Text, span: Span) -> bool:
    """Whether a slice is likely a name by itself, not a part of a longer one: two characters or more, not
    joined to more katakana by a middle dot, and in Japanese not right after a Han character (京都 in 東京都).

    In gold data, 2 of 5 names unknown, 90 % (Japanese) and 83 % (Chinese) of the further occurrences of a
    known name that stand free are gold too; hardly any is wrong where all names are known.
    """
    source, start, end = text.string, span.start_char, span.end_char
    if end - start < 2 or _cuts_word(source, start, end) or _cuts_katakana(source, start, end):
        return False
    if _is_japanese(source) and _continues(source, start, "han"):
        return False
    return not _cuts_name(source, start, end)


def free_occurrences(text: Text, words: str) -> list[Span]:
    """Where words stand in a text as they are, and free.

    RETURNS (List[Span]): In the order of the text. They may overlap.
    """
    spans = (Span(i, i + len(words), origin="exact") for i in _occurrences(text.string, words))
    return [span for span in spans if stands_free(text, span)]


def gloss_after(text: Text, span: Span) -> Span | None:
    """The name in Latin letters that stands in brackets right after a name in others.

    It is what the author gives as the original form, whether a translation has it like that or not.
    Capitals alone may be an abbreviation of anything, such as the position of a player.

    RETURNS (Optional[Span]): Its place, None if there is none.
    """
    source = text.string
    match = _NAME_IN_BRACKETS.match(source, span.end_char)
    if not match or _script(source[span.end_char - 1]) == "word" or match[1].isupper():
        return None
    start, end = _trim(source, *match.span(1))
    if start >= end or not all(_script(c) == "word" or c in " .'’·-" for c in source[start:end]):
        return None
    return replace(span, start_char=start, end_char=end, origin="exact")


def trim(text: Text, span: Span) -> Span:
    """Leave out what does not belong to a name at the ends of a span: spaces, commas, brackets around it."""
    start, end = _trim(text.string, *span.place)
    return replace(span, start_char=start, end_char=end)


def apart(places: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Places without those that overlap an earlier one."""
    kept: list[tuple[int, int]] = []
    for start, end in places:
        if not kept or start >= kept[-1][1]:
            kept.append((start, end))
    return kept


# --- Finding ---------------------------------------------------------------


def _without_glosses(text: Text) -> Folded:
    """The text folded without what stands in round or square brackets."""
    folded = text.folded
    keep = [True] * len(folded.text)
    for gloss in _GLOSS.finditer(text.string):
        i = bisect_left(folded.starts, gloss.start())
        j = bisect_left(folded.starts, gloss.end())
        keep[i:j] = [False] * (j - i)
    kept = [i for i, k in enumerate(keep) if k]
    return Folded(
        "".join(folded.text[i] for i in kept),
        [folded.starts[i] for i in kept],
        [folded.ends[i] for i in kept],
    )


def _wordings(answer: str) -> Iterator[str]:
    """The folded answer, then with less and less around the name."""
    whole = answer[slice(*_trim(answer, 0, len(answer)))]
    glosses = [gloss.group()[1:-1] for gloss in _GLOSS.finditer(whole)]
    wordings = [whole, answer, _LAST_GLOSS.sub("", whole), _GLOSS.sub("", whole)]
    names = [name for name in dict.fromkeys(map(_fold_text, wordings)) if name]
    yield from names
    shorter = [
        rest
        for name in names
        for word in _titles()
        for rest in (name.removesuffix(word), name.removeprefix(word))
    ]
    shorter += [name[:-1] for name in names if name[-1] in _PARTICLES]
    shorter += map(_fold_text, glosses)
    yield from (name for name in dict.fromkeys(shorter) if len(name) >= 2 and name not in names)


def _fold_text(text: str) -> str:
    return fold(text).text


def _search(source: str, folded: Folded, text: str) -> list[tuple[int, int]]:
    """All places of a folded text, whole words, brackets balanced."""
    places = (_place(source, folded, i, i + len(text)) for i in _occurrences(folded.text, text))
    return apart(span for span in places if span)


def _place(source: str, folded: Folded, i: int, j: int) -> tuple[int, int] | None:
    """The slice of the source behind one of the folded text, if a name can be there."""
    span = folded.span(i, j)
    span = span and _balance(source, *span)
    if not span or _cuts_word(source, *span) or _cuts_katakana(source, *span):
        return None
    return span


def _find_similar(text: Text, wanted: str, min_similarity: float) -> list[Span]:
    """The most similar slice, wherever it stands."""
    folded = text.folded
    if len(wanted) < 3 or not folded.text:
        return []
    # The best window of the answer's length is near the best slice.
    window = fuzz.partial_ratio_alignment(wanted, folded.text, score_cutoff=80 * min_similarity)
    if window is None:
        return []
    numbers = _contrasts(wanted)
    slack = max(1, round(len(wanted) * (1 - min_similarity)))
    best = min_similarity - 1e-9, 0, 0, 0
    for i in range(max(0, window.dest_start - slack), window.dest_start + slack + 1):
        for j in range(
            max(i + 2, window.dest_end - slack), min(len(folded.text), window.dest_end + slack) + 1
        ):
            part = folded.text[i:j]
            # Of equal slices one as long as the answer: more often a character differs than is missing.
            similarity = Levenshtein.normalized_similarity(wanted, part)
            rank = similarity, -abs(len(part) - len(wanted)), -i, j
            if rank <= best or not _same_ends(wanted, part) or _contrasts(part) != numbers:
                continue
            if _place(text.string, folded, i, j):
                best = rank
    similarity, _, i, j = best
    places = _search(text.string, folded, folded.text[-i:j]) if j else []
    return [Span(start, end, score=similarity, origin="fuzzy") for start, end in places]


def _same_ends(wanted: str, text: str) -> bool:
    """Whether where two texts differ at an end, a letter of a script stands
    for another of it: not 美国的 for 美国，"""
    return all(
        a == b or (_script(a) and _script(a) == _script(b))
        for a, b in ((wanted[0], text[0]), (wanted[-1], text[-1]))
    )


@cache
def _titles() -> list[str]:
    return sorted({fold(title).text for title in _TITLES.split()}, key=len, reverse=True)


@cache
def _contrasting() -> frozenset[str]:
    return frozenset(fold(_CONTRASTS).text)


def _contrasts(text: str) -> list[str]:
    return sorted(c for c in text if c.isnumeric() or c in _contrasting())


def _similarity(wanted: str, slice_: str) -> float:
    return Levenshtein.normalized_similarity(wanted, fold(slice_).text)


def _occurrences(text: str, part: str) -> Iterator[int]:
    start = text.find(part)
    for _ in range(MAX_OCCURRENCES):
        if start < 0:
            return
        yield start
        start = text.find(part, start + 1)


def _partners(text: str) -> dict[int, int]:
    """For each bracket or straight quote that has a partner, where that is."""
    unclosed: list[int] = []
    partners: dict[int, int] = {}
    quote: int | None = None
    for i, char in enumerate(text):
        opener: int | None = None
        if char in _OPENERS:
            unclosed.append(i)
        elif char in _CLOSERS:
            if unclosed and _OPENERS[text[unclosed[-1]]] == _CLOSERS[char]:
                opener = unclosed.pop()
        elif char == '"':
            opener, quote = (quote, None) if quote is not None else (None, i)
        if opener is not None:
            partners[opener], partners[i] = i, opener
    return partners


def _balance(source: str, start: int, end: int) -> tuple[int, int] | None:
    """Take in the partner of a bracket that stands right outside a slice.

    RETURNS (Optional[Tuple[int, int]]): The slice, None if a bracket in it
        has its partner elsewhere.
    """
    text = source[start:end]
    partners = _partners(text)
    for i in reversed(range(len(text))):
        if text[i] in _OPENERS and i not in partners:
            if _CLOSERS.get(source[end : end + 1]) != _OPENERS[text[i]]:
                return None
            end += 1
    for i, char in enumerate(text):
        if char in _CLOSERS and i not in partners:
            if not start or _OPENERS.get(source[start - 1]) != _CLOSERS[char]:
                return None
            start -= 1
    return start, end


def _trim(source: str, start: int, end: int) -> tuple[int, int]:
    """Leave out what does not belong to a name at the ends of a slice.

    That is spaces, commas, a full stop that ends the text, quotes and brackets
    around all of it or without their partner: 「東京」 and 東京）, but not
    （株）ソニー. In the gold data no name has them.
    """
    while start < end:
        first, last = source[start], source[end - 1]
        if first in _EDGES:
            start += 1
        elif last in _EDGES or (last == "。" and (end == len(source) or source[end] in _AFTER_STOP)):
            end -= 1
        elif first in _BRACKETS or last in _BRACKETS:
            partners = _partners(source[start:end])
            if first in _BRACKETS and partners.get(0, end - start - 1) == end - start - 1:
                end -= 0 in partners
                start += 1
            elif last in _BRACKETS and end - start - 1 not in partners:
                end -= 1
            else:
                break
        else:
            break
    return start, end


# --- Boundaries ------------------------------------------------------------


@lru_cache(maxsize=1 << 14)
def _script(char: str) -> str:
    """What a character is to the one beside it: "word" (Latin, Greek or
    Cyrillic letter, digit), "katakana", "han", or "" for all else."""
    if char.isdecimal():
        return "word"
    if char in "ーｰ":
        return "katakana"
    name = unicodedata.name(char, "")
    if char.isalpha() and name.startswith(("LATIN", "GREEK", "CYRILLIC", "FULLWIDTH LATIN")):
        return "word"
    if char.isalpha() and name.startswith(("KATAKANA", "HALFWIDTH KATAKANA")):
        return "katakana"
    if name.startswith("CJK") or char in "々〆〇":
        return "han"
    return ""


def _continues(source: str, position: int, script: str) -> bool:
    """Whether the characters on both sides of a position are of a script."""
    return (
        0 < position < len(source)
        and _script(source[position - 1]) == script
        and _script(source[position]) == script
    )


def _cuts_word(source: str, start: int, end: int) -> bool:
    """Whether a slice starts or ends where no name can."""
    return any(
        _continues(source, position, "word")
        or (0 < position < len(source) and (is_mark(source[position]) or source[position] in _ATTACHED))
        for position in (start, end)
    )


_ATTACHED = frozenset("ーｰ々ゝゞヽヾァィゥェォッャュョヮぁぃぅぇぉっゃゅょゎｧｨｩｪｫｯｬｭｮ")


def _cuts_katakana(source: str, start: int, end: int) -> bool:
    return _continues(source, start, "katakana") or _continues(source, end, "katakana")


_HIRAGANA = re.compile("[ぁ-ゖ]")
_JOINTS = frozenset("·・･=＝゠•‧")  # between the parts of a katakana name


def _is_japanese(source: str) -> bool:
    return _HIRAGANA.search(source) is not None


_IN_BRACKETS = re.compile(r"\s*[(（]([^()（）]*)")


_NAME_IN_BRACKETS = re.compile(r"\s*[(（]([A-ZÀ-Þ][^()（）,，;；:：\d]{1,60})[)）]")


def _is_glossed(source: str, end: int, english: str) -> bool:
    """Whether a bracket with an English name in it begins at a place."""
    bracket = _IN_BRACKETS.match(source, end)
    return bracket is not None and english.casefold() in bracket.group(1).casefold()


def _cuts_name(source: str, start: int, end: int) -> bool:
    """Whether a middle dot joins a slice to more of the same script."""
    return any(
        source[joint : joint + 1] in _JOINTS
        and _script(source[joint - 1 : joint]) in ("han", "katakana")
        and _script(source[joint - 1 : joint]) == _script(source[joint + 1 : joint + 2])
        for joint in (start - 1, end)
        if 0 < joint < len(source) - 1
    )
