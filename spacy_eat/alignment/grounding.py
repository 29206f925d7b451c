"""From an LLM's answers to offsets of the source text.

`find` turns one answer into the slices of the source it can mean, `align`
chooses jointly for all entities of a sentence, `select` keeps the best spans
that do not overlap. Pure functions: no LLM, no spaCy. Whatever was answered,
every span is a verbatim slice of the source, or there is none.
"""

import math
import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache, partial
from itertools import pairwise
from operator import attrgetter
from typing import Literal

import numpy
from rapidfuzz import fuzz
from rapidfuzz.distance import Levenshtein
from scipy.optimize import LinearConstraint, milp
from scipy.sparse import csr_array

from ..text.folding import Folded, fold, is_mark
from ..types import Alignment, AlignmentStatus, Candidate, EnglishEntity

MAX_ANSWER = 256  # longest answer that is looked for, in characters: no name is longer
MAX_OCCURRENCES = 2000  # of one answer in one source that are looked at

# How much an exact, variant or fuzzy match is worth; fuzzy times its similarity.
_QUALITY: dict[AlignmentStatus, float] = {"exact": 1.0, "variant": 0.95, "fuzzy": 0.9}
# What a further, unmentioned occurrence keeps of its name's score: in gold
# Chinese and Japanese data 94 % of those outside longer names are entities.
_REPEAT = 0.94
# An answer without a log-probability counts half of the one before it.
_RANK = math.log(0.5)
# Worth (nats) of ending right before a bracket with the English name in it:
# 安迪（Andy）; and what stops at the middle dot of a longer name loses.
_GLOSSED, _CUT_NAME = 3.0, 2.0
# What 的 or の joins is a phrase rather than a name (nats): in gold data 9 of 2,424
# Japanese names and 2 Chinese ones have one inside.
_PHRASE = 3.0
_JOINING = re.compile(".[の的].")
# Of the log-probabilities that scores are made from: the tuned LLM is surer than it is right. On held-out
# alignments the expected calibration error is lowest at 1.5 for Chinese and at 2.0 for Japanese.
_TEMPERATURE = 1.7
# What the English name itself is worth where it stands in the source: less than
# any answer that is better than none, as it is a gloss then.
_VERBATIM, _VERBATIM_SCORE = 0.1, 0.9
# Worth (nats) that decides between options that are otherwise equal: a span
# that stands free, each character of a span, each occurrence earlier; and what
# sharing a span costs a repeated mention. Far less than any real difference.
_FREE, _LONGER, _EARLIER, _SHARED = 1e-3, 1e-4, 1e-5, 1e-2

_MAX_ROUNDS = 4  # of assignment, to move names out of longer ones
_MAX_NODES, _MAX_SECONDS = 32, 1.0  # of one assignment; one node and some milliseconds are the rule

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


@dataclass(frozen=True)
class Match:
    """A slice of the source that an answer can mean.

    start, end (int): Characters of the source, half open.
    status (AlignmentStatus): "exact", "variant" or "fuzzy".
    similarity (float): 1.0 for exact; else one minus the edit distance of
        answer and slice, both folded, over the longer one's length.
    """

    start: int
    end: int
    status: AlignmentStatus
    similarity: float


def find(source: str, answer: str, *, min_similarity: float = 0.8) -> list[Match]:
    """Find what an answer says in the source.

    The first way that finds anything gives all the matches:

    1. the answer as it stands ("exact"; "variant" without quotes or brackets
       around it, and commas or a full stop at its ends);
    2. in another spelling ("variant"): width, case, accents, traditional,
       simplified or Japanese characters; spaces, middle dots, hyphens, quotes
       and brackets more or less; a gloss in brackets, a title or a company
       form more or less;
    3. the slice most similar to it ("fuzzy"), with the same numbers and
       numerals, if the answer has three characters or more.

    No match starts or ends within a Latin word or a number, within what was
    one character before folding, or before a combining mark, ー or a small
    kana. Within a run of katakana only an exact match is taken, and only where
    there is no other.

    source (str): The source text.
    answer (str): What the LLM answered.
    min_similarity (float): Least similarity of a fuzzy match, 0.0 to 1.0;
        above 1.0 there are none.
    RETURNS (List[Match]): In the order of the text, none overlapping another.
    """
    answer = answer.strip()
    if not source or len(answer) > MAX_ANSWER or not any(char.isalnum() for char in answer):
        return []
    exact = [(i, i + len(answer)) for i in _occurrences(source, answer)]
    exact = [span for span in exact if not _cuts_word(source, *span)]
    if exact:
        start, end = _trim(source, *exact[0])
        if end - start < len(answer):
            return [replace(match, status="variant") for match in find(source, source[start:end])]
        whole = [span for span in exact if not _cuts_katakana(source, *span)]
        return [Match(start, end, "exact", 1.0) for start, end in _apart(whole or exact)]
    folded = _fold_source(source)
    wanted = fold(answer).text
    for text in _wordings(answer):
        spans = _search(source, folded, text) or _search(source, _without_glosses(source), text)
        if spans:
            return [
                Match(start, end, "variant", _similarity(wanted, source[start:end])) for start, end in spans
            ]
    return _find_similar(source, folded, wanted, min_similarity)


def align(
    source: str,
    entities: Sequence[EnglishEntity],
    answers: Sequence[Sequence[Candidate]],
    *,
    mentions: Literal["all", "aligned"] = "all",
    min_similarity: float = 0.8,
    min_score: float = 0.0,
    none_logprob: float = -10.0,
) -> list[Alignment]:
    """Choose the source spans of all English entities of a sentence together.

    Every (entity, candidate, match) is an option, worth the candidate's
    log-probability plus the logarithm of the match's quality, above
    `none_logprob`. Of all ways to give each entity one option or none, such
    that no two spans overlap, the one worth most is taken (an integer program,
    solved exactly unless it is monstrous). So two names do not share a span, and a name is not found
    inside a longer one (京都 in 東京都), nor where that occurs again. Mentions of
    one English name take its source occurrences in order; a mention too many
    stays without a span and does not take another name's.

    An option's score is the share of its candidate among all candidates of
    the entity and none (softmax), times the match's quality: exact 1.0,
    variant 0.95, fuzzy 0.9 × similarity. Without log-probabilities the first
    candidate's share counts as 1.0, each further one's as half of the last.

    source (str): The source text.
    entities (Sequence[EnglishEntity]): The English entities, in any order.
    answers (Sequence[Sequence[Candidate]]): For each entity its candidates,
        best first. An empty text is the answer "none"; its log-probability
        takes the place of `none_logprob` where it is higher.
    mentions (Literal["all", "aligned"]): "all" adds further occurrences of an
        aligned span's text, and of the English name as it stands, where they
        stand free: longer than a character, not within a longer name, not (in
        Japanese) right after a Han character. And the name in Latin letters
        that stands in brackets after a span, 安迪（Andy）.
    min_similarity (float): Least similarity of a fuzzy match.
    min_score (float): Options with a lower score are dropped, 0.0 to 1.0.
    none_logprob (float): Log-probability (nats) that an option must exceed.
    RETURNS (List[Alignment]): Sorted by start; none overlaps another. An
        entity without one is unaligned.
    """
    if len(entities) != len(answers):
        raise ValueError(f"{len(entities)} entities, but answers for {len(answers)}")
    found: dict[str, list[Match]] = {}
    limit = min(len(entities) + 4, 32)  # occurrences of an answer: more are hardly needed
    options: list[dict[tuple[int, int], _Option]] = []
    for entity, candidates in zip(entities, answers, strict=True):
        for text in {candidate.text for candidate in candidates} - found.keys():
            found[text] = find(source, text, min_similarity=min_similarity)
        options.append(_options(source, entity.text, candidates, found, none_logprob, min_score, limit))
    names = [_name(entity) for entity in entities]
    chosen = _assign(names, options)
    for _ in range(_MAX_ROUNDS):
        texts = {source[start:end] for (start, end), _ in chosen.values()}
        inner = [i for i, (span, _) in chosen.items() if _inside_longer(source, span, texts)]
        if not inner:
            break
        for i in inner:
            options[i] = {s: o for s, o in options[i].items() if not _inside_longer(source, s, texts)}
        chosen = _assign(names, options)
    aligned = [
        Alignment(start, end, option.status, option.score, entity)
        for entity, (start, end), option in _in_order(entities, chosen)
    ]
    if mentions == "all":
        aligned += _repeats(source, entities, aligned)
        taken = {char for a in aligned for char in range(a.start, a.end)}
        aligned += [g for g in _glosses(source, aligned) if taken.isdisjoint(range(g.start, g.end))]
    return sorted(aligned, key=lambda alignment: (alignment.start, alignment.end))


def select(alignments: Sequence[Alignment]) -> list[Alignment]:
    """Keep the alignments of the highest total score that do not overlap.

    Weighted interval scheduling. Among equals the longer span wins, then the
    one that was mentioned, then the earlier one.

    alignments (Sequence[Alignment]): In any order, of one source.
    RETURNS (List[Alignment]): Sorted by start.
    """
    ordered = sorted(
        (alignment for alignment in alignments if alignment.start < alignment.end),
        key=lambda a: (a.end, a.start, a.entity, not a.mentioned),
    )
    ends = [alignment.end for alignment in ordered]
    # best[i]: (score, characters, mentioned) and choice over the first i alignments
    best: list[tuple[float, int, int]] = [(0.0, 0, 0)]
    taken: list[int | None] = [None]
    for i, alignment in enumerate(ordered):
        before = bisect_right(ends, alignment.start, hi=i)
        score, size, mentioned = best[before]
        gain = (
            round(score + alignment.score, 9),
            size + alignment.end - alignment.start,
            mentioned + alignment.mentioned,
        )
        better = gain > best[i]
        best.append(gain if better else best[i])
        taken.append(before if better else None)
    kept = []
    i = len(ordered)
    while i:
        before_i = taken[i]
        if before_i is None:
            i -= 1
        else:
            kept.append(ordered[i - 1])
            i = before_i
    return kept[::-1]


# --- Finding ---------------------------------------------------------------


@lru_cache(maxsize=4)
def _fold_source(source: str) -> Folded:
    return fold(source)


@lru_cache(maxsize=4)
def _without_glosses(source: str) -> Folded:
    """The source folded without what stands in round or square brackets."""
    folded = _fold_source(source)
    keep = [True] * len(folded.text)
    for gloss in _GLOSS.finditer(source):
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
    return _apart(span for span in places if span)


def _place(source: str, folded: Folded, i: int, j: int) -> tuple[int, int] | None:
    """The slice of the source behind one of the folded text, if a name can be there."""
    span = folded.span(i, j)
    span = span and _balance(source, *span)
    if not span or _cuts_word(source, *span) or _cuts_katakana(source, *span):
        return None
    return span


def _find_similar(source: str, folded: Folded, wanted: str, min_similarity: float) -> list[Match]:
    """The most similar slice, wherever it stands."""
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
            text = folded.text[i:j]
            # Of equal slices one as long as the answer: more often a character differs than is missing.
            similarity = Levenshtein.normalized_similarity(wanted, text)
            rank = similarity, -abs(len(text) - len(wanted)), -i, j
            if rank <= best or not _same_ends(wanted, text) or _contrasts(text) != numbers:
                continue
            if _place(source, folded, i, j):
                best = rank
    similarity, _, i, j = best
    spans = _search(source, folded, folded.text[-i:j]) if j else []
    return [Match(start, end, "fuzzy", similarity) for start, end in spans]


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


def _apart(spans: Iterable[tuple[int, int]]) -> list[tuple[int, int]]:
    """Without those that overlap an earlier one."""
    kept: list[tuple[int, int]] = []
    for start, end in spans:
        if not kept or start >= kept[-1][1]:
            kept.append((start, end))
    return kept


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


@lru_cache(maxsize=4)
def _is_japanese(source: str) -> bool:
    return _HIRAGANA.search(source) is not None


def _stands_free(source: str, start: int, end: int) -> bool:
    """Whether a slice is likely a name by itself, not a part of a longer one:
    two characters or more, not joined to more katakana by a middle dot, and in
    Japanese not right after a Han character (京都 in 東京都).

    In gold data, 2 of 5 names unknown, 90 % (Japanese) and 83 % (Chinese) of
    the further occurrences of a known name that stand free are gold too;
    hardly any is wrong where all names are known.
    """
    if end - start < 2 or _cuts_word(source, start, end) or _cuts_katakana(source, start, end):
        return False
    if _is_japanese(source) and _continues(source, start, "han"):
        return False
    return not _cuts_name(source, start, end)


# --- Assignment ------------------------------------------------------------

_Span = tuple[int, int]


@dataclass(frozen=True)
class _Option:
    """A span an entity can take: what it is worth above none, in nats."""

    worth: float
    score: float
    status: AlignmentStatus


def _name(entity: EnglishEntity) -> str:
    """What is the same for two spellings of one name (Benoît, Benoit)."""
    return fold(entity.text).text or entity.text


def _options(
    source: str,
    english: str,
    candidates: Sequence[Candidate],
    found: dict[str, list[Match]],
    none_logprob: float,
    min_score: float,
    limit: int,
) -> dict[_Span, _Option]:
    """What one entity can take, the best option for each span."""
    texts: dict[str, float] = {}
    told = False
    for rank, candidate in enumerate(candidates):
        if candidate.logprob is None:
            logprob = rank * _RANK
        elif math.isnan(candidate.logprob):
            continue
        else:
            told = True
            logprob = max(-1e3, min(1e3, candidate.logprob))
        if not candidate.text.strip():
            none_logprob = max(none_logprob, logprob) if candidate.logprob is not None else none_logprob
        else:
            texts[candidate.text] = max(logprob, texts.get(candidate.text, -math.inf))
    options: dict[_Span, _Option] = {}
    if min_score <= _VERBATIM_SCORE:
        for match in find(source, english, min_similarity=2.0)[:limit]:
            if match.status == "exact":
                options[match.start, match.end] = _Option(_VERBATIM, _VERBATIM_SCORE, "exact")
    if not texts:
        return options
    places = {
        text: [
            (match, _fit(source, match, english))
            for match in map(partial(_complete, source, english), found[text][:limit])
        ]
        for text in texts
    }
    logprobs = {
        text: logprob + max((fit for _, fit in places[text]), default=0.0) for text, logprob in texts.items()
    }
    top = max(none_logprob, *logprobs.values())
    total = sum(math.exp((logprob - top) / _TEMPERATURE) for logprob in (none_logprob, *logprobs.values()))
    for text, logprob in texts.items():
        share = math.exp((logprobs[text] - top) / _TEMPERATURE) / total if told else math.exp(logprob)
        for order, (match, fit) in enumerate(places[text]):
            quality = _QUALITY[match.status] * (match.similarity if match.status == "fuzzy" else 1.0)
            # Of equal options the free one, then the longer one, then the earlier one.
            tie = _FREE * _stands_free(source, match.start, match.end)
            tie += _LONGER * (match.end - match.start) - _EARLIER * order
            worth = logprob + fit - none_logprob + math.log(quality) + tie
            option = _Option(worth, share * quality, match.status)
            span = match.start, match.end
            if span in options and options[span].worth != _VERBATIM:  # another answer that means the same
                best = max(option, options[span], key=attrgetter("worth"))
                option = replace(best, score=min(1.0, option.score + options[span].score))
            options[span] = option
    return {
        span: option for span, option in options.items() if option.worth > 0 and option.score >= min_score
    }


def _complete(source: str, english: str, match: Match) -> Match:
    """A match with what belongs to the name right before and after it, and
    without a person's rank that the English has not."""
    rank = _RANK_AFTER.search(source[match.start : match.end])
    if rank and not _RANK_BEFORE.search(english):
        match = replace(match, end=match.start + rank.start(), status="variant")
    before = _COMPLETED.search(source, max(0, match.start - 4), match.start)
    after = None
    if match.end - match.start > 1 and not _COMPLETING.fullmatch(source, match.end - 1, match.end):
        after = _COMPLETING.match(source, match.end)
    if not (before or after):
        return match
    start = before.start() if before else match.start
    end = after.end() if after else match.end
    return replace(match, start=start, end=end, status="variant" if match.status == "exact" else match.status)


def _fit(source: str, match: Match, english: str) -> float:
    """What speaks for a place or against it (nats), whatever the LLM says."""
    start, end = match.start, match.end
    return (
        _GLOSSED * _is_glossed(source, end, english)
        - _CUT_NAME * _cuts_name(source, start, end)
        - _PHRASE * bool(_JOINING.search(source, start, end))
    )


_IN_BRACKETS = re.compile(r"\s*[(（]([^()（）]*)")


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


def _assign(
    names: Sequence[str], options: Sequence[dict[_Span, _Option]]
) -> dict[int, tuple[_Span, _Option]]:
    """Give entities spans that do not overlap, for the highest total worth.

    An integer program: one variable per option, at most one option per entity,
    at most one over any character. It is enough to look at the characters
    where an option starts: overlapping options share one of them.

    A repeated mention has one option more, without a span, for hardly less
    than its best one is worth: so it takes a second occurrence of its name
    where there is one, and no other name's span where there is none.
    """
    choices = [(entity, span) for entity, spans in enumerate(options) for span in sorted(spans)]
    if not choices:
        return {}
    best = {
        entity: max(spans.items(), key=lambda choice: choice[1].worth)
        for entity, spans in enumerate(options)
        if spans
    }
    if len(set(names)) == len(names) and _are_apart(span for span, _ in best.values()):
        return best
    starts = sorted({start for _, (start, _) in choices})
    rows, columns = [], []
    for column, (entity, (start, end)) in enumerate(choices):
        covered = range(bisect_left(starts, start), bisect_left(starts, end))
        rows += [entity, *(len(options) + row for row in covered)]
        columns += [column] * (1 + len(covered))
    worth = [options[entity][span].worth for entity, span in choices]
    for entity, name in enumerate(names):
        if name in names[:entity] and options[entity]:
            rows.append(entity)
            columns.append(len(worth))
            worth.append(max(option.worth for option in options[entity].values()) - _SHARED)
    shape = len(options) + len(starts), len(worth)
    one_each = LinearConstraint(csr_array((numpy.ones(len(rows)), (rows, columns)), shape=shape), ub=1)
    solution = milp(
        -numpy.array(worth),
        integrality=numpy.ones(len(worth)),
        bounds=(0, 1),
        constraints=one_each,
        options={"mip_rel_gap": 0.0, "node_limit": _MAX_NODES, "time_limit": _MAX_SECONDS},
    )
    taken = [] if solution.x is None else [c for c, x in zip(choices, solution.x, strict=False) if x > 0.5]
    return {entity: (span, options[entity][span]) for entity, span in taken}


def _are_apart(spans: Iterable[_Span]) -> bool:
    """Whether no two spans overlap."""
    return all(end <= start for (_, end), (start, _) in pairwise(sorted(spans)))


def _inside_longer(source: str, span: _Span, texts: Iterable[str]) -> bool:
    """Whether a span lies in an occurrence of a longer one of some texts."""
    start, end = span
    return any(
        len(text) > end - start and source.find(text, max(0, end - len(text)), start + len(text)) >= 0
        for text in texts
    )


def _in_order(
    entities: Sequence[EnglishEntity], chosen: dict[int, tuple[_Span, _Option]]
) -> Iterator[tuple[int, _Span, _Option]]:
    """Give the mentions of one name its spans in the order of both texts."""
    groups: dict[str, list[int]] = {}
    for i in sorted(range(len(entities)), key=lambda i: (entities[i].start_char, i)):
        groups.setdefault(_name(entities[i]), []).append(i)
    for group in groups.values():
        spans = sorted(chosen[i] for i in group if i in chosen)
        for i, (span, option) in zip(group, spans, strict=False):
            yield i, span, option


_NAME_IN_BRACKETS = re.compile(r"\s*[(（]([A-ZÀ-Þ][^()（）,，;；:：\d]{1,60})[)）]")


def _glosses(source: str, aligned: Sequence[Alignment]) -> list[Alignment]:
    """Names in Latin letters that stand in brackets right after a name in others.

    They are what the author gives as its original form, whether the
    translation has it like that or not. Capitals alone may be an abbreviation
    of anything, such as the position of a player.
    """
    glosses = []
    for alignment in aligned:
        match = _NAME_IN_BRACKETS.match(source, alignment.end)
        if match and _script(source[alignment.end - 1]) != "word" and not match[1].isupper():
            start, end = _trim(source, *match.span(1))
            if start < end and all(_script(c) == "word" or c in " .'’·-" for c in source[start:end]):
                score = alignment.score * _REPEAT
                glosses.append(replace(alignment, start=start, end=end, score=score, mentioned=False))
    return glosses


def _repeats(source: str, entities: Sequence[EnglishEntity], aligned: Sequence[Alignment]) -> list[Alignment]:
    """Further occurrences of aligned spans' texts and of their English, longer texts first."""
    taken = sorted((a.start, a.end) for a in aligned)
    repeats: list[Alignment] = []
    seen: set[str] = set()
    texts = [(source[a.start : a.end], a) for a in aligned] + [(entities[a.entity].text, a) for a in aligned]
    for text, alignment in sorted(texts, key=lambda ta: (-len(ta[0]), -ta[1].score, ta[1].start)):
        if text in seen:
            continue
        seen.add(text)
        free = []
        for start in _occurrences(source, text):
            span = start, start + len(text)
            i = bisect_left(taken, span)
            if (i and taken[i - 1][1] > start) or (i < len(taken) and taken[i][0] < span[1]):
                continue
            if _stands_free(source, *span):
                free.append(span)
        for span in _apart(free):
            score = alignment.score * _REPEAT
            repeats.append(replace(alignment, start=span[0], end=span[1], score=score, mentioned=False))
        taken = sorted([*taken, *_apart(free)])
    return repeats
